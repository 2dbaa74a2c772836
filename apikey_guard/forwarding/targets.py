"""An origin over HTTP/1.1: its targets in turn, their health, and the exchange itself."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Final

from apikey_guard.clock import Clock
from apikey_guard.errors import OriginBusy, OriginError, OriginFailed, OriginTimeout, TransportError
from apikey_guard.forwarding import OriginAnswer, OriginBody, OriginRequest
from apikey_guard.forwarding.spec import OriginTarget
from apikey_guard.http1.body import BodyInChunks, BodyOfLength, BodyToTheEnd
from apikey_guard.http1.connection import Connection, Stale
from apikey_guard.http1.dial import EXHAUSTED, connect, counting_down, secured
from apikey_guard.http1.parser import Head, is_bodiless
from apikey_guard.http1.pool import Pool

if TYPE_CHECKING:
    from apikey_guard.http1.tls import TlsFiles

logger = logging.getLogger("apikey_guard")

# As nginx: long enough to spare a target that is down, short enough to notice that it is back.
REST_SECONDS: Final = 10.0
# One slow answer says little about a target; several in a row do.
_FAILURES_TO_REST: Final = 3
# Sent again on a fresh connection if a kept one turns out to be dead (RFC 9110, section 9.2.1: safe).
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Unreachable(OriginError):
    """No connection could be made: nothing was sent, so another target may be tried."""

    def __init__(self, error: TransportError) -> None:
        self.timed_out = error.cause == "timeout"
        super().__init__(error.cause, error.detail)


class Bounds:
    """What exchanges with one origin may take.

    :param connect_timeout: seconds for a connection, and for a free slot in the pool.
    :param read_timeout: seconds to the end of a header, then between two pieces of a body.
    :param idle_timeout: seconds for which an unused connection is kept; 0 keeps none.
    :param max_connections: to one target at once.
    :param ca: file or directory of authorities, instead of the usual ones.
    :param monotonic: the clock by which that is looked at again.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        read_timeout: float,
        idle_timeout: float,
        max_connections: int,
        ca: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.idle_timeout = idle_timeout
        self.max_connections = max_connections
        self._ca = ca
        self._monotonic = monotonic
        self._tls: TlsFiles | None = None

    def context(self) -> ssl.SSLContext:
        """The context of now for TLS. Two threads may both make the first one."""
        if self._tls is None:
            # Imported here: whoever forwards to plain http alone needs none of it.
            from apikey_guard.http1.tls import TlsFiles

            self._tls = TlsFiles(self._ca, monotonic=self._monotonic)
        return self._tls.context()


class HttpTarget:
    """One target: its connections and its health.

    :param target: where it is.
    :param bounds: of the origin.
    :param clock: for the time that it rests.
    """

    def __init__(self, target: OriginTarget, bounds: Bounds, clock: Clock) -> None:
        self._target = target
        self._bounds = bounds
        self._monotonic = clock.monotonic
        self._pool = Pool(
            bounds.max_connections,
            bounds.connect_timeout,
            idle_timeout=bounds.idle_timeout,
            monotonic=clock.monotonic,
        )
        self._host = target.authority
        self._start = target.path.encode("ascii")
        self._failures = 0
        self.rests_until = 0.0

    def send(self, request: OriginRequest) -> OriginAnswer:
        """The answer of this target.

        :raises Unreachable: nothing was sent.
        :raises OriginError: there is no answer.
        """
        connection = self._pool.take() or self._connected()
        try:
            return self._exchange(connection, request)
        except Stale:
            if request.method not in _REPEATABLE or request.body is not None:
                raise OriginFailed("reset", "closed before its answer was complete") from None
        # On a slot of its own: that of the dead connection is free again.
        kept = self._pool.take()
        if kept is not None:
            kept.close()
        return self._exchange(self._connected(), request)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def abandon(self) -> None:
        """Let go of inherited connections in a forked child."""
        self._pool.abandon()

    def _connected(self) -> Connection:
        """A new connection, on a slot that was taken for it."""
        try:
            made_at = self._monotonic()
            connection = Connection(self._connect(), self._bounds.read_timeout, made_at=made_at)
        except TransportError as error:
            self._pool.let_go()
            if error.cause == EXHAUSTED:
                # The target has done nothing, and another one could not be connected to either.
                raise OriginBusy(error.cause, error.detail) from None
            self._failed(error, at_once=True)
            raise Unreachable(error) from None
        except BaseException:
            self._pool.let_go()
            raise
        return connection

    def _connect(self) -> socket.socket:
        target, bounds = self._target, self._bounds
        context = None if target.scheme == "http" else bounds.context()
        sock = connect(target.host, target.port, counting_down(bounds.connect_timeout))
        return sock if context is None else secured(sock, context, target.host)

    def _exchange(self, connection: Connection, request: OriginRequest) -> OriginAnswer:
        try:
            connection.watch(request.caller)
            whole = self._write(connection, request)
            head = connection.read_head()
        except OriginError as error:
            self._let_go(connection)
            if not isinstance(error, Stale):
                self._failed(error, at_once=False)
            raise
        except BaseException:
            self._let_go(connection)
            raise
        if self._failures or self.rests_until:
            self._failures, self.rests_until = 0, 0.0
        return self._answer(connection, request.method, head, whole=whole)

    def _write(self, connection: Connection, request: OriginRequest) -> bool:
        """Send the request; False where the origin answered before it had all of it."""
        line = f"{request.method} ".encode("ascii") + self._start
        data = b"".join(
            (
                line,
                (request.path + request.query).encode("latin-1"),
                b" HTTP/1.1\r\nHost: ",
                (request.host or self._host).encode("ascii"),
                b"\r\n",
                request.headers,
                b"\r\n",
            )
        )
        if request.body is None:
            return connection.write(data)
        # The first piece goes out with the header: one segment for a small request.
        first = next(request.body, b"")
        if not connection.write(data + first):
            return False
        for piece in request.body:
            if connection.answers_already() or not connection.write(piece):
                return False
        return True

    def _answer(self, connection: Connection, method: str, head: Head, *, whole: bool) -> OriginAnswer:
        status, headers = head.status, head.headers
        reusable = head.persistent and whole
        connection.keep_alive = head.keep_alive
        body: Iterable[bytes] | OriginBody = ()
        if is_bodiless(method, status):
            # An origin that sends a body all the same may send it late, when the next caller waits for
            # its own answer; so a connection is kept only where nothing was announced (threat X-11).
            announced = method == "HEAD" or head.chunked or head.length
            self._release(connection, reusable and not announced)
        elif status == 205:
            # RFC 9110, section 15.3.6: it has no content; what an origin sends all the same is left unread.
            if head.length != 0:
                headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            self._release(connection, reusable and head.length == 0)
        elif head.chunked:
            body = BodyInChunks(connection, reusable, self._release)
        elif head.length is None:
            body = BodyToTheEnd(connection, False, self._release)
        else:
            body = self._of_length(connection, reusable, head.length)
        return OriginAnswer(status, head.reason, headers, body)

    def _of_length(self, connection: Connection, reusable: bool, length: int) -> Iterable[bytes] | OriginBody:
        if connection.received_bytes < length:
            return BodyOfLength(connection, reusable, self._release, length=length)
        # It came with its header: the connection is free at once.
        body = connection.take_received()
        self._release(connection, reusable and len(body) == length)
        return (body[:length],)

    def _release(self, connection: Connection, reusable: bool) -> None:
        # Bytes beyond the end of an answer belong to nobody: whoever sends them is out of step.
        if reusable and not connection.has_surplus:
            connection.watch(None)
            self._pool.give_back(connection)
        else:
            self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        connection.close()
        self._pool.let_go()

    def _failed(self, why: Exception, *, at_once: bool) -> None:
        self._failures += 1
        if at_once or self._failures >= _FAILURES_TO_REST:
            if not self.rests_until:
                logger.warning("the origin's target %s fails (%s): it rests", self._target, why)
            self.rests_until = self._monotonic() + REST_SECONDS


class HttpOrigin:
    """One or several targets, of which the next healthy one is taken.

    :param targets: at least one.
    :param bounds: of each of them.
    :param clock: for the time that a failing one rests.
    """

    def __init__(self, targets: Iterable[OriginTarget], bounds: Bounds, clock: Clock) -> None:
        self._targets = [HttpTarget(target, bounds, clock) for target in targets]
        self._monotonic = clock.monotonic
        self._turn = count().__next__

    def send(self, request: OriginRequest) -> OriginAnswer:
        """As :meth:`apikey_guard.forwarding.OriginClient.send` says."""
        unreachable: Unreachable | None = None
        for target in self._in_turn():
            try:
                return target.send(request)
            except Unreachable as error:
                # Nothing was sent, so the next one may have it, whatever its method.
                unreachable = error
        if unreachable is None:
            raise AssertionError("an origin without a target")
        kind = OriginTimeout if unreachable.timed_out else OriginFailed
        raise kind(unreachable.cause, unreachable.detail)

    def close(self) -> None:
        """Close what is idle."""
        for target in self._targets:
            target.close()

    def abandon(self) -> None:
        """As :meth:`apikey_guard.forwarding.OriginClient.abandon` says."""
        for target in self._targets:
            target.abandon()

    def _in_turn(self) -> Iterator[HttpTarget]:
        """The targets in the order in which they are to be tried."""
        targets = self._targets
        if len(targets) == 1:
            return iter(targets)
        first = self._turn() % len(targets)
        return self._healthy_first([*targets[first:], *targets[:first]])

    def _healthy_first(self, targets: list[HttpTarget]) -> Iterator[HttpTarget]:
        now = self._monotonic()
        resting = []
        for target in targets:
            if now < target.rests_until:
                resting.append(target)
                continue
            if target.rests_until:
                # Its rest is over: this request probes it, and the others still go elsewhere.
                target.rests_until = now + REST_SECONDS
            yield target
        # Nobody else is left: the one whose rest ends first may be back already.
        yield from sorted(resting, key=lambda target: target.rests_until)
