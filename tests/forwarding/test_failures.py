"""What the caller is told where the origin gives no answer (X-20), and where there is none."""

from __future__ import annotations

import logging
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from apikey_guard import Consumer, Route
from apikey_guard.errors import OriginAborted
from apikey_guard.forwarding.targets import HttpOrigin  # noqa: F401 - else the first request opens its file
from tests.forwarding.gateway import ALICE, Gateway, outcome
from tests.forwarding.live import SERVERS, LiveGateway
from tests.harness import RawServer, Response, raw_server
from tests.harness.exchanges import Fits
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked

FAILED = (502, "origin_failed")
TIMEOUT = (504, "origin_timeout")
BUSY = (503, "origin_busy")
SHORT = 0.2


def told(origin_url: str, **settings: Any) -> Response:
    """What the caller is told; nothing in it says where the origin is."""
    host = origin_url.partition("://")[2].partition("/")[0]
    with Gateway(origin_url, **settings) as gateway:
        response = gateway.get("/")
    text = f"{response.headers} {response.body!r}"
    assert host not in text
    assert host.partition(":")[0] not in text
    assert response.header("Content-Type") == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert problem["status"] == response.status
    assert (response.header("Retry-After") is not None) is (response.status == 503)
    return response


def test_x20_refused(origin: Origin) -> None:
    origin.refuse()
    assert outcome(told(origin.url)) == FAILED


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 63 + ".invalid"])
def test_x20_a_name_that_does_not_resolve(host: str) -> None:
    assert outcome(told(f"http://{host}:8000")) == FAILED


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("start", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"])
def test_x20_cut_before_the_answer(origin: Origin, start: bytes, reset: bool) -> None:
    origin.says(start, close=not reset, reset=reset)
    assert outcome(told(origin.url)) == FAILED


@pytest.mark.parametrize("data", [b"not http\r\n\r\n", b"\0" * 100, b"\x15\x03\x03\x00\x02\x02\x16"])
def test_x20_no_http(origin: Origin, data: bytes) -> None:
    origin.says(data, close=True)
    assert outcome(told(origin.url)) == FAILED


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\n"],
    ids=["all lines", "the last one"],
)
def test_x20_lines_that_end_otherwise_are_not_waited_for(origin: Origin, data: bytes) -> None:
    origin.says(data)
    assert outcome(told(origin.url)) == FAILED


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as lowest:
        free = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"], ids=["an address", "a name to resolve"])
@pytest.mark.parametrize("targets", [1, 2])
def test_x20_d11_that_no_descriptor_is_left_is_no_fault_of_an_origin(
    origin: Origin, name: str, targets: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Origin() as second:
        urls = [each.url.replace("127.0.0.1", name) for each in (origin, second)][:targets]
        with Gateway(urls) as gateway:
            with no_descriptor_left():
                responses = [gateway.get("/") for _ in range(4)]
            assert {(*outcome(each), each.header("Retry-After")) for each in responses} == {(*BUSY, "1")}
            assert "rests" not in caplog.text
            assert [gateway.get("/").status for _ in range(4)] == [200] * 4
        assert len(origin.requests) == 4 / targets  # none of them rests


@pytest.fixture
def blackhole() -> Iterator[str]:
    """An address where nobody answers a SYN: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for sock in waiting:
            sock.close()


def test_x20_too_slow_to_connect(blackhole: str) -> None:
    with Fits(SHORT):
        assert outcome(told(blackhole, origin_connect_timeout=SHORT)) == TIMEOUT


def silent(exchange: Exchange) -> None:
    exchange.wait_until_left()


def begins(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-")
    exchange.wait_until_left()


def drips(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X: y\r\n")
        exchange.pause(0.02)


def says_only_wait(exchange: Exchange) -> None:
    while True:
        exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        exchange.pause(0.1)


@pytest.mark.parametrize("behaviour", [silent, begins, drips])
def test_x20_too_slow_with_the_header(origin: Origin, behaviour: Callable[[Exchange], None]) -> None:
    origin.behave(behaviour)
    with Fits(SHORT):
        assert outcome(told(origin.url, origin_read_timeout=SHORT)) == TIMEOUT
    origin.wait_until_open(0)


def test_x20_interim_answers_are_no_end_of_waiting(origin: Origin) -> None:
    origin.behave(says_only_wait)
    with Fits(SHORT):
        assert outcome(told(origin.url, origin_read_timeout=SHORT)) in {TIMEOUT, FAILED}


def test_x20_too_slow_amid_the_body(origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"abc", b"Content-Length: 10", length=False))
        exchange.wait_until_left()

    origin.behave(behave)
    with Gateway(origin, origin_read_timeout=SHORT) as gateway, gateway.opened() as opened:
        assert next(opened) == b"abc"
        with Fits(SHORT), pytest.raises(OriginAborted):
            next(opened)
    origin.wait_until_open(0)


def test_d10_a_slow_body_may_take_longer_than_one_wait(origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"", CHUNKED, length=False))
        for _ in range(4):
            exchange.pause(SHORT / 2)
            exchange.send(chunked(b"x", end=b""))
        exchange.send(b"0\r\n\r\n")

    origin.behave(behave)
    with Gateway(origin, origin_read_timeout=SHORT * 2) as gateway:
        assert gateway.get("/").body == b"xxxx"


def test_x20_an_origin_that_takes_no_upload(origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.pause(30)

    class Endless:
        def read(self, size: int = -1) -> bytes:
            return b"x" * size

    origin.behave(behave, reads_body=False)
    with Gateway(origin, origin_read_timeout=SHORT) as gateway:
        extra = {"wsgi.input": Endless(), "CONTENT_LENGTH": str(1 << 40)}
        with Fits(SHORT * 3):
            assert outcome(gateway.get("/", "POST", extra=extra, lint=False)) == TIMEOUT
    origin.stopping.set()


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


def tls_origin(authority: trustme.CA, *names: str) -> Origin:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return Origin(tls=context)


def behind_tls(url: str, ca: str | None) -> dict[str, Any]:
    origin = {"targets": [url], **({} if ca is None else {"ca": ca})}
    return {"origin": "secure", "origins": {"secure": origin}}


def test_tls_with_the_origins_own_authority(authority: trustme.CA, ca_file: str) -> None:
    with tls_origin(authority, "127.0.0.1") as origin, Gateway(**behind_tls(origin.url, ca_file)) as gateway:
        for number in range(3):
            assert gateway.get(f"/{number}").body == b"/%d" % number
        big = b"x" * 1_000_000
        origin.says(answer(big))
        assert gateway.get("/", "POST", body=big).body == big
        assert origin.last.body == big
        assert origin.connections == 1
        origin.says(answer(big)[:-1], close=True)
        with pytest.raises(OriginAborted):
            gateway.get("/")


@pytest.mark.parametrize("name", ["another authority", "another name", "plain http"])
def test_x20_tls_that_is_not_to_be_trusted(authority: trustme.CA, ca_file: str, name: str) -> None:
    names = ["elsewhere.example"] if name == "another name" else ["127.0.0.1"]

    def speaks_plainly(server: RawServer, sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(answer(b"no", status=b"400 Bad Request"))

    with tls_origin(authority, *names) as origin, raw_server(speaks_plainly) as plain:
        url = plain.url.replace("http:", "https:") if name == "plain http" else origin.url
        with Gateway(**behind_tls(url, None if name == "another authority" else ca_file)) as gateway:
            assert gateway.outcome() == FAILED
        assert origin.requests == []


def test_x20_plain_words_to_an_origin_that_speaks_tls(authority: trustme.CA) -> None:
    with tls_origin(authority, "127.0.0.1") as origin:
        assert outcome(told(origin.url.replace("https:", "http:"))) == FAILED


def test_x20_too_slow_with_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Fits(SHORT):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert outcome(told(url, origin_connect_timeout=SHORT)) == TIMEOUT


# -- no origin, choice of one ---------------------------------------------------------------------


def test_without_an_origin_for_it_a_request_is_decided_first(origin: Origin) -> None:
    routes = [Route("/a/*", origin=origin.url), Route("/open", access="public")]
    with Gateway(routes=routes) as gateway:
        assert gateway.outcome("/b", key=None) == (401, "missing_credential")
        assert gateway.outcome("/b") == (404, "no_origin")
        assert gateway.outcome("/open", key=None) == (404, "no_origin")
        assert gateway.get("/a/x").body == b"/a/x"


def test_a_denied_request_never_reaches_an_origin(origin: Origin) -> None:
    with Gateway(origin, routes=[Route("/scoped", scopes=["s"])]) as gateway:
        assert gateway.outcome("/", key="KCANARY-bad") == (401, "invalid_credential")
        assert gateway.outcome("/scoped") == (403, "insufficient_scope")
        gateway.keys.fail()
        assert gateway.outcome("/", key="KCANARY-new") == (503, "key_service_unavailable")
        assert origin.connections == 0
        assert gateway.get("/").status == 503 or origin.connections == 1


def test_x18_the_hook_chooses_among_the_configured(origin: Origin) -> None:
    asked: list[tuple[str, Consumer | None]] = []

    def choose(environ: dict[str, Any], consumer: Consumer | None) -> str | None:
        asked.append((environ["PATH_INFO"], consumer))
        return environ.get("HTTP_X_REGION")

    with Origin() as other:
        settings: dict[str, Any] = {
            "origins": {"here": origin.url, "there": [other.url]},
            "choose_origin": choose,
        }
        with Gateway("here", **settings, routes=[Route("/open", access="public")]) as gateway:
            assert gateway.get("/1").status == 200
            assert gateway.get("/2", headers=[("X-Region", "there")]).status == 200
            assert gateway.get("/open", headers=[("X-Region", "there")], key=None).status == 200
            assert gateway.outcome("/3", headers=[("X-Region", "there")], key=None)[0] == 401
            assert [got.target for got in origin.requests] == ["/1"]
            assert [got.target for got in other.requests] == ["/2", "/open"]
            assert asked == [("/1", ALICE), ("/2", ALICE), ("/open", None)]


@pytest.mark.parametrize("chosen", ["nowhere", "http://evil.example", 5, "", b"here"])
def test_x18_a_choice_that_is_none_is_our_fault(
    origin: Origin, chosen: object, caplog: pytest.LogCaptureFixture
) -> None:
    with Gateway("here", origins={"here": origin.url}, choose_origin=lambda *_: chosen) as gateway:
        status, code = gateway.outcome()
        assert (status, code) == (500, "internal_error")
        assert origin.connections == 0
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR]


def test_x18_a_hook_that_raises_is_our_fault(origin: Origin) -> None:
    def choose(environ: object, consumer: object) -> str:
        raise KeyError("KCANARY-in-the-text")

    with Gateway("here", origins={"here": origin.url}, choose_origin=choose) as gateway:
        assert gateway.outcome() == (500, "internal_error")
        assert origin.connections == 0


def test_a_rejection_of_the_forwarder_can_be_rendered_by_the_site(origin: Origin) -> None:
    from dataclasses import replace

    from apikey_guard.core.model import Rejection

    def render(rejection: Rejection, environ: object) -> Rejection:
        return replace(rejection, headers=(("Content-Type", "text/plain"),), body=b"sorry")

    origin.refuse()
    with Gateway(origin, render_rejection=render) as gateway:
        response = gateway.get("/")
        assert (response.status, response.body) == (502, b"sorry")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_x11_a_failure_has_no_body_for_head(gateway: Gateway, origin: Origin, method: str) -> None:
    origin.refuse()
    response = gateway.get("/", method)
    assert response.status == 502
    assert bool(response.body) is (method == "GET")
    assert int(response.header("Content-Length") or 0) > 0


@pytest.mark.parametrize("server", SERVERS)
def test_x20_under_real_servers_a_server_goes_on(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    for data in (b"", b"HTTP/1.1 2", b"garbage\r\n\r\n"):
        gateway.origin.says(data, close=True)
        response = gateway.get("/")
        assert outcome(response) == FAILED
        assert gateway.origin.netloc not in str(response)
    gateway.origin.forget()
    assert gateway.get("/a").body == b"/a"
