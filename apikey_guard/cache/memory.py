"""The cache in this process: valid and invalid verdicts apart, both bounded, keyed by fingerprint.

A flood of bad keys fills the invalid store and cannot push out one valid verdict (threat D-01).
Reading takes no lock: it is one look into a dict. Writing takes one, for as long as it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

import cachetools

from apikey_guard.core.freshness import Remembered

V = TypeVar("V")


class OldestFirst(cachetools.Cache[bytes, V]):
    """Drops what was verified longest ago, some at a time.

    A hit writes nothing: a key in use is verified again before its ttl ends and so moves to the
    young end by itself. That spares the hit path a lock, and each entry the 100 bytes of a
    linked list.
    """

    def popitem(self) -> tuple[bytes, V]:
        # A dict finds its oldest key by walking over the removed ones; dropping several in one
        # walk keeps the cost of one removal constant (threat D-07).
        oldest = list(islice(self, max(1, min(64, int(self.maxsize) // 64))))
        if not oldest:
            raise KeyError("the cache is empty")
        for key in oldest[1:]:
            del self[key]
        return oldest[0], self.pop(oldest[0])

    def put(self, key: bytes, value: V) -> None:
        """Store as the youngest. A size of 0 stores nothing."""
        if self.maxsize < 1:
            return
        if key in self:
            del self[key]
        self[key] = value


class MemoryCache:
    """Two bounded stores, valid and invalid, keyed by fingerprint.

    :param max_entries: bound of the valid store; 0 keeps nothing.
    :param negative_max_entries: the same for the invalid one.
    """

    def __init__(self, *, max_entries: int, negative_max_entries: int) -> None:
        self.valid: OldestFirst[Remembered] = OldestFirst(max_entries)
        self.invalid: OldestFirst[float] = OldestFirst(negative_max_entries)
        self._resting: OldestFirst[float] = OldestFirst(1024)
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """Forget a lock that another thread may have held when this process was forked."""
        self._lock = threading.Lock()

    def put_valid(self, fingerprint: bytes, entry: Remembered) -> None:
        """Remember a valid verdict; an older invalid one is gone."""
        with self._lock:
            self.invalid.pop(fingerprint, None)
            self.valid.put(fingerprint, entry)

    def put_invalid(self, fingerprint: bytes, until: float) -> None:
        """Remember an invalid verdict; an older valid one is gone at once (threat V-11)."""
        with self._lock:
            self.valid.pop(fingerprint, None)
            self.invalid.put(fingerprint, until)

    def rest(self, fingerprint: bytes, until: float) -> None:
        """Note that a background verification failed; the next one waits until then."""
        with self._lock:
            self._resting.put(fingerprint, until)

    def rests(self, fingerprint: bytes, now: float) -> bool:
        """Whether a background verification failed so recently that the next one waits."""
        until = self._resting.get(fingerprint)
        return until is not None and now < until

    def drop(self, matches: Callable[[bytes, Remembered | None], bool]) -> int:
        """Forget the entries that match; an invalid one is shown without a consumer.

        :returns: how many valid entries were dropped.
        """
        with self._lock:
            valid = [key for key, entry in self.valid.items() if matches(key, entry)]
            invalid = [key for key in self.invalid if matches(key, None)]
            for key in valid:
                del self.valid[key]
            for key in invalid:
                del self.invalid[key]
        return len(valid)

    def drop_one(self, fingerprint: bytes) -> int:
        """Forget one fingerprint. Returns how many valid entries were dropped."""
        with self._lock:
            self.invalid.pop(fingerprint, None)
            return 0 if self.valid.pop(fingerprint, None) is None else 1

    def clear(self) -> int:
        """Forget everything. Returns how many valid entries were dropped."""
        with self._lock:
            dropped = len(self.valid)
            self.valid.clear()
            self.invalid.clear()
        return dropped
