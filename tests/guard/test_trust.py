"""What a key service may do to us, seen from the caller's side (threats V)."""

from __future__ import annotations

import threading
import time

import pytest

from apikey_guard import Consumer, Credential, KeyServiceUnavailable, RateLimited, Verdict
from apikey_guard.testing import FakeKeyService
from tests.harness.guarded import BAD, GOOD, Guarded, at_once, settle

UNAVAILABLE = (503, "key_service_unavailable")
INVALID = (401, "invalid_credential")
ALLOWED = (200, "")


# -- V-02: the key service is unavailable ----------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "expires_in", "expected"),
    [
        pytest.param(None, None, UNAVAILABLE, id="never seen"),
        pytest.param(1, None, ALLOWED, id="fresh"),
        pytest.param(59, None, ALLOWED, id="due for refresh"),
        pytest.param(61, None, ALLOWED, id="stale, in grace"),
        pytest.param(359, None, ALLOWED, id="stale, at the end of the grace"),
        pytest.param(361, None, UNAVAILABLE, id="stale, past the grace"),
        pytest.param(61, 60.5, UNAVAILABLE, id="stale, but the key itself has ended"),
        pytest.param(30, 20, UNAVAILABLE, id="remembered, but the key itself has ended"),
    ],
)
def test_v02_key_service_unavailable(
    age: float | None, expires_in: float | None, expected: tuple[int, str]
) -> None:
    with Guarded() as guarded:
        if expires_in is not None:
            guarded.keys.add(GOOD, expires_at=guarded.clock.time() + expires_in)
        if age is not None:
            assert guarded.code() == ALLOWED
            guarded.clock.advance(age)
        guarded.keys.fail()
        assert guarded.code() == expected
        settle(guarded.guard)
        assert guarded.code() == expected


def test_v02_a_known_bad_key_stays_bad_only_while_fresh() -> None:
    with Guarded() as guarded:
        assert guarded.code(BAD) == INVALID
        guarded.keys.fail()
        assert guarded.code(BAD) == INVALID
        guarded.clock.advance(6)
        assert guarded.code(BAD) == UNAVAILABLE


def test_v02_stale_is_off_with_zero() -> None:
    with Guarded(stale_if_error=0) as guarded:
        assert guarded.code() == ALLOWED
        guarded.clock.advance(61)
        guarded.keys.fail()
        assert guarded.code() == UNAVAILABLE


def test_v02_503_says_when_to_come_back() -> None:
    with Guarded() as guarded:
        guarded.keys.fail()
        response = guarded.get()
    assert int(response.header("Retry-After") or 0) >= 1
    assert response.header("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(error, id=type(error).__name__)
        for error in (
            KeyServiceUnavailable("timeout"),
            OSError("KCANARY"),
            RecursionError(),
            UnicodeEncodeError("latin-1", "KCANARY", 0, 1, "no"),
            ValueError("KCANARY"),
            MemoryError(),
            KeyError("KCANARY"),
        )
    ],
)
def test_a01_whatever_a_key_service_raises_is_unavailable(error: Exception) -> None:
    with Guarded() as guarded:
        guarded.keys.fail(error)
        assert guarded.code() == UNAVAILABLE
        guarded.keys.heal()
        assert guarded.code() == ALLOWED


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit], ids=lambda error: error.__name__)
def test_a01_c07_what_would_end_a_process_ends_only_the_verification(error: type[BaseException]) -> None:
    raising = [True]

    def key_service(credential: Credential) -> Verdict:
        if raising[0]:
            raise error
        return Verdict(valid=True)

    with Guarded(key_service=key_service) as guarded:
        assert at_once([guarded.code] * 5) == [UNAVAILABLE] * 5
        raising[0] = False
        assert guarded.code() == ALLOWED


@pytest.mark.parametrize("answer", [None, True, {"valid": True}, "valid"], ids=repr)
def test_v04_a_function_that_returns_no_verdict_is_unavailable(answer: object) -> None:
    with Guarded(key_service=lambda credential: answer) as guarded:
        assert guarded.code() == UNAVAILABLE


# -- rate limits -----------------------------------------------------------------------------------


def test_rate_limited_is_answered_and_not_remembered() -> None:
    with Guarded() as guarded:
        guarded.keys.fail(RateLimited(retry_after=17))
        response = guarded.get()
        assert (response.status, response.json()["code"]) == (429, "rate_limited")
        assert response.header("Retry-After") == "17"
        guarded.keys.heal()
        assert guarded.code() == ALLOWED


def test_rate_limited_leaves_a_remembered_verdict_alone() -> None:
    with Guarded() as guarded:
        assert guarded.code() == ALLOWED
        guarded.keys.fail(RateLimited())
        guarded.clock.advance(59.9)
        assert guarded.code() == ALLOWED
        settle(guarded.guard)
        assert guarded.code() == ALLOWED


# -- V-09, V-10: ages and clocks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "serves_at", "asks_at"),
    [
        pytest.param(None, 47, 61, id="the setting"),
        pytest.param(10, 7, 11, id="shortened by the service"),
        pytest.param(10_000, 47, 61, id="never lengthened"),
    ],
)
def test_v09_ttl(ttl: float | None, serves_at: float, asks_at: float) -> None:
    with Guarded() as guarded:
        guarded.keys.add(GOOD, ttl=ttl)
        guarded.status()
        guarded.clock.advance(serves_at)
        guarded.status()
        assert guarded.keys.calls == 1
        guarded.clock.advance(asks_at - serves_at)
        guarded.status()
        settle(guarded.guard)
        assert guarded.keys.calls == 2


def test_v09_a_ttl_of_zero_is_not_remembered() -> None:
    with Guarded(stale_if_error=0) as guarded:
        guarded.keys.add(GOOD, ttl=0)
        assert [guarded.status() for _ in range(3)] == [200] * 3
        assert guarded.keys.calls == 3


def test_v09_a_valid_verdict_about_an_ended_key_is_invalid() -> None:
    with Guarded() as guarded:
        guarded.keys.add(GOOD, expires_at=guarded.clock.time() - 1)
        assert guarded.code() == INVALID


@pytest.mark.parametrize("seconds", [-3600, 3600], ids=["back", "forth"])
def test_v10_the_wall_clock_moves_keys_without_a_date_stay(seconds: float) -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.set_wall(guarded.clock.time() + seconds)
        guarded.clock.advance_monotonic(40)
        assert guarded.status() == 200
        assert guarded.keys.calls == 1
        guarded.clock.advance_monotonic(400)
        guarded.status()
        assert guarded.keys.calls == 2


def test_v10_the_end_of_a_key_is_checked_on_every_hit() -> None:
    with Guarded() as guarded:
        guarded.keys.add(GOOD, expires_at=guarded.clock.time() + 30)
        assert guarded.code() == ALLOWED
        guarded.keys.revoke(GOOD)
        guarded.clock.set_wall(guarded.clock.time() + 31)
        assert guarded.code() == INVALID


def test_v10_a_long_pause_of_the_machine_forgets_everything() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.advance_monotonic(1e6)
        guarded.keys.fail()
        assert guarded.code() == UNAVAILABLE


# -- V-11, V-12: revocation, and keys that become valid --------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"key": GOOD}, id="key"),
        pytest.param({"consumer": "acme"}, id="username"),
        pytest.param({"consumer": "42"}, id="id"),
        pytest.param({"everything": True}, id="everything"),
    ],
)
def test_v11_revoke(how: dict[str, object]) -> None:
    with Guarded(FakeKeyService({GOOD: Consumer(id="42", username="acme")})) as guarded:
        assert guarded.code() == ALLOWED
        guarded.keys.revoke(GOOD)
        assert guarded.code() == ALLOWED
        assert guarded.guard.revoke(**how) == 1  # type: ignore[arg-type]  # one of its arguments
        assert guarded.code() == INVALID


def test_v11_revoke_by_the_fingerprint_that_logs_show() -> None:
    with Guarded() as guarded:
        guarded.status()
        decision = guarded.app.seen[0].environ["apikey_guard.decision"]
        guarded.keys.revoke(GOOD)
        assert guarded.guard.revoke(fingerprint=decision.fingerprint.hex()[:12]) == 1  # type: ignore[attr-defined]  # an Allow
        assert guarded.code() == INVALID


@pytest.mark.parametrize(
    "how", [{}, {"key": "a", "consumer": "b"}, {"fingerprint": "abc"}, {"fingerprint": "x" * 12}], ids=repr
)
def test_v11_revoke_refuses_what_it_cannot_mean(how: dict[str, object]) -> None:
    with Guarded() as guarded, pytest.raises(ValueError, match=r"give exactly one|hex digits"):
        guarded.guard.revoke(**how)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "how",
    [{"key": GOOD}, {"consumer": "somebody"}, {"everything": True}],
    ids=["key", "consumer", "everything"],
)
def test_v11_an_answer_on_its_way_while_its_key_is_revoked_is_not_remembered(how: dict[str, object]) -> None:
    with Guarded() as guarded:
        guarded.keys.hold()
        early: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: early.append(guarded.code()))
        thread.start()
        guarded.keys.wait_for_calls(1)
        guarded.guard.revoke(**how)  # type: ignore[arg-type]  # one of its arguments
        guarded.keys.revoke(GOOD)
        guarded.keys.release()
        thread.join(10)
        assert early == [ALLOWED]  # it was asked before the key was revoked
        assert guarded.code() == INVALID
        assert guarded.keys.calls == 2


def test_v11_nobody_joins_a_verification_whose_key_was_revoked() -> None:
    with Guarded() as guarded:
        guarded.keys.hold()
        threading.Thread(target=guarded.code, daemon=True).start()
        guarded.keys.wait_for_calls(1)
        guarded.guard.revoke(key=GOOD)
        guarded.keys.revoke(GOOD)
        late: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: late.append(guarded.code()))
        thread.start()
        guarded.keys.wait_for_calls(2)
        guarded.keys.release()
        thread.join(10)
        assert late == [INVALID]


def test_v11_a_new_invalid_verdict_overrides_the_older_valid_one_at_once() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.keys.revoke(GOOD)
        guarded.clock.advance(59.99)
        assert guarded.code() == ALLOWED  # due for refresh: served, and asked in the background
        settle(guarded.guard)
        assert guarded.code() == INVALID


def test_v12_a_key_that_becomes_valid_is_accepted_within_the_negative_ttl() -> None:
    with Guarded() as guarded:
        assert guarded.code(BAD) == INVALID
        guarded.keys.add(BAD)
        for _ in range(49):
            guarded.clock.advance(0.1)
            guarded.code(BAD)  # hits never extend it
        guarded.clock.advance(0.1)
        assert guarded.code(BAD) == ALLOWED


# -- refresh and stale -----------------------------------------------------------------------------


def test_refresh_runs_in_the_background_and_once() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.advance(59.9)
        guarded.keys.hold()
        assert at_once([guarded.status] * 20) == [200] * 20
        guarded.keys.wait_for_calls(2)
        assert guarded.keys.calls == 2
        guarded.keys.release()
        settle(guarded.guard)
        guarded.clock.advance(40)
        assert guarded.status() == 200
        assert guarded.keys.calls == 2


def test_while_a_refresh_runs_the_verdict_is_simply_fresh() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.advance(59.9)
        guarded.keys.hold()
        freshness = []
        for _ in range(4):
            guarded.status()
            freshness.append(str(guarded.app.seen[-1].environ["apikey_guard.decision"].freshness))  # type: ignore[attr-defined]  # an Allow
        assert freshness == ["refresh", "fresh", "fresh", "fresh"]
        guarded.keys.wait_for_calls(2)
        guarded.clock.advance(0.2)
        guarded.keys.revoke(GOOD)
        guarded.keys.release()
        settle(guarded.guard)
        assert guarded.code() == ALLOWED  # as the answer was when it was asked
        assert guarded.keys.calls == 2


def test_a_refresh_that_does_not_end_serves_no_longer_than_the_ttl() -> None:
    with Guarded(stale_if_error=0, validator_timeout=0.2) as guarded:
        guarded.status()
        guarded.clock.advance(59.9)
        guarded.keys.hold()
        assert guarded.code() == ALLOWED
        guarded.clock.advance(0.2)
        assert guarded.code() == UNAVAILABLE


def test_a_failed_refresh_is_not_tried_again_at_once() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.advance(58)
        guarded.keys.fail()
        for _ in range(10):
            assert guarded.code() == ALLOWED
            settle(guarded.guard)
        assert guarded.keys.calls <= 3
        guarded.keys.heal()
        guarded.clock.advance(1.5)
        assert guarded.code() == ALLOWED
        settle(guarded.guard)
        guarded.clock.advance(30)
        assert guarded.code() == ALLOWED


def test_a_hanging_key_service_delays_a_stale_key_once() -> None:
    with Guarded(validator_timeout=0.5) as guarded:
        guarded.status()
        guarded.clock.advance(61)
        guarded.keys.hold()
        started = time.monotonic()
        assert guarded.code() == ALLOWED
        first = time.monotonic() - started
        started = time.monotonic()
        for _ in range(20):
            assert guarded.code() == ALLOWED
        others = time.monotonic() - started
    assert first < 0.5 + 1.0  # promised: one deadline
    assert others < 1.0  # promised: under 20 ms each
    assert first > others / 20


def test_a_stale_decision_says_so() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.clock.advance(61)
        guarded.keys.fail()
        guarded.status()
        assert guarded.app.seen[-1].environ["apikey_guard.decision"].freshness == "stale"  # type: ignore[attr-defined]  # an Allow


def test_a_stale_key_that_turns_out_invalid_is_denied_in_the_same_request() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.keys.revoke(GOOD)
        guarded.clock.advance(61)
        assert guarded.code() == INVALID


# -- V-14, V-15, V-19, D-03: the breaker -----------------------------------------------------------


def test_v14_a_failing_key_service_is_not_asked_for_every_request() -> None:
    with Guarded() as guarded:
        guarded.keys.fail()
        for number in range(200):
            assert guarded.code(f"{BAD}-{number}") == UNAVAILABLE
        assert guarded.keys.calls < 30


def test_v15_after_an_outage_one_probe_opens_the_way_for_all() -> None:
    with Guarded() as guarded:
        guarded.keys.fail()
        for number in range(30):
            guarded.code(f"{BAD}-{number}")
        assert guarded.guard.stats()["breaker_open"]
        calls = guarded.keys.calls
        guarded.keys.heal()
        guarded.clock.advance(1.6)
        guarded.keys.hold()
        probe = threading.Thread(target=guarded.code, daemon=True)
        probe.start()
        guarded.keys.wait_for_calls(calls + 1)
        for number in range(10):
            assert guarded.code(f"{BAD}-{100 + number}") == UNAVAILABLE  # one probe at a time
        assert guarded.keys.calls == calls + 1
        guarded.keys.release()
        probe.join(10)
        assert guarded.code() == ALLOWED


def test_v19_a_third_of_failures_does_not_open_the_breaker() -> None:
    with Guarded() as guarded:
        for number in range(60):
            if number % 3 == 0:
                guarded.keys.fail()
            guarded.code(f"{BAD}-{number}")
            guarded.keys.heal()
        assert guarded.keys.calls == 60
        assert not guarded.guard.stats()["breaker_open"]


def test_d03_known_keys_are_served_while_the_breaker_is_open() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.keys.fail()
        for number in range(30):
            guarded.code(f"{BAD}-{number}")
        assert guarded.code() == ALLOWED
        guarded.clock.advance(100)
        assert guarded.code() == ALLOWED  # stale


def test_v20_an_app_starts_while_the_key_service_is_down() -> None:
    keys = FakeKeyService([GOOD])
    keys.fail()
    with Guarded(keys) as guarded:
        assert guarded.code() == UNAVAILABLE
        keys.heal()
        assert guarded.code() == ALLOWED
