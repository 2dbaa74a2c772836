"""Counts of decisions: exact under threads, without a lock on the hit path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import count

from apikey_guard.core.model import Reason


class Counter:
    """Counts calls. Adding one is a single C call, which threads cannot interleave."""

    __slots__ = ("_lock", "_looks", "add")

    def __init__(self) -> None:
        self.add = count().__next__
        self._looks = 0
        self._lock = threading.Lock()

    def read(self) -> int:
        """How often ``add`` was called."""
        with self._lock:
            # Looking advances the count too: what looking added is taken off.
            value = self.add() - self._looks
            self._looks += 1
            return value


class Counters:
    """What one guard has decided in this process.

    :ivar hit: counts an Allow of the hit path, ``allowed`` any other one.
    :ivar denied: by reason, what counts a Deny.
    """

    def __init__(self) -> None:
        self._hits, self._allowed = Counter(), Counter()
        self._denied = {reason: Counter() for reason in Reason}
        self._unanswered = {reason: Counter() for reason in Reason}
        self.hit, self.allowed = self._hits.add, self._allowed.add
        self.denied: Mapping[Reason, Callable[[], int]] = {
            reason: counter.add for reason, counter in self._denied.items()
        }

    def count_unanswered(self, reason: Reason) -> None:
        """Count a request that was allowed and that no origin answered."""
        self._unanswered[reason].add()

    def read(self) -> Mapping[str, int]:
        """All counts by name: ``allowed``, ``denied``, and for each reason seen ``denied_REASON``, or
        ``unanswered_REASON`` where an allowed request got no answer of an origin. ``preflights`` are
        those that were answered before the app.
        """
        denied = _seen("denied", self._denied)
        preflights = denied.pop(f"denied_{Reason.PREFLIGHT}", 0)
        return {
            "allowed": self._hits.read() + self._allowed.read(),
            "denied": sum(denied.values()),
            **({"preflights": preflights} if preflights else {}),
            **denied,
            **_seen("unanswered", self._unanswered),
        }


def _seen(kind: str, counters: Mapping[Reason, Counter]) -> dict[str, int]:
    numbers = {f"{kind}_{reason}": counter.read() for reason, counter in counters.items()}
    return {name: number for name, number in numbers.items() if number}
