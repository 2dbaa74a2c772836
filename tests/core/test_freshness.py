"""How long a verdict serves: the settings bound it, the key service and the credential's end shorten it."""

from __future__ import annotations

import pytest

from apikey_guard.core.freshness import Lifetimes, Remembered
from apikey_guard.core.model import Consumer, Freshness, Verdict

NOW = 1_000.0
TODAY = 1_800_000_000.0
LATEST = 0.999  # the draw that gives the longest time for a refresh: the last fifth

FRESH, REFRESH, STALE, GONE = Freshness.FRESH, Freshness.REFRESH, Freshness.STALE, None


def remembered(
    verdict: Verdict, *, ttl: float = 60, stale: float = 300, chance: float = LATEST
) -> Remembered:
    lifetimes = Lifetimes(ttl=ttl, negative_ttl=5, stale_if_error=stale)
    entry = lifetimes.remember(verdict, now=NOW, wall_time=TODAY, chance=chance)
    assert entry is not None
    return entry


VALID = Verdict(valid=True)
AGES = {
    "at once": (VALID, 0, FRESH),
    "before the last fifth": (VALID, 47.9, FRESH),
    "in the last fifth": (VALID, 48, REFRESH),
    "just before the ttl ends": (VALID, 59.9, REFRESH),
    "when the ttl ends": (VALID, 60, STALE),
    "just before the grace ends": (VALID, 359.9, STALE),
    "when the grace ends": (VALID, 360, GONE),
    "a ttl of the service, in its last fifth": (Verdict(valid=True, ttl=10), 8, REFRESH),
    "a ttl of the service, when it ends": (Verdict(valid=True, ttl=10), 10, STALE),
    "a longer ttl of the service lengthens nothing": (Verdict(valid=True, ttl=999), 60, STALE),
    "a ttl of 0 of the service": (Verdict(valid=True, ttl=0), 0, STALE),
    "a negative ttl of the service": (Verdict(valid=True, ttl=-5), 0, STALE),
    "no grace where the service forbids it": (Verdict(valid=True, stale_allowed=False), 60, GONE),
    "the credential ends before the ttl does": (Verdict(valid=True, expires_at=TODAY + 20), 19.9, REFRESH),
    "the credential has ended, there is no grace": (Verdict(valid=True, expires_at=TODAY + 20), 20, GONE),
}


@pytest.mark.parametrize(("verdict", "age", "expected"), AGES.values(), ids=AGES)
def test_a_verdict_ages(verdict: Verdict, age: float, expected: Freshness | None) -> None:
    assert remembered(verdict).freshness(NOW + age, TODAY + age) is expected


@pytest.mark.parametrize(("wall", "expected"), [(-1e6, FRESH), (19.0, FRESH), (20.0, GONE)])
def test_only_the_end_of_the_credential_follows_the_wall_clock(
    wall: float, expected: Freshness | None
) -> None:
    entry = remembered(Verdict(valid=True, expires_at=TODAY + 20))
    assert entry.freshness(NOW + 1, TODAY + wall) is expected


def test_a_credential_that_has_ended_is_not_remembered() -> None:
    lifetimes = Lifetimes(ttl=60, negative_ttl=5, stale_if_error=300)
    ended = Verdict(valid=True, expires_at=TODAY)
    assert lifetimes.remember(ended, now=NOW, wall_time=TODAY, chance=0) is None


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.6, LATEST])
def test_refreshes_are_spread_over_the_last_fifth_and_never_beyond_the_ttl(chance: float) -> None:
    entry = remembered(VALID, chance=chance)
    assert NOW + 48 <= entry.refresh_at < NOW + 60
    assert entry.refresh_at + entry.lead == pytest.approx(NOW + 60)


def test_without_stale_if_error_nothing_serves_beyond_its_ttl() -> None:
    assert remembered(VALID, stale=0).freshness(NOW + 60, TODAY + 60) is GONE


@pytest.mark.parametrize(
    ("ttl", "longest"), [(None, 5), (2, 2), (60, 5), (0, 0), (-3, 0)], ids=lambda value: f"{value}"
)
@pytest.mark.parametrize("chance", [0.0, LATEST], ids=["no jitter", "most jitter"])
def test_an_invalid_verdict_never_serves_longer_than_either_says(
    ttl: float | None, longest: float, chance: float
) -> None:
    lifetimes = Lifetimes(ttl=60, negative_ttl=5, stale_if_error=300)
    until = lifetimes.invalid_until(Verdict.invalid(ttl=ttl), now=NOW, chance=chance)
    assert NOW + 0.9 * longest <= until <= NOW + longest


def test_what_is_remembered_is_the_consumer() -> None:
    consumer = Consumer(id="42", username="acmé", custom_id="7", scopes=frozenset({"read"}))
    entry = remembered(Verdict(valid=True, consumer=consumer, credential_id="c-1"))
    assert (entry.id, entry.username, entry.custom_id, entry.scopes) == ("42", "acmé", "7", {"read"})
    assert entry.as_environ_text().username == "acm\xc3\xa9"
    assert entry.credential_id == "c-1"


def test_what_is_remembered_shows_itself_as_a_consumer() -> None:
    consumer = Consumer(id="1", username="acme", scopes=frozenset({"read"}))
    verdict = Verdict(valid=True, consumer=consumer, credential_id="k-1")
    lifetimes = Lifetimes(ttl=60, negative_ttl=5, stale_if_error=0)
    assert repr(lifetimes.remember(verdict, now=0, wall_time=0, chance=0)) == repr(consumer)
