"""The one hardened way out for short questions: a request with its body, an answer with its body.

What an HTTP client does on its own account is a risk here. A jar would carry cookies from one
caller to the next, a netrc file would replace our credentials, an environment variable would
choose a proxy, a redirect would take a key to another host. So the adapter of ``requests`` is
used without its Session, which does all of these, and it sends through
:mod:`apikey_guard.keyservice.server`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

from apikey_guard.errors import OriginError, TransportError
from apikey_guard.http1.tls import TlsFiles
from apikey_guard.keyservice.server import Address, Limits, Server

# A consumer with its metadata takes a few hundred bytes; nothing sensible takes more than this.
MAX_BODY_BYTES: Final = 65_536
# A server that moves to another address is followed after this many seconds.
MAX_AGE_SECONDS: Final = 300.0
# Sent unless the caller says otherwise; urllib3 would name itself.
OUR_HEADERS: Final = {"User-Agent": "apikey-guard", "Accept-Encoding": "identity"}
# What requests and everything below it are known to raise, RequestException not being all of it.
_FAULTS = (TransportError, OriginError, urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError)


class Answer(NamedTuple):
    """What the other side answered, whatever its status.

    :param status: the final status; interim answers were read past.
    :param headers: in order and unmerged, decoded as latin-1.
    :param body: all of it; empty for a redirect, whose body is never read.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Transport:
    """Sends requests and reads their answers; safe to use from many threads at once.

    Nothing is opened before the first exchange. After a fork the child makes its own, and calls
    :meth:`abandon` on the one it inherited.

    :param timeout: seconds for one exchange, from name resolution to the last byte. Name
        resolution itself cannot be interrupted: an exchange ends as soon as it returns.
    :param ca: file or directory of authorities, instead of the usual ones.
    :param client_cert: file with certificate and key, or both apart.
    :param proxy: URL of a proxy; those of the environment are not obeyed.
    :param max_body: bytes of an answer's body; a longer one is a failure.
    :param max_idle: connections that are kept open for reuse.
    :param max_age: seconds after which a connection is not used again.
    :param monotonic: the clock by which connections get old and the files are looked at again.
    """

    def __init__(
        self,
        *,
        timeout: float = 2.0,
        ca: str | None = None,
        client_cert: str | tuple[str, str] | None = None,
        proxy: str | None = None,
        max_body: int = MAX_BODY_BYTES,
        max_idle: int = 16,
        max_age: float = MAX_AGE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._proxies = None if proxy is None else {"http": proxy, "https": proxy}
        self._max_body = max_body
        tls = TlsFiles(ca, client_cert, monotonic=monotonic).context
        self._adapter = _Adapter(tls, proxy, Limits(max_body, max_idle, max_age), monotonic)
        self._closed = False

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send one request and read its answer, within one deadline.

        Only the headers given are sent, besides ``Host``, ``Content-Length`` and those that say
        who asks and that no coding is wanted. A request whose pooled connection turns out to be
        dead before any byte of the answer came is sent once more on a fresh one; nothing else is
        ever repeated.

        :raises TransportError: for every failure; its message holds neither URL nor header.
        """
        try:
            if self._closed:
                raise TransportError("error", "closed")
            # Not prepare_request() of a Session, which would add cookies and what a netrc file says.
            request = requests.PreparedRequest()
            # As text where it is ASCII, as requests itself writes forms: what stands in for the network
            # in tests compares texts.
            data = body.decode("ascii") if body.isascii() else body
            request.prepare(method=method, url=url, headers={**OUR_HEADERS, **headers}, data=data or None)
            raw = self._adapter.send(request, True, self._timeout, proxies=self._proxies).raw
            try:
                body = b"" if 300 <= raw.status < 400 else self._body(raw)
                return Answer(raw.status, tuple(raw.headers.items()), body)
            finally:
                raw.close()
        except _FAULTS as error:
            failed = _translated(error)
        # Raised here, so that no error of another library hangs on it: some repeat headers.
        raise failed

    def close(self) -> None:
        """Close every idle connection; those in use close when their exchange ends."""
        self._closed = True
        self._adapter.close()

    def abandon(self) -> None:
        """Let go of inherited connections in a forked child, without a word to the other side.

        Takes no lock: a thread that exists only in the parent may have held it.
        """
        self._closed = True
        self._adapter.drop_idle()

    def _body(self, raw: urllib3.HTTPResponse) -> bytes:
        if raw.headers.get("Content-Encoding") is not None:
            raise TransportError("content", "a coded body, although none was accepted")
        length = raw.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > self._max_body:
            raise TransportError("too_large", f"a body of more than {self._max_body} bytes")
        body = bytearray()
        while piece := raw.read(self._max_body + 1 - len(body), decode_content=False):
            body += piece
            if len(body) > self._max_body:
                raise TransportError("too_large", f"a body of more than {self._max_body} bytes")
        return bytes(body)


class _Adapter(HTTPAdapter):
    """The adapter of requests, which finds the server to send to here, and nothing else.

    :param tls: the context of now.
    :param monotonic: the clock by which connections get old.
    """

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        proxy: str | None,
        limits: Limits,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__()
        self._tls = tls
        self._proxy = None if proxy is None else (Address.of(proxy), self.proxy_headers(proxy))
        self._limits = limits
        self._monotonic = monotonic
        self._server: Server | None = None

    def get_connection_with_tls_context(  # type: ignore[override]  # requests uses no more of it than there is
        self, request: requests.PreparedRequest, *_: object, **__: object
    ) -> Server:
        address = Address.of(request.url or "")
        secret = "https" in (address.scheme, self._proxy and self._proxy[0].scheme)
        context = self._tls() if secret else None
        server = self._server
        if server is None or not server.is_for(address, context):
            if server is not None:
                server.close()
            self._server = server = Server(
                address, self._limits, tls=context, proxy=self._proxy, monotonic=self._monotonic
            )
        return server

    def cert_verify(self, *_: object) -> None:
        """Nothing: the context says it all."""

    def close(self) -> None:
        super().close()
        if self._server is not None:
            self._server.close()

    def drop_idle(self) -> None:
        """Close the idle connections without taking a lock."""
        if self._server is not None:
            self._server.abandon()


def _translated(error: Exception) -> TransportError:
    """A new error in our words, on which nothing of the old one hangs; texts of others are left out."""
    match error:
        case TransportError() | OriginError():
            return TransportError(error.cause, error.detail)
        # From here on what stands in for the network in tests says.
        case requests.Timeout() | TimeoutError() | urllib3.exceptions.TimeoutError():
            return TransportError("timeout")
        case requests.ConnectionError() | urllib3.exceptions.ProtocolError():
            return TransportError("reset", type(error).__name__)
        # It is an OSError as well, and comes from a URL or a header that cannot be sent.
        case requests.RequestException():
            return TransportError("error", type(error).__name__)
        case OSError():
            return TransportError("reset", type(error).__name__)
    return TransportError("error", type(error).__name__)
