"""The slots to ask the key service: a few at once, and the threads of the pool for those who have one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sized
from concurrent.futures import Future

from apikey_guard.core.freshness import Remembered
from apikey_guard.core.model import Credential
from apikey_guard.errors import VerificationError
from apikey_guard.verification.lanes import Lanes

# How many may wait in each lane: some 2 MiB, and more than any server has requests at once.
_MOST_WAITING = 1024
# The share of the slots that is kept for keys that were valid lately, as soon as there are any.
_KEPT_SHARE = 8

Answer = Remembered | VerificationError | None  # a valid credential, no answer, an invalid one


class Verification:
    """One question to the key service; many may wait for its answer.

    :param fingerprint: of the credential.
    :param credential: what to ask about; let go of as soon as it was asked.
    :param deadline: monotonic second after which those who began it no longer wait.
    :param known: whether the credential was valid lately.
    :param overdue: an earlier one of the same credential that has not ended yet, although it should.
    :ivar admitted: whether the breaker lets the key service be asked.
    :ivar turn: done as soon as it has a slot, where a caller runs it himself; None in the pool.
    :ivar started: the monotonic second at which the key service was asked; None before.
    :ivar future: how it ended. It never holds an exception that is raised by looking at it.
    """

    __slots__ = (
        "admitted",
        "credential",
        "deadline",
        "ended",
        "fingerprint",
        "future",
        "has_slot",
        "known",
        "overdue",
        "revoked",
        "started",
        "told",
        "turn",
    )

    def __init__(
        self,
        fingerprint: bytes,
        credential: Credential,
        deadline: float,
        *,
        known: bool,
        overdue: Verification | None,
    ) -> None:
        self.fingerprint = fingerprint
        self.credential: Credential | None = credential
        self.deadline = deadline
        self.known = known
        self.overdue = overdue
        self.admitted = self.has_slot = self.ended = self.revoked = self.told = False
        self.started: float | None = None
        self.turn: Future[None] | None = None
        self.future: Future[Answer] = Future()
        # A running future cannot be cancelled: one caller's cancellation touches nobody else.
        self.future.set_running_or_notify_cancel()

    def answers_newcomers(self, now: float) -> bool:
        """Whether somebody who comes now may wait for it too.

        Past its deadline it has failed those who began it, and what it ends with, often the very
        next moment, is no answer to a later request: that one gets a successor. But never a third
        beside two that do not end: a credential on which the key service hangs holds two slots.
        """
        if now < self.deadline:
            return True
        return self.overdue is not None and not self.overdue.ended


class Slots:
    """Who has a slot, and who waits for one. Everything but the pool's threads holds the lock.

    :param changed: the lock, by which threads without work wait, too.
    :param run: runs a verification that has a slot, in a thread of the pool.
    :param concurrency: how many slots there are.
    :param timeout: seconds for which a caller waits.
    :param lately: the credentials whose last verdict was valid; empty, no slot is kept for them.
    """

    def __init__(
        self,
        changed: threading.Condition,
        run: Callable[[Verification], None],
        *,
        concurrency: int,
        timeout: float,
        lately: Sized,
    ) -> None:
        self._changed = changed
        self._run = run
        self._concurrency = concurrency
        self._lately = lately
        self._lanes: Lanes[Verification] = Lanes(most=_MOST_WAITING, patience=timeout)
        self._ready: deque[Verification] = deque()
        self._running = self._running_others = self._idle = 0
        self._closed = False
        #: How many threads of the pool there are.
        self.threads = 0

    def put(self, verification: Verification, *, peer: str) -> Verification | None:
        """Have it wait for a slot; returns what has no room any more, perhaps the same."""
        return self._lanes.put(verification, known=verification.known, peer=peer)

    def give(self) -> list[Verification]:
        """Let those who are next begin; returns those for whom nobody waits, or no thread is there."""
        late: list[Verification] = []
        kept = max(1, self._concurrency // _KEPT_SHARE) if len(self._lately) and self._concurrency > 1 else 0
        now = time.monotonic()
        while self._running < self._concurrency:
            others = self._running_others < self._concurrency - kept
            verification = self._lanes.take(now, others=others)
            if verification is None:
                break
            if verification.ended:
                continue
            if now > verification.deadline:
                late.append(verification)
                continue
            verification.has_slot = True
            self._running += 1
            self._running_others += not verification.known
            if verification.turn is not None:
                wake(verification)
            elif not self.into_pool(verification):
                late.append(verification)
        return late

    def leave(self, verification: Verification) -> None:
        """Give the slot of a verification back, once."""
        self._running -= 1
        self._running_others -= not verification.known

    def into_pool(self, verification: Verification) -> bool:
        """Have a thread run it; False where the system gives none and there is none."""
        self._ready.append(verification)
        if self._idle >= len(self._ready):
            self._changed.notify()
        elif self.threads < self._concurrency:
            self.threads += 1
            try:
                threading.Thread(target=self._work, name="apikey-guard", daemon=True).start()
            except (RuntimeError, MemoryError):
                self.threads -= 1
                if not self.threads:
                    self._ready.remove(verification)
                    return False
        return True

    def close(self) -> list[Verification]:
        """Let the threads end; returns those that have not begun."""
        self._closed = True
        abandoned = [*self._lanes.clear(), *self._ready]
        self._ready.clear()
        self._changed.notify_all()
        return abandoned

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._idle += 1
                    try:
                        while not self._ready and not self._closed:
                            self._changed.wait()
                    finally:
                        self._idle -= 1
                    if not self._ready:
                        return
                    verification = self._ready.popleft()
                self._run(verification)
                # A thread that waits for work shall not keep the last credential alive (K-06).
                del verification
        finally:
            with self._changed:
                self.threads -= 1
                # Where this thread was ended from outside, another one does what is left.
                if self._ready:
                    self.into_pool(self._ready.pop())


def wake(verification: Verification) -> None:
    """Tell the caller who runs it himself that it has a slot, or needs none any more."""
    turn = verification.turn
    if turn is not None and not turn.done():
        turn.set_result(None)
