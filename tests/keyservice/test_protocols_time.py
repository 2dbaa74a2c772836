"""When a verdict ends, and how long a rate limit lasts, as key services say it."""

from __future__ import annotations

import pytest

from apikey_guard.errors import RateLimited
from tests.harness.answers import JSON, NOW, cause_of, verdict_of


class TestTime:
    @pytest.mark.parametrize("ttl", [0, 0.5, 30, 1e12])
    @pytest.mark.parametrize("valid", [True, False])
    def test_v09_a_ttl_is_passed_on_for_both_verdicts(self, valid: bool, ttl: float) -> None:
        assert verdict_of("json", {"valid": valid, "ttl": ttl}).ttl == ttl

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("2027-01-15T08:00:10Z", 10),
            ("2027-01-15t08:00:10z", 10),
            ("2027-01-15 08:00:10Z", 10),
            ("2027-01-15T09:00:10+01:00", 10),
            ("2027-01-15T08:00:10-00:00", 10),
            ("2027-01-14T20:30:10-11:30", 10),
            ("2027-01-15T08:00:10.5Z", 10.5),
            ("2027-01-15T08:00:10.123456789Z", 10.123456789),
            ("2027-01-15T08:59:60Z", 3600),
        ],
    )
    def test_v09_dates_of_rfc_3339(self, text: str, seconds: float) -> None:
        expires_at = verdict_of("json", {"valid": True, "expires_at": text}).expires_at
        assert expires_at == pytest.approx(NOW + seconds, abs=1e-6)

    @pytest.mark.parametrize(
        "text",
        [
            "2027-01-15T08:00:10",
            "2027-01-15",
            "2027-01-15T08:00Z",
            "20270115T080010Z",
            "2027-W02-5T08:00:10Z",
            "2027-02-30T08:00:10Z",
            "2027-13-01T08:00:10Z",
            "2027-01-15T24:00:00Z",
            "2027-01-15T08:00:61Z",
            "2027-01-15T08:00:10+24:00",
            "2027-01-15T08:00:10+0100",
            "2027-01-15T08:00:10Z ",
            "2027-01-15T08:00:10,5Z",
            "0000-01-01T00:00:00Z",
            "٢٠٢٧-01-15T08:00:10Z",
            "tomorrow",
            "1800000010",
        ],
    )
    def test_v09_what_is_not_a_date_is_never_for_ever(self, text: str) -> None:
        assert cause_of(lambda: verdict_of("json", {"valid": True, "expires_at": text})) == "content"

    @pytest.mark.parametrize(("early", "valid"), [(1.0, True), (0.0, False), (-1.0, False), (-1e9, False)])
    def test_v09_a_credential_that_has_ended_is_invalid(self, early: float, valid: bool) -> None:
        document = {"valid": True, "expires_at": "2027-01-15T08:00:00Z"}
        assert verdict_of("json", document, now=NOW - early).valid is valid

    def test_v10_a_wall_clock_before_1970_is_only_early(self) -> None:
        document = {"valid": True, "expires_at": "2027-01-15T08:00:00Z"}
        assert verdict_of("json", document, now=-1e6).valid


class TestRateLimit:
    @pytest.mark.parametrize("status", [200, 401, 403, 429, 503])
    @pytest.mark.parametrize("valid", [{"valid": True}, {"valid": False}, {}], ids=str)
    def test_said_at_any_status(self, status: int, valid: dict[str, bool]) -> None:
        with pytest.raises(RateLimited) as caught:
            verdict_of("json", {**valid, "reason": "rate_limited", "retry_after": 7}, status=status)
        assert caught.value.retry_after == 7.0

    @pytest.mark.parametrize(
        ("members", "header", "seconds"),
        [
            ({}, None, None),
            ({"retry_after": None}, None, None),
            ({"retry_after": 0}, None, 0.0),
            ({"retry_after": 1.5}, "99", 1.5),
            ({"retry_after": 99_999}, None, 3600.0),
            ({}, "12", 12.0),
            ({}, "99999", 3600.0),
            ({}, "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ({}, "-1", None),
        ],
    )
    def test_v14_how_long_is_bounded(
        self, members: dict[str, object], header: str | None, seconds: float | None
    ) -> None:
        headers = JSON if header is None else (*JSON, ("Retry-After", header))
        with pytest.raises(RateLimited) as caught:
            verdict_of("json", {"reason": "rate_limited", **members}, status=429, headers=headers)
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize("retry_after", [-1, "7", True, []])
    def test_v04_a_broken_number_makes_the_answer_unusable(self, retry_after: object) -> None:
        document = {"reason": "rate_limited", "retry_after": retry_after}
        assert cause_of(lambda: verdict_of("json", document)) == "content"

    def test_v03_a_429_that_does_not_say_so_means_us(self) -> None:
        assert cause_of(lambda: verdict_of("json", {"error": "slow down"}, status=429)) == "status"
