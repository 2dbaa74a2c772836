"""Nothing is held back and nothing is held whole: events one by one, memory flat (X-13)."""

from __future__ import annotations

import io
import socket
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.forwarding.gateway import Gateway
from tests.forwarding.live import ALL_SERVERS, Caller, LiveGateway, request
from tests.harness import LiveServer, parse_response
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked

MIB = 1 << 20
EVENTS = [b"data: %d\n\n" % number for number in range(5)]
LENGTH = b"Content-Length: %d" % sum(map(len, EVENTS))
EVENT_STREAM = b"Content-Type: text/event-stream"
FRAMINGS = {"chunks": (CHUNKED,), "until closed": (), "length": (LENGTH,)}


class Conversation:
    """An origin that sends an event only when the one before has been seen by the caller."""

    def __init__(self, framing: tuple[bytes, ...]) -> None:
        self.framing = framing
        self._seen = threading.Semaphore(0)

    def acknowledge(self) -> None:
        self._seen.release()

    def __call__(self, exchange: Exchange) -> None:
        exchange.send(answer(b"", EVENT_STREAM, *self.framing, length=False))
        for event in EVENTS:
            exchange.send(chunked(event, end=b"") if self.framing == (CHUNKED,) else event)
            assert self._seen.acquire(timeout=10), f"{event!r} was held back"
        if self.framing == (CHUNKED,):
            exchange.send(b"0\r\n\r\n")
        if not self.framing:
            exchange.close()


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_x13_every_event_is_passed_on_when_it_comes(
    gateway: Gateway, origin: Origin, framing: tuple[bytes, ...]
) -> None:
    conversation = Conversation(framing)
    origin.behave(conversation)
    with gateway.opened() as opened:
        for event in EVENTS:
            assert next(opened) == event
            conversation.acknowledge()
        assert list(opened) == []


def test_x13_the_head_does_not_wait_for_the_body(gateway: Gateway, origin: Origin) -> None:
    release = threading.Event()

    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"", CHUNKED, length=False))
        assert release.wait(10)
        exchange.send(chunked(b"abc"))

    origin.behave(behave)
    with gateway.opened() as opened:
        assert opened.status == 200
        release.set()
        assert b"".join(opened) == b"abc"


@pytest.mark.parametrize("server", ALL_SERVERS)
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_x13_events_under_real_servers(
    server: str, framing: tuple[bytes, ...], live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    conversation = Conversation(framing)
    gateway.origin.behave(conversation)
    with gateway.connection() as caller:
        caller.send(request("/"))
        for event in EVENTS:
            caller.read_until(event)
            conversation.acknowledge()
        while caller.read():
            pass
    assert parse_response(caller.received).body == b"".join(EVENTS)


def test_x13_a_download_is_read_only_as_the_caller_takes_it(gateway: Gateway, origin: Origin) -> None:
    sent = 0

    def behave(exchange: Exchange) -> None:
        nonlocal sent
        exchange.send(answer(b"", b"Content-Length: %d" % (64 * MIB), length=False))
        for _ in range(64):
            exchange.send(b"x" * MIB)
            sent += 1

    origin.behave(behave)
    with gateway.opened() as opened:
        next(opened)
        before = -1
        while sent != before:
            before = sent
            origin.stopping.wait(0.1)
        assert sent < 32, "the download was read ahead of the caller"
        assert sum(map(len, opened)) > 60 * MIB


@pytest.mark.parametrize("framing", ["length", "chunks", "until closed"])
def test_x13_pieces_of_a_download_are_small(gateway: Gateway, origin: Origin, framing: str) -> None:
    body = b"x" * (8 * MIB)
    data = {
        "length": answer(body),
        "chunks": answer(chunked(body), CHUNKED, length=False),
        "until closed": answer(body, length=False),
    }[framing]
    origin.says(data, close=framing == "until closed")
    with gateway.opened() as opened:
        sizes = [len(piece) for piece in opened]
    assert sum(sizes) == len(body)
    assert max(sizes) <= MIB
    assert 0 not in sizes


# -- memory ---------------------------------------------------------------------------------------


def worker(pid: int) -> int:
    """The process that answers, under gunicorn: the only child of the first one."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {name}")


def connection(server: LiveServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=30)


def download(server: LiveServer) -> int:
    with connection(server) as sock:
        sock.sendall(request("/"))
        return Caller(sock).count_rest()


def upload(server: LiveServer, size: int, *, coded: bool) -> int:
    piece = b"x" * MIB
    with connection(server) as sock:
        length = "Transfer-Encoding: chunked" if coded else f"Content-Length: {size}"
        sock.sendall(request("/", length, method="POST"))
        for _ in range(size // MIB):
            sock.sendall(b"%x\r\n%s\r\n" % (MIB, piece) if coded else piece)
        if coded:
            sock.sendall(b"0\r\n\r\n")
        return Caller(sock).count_rest()


def sends_100_mib(exchange: Exchange) -> None:
    piece = b"x" * MIB
    exchange.send(answer(b"", b"Content-Length: %d" % (100 * MIB), length=False))
    for _ in range(100):
        exchange.send(piece)


def sends_100_mib_in_chunks(exchange: Exchange) -> None:
    piece = chunked(b"x" * MIB, end=b"")
    exchange.send(answer(b"", CHUNKED, length=False))
    for _ in range(100):
        exchange.send(piece)
    exchange.send(b"0\r\n\r\n")


def takes_all(exchange: Exchange) -> None:
    """Read an upload to its end without keeping it; the last bytes of both framings tell."""
    length = exchange.request.header("Content-Length")
    taken, ending = 0, b""
    while taken < int(length) if length else not ending.endswith(b"\r\n0\r\n\r\n"):
        piece = exchange.read()
        assert piece, f"ended after {taken} bytes"
        taken += len(piece)
        ending = (ending + piece)[-7:]
    exchange.send(answer(b"ok", b"Connection: close"))
    exchange.close()


def growth(server: LiveServer, move: Callable[[int], int], size: int) -> int:
    """How many KiB the worker needs at most for four of a size at once, over what it has when idle."""
    pid = worker(server.pid)
    with ThreadPoolExecutor(4) as callers:
        # Once for what is only ever made once: imports, threads, arenas, the pool.
        assert all(callers.map(move, [8 * MIB] * 4))
        idle = kib(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted from here
        assert all(callers.map(move, [size] * 4))
    return kib(pid, "VmHWM") - idle


proc_only = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the memory of a process is read from /proc"
)


@proc_only
@pytest.mark.parametrize("behaviour", [sends_100_mib, sends_100_mib_in_chunks])
def test_x13_four_downloads_of_100_mib_at_once_take_no_more_than_4_mib(
    behaviour: Callable[[Exchange], None], live: Callable[..., LiveGateway]
) -> None:
    gateway = live("gunicorn-gthread")
    gateway.origin.behave(behaviour)
    assert growth(gateway.server, lambda size: download(gateway.server) >= size, 100 * MIB) <= 4 * 1024


@proc_only
@pytest.mark.parametrize(("coded", "size"), [(False, 100 * MIB), (True, 25 * MIB)], ids=["length", "chunks"])
def test_x13_four_uploads_of_100_mib_at_once_take_no_more_than_4_mib(
    coded: bool, size: int, live: Callable[..., LiveGateway]
) -> None:
    """Left to itself, gunicorn 27 reads a MiB ahead of each app, and needs several for copies of it."""
    gateway = live("gunicorn-gthread")
    gateway.origin.behave(takes_all, reads_body=False)
    grown = growth(gateway.server, lambda size: upload(gateway.server, size, coded=coded), size)
    assert grown <= 4 * 1024


@pytest.mark.parametrize("coded", [False, True], ids=["known length", "chunks"])
def test_x13_of_an_upload_no_more_than_a_few_pieces_are_held(
    gateway: Gateway, origin: Origin, coded: bool
) -> None:
    size = 32 * MIB

    class Upload(io.BytesIO):
        left = size

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            taken = min(size, self.left)
            self.left -= taken
            return b"x" * taken

    gateway.get("/warm")
    origin.behave(takes_all, reads_body=False)
    extra: dict[str, object] = {"wsgi.input": Upload(), "CONTENT_LENGTH": None if coded else str(size)}
    if coded:
        extra |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    tracemalloc.start()
    try:
        assert gateway.get("/", "POST", extra=extra).body == b"ok"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MIB, peak
