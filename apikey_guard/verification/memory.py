"""The cache in this process: valid and invalid verdicts apart, both bounded, keyed by fingerprint.

A flood of bad keys fills the invalid store and cannot push out one valid verdict (threat D-01).
Reading takes no lock: it is one look into a dict. Writing takes one, for as long as it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Final, Generic, TypeVar

import cachetools

from apikey_guard.core.freshness import Remembered

V = TypeVar("V")

# A failure of one key service concerns few keys before the breaker opens; beyond that, the oldest
# are forgotten, whose callers then wait for a verification once more.
_MOST_MARKS = 4096


class OldestFirst(dict[bytes, V], Generic[V]):
    """Drops what was verified longest ago, some at a time.

    A hit writes nothing: a key in use is verified again before its ttl ends and so moves to the
    young end by itself. That spares the hit path a lock, and each entry the 100 bytes of a
    linked list. Reading is one step of a dict: what another thread drops is there, or is not.

    :param most: how many it holds.
    """

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def put(self, key: bytes, value: V) -> None:
        """Store as the youngest. A size of 0 stores nothing. Under a lock."""
        if self.most < 1:
            return
        if self.pop(key, None) is None and len(self) >= self.most:
            # A dict finds its oldest key by walking over the removed ones; dropping several in one
            # walk keeps the cost of one removal constant (threat D-07).
            for oldest in list(islice(self, max(1, min(64, self.most // 64)))):
                del self[oldest]
        self[key] = value


#: The moment of what has no mark.
NEVER: Final = -inf


class Marks(cachetools.FIFOCache[bytes, float]):
    """A monotonic second for each fingerprint that was marked lately, :data:`NEVER` for all others.

    Read without a lock as ``marks[fingerprint]``, one step, and written under one.
    """

    def __missing__(self, key: bytes) -> float:
        return NEVER


class MemoryCache:
    """Two bounded stores, valid and invalid, keyed by fingerprint.

    :param max_entries: bound of the valid store; 0 keeps nothing.
    :param negative_max_entries: the same for the invalid one.
    """

    def __init__(self, *, max_entries: int, negative_max_entries: int) -> None:
        self.valid: OldestFirst[Remembered] = OldestFirst(max_entries)
        self.invalid: OldestFirst[float] = OldestFirst(negative_max_entries)
        self.renew()

    def renew(self) -> None:
        """Forget the lock that another thread may have held when this process was forked.

        The marks with it: that thread may have left them half-written, and they are soon made again.
        """
        self._lock = threading.Lock()
        # When a credential may be asked about again: where its last verification failed, and where the
        # answer about it could not be used.
        self.failed, self.unusable = Marks(_MOST_MARKS), Marks(_MOST_MARKS)

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

    def swap(self, fingerprint: bytes, entry: Remembered, successor: Remembered) -> None:
        """Put an entry in the place of another one, if that is still there."""
        with self._lock:
            if self.valid.get(fingerprint) is entry:
                self.valid[fingerprint] = successor

    def rest(self, fingerprint: bytes, until: float) -> None:
        """Note that a verification failed; the next one in the background waits until then."""
        with self._lock:
            self.failed[fingerprint] = until

    def put_unusable(self, fingerprint: bytes, until: float) -> None:
        """Note that the answer about a credential could not be used; it is asked again then."""
        with self._lock:
            self.unusable[fingerprint] = until

    def answered(self, fingerprint: bytes) -> None:
        """Forget that a verification failed."""
        if fingerprint in self.failed:
            with self._lock:
                self.failed.pop(fingerprint, None)

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
            self.failed.pop(fingerprint, None)
            self.unusable.pop(fingerprint, None)
            return 0 if self.valid.pop(fingerprint, None) is None else 1

    def clear(self) -> int:
        """Forget everything. Returns how many valid entries were dropped."""
        with self._lock:
            dropped = len(self.valid)
            for store in (self.valid, self.invalid, self.failed, self.unusable):
                store.clear()
        return dropped
