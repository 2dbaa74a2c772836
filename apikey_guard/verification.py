"""Verifications under way: one per credential, few at once, each with an end.

One mechanism serves every caller, sync or async: a request joins the verification of its
fingerprint or starts one, and waits on a future, never longer than its own deadline. The key
service is asked by a few daemon threads, made when they are needed. So a hanging key service,
name resolution included, holds these threads and nothing else; a failure is shared by all who
wait for it; and a caller who gives up takes nothing away from the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from apikey_guard.breaker import Breaker
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable, Overloaded, RateLimited, VerificationError

logger = logging.getLogger("apikey_guard")

# How many verifications may wait for each that runs.
_QUEUE_FACTOR = 10


class Verification:
    """One question to the key service; many may wait for its answer.

    :param fingerprint: of the credential.
    :param credential: what to ask about; let go of as soon as it was asked.
    :param deadline: monotonic second after which those who began it no longer wait.
    :param overdue: an earlier one of the same credential that has not ended yet, although it should.
    """

    __slots__ = ("credential", "deadline", "fingerprint", "future", "overdue", "revoked")

    def __init__(
        self, fingerprint: bytes, credential: Credential, deadline: float, overdue: Verification | None
    ) -> None:
        self.fingerprint = fingerprint
        self.credential: Credential | None = credential
        self.deadline = deadline
        self.overdue = overdue
        self.revoked = False
        self.future: Future[Verdict] = Future()
        # A running future cannot be cancelled: one caller's cancellation touches nobody else.
        self.future.set_running_or_notify_cancel()

    def answers_newcomers(self) -> bool:
        """Whether somebody who comes now may wait for it too.

        Past its deadline it has failed those who began it, and what it ends with, often the very
        next moment, is no answer to a later request: that one gets a successor. But never a third
        beside two that do not end: a credential on which the key service hangs holds two threads.
        """
        if time.monotonic() < self.deadline:
            return True
        return self.overdue is not None and not self.overdue.future.done()


class Verifications:
    """The verifications under way in this process.

    :param verify: asks the key service; called from several threads.
    :param known: whether a fresh verdict is remembered.
    :param store: remembers a verdict; never called for a verification revoked meanwhile.
    :param concurrency: how many run at once.
    :param timeout: seconds for which a caller waits.
    :param breaker: told of every end, and asked before every beginning.
    """

    def __init__(
        self,
        *,
        verify: Callable[[Credential], Verdict],
        known: Callable[[bytes], bool],
        store: Callable[[bytes, Verdict], None],
        concurrency: int,
        timeout: float,
        breaker: Breaker,
    ) -> None:
        self._verify = verify
        self._known = known
        self._store = store
        self._concurrency = concurrency
        self._timeout = timeout
        self._breaker = breaker
        self._changed = threading.Condition()
        self._under_way: dict[bytes, Verification] = {}
        self._queue: deque[Verification] = deque()
        self._started = 0
        self._threads = 0
        self._idle = 0
        self._closed = False

    def join(self, fingerprint: bytes, credential: Credential) -> Verification | None:
        """The verification of this fingerprint: the one under way, or a new one.

        :returns: None where a verdict was remembered just now, so that nobody need ask.
        :raises Overloaded: the queue is full, or the breaker is open.
        """
        with self._changed:
            earlier = self._under_way.get(fingerprint)
            if earlier is not None and earlier.answers_newcomers():
                return earlier
            # A caller may have looked into the cache just before the last verification ended.
            if self._known(fingerprint):
                return None
            if self._closed or len(self._queue) >= self._concurrency * _QUEUE_FACTOR:
                raise Overloaded("queue_full")
            if not self._breaker.admits():
                raise Overloaded("breaker_open", self._breaker.retry_after())
            if earlier is not None:
                earlier.overdue = None  # it has ended, and would be kept alive
            deadline = time.monotonic() + self._timeout
            verification = Verification(fingerprint, credential, deadline, overdue=earlier)
            self._under_way[fingerprint] = verification
            self._started += 1
            self._queue.append(verification)
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif self._threads < self._concurrency:
                self._threads += 1
                threading.Thread(target=self._work, name="apikey-guard", daemon=True).start()
            return verification

    def revoke(self, fingerprint: bytes | None) -> None:
        """Answers already on their way are not remembered, and nobody new waits for them (V-11).

        :param fingerprint: None means all.
        """
        with self._changed:
            fingerprints = list(self._under_way) if fingerprint is None else [fingerprint]
            for each in fingerprints:
                verification = self._under_way.pop(each, None)
                while verification is not None:
                    verification.revoked = True
                    verification = verification.overdue

    def remember(self, verification: Verification, verdict: Verdict) -> None:
        """Store a verdict unless the key was revoked while it was on its way, or a later one is known."""
        with self._changed:
            if not verification.revoked:
                self._store(verification.fingerprint, verdict)
            if verification.overdue is not None:
                verification.overdue.revoked = True

    def close(self) -> None:
        """Start nothing more and let the threads end. May be called twice."""
        with self._changed:
            self._closed = True
            abandoned = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for verification in abandoned:
            self._end(verification, KeyServiceUnavailable("closed"))

    @property
    def under_way(self) -> int:
        """How many verifications are queued or running."""
        return len(self._under_way)

    @property
    def started(self) -> int:
        """How many verifications were ever begun here."""
        return self._started

    @property
    def threads(self) -> int:
        """How many threads there are to run them."""
        return self._threads

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queue and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._queue:
                    self._threads -= 1
                    return
                verification = self._queue.popleft()
            self._run(verification)
            # A thread that waits for work shall not keep the last credential alive (K-06).
            del verification

    def _run(self, verification: Verification) -> None:
        credential, verification.credential = verification.credential, None
        if credential is None or time.monotonic() > verification.deadline:
            # It stood in the queue until nobody waited: asking now would only add to the load.
            self._end(verification, KeyServiceUnavailable("timeout", "waited in the queue too long"))
            return
        try:
            verdict = self._verify(credential)
            if not isinstance(verdict, Verdict):
                raise KeyServiceUnavailable("error", "the key service returned no Verdict")
            self._breaker.succeeded()
            self.remember(verification, verdict)
        except RateLimited as error:
            self._breaker.succeeded()
            self._end(verification, error)
        except VerificationError as error:
            self._breaker.failed()
            self._end(verification, error)
        except BaseException as error:  # noqa: BLE001 - whatever a key service raises, callers must be told
            self._breaker.failed()
            logger.error("the key service raised %s: counted as unavailable", type(error).__name__)
            self._end(verification, KeyServiceUnavailable("error", type(error).__name__))
        else:
            self._end(verification, verdict)

    def _end(self, verification: Verification, outcome: Verdict | VerificationError) -> None:
        with self._changed:
            if self._under_way.get(verification.fingerprint) is verification:
                del self._under_way[verification.fingerprint]
        if isinstance(outcome, Verdict):
            verification.future.set_result(outcome)
        else:
            # The traceback would keep the key service's frames, and the credential in them, alive.
            verification.future.set_exception(outcome.with_traceback(None))
