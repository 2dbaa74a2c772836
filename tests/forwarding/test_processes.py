"""Connections of a pool that a parent left, let go of by several threads (C-01)."""

from __future__ import annotations

from collections import deque

from apikey_guard.http1.connection import Connection
from apikey_guard.http1.pool import Pool


def test_c01_two_threads_may_abandon_the_same_connections() -> None:
    class Emptied(deque[Connection]):
        """Another thread has taken the last one just now."""

        def __len__(self) -> int:
            return 1

    pool = Pool(1, 1.0)
    pool._idle = Emptied()
    pool.abandon()
