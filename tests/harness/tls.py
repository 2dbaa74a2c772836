"""What stands at the other end of TLS: an authority, and a proxy on the way."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import trustme


class Authority(NamedTuple):
    """Somebody who signs, and the file in which an operator trusts them."""

    ca: trustme.CA
    file: str

    @classmethod
    def in_folder(cls, folder: Path) -> Authority:
        """A new one."""
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        return cls(ca, str(folder / "ca.pem"))

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's side, with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@contextmanager
def tunnel(port: int, *, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that takes CONNECTs and carries bytes both ways; its URL, and what it was asked."""
    asked: list[bytes] = []
    threads: list[threading.Thread] = []

    def serve(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            accepted if tls is None else tls.wrap_socket(accepted, server_side=True) as caller,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            asked.append(caller.recv(65_536))
            caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other = {caller: server, server: caller}
            while True:
                ready, _, _ = select.select([caller, server], [], [])
                for source in ready:
                    piece = source.recv(65_536)
                    while isinstance(source, ssl.SSLSocket) and source.pending():
                        piece += source.recv(65_536)
                    if not piece:
                        return
                    other[source].sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        yield f"http{'' if tls is None else 's'}://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)
