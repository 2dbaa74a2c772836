"""One connection to a server: bytes go out, answers come in, and no wait is without an end.

The socket never blocks; every wait is a ``poll`` in which the caller's own connection is watched as
well, so that a caller who leaves is noticed even while the origin is silent.
"""

from __future__ import annotations

import math
import re
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from apikey_guard.errors import CallerGone, OriginFailed, OriginTimeout
from apikey_guard.http1.dial import PIECE_BYTES
from apikey_guard.http1.parser import MAX_HEAD_BYTES, Head, Malformed, parse_head

if TYPE_CHECKING:
    from apikey_guard.http1.tls_within import TlsWithin

# As many as any server sends, and then some; beyond that it is broken.
_MAX_INTERIM_ANSWERS: Final = 8
_BARE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")
_START: Final = b"HTTP/1."
# 100 Continue and its like, known or not; 101 ends the exchange as a final answer would.
_is_interim = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}").match
_STATUS_BYTES: Final = len(b"HTTP/1.1 200")
# The caller has closed at least its sending side, what nginx takes for a caller that left, too; or its
# connection was closed here.
_LEAVES: Final = getattr(select, "POLLRDHUP", 0)
_GONE: Final = _LEAVES | select.POLLHUP | select.POLLERR | select.POLLNVAL
_WANTS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stale(OriginFailed):
    """A connection that was used before turned out to be dead before any byte of this answer."""

    def __init__(self) -> None:
        super().__init__("reset", "an idle connection was closed by the other side")


class Connection:
    """A connected socket and what was read from it beyond the last answer.

    :param sock: connected, its handshake done.
    :param read_timeout: seconds of each wait; without, its deadline alone ends one.
    :param made_at: when it was made, by the clock of its pool; it never gets old by itself without.
    :ivar used: whether it has brought an answer before.
    :ivar keep_alive: seconds for which the origin said that it keeps it while it is idle, or None.
    :ivar deadline: when every wait ends at the latest, by ``time.monotonic``.
    :ivar usable_until: when it is idle: up to when it may be used again, by the clock of its pool.
    """

    def __init__(
        self, sock: socket.socket | TlsWithin, read_timeout: float = math.inf, *, made_at: float = math.inf
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        # TLS may hold decrypted bytes, which no poll shows.
        self._pending: Callable[[], int] = getattr(sock, "pending", int)
        self._descriptor = sock.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._read_timeout = read_timeout
        self._caller: int | None = None
        self._received = b""
        # Read into and copied out of: sockets that allocate 64 KiB and give most of it back leave a
        # heap full of holes behind, which under load grows by MiB for every caller.
        self._buffer = bytearray(PIECE_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = False
        self._heard = False
        self.used = False
        self.made_at = self.usable_until = made_at
        self.keep_alive: int | None = None
        self.deadline = math.inf

    # -- between requests ----------------------------------------------------------------------

    @property
    def descriptor(self) -> int:
        """Of its socket, for whoever polls several of them at once."""
        return self._descriptor

    @property
    def is_clean(self) -> bool:
        """Whether another request may go out: nothing to read, neither surplus bytes nor an end."""
        return not self._poll.poll(0)

    def watch(self, caller: int | None) -> None:
        """Watch a caller's connection too, or (None) no more."""
        if self._caller is not None:
            self._poll.unregister(self._caller)
        self._caller = caller
        if caller is not None:
            self._poll.register(caller, _LEAVES)
        self._heard = False

    def close(self) -> None:
        """Close it at once, whatever is under way."""
        self._sock.close()

    # -- out -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Send bytes.

        :returns: False where the origin has answered, so that there is no use in sending more.
        :raises OriginFailed: the connection is broken, and no answer came first.
        :raises OriginTimeout: nothing was taken for as long as an answer may take.
        """
        try:
            sent = self._sock.send(data)
        except _WANTS:
            sent = 0
        except OSError:
            return self._broken()
        return sent == len(data) or self._write_rest(memoryview(data)[sent:])

    def answers_already(self) -> bool:
        """Whether a final answer has begun to come while the request is still being sent."""
        return bool(self._poll.poll(0)) and self._hears_answer()

    def _write_rest(self, data: memoryview) -> bool:
        poll = self._poll
        poll.modify(self._descriptor, select.POLLIN | select.POLLOUT)
        try:
            until = time.monotonic() + self._read_timeout
            while data:
                events = self._wait(until)
                if events & select.POLLIN and self._hears_answer():
                    return False
                try:
                    data = data[self._sock.send(data) :]
                except _WANTS:
                    continue
                except OSError:
                    return self._broken()
                until = time.monotonic() + self._read_timeout
        finally:
            poll.modify(self._descriptor, select.POLLIN)
        return True

    def _hears_answer(self) -> bool:
        """Take in what can be read; whether it is more than interim answers."""
        try:
            piece = self._read()
        except _WANTS:
            return False  # a message of TLS itself
        except OSError:
            piece = b""
        if not piece:
            raise self._dead()
        self._heard = True
        self._received += piece
        return self._final_has_begun()

    def _broken(self) -> bool:
        # An origin may answer and close before it has read everything: the answer counts.
        while not self._received:
            if not self._hears_answer():
                raise self._dead()
        return False

    def _dead(self) -> OriginFailed:
        if self.used and not self._heard:
            return Stale()
        return OriginFailed("reset", "closed before its answer was complete")

    # -- in ------------------------------------------------------------------------------------

    def read_head(self) -> Head:
        """The header of the final answer; interim ones are read past (RFC 9110, section 15.2).

        :raises OriginFailed: there is none that can be relied on.
        :raises OriginTimeout: it was not complete in time.
        """
        until: float | None = None
        interim = 0
        data, self._received = self._received, b""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end <= MAX_HEAD_BYTES:
                head = _parsed(data[:end])
                if head.status >= 200:
                    self._received = data[end:]
                    self.used = True
                    return head
                data = data[end:]
                interim += 1
                if head.status == 101 or interim > _MAX_INTERIM_ANSWERS:
                    raise OriginFailed("interim", f"status {head.status}, unasked or too often")
                continue
            begins = data.startswith(_START) or _START.startswith(data[:7])
            # A line that ends otherwise is no header's, and the end that is waited for may never come.
            if len(data) > MAX_HEAD_BYTES or not begins or _BARE_LINE_FEED.search(data):
                raise OriginFailed("content", "not the header of an HTTP/1.1 answer")
            until = until or time.monotonic() + self._read_timeout
            piece = self.receive(until)
            if not piece:
                raise self._dead() if not data else OriginFailed("reset", "closed within a header")
            data += piece

    def take_received(self) -> bytes:
        """What has been read beyond the header."""
        data, self._received = self._received, b""
        return data

    def receive(self, until: float | None = None) -> bytes:
        """The next bytes; b"" where the origin has closed.

        :param until: when to stop waiting, by ``time.monotonic``; None is after the read timeout.
        :raises OriginTimeout: nothing came.
        :raises OriginFailed: the connection is broken.
        """
        until = until or time.monotonic() + self._read_timeout
        while True:
            # A full buffer means that more is there already.
            if self._filled:
                self._filled = False
            elif not self._pending():
                self._wait(until)
            try:
                data = self._read()
            except _WANTS:
                continue
            except OSError:
                raise self._dead() from None
            if data:
                self._heard = True
            return data

    def _read(self) -> bytes:
        count = self._sock.recv_into(self._buffer)
        self._filled = count == PIECE_BYTES
        return bytes(self._view[:count])

    @property
    def received_bytes(self) -> int:
        """How much has been read beyond the header."""
        return len(self._received)

    @property
    def has_surplus(self) -> bool:
        """Whether more has come than was asked for; decrypted bytes that nobody read count too."""
        return bool(self._received) or self._pending() > 0

    def _final_has_begun(self) -> bool:
        """Whether what was read is more than interim answers, which are dropped."""
        while _is_interim(self._received):
            end = self._received.find(b"\r\n\r\n") + 4
            if end < 4:
                # One without an end counts as final: it will be refused, not taken in for ever.
                return len(self._received) > MAX_HEAD_BYTES
            _parsed(self._received[:end])
            self._received = self._received[end:]
        return len(self._received) >= _STATUS_BYTES

    def _wait(self, until: float) -> int:
        """What happened on the origin's side.

        :param until: by ``time.monotonic``; whatever happens later comes too late.

        :raises CallerGone: the caller has left.
        :raises OriginTimeout: nothing happened.
        """
        seconds = min(until, self.deadline) - time.monotonic()
        events = self._poll.poll(math.ceil(seconds * 1000)) if seconds > 0 else None
        if not events:
            raise OriginTimeout("timeout", "nothing came in time")
        happened = 0
        for descriptor, event in events:
            if descriptor == self._descriptor:
                happened = event
            elif event & _GONE:
                raise CallerGone
        return happened


def _parsed(block: bytes) -> Head:
    try:
        return parse_head(block)
    except Malformed as error:
        raise OriginFailed("content", str(error)) from None
