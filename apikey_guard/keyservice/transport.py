"""The one hardened way out for short questions: a request with its body, an answer with its body.

What an HTTP client does on its own account is a risk here. A jar would carry cookies from one
caller to the next, a netrc file would replace our credentials, an environment variable would
choose a proxy, a redirect would take a key to another host. So the adapter of ``requests`` is
used without its Session, which does all of these, and the connections are those of
:mod:`apikey_guard.keyservice.connection`.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPException
from math import inf
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from apikey_guard.errors import TransportError
from apikey_guard.http1.tls import TlsFiles
from apikey_guard.keyservice.connection import (
    MAX_HEADER_BYTES,
    BoundedHTTPConnection,
    BoundedHTTPSConnection,
    StaleConnection,
    failure,
)

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

# A consumer with its metadata takes a few hundred bytes; nothing sensible takes more than this.
MAX_BODY_BYTES: Final = 65_536
# A server that moves to another address is followed after this many seconds.
MAX_AGE_SECONDS: Final = 300.0
# Chunks of one byte each take six bytes per byte; anything beyond that is no answer.
_WIRE_BYTES_PER_BODY_BYTE = 8
# Sent unless the caller says otherwise; urllib3 would name itself.
OUR_HEADERS: Final = {"User-Agent": "apikey-guard", "Accept-Encoding": "identity"}
# What requests and everything below it are known to raise, RequestException not being all of it.
_FAULTS = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, RecursionError)


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
    :param monotonic: the clock by which the files are looked at again.
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
        self._tls = TlsFiles(ca, client_cert, monotonic=monotonic).context
        self._proxies = None if proxy is None else {"http": proxy, "https": proxy}
        self._max_body = max_body
        self._max_age = max_age
        self._adapter = self._new_adapter(max_idle)
        self._closed = False

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send one request and read its answer, within one deadline.

        Only the headers given are sent, besides ``Host``, ``Content-Length`` and those that say
        who asks and that no coding is wanted. A request whose pooled connection turns out to be
        dead before any byte of the answer came is sent once more on a fresh one; nothing else is
        ever repeated.

        :raises TransportError: for every failure; its message holds neither URL nor header.
        """
        deadline = Deadline(self._timeout)
        try:
            if self._closed:
                raise TransportError("error", "closed")
            # Not prepare_request() of a Session, which would add cookies and what a netrc file says.
            request = requests.PreparedRequest()
            # As text where it is ASCII, as requests itself writes forms: what stands in for the network
            # in tests compares texts.
            data = body.decode("ascii") if body.isascii() else body
            request.prepare(method=method, url=url, headers={**OUR_HEADERS, **headers}, data=data or None)
            try:
                return self._once(self._adapter, request, deadline)
            except StaleConnection:
                with closing(self._new_adapter(max_idle=0)) as fresh:
                    return self._once(fresh, request, deadline)
        except (TransportError, *_FAULTS) as error:
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

    def _new_adapter(self, max_idle: int) -> _Adapter:
        wire = self._max_body * _WIRE_BYTES_PER_BODY_BYTE + MAX_HEADER_BYTES
        return _Adapter(self._tls, max_idle=max_idle, max_age=self._max_age, max_answer_bytes=wire)

    def _once(self, adapter: _Adapter, request: requests.PreparedRequest, deadline: Deadline) -> Answer:
        # requests hands a timeout of urllib3's on as it is, which its types do not say.
        timeout = cast(float, deadline)
        response = adapter.send(request, stream=True, timeout=timeout, proxies=self._proxies)
        raw = response.raw
        try:
            headers = tuple(raw.headers.items())
            body = b"" if 300 <= raw.status < 400 else self._body(raw)
            return Answer(raw.status, headers, body)
        finally:
            # Destroys the connection unless the answer was read to its end.
            raw.close()

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


class Deadline(urllib3.Timeout):
    """One moment for the whole exchange: whoever asks for a timeout gets what is left.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(total=seconds)
        self._end = time.monotonic() + seconds

    def _left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    @property
    def connect_timeout(self) -> float:
        return self._left()

    @property
    def read_timeout(self) -> float:
        return self._left()

    def clone(self) -> Deadline:
        """Itself: what is left does not start again with each connection."""
        return self

    def start_connect(self) -> float:
        """Nothing starts here."""
        return time.monotonic()


class _Idle:
    """Connections waiting for their next use, the youngest first; a queue as urllib3 knows it.

    It has no lock, as its operations are those of a deque, which are atomic: a lock held by
    another thread while the process forks would stay locked in the child for ever.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._connections: deque[BoundedHTTPConnection] = deque()

    def get(self, **_: object) -> BoundedHTTPConnection:
        """The connection that was used last; never waits, whatever is asked.

        Those that the other side has closed are closed, all of them.

        :raises queue.Empty: where there is none; urllib3 makes a new one then.
        """
        self._drop_closed()
        try:
            return self._connections.pop()
        except IndexError:
            raise Empty from None

    def _drop_closed(self) -> None:
        # Each is taken out while it is looked at, so that no other thread uses it then.
        for _ in range(len(self._connections)):
            try:
                connection = self._connections.popleft()
            except IndexError:  # another thread was faster
                return
            if connection.is_connected:
                self._connections.append(connection)
            else:
                connection.close()

    def put(self, connection: BoundedHTTPConnection | None, **_: object) -> None:
        """Keep a connection, or close it where enough are kept. None (a free slot) is ignored."""
        if connection is None:
            return
        if len(self._connections) < self._maxsize:
            self._connections.append(connection)
        else:
            connection.close()

    def qsize(self) -> int:
        """How many are kept."""
        return len(self._connections)

    def drop_all(self) -> None:
        """Close all that are kept."""
        while self._connections:
            self._connections.pop().close()


class _Pool(HTTPConnectionPool):
    """Makes connections with these bounds, and keeps the idle ones without a lock."""

    ConnectionCls = BoundedHTTPConnection
    QueueCls = _Idle  # type: ignore[assignment]  # the part of a LifoQueue that urllib3 uses
    max_age = inf
    max_answer_bytes: int | None = None

    def _new_conn(self) -> BaseHTTPConnection:
        connection = super()._new_conn()
        if isinstance(connection, BoundedHTTPConnection):
            connection.max_age = self.max_age
            connection.max_answer_bytes = self.max_answer_bytes
        return connection


class _TLSPool(_Pool, HTTPSConnectionPool):  # type: ignore[misc]  # _new_conn returns what super() does
    ConnectionCls = BoundedHTTPSConnection


class _Adapter(HTTPAdapter):
    """The adapter of requests on our connections, with one TLS context and no choice about it."""

    def __init__(
        self, tls: Callable[[], ssl.SSLContext], *, max_idle: int, max_age: float, max_answer_bytes: int
    ) -> None:
        self._tls = tls
        self._max_age = max_age
        self._max_answer_bytes = max_answer_bytes
        self._pools: set[_Pool] = set()
        super().__init__(pool_connections=1, pool_maxsize=max_idle, max_retries=0)

    # The types of what is overridden here are those of requests, Any included.
    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> urllib3.ProxyManager:
        if proxy not in self.proxy_manager and urlsplit(proxy).scheme == "https":
            proxy_kwargs["proxy_ssl_context"] = self._tls()
        made: urllib3.ProxyManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        made.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
        return made

    def build_connection_pool_key_attributes(  # type: ignore[override]  # its own TypedDicts are private
        self,
        request: requests.PreparedRequest,
        *_: object,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        where = urlsplit(request.url or "")
        place = {"scheme": where.scheme, "host": where.hostname, "port": where.port}
        return place, {"ssl_context": self._tls()} if where.scheme == "https" else {}

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """Nothing: the context says it all, and what is set here would add authorities to it."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if isinstance(pool, _Pool):
            pool.max_age, pool.max_answer_bytes = self._max_age, self._max_answer_bytes
            if pool not in self._pools:
                # Each context has a pool of its own; that of one that was renewed is closed by now.
                self._pools = {pool, *(known for known in self._pools if known.pool is not None)}
        return pool

    def close(self) -> None:
        """Close the idle connections now; urllib3 would leave that to the garbage collector."""
        super().close()
        for pool in list(self._pools):
            pool.close()

    def drop_idle(self) -> None:
        """Close the idle connections without taking a lock."""
        for pool in self._pools:
            if pool.pool is not None:
                cast(_Idle, pool.pool).drop_all()


def _translated(error: Exception) -> TransportError:
    """A new error in our words, on which nothing of the old one hangs."""
    match error:
        case TransportError():
            return TransportError(error.cause, error.detail)
        case requests.Timeout() | ReadTimeoutError():
            return TransportError("timeout")
        # Whatever fails before there is a connection is a TransportError already.
        case requests.ConnectionError() | requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
            return TransportError("reset", type(error).__name__)
        case ProtocolError():
            return TransportError("reset", "the answer was cut")
        # Both are OSErrors or ValueErrors as well, and come from a URL or a header that cannot be sent.
        case requests.RequestException() | HTTPError():
            return TransportError("error", type(error).__name__)
    found = failure(error, connected=True)
    return TransportError(found.cause, found.detail)
