"""A real key service on 127.0.0.1 that can be told to misbehave."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

# How long a wait of the test itself may take before it fails.
PATIENCE_SECONDS = 5.0


def http_answer(status: int, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """The bytes of an HTTP/1.1 answer; ``Content-Length`` is added."""
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def json_answer(document: object, status: int = 200) -> bytes:
    """The bytes of an HTTP/1.1 answer with a JSON body."""
    return http_answer(status, json.dumps(document).encode(), ("Content-Type", "application/json"))


class LoopbackCall:
    """One request on one connection, as a behaviour sees it.

    :ivar request: the bytes of the request.
    :ivar answer: the bytes of the answer that would be right.
    :ivar connection: the number of its connection, from 1 on.
    """

    def __init__(
        self, sock: socket.socket, number: int, request: bytes, answer: bytes, released: threading.Event
    ) -> None:
        self.request = request
        self.answer = answer
        self.connection = number
        self._sock = sock
        self._released = released

    def send(self, data: bytes) -> None:
        """Send these bytes at once."""
        self._sock.sendall(data)

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass (None: until the behaviour ends); ends at once when the service is healed."""
        self._released.wait(seconds)

    def close(self, *, reset: bool = False) -> NoReturn:
        """Close the connection, or reset it (RST)."""
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError


Behaviour = Callable[[LoopbackCall], None]


class LoopbackKeyService:
    """Speaks protocol ``json`` over real sockets; each connection has a thread of its own.

    ::

        with LoopbackKeyService({"k-1": {"consumer": {"id": "42"}}}) as service:
            app = GuardMiddleware(app, validator_url=service.url)

    It behaves well until told otherwise; what it is told holds for every request from then on,
    until :meth:`heal` or the next behaviour. It listens from construction to :meth:`close`.

    :param keys: keys that are valid: names alone, or with further members of the answer.
    :param tls: speak TLS with this context; the URL is https then.
    """

    def __init__(
        self,
        keys: Iterable[str] | Mapping[str, Mapping[str, object]] = (),
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        known = keys if isinstance(keys, Mapping) else {key: {} for key in keys}
        self.keys: dict[str, Mapping[str, object]] = dict(known)
        self.requests: list[bytes] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._behaviour: Behaviour | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._tls = tls
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/verify"

    @property
    def calls(self) -> int:
        """How many requests have arrived."""
        return len(self.requests)

    def wait_for_calls(self, count: int, timeout: float = PATIENCE_SECONDS) -> None:
        """Return as soon as ``count`` requests have arrived, answered or not.

        :raises AssertionError: where fewer arrived within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.calls >= count, timeout):
                raise AssertionError(f"{self.calls} calls after {timeout} s, expected {count}")

    def wait_for_connections(self, count: int, timeout: float = PATIENCE_SECONDS) -> None:
        """Return as soon as no more than ``count`` connections are open.

        :raises AssertionError: where more are open after ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._open) <= count, timeout):
                raise AssertionError(f"{len(self._open)} open connections after {timeout} s")

    def slow(self, seconds: float) -> None:
        """Answer rightly, but only after this long."""

        def behave(call: LoopbackCall) -> None:
            call.wait(seconds)
            call.send(call.answer)

        self.behave(behave)

    def hang(self) -> None:
        """Take the request and say nothing, until :meth:`heal`; then close."""

        def behave(call: LoopbackCall) -> None:
            call.wait()
            call.close()

        self.behave(behave)

    def drip(self, seconds: float = 0.08, *, skip: int = 0) -> None:
        """Send the right answer a byte at a time.

        :param seconds: pause before each byte.
        :param skip: how many bytes go at once before that; -1 means all of the header.
        """

        def behave(call: LoopbackCall) -> None:
            start = call.answer.index(b"\r\n\r\n") + 4 if skip < 0 else skip
            call.send(call.answer[:start])
            for position in range(start, len(call.answer)):
                call.wait(seconds)
                call.send(call.answer[position : position + 1])

        self.behave(behave)

    def cut(self, after: int | None = 0) -> None:
        """Send this many bytes of the right answer (None: all of it), and close unannounced."""

        def behave(call: LoopbackCall) -> None:
            call.send(call.answer[:after])
            call.close()

        self.behave(behave)

    def reset(self, after: int = 0) -> None:
        """Send this many bytes of the right answer, and reset the connection (RST)."""

        def behave(call: LoopbackCall) -> None:
            call.send(call.answer[:after])
            call.close(reset=True)

        self.behave(behave)

    def lie(self, raw: bytes, *, close: bool = False) -> None:
        """Send these bytes instead of an answer."""

        def behave(call: LoopbackCall) -> None:
            call.send(raw)
            if close:
                call.close()

        self.behave(behave)

    def redirect(self, location: str, status: int = 302) -> None:
        """Redirect to another address."""
        self.lie(http_answer(status, b"", ("Location", location)))

    def html200(self) -> None:
        """Answer 200 with an HTML page, as a wrong base URL does."""
        self.lie(http_answer(200, b"<html><title>Welcome</title></html>", ("Content-Type", "text/html")))

    def status(self, status: int, document: object = None) -> None:
        """Answer with this status, and with a JSON document or an empty body."""
        self.lie(http_answer(status) if document is None else json_answer(document, status))

    def interim(self, *statuses: int, pause: float = 0.0) -> None:
        """Send interim answers (such as 103) before the right one.

        :param pause: seconds between the interim answers and the right one; 0 sends them together.
        """
        heads = b"".join(f"HTTP/1.1 {status} Interim\r\nLink: </a>\r\n\r\n".encode() for status in statuses)

        def behave(call: LoopbackCall) -> None:
            if pause:
                call.send(heads)
                call.wait(pause)
                call.send(call.answer)
            else:
                call.send(heads + call.answer)

        self.behave(behave)

    def behave(self, behaviour: Behaviour) -> None:
        """Do this for each request, instead of sending the right answer."""
        self._release()
        self._behaviour = behaviour

    def refuse(self) -> None:
        """Refuse connections, and drop those that are open; the port stays taken."""
        self._release()
        self._stop_listening()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))

    def heal(self) -> None:
        """Behave well again, and listen again where it had stopped."""
        self._behaviour = None
        self._release()
        if not self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self._listener.close()
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """Stop listening, close every connection, end every thread. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._released.set()
        self._stop_listening()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LoopbackKeyService({self.url}, {len(self.keys)} keys, {self.calls} calls)"

    def _release(self) -> None:
        released, self._released = self._released, threading.Event()
        released.set()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._start(self._accept, listener)
        return listener

    def _stop_listening(self) -> None:
        with suppress(OSError):  # where it does not listen now
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):  # where the other side was faster
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(sock,), daemon=True, name="loopback-key-service")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            number = self.connections
        # A send of its own for each byte must leave as one.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # the other side is gone, or the behaviour is to close
            if self._tls is not None:
                connection.settimeout(PATIENCE_SECONDS)
                connection = self._tls.wrap_socket(connection, server_side=True)
                connection.settimeout(None)
            with self._changed:
                self._open.add(connection)
            while not self._closed and (request := _read_request(connection)):
                self._behave(connection, number, request)
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()
        connection.close()

    def _behave(self, connection: socket.socket, number: int, request: bytes) -> None:
        answer = self._right_answer(request)
        with self._changed:
            self.requests.append(request)
            behaviour = self._behaviour or _answer_rightly
            call = LoopbackCall(connection, number, request, answer, self._released)
            self._changed.notify_all()
        behaviour(call)

    def _right_answer(self, request: bytes) -> bytes:
        try:
            key = json.loads(request.partition(b"\r\n\r\n")[2])["key"]
        except (ValueError, KeyError, TypeError):
            return json_answer({"error": "no key in the request"}, 400)
        members = self.keys.get(key)
        return json_answer({"valid": False} if members is None else {"valid": True, **members})


def _answer_rightly(call: LoopbackCall) -> None:
    call.send(call.answer)


def _read_request(connection: socket.socket) -> bytes:
    """One request with its body, or nothing where the other side has closed."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body
