"""Through an HTTP proxy, by its leave (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from apikey_guard.errors import OriginError, TransportError
from apikey_guard.http1.connection import Connection


def open_tunnel(sock: socket.socket, authority: str, fields: str, remaining: Callable[[], float]) -> None:
    """Ask the proxy at the other end to carry bytes to a host and port from now on.

    :param fields: what it wants to know, lines of a header.
    :param remaining: seconds that are left; raises where none are.
    :raises TransportError: ``connect``: it does not; or ``timeout``.
    """
    connection = Connection(sock)
    connection.deadline = time.monotonic() + remaining()
    try:
        connection.write(
            f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n".encode("latin-1")
        )
        opened = connection.read_head().status < 300 and not connection.has_surplus
    except OriginError as error:
        opened = False
        if error.cause == "timeout":
            raise TransportError("timeout", "the proxy did not answer in time") from None
    if not opened:
        raise TransportError("connect", "the proxy did not open a tunnel")
    sock.settimeout(remaining())
