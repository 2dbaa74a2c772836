"""When the key service is asked and when it is spared, by a clock that is moved by hand."""

from __future__ import annotations

import itertools

import pytest

from apikey_guard.testing import ManualClock
from apikey_guard.verification.breaker import Breaker
from tests.harness.guarded import at_once

# A pause is a second with jitter: half as long at least, half as long again at most.
SHORTEST, LONGEST = 0.5, 1.5
PROBE = 4.0
KEYS = itertools.count()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock, probe_timeout=PROBE)


def play(breaker: Breaker, outcomes: str, *, known: bool = True, cause: str = "timeout") -> None:
    """One outcome for each of so many keys, which are all different."""
    for outcome in outcomes:
        key = next(KEYS).to_bytes(32, "big")
        if outcome == "+":
            breaker.succeeded(key)
        else:
            breaker.failed(key, cause, known=known)


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        pytest.param("-" * 9, False, id="too few to tell"),
        pytest.param("-" * 10, True, id="ten failures"),
        pytest.param("+" * 5 + "-" * 5, True, id="half of them"),
        pytest.param("+" * 6 + "-" * 5, False, id="less than half"),
        pytest.param("+" * 100 + "-" * 9, False, id="a run of failures among many answers"),
        pytest.param("-+" * 4 + "--", True, id="mixed, half and more"),
    ],
)
def test_it_opens_by_rate_and_volume(breaker: Breaker, outcomes: str, opens: bool) -> None:
    play(breaker, outcomes)
    assert breaker.is_open is opens
    assert breaker.admits(known=True) is not opens


@pytest.mark.parametrize(("seconds", "opens"), [(0, True), (9, True), (11, True), (20, False), (60, False)])
def test_what_was_long_ago_counts_no_more(
    breaker: Breaker, clock: ManualClock, seconds: float, opens: bool
) -> None:
    play(breaker, "-" * 9)
    clock.advance(seconds)
    play(breaker, "-")
    assert breaker.is_open is opens


@pytest.mark.parametrize(
    "cause", ["timeout", "reset", "status", "redirect", "refused_us", "content", "error"]
)
def test_v14_keys_that_nobody_knows_never_open_it_by_what_became_of_them(
    breaker: Breaker, cause: str
) -> None:
    play(breaker, "-" * 1000, known=False, cause=cause)
    assert not breaker.is_open


@pytest.mark.parametrize("cause", ["dns", "connect", "tls"])
def test_without_a_connection_it_opens_whatever_the_keys_are(breaker: Breaker, cause: str) -> None:
    play(breaker, "-" * 10, known=False, cause=cause)
    assert breaker.is_open


@pytest.mark.parametrize("known", [True, False])
def test_one_key_counts_once(breaker: Breaker, clock: ManualClock, known: bool) -> None:
    play(breaker, "-" * 8)
    for _ in range(100):
        breaker.failed(b"again and again", "connect", known=known)
        clock.advance(0.01)
    assert not breaker.is_open
    play(breaker, "-")
    assert breaker.is_open


def test_a_key_that_was_answered_since_counts_as_answered(breaker: Breaker) -> None:
    breaker.failed(b"key", "timeout", known=True)
    breaker.succeeded(b"key")
    play(breaker, "+" * 5 + "-" * 4)
    assert not breaker.is_open


def test_half_open_a_key_that_nobody_knows_does_not_take_the_probe_of_others(
    breaker: Breaker, clock: ManualClock
) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert breaker.admits(known=False)
    assert not breaker.admits(known=False)
    assert breaker.admits(known=True)


def test_half_open_what_became_of_a_key_that_nobody_knows_decides_nothing(
    breaker: Breaker, clock: ManualClock
) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert breaker.admits(known=False)
    breaker.failed(b"made up", "status", known=False)
    assert breaker.is_open
    assert breaker.admits(known=True)


@pytest.mark.parametrize(
    ("opened_by", "cause", "seconds", "closes"),
    [
        pytest.param("connect", "timeout", LONGEST, True, id="refused, then it hangs on a key"),
        pytest.param("dns", "status", LONGEST, True, id="not found, then it stumbles on a key"),
        pytest.param("tls", "reset", LONGEST, True, id="no TLS, then it cuts the answer about a key"),
        pytest.param("connect", "connect", LONGEST, False, id="still refused"),
        pytest.param("connect", "error", LONGEST, False, id="a key that could not be sent"),
        pytest.param("status", "status", LONGEST, False, id="it stumbled on keys that were valid lately"),
        pytest.param("timeout", "timeout", LONGEST, False, id="it hung on keys that were valid lately"),
        pytest.param("status", "status", 21, True, id="it stumbled on them long ago"),
    ],
)
def test_half_open_a_connection_is_an_end_where_nothing_else_was_wrong(
    breaker: Breaker, clock: ManualClock, opened_by: str, cause: str, seconds: float, closes: bool
) -> None:
    play(breaker, "-" * 10, cause=opened_by)
    clock.advance(seconds)
    assert breaker.admits(known=False)
    breaker.failed(b"made up", cause, known=False)
    assert breaker.is_open is not closes


@pytest.mark.parametrize(
    ("outcomes", "silent"),
    [("--", False), ("---", True), ("---+", False), ("--+--", False), ("+---", True)],
)
def test_it_is_silent_where_several_failed_and_none_was_answered_since(
    breaker: Breaker, outcomes: str, silent: bool
) -> None:
    play(breaker, outcomes)
    assert breaker.is_silent is silent
    assert not breaker.is_open


def test_keys_that_nobody_knows_make_no_silence(breaker: Breaker) -> None:
    play(breaker, "-" * 100, known=False)
    assert not breaker.is_silent


def test_many_keys_take_bounded_room_and_the_latest_count(breaker: Breaker) -> None:
    play(breaker, "+" * 10_000)
    play(breaker, "-" * 4096)
    assert breaker.is_open


def test_open_it_admits_nobody_until_the_pause_is_over(breaker: Breaker, clock: ManualClock) -> None:
    play(breaker, "-" * 10)
    assert SHORTEST <= breaker.retry_after() <= LONGEST
    clock.advance(SHORTEST - 0.01)
    assert not breaker.admits(known=True)
    clock.advance(LONGEST)
    assert breaker.retry_after() == 0
    assert breaker.admits(known=True)


def test_half_open_one_probe_goes_out_at_a_time(breaker: Breaker, clock: ManualClock) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert sum(at_once([lambda: breaker.admits(known=True)] * 20)) == 1
    assert breaker.is_open


def test_a_probe_that_succeeds_closes_it_and_forgets(breaker: Breaker, clock: ManualClock) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert breaker.admits(known=True)
    breaker.succeeded(b"probe")
    assert not breaker.is_open
    play(breaker, "-" * 9)
    assert not breaker.is_open


def test_a_probe_that_fails_begins_another_pause(breaker: Breaker, clock: ManualClock) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert breaker.admits(known=True)
    breaker.failed(b"probe", "timeout", known=True)
    assert not breaker.admits(known=True)
    assert breaker.retry_after() >= SHORTEST


def test_a_probe_that_never_reports_is_given_up(breaker: Breaker, clock: ManualClock) -> None:
    play(breaker, "-" * 10)
    clock.advance(LONGEST)
    assert breaker.admits(known=True)
    clock.advance(PROBE - 0.01)
    assert not breaker.admits(known=True)
    clock.advance(0.02)
    assert breaker.admits(known=True)


def test_v15_the_pauses_of_several_processes_differ(clock: ManualClock) -> None:
    breakers = [Breaker(clock, probe_timeout=PROBE) for _ in range(20)]
    for breaker in breakers:
        play(breaker, "-" * 10)
    assert len({breaker.retry_after() for breaker in breakers}) > 1
