"""Floods, stampedes and a key service that holds on to everything (threats D)."""

from __future__ import annotations

import threading
import time

import pytest

from apikey_guard import Credential, Verdict
from apikey_guard.testing import FakeKeyService
from tests.harness.guarded import BAD, GOOD, Guarded, at_once, settle

ALLOWED = (200, "")
UNAVAILABLE = (503, "key_service_unavailable")
OVERLOADED = (503, "overloaded")


def test_d01_200000_bad_keys_leave_100_good_ones_alone() -> None:
    good = [f"{GOOD}-{number}" for number in range(100)]
    verdict = Verdict(valid=True)

    def key_service(credential: Credential) -> Verdict:
        asked[0] += 1
        return verdict if credential.value in known else Verdict.invalid()

    asked, known = [0], frozenset(good)
    with Guarded(key_service=key_service) as guarded:
        for key in good:
            assert guarded.status(key) == 200
        # Past the middleware: 200,000 lint-checked responses would take minutes.
        store = guarded.guard.verifier.store
        for number in range(200_000):
            store(number.to_bytes(32, "big"), Verdict.invalid())
        for number in range(200):
            assert guarded.status(f"{BAD}-{number}") == 401
        before = asked[0]
        for key in good:
            assert guarded.status(key) == 200
        assert asked[0] == before
        stats = guarded.guard.stats()
        assert stats["cached_valid"] == 100
        assert stats["cached_invalid"] <= 10_000


def test_d01_malformed_keys_never_reach_the_key_service() -> None:
    with Guarded(key_pattern="ag_") as guarded:
        for number in range(50):
            assert guarded.status(f"{BAD}-{number}") == 401
        assert guarded.keys.calls == 0
        assert guarded.guard.stats()["cached_invalid"] == 0


@pytest.mark.parametrize("expired", [False, True], ids=["never seen", "just expired"])
def test_d02_a_stampede_on_one_key_is_one_call(expired: bool) -> None:
    with Guarded(stale_if_error=0) as guarded:
        before = 0
        if expired:
            guarded.status()
            guarded.clock.advance(61)
            before = 1
        guarded.keys.hold()
        results: list[list[tuple[int, str]]] = []
        storm = threading.Thread(target=lambda: results.append(at_once([guarded.code] * 200)))
        storm.start()
        guarded.keys.wait_for_calls(before + 1)
        guarded.keys.release()
        storm.join(30)
        assert results == [[ALLOWED] * 200]
        assert guarded.keys.calls == before + 1


def test_d02_a_failure_is_shared_by_all_who_wait() -> None:
    with Guarded() as guarded:
        guarded.keys.fail()
        guarded.keys.hold()
        results: list[list[tuple[int, str]]] = []
        storm = threading.Thread(target=lambda: results.append(at_once([guarded.code] * 50)))
        storm.start()
        guarded.keys.wait_for_calls(1)
        guarded.keys.release()
        storm.join(30)
        assert results == [[UNAVAILABLE] * 50]
        assert guarded.keys.calls < 50  # who came after it had ended asks anew, and is joined again


def test_d02_100_cold_keys_at_once_are_all_answered() -> None:
    keys = FakeKeyService([f"{GOOD}-{number}" for number in range(100)])
    with Guarded(keys) as guarded:
        keys.hold()
        results: list[list[int]] = []
        storm = threading.Thread(
            target=lambda: results.append(
                at_once([lambda key=key: guarded.status(key) for key in keys_of(100)])
            )
        )
        storm.start()
        keys.wait_for_calls(16)
        assert keys.calls == 16
        keys.release()
        storm.join(30)
        assert results == [[200] * 100]
        assert keys.most_in_flight <= 16


def keys_of(count: int) -> list[str]:
    return [f"{GOOD}-{number}" for number in range(count)]


def test_d03_a_hanging_key_service_takes_16_threads_and_a_bounded_queue() -> None:
    with Guarded(validator_timeout=0.3) as guarded:
        guarded.status()
        guarded.keys.hold()
        started = time.monotonic()
        codes = at_once([lambda key=f"{BAD}-{n}": guarded.code(key) for n in range(250)])  # type: ignore[misc]  # bound early
        assert time.monotonic() - started < 0.3 + 5  # promised: deadline plus slack; 250 threads need some
        assert set(codes) <= {UNAVAILABLE, (503, "overloaded")}
        assert guarded.guard.stats()["verification_threads"] <= 16
        assert guarded.keys.calls <= 1 + 16
        assert guarded.code() == ALLOWED  # known keys are served meanwhile


def test_d03_whoever_has_no_slot_in_time_is_told_when_to_come_back() -> None:
    with Guarded(validator_max_concurrency=1, validator_timeout=0.3) as guarded:
        guarded.keys.hold()
        threading.Thread(target=guarded.code, args=(f"{BAD}-first",), daemon=True).start()
        guarded.keys.wait_for_calls(1)
        response = guarded.get(f"{BAD}-second")
        assert (response.status, response.json()["code"]) == OVERLOADED
        assert int(response.header("Retry-After") or 0) >= 1


def test_d03_what_waited_too_long_in_the_queue_is_not_asked() -> None:
    with Guarded(validator_max_concurrency=1, validator_timeout=0.2) as guarded:
        guarded.keys.hold()
        codes = at_once([lambda n=n: guarded.code(f"{BAD}-{n}") for n in range(5)])  # type: ignore[misc]  # bound early
        assert sorted(codes) == [UNAVAILABLE, *[OVERLOADED] * 4]  # one was asked, the others had no slot
        guarded.keys.release()
        settle(guarded.guard)
        assert guarded.keys.calls == 1


class Pausing:
    """A key service that keeps each question until it is let go, and then gives the answer at hand.

    :param answers: one for each question, in their order.
    """

    def __init__(self, *answers: bool) -> None:
        self.asked = 0
        self._answers = answers
        self._gates = [threading.Event() for _ in answers]

    def __call__(self, credential: Credential) -> Verdict:
        number, self.asked = self.asked, self.asked + 1
        self._gates[number].wait(20)
        return Verdict(valid=self._answers[number])

    def let_go(self, *numbers: int) -> None:
        for number in numbers:
            self._gates[number].set()


def test_d03_the_end_of_a_verification_that_took_too_long_is_no_answer_to_later_requests() -> None:
    service = Pausing(True, True)
    with Guarded(key_service=service, key_service_in_pool=True, validator_timeout=0.2) as guarded:
        service.let_go(1)
        assert guarded.code() == UNAVAILABLE
        # The first question is still under way: the second request must not be told how it fails.
        assert guarded.code() == ALLOWED
        service.let_go(0)


def test_d03_a_credential_on_which_the_key_service_hangs_holds_two_threads_at_most() -> None:
    service = Pausing(True, True, True)
    with Guarded(key_service=service, key_service_in_pool=True, validator_timeout=0.1) as guarded:
        assert [guarded.code() for _ in range(5)] == [UNAVAILABLE] * 5
        assert service.asked == 2
        service.let_go(0, 1, 2)
        settle(guarded.guard)
        assert guarded.code() == ALLOWED


def test_d03_a_verdict_that_comes_too_late_does_not_undo_a_later_one() -> None:
    service = Pausing(True, False)
    with Guarded(key_service=service, key_service_in_pool=True, validator_timeout=0.2) as guarded:
        assert guarded.code() == UNAVAILABLE
        service.let_go(1)
        assert guarded.code() == (401, "invalid_credential")
        service.let_go(0)
        wait_for_the_threads_to_end(guarded)
        assert guarded.guard.stats()["cached_valid"] == 0


def test_d03_a_verdict_that_comes_too_late_does_not_undo_a_revocation() -> None:
    service = Pausing(True, True)
    with Guarded(key_service=service, key_service_in_pool=True, validator_timeout=0.2) as guarded:
        assert [guarded.code(), guarded.code()] == [UNAVAILABLE] * 2
        guarded.guard.revoke(key=GOOD)
        service.let_go(0, 1)
        wait_for_the_threads_to_end(guarded)
        assert guarded.guard.stats()["cached_valid"] == 0


def wait_for_the_threads_to_end(guarded: Guarded) -> None:
    """Close the guard; what its threads still had to say has been said when this returns."""
    guarded.guard.close()
    pause, deadline = threading.Event(), time.monotonic() + 10
    while guarded.guard.stats()["verification_threads"]:
        assert time.monotonic() < deadline, "a thread did not end"
        pause.wait(0.002)


def test_d08_nothing_is_left_of_keys_that_were_asked_about() -> None:
    with Guarded(negative_max_entries=10) as guarded:
        for number in range(500):
            guarded.status(f"{BAD}-{number}")
        stats = guarded.guard.stats()
        assert stats["verifications_under_way"] == 0
        assert stats["cached_invalid"] <= 10
        assert set(stats) == set(guarded.guard.stats())


@pytest.mark.parametrize("bound", [0, 1, 2, 63, 64, 65, 200])
def test_d09_bounds_hold_and_zero_is_off(bound: int) -> None:
    keys = FakeKeyService(keys_of(300))
    with Guarded(keys, cache_max_entries=bound, negative_max_entries=bound) as guarded:
        for key in keys_of(300):
            assert guarded.status(key) == 200
            assert guarded.status(f"{BAD}-{key}") == 401
            assert guarded.guard.stats()["cached_valid"] <= bound
            assert guarded.guard.stats()["cached_invalid"] <= bound
        calls = keys.calls
        guarded.status(keys_of(300)[-1])
        assert keys.calls == calls + (1 if bound == 0 else 0)


def test_the_oldest_verdicts_go_first() -> None:
    keys = FakeKeyService(keys_of(4))
    with Guarded(keys, cache_max_entries=3) as guarded:
        for key in keys_of(4):
            guarded.status(key)
        calls = keys.calls
        for key in keys_of(4)[1:]:
            assert guarded.status(key) == 200
        assert keys.calls == calls
        guarded.status(keys_of(4)[0])
        assert keys.calls == calls + 1
