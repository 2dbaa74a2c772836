"""One server that is asked: the connections to it, one question on one of them, one answer.

``requests`` asks of a connection pool of ``urllib3`` nothing but ``urlopen``. Here that goes over
:mod:`apikey_guard.http1`, the way to origins: ``http.client`` takes an interim answer such as 103 for
the final one, so that one caller gets the verdict of another, and its timeout begins anew with each byte.
"""

from __future__ import annotations

import io
import math
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import urllib3

from apikey_guard.errors import TransportError
from apikey_guard.http1.connection import Connection, Stale
from apikey_guard.http1.dial import connect, counting_down, secured
from apikey_guard.http1.parser import Chunks, Endless, Head, Malformed, is_bodiless
from apikey_guard.http1.pool import Pool
from apikey_guard.http1.tls_within import TlsWithin
from apikey_guard.http1.tunnel import open_tunnel

# Chunks of one byte each take six bytes per byte; anything beyond that is no answer.
_WIRE_BYTES_PER_BODY_BYTE: Final = 8
# As many as http.client takes.
_MOST_FIELDS: Final = 100
_PORTS: Final = {"http": 80, "https": 443}


class Address(NamedTuple):
    """Where a server is.

    :param scheme: ``http`` or ``https``.
    :param host: without brackets.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Address:
        """The one in a URL.

        :raises TransportError: there is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise TransportError("error", "not a URL of HTTP")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])

    @property
    def name(self) -> str:
        """The host as certificates have it: without the dot that may end it."""
        return self.host.rstrip(".")

    @property
    def authority(self) -> str:
        """Host and port as a header has them."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class Limits(NamedTuple):
    """What an exchange may take.

    :param body: bytes of an answer's body.
    :param idle: connections that are kept open for reuse.
    :param age: seconds after which a connection is not used again.
    """

    body: int
    idle: int
    age: float


class Server:
    """A server, and the idle connections to it.

    :param tls: for the server, and for a proxy that is spoken to in TLS.
    :param proxy: where it is, and what it wants to know in a header.
    :param monotonic: the clock by which connections get old.
    """

    def __init__(
        self,
        address: Address,
        limits: Limits,
        *,
        tls: ssl.SSLContext | None,
        proxy: tuple[Address, Mapping[str, str]] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._address = address
        self._limits = limits
        self._tls = tls
        self._proxy = None if proxy is None else proxy[0]
        self._told: Mapping[str, str] = {} if proxy is None else proxy[1]
        self._monotonic = monotonic
        # How many may ask at once is decided elsewhere.
        self._pool = Pool(
            sys.maxsize,
            0.0,
            most_idle=limits.idle,
            idle_timeout=math.inf,
            max_age=limits.age,
            monotonic=monotonic,
        )
        self.close, self.abandon = self._pool.close, self._pool.abandon

    def is_for(self, address: Address, tls: ssl.SSLContext | None) -> bool:
        """Whether it is that server, and its connections are what that context makes."""
        return self._address == address and self._tls is tls

    def urlopen(
        self,
        method: str,
        url: str,
        body: bytes | str | None,
        headers: Mapping[str, str],
        *,
        timeout: urllib3.Timeout,
        **_: object,
    ) -> urllib3.HTTPResponse:
        """Send one request and read its answer; once more only where a kept connection was dead.

        :param url: as it goes into the first line.
        :param timeout: its time to read is that for all of it, from name resolution to the last byte.
        :raises TransportError: there is no answer that can be used.
        :raises OriginError: the same, in the words of a connection.
        """
        remaining = counting_down(timeout.read_timeout or 0.0)
        if self._address.scheme == "http":
            headers = {**headers, **self._told}
        if not any(name.lower() == "host" for name in headers):
            usual = f":{_PORTS[self._address.scheme]}"
            headers = {"Host": self._address.authority.removesuffix(usual), **headers}
        data = f"{method} {url} HTTP/1.1\r\n{_lines(headers)}\r\n".encode("latin-1")
        data += body.encode("latin-1") if isinstance(body, str) else body or b""
        kept = self._pool.take()
        if kept is not None:
            with suppress(Stale):
                return self._exchange(kept, method, data, remaining, keep=True)
        # After a dead one it is not kept: whoever closed that one closes the next one as well.
        return self._exchange(self._connected(remaining), method, data, remaining, keep=kept is None)

    def _exchange(
        self, connection: Connection, method: str, data: bytes, remaining: Callable[[], float], *, keep: bool
    ) -> urllib3.HTTPResponse:
        reusable = False
        try:
            connection.watch(None)
            connection.deadline = time.monotonic() + remaining()
            whole = connection.write(data)
            head = connection.read_head()
            if len(head.headers) > _MOST_FIELDS:
                raise TransportError("too_large", "the header does not end")
            body, ended = self._body(connection, method, head)
            connection.keep_alive = head.keep_alive
            reusable = keep and whole and ended and head.persistent and not connection.has_surplus
        finally:
            if reusable:
                self._pool.give_back(connection)
            else:
                connection.close()
        return urllib3.HTTPResponse(
            io.BytesIO(body),
            urllib3.HTTPHeaderDict(head.headers),
            head.status,
            reason=head.reason,
            preload_content=False,
            decode_content=False,
            request_method=method,
        )

    def _body(self, connection: Connection, method: str, head: Head) -> tuple[bytes, bool]:
        """The body, empty for a redirect; and whether the connection is at the end of the answer."""
        if is_bodiless(method, head.status):
            return b"", not head.chunked and not head.length
        if 300 <= head.status < 400:
            return b"", head.length == 0
        most, length = self._limits.body, head.length
        chunks = Chunks() if head.chunked else None
        body, wire, data = b"", 0, connection.take_received()
        while True:
            wire += len(data)
            body += data if chunks is None else _fed(chunks, data)
            if (len(body) if length is None else length) > most or wire > most * _WIRE_BYTES_PER_BODY_BYTE:
                raise TransportError("too_large", f"a body of more than {most} bytes")
            if length is not None and len(body) >= length:
                return body[:length], len(body) == length
            if chunks is not None and chunks.done:
                return body, not chunks.surplus
            data = connection.receive()
            if not data and (chunks is not None or length is not None):
                raise TransportError("reset", "the answer was cut")
            if not data:
                return body, False

    def _connected(self, remaining: Callable[[], float]) -> Connection:
        server, proxy, tls = self._address, self._proxy, self._tls
        made_at = self._monotonic()
        first = proxy or server
        plain = connect(first.host, first.port, remaining)
        sock: socket.socket | TlsWithin = plain
        with ExitStack() as undo:
            undo.callback(lambda: sock.close())
            if tls is not None and proxy is not None and proxy.scheme == "https":
                sock = plain = secured(plain, tls, proxy.name)
            if tls is not None and server.scheme == "https":
                if proxy is not None:
                    open_tunnel(plain, server.authority, _lines(self._told), remaining)
                if isinstance(plain, ssl.SSLSocket):
                    sock = TlsWithin(plain, tls, server.name, remaining)
                else:
                    sock = secured(plain, tls, server.name, may_end_unannounced=True)
            undo.pop_all()
        return Connection(sock, made_at=made_at)


def _lines(headers: Mapping[str, str]) -> str:
    # requests has refused line breaks in names and values, and quoted those in a URL.
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _fed(chunks: Chunks, data: bytes) -> bytes:
    try:
        return chunks.feed(data)
    except Malformed as error:
        cause = "too_large" if isinstance(error, Endless) else "content"
        raise TransportError(cause, str(error)) from None
