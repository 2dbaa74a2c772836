"""Time as the parts see it: one clock for ages, one for dates."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks that move apart: ages never follow a wall clock that is set back or forth."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back. For ages, deadlines and intervals."""
        ...

    def time(self) -> float:
        """Seconds since the epoch. Only to be compared with a date, such as ``expires_at``."""
        ...


class SystemClock:
    """The clocks of this machine."""

    __slots__ = ()

    # Not wrapped in methods: the hit path reads a clock on every request.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


SYSTEM_CLOCK: Clock = SystemClock()
