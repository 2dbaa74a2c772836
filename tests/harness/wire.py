"""Exact bytes over a socket, both ways: as a caller, and as a server that says what it is told.

``raw_request``, ``parse_response`` and ``raw_server``. Nothing here checks or completes what is
sent: tests use it for everything that a well-behaved library would not send.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

Address = tuple[str, int]

# Nothing on loopback takes this long; a test that hangs fails instead.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Response:
    """An answer as it came: status, headers in order, body without its framing."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only header of that name, or None.

        :raises AssertionError: where there are several; see :meth:`all_headers`.
        """
        found = self.all_headers(name)
        assert len(found) < 2, f"{len(found)} headers {name}: {found}"
        return found[0] if found else None

    def all_headers(self, name: str) -> list[str]:
        """Every value of that header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


def raw_request(
    address: Address, data: bytes, *, until_closed: bool = False, timeout: float = PATIENCE_SECONDS
) -> bytes:
    """Send exactly these bytes and return exactly what came back.

    Ends after the first complete answer (interim answers are not complete), or when the server
    closes; what had come by then is returned, ``b""`` where nothing did.

    :param until_closed: read on after the first answer, to see what else the server took for a
        request; send ``Connection: close`` in the last one.
    :param timeout: seconds for everything together.
    :raises TimeoutError: where the answer is not complete by then; the message shows its start.
    """
    deadline = time.monotonic() + timeout
    received = bytearray()
    with socket.create_connection(address, timeout=timeout) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            # A server may refuse and close before it has read everything.
            connection.sendall(data)
        while until_closed or not is_complete(bytes(received)):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no complete answer in {timeout} s: {bytes(received[:200])!r}")
            connection.settimeout(left)
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
            if not piece:
                break
            received += piece
    return bytes(received)


def is_complete(data: bytes) -> bool:
    """Whether the first final answer in these bytes is whole, as far as its own framing says."""
    parts = _split(data)
    if parts is None:
        return False
    status, _, headers, rest = parts
    if status in (204, 304):
        return True
    if _is_chunked(headers):
        return _join_chunks(rest)[1]
    length = _length(headers)
    return length is not None and len(rest) >= length


def parse_response(data: bytes) -> Response:
    """The first final answer in these bytes; an incomplete body is returned as far as it came.

    :raises AssertionError: where there is no complete header block.
    """
    parts = _split(data)
    assert parts is not None, f"not an answer: {data[:200]!r}"
    status, reason, headers, rest = parts
    if _is_chunked(headers):
        body = _join_chunks(rest)[0]
    else:
        length = _length(headers)
        body = rest if length is None else rest[:length]
    return Response(status, reason, headers, body)


def _split(data: bytes) -> tuple[int, str, tuple[tuple[str, str], ...], bytes] | None:
    while True:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            return None
        status = int(words[1])
        if 100 <= status < 200:
            data = rest
            continue
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name, value.strip(" \t")) for name, _, value in pairs)
        return status, words[2] if len(words) > 2 else "", headers, rest


def _is_chunked(headers: tuple[tuple[str, str], ...]) -> bool:
    return any(name.lower() == "transfer-encoding" and "chunked" in value.lower() for name, value in headers)


def _length(headers: tuple[tuple[str, str], ...]) -> int | None:
    values = [value for name, value in headers if name.lower() == "content-length"]
    return int(values[0]) if values and values[0].isdigit() else None


def _join_chunks(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        line, separator, data = data.partition(b"\r\n")
        if not separator:
            return body, False
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            return body, True
        body += data[:size]
        if len(data) < size + 2:
            return body, False
        data = data[size + 2 :]


class RawServer:
    """A server on loopback whose answers are bytes that a test wrote.

    :param port: where it listens; 0 takes one that is free.
    :ivar address: where it listens.
    :ivar connections: how many were accepted.
    :ivar requests: the header block of every request that :meth:`read_request` read.
    """

    def __init__(self, handle: Callable[[RawServer, socket.socket], None], *, port: int = 0) -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.address: Address = self._listener.getsockname()
        self.connections = 0
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def read_request(self, connection: socket.socket) -> bytes:
        """The next header block, and its body where ``Content-Length`` names one; b"" at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
        self.requests.append(head + b"\r\n\r\n")
        return head + b"\r\n\r\n" + body

    def drip(self, connection: socket.socket, data: bytes, *, every: float) -> None:
        """Send byte by byte with a pause before each; ends at once when the server is stopped."""
        for value in data:
            if self._stopping.wait(every):
                return
            connection.sendall(bytes([value]))

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(PATIENCE_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno == errno.EMFILE and not self._stopping.wait(0.01):
                    continue  # a test has taken all descriptors; this one is asked for before anybody comes
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The other side leaving early is what many tests are about.
        with suppress(OSError):
            self._handle(self, connection)
        connection.close()


@contextmanager
def raw_server(handle: Callable[[RawServer, socket.socket], None]) -> Iterator[RawServer]:
    """A :class:`RawServer` for as long as the block lasts.

    :param handle: is called once per connection, in a thread of its own; the connection is closed
        when it returns.
    """
    server = RawServer(handle)
    try:
        yield server
    finally:
        server.stop()
