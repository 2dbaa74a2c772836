"""Who calls is ours to say, for every route and everybody (threats A)."""

from __future__ import annotations

from typing import Any

import pytest

from apikey_guard import (
    Consumer,
    Decision,
    GuardMiddleware,
    Route,
    SettingsError,
)
from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.testing import FakeKeyService
from tests.adapters.presented import (
    ALLOWED,
    AMBIGUOUS,
    INVALID,
    MISSING,
    UNAVAILABLE,
    asked,
    merged,
    present,
)
from tests.harness import Recorder, build_environ, call
from tests.harness.guarded import BAD, GOOD, Guarded

# -- A-05 -----------------------------------------------------------------------------------------

FORGED = [
    (spelled, "admin")
    for name in IDENTITY_HEADERS.values()
    for spelled in (name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "_", 1))
]


def identity(recorder: Recorder) -> dict[str, str]:
    return {
        field: str(recorder.last.header(name))
        for field, name in IDENTITY_HEADERS.items()
        if recorder.last.header(name) is not None
    }


NOBODY_ASKED = {"method": "OPTIONS", "headers": [("Origin", "x"), ("Access-Control-Request-Method", "GET")]}


@pytest.mark.parametrize(
    ("key", "path", "parts", "expected"),
    [
        pytest.param(None, "/public", {}, {}, id="public"),
        pytest.param(GOOD, "/public", {}, {}, id="public, with a key"),
        pytest.param(None, "/optional", {}, {"anonymous": "true"}, id="optional"),
        pytest.param(None, "/named", {}, {"anonymous": "true", "username": "guest"}, id="optional, named"),
        pytest.param(None, "/", NOBODY_ASKED, {}, id="preflight"),
        pytest.param(GOOD, "/", {}, {"id": "42", "username": "Zoë", "credential_id": "c-7"}, id="known"),
        pytest.param(
            GOOD,
            "/optional",
            {},
            {"id": "42", "username": "Zoë", "credential_id": "c-7"},
            id="known, optional",
        ),
        pytest.param("KCANARY-bare", "/", {}, {}, id="known, without a consumer"),
    ],
)
@pytest.mark.parametrize("times", ["first", "again"])
def test_a05_identity_headers_are_ours_alone(
    key: str | None, path: str, parts: dict[str, Any], expected: dict[str, str], times: str
) -> None:
    routes = [
        Route("/public", access="public"),
        Route("/optional", access="optional"),
        Route("/named", access="optional", anonymous="guest"),
    ]
    keys = FakeKeyService(["KCANARY-bare"])
    keys.add(GOOD, Consumer(id="42", username="Zoë"), credential_id="c-7")
    with Guarded(keys, routes=routes, allow_preflight=True) as guarded:
        headers = [*FORGED, *parts.get("headers", ())]
        for _ in range(2 if times == "again" else 1):
            assert guarded.code(key, path, **{**parts, "headers": headers}) == ALLOWED
        seen = {field: value.encode("latin-1").decode() for field, value in identity(guarded.app).items()}
        assert seen == expected


def test_a05_other_names_are_cleaned_as_well_as_the_usual_ones() -> None:
    keys = FakeKeyService({GOOD: Consumer(id="42", username="acme")})
    with Guarded(keys, identity_headers={"id": "X-My-Id"}, routes=[Route("/p", access="public")]) as guarded:
        guarded.app.own_identity = False
        headers = [*FORGED, ("X-My-Id", "admin"), ("x_my_id", "admin")]
        assert guarded.code(None, "/p", headers=headers) == ALLOWED
        assert identity(guarded.app) == {}
        assert guarded.app.last.header("X-My-Id") is None
        assert guarded.code(headers=headers) == ALLOWED
        assert identity(guarded.app) == {"username": "acme"}
        assert guarded.app.last.header("X-My-Id") == "42"


def test_a05_cleaning_is_never_off() -> None:
    keys = FakeKeyService({GOOD: Consumer(id="42")})
    with Guarded(keys, identity_headers=False, routes=[Route("/p", access="public")]) as guarded:
        for path in ("/", "/p"):
            assert guarded.code(path=path, headers=FORGED) == ALLOWED
            assert identity(guarded.app) == {}


def test_a05_no_header_reaches_what_is_offered_out_of_band() -> None:
    names = ["apikey_guard.consumer", "apikey_guard.decision", "apikey-guard.consumer"]
    with Guarded(routes=[Route("/p", access="public")]) as guarded:
        assert guarded.code(None, "/p", headers=[(name, "admin") for name in names]) == ALLOWED
        assert guarded.app.last.environ["apikey_guard.consumer"] is None


# -- A-06 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["close, apikey", "close, X-Consumer-ID, Content-Length, Host", "apikey,apikey"]
)
def test_a06_nominating_a_header_hides_neither_key_nor_identity(value: str) -> None:
    with Guarded(FakeKeyService({GOOD: Consumer(id="42")})) as guarded:
        # The linter knows no Connection header from a server, so the call goes without it.
        environ = build_environ(
            headers=[("apikey", GOOD), ("X-Consumer-ID", "admin")], extra={"HTTP_CONNECTION": value}
        )
        assert call(guarded.wsgi, environ, lint=False).status == 200
        assert identity(guarded.app) == {"id": "42"}


# -- A-08 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "down", "expected"),
    [
        pytest.param({}, False, ALLOWED, id="none"),
        pytest.param(present("header", GOOD), False, ALLOWED, id="good"),
        pytest.param(present("header", BAD), False, INVALID, id="bad"),
        pytest.param(present("header", "KCANARY,"), False, INVALID, id="malformed"),
        pytest.param(present("header", ""), False, MISSING, id="empty"),
        pytest.param(merged(present("header", GOOD), present("query", BAD)), False, AMBIGUOUS, id="two"),
        pytest.param({}, True, ALLOWED, id="none, key service down"),
        pytest.param(present("header", GOOD), True, UNAVAILABLE, id="good, key service down"),
    ],
)
def test_a08_optional_is_for_those_who_present_nothing(
    parts: dict[str, Any], down: bool, expected: tuple[int, str]
) -> None:
    with Guarded(routes=[Route("/*", access="optional")]) as guarded:
        if down:
            guarded.keys.fail()
        assert asked(guarded, **parts) == expected
        assert guarded.app.calls == (expected == ALLOWED)


def test_a08_a_revoked_key_is_not_nobody() -> None:
    with Guarded(routes=[Route("/*", access="optional")]) as guarded:
        assert guarded.code() == ALLOWED
        guarded.keys.revoke(GOOD)
        guarded.guard.revoke(key=GOOD)
        assert guarded.code() == INVALID


# -- A-09 -----------------------------------------------------------------------------------------


def test_a09_every_wrong_key_looks_the_same() -> None:
    with Guarded(key_max_length=64) as guarded:
        guarded.keys.add("KCANARY-ended", expires_at=guarded.clock.time() - 1)
        guarded.keys.add("KCANARY-revoked")
        assert guarded.code("KCANARY-revoked") == ALLOWED
        guarded.keys.revoke("KCANARY-revoked")
        guarded.guard.revoke(key="KCANARY-revoked")
        wrong = [BAD, "KCANARY-ended", "KCANARY-revoked", "KCANARY,", "KCANARY" * 20, "k\xc3\xa9KCANARY"]
        answers = {
            (r.status, r.headers, r.body) for key in wrong for r in (guarded.get(key), guarded.get(key))
        }
        assert len(answers) == 1
        assert answers.pop()[0] == 401


# -- A-10 -----------------------------------------------------------------------------------------


def test_a10_a_remembered_verdict_says_nothing_about_another_route() -> None:
    routes = [
        Route("/a", scopes=["a"]),
        Route("/b", scopes=["b"]),
        Route("/ab", scopes=["a", "b"]),
        Route("/m", methods=["POST"], scopes=["b"]),
    ]
    with Guarded(FakeKeyService({GOOD: Consumer(scopes=frozenset({"a"}))}), routes=routes) as guarded:
        lacking = (403, "insufficient_scope")
        for _ in range(2):
            assert guarded.code(path="/a") == ALLOWED
            assert guarded.code(path="/b") == lacking
            assert guarded.code(path="/ab") == lacking
            assert guarded.code(path="/m") == ALLOWED
            assert guarded.code(path="/m", method="POST") == lacking
        assert guarded.keys.calls == 1


def test_a10_two_guards_share_nothing() -> None:
    with Guarded() as one, Guarded(FakeKeyService([])) as other:
        assert one.code() == ALLOWED
        assert other.code() == INVALID
        assert other.keys.calls == 1


# -- A-14, A-15 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"validator_url": None}, {"validator_url": ""}, {"key_service": None}])
def test_a14_nothing_starts_without_a_key_service(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        GuardMiddleware(Recorder(), **given)


@pytest.mark.parametrize(
    "key", ["", "admin", "test", "apikey", "edd1c9f034335f136f87ad84b625c8f1", "null", "None", "true"]
)
def test_a14_no_key_is_built_in(key: str) -> None:
    with Guarded(FakeKeyService([])) as guarded:
        assert guarded.status(key) == 401
        assert guarded.app.calls == 0


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PROPFIND"])
@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/favicon.ico", "/robots.txt", "/.well-known/x", "/404", "", "x"]
)
def test_a15_everything_stands_behind_the_guard(method: str, path: str) -> None:
    with Guarded() as guarded:
        response = call(guarded.wsgi, build_environ(path, method), lint=False)
        assert response.status == 401
        assert guarded.app.calls == 0


def test_a15_every_decision_is_told_to_the_hook() -> None:
    told: list[Decision] = []
    with Guarded(on_decision=lambda decision, environ: told.append(decision)) as guarded:
        for key in (None, BAD, GOOD, GOOD):
            guarded.get(key)
        assert [decision.reason for decision in told] == [
            "missing_credential",
            "invalid_credential",
            None,
            None,
        ]
        stats = guarded.guard.stats()
        assert (stats["allowed"], stats["denied"]) == (2, 2)
