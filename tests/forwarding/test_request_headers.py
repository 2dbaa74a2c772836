"""What the origin is told: the caller's own words, ours, and nobody else's (A, K, X-05, X-07, X-12, X-15)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apikey_guard import Consumer, Route
from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.routing import Access
from apikey_guard.testing import LoopbackKeyService
from tests.forwarding.gateway import GOOD, IDENTITY, PEER, Gateway, asking, carried, site
from tests.forwarding.live import ALL_SERVERS, SERVERS, LiveGateway, request
from tests.guard.test_identity import FORGED
from tests.harness import call
from tests.harness.origin import Origin, Received, answer
from tests.harness.watch import find_canary


def identity(request: Received) -> dict[str, str]:
    """The identity headers that the origin got, each no more than once."""
    found = [pair for pair in request.headers if pair[0].replace("_", "-") in KNOWN]
    assert len(dict(found)) == len(found), found
    return dict(found)


KNOWN = {name.lower() for name in IDENTITY_HEADERS.values()}

# -- X-05 -----------------------------------------------------------------------------------------

OWN = {
    "accept": "text/html, */*;q=0.1",
    "accept-encoding": "br",
    "accept-language": "de",
    "authorization": "Bearer mine",
    "cache-control": "no-cache",
    "content-type": "text/x; charset=utf-8",
    "cookie": 'a=1; b="2"',
    "if-none-match": '"x", W/"y"',
    "origin": "https://app.example",
    "range": "bytes=0-1",
    "user-agent": "curl/8",
    "x-custom": "v\xc3\xa9 \xff",
    "x-empty": "",
    "x--two": "1",
}


def test_x05_the_origin_gets_the_callers_headers_and_ours(gateway: Gateway, origin: Origin) -> None:
    assert gateway.get("/", headers=OWN.items()).status == 200
    assert carried(origin.last) == OWN
    assert (
        dict(origin.last.headers).items()
        >= {
            "host": origin.netloc,
            **IDENTITY,
            "x-forwarded-for": PEER,
            "x-forwarded-proto": "http",
            "x-forwarded-host": "127.0.0.1",
            "x-forwarded-port": "80",
            "x-real-ip": PEER,
            "via": "1.1 apikey-guard",
        }.items()
    )


def test_an_origin_may_do_without_via(origin: Origin) -> None:
    with Gateway(origin, origin_via=False) as gateway:
        gateway.get("/")
        assert origin.last.header("Via") is None
        gateway.get("/", headers=[("Via", "1.1 edge")])
        assert origin.last.header("Via") == "1.1 edge"


def test_x05_nothing_is_sent_of_our_own_accord(gateway: Gateway, origin: Origin) -> None:
    gateway.get("/")
    assert carried(origin.last) == {}
    assert origin.last.header("Connection") is None


def test_x05_no_cookie_of_one_caller_is_another_ones(gateway: Gateway, origin: Origin) -> None:
    gateway.keys.add("KCANARY-other", Consumer(id="7"))
    origin.says(answer(b"", b"Set-Cookie: who=alice; Path=/", b"Set-Cookie2: x=1"))
    assert gateway.get("/").all_headers("Set-Cookie") == ["who=alice; Path=/"]
    gateway.get("/", key="KCANARY-other")
    gateway.get("/", headers=[("Cookie", "mine=1")])
    assert [request.header("Cookie") for request in origin.requests] == [None, None, "mine=1"]


def test_x05_the_environment_is_not_obeyed(
    gateway: Gateway, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login trap password SCANARY-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc.read_text())
    with Origin() as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_KEYLOGFILE"):
            monkeypatch.setenv(name, str(tmp_path / "no-such-file"))
        with Gateway(origin) as another:
            assert another.get("/a", headers=[("Authorization", "Bearer mine")]).status == 200
            assert another.get("/b").status == 200
        assert trap.connections == 0
    assert [request.header("Authorization") for request in origin.requests] == ["Bearer mine", None]


def test_x05_the_header_proxy_sets_nothing(gateway: Gateway, origin: Origin) -> None:
    with Origin() as trap:
        assert gateway.get("/", headers=[("Proxy", trap.url)]).status == 200
        assert trap.connections == 0
    assert origin.last.header("Proxy") is None


# -- P-08 -----------------------------------------------------------------------------


def test_x07_what_belongs_to_the_connection_ends_here(gateway: Gateway, origin: Origin) -> None:
    hop = {
        "Connection": "keep-alive, X-Secret",
        "X-Secret": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Connection": "keep-alive",
        "Proxy-Authenticate": "Basic",
        "Proxy-Authorization": "Basic eA==",
        "TE": "trailers",
        "Trailer": "X-Sum",
        "Expect": "100-continue",
        "X-Kept": "1",
    }
    assert gateway.get("/", headers=hop.items()).status == 200
    assert carried(origin.last) == {"x-kept": "1"}


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "something-else"])
def test_x12_an_expectation_ends_here(gateway: Gateway, origin: Origin, value: str) -> None:
    assert gateway.get("/", "POST", headers=[("Expect", value)], body=b"abc").status == 200
    assert (origin.last.header("Expect"), origin.last.body) == (None, b"abc")


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "eA=="},
        {"Connection": "keep-alive, upgrade", "Upgrade": "WebSocket"},
        {"Connection": "Upgrade", "Upgrade": "h2c, websocket"},
    ],
)
def test_p08_a_websocket_is_refused_clearly_and_after_the_decision(
    gateway: Gateway, origin: Origin, headers: dict[str, str]
) -> None:
    assert gateway.outcome("/", headers=headers.items(), key=None) == (401, "missing_credential")
    assert gateway.outcome("/", headers=headers.items()) == (501, "upgrade_unsupported")
    assert origin.connections == 0


def test_p08_other_upgrades_are_taken_out(gateway: Gateway, origin: Origin) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    assert gateway.get("/", headers=headers.items()).status == 200
    assert carried(origin.last) == {}


# -- A-05, A-06 -----------------------------------------------------------------------------------

FORGERIES = [*FORGED, *((f"X-Consumer-{name}", "admin") for name in ("ID", "Username", "Custom-Id"))]


@pytest.mark.parametrize(
    ("key", "path", "parts", "expected"),
    [
        pytest.param(GOOD, "/", {}, IDENTITY, id="known"),
        pytest.param("KCANARY-bare", "/", {}, {}, id="known, without a consumer"),
        pytest.param(None, "/public", {}, {}, id="public"),
        pytest.param(GOOD, "/public", {}, {}, id="public, with a key"),
        pytest.param(None, "/optional", {}, {"x-anonymous-consumer": "true"}, id="optional"),
        pytest.param(
            None,
            "/",
            {"method": "OPTIONS", "headers": [("Origin", "x"), ("Access-Control-Request-Method", "GET")]},
            {},
            id="preflight",
        ),
    ],
)
@pytest.mark.parametrize("keys", ["canonical", "as spelled"])
def test_a05_who_calls_is_ours_to_say(
    origin: Origin, key: str | None, path: str, parts: dict[str, Any], expected: dict[str, str], keys: str
) -> None:
    routes = [Route("/public", access="public"), Route("/optional", access="optional")]
    with Gateway(origin, routes=routes, allow_preflight=True) as gateway:
        gateway.keys.add("KCANARY-bare")
        headers = [*parts.get("headers", ()), *(FORGERIES if keys == "canonical" else ())]
        parts = {name: value for name, value in parts.items() if name != "headers"}
        # No server writes these; whatever brings them along, the origin must not read them.
        extra = {f"HTTP_{name}": value for name, value in FORGERIES} if keys == "as spelled" else {}
        response = gateway.get(path, key=key, headers=headers, extra=extra, lint=False, **parts)
        if keys == "as spelled" and response.status == 400:
            assert origin.requests == []
            return
        assert response.status == 200
        assert identity(origin.last) == expected


@pytest.mark.parametrize(
    "nominated",
    [
        "close, X-Consumer-Id, X-Forwarded-For, Content-Length, Host",
        "X-Consumer-ID,X-Consumer-Username,X-Consumer-Custom-Id,x_consumer_id",
        ",X-Consumer-ID",
        "Content-Type, Content-Encoding, Authorization, Via, Forwarded, X-Real-Ip, apikey",
    ],
)
def test_a06_nominating_takes_nothing_of_ours_away(gateway: Gateway, origin: Origin, nominated: str) -> None:
    own = {"Authorization": "Bearer mine", "Content-Type": "a/b", "Content-Encoding": "gzip"}
    headers = [("Connection", nominated), *own.items()]
    assert gateway.get("/", "POST", headers=headers, body=b"abc").status == 200
    got = origin.last
    assert identity(got) == IDENTITY
    assert (got.header("Host"), got.header("Content-Length"), got.body) == (origin.netloc, "3", b"abc")
    assert {name.lower(): value for name, value in own.items()}.items() <= carried(got).items()
    assert (got.header("X-Forwarded-For"), got.header("Via")) == (PEER, "1.1 apikey-guard")
    assert got.header("Connection") is None


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_a05_a06_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    lines = [f"{name}: {value}" for name, value in FORGERIES]
    nominated = ("Connection: close, X-Consumer-Id, Content-Length, Host", "Connection: X-Consumer-Username")
    response = gateway.server.request(request("/", *nominated, *lines, close=False))
    assert response.status == 200
    assert identity(gateway.origin.last) == IDENTITY
    assert gateway.origin.last.header("Connection") is None


# -- K-02, K-07 -----------------------------------------------------------------------------------


# An empty one counts, besides that of the header.
TWO_KEYS = {"?apikey", "?apikey=&x", "?apikey=KCANARY-good&apikey=KCANARY-good&z"}


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ("?a=1&apikey=KCANARY-good&b=%20&a=2", "?a=1&b=%20&a=2"),
        ("?apikey=KCANARY-good&a=1", "?a=1"),
        ("?a=1&apikey=KCANARY-good", "?a=1"),
        ("?api%6Bey=KCANARY-good&x", "?x"),
        ("?%61pikey=KCANARY-good", ""),
        ("?apikey=KCANARY-good", ""),
        ("?apikey", ""),
        ("?apikey=&x", "?x"),
        ("?a=%2F&b=+&apikey=KCANARY-good&c", "?a=%2F&b=+&c"),
        ("?apikey=KCANARY-good&apikey=KCANARY-good&z", "?z"),
        ("?x[apikey]=1&APIKEY=2&", "?x[apikey]=1&APIKEY=2&"),
        ("?x=apikey=1", "?x=apikey=1"),
    ],
)
@pytest.mark.parametrize("raw", ["RAW_URI", "REQUEST_URI", None])
@pytest.mark.parametrize("path", ["/a%2Fb", "/public"])
def test_k02_no_copy_of_the_key_in_the_query(
    origin: Origin, path: str, raw: str | None, sent: str, left: str
) -> None:
    with Gateway(origin, routes=[Route("/public", access="public")]) as gateway:
        response = gateway.get(path + sent, raw=raw, key=None if "KCANARY" in sent else GOOD)
        if path != "/public" and sent in TWO_KEYS:
            assert (response.status, origin.connections) == (401, 0)
            return
        assert response.status == 200
        target = origin.last.target
        assert target == (path if raw else path.replace("%2F", "/")) + left
        assert carried(origin.last) == {}


COPIES = {
    "Apikey": "KCANARY-good",
    "Referer": "https://h.example/p?apikey=KCANARY-good&q=1",
    "X-Original-URI": "/p?q=1&apikey=KCANARY-good",
    "X-Original-URL": "/p?q=1&apikey=KCANARY-good",
    "X-Rewrite-URL": "/p?q=1&apikey=KCANARY-good",
    "X-Forwarded-Uri": "/p?apikey=KCANARY-good",
}


@pytest.mark.parametrize("path", ["/", "/public", "/optional"])
@pytest.mark.parametrize("trusted", [(), ("0.0.0.0/0",)], ids=["untrusted", "trusted"])
def test_k02_no_copy_of_the_key_in_a_header(origin: Origin, path: str, trusted: tuple[str, ...]) -> None:
    routes = [Route("/public", access="public"), Route("/optional", access="optional")]
    with Gateway(origin, routes=routes, trusted_proxies=trusted) as gateway:
        headers = [*COPIES.items(), ("X-Other", "1")]
        query = f"?a=1&apikey={GOOD}&b=%20"
        assert gateway.get(path + query, key=None, headers=headers).status == 200
        told = {"x-original-uri": "/p?q=1", "x-original-url": "/p?q=1", "x-rewrite-url": "/p?q=1"}
        assert carried(origin.last) == {
            "referer": "https://h.example/p?q=1",
            "x-other": "1",
            # A caller that is not trusted cannot say what was asked for, with or without a key in it.
            **({**told, "x-forwarded-uri": "/p"} if trusted else {}),
        }
        assert origin.last.target == path + "?a=1&b=%20"


@pytest.mark.parametrize(
    ("content_type", "body", "left"),
    [
        ("application/x-www-form-urlencoded", b"a=1&apikey=KCANARY-good&b=%20+", b"a=1&b=%20+"),
        ("application/json", b'{"a": 1, "apikey": "KCANARY-good", "b": [1]}', b'{"a": 1, "b": [1]}'),
    ],
)
def test_k02_no_copy_of_the_key_in_the_body(
    origin: Origin, content_type: str, body: bytes, left: bytes
) -> None:
    with Gateway(origin, key_locations=["header:apikey", "query:apikey", "body:apikey"]) as gateway:
        headers = [("Content-Type", content_type), ("apikey", GOOD)]
        assert gateway.get(f"/?apikey={GOOD}", "POST", key=None, headers=headers, body=body).status == 200
    got = origin.last
    assert got.body == left
    assert got.header("Content-Length") == str(len(left))
    assert carried(got) == {"content-type": content_type, "content-length": str(len(left))}


def test_k02_every_other_byte_of_a_body_goes_on(origin: Origin) -> None:
    body = bytes(range(256)) * 300
    with Gateway(origin, key_locations=["header:apikey", "body:apikey"]) as gateway:
        assert gateway.get("/", "POST", headers=[("Content-Type", "application/x")], body=body).status == 200
    assert origin.last.body == body


@pytest.mark.parametrize("mode", ["off", "monitor"])
def test_a05_k02_a_guard_that_does_not_enforce_sends_everything_on(origin: Origin, mode: str) -> None:
    # So that the gateway being replaced can stay behind.
    origin.says(answer(b"ok"))
    with Gateway(origin, mode=mode) as gateway:
        headers = [("X-Consumer-Id", "forged"), ("Referer", f"https://h/?apikey={GOOD}")]
        assert gateway.get(f"/a?apikey={GOOD}&b", key=GOOD, headers=headers).status == 200
        assert gateway.get("/", key=None).status == 200
    first = origin.requests[0]
    assert first.target == f"/a?apikey={GOOD}&b"
    assert (first.header("apikey"), first.header("x-consumer-id")) == (GOOD, "forged")
    assert first.header("Referer") == f"https://h/?apikey={GOOD}"


def test_k02_hiding_can_be_switched_off(origin: Origin) -> None:
    origin.says(answer(b"ok"))
    with Gateway(origin, hide_credentials=False) as gateway:
        assert gateway.get(f"/a?apikey={GOOD}&b").status == 200
    assert (origin.last.target, origin.last.header("apikey")) == (f"/a?apikey={GOOD}&b", GOOD)


@pytest.mark.parametrize("server", SERVERS)
def test_k02_k07_nothing_secret_reaches_the_origin(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    lines = [f"{name}: {value}" for name, value in COPIES.items() if name != "Apikey"]
    target = f"/a%2Fb?x=%20&apikey={GOOD}&y=+"
    assert gateway.get(target, *lines, method="POST", body=b"").status == 200
    (got,) = gateway.origin.requests
    assert find_canary(got.raw) is None
    assert got.target == "/a%2Fb?x=%20&y=+"


def test_k07_the_secret_of_the_key_service_stays_with_it(origin: Origin) -> None:
    secret = {"Authorization": "Bearer SCANARY-ours", "X-Service": "SCANARY-2"}
    with (
        LoopbackKeyService([GOOD]) as keys,
        Gateway(origin, validator_url=keys.url, validator_headers=secret) as gateway,
    ):
        assert gateway.get("/").status == 200
        origin.says(answer(b"", b"Location: /", status=b"302 Found"))
        assert gateway.get("/").status == 302
        assert b"SCANARY" in keys.requests[0]
    assert all(find_canary(request.raw) is None for request in origin.requests)
    assert "authorization" not in carried(origin.last)


# -- X-15 -----------------------------------------------------------------------------------------

TOLD = [
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "outside.example"),
    ("X-Forwarded-Port", "444"),
    ("X-Forwarded-Prefix", "/outer"),
    ("Forwarded", "for=1.2.3.4;proto=https"),
    ("X-Real-IP", "1.2.3.4"),
]


@pytest.mark.parametrize(
    ("networks", "peer", "trusted"),
    [
        ([], PEER, False),
        (["10.0.0.0/8"], PEER, False),
        ([PEER], PEER, True),
        (["192.0.2.0/24", "2001:db8::/32"], PEER, True),
        (["192.0.2.0/24", "2001:db8::/32"], "2001:db8::9", True),
        (["192.0.2.0/24"], "", False),
    ],
)
def test_x15_whose_word_is_believed(origin: Origin, networks: list[str], peer: str, trusted: bool) -> None:
    with Gateway(origin, trusted_proxies=networks) as gateway:
        assert gateway.get("/", headers=TOLD, peer=peer).status == 200
    got = origin.last
    told = got.header("X-Forwarded-Host") == "outside.example"
    assert told is trusted
    assert (got.header("X-Forwarded-For") or "").startswith("1.2.3.4, ") is trusted
    assert (got.header("Forwarded") or "").startswith("for=1.2.3.4;proto=https, for=") is trusted
    assert (got.header("X-Forwarded-Prefix") == "/outer") is trusted
    assert ("1.2.3.4" in got.raw.decode("latin-1")) is trusted


@pytest.mark.parametrize("server", SERVERS)
def test_x15_under_real_servers_forged_copies_are_dropped(
    server: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    lines = [f"{name}: {value}" for name, value in TOLD]
    lines += [f"{name.replace('-', '_')}: {value}" for name, value in TOLD]
    assert gateway.get("/", *lines).status == 200
    (got,) = gateway.origin.requests
    assert "1.2.3.4" not in got.raw.decode("latin-1")
    assert got.header("X-Forwarded-For") == "127.0.0.1"
    assert got.header("X-Forwarded-Host") == "h.example"


# How programs behind gateways read what a request is; each is something that a caller can write.
CLAIMED = [
    # the URL and the path
    *("X-Original-URL", "X-Original-URI", "X-Original-Path", "X-Rewrite-URL", "X-Forwarded-Uri"),
    *("X-Forwarded-Path", "X-Envoy-Original-Path", "X-Replaced-Path", "X-Script-Name", "X-Request-URI"),
    *("X-Middleware-Subrequest", "X-Invoke-Path", "X-Override-URL"),
    # host, scheme, port, and the method that a sub-request is about
    *("X-Host", "X-HTTP-Host-Override", "X-Original-Host", "X-Forwarded-Server", "X-Scheme", "X-Url-Scheme"),
    *("Front-End-Https", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-By"),
    *("X-Original-Method", "X-Forwarded-Method"),
    # the address of the caller
    *("Client-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "X-Forwarded", "X-Client-IP"),
    *("X-Cluster-Client-IP", "Fastly-Client-IP", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr"),
    *(
        "Forwarded-For",
        "X-Forwarded-For-Original",
        "X-Original-Forwarded-For",
        "X-ProxyUser-IP",
        "Fly-Client-IP",
    ),
    *(
        "WL-Proxy-Client-IP",
        "Proxy-Client-IP",
        "HTTP-Client-IP",
        "X-Azure-ClientIP",
        "X-Real-Port",
        "X-ClientIP",
    ),
    *(
        "CloudFront-Viewer-Address",
        "X-Appengine-User-IP",
        "X-Vercel-Forwarded-For",
        "X-Envoy-External-Address",
    ),
    # who calls
    *("X-Forwarded-User", "Remote-User", "X-Remote-User", "X-SSL-Client-Verify", "Client-Cert"),
    *("X-Forwarded-Client-Cert", "X-Auth-Request-User", "X-MS-Client-Principal", "X-Consumer-Groups"),
    *("X-Credential-Username", "X-RealIP", "X-Connecting-IP", "X-User-IP", "X-Protocol"),
    # how to hand a file on
    *("X-Sendfile-Type", "X-Accel-Mapping"),
]


@pytest.mark.parametrize("access", ["required", "public"])
@pytest.mark.parametrize("name", CLAIMED)
def test_x15_a_caller_cannot_tell_another_url_method_or_address(name: str, access: Access) -> None:
    with site(routes=[Route("/*", access=access)]) as it:
        assert it.gateway.get("/", headers=[(name, "/admin")]).status == 200
        assert carried(it.origin.last) == {}
        assert "/admin" not in it.origin.last.raw.decode("latin-1")


@pytest.mark.parametrize("name", CLAIMED)
def test_x15_a_trusted_peer_can(name: str) -> None:
    with site(trusted_proxies=[PEER]) as it:
        assert it.gateway.get("/", headers=[(name, "/told")]).status == 200
        assert it.origin.last.header(name) == ("/told")


@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_x15_a_claim_is_dropped_in_every_mode(origin: Origin, mode: str) -> None:
    with Gateway(origin, mode=mode) as gateway:
        assert gateway.get("/", key=None, headers=[("X-Original-URL", "/admin")]).status == 200
    assert carried(origin.last) == {}


@pytest.mark.parametrize(
    "name",
    [
        # Another reading of the method, which the guard decides by as well.
        *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
        # They look like claims and are a caller's own words.
        *("X-Request-Id", "X-Requested-With", "X-Auth-Token", "Traceparent", "X-Amzn-Trace-Id", "CDN-Loop"),
        *("Origin", "Referer", "From", "Destination", "X-Client-Version", "X-Clients", "X-Hostile", "X-Urls"),
    ],
)
def test_x15_what_is_no_claim_goes_on(gateway: Gateway, origin: Origin, name: str) -> None:
    assert gateway.get("/", headers=[(name, "GET")]).status == 200
    assert carried(origin.last) == {name.lower(): "GET"}


def test_a05_an_identity_header_may_have_the_name_of_a_claim(origin: Origin) -> None:
    names = {"username": "X-Forwarded-User", "id": "Remote-User"}
    for trusted in ((), (PEER,)):
        with Gateway(origin, identity_headers=names, trusted_proxies=trusted) as gateway:
            forged = [(name, "root") for name in names.values()]
            assert gateway.get("/", headers=forged).status == 200
        got = origin.last
        assert got.all_headers("x-forwarded-user") == ["alice"]
        assert got.all_headers("remote-user") == ["42"]


def test_a_key_that_is_not_hidden_goes_on_whatever_its_header_is_called(origin: Origin) -> None:
    with Gateway(origin, key_locations=["header:X-Real-Key"], hide_credentials=False) as gateway:
        assert gateway.get("/", key=None, headers=[("X-Real-Key", GOOD)]).status == 200
    assert origin.last.header("X-Real-Key") == GOOD


@pytest.mark.parametrize("host", ["a, b", "a,b", "who@a", "a/b", "a b", "a\\b", "a:b", "", "caf\xc3\xa9"])
def test_x15_an_odd_host_is_never_sent_on(origin: Origin, host: str) -> None:
    with Gateway(origin) as gateway:
        assert gateway.get("/", extra={"HTTP_HOST": host}, lint=False).status == 200
    assert origin.last.header("Host") == origin.netloc
    assert origin.last.header("X-Forwarded-Host") is None
    with Gateway(origin, preserve_host=True) as gateway:
        assert gateway.outcome("/", extra={"HTTP_HOST": host}, lint=False) == (400, "bad_request")
    assert len(origin.requests) == 1


@pytest.mark.parametrize("host", ["api.example", "API.example:8443", "[2001:db8::1]:443", "127.0.0.1"])
def test_x15_the_callers_host_goes_on_where_that_is_wanted(origin: Origin, host: str) -> None:
    ways: list[dict[str, Any]] = [
        {"preserve_host": True},
        {"routes": [Route("/*", origin=origin.url, preserve_host=True)]},
        {"origin": "one", "origins": {"one": {"targets": [origin.url], "preserve_host": True}}},
    ]
    for settings in ways:
        with Gateway(**{"origin": origin.url, **settings}) as gateway:
            assert gateway.get("/", extra={"HTTP_HOST": host}).status == 200
            assert origin.last.header("Host") == host
    with Gateway(origin, preserve_host=True, routes=[Route("/*", preserve_host=False)]) as gateway:
        assert gateway.get("/", extra={"HTTP_HOST": host}).status == 200
        assert origin.last.header("Host") == origin.netloc


def test_x15_a_chosen_origin_has_its_own_say_about_the_host(origin: Origin) -> None:
    """What a table says of its origin holds however a request comes there."""
    origins = {"one": origin.url, "two": {"targets": [origin.url], "preserve_host": True}}
    with Gateway("one", origins=origins, choose_origin=lambda environ, _: environ.get("HTTP_TO")) as gateway:
        for to, host in (("one", origin.netloc), ("two", "api.example")):
            assert gateway.get("/", headers=[("To", to)], extra={"HTTP_HOST": "api.example"}).status == 200
            assert origin.last.header("Host") == host


def test_x15_the_host_of_the_origin_is_as_it_was_written(origin: Origin) -> None:
    with Gateway(origin.url.replace("127.0.0.1", "localhost") + "/base") as gateway:
        assert gateway.get("/", headers=[("Host", "evil.example")]).status == 200
    assert origin.last.header("Host") == f"localhost:{origin.address[1]}"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "a\0b"])
@pytest.mark.parametrize("name", ["X-A", "Content-Type", "Referer", "Cookie", "Via", "Connection"])
def test_x02_a_header_that_would_begin_another_is_refused(
    gateway: Gateway, origin: Origin, name: str, value: str
) -> None:
    response = gateway.get("/", headers=[(name, value)], lint=False)
    assert all(b"X-Evil" not in line for got in origin.requests for line in got.head.split(b"\r\n"))
    if name != "Connection":
        assert (response.status, response.json()["code"]) == (400, "bad_request")
        assert origin.requests == []


@pytest.mark.parametrize("server", ["gevent", "wsgiref", "uwsgi", "werkzeug", "cheroot"])
def test_x02_whatever_a_server_lets_through(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    for value in ("k\nX-Evil: 1", "k\0X-Evil: 1", "k\rX-Evil: 1", "k\r\n  X-Evil: 1"):
        gateway.received(request("/", f"X-A: {value}"))
    for got in gateway.origin.requests:
        # A server may take what follows a bare LF for a header of its own; it is then one for everybody.
        assert b"\0" not in got.head
        assert b"\n" not in got.head.replace(b"\r\n", b"")
        assert b"\r" not in got.head.replace(b"\r\n", b"")


def test_what_stands_around_can_read_who_called_and_where_it_went(origin: Origin) -> None:
    with Gateway("one", origins={"one": origin.url}) as gateway:
        environ = asking("/a")
        assert call(gateway.wsgi, environ).status == 200
        assert environ["apikey_guard.origin"] == "one"
        assert environ["apikey_guard.consumer"].id == "42"
    with Gateway(origin.url + "/base") as gateway:
        environ = asking("/a")
        call(gateway.wsgi, environ)
        assert environ["apikey_guard.origin"] == origin.url
