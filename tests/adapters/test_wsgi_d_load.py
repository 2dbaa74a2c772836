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
        store = guarded.guard._verifier.store
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
        assert guarded.keys.calls < 12  # the breaker opens after ten; no caller asks for himself in turn


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


def test_d03_overloaded_is_said_at_once_and_says_when_to_come_back() -> None:
    with Guarded(validator_max_concurrency=1, validator_timeout=5) as guarded:
        guarded.keys.hold()
        threads = [
            threading.Thread(target=guarded.code, args=(f"{BAD}-{number}",), daemon=True)
            for number in range(11)
        ]
        for thread in threads:
            thread.start()
        pause = threading.Event()
        while guarded.guard.stats()["verifications_under_way"] < 11:
            pause.wait(0.002)
        response = guarded.get(f"{BAD}-one-too-many")
        assert (response.status, response.json()["code"]) == (503, "overloaded")
        assert int(response.header("Retry-After") or 0) >= 1
        guarded.keys.release()
        for thread in threads:
            thread.join(10)


def test_d03_what_waited_too_long_in_the_queue_is_not_asked() -> None:
    with Guarded(validator_max_concurrency=1, validator_timeout=0.2) as guarded:
        guarded.keys.hold()
        assert set(at_once([lambda n=n: guarded.code(f"{BAD}-{n}") for n in range(5)])) == {UNAVAILABLE}  # type: ignore[misc]  # bound early
        guarded.keys.release()
        settle(guarded.guard)
        assert guarded.keys.calls == 1


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
