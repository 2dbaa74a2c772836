"""For tests of apps that stand behind the guard, and of the guard itself.

:class:`ManualClock` moves only when told to, :class:`FakeKeyService` answers from memory, and
:class:`LoopbackKeyService` is a real HTTP server that can be told to misbehave. None of them
needs the network, and none needs a test to sleep. :func:`as_consumer` lets every request count as
allowed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import ClassVar

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.testing.loopback import LoopbackCall, LoopbackKeyService, http_answer, json_answer
from apikey_guard.testing.stand_in import as_consumer

__all__ = [
    "FakeKeyService",
    "LoopbackCall",
    "LoopbackKeyService",
    "ManualClock",
    "as_consumer",
    "http_answer",
    "json_answer",
]

# A test that forgets to release a held verification fails after this long, instead of hanging.
HOLD_LIMIT_SECONDS = 30.0


class ManualClock:
    """A clock that stands still until it is moved; its two sides move separately.

    :param wall: what :meth:`time` says first, in seconds since the epoch.
    :param monotonic: what :meth:`monotonic` says first, in seconds.
    """

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._lock = threading.Lock()
        self._wall = wall
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Seconds; moves by :meth:`advance` and :meth:`advance_monotonic` only."""
        return self._monotonic

    def time(self) -> float:
        """Seconds since the epoch; moves by :meth:`advance` and :meth:`set_wall` only."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass: both sides move forward.

        :raises ValueError: for a negative number; use :meth:`set_wall` to set the wall clock back.
        """
        with self._lock:
            self._move_monotonic(seconds)
            self._wall += seconds

    def advance_monotonic(self, seconds: float) -> None:
        """Let time pass while the wall clock stands still."""
        with self._lock:
            self._move_monotonic(seconds)

    def set_wall(self, wall: float) -> None:
        """Set the wall clock, back or forth, as an operator or NTP may do."""
        with self._lock:
            self._wall = wall

    def _move_monotonic(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time does not go back; set_wall() moves the wall clock alone")
        self._monotonic += seconds

    def __repr__(self) -> str:
        return f"ManualClock(wall={self._wall!r}, monotonic={self._monotonic!r})"


class FakeKeyService:
    """A key service in memory: it knows the keys it was given, and counts who asks.

    An answer is fixed at the moment the question arrives, as it is with a slow real service: what
    is added, revoked or broken while a verification is held changes the next answer only.

    :param keys: keys that are valid from the start: names alone, or with their consumers.
    """

    # Asked as a remote service is, which it stands for: whoever waits for it has a deadline.
    in_pool: ClassVar[bool] = True

    def __init__(self, keys: Iterable[str] | Mapping[str, Consumer | None] = ()) -> None:
        self._changed = threading.Condition()
        self._verdicts: dict[str, Verdict] = {}
        self._failure: Exception | None = None
        self._held = False
        self._asked: list[str] = []
        self._in_flight = 0
        self._most_in_flight = 0
        self._closed = False
        known = keys if isinstance(keys, Mapping) else dict.fromkeys(keys)
        for key, consumer in known.items():
            self.add(key, consumer)

    def add(
        self,
        key: str,
        consumer: Consumer | None = None,
        *,
        ttl: float | None = None,
        expires_at: float | None = None,
        credential_id: str | None = None,
    ) -> None:
        """Make a key valid. The parameters are those of :class:`~apikey_guard.core.model.Verdict`."""
        verdict = Verdict(
            valid=True, consumer=consumer, ttl=ttl, expires_at=expires_at, credential_id=credential_id
        )
        self.answer(key, verdict)

    def answer(self, key: str, verdict: Verdict) -> None:
        """Answer questions about a key with exactly this verdict."""
        with self._changed:
            self._verdicts[key] = verdict

    def revoke(self, key: str) -> None:
        """Make a key invalid; an unknown key is invalid anyway."""
        with self._changed:
            self._verdicts.pop(key, None)

    def fail(self, error: Exception | None = None) -> None:
        """Raise this error for every question until :meth:`heal`; by default *unavailable*."""
        with self._changed:
            self._failure = error if error is not None else KeyServiceUnavailable("connect", "told to fail")

    def heal(self) -> None:
        """Answer again."""
        with self._changed:
            self._failure = None

    def hold(self) -> None:
        """Keep every verification in flight until :meth:`release`."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Let the verifications that are held, and all later ones, go on."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def wait_for_calls(self, count: int, timeout: float = 5.0) -> None:
        """Return as soon as ``count`` questions have arrived, answered or held.

        :param timeout: seconds to wait at most.
        :raises AssertionError: where fewer arrived in that time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._asked) >= count, timeout):
                raise AssertionError(f"{len(self._asked)} calls after {timeout} s, expected {count}")

    @property
    def calls(self) -> int:
        """How many questions have arrived."""
        return len(self._asked)

    @property
    def asked(self) -> tuple[str, ...]:
        """The keys that were asked about, in order of arrival."""
        return tuple(self._asked)

    @property
    def most_in_flight(self) -> int:
        """The largest number of questions that were in flight at once."""
        return self._most_in_flight

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def verify(self, credential: Credential) -> Verdict:
        """The verdict that was set for this key; invalid where none was.

        :raises Exception: what :meth:`fail` was told to raise.
        """
        with self._changed:
            self._asked.append(credential.value)
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            verdict = self._verdicts.get(credential.value)
            failure = self._failure
            self._changed.notify_all()
            try:
                if not self._changed.wait_for(lambda: not self._held, HOLD_LIMIT_SECONDS):
                    raise AssertionError("a held verification was never released")
            finally:
                self._in_flight -= 1
        if failure is not None:
            raise failure
        return verdict if verdict is not None else Verdict.invalid()

    def close(self) -> None:
        """Remember that it was closed; it goes on answering."""
        self._closed = True

    def __repr__(self) -> str:
        return f"FakeKeyService({len(self._verdicts)} keys, {len(self._asked)} calls)"
