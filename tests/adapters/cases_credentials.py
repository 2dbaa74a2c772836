"""Conformance cases from the status contract and the threats about credentials.

Ids begin with the threat, or the part of the contract, that a case is drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from apikey_guard import Deny, Rejection, Route
from apikey_guard.errors import Overloaded, RateLimited
from apikey_guard.testing import FakeKeyService
from tests.adapters.conformance import Request
from tests.adapters.expectations import (
    ACCENT,
    AMBIGUOUS,
    BAD,
    BY_42,
    FORGED,
    GOOD,
    IN_BODY,
    INVALID,
    MISSING,
    NOBODY,
    PLAIN,
    PUBLIC,
    STANDIN,
    UNAVAILABLE,
    Case,
    Reached,
    Refused,
    failing,
    with_form,
    with_key,
)


def _teapot(rejection: Rejection, environ: Mapping[str, object]) -> Rejection:
    return replace(rejection, status=418, headers=(("Content-Type", "text/plain"),), body=b"short and stout")


def _broken(*anything: object) -> Any:
    raise KeyError("the hook is broken")


class _Broken:
    reject = _broken


class _LetsPass:
    def reject(self, deny: Deny, *, locations: object, realm: str) -> Rejection:
        return Rejection(200, (("Content-Type", "text/plain"),), b"come in", deny.reason)


OPTIONAL = {"routes": [Route("/things", access="optional", anonymous="guest")]}
GUEST = Reached(None, identity={"X-Anonymous-Consumer": "true", "X-Consumer-Username": "guest"})
SCOPED = {"routes": [Route("/read", scopes=["read"]), Route("/write", scopes=["read", "write"])]}
BEARER = {"key_locations": ["authorization:Bearer", "cookie:key"]}

STATUS: list[Case] = [
    Case("status-valid-in-header", with_key(), BY_42, asked=1),
    Case("status-valid-in-query", Request(query=f"apikey={GOOD}"), replace(BY_42, query=f"apikey={STANDIN}")),
    Case("status-remembered", with_key(), BY_42, before=(with_key(), with_key()), asked=1),
    Case("status-missing", Request(), MISSING, asked=0),
    Case("status-unknown", with_key(BAD), INVALID, asked=1),
    Case("status-unknown-remembered", with_key(BAD), INVALID, before=(with_key(BAD),), asked=1),
    Case("status-service-down", with_key(), UNAVAILABLE, prepare=FakeKeyService.fail),
    Case(
        "status-failure-is-not-remembered",
        with_key(),
        BY_42,
        first=FakeKeyService.fail,
        before=(with_key(),),
        prepare=FakeKeyService.heal,
        asked=2,
    ),
    Case(
        "status-known-key-outlives-the-service",
        with_key(),
        BY_42,
        before=(with_key(),),
        prepare=FakeKeyService.fail,
    ),
    Case(
        "status-rate-limited",
        with_key(),
        Refused(429, "rate_limited", {"Retry-After": ["7"]}),
        prepare=failing(RateLimited(6.2)),
    ),
    Case(
        "status-overloaded",
        with_key(),
        Refused(503, "overloaded", {"Retry-After": ["2"]}),
        prepare=failing(Overloaded("queue_full", 2)),
    ),
    Case("status-lacking-scope", with_key(path="/write"), Refused(403, "insufficient_scope"), SCOPED),
    Case("status-enough-scope", with_key(path="/read"), BY_42, SCOPED),
    Case(
        "status-lacking-scope-when-remembered",
        with_key(path="/write"),
        Refused(403, "insufficient_scope"),
        SCOPED,
        before=(with_key(path="/read"),),
        asked=1,
    ),
    Case("status-scoped-without-key", Request("/read"), MISSING, SCOPED),
    Case("status-head-missing", Request(method="HEAD"), MISSING),
    Case("status-head-valid", with_key(method="HEAD"), BY_42),
    Case("status-post-missing", Request(method="POST", body=b"a=1"), MISSING),
    Case("status-post-valid", with_key(method="POST", body=b"a=1"), replace(BY_42, body=b"a=1")),
    Case(
        "status-body-too-large",
        replace(with_form(b"a=" + b"x" * 2000)),
        Refused(413, "body_too_large"),
        IN_BODY,
    ),
    Case(
        "status-realm",
        Request(),
        replace(MISSING, headers={"WWW-Authenticate": ['Key realm="shop"']}),
        {"realm": "shop"},
    ),
    Case(
        "status-challenges-in-order",
        Request(),
        replace(MISSING, headers={"WWW-Authenticate": ['Key realm="api"', 'Bearer realm="api"']}),
        BEARER,
    ),
    Case("status-own-rejection", Request(), Refused(418, ""), {"render_rejection": _teapot}),
    Case("mode-monitor-missing", Request(query="a=1"), replace(NOBODY, query="a=1"), {"mode": "monitor"}),
    Case(
        "mode-monitor-changes-nothing",
        with_key(BAD, query=f"apikey={GOOD}&a=1", headers=(("X-Consumer-ID", "old-gateway"),)),
        Reached(None, identity={"X-Consumer-ID": "old-gateway"}, query=f"apikey={GOOD}&a=1", hidden=False),
        {"mode": "monitor"},
    ),
    Case(
        "mode-off-changes-nothing",
        Request(headers=(("X-Consumer-ID", "old-gateway"),), query=f"apikey={GOOD}"),
        Reached(None, identity={"X-Consumer-ID": "old-gateway"}, query=f"apikey={GOOD}", hidden=False),
        {"mode": "off"},
        asked=0,
    ),
]

CREDENTIALS: list[Case] = [
    Case("a01-service-hook-recursion", with_key(), UNAVAILABLE, prepare=failing(RecursionError("KCANARY"))),
    Case("a01-service-hook-value-error", with_key(), UNAVAILABLE, prepare=failing(ValueError("KCANARY"))),
    Case(
        "a01-broken-rendering-hook", Request(), Refused(500, "internal_error"), {"render_rejection": _broken}
    ),
    Case("a01-broken-dialect", Request(), Refused(500, "internal_error"), {"dialect": _Broken()}),
    Case("a01-dialect-that-lets-pass", Request(), Refused(500, "internal_error"), {"dialect": _LetsPass()}),
    Case("a01-dialect-with-a-good-key", with_key(), BY_42, {"dialect": _Broken()}),
    Case("a01-broken-watching-hook-allow", with_key(), BY_42, {"on_decision": _broken}),
    Case("a01-broken-watching-hook-deny", Request(), MISSING, {"on_decision": _broken}),
    Case("a02-header-good-query-bad", with_key(query=f"apikey={BAD}"), AMBIGUOUS, asked=0),
    Case("a02-header-bad-query-good", with_key(BAD, query=f"apikey={GOOD}"), AMBIGUOUS, asked=0),
    Case("a02-same-key-twice", with_key(query=f"apikey={GOOD}"), replace(BY_42, query=f"apikey={STANDIN}")),
    Case(
        "a02-first-counts",
        with_key(query=f"apikey={BAD}"),
        replace(BY_42, query=""),
        {"key_conflict": "first"},
    ),
    Case(
        "a02-header-and-form",
        replace(
            with_form(b"apikey=KCANARY-bad"),
            headers=(("apikey", GOOD), ("Content-Type", "application/x-www-form-urlencoded")),
        ),
        AMBIGUOUS,
        IN_BODY,
        asked=0,
    ),
    Case("a03-repeated-header", Request(headers=(("apikey", GOOD), ("apikey", GOOD))), INVALID, asked=0),
    Case("a03-repeated-parameter", Request(query=f"apikey={GOOD}&apikey={GOOD}"), AMBIGUOUS, asked=0),
    Case("a03-brackets", Request(query=f"apikey[]={PLAIN[8:]}"), MISSING),
    Case("a03-indexed", Request(query="apikey[0]=good"), MISSING),
    Case("a03-semicolon", Request(query="a=1;apikey=good"), MISSING),
    Case(
        "a03-repeated-member",
        with_form(b'{"apikey": "KCANARY-good", "apikey": "KCANARY-bad"}', "application/json"),
        AMBIGUOUS,
        IN_BODY,
        asked=0,
    ),
    Case("a05-forged-beside-a-key", with_key(headers=FORGED), BY_42),
    Case("a05-forged-what-the-service-does-not-say", with_key(PLAIN, headers=FORGED), Reached("7")),
    Case("a05-forged-on-a-public-route", Request("/public/x", headers=FORGED), NOBODY, PUBLIC),
    Case("a05-forged-on-an-optional-route", Request(headers=FORGED), GUEST, OPTIONAL),
    Case(
        "a05-forged-on-a-preflight",
        Request(
            method="OPTIONS",
            headers=(*FORGED, ("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")),
        ),
        NOBODY,
        {"allow_preflight": True},
    ),
    Case("a05-consumer-outside-ascii", with_key(ACCENT), Reached("z")),
    Case(
        "a05-other-names",
        with_key(headers=FORGED),
        Reached(
            "42",
            identity={
                "X-Consumer-Username": "acme",
                "X-Consumer-Custom-ID": "c/42",
                "X-Credential-Identifier": "cred-7",
            },
        ),
        {"identity_headers": {"id": "X-Account"}},
    ),
    Case("a05-none-set", with_key(headers=FORGED), Reached("42", identity={}), {"identity_headers": False}),
    Case("a07-empty-header", Request(headers=(("apikey", ""),)), MISSING, asked=0),
    Case("a07-blank-header", Request(headers=(("apikey", "  "),)), Refused(401, "?"), asked=0),
    Case("a07-empty-parameter", Request(query="apikey="), MISSING, asked=0),
    Case("a07-bare-parameter", Request(query="a=1&apikey"), MISSING, asked=0),
    Case(
        "a07-scheme-alone",
        Request(headers=(("Authorization", "Bearer"),)),
        Refused(401, "?"),
        BEARER,
        asked=0,
    ),
    Case(
        "a07-scheme-and-two-spaces",
        Request(headers=(("Authorization", f"Bearer  {GOOD}"),)),
        BY_42,
        BEARER,
        asked=1,
    ),
    Case(
        "a07-scheme-joined",
        Request(headers=(("Authorization", f"Bearer{GOOD}"),)),
        Refused(401, "missing_credential"),
        BEARER,
        asked=0,
    ),
    Case(
        "a07-other-scheme",
        Request(headers=(("Authorization", f"Basic {GOOD}"),)),
        Refused(401, "missing_credential"),
        BEARER,
        asked=0,
    ),
    Case("a07-scheme-in-lower-case", Request(headers=(("Authorization", f"bearer {GOOD}"),)), BY_42, BEARER),
    Case("a07-one-character-more", with_key(GOOD + "x"), INVALID),
    Case("a07-one-character-less", with_key(GOOD[:-1]), INVALID),
    Case("a08-optional-without-key", Request(), GUEST, OPTIONAL, asked=0),
    Case("a08-optional-with-bad-key", with_key(BAD), INVALID, OPTIONAL),
    Case("a08-optional-with-good-key", with_key(), BY_42, OPTIONAL),
    Case("a08-optional-with-empty-key", Request(headers=(("apikey", ""),)), MISSING, OPTIONAL),
    Case("a08-optional-service-down", with_key(), UNAVAILABLE, OPTIONAL, prepare=FakeKeyService.fail),
    Case("a08-optional-two-keys", with_key(query=f"apikey={BAD}"), AMBIGUOUS, OPTIONAL),
    Case("a11-other-case", with_key(GOOD.upper()), INVALID),
    Case(
        "a12-places-that-are-not-configured",
        Request(
            headers=(
                ("Cookie", "apikey=good"),
                ("Referer", "https://a.example/?apikey=good"),
                ("X-Api-Key", "good"),
                ("Authorization", "Bearer good"),
            )
        ),
        MISSING,
        asked=0,
    ),
    Case(
        "a12-cookie-where-configured", Request(headers=(("Cookie", f"a=1; key={GOOD}; b=2"),)), BY_42, BEARER
    ),
    Case("a13-bytes-in-header", Request(headers=(("apikey", "k\xe9"),)), INVALID, asked=0),
]
