"""A breaker: while the key service is known not to be reached, it is asked by few probes.

Callers choose what they send, so what a key brings about says little about the key service. A key
that was valid lately is nobody's invention: that it got no answer counts. Of any other key only
that there was no connection counts, which happens before the key is sent. Each key counts once.
"""

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
# Beyond so many keys in one window the oldest count no more.
_MOST_KEYS = 4096
# So many keys that failed, with no answer about any key since, are no accident of one of them.
_SILENT = 3
# Why there was no connection; everything else may be the doing of the key that was asked about.
NO_CONNECTION = frozenset({"dns", "connect", "tls"})
_NEVER_CONNECTED = NO_CONNECTION | {""}


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
        # Why the last verification of a key failed, "" where it was answered, in this window and in the
        # one before.
        self._causes: dict[bytes, str] = {}
        self._causes_before: dict[bytes, str] = {}
        self._open_until: float | None = None
        # The keys that failed since the last answer about any key.
        self._unanswered: set[bytes] = set()
        # When the probe of a key that was valid lately, and that of another, is given up: two
        # slots, so that keys that nobody knows cannot take the one that decides.
        self._probes = {True: 0.0, False: 0.0}

    @property
    def is_open(self) -> bool:
        """Whether the key service is known to fail; true until a probe succeeds."""
        return self._open_until is not None

    @property
    def is_silent(self) -> bool:
        """Whether several keys failed, and none was answered since; true while open."""
        return self._open_until is not None or len(self._unanswered) >= _SILENT

    def retry_after(self) -> float:
        """Seconds until it is worth asking again."""
        until = self._open_until
        return 0.0 if until is None else max(0.0, until - self._clock.monotonic())

    def admits(self, *, known: bool) -> bool:
        """Whether the key service may be asked now; a yes while open is a probe.

        :param known: whether the key was valid lately.
        """
        if not self.is_open:
            return True
        with self._lock:
            now = self._clock.monotonic()
            if self._open_until is None:
                return True
            if now < self._open_until or now < self._probes[known]:
                return False
            # Whoever comes next waits for this probe to report, or to be given up.
            self._probes[known] = now + self._probe_timeout
            return True

    def succeeded(self, fingerprint: bytes) -> None:
        """The key service answered about this key."""
        with self._lock:
            self._note(fingerprint, "")
            self._unanswered.clear()
            if self._open_until is not None:
                self._close()

    def failed(self, fingerprint: bytes, cause: str, *, known: bool) -> None:
        """The key service could not be reached, or gave no answer that says anything about this key.

        :param cause: the word of :class:`~apikey_guard.errors.KeyServiceUnavailable`.
        :param known: whether the key was valid lately.
        """
        if not known and cause not in NO_CONNECTION:
            self._connected(cause)
            return
        with self._lock:
            self._note(fingerprint, cause)
            if len(self._unanswered) < _SILENT:
                self._unanswered.add(fingerprint)
            if self._open_until is not None or self._fails():
                # Jitter: the workers of one app shall not all probe at the same moment (V-15).
                pause = _OPEN_FOR * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, hides nothing
                self._open_until = self._clock.monotonic() + pause
                self._probes = {True: 0.0, False: 0.0}

    def undecided(self, *, known: bool) -> None:
        """A verification ended and says nothing about the key service: the next probe may go."""
        with self._lock:
            self._probes[known] = 0.0

    def _connected(self, cause: str) -> None:
        """What became of a key that nobody knows says nothing but that the key service was connected to.

        That is an end where nothing else was wrong lately. Keys on which it hangs, sent without a pause,
        would otherwise be every probe there is. An ``error`` is ours, or a hook's: nobody was asked.
        """
        with self._lock:
            self._probes[False] = 0.0
            self._forget_long_ago()
            causes = {*self._causes_before.values(), *self._causes.values(), ""}
            if self._open_until is not None and cause != "error" and causes <= _NEVER_CONNECTED:
                self._close()

    def _close(self) -> None:
        self._open_until = None
        self._causes, self._causes_before = {}, {}
        self._probes = {True: 0.0, False: 0.0}

    def _fails(self) -> bool:
        causes = {**self._causes_before, **self._causes}
        failures = sum(map(bool, causes.values()))
        return len(causes) >= _MINIMUM_VOLUME and failures >= len(causes) * _FAILURE_RATE

    def _note(self, fingerprint: bytes, cause: str) -> None:
        self._forget_long_ago()
        if len(self._causes) >= _MOST_KEYS:
            del self._causes[next(iter(self._causes))]
        self._causes[fingerprint] = cause

    def _forget_long_ago(self) -> None:
        now = self._clock.monotonic()
        if now - self._window_start >= 2 * _WINDOW:
            self._causes_before, self._causes = {}, {}
            self._window_start = now
        elif now - self._window_start >= _WINDOW:
            self._causes_before, self._causes = self._causes, {}
            self._window_start = now
