"""What each reason looks like to a caller: the status contract, to the byte where it matters."""

from __future__ import annotations

import json

import pytest

from apikey_guard.core.dialects import DIALECTS
from apikey_guard.core.dialects.standard import whole_seconds
from apikey_guard.core.dialects.wording import wording
from apikey_guard.core.extraction import Location
from apikey_guard.core.model import Deny, Reason, Rejection

HEADER = [Location("header", "apikey")]
EVERYWHERE = [
    Location("header", "apikey"),
    Location("query", "key"),
    Location("authorization", "Bearer"),
    Location("cookie", "k"),
    Location("body", "key"),
]

# Reason, status, and the reason that the caller is told.
CONTRACT = {
    Reason.MISSING_CREDENTIAL: (401, "missing_credential"),
    Reason.INVALID_CREDENTIAL: (401, "invalid_credential"),
    Reason.MALFORMED_CREDENTIAL: (401, "invalid_credential"),
    Reason.AMBIGUOUS_CREDENTIAL: (401, "ambiguous_credential"),
    Reason.INSUFFICIENT_SCOPE: (403, "insufficient_scope"),
    Reason.RATE_LIMITED: (429, "rate_limited"),
    Reason.KEY_SERVICE_UNAVAILABLE: (503, "key_service_unavailable"),
    Reason.OVERLOADED: (503, "overloaded"),
    Reason.BODY_TOO_LARGE: (413, "body_too_large"),
    Reason.BAD_REQUEST: (400, "bad_request"),
    Reason.LENGTH_REQUIRED: (411, "length_required"),
    Reason.UPGRADE_UNSUPPORTED: (501, "upgrade_unsupported"),
    Reason.NO_ORIGIN: (404, "no_origin"),
    Reason.ORIGIN_FAILED: (502, "origin_failed"),
    Reason.ORIGIN_TIMEOUT: (504, "origin_timeout"),
    Reason.ORIGIN_BUSY: (503, "origin_busy"),
    Reason.INTERNAL_ERROR: (500, "internal_error"),
}


def rejected(reason: Reason, locations: list[Location] = HEADER, **deny: float) -> Rejection:
    return DIALECTS["standard"].reject(Deny(reason, **deny), locations=locations, realm="shop")


def test_every_reason_has_its_line_in_the_contract() -> None:
    # A preflight that is answered is no refusal: no gateway has words for it.
    assert set(CONTRACT) == set(Reason) - {Reason.PREFLIGHT}


@pytest.mark.parametrize("reason", CONTRACT)
def test_a_rejection_is_a_problem_that_nobody_stores(reason: Reason) -> None:
    status, code = CONTRACT[reason]
    rejection = rejected(reason)
    headers = dict(rejection.headers)
    assert rejection.status == status
    assert rejection.status_line == f"{status} {json.loads(rejection.body)['title']}"
    assert rejection.reason is reason
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(rejection.body) == {
        "type": "about:blank",
        "title": rejection.status_line[4:],
        "status": status,
        "detail": rejection.detail,
        "code": code,
    }
    assert rejection.detail.endswith(".")
    assert rejection.body.endswith(b"}\n")


@pytest.mark.parametrize("reason", CONTRACT)
def test_a_challenge_stands_on_a_401_and_nowhere_else(reason: Reason) -> None:
    challenges = [value for name, value in rejected(reason).headers if name == "WWW-Authenticate"]
    assert challenges == (['Key realm="shop"'] if CONTRACT[reason][0] == 401 else [])


@pytest.mark.parametrize("reason", CONTRACT)
def test_retry_after_stands_on_429_and_503_and_nowhere_else(reason: Reason) -> None:
    assert ("Retry-After" in dict(rejected(reason).headers)) == (CONTRACT[reason][0] in {429, 503})


def test_each_scheme_that_is_looked_at_is_challenged() -> None:
    headers = rejected(Reason.MISSING_CREDENTIAL, EVERYWHERE).headers
    challenges = [value for name, value in headers if name == "WWW-Authenticate"]
    assert challenges == ['Key realm="shop"', 'Bearer realm="shop"']


@pytest.mark.parametrize(
    ("locations", "detail"),
    [
        (HEADER, "Send the key in the header `apikey`."),
        (EVERYWHERE[:2], "Send the key in the header `apikey` or the query parameter `key`."),
        (
            EVERYWHERE,
            "Send the key in the header `apikey`, the query parameter `key`, the header `Authorization` with \
the scheme `Bearer`, the cookie `k` or the body field `key`.",
        ),
    ],
    ids=["one", "two", "all kinds"],
)
def test_the_detail_of_a_missing_credential_names_the_places(locations: list[Location], detail: str) -> None:
    assert rejected(Reason.MISSING_CREDENTIAL, locations).detail == detail


def test_a_malformed_key_looks_exactly_like_an_unknown_one() -> None:
    invalid, malformed = rejected(Reason.INVALID_CREDENTIAL), rejected(Reason.MALFORMED_CREDENTIAL)
    assert (invalid.status, invalid.headers, invalid.body) == (
        malformed.status,
        malformed.headers,
        malformed.body,
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, 1), (0.0, 1), (-5.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.5, 60), (float("inf"), 1)],
)
def test_retry_after_is_whole_seconds_and_never_none(seconds: float | None, shown: int) -> None:
    assert whole_seconds(seconds) == shown


# -- made once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", CONTRACT)
@pytest.mark.parametrize("retry_after", [None, 0.2, 7.5, float("nan"), float("inf")], ids=str)
def test_a_rejection_that_was_made_before_is_the_one_that_would_be_made(
    reason: Reason, retry_after: float | None
) -> None:
    deny = Deny(reason, retry_after=retry_after)
    made = wording("standard", tuple(EVERYWHERE), "shop").reject(deny)
    assert made == DIALECTS["standard"].reject(deny, locations=EVERYWHERE, realm="shop")
    # What else a Deny says is not for its caller.
    again = deny._replace(fingerprint=b"f" * 32, route="r", scopes=frozenset({"s"}))
    assert wording("standard", tuple(EVERYWHERE), "shop").reject(again) is made


def test_rejections_of_other_words_are_others() -> None:
    deny = Deny(Reason.MISSING_CREDENTIAL)
    made = {
        wording("standard", tuple(locations), realm).reject(deny)
        for locations in (HEADER, EVERYWHERE)
        for realm in ("shop", "api")
    }
    assert len(made) == 4


def test_few_rejections_are_kept_however_many_seconds_there_are_to_wait() -> None:
    words = wording("standard", tuple(HEADER), "many seconds")
    made = [words.reject(Deny(Reason.RATE_LIMITED, retry_after=float(number))) for number in range(1, 1000)]
    assert [dict(rejection.headers)["Retry-After"] for rejection in made] == [str(n) for n in range(1, 1000)]
    kept = [words.reject(Deny(Reason.RATE_LIMITED, retry_after=float(number))) for number in range(1, 1000)]
    assert sum(new is old for new, old in zip(kept, made, strict=True)) <= 128
