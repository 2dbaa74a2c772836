"""Cached verification: what is remembered of a credential, and asking when nothing is.

Everything that belongs to one process (threads, sockets, what is under way) is made on first
use there and made anew after a fork. What is remembered survives a fork.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from apikey_guard.clock import Clock
from apikey_guard.core.decision import Outcome, Question
from apikey_guard.core.freshness import Lifetimes, Remembered
from apikey_guard.core.model import Consumer, Freshness, Verdict
from apikey_guard.errors import (
    KeyServiceUnavailable,
    Overloaded,
    SlowAnswer,
    UnusableAnswer,
    VerificationError,
    tells_of_an_outage,
)
from apikey_guard.process import PerProcess
from apikey_guard.settings import Settings
from apikey_guard.verification.asking import Process
from apikey_guard.verification.inflight import Joined
from apikey_guard.verification.memory import NEVER, MemoryCache
from apikey_guard.verification.shared import Shared
from apikey_guard.verification.slots import Verification

logger = logging.getLogger("apikey_guard")

# After a failed background verification of a key, the next one waits this many seconds.
_REFRESH_REST = 1.0
# So long a credential is not asked about again after an answer about it that could not be used:
# long enough for one who repeats it at once, short enough for one whose record was put right.
_UNUSABLE_REST = 1.0
# The share of a deadline by which a caller waits longer where the answer can only be moments away.
_LAST_MOMENTS = 0.15
_SHORTEST_PREFIX = 12


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
        level_two = settings.shared_cache
        self.shared = None if level_two is None else Shared(level_two, self._lifetimes, clock)
        self._process = PerProcess(self._begin_process)

    # -- answers -------------------------------------------------------------------------------

    def known(self, question: Question) -> tuple[Question, Outcome | None]:
        """The outcome that the cache knows, or None; and the question, with what may serve stale."""
        fingerprint = question.fingerprint
        now = self._monotonic()
        entry = self.cache.valid.get(fingerprint)
        freshness = None if entry is None else entry.freshness(now, self._clock.time())
        if freshness is Freshness.REFRESH and entry is not None:
            self._refresh(question, entry)
        if freshness in {Freshness.FRESH, Freshness.REFRESH}:
            return question, Outcome(entry, freshness)
        until = self.cache.invalid.get(fingerprint)
        if until is not None and now < until:
            return question, Outcome(freshness=Freshness.FRESH)
        until = self.cache.unusable[fingerprint]
        if now < until:
            error = UnusableAnswer("content", "so it was a moment ago", retry_after=until - now)
            return question, Outcome(error=error)
        return (question if freshness is None else question._replace(stale=entry)), None

    def is_fresh(self, fingerprint: bytes) -> bool:
        """Whether a verdict is remembered that is not due for refresh."""
        now = self._monotonic()
        entry = self.cache.valid.get(fingerprint)
        if entry is not None:
            return entry.freshness(now, self._clock.time()) is Freshness.FRESH
        until = self.cache.invalid.get(fingerprint)
        return until is not None and now < until

    def ask(self, question: Question) -> Outcome:
        """The outcome of a question, at the latest when the caller's deadline ends.

        A hook that runs in the caller's own thread ends when it ends.
        """
        until = time.monotonic() + self._settings.validator_timeout
        process = self._process.get()
        process.forget_closed_loops()
        hook = process.hook
        started = self._start(question, until, mine=hook is not None and hook.here is not None)
        if isinstance(started, Outcome):
            return started
        verification, mine = started
        if mine and hook is not None and hook.here is not None:
            process.verifications.run_here(verification, hook.here)
        while not verification.future.done() and (left := self._left(question, verification, until)) > 0:
            # Unlike result(), this does not raise one exception in many threads.
            with suppress(TimeoutError):
                verification.future.exception(left)
        return self._outcome(question, verification)

    async def ask_async(self, question: Question) -> Outcome:
        """As :meth:`ask`, without blocking the event loop."""
        import asyncio

        until = time.monotonic() + self._settings.validator_timeout
        process = self._process.get()
        process.forget_closed_loops()
        hook = process.hook
        started = self._start(question, until, mine=hook is not None and hook.on_loop is not None)
        if isinstance(started, Outcome):
            return started
        verification, mine = started
        if mine and hook is not None and hook.on_loop is not None:
            # A task of its own: a caller that is cancelled takes nothing away from the others.
            within = None if hook.holds else self._settings.validator_timeout
            task = asyncio.create_task(
                process.verifications.run_on_loop(verification, hook.on_loop, within=within)
            )
            process.keep(task, verification)
            if hook.holds:
                await asyncio.wait([task])
        future = asyncio.wrap_future(verification.future)
        while not verification.future.done() and (left := self._left(question, verification, until)) > 0:
            # wait() leaves the future alone when it times out and when its caller is cancelled.
            await asyncio.wait([future], timeout=left)
        return self._outcome(question, verification)

    def ask_later(self, question: Question, tell: Callable[[Question, Outcome], None]) -> None:
        """Have a question answered in the background and told to ``tell`` then."""
        started = self._start(question, None, mine=False)
        if isinstance(started, Outcome):
            tell(question, started)
            return
        verification = started.verification
        verification.future.add_done_callback(lambda _: tell(question, self._outcome(question, verification)))

    def _start(self, question: Question, until: float | None, *, mine: bool) -> Outcome | Joined:
        """The verification to wait for, or the outcome at once."""
        process = self._process.get()
        fingerprint, stale = question.fingerprint, question.stale
        rests_until = self.cache.failed[fingerprint]
        # What may serve stale does so at once where the last verification of this very key failed,
        # or the breaker is open; and then one is under way behind it, or failed a moment ago.
        at_once = stale is not None and (rests_until != NEVER or process.breaker.is_open)
        if at_once and self._monotonic() < rests_until:
            return Outcome(stale, Freshness.STALE)
        try:
            joined = process.verifications.join(
                fingerprint,
                question.credential,
                peer=question.peer,
                mine=mine and not at_once,
                until=None if at_once else until,
            )
        except Overloaded as error:
            if stale is not None and _is_refused_by_the_breaker(error):
                return Outcome(stale, Freshness.STALE)
            return Outcome(error=error)
        if joined is None:
            question, outcome = self.known(question)
            return self._start(question, until, mine=mine) if outcome is None else outcome
        return Outcome(stale, Freshness.STALE) if at_once else joined

    def _left(self, question: Question, verification: Verification, until: float) -> float:
        """Seconds for which a caller goes on waiting.

        One with a stale verdict is served as soon as the key service took its whole deadline, and
        waits a moment longer for that where it comes just after his own.
        """
        now = time.monotonic()
        if question.stale is None:
            return until - now
        last = until + self._settings.validator_timeout * _LAST_MOMENTS
        started = verification.started
        if started is None:  # it may begin at any moment, so the longer wait comes second
            return until - now if now < until else last - now
        its_end = started + self._settings.validator_timeout
        return (its_end if its_end <= last else until) - now

    def _outcome(self, question: Question, verification: Verification) -> Outcome:
        """How a verification ended, or did not end, for one of those who waited for it."""
        process = self._process.get()
        answer: Remembered | VerificationError | None
        if verification.future.done():
            answer = verification.future.result()
        elif process.verifications.took_all_its_time(verification):
            answer = KeyServiceUnavailable("timeout")
        elif verification.started is None:
            answer = Overloaded("no_slot")
        else:
            answer = SlowAnswer()
        if not isinstance(answer, VerificationError):
            return Outcome(answer)
        if question.stale is not None and (
            tells_of_an_outage(answer) or _is_refused_by_the_breaker(answer) or _met_silence(answer, process)
        ):
            # It could serve when the caller came; by now its time may be over, or it was revoked.
            entry = self.cache.valid.get(question.fingerprint)
            if entry is not None and entry.freshness(self._monotonic(), self._clock.time()) is not None:
                return Outcome(entry, Freshness.STALE)
        return Outcome(error=answer)

    def _refresh(self, question: Question, entry: Remembered) -> None:
        """Start a background verification of an entry, which is simply fresh until that has ended."""
        fingerprint = question.fingerprint
        now = self._monotonic()
        postponed = entry.postponed(now + _REFRESH_REST)
        if self.cache.failed[fingerprint] <= now:
            try:
                if self._process.get().verifications.join(fingerprint, question.credential) is not None:
                    postponed = entry.postponed(None)
            except Overloaded:
                pass
        self.cache.swap(fingerprint, entry, postponed)

    # -- verdicts ------------------------------------------------------------------------------

    def note(self, verification: Verification, answer: Remembered | VerificationError | None) -> None:
        """Note how a verification ended, for those who ask about the same credential next."""
        fingerprint = verification.fingerprint
        if tells_of_an_outage(answer if isinstance(answer, VerificationError) else None):
            if verification.known:
                until = self._monotonic() + _REFRESH_REST
                self.cache.rest(fingerprint, until)
                self._postpone(fingerprint, until)
            return
        self.cache.answered(fingerprint)
        if isinstance(answer, VerificationError) and verification.known:
            self._postpone(fingerprint, self._monotonic() + _REFRESH_REST)
        if isinstance(answer, UnusableAnswer):
            self.cache.put_unusable(fingerprint, self._monotonic() + _UNUSABLE_REST)

    def _postpone(self, fingerprint: bytes, until: float) -> None:
        """Have a refresh that failed tried again, then."""
        entry = self.cache.valid.get(fingerprint)
        if entry is not None:
            self.cache.swap(fingerprint, entry, entry.postponed(until))

    def store(self, fingerprint: bytes, verdict: Verdict) -> Remembered | None:
        """Remember a verdict, as long as the settings and the key service say; what is kept of it."""
        return self.keep(fingerprint, verdict, True)

    def keep(
        self, fingerprint: bytes, verdict: Verdict, remembered: bool, *, age: float = 0.0
    ) -> Remembered | None:
        """What is kept of a verdict.

        :param remembered: whether it is remembered, too.
        :param age: seconds since the key service gave it.
        """
        chance = random.random()  # noqa: S311 - spreads load, hides nothing
        now, wall_time = self._monotonic() - age, self._clock.time() - age
        entry = None
        if verdict.valid:
            entry = self._lifetimes.remember(verdict, now=now, wall_time=wall_time, chance=chance)
        if not remembered:
            return entry
        if entry is not None:
            self.cache.put_valid(fingerprint, entry)
        else:
            self.cache.put_invalid(
                fingerprint, self._lifetimes.invalid_until(verdict, now=now, chance=chance)
            )
        return entry

    # -- revocation ----------------------------------------------------------------------------

    def revoke_one(self, fingerprint: bytes) -> int:
        """Forget one fingerprint. Returns how many valid credentials were forgotten."""
        self._forget_shared(fingerprint)
        self._process.get().verifications.revoke(fingerprint)
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
        self._forget_shared(None)
        self._process.get().verifications.revoke(None)
        return self.cache.clear()

    def _revoke_matching(self, matches: Callable[[bytes, Remembered | None], bool]) -> int:
        # Nor is known whose verdicts others share.
        self._forget_shared(None)
        # Whose credential is under way is not known yet: none of those answers is remembered.
        self._process.get().verifications.revoke(None)
        return self.cache.drop(matches)

    def _forget_shared(self, fingerprint: bytes | None) -> None:
        """First of all, so that nothing forgotten here comes back from there."""
        if self.shared is not None:
            self.shared.forget(fingerprint)

    # -- the process ---------------------------------------------------------------------------

    def _begin_process(self) -> Process:
        self.cache.renew()
        return Process(self, self._settings, self._clock)

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice; then only what is remembered is answered."""
        process = self._process.made()
        if process is not None:
            process.close()

    def stats(self) -> Mapping[str, int | bool]:
        """Entries, threads and verifications of this process, with stable names."""
        process = self._process.made()
        return {
            "cached_valid": len(self.cache.valid),
            "cached_invalid": len(self.cache.invalid),
            "verifications": 0 if process is None else process.verifications.started,
            "verifications_under_way": 0 if process is None else process.verifications.under_way,
            "verification_threads": 0 if process is None else process.verifications.threads,
            "breaker_open": process is not None and process.breaker.is_open,
        }


def _is_refused_by_the_breaker(error: VerificationError) -> bool:
    return isinstance(error, Overloaded) and error.cause == "breaker_open"


def _met_silence(error: VerificationError, process: Process) -> bool:
    """Whether a caller waited in vain because others' verifications do, and not because many wait."""
    in_vain = isinstance(error, SlowAnswer) or (isinstance(error, Overloaded) and error.cause == "no_slot")
    return in_vain and process.breaker.is_silent
