"""The origin of the streams, and of everything where nginx is not installed: raw sockets, a thread each.

``python -m tests.benchmarks.forwarding.origin PORT SITE`` serves the files of a directory
``SITE/files``, and ``/stream/KIND``: ten events of 16 bytes, each of which says when it was sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

EVENTS = 10
SECONDS_APART = 0.1
KINDS = ("chunked", "close-delimited", "Content-Length")

_FRAMING = {
    "chunked": b"Transfer-Encoding: chunked\r\n",
    "close-delimited": b"Connection: close\r\n",
    "Content-Length": b"Content-Length: %d\r\n" % (16 * EVENTS),
}


def event() -> bytes:
    """16 bytes: microseconds of the clock that all processes of a machine share, and a line feed."""
    return b"%015d\n" % (time.monotonic_ns() // 1000)


def send_stream(connection: socket.socket, kind: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + _FRAMING[kind] + b"\r\n")
    for number in range(EVENTS):
        if number:
            time.sleep(SECONDS_APART)
        connection.sendall(b"10\r\n%b\r\n" % event() if kind == "chunked" else event())
    if kind == "chunked":
        connection.sendall(b"0\r\n\r\n")


def send_file(connection: socket.socket, file: int, size: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % size
    connection.sendall(head, socket.MSG_MORE)
    sent = 0
    while sent < size:
        sent += os.sendfile(connection.fileno(), file, sent, size - sent)


def serve(connection: socket.socket, files: dict[str, tuple[int, int]]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with connection, contextlib.suppress(OSError):
        while True:
            while b"\r\n\r\n" not in received:
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
            head, _, received = received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1")
            if path.startswith("/stream/"):
                kind = path.removeprefix("/stream/")
                send_stream(connection, kind)
                if kind == "close-delimited":
                    return
            else:
                send_file(connection, *files[path])


def main() -> None:
    port, site = int(sys.argv[1]), Path(sys.argv[2])
    files = {
        f"/files/{path.name}": (os.open(path, os.O_RDONLY), path.stat().st_size)
        for path in (site / "files").iterdir()
    }
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, files), daemon=True).start()


if __name__ == "__main__":
    main()
