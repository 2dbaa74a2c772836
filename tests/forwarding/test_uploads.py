"""What a caller has sent of a body goes on at once, however little it is (threat X-13)."""

from __future__ import annotations

import io
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apikey_guard.http1.arriving import reader_of
from tests.forwarding.gateway import Gateway
from tests.forwarding.live import LiveGateway, request
from tests.harness.origin import Exchange, Origin, answer
from tests.harness.wire import PATIENCE_SECONDS

# uWSGI holds back what it is asked for; waitress has read all of a body before it calls anybody.
SERVERS = ("gunicorn-gthread", "gunicorn-sync", "gunicorn-gevent", "werkzeug", "gevent", "cheroot")
PIECES = [b"one\n", b"2", b"x" * 9_000, b"four" * 30_000, b"0\r\n\r\n", b"last"]


def on_the_wire(piece: bytes, framing: str) -> bytes:
    return piece if framing == "length" else b"%x\r\n%b\r\n" % (len(piece), piece)


class Arrivals:
    """An origin's view of an upload: each byte of the body as it comes."""

    def __init__(self, origin: Origin, *, framing: str) -> None:
        self._came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._framing = framing
        origin.behave(self._behave, reads_body=False)

    def _behave(self, exchange: Exchange) -> None:
        size = sum(map(len, PIECES))
        framed = got = b""
        while len(got) < size:
            framed += exchange.read()
            body = framed if self._framing == "length" else b"".join(unchunked(framed))
            self._came.put(body[len(got) :])
            got = body
        while self._framing == "chunks" and not framed.endswith(b"\r\n0\r\n\r\n"):
            framed += exchange.read()
        exchange.send(answer(b"got it"))

    def wait_for(self, piece: bytes) -> None:
        """Return when exactly this has come, whatever it was cut into."""
        while piece:
            came = self._came.get(timeout=PATIENCE_SECONDS)
            assert piece.startswith(came)
            piece = piece[len(came) :]


def unchunked(framed: bytes) -> Iterator[bytes]:
    while framed:
        line, mark, framed = framed.partition(b"\r\n")
        if not mark or not int(line, 16):
            return
        size = int(line, 16)
        yield framed[:size]
        framed = framed[size + 2 :]


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("server", SERVERS)
def test_x13_each_piece_of_an_upload_goes_on_before_the_next_one_is_sent(
    server: str, framing: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    arrivals = Arrivals(gateway.origin, framing=framing)
    size = sum(map(len, PIECES))
    line = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
    with gateway.connection() as caller:
        # With the header, and then each alone.
        caller.send(request("/", line, method="POST") + on_the_wire(PIECES[0], framing))
        arrivals.wait_for(PIECES[0])
        for piece in PIECES[1:]:
            caller.send(on_the_wire(piece, framing))
            arrivals.wait_for(piece)
        if framing == "chunks":
            caller.send(b"0\r\n\r\n")
        caller.read_until(b"got it")


@pytest.mark.parametrize("server", ["gunicorn-gthread", "werkzeug", "gevent"])
def test_x13_a_chunk_goes_on_before_it_is_whole(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    arrivals = Arrivals(gateway.origin, framing="chunks")
    body = b"".join(PIECES)
    with gateway.connection() as caller:
        caller.send(request("/", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n" % len(body))
        for piece in PIECES[:-1]:
            caller.send(piece)
            arrivals.wait_for(piece)
        # Some wait for the end of the chunk with its last byte.
        caller.send(PIECES[-1] + b"\r\n")
        arrivals.wait_for(PIECES[-1])
        caller.send(b"0\r\n\r\n")
        caller.read_until(b"got it")


def test_x13_nothing_is_read_beyond_a_length(gateway: Gateway, origin: Origin) -> None:
    class Arriving(io.RawIOBase):
        """Gives what there is, and ends the test where it is asked for what is not."""

        def __init__(self) -> None:
            super().__init__()
            self.pieces = [b"ab", b"c"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece = self.pieces.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)

    stream = io.BufferedReader(Arriving())
    response = gateway.get("/", "POST", extra={"wsgi.input": stream, "CONTENT_LENGTH": "3"}, lint=False)
    assert response.status == 200
    assert origin.last.body == b"abc"


def test_of_a_stream_that_is_not_known_read_is_all_there_is() -> None:
    class Plain:
        def read(self, size: int) -> bytes:
            return b"x" * size

    assert reader_of(Plain())(3) == b"xxx"  # type: ignore[arg-type]  # a server of its own
