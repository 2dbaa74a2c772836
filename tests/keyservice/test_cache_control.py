"""What Cache-Control takes off a verdict, and that it never adds anything."""

from __future__ import annotations

import pytest

from apikey_guard.core.model import Verdict
from apikey_guard.keyservice.cache_control import cache_control_ttl, shortened


@pytest.mark.parametrize(
    ("value", "ttl", "stale"),
    [
        ("", None, True),
        ("max-age=60", 60.0, True),
        ("MAX-AGE=60", 60.0, True),
        ('max-age="60"', 60.0, True),
        ("public, max-age=60", 60.0, True),
        ("max-age=0", 0.0, True),
        ("no-store", 0.0, False),
        ("No-Store, max-age=60", 0.0, False),
        ("no-cache", 0.0, False),
        ('no-cache="Set-Cookie, X"', 0.0, False),
        ("max-age=60, must-revalidate", 60.0, False),
        ("must-revalidate", None, False),
        ("private, max-age=60, stale-if-error=600", 60.0, True),
        ("max-age=60, stale-if-error=0", 60.0, False),
        ("s-maxage=5", None, True),
        ("max-age=60, s-maxage=5", 60.0, True),
        ("max-age=x", 0.0, True),
        ("max-age=-1", 0.0, True),
        ("max-age", 0.0, True),
        ("max-age=60, max-age=60", 60.0, True),
        ("max-age=60, max-age=5", 0.0, True),
        ('x="max-age=1", max-age=60', 60.0, True),
        (",,, max-age=60 ,", 60.0, True),
        ("max-age=99999999999999999999", 0.0, True),
    ],
)
def test_directives(value: str, ttl: float | None, stale: bool) -> None:
    assert cache_control_ttl((("cache-control", value),)) == (ttl, stale)


@pytest.mark.parametrize(
    ("age", "ttl"), [("0", 60.0), ("20", 40.0), ("60", 0.0), ("99", 0.0), ("x", 60.0), ("-5", 60.0)]
)
def test_age_is_taken_off(age: str, ttl: float) -> None:
    assert cache_control_ttl((("Cache-Control", "max-age=60"), ("Age", age))) == (ttl, True)


def test_several_headers_are_one_list() -> None:
    headers = (("Cache-Control", "max-age=60"), ("Cache-Control", "must-revalidate"))
    assert cache_control_ttl(headers) == (60.0, False)


def test_no_header_says_nothing() -> None:
    assert cache_control_ttl(()) == (None, True)


@pytest.mark.parametrize(
    ("own", "said", "ttl"),
    [(None, "max-age=60", 60.0), (30.0, "max-age=60", 30.0), (90.0, "max-age=60", 60.0), (30.0, "", 30.0)],
)
def test_v09_the_shorter_one_counts(own: float | None, said: str, ttl: float) -> None:
    verdict = Verdict(valid=True, ttl=own)
    assert shortened(verdict, (("Cache-Control", said),)).ttl == ttl


def test_v09_stale_is_never_allowed_again() -> None:
    verdict = Verdict(valid=True, stale_allowed=False)
    assert not shortened(verdict, (("Cache-Control", "max-age=60, stale-if-error=600"),)).stale_allowed


def test_d07_a_hostile_header_costs_little() -> None:
    assert cache_control_ttl((("Cache-Control", " " * 60_000 + "max-age=1"),)) == (1.0, True)
    assert cache_control_ttl((("Cache-Control", "," * 60_000 + "max-age=1"),)) == (1.0, True)
