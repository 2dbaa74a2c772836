"""One hardened HTTP/1.1 connection: interim answers are read past, and a deadline holds for all of it.

``http.client`` takes an interim answer such as 103 for the final one, so that the real answer is
read by whoever uses the connection next: one caller gets the verdict of another. It also restarts
its timeout with every byte. Both are repaired here, below ``urllib3``, once for everything that
this library sends.

Every failure is a :class:`~apikey_guard.errors.TransportError`, which ``urllib3`` does not know:
it destroys the connection and lets the error pass unchanged.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

import urllib3.connection
from urllib3.util.connection import allowed_gai_family
from urllib3.util.ssltransport import SSLTransport

from apikey_guard.errors import TransportError
from apikey_guard.http1.dial import connect

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, SupportsRead, WriteableBuffer
    from urllib3.response import HTTPResponse

# One interim answer is usual, two are possible (100 and 103); a server that sends more is broken.
MAX_INTERIM_ANSWERS = 8
# More than any server sends; http.client alone would take 100 lines of 64 KiB for each answer.
MAX_HEADER_BYTES = 65_536

_DIGITS = re.compile(r"[0-9]{1,18}")
# What the parser of the standard library says about a multipart answer that it is not given.
_HARMLESS_DEFECTS = frozenset({"StartBoundaryNotFoundDefect", "MultipartInvariantViolationDefect"})


class StaleConnection(TransportError):
    """A connection used before turned out to be dead before any byte of this answer came.

    The only failure after which asking again, on a fresh connection, is safe and useful.
    """

    def __init__(self) -> None:
        super().__init__("reset", "an idle connection was closed by the other side")


def failure(error: BaseException, *, connected: bool = False) -> TransportError:
    """The same failure in our words; the texts of other programs are left out.

    :param connected: whether the connection had been made. What breaks it afterwards, in TLS too, may
        be the doing of what was sent on it, and is a cut answer.
    """
    name = type(error).__name__
    match error:
        case TransportError():
            return error
        case TimeoutError():
            return TransportError("timeout")
        case ssl.SSLCertVerificationError():
            return TransportError("tls", "the certificate was not accepted")
        case ssl.SSLError():
            return TransportError("reset" if connected else "tls", name)
        case http.client.RemoteDisconnected() | ConnectionError():
            return TransportError("reset", name)
        case http.client.HTTPException():
            return TransportError("content", f"not readable as HTTP/1.1 ({name})")
        case OSError():
            return TransportError("reset" if connected else "connect", name)
    return TransportError("error", name)


class _BoundedReader(io.RawIOBase):
    """The bytes of one answer: each wait ends with the connection's deadline, and bytes are counted."""

    def __init__(self, sock: socket.socket, connection: BoundedHTTPConnection) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._connection = connection
        self.left: int | None = MAX_HEADER_BYTES
        self.received = False
        self.sealed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self.sealed:
            return None
        if self.left is not None and self.left <= 0:
            raise TransportError("too_large", "the answer does not end")
        try:
            self._sock.settimeout(self._connection.remaining())
            count = self._raw.readinto(buffer)
        except TimeoutError as error:
            raise failure(error) from None
        if count:
            self.received = True
            if self.left is not None:
                self.left -= count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """An answer whose interim answers were read past, and whose end is beyond doubt.

    :raises TransportError: ``interim`` for 101 and for too many interim answers, ``content`` where
        two programs could disagree about where the answer ends (RFC 9112, section 6).
    """

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
        *,
        connection: BoundedHTTPConnection,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.reader = _BoundedReader(sock, connection)
        self.fp = io.BufferedReader(self.reader)
        self._connection = connection

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_ANSWERS + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in typeshed
            if status >= 200:
                return version, status, reason
            if status == 101:
                raise TransportError("interim", "status 101: the server switches protocols, unasked")
            self._skip_fields()
        raise TransportError("interim", "too many interim answers")

    def _skip_fields(self) -> None:
        while True:
            line = self.fp.readline()
            if not line:
                raise http.client.RemoteDisconnected("closed after an interim answer")
            if line in (b"\r\n", b"\n"):
                return

    def begin(self) -> None:
        super().begin()
        self.reader.left = self._connection.max_answer_bytes
        self._check_framing()

    def _check_framing(self) -> None:
        defects = {type(defect).__name__ for defect in self.headers.defects} - _HARMLESS_DEFECTS
        if defects:
            raise TransportError("content", f"broken header fields ({min(defects)})")
        lengths = self.headers.get_all("content-length", [])
        codings = self.headers.get_all("transfer-encoding", [])
        if codings and (
            lengths or self.version != 11 or [coding.lower() for coding in codings] != ["chunked"]
        ):
            raise TransportError("content", "a Transfer-Encoding that cannot be relied on")
        if len(lengths) > 1 or any(not _DIGITS.fullmatch(length) for length in lengths):
            raise TransportError("content", "a Content-Length that cannot be relied on")

    def _close_conn(self) -> None:
        # Bytes beyond the end of an answer belong to nobody: whoever sends them is out of step, and
        # the next answer on this connection would be somebody else's.
        self.reader.sealed = True
        surplus = bool(self.fp.peek(1)) if not self.fp.closed else False
        super()._close_conn()  # type: ignore[misc]  # not in typeshed
        if surplus or _is_decrypted(self._connection.sock):
            self._connection.close()


def _is_decrypted(sock: object) -> bool:
    """Whether TLS holds bytes that nobody has read: no poll of the socket shows them."""
    if isinstance(sock, SSLTransport):  # TLS within the TLS of a proxy, with buffers of its own
        return bool(sock.sslobj.pending() or sock.incoming.pending) or _is_decrypted(sock.socket)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class BoundedHTTPConnection(urllib3.connection.HTTPConnection):
    """A connection on which one deadline bounds connecting, sending and every byte of the answer.

    ``timeout``, set in seconds, is that deadline, counted from the moment it is set. Name
    resolution cannot be interrupted; it is counted, and whoever must not wait for it waits
    elsewhere (the guard's callers do).

    :cvar max_age: seconds after which a connection is not used again, so that a change of
        addresses is seen.
    :cvar max_answer_bytes: bytes on the wire after the header of an answer, framing included.
    """

    max_age: float = inf
    max_answer_bytes: int | None = None
    _deadline: float | None = None
    _connected_at: float = 0.0
    _answered = False
    _response: BoundedResponse | None = None

    @property
    def timeout(self) -> float | None:
        """Seconds that are left; never 0, which would mean "do not block"."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.001)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds that are left.

        :raises TransportError: ``timeout``, where none are left.
        """
        if self._deadline is None:
            return None
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TransportError("timeout")
        return seconds

    @property
    def is_connected(self) -> bool:
        """Whether the connection may be used again: young enough, still open, nothing unasked to read."""
        return (
            time.monotonic() - self._connected_at < self.max_age
            and super().is_connected
            and not _is_decrypted(self.sock)
        )

    def response_class(  # type: ignore[override]  # http.client only ever calls it
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> BoundedResponse:
        self._response = BoundedResponse(sock, debuglevel, method, url, connection=self)
        return self._response

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise failure(error) from None
        except BaseException:
            self.close()
            raise
        self._connected_at = time.monotonic()
        self._answered = False

    def _new_conn(self) -> socket.socket:
        sock = connect(
            self._dns_host.strip("[]"),
            self.port,
            self.remaining,
            family=allowed_gai_family(),
            options=self.socket_options or (),
        )
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except TimeoutError:
            raise
        except OSError:
            raise TransportError("connect", "the proxy did not open a tunnel") from None
        self.sock.settimeout(self.remaining())

    def send(self, data: SupportsRead[bytes] | Iterable[ReadableBuffer] | ReadableBuffer | str) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.remaining())
        try:
            super().send(data)
        except ConnectionError:
            # The server may have answered before it closed: urllib3 goes on to read that answer.
            raise
        except ssl.SSLError as error:
            raise (StaleConnection() if self._answered else failure(error, connected=True)) from None
        except OSError as error:
            raise failure(error, connected=True) from None

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does
        """The final answer, its header read.

        :raises TransportError: for every failure; the connection is of no use afterwards.
        """
        self._response = None
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException) as error:
            if self._answered and not self._heard() and not isinstance(error, TimeoutError):
                raise StaleConnection from None
            raise failure(error, connected=True) from None
        finally:
            self._response = None
        self._answered = True
        return response

    def _heard(self) -> bool:
        """Whether any byte of the answer that is being waited for has come."""
        return self._response is not None and self._response.reader.received


class BoundedHTTPSConnection(BoundedHTTPConnection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""
