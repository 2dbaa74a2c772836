"""The approved path is the path on the wire, and it goes to the route's origin (P-01..P-03, P-06, X-18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apikey_guard import Route
from tests.forwarding.gateway import GOOD, Gateway, Site, asking, site
from tests.forwarding.live import ALL_SERVERS, SERVERS, LiveGateway, request
from tests.harness import call
from tests.harness.origin import Origin

# Every target of P-01 and P-03, and the path on the wire; None is 400.
TARGETS: dict[str, str | None] = {
    "/public/../admin": None,
    "/public/%2e%2e/admin": None,
    "/public/..%2fadmin": None,
    "/public%2f..%2fadmin": None,
    "/public/%252e%252e/admin": "/public/%252e%252e/admin",
    "/public/..;a=b/admin": None,
    "/admin;x=/public": "/admin;x=/public",
    "/public;/../admin": None,
    "/public\\..\\admin": None,
    "/public%5c..%5cadmin": None,
    "//public/../admin": None,
    "//admin": "//admin",
    "/./admin": None,
    "/public/.": None,
    "/public//": "/public//",
    "/PUBLIC/x": "/PUBLIC/x",
    "/publicx": "/publicx",
    "/health/": "/health/",
    "/health%00": None,
    "/health%0a": None,
    "/admin%23/public": "/admin%23/public",
    "/admin#/public": None,
    "/health%c0%ae": "/health%c0%ae",
    "/a%2Fb": "/a%2Fb",
    "/a%20b": "/a%20b",
    "/a+b": "/a+b",
    "/a|b": "/a|b",
    "/~x": "/~x",
    "/%7Ex": "/%7Ex",
    "/caf%C3%A9": "/caf%C3%A9",
    "/a%zz": None,
    "/a?a=%2F&b=+&c": "/a?a=%2F&b=+&c",
    "/a?x=1&x=2&%78=3&x": "/a?x=1&x=2&%78=3&x",
    '/a?/../%zz|"': '/a?/../%zz|"',
    "/a?": "/a?",
    "/?": "/?",
    "//evil.example/x": "//evil.example/x",
    "/@evil.example": "/@evil.example",
    "/\\evil": None,
    "/http://evil.example/": "/http://evil.example/",
}
SENT = {target: wire for target, wire in TARGETS.items() if wire is not None}
REFUSED = [target for target, wire in TARGETS.items() if wire is None]


@pytest.fixture
def base(origin: Origin) -> Iterator[Gateway]:
    """A gateway whose origin has a path of its own."""
    with Gateway(origin.url + "/base") as made:
        yield made


def wire(gateway: Gateway, origin: Origin, target: str, **parts: Any) -> str:
    """The target that the origin got, which is the only one that heard of the request."""
    response = gateway.get(target, lint=False, **parts)
    assert response.status == 200, response
    (request,) = origin.requests
    assert request.header("Host") == origin.netloc
    assert request.line == f"GET {request.target} HTTP/1.1"
    return request.target


@pytest.mark.parametrize("raw", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize("target", SENT)
def test_p03_what_was_approved_is_what_is_sent(
    gateway: Gateway, origin: Origin, target: str, raw: str
) -> None:
    assert wire(gateway, origin, target, raw=raw) == SENT[target]


@pytest.mark.parametrize("key", [None, GOOD], ids=["no key", "good key"])
@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (raw, target)
        for raw in ("RAW_URI", "REQUEST_URI", None)
        for target in REFUSED
        # A server that keeps no target hands over a path here that can be sent.
        if raw or target not in {"/admin#/public", "/a%zz"}
    ],
)
def test_p03_what_cannot_be_forwarded_is_refused_before_anything_else(
    gateway: Gateway, origin: Origin, target: str, raw: str | None, key: str | None
) -> None:
    response = gateway.get(target, raw=raw, key=key, lint=False)
    assert (response.status, response.json()["code"]) == (400, "bad_request")
    assert (gateway.keys.calls, origin.connections) == (0, 0)


@pytest.mark.parametrize("target", SENT)
def test_p03_never_outside_of_the_path_of_the_origin(base: Gateway, origin: Origin, target: str) -> None:
    assert wire(base, origin, target) == "/base" + SENT[target]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a%2Fb", "/a/b"),
        ("/a%20b", "/a%20b"),
        ("/a+b", "/a+b"),
        ("/~x", "/~x"),
        ("/%7Ex", "/~x"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/a%25b", "/a%25b"),
        ("/a%3Fb?c", "/a%3Fb?c"),
        ("/a?a=%2F&b=+&c", "/a?a=%2F&b=+&c"),
        ("//evil.example/x", "//evil.example/x"),
    ],
)
def test_p03_without_the_target_the_decoded_path_is_written_anew(
    gateway: Gateway, origin: Origin, target: str, expected: str
) -> None:
    assert wire(gateway, origin, target, raw=None) == expected


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/public%2Fx", 400),
        ("/public%2fx/y", 400),
        ("/admin%2Fx", 400),
        ("/public/a%2Fb", 200),
        ("/other%2Fx", 200),
    ],
)
def test_p03_an_encoded_slash_never_changes_the_route(origin: Origin, target: str, status: int) -> None:
    routes = [Route("/public/*", access="public"), Route("/admin/*", scopes=["admin"])]
    with Gateway(origin, routes=routes) as gateway:
        assert gateway.get(target).status == status
        assert [request.target for request in origin.requests] == ([target] if status == 200 else [])


# Below /public for everybody.
@pytest.mark.parametrize("target", [target for target in TARGETS if target != "/public//"])
def test_p01_without_a_key_no_odd_target_reaches_the_origin(origin: Origin, target: str) -> None:
    routes = [Route("/public/*", access="public"), Route("/health", access="public")]
    with Gateway(origin, routes=routes) as gateway:
        assert gateway.get(target, key=None, lint=False).status in {400, 401}
        assert (origin.connections, gateway.keys.calls) == (0, 0)


# -- prefixes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_path", "target", "expected"),
    [
        ("", "/v2/reports/a", "/a"),
        ("", "/v2/reports/a%2Fb?x=%20&x", "/a%2Fb?x=%20&x"),
        ("", "/v2/reports", "/"),
        ("", "/v2/reports/", "/"),
        ("", "/v2/reports?a", "/?a"),
        ("", "/%762/reports/a", "/a"),
        ("", "/v2/reports//a", "//a"),
        ("/", "/v2/reports/a", "/a"),
        ("/r", "/v2/reports/a", "/r/a"),
        ("/r/", "/v2/reports/a", "/r/a"),
        ("/r", "/v2/reports", "/r/"),
        ("/r/", "/v2/reports/", "/r/"),
    ],
)
def test_strip_prefix(origin: Origin, base_path: str, target: str, expected: str) -> None:
    route = Route("/v2/reports/*", origin=origin.url + base_path, strip_prefix=True)
    with Gateway(routes=[route]) as gateway:
        assert wire(gateway, origin, target) == expected
        assert origin.last.header("X-Forwarded-Prefix") == "/v2/reports"


@pytest.mark.parametrize("target", ["/v2/reports/..%2fadmin", "/v2%2freports/a", "/v2/reports/%2e%2e"])
def test_strip_prefix_of_an_odd_target(origin: Origin, target: str) -> None:
    route = Route("/v2/reports/*", origin=origin.url, strip_prefix=True)
    with Gateway(routes=[route]) as gateway:
        assert gateway.outcome(target) == (400, "bad_request")
        assert origin.connections == 0


def test_without_strip_prefix_the_whole_path_goes_on(origin: Origin) -> None:
    with Gateway(routes=[Route("/v2/*", origin=origin.url + "/base")]) as gateway:
        assert wire(gateway, origin, "/v2/a") == "/base/v2/a"
        assert origin.last.header("X-Forwarded-Prefix") is None


def test_strip_prefix_of_a_route_for_one_path(origin: Origin) -> None:
    with Gateway(routes=[Route("/v2/reports", origin=origin.url + "/r", strip_prefix=True)]) as gateway:
        assert wire(gateway, origin, "/v2/reports") == "/r/"


@pytest.mark.parametrize(
    ("mount", "target", "expected"),
    [("/api", "/api/a%2Fb?x", "/a%2Fb?x"), ("/api", "/api", "/"), ("/a b", "/a%20b/c", "/c")],
)
def test_p02_below_a_mount_the_mount_stays_behind(
    gateway: Gateway, origin: Origin, mount: str, target: str, expected: str
) -> None:
    environ = asking(target)
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = mount, environ["PATH_INFO"][len(mount) :]
    assert call(gateway.wsgi, environ).status == 200
    assert origin.last.target == expected
    prefix = origin.last.header("X-Forwarded-Prefix")
    assert prefix is not None
    assert prefix.replace("%20", " ") == mount


# -- P-06, X-18 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
@pytest.mark.parametrize("path", ["admin", "*", "http://other/admin", "other:443", "http://other"])
def test_p06_what_is_no_path_is_refused(gateway: Gateway, origin: Origin, path: str, method: str) -> None:
    for key in (None, GOOD):
        environ = asking("/", method, key=key, extra={"PATH_INFO": path, "RAW_URI": path})
        response = call(gateway.wsgi, environ, lint=False)
        assert (response.status, response.json()["code"]) == (400, "bad_request")
    assert (gateway.keys.calls, origin.connections) == (0, 0)


@pytest.mark.parametrize("raw", ["http://other/a%2Fb?x=1", "https://other:8443/a%2Fb?x=1"])
def test_p06_of_the_absolute_form_only_the_path_goes_on(gateway: Gateway, origin: Origin, raw: str) -> None:
    extra = {"PATH_INFO": "/a/b", "QUERY_STRING": "x=1", "RAW_URI": raw, "HTTP_HOST": "other"}
    assert call(gateway.wsgi, asking(extra=extra)).status == 200
    assert (origin.last.target, origin.last.header("Host")) == ("/a%2Fb?x=1", origin.netloc)


def test_p06_an_empty_path_is_the_root(gateway: Gateway, origin: Origin) -> None:
    assert (
        call(gateway.wsgi, asking(extra={"PATH_INFO": "", "RAW_URI": "http://other"}), lint=False).status
        == 200
    )
    assert origin.last.target == "/"


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "evil.example")],
        [("Host", "127.0.0.1:1")],
        [("Host", "evil.example, other")],
        [("X-Forwarded-Host", "evil.example")],
        [("X-Forwarded-Server", "evil.example")],
        [("Forwarded", "host=evil.example")],
        [("X-Original-URL", "http://evil.example/")],
        [("X-Rewrite-URL", "/other")],
        [("X-Forwarded-Prefix", "/other")],
        [("Apikey-Guard-Origin", "http://evil.example")],
    ],
    ids=lambda headers: f"{headers[0][0]}: {headers[0][1]}",
)
@pytest.mark.parametrize("preserve_host", [False, True])
def test_x18_no_header_moves_a_request(
    origin: Origin, headers: list[tuple[str, str]], preserve_host: bool
) -> None:
    with Gateway(origin, preserve_host=preserve_host, trusted_proxies=["0.0.0.0/0"]) as gateway:
        status = gateway.get("/a", headers=headers).status
    if preserve_host and "," in headers[0][1]:
        assert (status, origin.connections) == (400, 0)
    else:
        assert (status, origin.last.target) == (200, "/a")


def test_p10_each_prefix_has_its_own_origin_in_any_order() -> None:
    with site() as a, site() as ab, site() as b:
        places: list[tuple[str, Site]] = [("/a/*", a), ("/a/b/*", ab), ("/ab/*", b)]
        for shift in range(3):
            routes = [Route(path, origin=to.origin.url) for path, to in places[shift:] + places[:shift]]
            with Gateway(routes=routes) as gateway:
                for path, to in [
                    ("/a", a),
                    ("/a/x", a),
                    ("/a/b", ab),
                    ("/a/b/c", ab),
                    ("/ab", b),
                    ("/a/bc", a),
                ]:
                    assert gateway.get(path).body == path.encode()
                    assert to.origin.last.target == path
                assert gateway.outcome("/abc") == (404, "no_origin")
        assert [len(to.origin.requests) for _, to in places] == [9, 6, 3]


# -- under real servers ---------------------------------------------------------------------------

FAITHFUL = [
    "/a%2Fb",
    "/a%20b",
    "/a+b",
    "/a|b",
    "/~x",
    "/%7Ex",
    "/caf%C3%A9",
    "/%ff",
    "/a?a=%2F&b=+&c",
    "/a?x=1&x=2&%78=3",
    "/a?",
    "/@evil.example",
    "/a;b=c,d",
    "/public//",
]


@pytest.mark.parametrize("server", SERVERS)
def test_p03_every_byte_survives_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    # Werkzeug's own server has replaced what is no UTF-8, and that is what was decided about.
    faithful = [target for target in FAITHFUL if (server, target) != ("werkzeug", "/%ff")]
    for target in faithful:
        assert gateway.get(target).status == 200
    assert [request.target for request in gateway.origin.requests] == faithful
    assert {request.header("Host") for request in gateway.origin.requests} == {gateway.origin.netloc}


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_p03_whatever_a_server_makes_of_a_target(server: str, live: Callable[..., LiveGateway]) -> None:
    """Refused, or sent as it was; a server that resolves or cleans a path itself decides for itself."""
    gateway = live(server)
    for target, expected in TARGETS.items():
        gateway.origin.forget()
        status = gateway.get(target).status
        sent = [request.target for request in gateway.origin.requests]
        assert len(sent) <= 1, target
        if status != 200:
            assert status in {400, 404}, (target, status)
            assert sent == [], target
        elif sent != [expected]:
            # Without the raw target, or with one that the server has cleaned.
            (got,) = sent
            assert ".." not in got, (target, got)
            assert got.startswith("/"), (target, got)
            assert not set(got) & set("\\#\0\n"), (target, got)


@pytest.mark.parametrize("server", ALL_SERVERS)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "http://other/admin"),
        ("GET", "http://other"),
        ("GET", "//other/admin"),
        ("GET", "admin"),
        ("GET", "*"),
        ("OPTIONS", "*"),
        ("CONNECT", "other:443"),
        ("GET", "other:443"),
    ],
)
def test_p06_no_form_of_a_target_leaves_the_origin(
    server: str, method: str, target: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    status = gateway.server.request(request(target, method=method)).status
    if status == 200:
        (got,) = gateway.origin.requests
        assert got.header("Host") == gateway.origin.netloc
        # Some servers join slashes; cheroot takes the asterisk for a path.
        assert got.target in {"/admin", "//other/admin", "/other/admin", "/", "/*"}
    else:
        assert status in {400, 404, 405, 501}
        assert gateway.origin.requests == []
