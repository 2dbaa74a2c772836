"""Requests come in without a thread: one takes a thread when its header is whole.

gunicorn's threads read the header themselves, so that as many callers as there are threads, each with
half a header, would stop everybody. Here one thread awaits the headers of all; what comes too late is
closed, and so is what waits too long for a thread. Once a request has one, every wait for its caller
ends as well.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from apikey_guard.cli.caller import PIECE_BYTES, CallerSocket
from apikey_guard.cli.threads import Threads

logger = logging.getLogger("apikey_guard")

# More than any caller sends, and than most servers take.
_MOST_HEADER_BYTES: Final = 131_072
# As long as a caller may need to read an answer that came before all of its request was read.
_LINGER_SECONDS: Final = 2.0
# Health checks that wait for their thread.
_MOST_CHECKS: Final = 64
_BODY = re.compile(
    rb"\r\n(?:content-length[ \t]*:[ \t]*([0-9]{1,18})|transfer-encoding)[^\r]*(?=\r)", re.IGNORECASE
)

_BREAKS: Final = b"\r\n"
_END: Final = _BREAKS + _BREAKS
_REFUSAL: Final = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LATE: Final = _REFUSAL % b"408 Request Timeout"
_TOO_LARGE: Final = _REFUSAL % b"431 Request Header Fields Too Large"
_NO_THREAD: Final = _REFUSAL % b"503 Service Unavailable\r\nRetry-After: 1"


class Connection(Protocol):
    """gunicorn's record of a connection, as far as it is used here."""

    sock: CallerSocket
    parser: Any
    data_ready: bool


class _Awaited(NamedTuple):
    connection: Connection
    serve: Callable[[Any], Any]
    result: Future[Any]
    received: bytearray
    until: float


class Gate:
    """The threads of a worker, and before them the thread that awaits headers; as gunicorn's pool.

    :param threads: requests at once.
    :param patience: seconds for a header, and for a whole request to get a thread.
    :param health: the path whose requests have a thread of their own, or None.
    :param most_waiting: connections whose next request has not come whole, as many that linger, and as
        many whose request waits for a thread; beyond that the oldest is closed.
    """

    def __init__(self, threads: int, patience: float, *, health: str | None, most_waiting: int) -> None:
        self._patience = patience
        self._most_waiting = most_waiting
        self._health = (
            None
            if health is None
            else re.compile(rb"(?:GET|HEAD) " + re.escape(health.encode()) + rb"[ ?]").match
        )
        self._threads = Threads(threads, _serve, patience=patience, most_waiting=most_waiting)
        self._spare = Threads(1, _serve, patience=patience, most_waiting=_MOST_CHECKS)
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._poll.register(self._wake_read, select.POLLIN)
        self._coming: queue.SimpleQueue[tuple[_Awaited, int] | socket.socket] = queue.SimpleQueue()
        # By descriptor, in the order in which they come, which is that of their ends.
        self._awaited: dict[int, _Awaited] = {}
        self._lingering: dict[int, tuple[socket.socket, float]] = {}
        self._stop_at: float | None = None
        threading.Thread(target=self._run_or_end, name="gate", daemon=True).start()

    # -- what gunicorn calls -------------------------------------------------------------------

    def submit(self, serve: Callable[[Any], Any], connection: Connection) -> Future[Any]:
        """The result of ``serve(connection)``, which is called when a header is whole; cancelled where it
        never is.
        """
        result: Future[Any] = Future()
        received = bytearray(_held_by(connection))
        awaited = _Awaited(connection, serve, result, received, time.monotonic() + self._patience)
        # Mostly it is there already.
        events = self._advance(awaited)
        if events:
            self._coming.put((awaited, events))
            self._wake()
        return result

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002 - gunicorn never wants that
        """Take no more requests."""
        self._threads.close()
        self._spare.close()

    # -- what our worker calls -----------------------------------------------------------------

    def linger(self, sock: socket.socket) -> None:
        """Read a connection that is closed on our side until its caller has seen that."""
        self._coming.put(sock)
        self._wake()

    def stop_soon(self) -> None:
        """Give what has not come as long as a request may be under way; safe in a signal handler."""
        self._stop_at = time.monotonic() + _LINGER_SECONDS
        self._wake()

    # -- headers -------------------------------------------------------------------------------

    def _advance(self, awaited: _Awaited) -> int:
        """Read what is there.

        :returns: the events to wait for, 0 where there is nothing more to wait for.
        """
        sock, received = awaited.connection.sock, awaited.received
        searched = 0
        while True:
            # Line breaks before a request line mean nothing (RFC 9112, section 2.2), but they count.
            begun = len(received) - len(received.lstrip(_BREAKS))
            if received.find(_END, max(begun, searched)) >= 0:
                break
            if len(received) > _MOST_HEADER_BYTES:
                sock.say(_TOO_LARGE)
                _give_up(awaited)
                return 0
            searched = max(len(received) - 3, 0)
            piece = sock.read_ahead()
            if piece is None:
                return select.POLLIN
            if not piece:
                _give_up(awaited)
                return 0
            received += piece
        # Who does not read the answers to what he sent before would hold a thread with the next one.
        if not sock.takes_answers:
            return select.POLLOUT
        self._begin(awaited)
        return 0

    def _begin(self, awaited: _Awaited) -> None:
        connection, data = awaited.connection, bytes(awaited.received.lstrip(_BREAKS))
        head = data[: data.find(_END) + len(_END)]
        framing = [match[1] for match in _BODY.finditer(head)]
        sock = connection.sock
        sock.ahead = data
        sock.linger = self.linger
        sock.owed = 0
        if framing:
            length = int(framing[0]) if framing[0] is not None else None
            sock.owed = -1 if length is None else max(length - (len(data) - len(head)), 0)
        connection.data_ready = True
        healthy = self._health is not None and not framing and self._health(data) is not None
        threads = self._spare if healthy else self._threads
        if not threads.put(awaited):
            sock.say(_NO_THREAD)
            _give_up(awaited)
        elif threads.next_end() is not None:
            self._wake()

    # -- the thread ----------------------------------------------------------------------------

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is awake
            os.write(self._wake_write, b"x")

    def _run_or_end(self) -> None:
        try:
            self._run()
        except Exception:
            # Nobody would be let in any more. gunicorn starts another process in the place of this one.
            logger.exception("the thread that awaits requests has failed")
            os._exit(1)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll(self._milliseconds()):
                if descriptor == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(descriptor, 4_096)
                    self._take_in()
                elif descriptor in self._awaited:
                    events = self._advance(self._awaited[descriptor])
                    if events:
                        self._poll.modify(descriptor, events)
                    else:
                        self._forget(descriptor)
                elif descriptor in self._lingering and not _discard(self._lingering[descriptor][0]):
                    self._end_lingering(descriptor)
            self._end_what_is_late()

    def _take_in(self) -> None:
        while True:
            try:
                coming = self._coming.get(block=False)
            except queue.Empty:
                return
            if isinstance(coming, socket.socket):
                with suppress(OSError):
                    coming.shutdown(socket.SHUT_WR)
                self._lingering[coming.fileno()] = (coming, time.monotonic() + _LINGER_SECONDS)
                self._poll.register(coming, select.POLLIN)
                if len(self._lingering) > self._most_waiting:
                    self._end_lingering(next(iter(self._lingering)))
                continue
            awaited, events = coming
            descriptor = awaited.connection.sock.fileno()
            if descriptor < 0:
                _give_up(awaited)
                continue
            self._awaited[descriptor] = awaited
            self._poll.register(descriptor, events)
            if len(self._awaited) > self._most_waiting:
                self._end_awaiting(next(iter(self._awaited)))

    def _milliseconds(self) -> int | None:
        ends = [end for _, end in list(self._lingering.values())[:1]]
        ends += [awaited.until for awaited in list(self._awaited.values())[:1]]
        ends += [end for each in (self._threads, self._spare) if (end := each.next_end()) is not None]
        if self._stop_at is not None and self._awaited:
            ends.append(self._stop_at)
        return max(int((min(ends) - time.monotonic()) * 1000) + 1, 0) if ends else None

    def _end_what_is_late(self) -> None:
        now = time.monotonic()
        while self._lingering:
            descriptor, (_, end) = next(iter(self._lingering.items()))
            if end > now:
                break
            self._end_lingering(descriptor)
        while self._awaited:
            descriptor, awaited = next(iter(self._awaited.items()))
            if awaited.until > now and (self._stop_at is None or self._stop_at > now):
                break
            self._end_awaiting(descriptor)
        for awaited in (*self._threads.take_late(now), *self._spare.take_late(now)):
            awaited.connection.sock.say(_NO_THREAD)
            _give_up(awaited)

    def _end_awaiting(self, descriptor: int) -> None:
        awaited = self._awaited[descriptor]
        self._forget(descriptor)
        if awaited.received.strip(_BREAKS):
            awaited.connection.sock.say(_TOO_LATE)
        _give_up(awaited)

    def _forget(self, descriptor: int) -> None:
        # Its socket may be closed by now, and another thread may have begun to serve it.
        del self._awaited[descriptor]
        with suppress(KeyError):
            self._poll.unregister(descriptor)

    def _end_lingering(self, descriptor: int) -> None:
        sock, _ = self._lingering.pop(descriptor)
        self._poll.unregister(descriptor)
        sock.close()


def _held_by(connection: Connection) -> bytes:
    """What gunicorn has read of the next request behind the last one."""
    unreader = getattr(connection.parser, "unreader", None)
    return bytes(unreader.read()) if unreader is not None and unreader.buf.getvalue() else b""


def _give_up(awaited: _Awaited) -> None:
    """Gunicorn closes a connection whose result is cancelled."""
    awaited.result.cancel()
    awaited.result.set_running_or_notify_cancel()


def _serve(awaited: _Awaited) -> None:
    if not awaited.result.set_running_or_notify_cancel():
        return
    try:
        served = awaited.serve(awaited.connection)
    except BaseException as error:  # noqa: BLE001 - gunicorn's to see, as with its own pool
        awaited.result.set_exception(error)
    else:
        awaited.result.set_result(served)


def _discard(sock: socket.socket) -> bool:
    """Read what is there; whether more may come."""
    try:
        return bool(sock.recv(PIECE_BYTES, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
