"""Paths, methods and routes: what a caller writes must not choose the rule (threats P)."""

from __future__ import annotations

import itertools
import time
from hashlib import sha256
from urllib.parse import unquote

import pytest

from apikey_guard import Consumer, Route, SettingsError, load_settings
from apikey_guard.core.standin import standin_of
from apikey_guard.testing import FakeKeyService
from tests.harness import build_environ, call
from tests.harness.guarded import GOOD, Guarded

MISSING = (401, "missing_credential")
LACKING = (403, "insufficient_scope")
EXEMPT = (Route("/public/*", access="public"), Route("/health", access="public"))


def asked(guarded: Guarded, path: str | bytes, key: str | None = None, **parts: object) -> tuple[int, str]:
    """Status and code; without the linter, as several of these paths break PEP 3333 itself."""
    headers = [*parts.pop("headers", ()), *([] if key is None else [("apikey", key)])]  # type: ignore[misc]  # pairs
    environ = build_environ(path, headers=headers, **parts)  # type: ignore[arg-type]  # as build_environ takes them
    response = call(guarded.wsgi, environ, lint=False)
    return response.status, "" if response.status == 200 else str(response.json()["code"])


def decoded(target: str) -> tuple[bytes, str]:
    """PATH_INFO as servers make it of a request target, and the target's query."""
    from urllib.parse import unquote_to_bytes

    path, _, query = target.partition("?")
    return unquote_to_bytes(path), query


# -- P-01 -----------------------------------------------------------------------------------------

ODD_TARGETS = [
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/public/..%2fadmin",
    "/public%2f..%2fadmin",
    "/public/%252e%252e/admin",
    "/public/..;a=b/admin",
    "/admin;x=/public",
    "/public;/../admin",
    "/public\\..\\admin",
    "/public%5c..%5cadmin",
    "//public/../admin",
    "//admin",
    "/./admin",
    "/public/..",
    "/PUBLIC/x",
    "/publicx",
    "/health/",
    "/health%00",
    "/health%0a",
    "/admin%23/public",
    "/admin#/public",
    "/health%c0%ae",
    "/health%ff",
    "public",
    "",
    "*",
    "http://other/public/x",
]


@pytest.mark.parametrize("raw", ["RAW_URI", "REQUEST_URI", None])
@pytest.mark.parametrize("target", ODD_TARGETS)
def test_p01_an_odd_path_is_never_exempt(target: str, raw: str | None) -> None:
    path, query = decoded(target)
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path, query=query, extra={raw: target} if raw else None) == MISSING
        assert (guarded.app.calls, guarded.keys.calls) == (0, 0)


@pytest.mark.parametrize("raw", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize(
    "target", ["/public%2fx", "/public/%2e%2e", "/public/a%5C..%5c../b", "/health#", "/health%3b"]
)
def test_p01_a_path_that_only_decodes_to_an_exempt_one_is_protected(target: str, raw: str) -> None:
    # What a server behind makes of the target is not known: what leads elsewhere for one is not exempt.
    path, _ = decoded(target.partition("#")[0])
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path, extra={raw: target}) == MISSING
        assert guarded.app.calls == 0


@pytest.mark.parametrize(
    "target",
    [
        "/public/.",
        "/public//",
        "/public//x",
        "/public/%7f",
        "/public/a%3fb",
        "/public/a%25b",
        "/public/a%2Fb",
        "/public/a;b",
        "/public/c%23",
        "/public/a%5Cb",
        "/public/%ff",
        "/public/x#",
        "/public/a/../b",
    ],
)
@pytest.mark.parametrize("raw", ["RAW_URI", None])
def test_p01_what_is_exempt_in_every_reading_is_exempt(target: str, raw: str | None) -> None:
    path, query = decoded(target)
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path, query=query, extra={raw: target} if raw else None) == (200, "")
        assert guarded.keys.calls == 0


@pytest.mark.parametrize("path", ["/public", "/public/", "/public/x", "/public/.x/y", "/public/é", "/health"])
def test_p01_a_canonical_path_is_exempt(path: str) -> None:
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path) == (200, "")
        assert (guarded.app.calls, guarded.keys.calls) == (1, 0)


ADMIN_READINGS = [
    "//admin/x",
    "/./admin/x",
    "/a/../admin/x",
    "/admin;v=1/x",
    "/a/..;v=1/admin/x",
    "/\\admin\\x",
    "/%61dmin/x",
    "/a%2f..%2fadmin/x",
    "/a?/../admin/x",
    "/a#/../../admin/x",
    "/ad\x00min/x",
    "/admin\x00x",
    "admin/x",
    "/admin//x",
    "/admin/\ufffd",
]


@pytest.mark.parametrize("path", ADMIN_READINGS)
@pytest.mark.parametrize("default", ["off", "monitor"])
def test_p01_every_reading_of_a_path_can_enforce(path: str, default: str) -> None:
    """A guard that is off by default still protects the one route that is enforced."""
    with Guarded(mode=default, routes=[Route("/admin/*", mode="enforce")]) as guarded:
        assert asked(guarded, path) == MISSING
        assert guarded.app.calls == 0


@pytest.mark.parametrize("path", ADMIN_READINGS)
def test_p01_every_reading_of_a_path_can_ask_for_scopes(path: str) -> None:
    with Guarded(routes=[Route("/admin/*", scopes=["admin"])]) as guarded:
        assert asked(guarded, path, GOOD) == LACKING
        assert guarded.app.calls == 0


@pytest.mark.parametrize("target", ["/;/admin/open%3B", "/;/admin/open%3bx?q", "/a;/..;/admin/open%3B", None])
def test_p01_a_semicolon_in_two_meanings_keeps_the_scopes_of_every_prefix(target: str | None) -> None:
    """Who takes parameters off first sees /admin/open;, for which the looser exact route is not meant."""
    extra = {} if target is None else {"RAW_URI": target}
    path = "/;/admin/open;" if target is None else unquote(target.partition("?")[0])
    with Guarded(routes=[Route("/admin/*", scopes=["admin"]), Route("/admin/open")]) as guarded:
        assert asked(guarded, "/admin/open", GOOD) == (200, "")
        assert asked(guarded, path, GOOD, extra=extra) == LACKING


def test_p01_a_parameter_alone_asks_for_no_more_scopes() -> None:
    with Guarded(routes=[Route("/admin/*", scopes=["admin"]), Route("/admin/open/*")]) as guarded:
        extra = {"RAW_URI": "/admin/open/a;b=1/c"}
        assert asked(guarded, "/admin/open/a;b=1/c", GOOD, extra=extra) == (200, "")


def test_p01_a_path_in_no_known_form_keeps_the_scopes_of_its_prefix() -> None:
    # No server may hand over anything but latin-1; some test clients and bridges do.
    with Guarded(routes=[Route("/admin/*", scopes=["admin"])]) as guarded:
        assert asked(guarded, "/", GOOD, extra={"PATH_INFO": "/admin/\u0142"}) == LACKING
        assert guarded.app.calls == 0


def test_p01_with_a_good_key_an_odd_path_goes_on_untouched() -> None:
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, "/public/../admin;x//", GOOD) == (200, "")
        assert guarded.app.last.environ["PATH_INFO"] == "/public/../admin;x//"


def test_p01_what_was_remembered_of_a_path_holds_for_nobody_else() -> None:
    """The rule of a path is remembered only where nothing but the path chooses it."""
    routes = [
        Route("/a", methods=["GET"], access="public"),
        Route("/a", scopes=["s"]),
        Route("/b", hosts=["open.example"], access="public"),
        Route("/c/*", scopes=["s"]),
    ]
    with Guarded(routes=routes) as guarded:
        for _ in range(3):
            assert asked(guarded, "/a") == (200, "")
            assert asked(guarded, "/a", GOOD, method="POST") == LACKING
            assert asked(guarded, "/b", extra={"HTTP_HOST": "open.example"}) == (200, "")
            assert asked(guarded, "/b") == MISSING
            assert asked(guarded, "/c/d", GOOD) == LACKING
            assert asked(guarded, "/d", GOOD) == (200, "")
            assert asked(guarded, "/c/d", method="OPTIONS") == MISSING


def test_p01_remembered_rules_are_bounded() -> None:
    with Guarded() as guarded:
        for number in range(3000):
            assert asked(guarded, f"/{number}") == MISSING
        remembered = guarded.guard.policy.rules.plain_rules
        assert len(remembered) <= 1024
        asked(guarded, "/" + "x" * 10_000)
        assert max(map(len, remembered)) <= 128


# -- P-02 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mount", ["", "/api", "/public", "/public/.."])
@pytest.mark.parametrize("path", ["", "/", "/admin", "admin"])
def test_p02_the_mount_exempts_nothing(mount: str, path: str) -> None:
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path, extra={"SCRIPT_NAME": mount}) == MISSING
        assert guarded.app.calls == 0


@pytest.mark.parametrize("mount", ["", "/api", "/admin"])
def test_p02_what_the_app_routes_on_is_what_is_matched(mount: str) -> None:
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, "/health", extra={"SCRIPT_NAME": mount}) == (200, "")


# -- P-04 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        pytest.param("x=/health", (), id="query"),
        pytest.param("/health", (), id="query without a name"),
        *[
            pytest.param("", ((name, value),), id=name)
            for name, value in (
                ("X-Forwarded-Uri", "/health"),
                ("X-Original-URI", "/health"),
                ("X-Original-URL", "/health"),
                ("X-Rewrite-Url", "/health"),
                ("X-Forwarded-Prefix", "/public"),
                ("User-Agent", "kube-probe/1.0"),
                ("Host", "health.internal"),
                ("X-Forwarded-Host", "open.example"),
                ("X-Middleware-Subrequest", "1"),
                ("apikey-guard.decision", "allow"),
            )
        ],
    ],
)
def test_p04_nothing_but_the_path_exempts(query: str, headers: tuple[tuple[str, str], ...]) -> None:
    routes = (*EXEMPT, Route("/admin", hosts=["open.example"], access="public"))
    with Guarded(routes=routes) as guarded:
        assert asked(guarded, "/admin", query=query, headers=headers) == MISSING
        assert guarded.app.calls == 0


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("open.example", True),
        ("OPEN.example:8443", True),
        ("open.example:", True),
        ("open.example.", None),
        ("open.example.:80", None),
        ("open.example, evil", None),
        ("open.example,open.example", None),
        ("evil@open.example", None),
        ("open.example/", None),
        ("open.example:80:80", None),
        ("open.example:x", None),
        (" open.example", None),
        ("xopen.example", False),
        ("open.example..", None),
        ("", None),
        (None, None),
    ],
)
def test_p04_a_host_opens_its_own_spelling_and_is_limited_in_every(
    host: str | None, same: bool | None
) -> None:
    """RFC 9110 lets a port be empty. What servers read differently (None) counts for every entry."""
    routes = [
        Route("/p", hosts=["open.example"], access="public"),
        Route("/s", hosts=["open.example"], scopes=["s"]),
    ]
    with Guarded(routes=routes) as guarded:
        assert asked(guarded, "/p", extra={"HTTP_HOST": host}) == ((200, "") if same else MISSING)
        expected = (200, "") if same is False else LACKING
        assert asked(guarded, "/s", GOOD, extra={"HTTP_HOST": host}) == expected


# -- P-05 -----------------------------------------------------------------------------------------

PREFLIGHT = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"))


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("get", ()),
        ("Get", ()),
        ("G@T", ()),
        ("GET ", ()),
        ("OPTIONS", ()),
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("options", PREFLIGHT),
        ("POST", PREFLIGHT),
        ("POST", (("X-HTTP-Method-Override", "GET"),)),
        ("POST", (("X-HTTP-Method-Override", "OPTIONS"), *PREFLIGHT)),
        ("TRACE", ()),
        ("CONNECT", ()),
        ("X" * 4096, ()),
        ("", ()),
    ],
)
def test_p05_no_method_trick_is_exempt(method: str, headers: tuple[tuple[str, str], ...]) -> None:
    with Guarded(routes=[Route("/open", methods=["GET"], access="public")]) as guarded:
        assert asked(guarded, "/open", method=method, headers=headers, query="_method=GET") == MISSING
        assert (guarded.app.calls, guarded.keys.calls) == (0, 0)


def test_p05_head_is_get() -> None:
    with Guarded(routes=[Route("/open", methods=["GET"], access="public")]) as guarded:
        assert guarded.status(None, "/open", method="HEAD") == 200
        assert guarded.status(None, "/other", method="HEAD") == 401


@pytest.mark.parametrize("method", ["post", "Post", "pOST"])
@pytest.mark.parametrize("path", ["/items", "//items"])
def test_p05_a_method_in_other_letters_keeps_what_its_route_asks_for(method: str, path: str) -> None:
    # Werkzeug and Django read "post" as POST, and half of the servers let it through.
    routes = [Route("/items", methods=["POST"], scopes=["write"]), Route("/off", methods=["POST"])]
    with Guarded(routes=routes) as guarded:
        assert asked(guarded, path, GOOD, method=method) == LACKING
        assert guarded.app.calls == 0


def test_p05_a_method_in_other_letters_is_enforced_where_its_route_is() -> None:
    routes = [Route("/items", methods=["POST"], mode="enforce")]
    with Guarded(mode="off", routes=routes) as guarded:
        assert asked(guarded, "/items", method="post") == MISSING
        assert guarded.app.calls == 0


def test_p05_a_real_preflight_is_handed_on_as_nobody_where_that_is_set() -> None:
    with Guarded(allow_preflight=True) as guarded:
        assert asked(guarded, "/things", GOOD, method="OPTIONS", headers=PREFLIGHT) == (200, "")
        assert guarded.app.last.environ["apikey_guard.consumer"] is None
        assert guarded.keys.calls == 0
    with Guarded() as guarded:
        assert asked(guarded, "/things", method="OPTIONS", headers=PREFLIGHT) == MISSING


# -- P-06 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["http://other/admin", "http://other", "*", "admin", "", "other:443", "/admin#/public"]
)
def test_p06_every_form_of_a_target_needs_a_key(path: str) -> None:
    with Guarded(routes=EXEMPT) as guarded:
        assert asked(guarded, path) == MISSING
        assert asked(guarded, path, method="OPTIONS") == MISSING
        assert guarded.app.calls == 0
        assert asked(guarded, path, GOOD) == (200, "")


# -- P-07, P-08 -----------------------------------------------------------------------------------


def test_p07_the_decision_stays_with_the_outer_request() -> None:
    """A guard inside a guard decides anew; what the outer one allowed opens nothing."""
    with Guarded(routes=[Route("/*", access="public")]) as outer, Guarded() as inner:
        outer.wsgi.app = inner.wsgi
        assert asked(outer, "/admin") == MISSING
        assert inner.app.calls == 0


def test_p08_an_upgrade_is_authenticated_like_any_request() -> None:
    headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    with Guarded() as guarded:
        assert asked(guarded, "/socket", headers=headers) == MISSING
        assert asked(guarded, "/socket", GOOD, headers=headers) == (200, "")


# -- P-09, P-10 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/" + "a/" * 4096, "/" * 8192, "/" + "." * 8192, "/." * 4096, "/a" * 4096 + "!", "/%2e" * 2048 + ";"],
    ids=lambda path: path[:6],
)
def test_p09_a_long_path_and_many_routes_cost_little(path: str) -> None:
    routes = [Route(f"/a/b{number}/*", scopes=["s"]) for number in range(1000)]
    with Guarded(routes=routes) as guarded:
        started = time.process_time()
        for _ in range(10):
            asked(guarded, path)
        # A few milliseconds each; anything worse than linear takes minutes.
        assert time.process_time() - started < 1.0


def test_p09_a_pattern_is_no_path() -> None:
    with pytest.raises(SettingsError):
        Route("/(a+)+*")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_p10_the_longest_path_wins_in_any_order(order: tuple[int, ...]) -> None:
    routes = [Route(path, scopes=[path]) for path in ("/a/*", "/a/b/*", "/ab", "/a/b/c")]
    wanted = {
        "/a": "/a/*",
        "/a/x": "/a/*",
        "/a/bc": "/a/*",
        "/a/b": "/a/b/*",
        "/a/b/x": "/a/b/*",
        "/a/b/c": "/a/b/c",
        "/ab": "/ab",
        "/abc": None,
        "/b/a": None,
    }
    with Guarded(routes=[routes[position] for position in order]) as guarded:
        for path, scope in wanted.items():
            guarded.guard.revoke(everything=True)
            guarded.keys.add(GOOD, Consumer(scopes=frozenset() if scope is None else frozenset({scope})))
            assert asked(guarded, path, GOOD) == (200, ""), path
            if scope is not None:
                others = frozenset(route.path for route in routes) - {scope}
                guarded.guard.revoke(everything=True)
                guarded.keys.add(GOOD, Consumer(scopes=others))
                assert asked(guarded, path, GOOD) == LACKING, path


def test_p10_the_same_path_and_method_twice_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="twice"):
        load_settings(key_service=FakeKeyService(), routes=[Route("/a"), Route("/a", access="public")])


# -- P-11 -----------------------------------------------------------------------------------------


def test_p11_a_redirect_by_the_app_has_no_key_to_repeat() -> None:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    def redirects(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        location = f"{environ['PATH_INFO']}/?{environ['QUERY_STRING']}"
        start_response("308 Permanent Redirect", [("Location", location), ("Content-Type", "text/plain")])
        return [b""]

    with Guarded() as guarded:
        guarded.wsgi.app = redirects
        response = call(guarded.wsgi, build_environ("/a", query=f"b=1&apikey={GOOD}&c=%20"))
        standin = standin_of(sha256(GOOD.encode()).digest())
        assert response.header("Location") == f"/a/?b=1&apikey={standin}&c=%20"
