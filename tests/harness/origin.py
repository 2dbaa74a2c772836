"""``Origin``: the server behind the forwarder, every byte of whose answers a test has written.

It keeps the exact bytes of every request, and knows how many connections are open at the moment:
one that the other side closes or resets is noticed at once. What it does with a request is a
function of an :class:`Exchange`::

    with Origin() as origin:
        origin.says(answer(b"ok", b"Set-Cookie: a=1"))
        origin.behave(lambda exchange: exchange.close(reset=True))
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

from tests.harness.wire import PATIENCE_SECONDS, Address, RawServer

_PIECE = 65_536


def answer(body: bytes = b"", *lines: bytes, status: bytes = b"200 OK", length: bool = True) -> bytes:
    """The bytes of an answer: the status line, these header lines, and the body.

    :param length: add ``Content-Length``; without it the body ends where the connection does.
    """
    head = [b"HTTP/1.1 " + status, *lines]
    if not any(line.lower().startswith(b"content-type:") for line in lines):
        head.append(b"Content-Type: text/plain")
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """These pieces as a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


CHUNKED = b"Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Received:
    """A request as it came.

    :ivar head: everything up to the empty line, that included.
    :ivar framed: the body as it was on the wire.
    :ivar body: the same without its framing.
    :ivar complete: whether it came to its end.
    :ivar connection: the number of its connection, from 1 on.
    """

    head: bytes
    framed: bytes = b""
    body: bytes = b""
    complete: bool = True
    connection: int = 0

    @property
    def raw(self) -> bytes:
        return self.head + self.framed

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case, and values, in order."""
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:-2])
        return [(name.lower(), value.strip(" \t")) for name, _, value in pairs]

    def all_headers(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name.lower()]

    def header(self, name: str) -> str | None:
        """The only header of that name, or None."""
        found = self.all_headers(name)
        assert len(found) < 2, f"{len(found)} headers {name}: {found}"
        return found[0] if found else None


class Exchange:
    """One request on one connection, as a behaviour sees it; its body has been read."""

    def __init__(self, origin: Origin, sock: socket.socket, request: Received, ahead: bytearray) -> None:
        self._origin = origin
        self._sock = sock
        self._ahead = ahead
        self.request = request

    def send(self, data: bytes) -> None:
        """Send these bytes at once."""
        self._sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send byte by byte, each in a packet of its own as far as the system lets us."""
        for position in range(len(data)):
            self._sock.sendall(data[position : position + 1])

    def read(self) -> bytes:
        """Bytes of a body that was left unread, or b"" at the end of the connection."""
        if self._ahead:
            piece = bytes(self._ahead)
            self._ahead.clear()
            return piece
        return self._sock.recv(_PIECE)

    def pause(self, seconds: float) -> None:
        """Let time pass, for what is only seen when bytes come apart; ends when the origin does."""
        self._origin.stopping.wait(seconds)

    def close(self, *, reset: bool = False) -> NoReturn:
        """Close the connection, or reset it (RST)."""
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError

    def wait_until_left(self) -> NoReturn:
        """Say nothing more; return as soon as the other side has closed or reset the connection."""
        while self.read():
            pass
        raise ConnectionAbortedError


Behaviour = Callable[[Exchange], None]


def echo(exchange: Exchange) -> None:
    """Answer with the target of the request, so that a caller can tell whose answer it got."""
    exchange.send(answer(exchange.request.target.encode("latin-1")))


class Origin:
    """Listens on loopback from construction to :meth:`close`; answers with the target that was asked for.

    :param tls: speak TLS with this context; the URL is https then.
    :ivar requests: every request that came, complete or not, in the order of their ends.
    :ivar connections: how many were accepted.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._tls = tls
        self._changed = threading.Condition()
        self._open = 0
        self._idle: set[socket.socket] = set()
        self._behaviour: Behaviour = echo
        self._reads_body = True
        self._server: RawServer | None = RawServer(self._serve)
        self.address: Address = self._server.address
        self._taken: socket.socket | None = None

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.address[1]}"

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self.netloc}"

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.requests[-1]

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open

    def says(self, *data: bytes, close: bool = False, reset: bool = False) -> None:
        """Answer every request with these bytes; then close or reset the connection, or keep it."""

        def behave(exchange: Exchange) -> None:
            for piece in data:
                exchange.send(piece)
            if close or reset:
                exchange.close(reset=reset)

        self.behave(behave)

    def behave(self, behaviour: Behaviour, *, reads_body: bool = True) -> None:
        """Do this for every request from now on.

        :param reads_body: call it when the request has come to its end, and never for one that has
            not; False calls it as soon as its header is there.
        """
        self._behaviour, self._reads_body = behaviour, reads_body

    def forget(self) -> None:
        """Start :attr:`requests` anew and behave well again; connections stay open."""
        with self._changed:
            self.requests = []
            self._behaviour, self._reads_body = echo, True

    def wait_for_requests(self, count: int, timeout: float = PATIENCE_SECONDS) -> None:
        """Return as soon as so many requests have come.

        :raises AssertionError: where fewer came within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"{len(self.requests)} requests after {timeout} s, expected {count}")

    def wait_until_open(self, most: int, timeout: float = PATIENCE_SECONDS) -> None:
        """Return as soon as no more than so many connections are open.

        :raises AssertionError: where more are open after ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._open <= most, timeout):
                raise AssertionError(f"{self._open} open connections after {timeout} s, expected {most}")

    def wait_until_connected(self, timeout: float = PATIENCE_SECONDS) -> None:
        """Return as soon as a connection is open.

        :raises AssertionError: where none is after ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._open, timeout):
                raise AssertionError(f"no connection after {timeout} s")

    def drop_idle(self) -> None:
        """Close the connections on which nothing is under way, as a server does after a while."""

        def none_is_idle() -> bool:
            for sock in self._idle:
                with suppress(OSError):  # where the other side was faster
                    sock.shutdown(socket.SHUT_RDWR)
            return not self._idle

        with self._changed:
            assert self._changed.wait_for(none_is_idle, PATIENCE_SECONDS), "an idle connection stays open"

    def refuse(self) -> None:
        """Drop all connections and refuse new ones; the port stays taken."""
        if self._server is None:
            return
        self._server.stop()
        self._server = None
        self._taken = socket.socket()
        self._taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._taken.bind(self.address)

    def heal(self) -> None:
        """Behave well again, and listen again where it had stopped."""
        self._behaviour, self._reads_body = echo, True
        if self._taken is not None:
            self._taken.close()
            self._taken = None
            self._server = RawServer(self._serve, port=self.address[1])

    def close(self) -> None:
        """Stop listening and close every connection. May be called twice."""
        self.stopping.set()
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._taken is not None:
            self._taken.close()
            self._taken = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, _: RawServer, sock: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            self._open += 1
            number = self.connections
            self._changed.notify_all()
        try:
            # A send of its own for each byte must leave as one.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock.settimeout(PATIENCE_SECONDS)
                sock = self._tls.wrap_socket(sock, server_side=True)
                sock.settimeout(None)
            self._converse(sock, number)
        finally:
            # First closed, then counted as closed: the other side must see it no later.
            with suppress(OSError):
                sock.close()
            with self._changed:
                self._open -= 1
                self._idle.discard(sock)
                self._changed.notify_all()

    def _converse(self, sock: socket.socket, number: int) -> None:
        ahead = bytearray()
        while not self.stopping.is_set():
            with self._changed:
                self._idle.add(sock)
            head = _until(sock, ahead, b"\r\n\r\n")
            if head is None:
                return
            with self._changed:
                self._idle.discard(sock)
            request = Received(head, connection=number)
            if self._reads_body:
                request = _whole(sock, ahead, request)
            with self._changed:
                self.requests.append(request)
                behaviour = self._behaviour
                self._changed.notify_all()
            if request.complete:
                behaviour(Exchange(self, sock, request, ahead))


def _until(sock: socket.socket, ahead: bytearray, mark: bytes) -> bytes | None:
    """Everything up to the mark, that included; None where the connection ends before."""
    while (position := ahead.find(mark)) < 0:
        piece = _received(sock)
        if not piece:
            return None
        ahead += piece
    end = position + len(mark)
    data = bytes(ahead[:end])
    del ahead[:end]
    return data


def _exactly(sock: socket.socket, ahead: bytearray, count: int) -> bytes:
    """So many bytes, or fewer where the connection ends before."""
    while len(ahead) < count:
        piece = _received(sock)
        if not piece:
            break
        ahead += piece
    data = bytes(ahead[:count])
    del ahead[:count]
    return data


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_PIECE)
    except OSError:
        # A reset is an end like another; a request that was under way is incomplete either way.
        return b""


def _whole(sock: socket.socket, ahead: bytearray, request: Received) -> Received:
    """The same request with its body, as far as it came."""
    head, number = request.head, request.connection
    if "chunked" in (request.header("Transfer-Encoding") or "").lower():
        framed, body = bytearray(), bytearray()
        for piece in _chunks(sock, ahead, framed):
            if piece is None:
                return Received(head, bytes(framed), bytes(body), False, number)
            body += piece
        return Received(head, bytes(framed), bytes(body), True, number)
    length = int(request.header("Content-Length") or 0)
    body = bytearray(_exactly(sock, ahead, length))
    return Received(head, bytes(body), bytes(body), len(body) == length, number)


def _chunks(sock: socket.socket, ahead: bytearray, framed: bytearray) -> Iterable[bytes | None]:
    """The chunks of a body, and None in the place of one that did not come to its end."""
    while True:
        line = _until(sock, ahead, b"\r\n")
        if line is None:
            framed += ahead
            yield None
            return
        framed += line
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            while line != b"\r\n":
                line = _until(sock, ahead, b"\r\n")
                if line is None:
                    yield None
                    return
                framed += line
            return
        data = _exactly(sock, ahead, size + 2)
        framed += data
        if data[size:] != b"\r\n":
            yield None
            return
        yield data[:size]
