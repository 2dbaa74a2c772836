"""The threads that serve requests, and the requests that wait for one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")


class Threads(Generic[W]):
    """So many are served at once; others wait, so long and so many at most.

    :param count: how many threads there are at most; they are made as they are needed.
    :param serve: serves one; raises nothing.
    :param patience: seconds for which one waits for a thread.
    :param most_waiting: how many may wait.
    """

    def __init__(self, count: int, serve: Callable[[W], None], *, patience: float, most_waiting: int) -> None:
        self._count = count
        self._serve = serve
        self._patience = patience
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        # What a thread is about to take; what waits for one has the end of its wait beside it.
        self._ready: deque[W] = deque()
        self._waiting: deque[tuple[W, float]] = deque()
        self._made = self._busy = 0
        self._closed = False

    def put(self, waiter: W) -> bool:
        """Have it served, as soon as a thread is free; False where none ever will be."""
        with self._changed:
            if self._closed:
                return False
            if self._busy < self._count and self._has_one_more():
                self._busy += 1
                self._ready.append(waiter)
                self._changed.notify()
            elif self._made:
                self._waiting.append((waiter, time.monotonic() + self._patience))
            else:
                return False
        return True

    def take_late(self, now: float) -> list[W]:
        """Take out what waits no longer: its time is over, or too many came behind it."""
        late: list[W] = []
        with self._changed:
            while self._waiting and self._first_end() <= now:
                late.append(self._waiting.popleft()[0])
        return late

    def next_end(self) -> float | None:
        """When the first wait is over; None where nothing waits."""
        with self._changed:
            return self._first_end() if self._waiting else None

    def close(self) -> None:
        """Take no more; what is here is still served."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _first_end(self) -> float:
        return 0.0 if len(self._waiting) > self._most_waiting else self._waiting[0][1]

    def _has_one_more(self) -> bool:
        """Whether a thread is idle, or could be made."""
        if self._made > self._busy:
            return True
        try:
            threading.Thread(target=self._work, name="serve", daemon=True).start()
        except (RuntimeError, MemoryError):
            return False
        self._made += 1
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ready and not self._closed:
                    self._changed.wait()
                if not self._ready:
                    return
                waiter: W | None = self._ready.popleft()
            while waiter is not None:
                self._serve(waiter)
                with self._changed:
                    waiter = self._waiting.popleft()[0] if self._waiting else None
                    self._busy -= waiter is None
