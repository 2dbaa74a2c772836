"""A caller's connection, as a server's worker sees it."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

PIECE_BYTES: Final = 65_536


class CallerSocket(socket.socket):
    """A caller's connection on which no wait is without an end.

    :ivar patience: seconds of each wait where gunicorn asks for a blocking socket.
    :ivar ahead: what was read already and is read again first.
    :ivar owed: bytes of a request's body that have not come; -1 where nobody knows.
    :ivar impatient: whether what is not there is not waited for at all.
    :ivar linger: takes the connection over where an answer went out before its request was read.
    """

    patience: float | None = None
    ahead = b""
    owed = 0
    impatient = False
    linger: Callable[[socket.socket], None] | None = None
    _leaves = False

    @classmethod
    def of(cls, sock: socket.socket, *, patience: float) -> CallerSocket:
        """The same connection; the socket that was given is of no use afterwards."""
        made = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made.patience = patience
        return made

    def setblocking(self, flag: bool) -> None:
        super().settimeout(self.patience if flag else 0.0)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.ahead:
            data, self.ahead = self.ahead[:size], self.ahead[size:]
            return data
        if self._leaves:
            return b""
        try:
            # Python waits for a socket with a time-out whatever the flags say; its descriptor never blocks.
            data = os.read(self.fileno(), size) if self.impatient else super().recv(size, flags)
        except TimeoutError:
            raise _stalls() from None
        if self.owed > 0:
            self.owed = max(self.owed - len(data), 0)
        return data

    @property
    def takes_answers(self) -> bool:
        """Whether what is sent goes out, or into a buffer with room; not where nobody reads what is in it."""
        out = select.poll()
        out.register(self, select.POLLOUT)
        return bool(out.poll(0))

    def read_ahead(self) -> bytes | None:
        """What is there, None where nothing is, b"" at the end."""
        try:
            return os.read(self.fileno(), PIECE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def sendall(self, data: Any, flags: int = 0) -> None:
        # The time-out of the standard library's own is for all of the data, however slowly it goes.
        view = memoryview(data)
        while view:
            try:
                view = view[self._send_some(view, flags) :]
            except TimeoutError:
                raise _stalls() from None

    def _send_some(self, view: memoryview, flags: int) -> int:
        try:
            # The standard library waits until there is much room, and a small answer needs little.
            return os.write(self.fileno(), view)
        except BlockingIOError:
            return self.send(view, flags)

    def say(self, data: bytes) -> None:
        """Send a few bytes if they can be sent at once; whether they arrive is no matter."""
        with suppress(OSError):
            os.write(self.fileno(), data)

    def shutdown(self, how: int) -> None:
        super().shutdown(how)
        # gunicorn would wait for the caller to leave in the thread that serves all the others.
        self._leaves = True

    def close(self) -> None:
        # Closed with unread bytes, a connection is reset, and the answer may be lost on its way.
        if self.linger is not None and self.fileno() >= 0 and (self.owed or self.read_ahead()):
            with suppress(OSError):
                self.linger(socket.socket(fileno=os.dup(self.fileno())))
        super().close()


def _stalls() -> ConnectionResetError:
    # The kind that gunicorn takes for a caller that left, about whom there is nothing to log.
    return ConnectionResetError(errno.ECONNRESET, "the caller stalls")
