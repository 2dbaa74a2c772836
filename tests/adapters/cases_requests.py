"""Conformance cases from the threats about paths and methods, secrets, and strain.

Ids begin with the threat that a case is drawn from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from apikey_guard import Route
from apikey_guard.errors import KeyServiceUnavailable
from tests.adapters.conformance import Request
from tests.adapters.expectations import (
    BAD,
    BY_42,
    GOOD,
    IN_BODY,
    INVALID,
    MISSING,
    NOBODY,
    PUBLIC,
    STANDIN,
    UNAVAILABLE,
    Case,
    Refused,
    failing,
    with_form,
    with_key,
)

OPT_IN = {"default_access": "public", "routes": [Route("/api/*")]}
OPTIONAL = {"routes": [Route("/*", access="optional")]}
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nKCANARY-good\r\n'
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
)
ODD_PATHS: Mapping[str, str | bytes] = {
    "dots": "/public/../admin",
    "dots-parameter": "/public/..;a=b/admin",
    "parameter": "/admin;x=/public",
    "backslash": "/public\\..\\admin",
    "two-slashes": "//public/../admin",
    "dot": "/./public/x",
    "other-case": "/PUBLIC/x",
    "longer-word": "/publicx",
    "slash-after-exact": "/health/",
    "nul": "/health\x00",
    "line-feed": "/health\n",
    "percent": "/public/%2e%2e/admin",
    "overlong": b"/public/\xc0\xae\xc0\xae/admin",
}
# Whoever reads them, they stay below /public.
PUBLIC_ANYHOW: Mapping[str, str | bytes] = {
    "empty-segment": "/public//x",
    "last-dot": "/public/.",
    "fragment": "/public/#/admin",
    "question-mark": "/public/what?",
    "parameter": "/public/a;b",
    "percent": "/public/100%",
    "not-utf-8": b"/public/\xff",
}

PATHS: list[Case] = [
    Case("p01-public-exact", Request("/health"), replace(NOBODY, path="/health"), PUBLIC, asked=0),
    Case("p01-public-below", Request("/public/a/b"), replace(NOBODY, path="/public/a/b"), PUBLIC),
    Case("p01-public-with-a-key", with_key(BAD, "/public/x"), NOBODY, PUBLIC, asked=0),
    *(Case(f"p01-never-public-{name}", Request(path), MISSING, PUBLIC) for name, path in ODD_PATHS.items()),
    *(
        Case(f"p01-public-anyhow-{name}", Request(path), NOBODY, PUBLIC)
        for name, path in PUBLIC_ANYHOW.items()
    ),
    Case(
        "p01-encoded-slash-below",
        Request("/public/a/b", target="/public/a%2Fb"),
        NOBODY,
        PUBLIC,
        needs_target=True,
    ),
    Case(
        "p01-encoded-slash",
        Request("/public/b", target="/public%2Fb"),
        MISSING,
        PUBLIC,
        needs_target=True,
    ),
    Case("p01-odd-path-with-a-key", with_key(path="/public/../admin"), BY_42, PUBLIC),
    Case(
        "p01-accent-is-public",
        Request("/café"),
        replace(NOBODY, path="/café"),
        {"routes": [Route("/café", access="public")]},
    ),
    Case(
        "p01-accent-needs-scope",
        with_key(path="/café"),
        Refused(403, "insufficient_scope"),
        {"routes": [Route("/café", scopes=["write"])]},
    ),
    Case("p01-accent-with-a-key", with_key(path="/café"), replace(BY_42, path="/café")),
    Case(
        "p01-bytes-without-a-key",
        Request(b"/\xff"),
        MISSING,
        {"routes": [Route("/*", access="public"), Route("/\xff")]},
    ),
    Case("p01-bytes-public-anyhow", Request(b"/\xff"), NOBODY, {"routes": [Route("/*", access="public")]}),
    Case("p01-bytes-with-a-key", with_key(path=b"/\xff"), BY_42),
    *(
        Case(f"p01-open-by-default-{name}", request, expect, OPT_IN)
        for name, request, expect in (
            ("a-route", Request("/api/x"), MISSING),
            ("a-route-with-a-bad-key", with_key(BAD, "/api/x"), INVALID),
            ("a-route-with-a-key", with_key(path="/api/x"), BY_42),
            ("a-route-by-two-slashes", Request("//api/x"), MISSING),
            ("a-route-by-dots", Request("/x/../api/x"), MISSING),
            ("a-route-in-capitals", Request("/API/x"), MISSING),
            ("a-route-with-a-parameter", Request("/api;x=y/x"), MISSING),
        )
    ),
    *(
        Case(f"p01-optional-by-default-{name}", request, expect, {"default_access": "optional"})
        for name, request, expect in (
            ("nobody", Request("/things"), replace(NOBODY, identity={"X-Anonymous-Consumer": "true"})),
            ("bad", with_key(BAD), INVALID),
            ("empty", with_key(""), MISSING),
            ("good", with_key(), BY_42),
        )
    ),
    *(
        Case(
            f"a12-optional-empty-in-{name}",
            request,
            replace(MISSING, headers={}),
            {**OPTIONAL, "key_locations": [place]},
        )
        for name, place, request in (
            ("a-header", "header:apikey", Request(headers=(("apikey", ""),))),
            ("the-query", "query:apikey", Request(query="apikey=")),
            ("the-query-bare", "query:apikey", Request(query="a=1&apikey")),
            ("a-cookie", "cookie:apikey", Request(headers=(("Cookie", "apikey="),))),
            ("authorization", "authorization:Key", Request(headers=(("Authorization", "Key "),))),
            ("a-form", "body:apikey", with_form(b"a=1&apikey=")),
        )
    ),
    Case("p02-mount-is-no-path", Request("/admin", mount="/public"), MISSING, PUBLIC),
    Case(
        "p02-path-below-a-mount",
        Request("/public/x", mount="/api"),
        replace(NOBODY, path="/public/x"),
        PUBLIC,
    ),
    Case("p02-mount-with-a-key", with_key(path="/admin", mount="/api"), replace(BY_42, path="/admin")),
    *(
        Case(f"p04-{name}", replace(request, path="/admin"), MISSING, PUBLIC)
        for name, request in {
            "query": Request(query="x=/health"),
            "x-forwarded-uri": Request(headers=(("X-Forwarded-Uri", "/health"),)),
            "x-original-url": Request(headers=(("X-Original-URL", "/health"),)),
            "x-rewrite-url": Request(headers=(("X-Rewrite-Url", "/health"),)),
            "user-agent": Request(headers=(("User-Agent", "kube-probe/1.0"),)),
            "host": Request(headers=(("Host", "health.internal"),)),
        }.items()
    ),
    Case("p05-options", Request(method="OPTIONS"), MISSING),
    Case(
        "p05-options-with-origin",
        Request(method="OPTIONS", headers=(("Origin", "https://a.example"),)),
        MISSING,
    ),
    Case(
        "p05-preflight",
        Request(
            method="OPTIONS",
            headers=(("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")),
        ),
        MISSING,
        asked=0,
    ),
    Case(
        "p05-preflight-handed-on",
        Request(
            method="OPTIONS",
            headers=(("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")),
        ),
        NOBODY,
        {"allow_preflight": True},
        asked=0,
    ),
    Case(
        "p05-preflight-headers-on-get",
        Request(headers=(("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"))),
        MISSING,
    ),
    Case(
        "p05-override-header",
        Request(
            method="POST",
            headers=(
                ("X-HTTP-Method-Override", "OPTIONS"),
                ("Origin", "https://a.example"),
                ("Access-Control-Request-Method", "PUT"),
            ),
        ),
        MISSING,
    ),
    *(
        Case(
            f"p05-public-get-{method}",
            Request("/things", method),
            expect,
            {"routes": [Route("/things", methods=["GET"], access="public")]},
        )
        for method, expect in (
            ("GET", NOBODY),
            ("HEAD", NOBODY),
            ("POST", MISSING),
            ("PUT", MISSING),
            ("DELETE", MISSING),
            ("PATCH", MISSING),
            ("TRACE", MISSING),
            ("OPTIONS", MISSING),
            ("INVENTED", MISSING),
        )
    ),
]

SECRETS: list[Case] = [
    Case(
        "k02-every-copy",
        with_key(
            query=f"a=1&apikey={GOOD}&b=%20&a=2",
            headers=(
                ("Referer", f"https://a.example/p?apikey={GOOD}&q=1"),
                ("X-Original-URI", f"/p?apikey={GOOD}"),
                ("X-Original-URL", f"/p?apikey={GOOD}"),
                ("X-Rewrite-URL", f"/p?apikey={GOOD}"),
                ("X-Forwarded-Uri", f"/p?x=1&apikey={GOOD}"),
            ),
        ),
        replace(BY_42, query=f"a=1&apikey={STANDIN}&b=%20&a=2"),
    ),
    Case(
        "k02-encoded-name",
        Request(query=f"a=%2f&api%6bey={GOOD}&b=+"),
        replace(BY_42, query=f"a=%2f&api%6bey={STANDIN}&b=+"),
    ),
    Case(
        "k02-encoded-value", Request(query="apikey=KCANARY%2Dgood"), replace(BY_42, query=f"apikey={STANDIN}")
    ),
    Case(
        "k02-name-inside-a-value",
        with_key(query="x=apikey=1&apikeys=2"),
        replace(BY_42, query="x=apikey=1&apikeys=2"),
    ),
    Case(
        "k02-copy-on-a-public-route",
        with_key(BAD, "/public/x", query=f"apikey={BAD}&a"),
        replace(NOBODY, query="a"),
        PUBLIC,
    ),
    Case(
        "k02-form-field", with_form(b"a=1&apikey=KCANARY-good&b=2"), replace(BY_42, body=b"a=1&b=2"), IN_BODY
    ),
    Case(
        "k02-multipart-field",
        with_form(MULTIPART, "multipart/form-data; boundary=b"),
        replace(BY_42, body=b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'),
        IN_BODY,
    ),
    Case(
        "k02-json-member",
        with_form(json.dumps({"apikey": GOOD, "a": [1]}).encode(), "application/json"),
        BY_42,
        IN_BODY,
    ),
    Case(
        "k02-not-hidden",
        with_key(query=f"apikey={GOOD}"),
        replace(BY_42, query=f"apikey={GOOD}", hidden=False),
        {"hide_credentials": False},
    ),
    Case(
        "k03-markup-is-not-echoed",
        with_key("<script>KCANARY</script>", headers=(("Accept", "text/html"),)),
        INVALID,
    ),
    Case(
        "k03-service-text-is-not-echoed",
        with_key(),
        UNAVAILABLE,
        prepare=failing(KeyServiceUnavailable("status", "500 KCANARY says the service")),
    ),
    Case("k08-line-break-in-path", Request("/a\nINFO allowed"), MISSING),
]

STRAIN: list[Case] = [
    *(
        Case(f"d05-{name}", Request(query=f"apikey={value}"), INVALID, asked=0)
        for name, value in {
            "line-break": "k%0d%0aX-Evil:%201",
            "line-feed-at-the-end": "k%0a",
            "nul": "k%00x",
            "vertical-tab": "k%0bx",
            "latin-1": "k%85",
            "utf-8": "k%C3%A9",
            "surrogate": "%ED%A0%80",
            "comma": "k,k",
            "quote": "%22k%22",
            "space": "k+k",
            "too-long": "k" * 513,
        }.items()
    ),
    Case("d05-longest", with_key("k" * 512), INVALID, asked=1),
    Case("d05-wrong-prefix", with_key("other_KCANARY"), INVALID, {"key_pattern": "acme_"}, asked=0),
    Case(
        "d01-unknown-keys-drive-no-good-key-out",
        with_key(),
        BY_42,
        {"negative_max_entries": 2},
        before=(with_key(), *(with_key(f"{BAD}-{number}") for number in range(5))),
        asked=6,
    ),
]
