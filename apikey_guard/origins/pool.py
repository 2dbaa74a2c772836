"""The connections to one target: so many at once, the idle ones kept for the next request."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import Final, TypeAlias

from apikey_guard.errors import OriginBusy
from apikey_guard.origins.connection import Connection

# Most servers keep an idle connection for a minute or less; one that they closed is noticed, too.
_MAX_IDLE_SECONDS: Final = 50.0
# A target that moves to another address is followed after this many seconds.
_MAX_AGE_SECONDS: Final = 300.0

# Takes what is handed to one that waits: a connection, or None for a place.
_Hand: TypeAlias = "queue.SimpleQueue[Connection | None]"


class Pool:
    """Hands out connections; safe to use from many threads at once.

    :param most: connections at once, in use and idle together.
    :param patience: seconds that a request waits for a free place.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._free = most
        self._patience = patience
        self._idle: deque[Connection] = deque()
        # Who waits, in order. Nobody does while there is an idle connection or a free place.
        self._waiting: deque[_Hand] = deque()
        self._lock = threading.Lock()
        self._closed = False
        # For an app that is thrown away without being closed, as those of tests are.
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Connection | None:
        """An idle connection that is still of use, or None: there is a place for a new one.

        Whatever is returned has to be given back, or its place let go.

        :raises OriginBusy: no place became free in time.
        """
        while True:
            connection = self._take()
            if connection is None:
                return None
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

    def _take(self) -> Connection | None:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._free:
                self._free -= 1
                return None
            hand: _Hand = queue.SimpleQueue()
            self._waiting.append(hand)
        try:
            return hand.get(timeout=self._patience)
        except queue.Empty:
            if self._gives_up(hand):
                raise OriginBusy("busy", "as many connections as it may have are in use") from None
            return hand.get()
        except BaseException:
            if not self._gives_up(hand):
                with suppress(queue.Empty):
                    self._hand_on(hand.get(block=False))
            raise

    def _gives_up(self, hand: _Hand) -> bool:
        """Whether one that waited goes with nothing; else something was handed over just now."""
        with self._lock:
            if hand not in self._waiting:
                return False
            self._waiting.remove(hand)
            return True

    def _hand_on(self, connection: Connection | None) -> None:
        if connection is None:
            self.let_go()
        else:
            self.give_back(connection)

    def give_back(self, connection: Connection) -> None:
        """Hand a connection whose answer was read to its end to who has waited longest, or keep it."""
        connection.idle_since = time.monotonic()
        with self._lock:
            if not self._closed:
                if self._waiting:
                    self._waiting.popleft().put(connection)
                else:
                    self._idle.append(connection)
                return
        connection.close()
        self.let_go()

    def let_go(self) -> None:
        """A place is free: its connection is closed, or was never made."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(None)
            else:
                self._free += 1

    def close(self) -> None:
        """Close what is idle now, and everything else when it is given back."""
        with self._lock:
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
