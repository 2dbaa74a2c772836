"""The connections to one target: so many at once, the idle ones kept for the next request."""

from __future__ import annotations

import math
import queue
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

from apikey_guard.errors import OriginBusy
from apikey_guard.http1.connection import Connection

# What an origin says of its own patience is less by the way of a request to it and back: a second, and
# half of it where there is less than two.
_MARGIN_SECONDS: Final = 1.0

# Takes what is handed to one that waits: a connection, or None for a slot.
_Hand: TypeAlias = "queue.SimpleQueue[Connection | None]"


class Pool:
    """Hands out connections; safe to use from many threads at once.

    :param most: connections at once, in use and idle together.
    :param patience: seconds that a request waits for a free slot.
    :param most_idle: connections that are kept while they are idle.
    :param idle_timeout: seconds for which an unused connection is kept; 0 keeps none.
    :param max_age: seconds after which a connection is not used again, so that a target that moves to
        another address is followed.
    :param monotonic: the clock that ages are counted by.
    """

    def __init__(
        self,
        most: int,
        patience: float,
        *,
        most_idle: float = math.inf,
        idle_timeout: float = 4.0,
        max_age: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = most
        self._patience = patience
        self._most_idle = most_idle
        self._idle_timeout = idle_timeout
        self._max_age = max_age
        self._monotonic = monotonic
        # Who was used last comes last, and is used next.
        self._idle: deque[Connection] = deque()
        # Every idle one is registered here: one call finds all that the other side has closed.
        self._poll = select.poll()
        # Who waits, in order. Nobody does while there is an idle connection or a free slot.
        self._waiting: deque[_Hand] = deque()
        self._lock = threading.Lock()
        self._closed = False
        # For an app that is thrown away without being closed, as those of tests are.
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Connection | None:
        """An idle connection that is still of use, or None: there is a slot for a new one.

        Whatever is returned has to be given back, or its slot let go.

        :raises OriginBusy: no slot became free in time.
        """
        while True:
            connection = self._take()
            if connection is None:
                return None
            usable = False
            try:
                usable = self._monotonic() < connection.usable_until and connection.is_clean
            finally:
                # Also where gevent ends the request in here.
                if not usable:
                    connection.close()
                    self.let_go()
            if usable:
                return connection

    def _take(self) -> Connection | None:
        with self._lock:
            # A single one is about to be used, and looked at then.
            if len(self._idle) > 1:
                self._drop_dead()
            if self._idle:
                connection = self._idle.pop()
                self._poll.unregister(connection.descriptor)
                return connection
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

    def _drop_dead(self) -> None:
        """Close all idle ones that are too old or that the other side has closed; the lock is held."""
        now = self._monotonic()
        closed = {descriptor for descriptor, _ in self._poll.poll(0)}
        dead = [each for each in self._idle if each.descriptor in closed or now >= each.usable_until]
        for connection in dead:
            self._idle.remove(connection)
            self._poll.unregister(connection.descriptor)
            connection.close()
            self._free += 1

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
        now = self._monotonic()
        connection.usable_until = until = min(
            now + self._patience_of(connection), connection.made_at + self._max_age
        )
        if now < until:
            with self._lock:
                if not self._closed:
                    if self._waiting:
                        self._waiting.popleft().put(connection)
                        return
                    if len(self._idle) < self._most_idle:
                        self._poll.register(connection.descriptor, select.POLLIN)
                        self._idle.append(connection)
                        return
        connection.close()
        self.let_go()

    def _patience_of(self, connection: Connection) -> float:
        """Seconds for which a connection may lie idle."""
        told = connection.keep_alive
        return (
            self._idle_timeout
            if told is None
            else min(self._idle_timeout, told - min(_MARGIN_SECONDS, told / 2))
        )

    def let_go(self) -> None:
        """A slot is free: its connection is closed, or was never made."""
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
                self._poll.unregister(connection.descriptor)
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
