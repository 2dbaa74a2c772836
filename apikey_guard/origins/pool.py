"""The connections to one target: so many at once, the idle ones kept for the next request."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import Final

from apikey_guard.errors import OriginBusy
from apikey_guard.origins.connection import Connection

# Most servers keep an idle connection for a minute or less; one that they closed is noticed, too.
_MAX_IDLE_SECONDS: Final = 50.0
# A target that moves to another address is followed after this many seconds.
_MAX_AGE_SECONDS: Final = 300.0


class Pool:
    """Hands out connections; safe to use from many threads at once.

    :param most: connections at once, in use and idle together.
    :param patience: seconds that a request waits for a free place.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._free = most
        self._patience = patience
        self._idle: deque[Connection] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._waiting = 0
        self._closed = False
        # For an app that is thrown away without being closed, as those of tests are.
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Connection | None:
        """An idle connection that is still of use, or None: there is a place for a new one.

        Whatever is returned has to be given back, or its place let go.

        :raises OriginBusy: no place became free in time.
        """
        condition = self._condition
        while True:
            with condition:
                if not self._idle and not self._free:
                    self._wait()
                if not self._idle:
                    self._free -= 1
                    return None
                connection = self._idle.pop()
            now = time.monotonic()
            usable = False
            try:
                usable = (
                    now - connection.idle_since < _MAX_IDLE_SECONDS
                    and now - connection.made_at < _MAX_AGE_SECONDS
                    and connection.is_clean
                )
            finally:
                # Also where gevent ends the request in here.
                if not usable:
                    connection.close()
                    self.let_go()
            if usable:
                return connection

    def _wait(self) -> None:
        self._waiting += 1
        try:
            if not self._condition.wait_for(lambda: self._free or self._idle, self._patience):
                raise OriginBusy("busy", "as many connections as it may have are in use")
        finally:
            self._waiting -= 1

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, or hand it to who waits for one."""
        connection.idle_since = time.monotonic()
        with self._condition:
            if not self._closed:
                self._idle.append(connection)
                if self._waiting:
                    self._condition.notify()
                return
        connection.close()
        self.let_go()

    def let_go(self) -> None:
        """A place is free: its connection is closed, or was never made."""
        with self._condition:
            self._free += 1
            if self._waiting:
                self._condition.notify()

    def close(self) -> None:
        """Close what is idle now, and everything else when it is given back."""
        with self._condition:
            self._closed = True
            idle = list(self._idle)
            self._idle.clear()
        for connection in idle:
            connection.close()
            self.let_go()

    def abandon(self) -> None:
        """Close what is idle without taking the lock."""
        _close_all(self._idle)


def _close_all(connections: deque[Connection]) -> None:
    with suppress(IndexError):  # there is no more; another thread may have taken the last one
        while True:
            connections.pop().close()
