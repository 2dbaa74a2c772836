"""Callers that stall hold nobody up but themselves (threats D-01, D-10)."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from apikey_guard.cli.caller import CallerSocket
from apikey_guard.testing import LoopbackKeyService
from tests.cli.test_serve import KEY, PATIENCE_SECONDS, Serving
from tests.harness.origin import Exchange, Origin, answer

MANY = 40
FEW_THREADS = ("--threads", "2")
HALF_HEADERS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a header": b"GET / HTTP/1.1\r\nHost: a\r\nX-",
    "no end": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "line breaks first": b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n",
    "a line that does not end": b"G" * 20_000,
}
UNSENT_BODIES = {
    "length": b"Content-Length: 10\r\n\r\n",
    "some of it": b"Content-Length: 10\r\n\r\nabc",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n",
    "half a chunk": b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "on demand": b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.fixture
def keys() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService({KEY: {"consumer": {"id": "42"}}}) as service:
        yield service


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def serve(tmp_path: Path, keys: LoopbackKeyService, origin: Origin) -> Iterator[Callable[..., Serving]]:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'validator_url = "{keys.url}"\norigin = "{origin.url}"\norigin_read_timeout = 3\n'
        '[[routes]]\npath = "/open/*"\naccess = "public"\n'
    )
    with ExitStack() as stack:

        def start(*arguments: str, descriptors: int | None = None) -> Serving:
            serving = Serving(tmp_path, (str(file), *arguments), {}, descriptors=descriptors)
            stack.callback(stop, serving)
            return serving

        yield start


@pytest.fixture
def held() -> Iterator[Callable[[int, bytes], list[socket.socket]]]:
    """``held(port, data)`` -> many connections on which that was sent and then nothing."""
    with ExitStack() as stack:

        def hold(port: int, data: bytes, count: int = MANY) -> list[socket.socket]:
            made = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))
                for _ in range(count)
            ]
            for each in made:
                each.sendall(data)
            return made

        yield hold


def stop(serving: Serving) -> None:
    serving.stop(signal.SIGKILL)
    # A caller that stalls is nothing to log, least of all 300 of them.
    assert "Traceback" not in serving.err, serving.err


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        piece = connection.recv(65_536)
        assert piece, received
        received += piece


@pytest.mark.parametrize("data", HALF_HEADERS.values(), ids=list(HALF_HEADERS))
def test_d01_half_a_header_takes_no_thread(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], data: bytes
) -> None:
    serving = serve(*FEW_THREADS)
    held(serving.port, data)
    assert serving.get("/healthz", key=None).status == 200
    for _ in range(4):
        assert serving.get("/orders").status == 200


HOLDING = {
    "half a header": (b"GET / HTTP/1.1\r\nHost: a\r\nX-",),
    "an idle connection": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",),
    "both": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-"),
}


@pytest.mark.parametrize("kinds", HOLDING.values(), ids=list(HOLDING))
def test_d01_whoever_holds_all_connections_that_there_may_be_keeps_nobody_out(
    serve: Callable[..., Serving],
    held: Callable[..., list[socket.socket]],
    kinds: tuple[bytes, ...],
) -> None:
    serving = serve(*FEW_THREADS, descriptors=300)
    for data in kinds:
        held(serving.port, data, 350)
    assert serving.get("/healthz", key=None).status == 200
    for _ in range(4):
        assert serving.get("/orders").status == 200


@pytest.mark.parametrize("data", UNSENT_BODIES.values(), ids=list(UNSENT_BODIES))
def test_d01_who_has_no_key_takes_no_thread_by_a_body_that_never_comes(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], data: bytes
) -> None:
    serving = serve(*FEW_THREADS)
    connections = held(serving.port, b"POST / HTTP/1.1\r\nHost: a\r\n" + data)
    assert serving.get("/healthz", key=None).status == 200
    assert serving.get("/orders").status == 200
    for each in connections:
        assert b" 401 " in each.recv(65_536).replace(
            b"HTTP/1.1 100 Continue\r\n\r\n", b""
        ) or b" 401 " in rest(each)


BODIES = {
    "none of it": (b"Content-Length: 5\r\n\r\n", "close"),
    "some of it": (b"Content-Length: 5\r\n\r\nab", "close"),
    "half a chunk": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", "close"),
    "not asked for": (b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", "close"),
    "all of it": (b"Content-Length: 5\r\n\r\nabcde", "keep-alive"),
    "all chunks": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", "keep-alive"),
}


@pytest.mark.parametrize(("data", "says"), BODIES.values(), ids=list(BODIES))
def test_d01_an_answer_before_its_requests_body_says_that_the_connection_ends(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], data: bytes, says: str
) -> None:
    """Else whoever sends the next request there gets no answer: another caller, behind a proxy."""
    serving = serve(*FEW_THREADS)
    (connection,) = held(serving.port, b"POST / HTTP/1.1\r\nHost: a\r\n" + data, 1)
    answered = b""
    while b"\r\n\r\n{" not in answered:
        piece = connection.recv(65_536)
        assert piece, answered
        answered = (answered + piece).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 401 ")
    assert f"\r\nconnection: {says}\r\n".encode() in answered.lower()
    if says == "keep-alive":
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in rest(connection)


@pytest.mark.parametrize("what", ["some of it", "half a chunk"])
def test_d01_a_body_that_never_comes_ends_and_health_does_not_wait_for_that(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], what: str
) -> None:
    serving = serve(*FEW_THREADS, "--caller-timeout", "1")
    held(serving.port, b"POST /open/x HTTP/1.1\r\nHost: a\r\n" + UNSENT_BODIES[what], 4)
    assert serving.get("/healthz", key=None).status == 200
    # Each holds a thread for a second; who has waited for one for longer is not served any more.
    statuses = {serving.get("/orders").status for _ in range(4)}
    assert 200 in statuses
    assert statuses <= {200, 503}


def test_d01_a_caller_that_does_not_read_ends(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], origin: Origin
) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"x" * (32 << 20) if exchange.request.target == "/open/large" else b"small"))

    origin.behave(behave)
    serving = serve(*FEW_THREADS, "--caller-timeout", "1")
    held(serving.port, b"GET /open/large HTTP/1.1\r\nHost: a\r\n\r\n", 4)
    assert serving.get("/healthz", key=None).status == 200
    statuses = [serving.get("/orders").status for _ in range(4)]
    assert 200 in statuses
    assert set(statuses) <= {200, 503}
    # The origin's side of them has ended, too.
    origin.wait_until_open(1)


@pytest.mark.parametrize("what", ["half a header", "nothing"])
def test_d01_a_header_has_an_end(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], what: str
) -> None:
    serving = serve(*FEW_THREADS, "--caller-timeout", "1")
    (connection,) = held(serving.port, HALF_HEADERS[what], 1)
    started = time.monotonic()
    said = rest(connection)
    assert said.startswith(b"HTTP/1.1 408 ") if what == "half a header" else said == b""
    assert time.monotonic() - started < PATIENCE_SECONDS / 2


WHOLE = b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_d01_what_waits_too_long_for_a_thread_is_over_though_none_becomes_free(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], origin: Origin
) -> None:
    origin.behave(lambda exchange: exchange.wait_until_left())
    serving = serve(*FEW_THREADS, "--caller-timeout", "1", "--set", "origin_read_timeout=600")
    connections = held(serving.port, WHOLE, 6)
    ended = 0
    while ended < 4:
        readable, _, _ = select.select(connections, [], [], PATIENCE_SECONDS)
        assert readable
        for each in readable:
            assert rest(each).startswith(b"HTTP/1.1 503 ")
            connections.remove(each)
            ended += 1
    origin.wait_until_open(2)
    assert serving.get("/orders").status == 503
    assert serving.get("/healthz", key=None).status == 200
    assert len(origin.requests) == 2


def test_d01_those_who_wait_for_a_thread_keep_nobody_out(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], origin: Origin
) -> None:
    origin.behave(lambda exchange: exchange.wait_until_left())
    serving = serve(*FEW_THREADS, "--set", "origin_read_timeout=600", descriptors=300)
    connections = [connection for _ in range(350) for connection in held(serving.port, WHOLE, 1)]
    assert serving.get("/healthz", key=None).status == 200
    # Whoever waited longest has made room.
    assert rest(connections[5]).startswith(b"HTTP/1.1 503 ")
    assert select.select(connections[-16:], [], [], 0)[0] == []


def test_d01_a_header_without_end_is_too_large(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]]
) -> None:
    serving = serve(*FEW_THREADS)
    line = b"X-A: " + b"a" * 8_000 + b"\r\n"
    (connection,) = held(serving.port, b"GET / HTTP/1.1\r\nHost: a\r\n" + line * 17, 1)
    assert rest(connection).startswith(b"HTTP/1.1 431 ")


def test_d01_line_breaks_without_end_are_too_large(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]]
) -> None:
    serving = serve(*FEW_THREADS)
    (connection,) = held(serving.port, b"\r\n" * 70_000, 1)
    assert rest(connection).startswith(b"HTTP/1.1 431 ")


def test_d01_who_reads_no_answer_holds_no_thread_with_the_next_request(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], origin: Origin
) -> None:
    origin.behave(lambda exchange: exchange.send(answer(b"x" * 8_000)))
    serving = serve(*FEW_THREADS)
    # More answers than lie in any buffer, of which each has room in one that is not full.
    held(serving.port, b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n" * 1_500, 4)
    for _ in range(1_000):
        assert serving.get("/healthz", key=None).status == 200
        assert serving.get("/orders").status == 200


def test_d01_an_answer_that_finds_room_is_not_waited_with() -> None:
    ours, theirs = socket.socketpair()
    caller = CallerSocket.of(ours, patience=0.05)
    caller.setblocking(True)
    with caller, theirs:
        while caller.takes_answers:
            os.write(caller.fileno(), b"x" * 100)
        # A single answer is sent in several parts, of which the first may leave little room.
        caller.sendall(b"y" * 100)
        with pytest.raises(ConnectionResetError):
            caller.sendall(b"z" * (1 << 24))


def test_who_is_refused_amid_an_upload_can_read_why(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]]
) -> None:
    serving = serve(*FEW_THREADS)
    size = 1 << 20
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    (connection,) = held(serving.port, head, 1)
    said = connection.recv(12)
    # Still being sent when the answer has gone out: without a reset, all of that can be read.
    connection.sendall(b"x" * 10_000)
    said += rest(connection)
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b'"missing_credential"' in said


def test_requests_sent_together_are_answered_one_after_the_other(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]]
) -> None:
    serving = serve(*FEW_THREADS)
    one = f"GET /a HTTP/1.1\r\nHost: a\r\napikey: {KEY}\r\n\r\n".encode()
    two = one.replace(b"/a", b"/b").replace(b"Host", b"Connection: close\r\nHost")
    post = one.replace(b"GET /a", b"POST /c").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc")
    (connection,) = held(serving.port, one[:10], 1)
    connection.sendall(one[10:])
    read_until(connection, b"/a")
    # The beginning of the next one comes with the end of this one.
    connection.sendall(post + two[:20])
    read_until(connection, b"/c")
    connection.sendall(two[20:])
    assert rest(connection).endswith(b"/b")


@pytest.mark.parametrize("length", [1, 2_000, 8_192 - 47, 8_000])
def test_however_much_is_sent_together_nothing_is_lost(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]], length: int
) -> None:
    serving = serve(*FEW_THREADS)
    start, end = b"GET /%03d HTTP/1.1\r\nHost: a\r\nX-Long: ", b"\r\nConnection: close"
    requests = [start % number + b"x" * length for number in range(300)]
    (connection,) = held(serving.port, b"\r\n\r\n".join(requests) + end + b"\r\n\r\n", 1)
    assert rest(connection).count(b"HTTP/1.1 401 ") == len(requests)


def test_sigterm_waits_for_no_header(
    serve: Callable[..., Serving], held: Callable[..., list[socket.socket]]
) -> None:
    serving = serve(*FEW_THREADS)
    held(serving.port, HALF_HEADERS["half a header"])
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(PATIENCE_SECONDS) == 0
