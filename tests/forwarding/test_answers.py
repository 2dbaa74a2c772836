"""What the origin says is what the caller gets, or it is a 502 (X-02, X-07..X-11, X-16, P-07, K-04)."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIEnvironment

import pytest
from werkzeug.middleware.lint import LintMiddleware

from tests.forwarding.gateway import PEER, Gateway, outcome
from tests.forwarding.live import ALL_SERVERS, SERVERS, LiveGateway, request
from tests.harness import Response, parse_response
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked
from tests.http1.test_parser import BAD_FRAMING

FAILED = (502, "origin_failed")


def told(
    gateway: Gateway, origin: Origin, *data: bytes, method: str = "GET", close: bool = False
) -> Response:
    """What the caller gets where the origin says exactly this."""
    origin.says(*data, close=close)
    return gateway.get("/", method, lint=False)


def is_in_step(gateway: Gateway, origin: Origin) -> bool:
    """Whether the next callers get their own answers."""
    origin.heal()
    return [gateway.get(f"/{number}").body for number in range(3)] == [b"/0", b"/1", b"/2"]


# -- what goes through ----------------------------------------------------------------------------

LINES = [
    b"Content-Type: text/x; charset=utf-8",
    b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/",
    b"Set-Cookie: b=2, c; HttpOnly",
    b"X-Odd: \xc3\xa9 \xff  a,b",
    b"set-cookie: c=3; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b'WWW-Authenticate: Basic realm="a, b"',
    b"WWW-Authenticate: Digest realm=c",
    b"Link: </a>; rel=preload, </b>",
    b"Link: </c>",
    b'ETag: W/"x"',
    b"Content-MD5: Q2hlY2s=",
    b"Vary: Accept",
    b"Cache-Control: public, max-age=60",
    b"Server: origin/1",
    b"Date: Tue, 24 Nov 2026 21:00:00 GMT",
    b"Via: 1.1 before",
    b"X-Empty:",
]


def pairs(lines: list[bytes]) -> list[tuple[str, str]]:
    split = (line.decode("latin-1").partition(":") for line in lines)
    return [(name, value.strip(" ")) for name, _, value in split]


def test_x09_every_header_arrives_as_it_was_and_in_order(gateway: Gateway, origin: Origin) -> None:
    response = told(gateway, origin, answer(b"abc", *LINES, status=b"299 All well"))
    assert (response.status, response.reason, response.body) == (299, "All well", b"abc")
    assert list(response.headers) == [*pairs(LINES), ("Content-Length", "3")]


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x09_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    gateway.origin.says(answer(b"abc", *LINES))
    response = gateway.get("/")
    got = [pair for pair in response.headers if pair[0] not in {"Date", "Server", "Connection", "Via"}]
    # The servers' own are theirs to add, and some drop the origin's for them.
    expected = [
        pair for pair in [*pairs(LINES), ("Content-Length", "3")] if pair[0] not in {"Date", "Server", "Via"}
    ]
    if server == "waitress":  # sends them in the order of the alphabet, and spelled its way
        expected = sorted((name.title(), value) for name, value in expected)
    assert got == expected
    assert response.body == b"abc"


def test_k04_the_answer_gets_no_header_of_ours(gateway: Gateway, origin: Origin) -> None:
    assert told(gateway, origin, answer(b"")).headers == (
        ("Content-Type", "text/plain"),
        ("Content-Length", "0"),
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"key": None}, (401, "missing_credential")),
        ({"headers": [("Upgrade", "websocket"), ("Connection", "upgrade")]}, (501, "upgrade_unsupported")),
        ({"target": "/a%00"}, (400, "bad_request")),
        ({"extra": {"CONTENT_LENGTH": "x"}}, (400, "bad_request")),
        ({}, FAILED),
    ],
)
def test_k04_nobody_may_keep_an_answer_of_ours(
    gateway: Gateway, origin: Origin, parts: dict[str, Any], expected: tuple[int, str]
) -> None:
    origin.refuse()
    response = gateway.get(lint=False, **parts)
    assert outcome(response) == expected
    assert response.header("Cache-Control") == "no-store"
    assert response.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 200 Fine", "Fine"),
        (b"HTTP/1.0 200 Fine", "Fine"),
        (b"HTTP/1.1 200 \xc3\x96K", "OK"),
        (b"HTTP/1.1 200 ", "OK"),
        (b"HTTP/1.1 200", "OK"),
    ],
)
def test_x08_the_phrase_is_kept_where_it_is_plain(
    gateway: Gateway, origin: Origin, line: bytes, reason: str
) -> None:
    response = told(gateway, origin, line + b"\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok")
    assert (response.status, response.reason, response.body) == (200, reason, b"ok")


@pytest.mark.parametrize(
    "status", [200, 201, 203, 206, 226, 299, 300, 304, 400, 404, 418, 451, 499, 500, 503, 599]
)
def test_x08_every_status_goes_through(gateway: Gateway, origin: Origin, status: int) -> None:
    response = told(gateway, origin, answer(b"", status=b"%d X" % status))
    assert (response.status, response.header("Retry-After")) == (status, None)


@pytest.mark.parametrize(
    ("framing", "end", "length"),
    [
        ((CHUNKED,), chunked(b"ab", b"", b"c")[:0], None),
        ((b"Content-Length: 3",), b"", "3"),
        ((), b"", None),
    ],
)
def test_the_body_arrives_however_it_was_framed(
    gateway: Gateway, origin: Origin, framing: tuple[bytes, ...], end: bytes, length: str | None
) -> None:
    body = chunked(b"ab", b"c") if framing == (CHUNKED,) else b"abc"
    data = answer(body, *framing, length=False)
    response = told(gateway, origin, data, close=not framing)
    assert (response.body, response.header("Content-Length")) == (b"abc", length)
    assert response.header("Transfer-Encoding") is None


def test_bytes_one_by_one_are_the_same_answer(gateway: Gateway, origin: Origin) -> None:
    data = answer(chunked(b"a" * 20, b"b"), CHUNKED, *LINES, length=False)
    origin.behave(lambda exchange: exchange.drip(data))
    for _ in range(2):
        response = gateway.get("/")
        assert response.body == b"a" * 20 + b"b"
        assert list(response.headers) == pairs(LINES)
    assert origin.connections == 1


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 65_535, 65_536, 65_537, 300_000])
@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunks"])
def test_bodies_of_every_size(gateway: Gateway, origin: Origin, size: int, coded: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    pieces = [body[at : at + 10_007] for at in range(0, size, 10_007)]
    data = answer(chunked(*pieces), CHUNKED, length=False) if coded else answer(body)
    assert told(gateway, origin, data).body == body
    assert gateway.get("/").body == body
    assert origin.connections == 1


def test_many_headers_go_through_and_too_many_bytes_do_not(gateway: Gateway, origin: Origin) -> None:
    lines = [b"X-%d: %d" % (number, number) for number in range(150)]
    assert len(told(gateway, origin, answer(b"", *lines)).headers) == 152
    assert told(gateway, origin, answer(b"", b"X: " + b"a" * 60_000)).status == 200
    assert outcome(told(gateway, origin, answer(b"", b"X: " + b"a" * 100_000))) == FAILED
    origin.behave(lambda exchange: endless(exchange, b"HTTP/1.1 200 OK\r\n", b"X: aaaaaaaaaa\r\n" * 100))
    assert gateway.outcome() == FAILED
    assert is_in_step(gateway, origin)


def endless(exchange: Exchange, start: bytes, piece: bytes) -> None:
    exchange.send(start)
    while True:
        exchange.send(piece)


# -- X-10 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"x-unknown", b"gzip, br", b"identity"])
@pytest.mark.parametrize("accepts", ["gzip", "", None])
def test_x10_a_content_coding_is_not_touched(
    gateway: Gateway, origin: Origin, coding: bytes, accepts: str | None
) -> None:
    body = gzip.compress(b"a" * 1000)
    origin.says(answer(body, b"Content-Encoding: " + coding, b'ETag: "x"'))
    headers = [] if accepts is None else [("Accept-Encoding", accepts)]
    response = gateway.get("/", headers=headers)
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()
    assert response.header("Content-Encoding") == coding.decode()
    assert response.header("Content-Length") == str(len(body))
    assert origin.last.header("Accept-Encoding") == accepts


def test_x10_a_part_is_a_part(gateway: Gateway, origin: Origin) -> None:
    origin.says(answer(b"bcd", b"Content-Range: bytes 1-3/5", b"Accept-Ranges: bytes", status=b"206 Part"))
    response = gateway.get("/", headers=[("Range", "bytes=1-3"), ("If-Range", '"x"')])
    assert (response.status, response.body) == (206, b"bcd")
    assert response.header("Content-Range") == "bytes 1-3/5"
    assert (origin.last.header("Range"), origin.last.header("If-Range")) == ("bytes=1-3", '"x"')


@pytest.mark.parametrize("server", SERVERS)
def test_x10_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    body = gzip.compress(bytes(range(256)) * 100)
    gateway.origin.says(answer(body, b"Content-Encoding: gzip"))
    response = gateway.get("/", "Accept-Encoding: gzip")
    assert (response.body, response.header("Content-Length")) == (body, str(len(body)))


# -- X-11 -----------------------------------------------------------------------------------------

# method, status line, header lines, body that it must not have; the length that the caller is told.
BODILESS = {
    "HEAD": ("HEAD", b"200 OK", (b"Content-Length: 5",), b"", "5"),
    "HEAD, of a coded body": (
        "HEAD",
        b"200 OK",
        (b"Content-Length: 77", b"Content-Encoding: gzip"),
        b"",
        "77",
    ),
    "HEAD, in chunks": ("HEAD", b"200 OK", (CHUNKED,), b"", None),
    "HEAD, without a length": ("HEAD", b"200 OK", (), b"", None),
    "HEAD of an error": ("HEAD", b"404 Not Found", (b"Content-Length: 5",), b"", "5"),
    "HEAD with a body": ("HEAD", b"200 OK", (b"Content-Length: 5",), b"wrong", "5"),
    "HEAD with chunks": ("HEAD", b"200 OK", (CHUNKED,), chunked(b"wrong"), None),
    "204": ("GET", b"204 No Content", (), b"", None),
    "204 with a length": ("GET", b"204 No Content", (b"Content-Length: 0",), b"", None),
    "204 with a body": ("GET", b"204 No Content", (b"Content-Length: 5",), b"wrong", None),
    "204 with chunks": ("POST", b"204 No Content", (CHUNKED,), chunked(b"wrong"), None),
    "304": ("GET", b"304 Not Modified", (b'ETag: "x"',), b"", None),
    "304 with a length": ("GET", b"304 Not Modified", (b"Content-Length: 5",), b"", "5"),
    "304 with a body": ("GET", b"304 Not Modified", (b"Content-Length: 5",), b"wrong", "5"),
}


def bodiless(name: str) -> tuple[str, bytes, str | None]:
    method, status, lines, body, length = BODILESS[name]
    return method, b"\r\n".join([b"HTTP/1.1 " + status, *lines]) + b"\r\n\r\n" + body, length


@pytest.mark.parametrize("name", BODILESS)
def test_x11_an_answer_without_a_body_has_none(gateway: Gateway, origin: Origin, name: str) -> None:
    method, data, length = bodiless(name)
    response = told(gateway, origin, data, method=method)
    assert response.status == int(data[9:12])
    assert response.body == b""
    assert response.header("Content-Length") == length
    assert is_in_step(gateway, origin)


@pytest.mark.parametrize("body", [b"", b"wrong"])
def test_x11_a_205_has_no_body_for_the_caller(gateway: Gateway, origin: Origin, body: bytes) -> None:
    response = told(gateway, origin, answer(body, status=b"205 Reset Content"))
    assert response.status == 205
    assert response.body == b""
    assert response.header("Content-Length") in {"0", None}
    assert is_in_step(gateway, origin)


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x11_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    for name in BODILESS:
        method, data, length = bodiless(name)
        gateway.origin.says(data)
        received = gateway.received(request("/", method=method))
        head, _, rest = received.partition(b"\r\n\r\n")
        if name.startswith("304 with") and server == "gevent":
            # It takes the length for that of a body, and the answer for a fault.
            assert b" 500 " in head
            continue
        assert head.split(b" ")[1] == data[9:12], (name, received)
        assert rest in (b"", b"0\r\n\r\n"), (name, received)
        got = parse_response(head + b"\r\n\r\n").all_headers("Content-Length")
        # Some servers set a length of their own where there is none, which is their business.
        assert got == [length] or length is None or (server, got) == ("waitress", []), (name, received)
        gateway.origin.forget()
        assert gateway.get("/next").body == b"/next"


# -- X-07, P-07 -----------------------------------------------------------------------------------


def test_x07_what_belongs_to_the_origins_connection_ends_here(gateway: Gateway, origin: Origin) -> None:
    lines = [
        b"Connection: X-Secret, Upgrade, keep-alive",
        b"X-Secret: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Authorization: Basic eA==",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"X-Kept: 1",
    ]
    response = told(gateway, origin, answer(b"", *lines))
    assert [name for name, _ in response.headers] == ["X-Kept", "Content-Type", "Content-Length"]


def test_x07_trailers_are_no_headers(gateway: Gateway, origin: Origin) -> None:
    end = b"0\r\nX-Sum: 1\r\nSet-Cookie: a=1\r\nContent-Length: 9\r\n\r\n"
    response = told(
        gateway, origin, answer(chunked(b"abc", end=end), CHUNKED, b"Trailer: X-Sum", length=False)
    )
    assert (response.body, response.headers) == (b"abc", (("Content-Type", "text/plain"),))
    assert gateway.get("/").body == b"abc"
    assert origin.connections == 1


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x07_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    hop = [
        b"Connection: X-Secret",
        b"X-Secret: 1",
        b"Proxy-Authenticate: Basic",
        b"Trailer: X",
        b"Upgrade: h2c",
    ]
    for data in (answer(b"abc", *hop), answer(chunked(b"abc"), CHUNKED, *hop, length=False)):
        gateway.origin.says(data)
        response = gateway.get("/")
        assert (response.status, response.body) == (200, b"abc")
        assert not {"X-Secret", "Proxy-Authenticate", "Trailer", "Upgrade"} & dict(response.headers).keys()
        assert not {"Content-Length", "Transfer-Encoding"} <= dict(response.headers).keys()


@pytest.mark.parametrize(
    "line",
    [
        *(b"X-Accel-Redirect: /protected", b"x-accel-charset: utf-7", b"X-Accel-Expires: 3600"),
        *(b"X-Accel-Limit-Rate: 1", b"X-ACCEL-ANYTHING: 1", b"X-Accel-Buffering-: no"),
        *(b"x-sendfile: /etc/passwd", b"X-Sendfile2: /etc/passwd 0-", b"X-Sendfile-Temporary: /etc/passwd"),
        *(b"X-Sendfile-Type: X-Accel-Redirect", b"X-Send-File: /etc/passwd"),
        *(b"X-LIGHTTPD-send-file: /etc/passwd", b"X-LIGHTTPD-send-tempfile: /etc/passwd"),
        *(
            b"X-LIGHTTPD-KBytes-per-second: 1",
            b"X-Reproxy-URL: http://10.0.0.1/",
            b"X-REPROXY-FILE: /etc/passwd",
        ),
        *(b"X-LiteSpeed-Location: /protected", b"X-LiteSpeed-Purge: *", b"X-AppEngine-BlobKey: 1"),
        b"X-Envoy-Immediate-Health-Check-Fail: true",
    ],
)
@pytest.mark.parametrize("trusted", [(), (PEER,)], ids=["untrusted", "trusted"])
def test_p07_no_order_to_the_web_server_in_front(
    origin: Origin, line: bytes, trusted: tuple[str, ...]
) -> None:
    with Gateway(origin, trusted_proxies=trusted) as gateway:
        response = told(gateway, origin, answer(b"abc", line, b"X-Accel-Buffering: no"))
    assert [name for name, _ in response.headers] == ["X-Accel-Buffering", "Content-Type", "Content-Length"]


# -- X-16 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "/b?c=%20",
        "b",
        "ORIGIN/b",
        "ORIGIN.evil.example/b",
        "https://elsewhere.example/?to=ORIGIN/b",
        "//elsewhere.example/b",
        "?x",
        "",
    ],
)
def test_x16_a_redirect_is_the_callers_to_follow(
    gateway: Gateway, origin: Origin, status: int, location: str
) -> None:
    location = location.replace("ORIGIN", origin.url)
    response = told(
        gateway,
        origin,
        answer(b"", b"Location: " + location.encode(), status=b"%d Moved" % status),
        method="POST",
    )
    assert (response.status, response.header("Location")) == (status, location)
    assert (len(origin.requests), origin.connections) == (1, 1)


# -- X-02, X-08 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", BAD_FRAMING.values(), ids=BAD_FRAMING)
def test_x02_an_answer_whose_end_is_in_doubt_is_refused(
    gateway: Gateway, origin: Origin, lines: tuple[bytes, ...]
) -> None:
    body = b"3\r\nabc\r\n0\r\n\r\n"
    assert outcome(told(gateway, origin, answer(body, *lines, length=False))) == FAILED
    assert is_in_step(gateway, origin)


def test_x02_chunks_under_the_old_version_are_refused(gateway: Gateway, origin: Origin) -> None:
    data = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert outcome(told(gateway, origin, data)) == FAILED


HOSTILE = {
    "CR": b"X: a\rSet-Cookie: sid=evil",
    "LF": b"X: a\nSet-Cookie: sid=evil",
    "NUL": b"X: a\0b",
    "DEL": b"X: a\x7fb",
    "escape": b"X: \x1b[31m",
    "folded": b"X: a\r\n  Set-Cookie: sid=evil",
    "space before the colon": b"X : a",
    "no name": b": a",
    "no colon": b"Set-Cookie",
    "no token": b"X Y: a",
    "leading space": b" X: a",
    "name of bytes": b"X\xff: a",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_x08_a_header_that_splits_the_answer_is_a_502(gateway: Gateway, origin: Origin, line: bytes) -> None:
    assert outcome(told(gateway, origin, answer(b"abc", b"A: 1", line))) == FAILED
    assert is_in_step(gateway, origin)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 099 X",
        b"HTTP/1.1 000 X",
        b"HTTP/1.1 600 X",
        b"HTTP/1.1 999 X",
        b"HTTP/1.1 2000 X",
        b"HTTP/1.1 20 X",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK: v",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"ICY 200 OK",
        b"<html>",
        b"SSH-2.0-OpenSSH_9.2",
        b"\r\n\r\nHTTP/1.1 200 OK",
    ],
)
def test_x08_a_status_line_that_is_none_is_a_502(gateway: Gateway, origin: Origin, line: bytes) -> None:
    data = line + b"\r\nContent-Length: 2\r\n\r\nok"
    assert outcome(told(gateway, origin, data, close=True)) == FAILED
    assert is_in_step(gateway, origin)


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x08_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    for name, line in HOSTILE.items():
        gateway.origin.says(answer(b"abc", b"A: 1", line))
        response = gateway.get("/")
        assert outcome(response) == FAILED, name
        assert b"evil" not in response.body
        assert response.header("Set-Cookie") is None
        assert response.header("X-Content-Type-Options") == "nosniff"


def test_both_linters_are_content(origin: Origin) -> None:
    with Gateway(origin) as gateway:
        gateway.app = LintMiddleware(gateway.wsgi)
        for method, data in [
            ("GET", answer(b"abc")),
            ("POST", answer(chunked(b"abc"), CHUNKED, length=False)),
            ("HEAD", answer(b"", length=False)),
            ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'),
        ]:
            origin.says(data)
            assert gateway.get("/", method, raw=None).status in {200, 304}
        origin.refuse()
        assert gateway.get("/", raw=None).status == 502


def test_an_app_beside_is_called_as_ever(origin: Origin) -> None:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse

    from apikey_guard import Route

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"app " + environ["PATH_INFO"].encode()]

    with Gateway(app=app, routes=[Route("/v2/*", origin=origin.url)]) as gateway:
        assert gateway.get("/v2/a").body == b"/v2/a"
        assert gateway.get("/v1/a").body == b"app /v1/a"
        # What an app gets it may read as it likes; only what is forwarded is refused for its shape.
        assert gateway.get("/v1/../a").body == b"app /v1/../a"
        assert gateway.get("/v2/../a", lint=False).status in {200, 400}
        assert gateway.outcome("/v2/a", key=None) == (401, "missing_credential")
        assert gateway.outcome("/v1/a", key=None) == (401, "missing_credential")
