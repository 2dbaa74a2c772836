"""Callers over keep-alive connections, all in one thread: as cheap as such a loop gets in Python."""

from __future__ import annotations

import re
import select
import socket
import time
from dataclasses import dataclass, field

from tests.benchmarks.forwarding.apps import KEY

PATIENCE = 30.0
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)

# As curl would send it, with the credential.
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
    "Accept-Encoding: gzip, deflate\r\napikey: " + KEY + "\r\nX-Request-Id: 3f2a9c1e\r\n\r\n"
)


class BadAnswer(Exception):
    """The front did not answer as the origin does."""


@dataclass
class Load:
    """What one round of one front came to."""

    seconds: float = 0.0
    size: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.milliseconds)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def mib_per_second(self) -> float:
        return self.size / self.seconds / 2**20


def request_bytes(port: int, path: str) -> bytes:
    return REQUEST.format(port=port, path=path).encode()


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Caller:
    """One connection, one request at a time."""

    def __init__(self, port: int, request: bytes) -> None:
        self.port = port
        self.request = request
        self.socket = connect(port)
        self.head = b""
        self.left = -1  # bytes of the body still to come; -1 while the head is not complete
        self.size = 0
        self.closes = False
        self.sent_at = 0.0

    def send(self) -> None:
        self.head, self.left = b"", -1
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.request)

    def receive(self, buffer: memoryview) -> bool:
        """Take what has arrived; whether the answer is complete."""
        if self.left < 0:
            return self._receive_head(buffer)
        count = self.socket.recv_into(buffer)
        if not count:
            raise BadAnswer(f"cut {self.left} bytes before the end")
        self.left -= count
        return self._complete()

    def _receive_head(self, buffer: memoryview) -> bool:
        count = self.socket.recv_into(buffer)
        if not count:
            raise BadAnswer("closed before the answer")
        self.head += bytes(buffer[:count])
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.head[: end + 2]
        length = CONTENT_LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise BadAnswer(self.head[:300].decode("latin-1"))
        self.closes = CLOSES.search(head) is not None
        self.size = int(length[1])
        self.left = self.size - (len(self.head) - end - 4)
        return self._complete()

    def _complete(self) -> bool:
        if self.left < 0:
            raise BadAnswer("more bytes than announced")
        return self.left == 0

    def reconnect(self) -> None:
        self.socket.close()
        self.socket = connect(self.port)


class Crowd:
    """Several callers of one front, waited for together."""

    def __init__(self, port: int, path: str, callers: int) -> None:
        request = request_bytes(port, path)
        self._poll = select.epoll()
        self._buffer = memoryview(bytearray(262144))
        self._by_descriptor: dict[int, Caller] = {}
        for _ in range(callers):
            self._watch(Caller(port, request))

    def _watch(self, caller: Caller) -> None:
        self._by_descriptor[caller.socket.fileno()] = caller
        self._poll.register(caller.socket.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> Load:
        """Each caller asks again and again until the time is over; every request that was begun is ended.

        No time at all is one request of each.
        """
        load = Load()
        waiting = len(self._by_descriptor)
        started = time.perf_counter()
        for caller in self._by_descriptor.values():
            caller.send()
        while waiting:
            ready = self._poll.poll(PATIENCE)
            if not ready:
                raise BadAnswer(f"nothing for {PATIENCE:.0f} s")
            for descriptor, _ in ready:
                caller = self._by_descriptor[descriptor]
                if not caller.receive(self._buffer):
                    continue
                now = time.perf_counter()
                load.milliseconds.append((now - caller.sent_at) * 1000)
                load.size += caller.size
                if now - started >= seconds:
                    # Not heard any more: what it says after its answer, such as a close, is not of the round.
                    self._poll.unregister(descriptor)
                    waiting -= 1
                    continue
                self._again(caller)
        load.seconds = time.perf_counter() - started
        return load

    def _again(self, caller: Caller) -> None:
        if caller.closes:
            del self._by_descriptor[caller.socket.fileno()]
            self._poll.unregister(caller.socket.fileno())
            caller.reconnect()
            self._watch(caller)
        caller.send()

    def close(self) -> None:
        self._poll.close()
        for caller in self._by_descriptor.values():
            caller.socket.close()


def ask(port: int, path: str, *, callers: int, seconds: float = 0.0) -> Load:
    """One round of one front."""
    crowd = Crowd(port, path, callers)
    try:
        return crowd.run(seconds)
    finally:
        crowd.close()
