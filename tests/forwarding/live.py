"""A gateway under a real server, and callers of it that say and see exact bytes."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tests.forwarding.gateway import GOOD
from tests.harness import LiveServer, Response, raw_request
from tests.harness.origin import Origin
from tests.harness.wire import PATIENCE_SECONDS

# The servers that the gateway is promised to run under.
SERVERS = ("gunicorn-gthread", "gunicorn-sync", "waitress", "werkzeug")
# Where a difference between servers matters, on all that there are.
ALL_SERVERS = (*SERVERS, "gevent", "cheroot", "wsgiref", "uwsgi")


class LiveGateway:
    """A running gateway and its origin."""

    def __init__(self, server: LiveServer, origin: Origin) -> None:
        self.server = server
        self.origin = origin

    def get(self, target: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> Response:
        """The answer to one request on a connection of its own, with the good key."""
        return self.server.request(request(target, *lines, method=method, body=body))

    def received(self, data: bytes) -> bytes:
        """Send these bytes; everything that came back until the server closed."""
        return raw_request(self.server.address, data, until_closed=True)

    @contextmanager
    def connection(self) -> Iterator[Caller]:
        """A connection of a caller, closed at the end."""
        with socket.create_connection(self.server.address, timeout=PATIENCE_SECONDS) as sock:
            yield Caller(sock)


def request(
    target: str = "/",
    *lines: str,
    method: str = "GET",
    body: bytes = b"",
    key: str | None = GOOD,
    host: tuple[str, ...] = ("Host: h.example",),
    close: bool = True,
) -> bytes:
    """A request of exactly these lines, with the good key."""
    head = [f"{method} {target} HTTP/1.1", *host]
    if close:
        head.append("Connection: close")
    if key is not None:
        head.append(f"apikey: {key}")
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1") + body


class Caller:
    """One connection of a caller to the gateway."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = b""

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def finish_sending(self) -> None:
        """Half-close: nothing more will come from this side."""
        self._sock.shutdown(socket.SHUT_WR)

    def read(self, most: int = 65_536) -> bytes:
        """What comes next, or b"" at the end; a reset is an end."""
        try:
            piece = self._sock.recv(most)
        except ConnectionResetError:
            return b""
        self.received += piece
        return piece

    def read_until(self, mark: bytes) -> None:
        """Return as soon as these bytes have come.

        :raises AssertionError: where the connection ends before.
        """
        while mark not in self.received:
            assert self.read(), f"ended without {mark!r}: {self.received[-200:]!r}"

    def count_rest(self) -> int:
        """How many bytes come until the end, none of which is kept."""
        count = 0
        buffer = bytearray(1 << 20)
        while got := self._sock.recv_into(buffer):
            count += got
        return count

    def has_answer(self, timeout: float = 0.0) -> bool:
        """Whether something can be read, within so many seconds."""
        return bool(select.select([self._sock], [], [], timeout)[0])

    def reset(self) -> None:
        """Leave with an RST, as a caller does that has unread bytes."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
