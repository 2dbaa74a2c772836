"""A breaker: while the key service is known to fail, it is asked by one probe at a time."""

from __future__ import annotations

import random
import threading

from apikey_guard.clock import Clock

# A rate, not a run of failures: one caller's bad luck among many answers opens nothing.
_FAILURE_RATE = 0.5
_MINIMUM_VOLUME = 10
_WINDOW = 10.0
# Short: a service that came back is noticed within a second or two, and one probe costs little.
_OPEN_FOR = 1.0


class Breaker:
    """Closed, open, half open. Never held while the key service is asked.

    :param clock: for the window and the pause.
    :param probe_timeout: seconds after which a probe that never reported is given up.
    """

    def __init__(self, clock: Clock, *, probe_timeout: float) -> None:
        self._clock = clock
        self._probe_timeout = probe_timeout
        self._lock = threading.Lock()
        self._window_start = clock.monotonic()
        self._successes = self._failures = self._old_successes = self._old_failures = 0
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the key service is known to fail; true until a probe succeeds."""
        return self._open_until is not None

    def retry_after(self) -> float:
        """Seconds until it is worth asking again."""
        until = self._open_until
        return 0.0 if until is None else max(0.0, until - self._clock.monotonic())

    def admits(self) -> bool:
        """Whether the key service may be asked now; a yes while open is the one probe."""
        if not self.is_open:
            return True
        with self._lock:
            now = self._clock.monotonic()
            if self._open_until is not None and now < self._open_until:
                return False
            if self._open_until is not None:
                # Whoever comes next waits for this probe to report, or to be given up.
                self._open_until = now + self._probe_timeout
            return True

    def succeeded(self) -> None:
        """The key service answered."""
        with self._lock:
            self._turn_window()
            self._successes += 1
            if self._open_until is not None:
                self._open_until = None
                self._successes = self._failures = self._old_successes = self._old_failures = 0

    def failed(self) -> None:
        """The key service gave no usable answer."""
        with self._lock:
            self._turn_window()
            self._failures += 1
            failures = self._failures + self._old_failures
            volume = failures + self._successes + self._old_successes
            if self._open_until is not None or (
                volume >= _MINIMUM_VOLUME and failures >= volume * _FAILURE_RATE
            ):
                # Jitter: the workers of one app shall not all probe at the same moment (V-15).
                pause = _OPEN_FOR * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, hides nothing
                self._open_until = self._clock.monotonic() + pause

    def _turn_window(self) -> None:
        now = self._clock.monotonic()
        if now - self._window_start >= 2 * _WINDOW:
            self._old_successes = self._old_failures = self._successes = self._failures = 0
            self._window_start = now
        elif now - self._window_start >= _WINDOW:
            self._old_successes, self._old_failures = self._successes, self._failures
            self._successes = self._failures = 0
            self._window_start = now
