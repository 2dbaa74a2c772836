"""Cached verification: what is remembered of a credential, and asking when nothing is.

Everything that belongs to one process (threads, sockets, what is under way) is made on first
use there and made anew after a fork. What is remembered survives a fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from apikey_guard.assembly import make_key_service
from apikey_guard.breaker import Breaker
from apikey_guard.cache.memory import MemoryCache
from apikey_guard.clock import Clock
from apikey_guard.core.decision import Outcome, Question
from apikey_guard.core.freshness import Lifetimes, Remembered
from apikey_guard.core.model import Consumer, Credential, Freshness, Verdict
from apikey_guard.errors import KeyServiceUnavailable, Overloaded, RateLimited, VerificationError
from apikey_guard.keyservice import KeyService
from apikey_guard.settings import Settings
from apikey_guard.verification import Verification, Verifications

logger = logging.getLogger("apikey_guard")

# Where a stale verdict may serve, a hanging key service costs a caller this many seconds, once.
_STALE_PATIENCE = 0.25
# After a failed background verification of a key, the next one waits this many seconds.
_REFRESH_REST = 1.0
_SHORTEST_PREFIX = 12


class _Process:
    """What belongs to one process: its connection to the key service and what is under way."""

    def __init__(self, verifier: Verifier, settings: Settings, clock: Clock) -> None:
        self.key_service: KeyService = make_key_service(settings, clock)
        # A probe that never reports is given up when its caller has been for some time.
        self.breaker = Breaker(clock, probe_timeout=2 * settings.validator_timeout)
        self.verifications = Verifications(
            verify=lambda credential: verifier.verify(self.key_service, credential),
            known=verifier.is_fresh,
            store=verifier.store,
            concurrency=settings.validator_max_concurrency,
            timeout=settings.validator_timeout,
            breaker=self.breaker,
        )


class Verifier:
    """Answers questions from memory, or has them verified.

    :param settings: of the guard.
    :param clock: for ages and dates.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._monotonic = clock.monotonic
        self._lifetimes = Lifetimes(
            ttl=settings.cache_ttl,
            negative_ttl=settings.negative_ttl,
            stale_if_error=settings.stale_if_error,
        )
        self.cache = MemoryCache(
            max_entries=settings.cache_max_entries,
            negative_max_entries=settings.negative_max_entries,
        )
        self._processes: dict[int, _Process] = {}
        self._failing = False

    # -- answers -------------------------------------------------------------------------------

    def known(self, question: Question) -> tuple[Question, Outcome | None]:
        """The outcome that the cache knows, or None; and the question, with what may serve stale."""
        fingerprint = question.fingerprint
        now = self._monotonic()
        entry = self.cache.valid.get(fingerprint)
        freshness = None if entry is None else entry.freshness(now, self._clock.time())
        if freshness is Freshness.STALE:
            return question._replace(stale=entry), None
        if freshness is not None:
            if freshness is Freshness.REFRESH:
                self._refresh(question)
            return question, Outcome(entry, freshness)
        until = self.cache.invalid.get(fingerprint)
        if until is not None and now < until:
            return question, Outcome(freshness=Freshness.FRESH)
        return question, None

    def is_fresh(self, fingerprint: bytes) -> bool:
        """Whether a verdict is remembered that is not due for refresh."""
        now = self._monotonic()
        entry = self.cache.valid.get(fingerprint)
        if entry is not None:
            return entry.freshness(now, self._clock.time()) is Freshness.FRESH
        until = self.cache.invalid.get(fingerprint)
        return until is not None and now < until

    def ask(self, question: Question) -> Outcome:
        """The outcome of a question, at the latest when the caller's deadline ends."""
        started = self._start(question)
        if isinstance(started, Outcome):
            return started
        verification, patience = started
        try:
            # Unlike result(), this does not raise one exception in many threads.
            verification.future.exception(patience)
        except TimeoutError:
            self._failing = True
        return self._outcome(question, verification)

    async def ask_async(self, question: Question) -> Outcome:
        """As :meth:`ask`, without blocking the event loop."""
        started = self._start(question)
        if isinstance(started, Outcome):
            return started
        verification, patience = started
        future = asyncio.wrap_future(verification.future)
        future.add_done_callback(_retrieve)
        # wait() leaves the future alone when it times out and when its caller is cancelled.
        await asyncio.wait([future], timeout=patience)
        if not verification.future.done():
            self._failing = True
        return self._outcome(question, verification)

    def ask_later(self, question: Question, tell: Callable[[Question, Outcome], None]) -> None:
        """Have a question answered in the background and told to ``tell`` then."""
        started = self._start(question)
        if isinstance(started, Outcome):
            tell(question, started)
            return
        verification, _ = started
        verification.future.add_done_callback(lambda _: tell(question, self._outcome(question, verification)))

    def _start(self, question: Question) -> Outcome | tuple[Verification, float]:
        """The verification to wait for and the seconds to wait, or the outcome at once."""
        process = self._process()
        stale = question.stale
        if stale is not None and (self._failing or process.breaker.is_open):
            self._refresh(question)
            return Outcome(stale, Freshness.STALE)
        try:
            verification = process.verifications.join(question.fingerprint, question.credential)
        except Overloaded as error:
            return Outcome(error=error) if stale is None else Outcome(stale, Freshness.STALE)
        if verification is None:
            question, outcome = self.known(question)
            return self._start(question) if outcome is None else outcome
        return verification, self._settings.validator_timeout if stale is None else _STALE_PATIENCE

    def _outcome(self, question: Question, verification: Verification) -> Outcome:
        """How a verification ended, or did not end, for one of those who waited for it."""
        future, stale = verification.future, question.stale
        error = future.exception() if future.done() else KeyServiceUnavailable("timeout")
        if error is None:
            verdict = future.result()
            return Outcome(self._entry(verdict) if verdict.valid else None)
        if stale is not None and not isinstance(error, RateLimited):
            return Outcome(stale, Freshness.STALE)
        return Outcome(
            error=error if isinstance(error, VerificationError) else KeyServiceUnavailable("error")
        )

    def _refresh(self, question: Question) -> None:
        """Start a background verification, unless the last one of this key failed just now."""
        fingerprint = question.fingerprint
        if self.cache.rests(fingerprint, self._monotonic()):
            return
        try:
            verification = self._process().verifications.join(fingerprint, question.credential)
        except Overloaded:
            return
        if verification is None:
            return

        def rest(future: Future[Verdict]) -> None:
            if future.exception() is not None:
                self.cache.rest(fingerprint, self._monotonic() + _REFRESH_REST)

        verification.future.add_done_callback(rest)

    # -- verdicts ------------------------------------------------------------------------------

    def verify(self, key_service: KeyService, credential: Credential) -> Verdict:
        """Ask the key service, and note whether it is known to fail."""
        try:
            verdict = key_service.verify(credential)
        except RateLimited:
            self._failing = False
            raise
        except BaseException:
            self._failing = True
            raise
        self._failing = False
        return verdict

    def store(self, fingerprint: bytes, verdict: Verdict) -> None:
        """Remember a verdict, as long as the settings and the key service say."""
        entry = self._entry(verdict) if verdict.valid else None
        if entry is not None:
            self.cache.put_valid(fingerprint, entry)
            return
        chance = random.random()  # noqa: S311 - spreads load, hides nothing
        until = self._lifetimes.invalid_until(verdict, now=self._monotonic(), chance=chance)
        self.cache.put_invalid(fingerprint, until)

    def _entry(self, verdict: Verdict) -> Remembered | None:
        chance = random.random()  # noqa: S311 - spreads load, hides nothing
        return self._lifetimes.remember(
            verdict, now=self._monotonic(), wall_time=self._clock.time(), chance=chance
        )

    # -- revocation ----------------------------------------------------------------------------

    def revoke_one(self, fingerprint: bytes) -> int:
        """Forget one fingerprint. Returns how many valid credentials were forgotten."""
        self._process().verifications.revoke(fingerprint)
        return self.cache.drop_one(fingerprint)

    def revoke_prefix(self, digits: str) -> int:
        """Forget the fingerprints that start with these hex digits.

        :raises ValueError: fewer than 12 digits, or other characters.
        """
        wanted = digits.lower()
        if len(wanted) < _SHORTEST_PREFIX or not set(wanted) <= set("0123456789abcdef"):
            raise ValueError(f"a fingerprint is written as {_SHORTEST_PREFIX} hex digits or more")
        return self._revoke_matching(lambda key, _: key.hex().startswith(wanted))

    def revoke_consumer(self, name: str) -> int:
        """Forget all credentials of the consumer with this id, username or custom_id."""

        def belongs(_: bytes, entry: Consumer | None) -> bool:
            return entry is not None and name in {entry.id, entry.username, entry.custom_id}

        return self._revoke_matching(belongs)

    def revoke_all(self) -> int:
        """Forget everything."""
        self._process().verifications.revoke(None)
        return self.cache.clear()

    def _revoke_matching(self, matches: Callable[[bytes, Remembered | None], bool]) -> int:
        # Whose credential is under way is not known yet: none of those answers is remembered.
        self._process().verifications.revoke(None)
        return self.cache.drop(matches)

    # -- the process ---------------------------------------------------------------------------

    def _process(self) -> _Process:
        """What belongs to this process; a forked child must not touch its parent's."""
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            self.cache.renew_lock()
            self._failing = False
            # setdefault lets one of two racing threads win; the loser's has no thread or socket yet.
            process = self._processes.setdefault(pid, _Process(self, self._settings, self._clock))
            _after_fork(self)
        return process

    def forget_process(self) -> None:
        """In a forked child: begin anew, whatever process ids were used before.

        The parent's connections stay referenced, so that nothing here says goodbye on them.
        """
        self._processes = {-number: process for number, process in enumerate(self._processes.values())}

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice; then only what is remembered is answered."""
        process = self._processes.get(os.getpid())
        if process is not None:
            process.verifications.close()
            process.key_service.close()

    def stats(self) -> Mapping[str, int | bool]:
        """Entries, threads and verifications of this process, with stable names."""
        process = self._processes.get(os.getpid())
        return {
            "cached_valid": len(self.cache.valid),
            "cached_invalid": len(self.cache.invalid),
            "verifications": 0 if process is None else process.verifications.started,
            "verifications_under_way": 0 if process is None else process.verifications.under_way,
            "verification_threads": 0 if process is None else process.verifications.threads,
            "breaker_open": process is not None and process.breaker.is_open,
        }


def _after_fork(verifier: Verifier) -> None:
    """Hook into fork once per process that verifies; uWSGI runs no hooks, there the pid tells."""
    known = weakref.ref(verifier)

    def forget() -> None:
        alive = known()
        if alive is not None:
            alive.forget_process()

    os.register_at_fork(after_in_child=forget)


def _retrieve(future: asyncio.Future[Verdict]) -> None:
    """Look at the outcome, so that asyncio does not report an exception that nobody waited for."""
    if not future.cancelled():
        future.exception()
