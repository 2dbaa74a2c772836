"""Verifications under way: one per credential, few at once, each with an end.

One mechanism serves every caller, sync or async: a request joins the verification of its
fingerprint or starts one, and waits on a future. Every verification needs one of a few slots; it
waits for it in :mod:`apikey_guard.verification.lanes`. With a slot it runs in a daemon thread of
the pool, or where the caller who came first has it run: in his thread, or on his event loop. So a hanging key
service holds these slots and nothing else; a failure is shared by all who wait for it; and a
caller who gives up takes nothing away from the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, Protocol

from apikey_guard.core.freshness import Remembered
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import (
    KeyServiceUnavailable,
    Overloaded,
)
from apikey_guard.verification.answers import answer_of, ends_its_caller, tell_breaker
from apikey_guard.verification.breaker import Breaker
from apikey_guard.verification.shared import Shared
from apikey_guard.verification.slots import Answer, Slots, Verification, wake

# A wait may end this many seconds early.
_TOLERANCE = 0.001


class Store(Protocol):
    """Remembers verdicts."""

    def __call__(
        self, fingerprint: bytes, verdict: Verdict, remembered: bool, *, age: float = 0.0
    ) -> Remembered | None: ...


class Joined(NamedTuple):
    """A verification to wait for.

    :param mine: whether the caller has to run it himself, as soon as it has a slot.
    """

    verification: Verification
    mine: bool


class Verifications:
    """The verifications under way in this process.

    :param verify: asks the key service from a thread of the pool.
    :param known: whether a fresh verdict is remembered.
    :param lately: by fingerprint, the credentials whose last verdict was valid.
    :param store: remembers a verdict and says what is kept of it.
    :param ended: told how each one ended, or that it took its whole deadline.
    :param concurrency: how many run at once.
    :param timeout: seconds for which a caller waits.
    :param breaker: asked before the key service is, and told how that ended.
    :param shared: asked first, where the verification runs.
    """

    def __init__(
        self,
        *,
        verify: Callable[[Credential], Verdict],
        known: Callable[[bytes], bool],
        lately: Mapping[bytes, object],
        store: Store,
        ended: Callable[[Verification, Answer], None],
        concurrency: int,
        timeout: float,
        breaker: Breaker,
        shared: Shared | None = None,
    ) -> None:
        self._verify = verify
        self._is_known = known
        self._lately = lately
        self._store = store
        self._ended = ended
        self._timeout = timeout
        self._breaker = breaker
        self._shared = shared
        self._changed = threading.Condition()
        self._under_way: dict[bytes, Verification] = {}
        self._slots = Slots(
            self._changed, self._run_in_pool, concurrency=concurrency, timeout=timeout, lately=lately
        )
        self._started = 0
        self._closed = False

    def join(
        self,
        fingerprint: bytes,
        credential: Credential,
        *,
        peer: str = "",
        mine: bool = False,
        until: float | None = None,
    ) -> Joined | None:
        """The verification of this fingerprint: the one under way, or a new one.

        :param peer: where the request comes from; networks take turns.
        :param mine: whether the caller would run a new one himself.
        :param until: the monotonic second until which the caller waits; None: one deadline from now.
        :returns: None where a verdict was remembered just now, so that nobody need ask.
        :raises Overloaded: there is no room to wait, or the breaker is open.
        """
        with self._changed:
            now = time.monotonic()
            deadline = now + self._timeout if until is None else until
            earlier = self._under_way.get(fingerprint)
            if earlier is not None and earlier.answers_newcomers(now):
                if earlier.started is None:  # it is given up with the last who waits for it
                    earlier.deadline = max(earlier.deadline, deadline)
                return Joined(earlier, mine=False)
            # A caller may have looked into the cache just before the last verification ended.
            if self._is_known(fingerprint):
                return None
            if self._closed:
                raise Overloaded("closed")
            known = fingerprint in self._lately
            if self._shared is None and not self._breaker.admits(known=known):
                raise Overloaded("breaker_open", self._breaker.retry_after())
            if earlier is not None:
                earlier.overdue = None  # it has ended, and would be kept alive
            verification = Verification(fingerprint, credential, deadline, known=known, overdue=earlier)
            verification.admitted = self._shared is None
            if mine:
                verification.turn = Future()
                verification.turn.set_running_or_notify_cancel()
            late = []
            dropped = self._slots.put(verification, peer=peer)
            if dropped is not verification:
                self._under_way[fingerprint] = verification
                self._started += 1
                late = self._slots.give()
        for other in late:
            self._end(other, Overloaded("no_thread" if other.has_slot else "no_slot"))
        if dropped is not None:
            self._end(dropped, Overloaded("queue_full"))
            if dropped is verification:
                raise Overloaded("queue_full")
        return Joined(verification, mine)

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

    def close(self) -> None:
        """Start nothing more and let the threads end. May be called twice."""
        with self._changed:
            self._closed = True
            abandoned = self._slots.close()
        for verification in abandoned:
            self._end(verification, Overloaded("closed"))

    def took_all_its_time(self, verification: Verification) -> bool:
        """Whether the key service was asked and gave no answer within its whole deadline.

        The breaker is told now, as nobody knows whether it ever ends.
        """
        started = verification.started
        if started is None or time.monotonic() - started < self._timeout - _TOLERANCE:
            return False
        with self._changed:
            first, verification.told = not verification.told, True
        if first and not verification.ended:
            self._breaker.failed(verification.fingerprint, "timeout", known=verification.known)
            self._ended(verification, KeyServiceUnavailable("timeout"))
        return True

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
        """How many threads of the pool there are."""
        return self._slots.threads

    # -- running -------------------------------------------------------------------------------

    def run_here(self, verification: Verification, verify: Callable[[Credential], Verdict]) -> None:
        """Run one's own verification in this thread, as soon as it has a slot."""
        turn = verification.turn
        if turn is None:
            return
        try:
            turn.exception(self._timeout)
        except TimeoutError:
            self.hand_over(verification)
        except BaseException:
            self.hand_over(verification)
            raise
        else:
            self._run(verification, verify, ended=ends_its_caller)

    async def run_on_loop(
        self,
        verification: Verification,
        verify: Callable[[Credential], Awaitable[Verdict]],
        *,
        within: float | None,
    ) -> None:
        """Run one's own verification on this event loop, as soon as it has a slot.

        :param within: seconds after which it is cancelled, or None where that is not possible.
        """
        import asyncio

        turn = verification.turn
        if turn is None:
            return
        try:
            await asyncio.wait([asyncio.wrap_future(turn)], timeout=self._timeout)
        except BaseException:
            self.hand_over(verification)
            raise
        if not turn.done():
            self.hand_over(verification)
            return
        credential = await self._begin_off_the_loop(verification)
        if credential is None:
            return
        answer: object = None
        scope = asyncio.timeout(within)
        try:
            async with scope:
                answer = await verify(credential)
        except TimeoutError as error:
            answer = KeyServiceUnavailable("timeout") if scope.expired() else error
        except (asyncio.CancelledError, GeneratorExit) as error:
            answer = error
            raise
        except BaseException as error:  # noqa: BLE001 - as in _run
            answer = error
        finally:
            del credential
            self._finish(verification, answer)
        if self._shared is not None:
            # Nobody waits for it: the loop may end with its caller.
            asyncio.get_running_loop().run_in_executor(None, self._share, verification, answer)

    async def _begin_off_the_loop(self, verification: Verification) -> Credential | None:
        """What may ask level two waits in a thread."""
        if self._shared is None:
            return self._begin(verification)
        import asyncio

        return await asyncio.to_thread(self._begin, verification)

    def hand_over(self, verification: Verification) -> None:
        """Leave one's own verification to the pool."""
        failed = False
        with self._changed:
            if verification.turn is None:
                return
            verification.turn = None
            if verification.has_slot and not verification.ended and verification.started is None:
                failed = not self._slots.into_pool(verification)
        if failed:
            self._end(verification, Overloaded("no_thread"))

    def left_by_its_loop(self, verification: Verification) -> None:
        """The event loop on which it was to run does that no more; nothing happens where it has ended."""
        if verification.started is None:
            self.hand_over(verification)
        else:
            self._end(verification, Overloaded("closed"))

    def _run_in_pool(self, verification: Verification) -> None:
        self._run(verification, self._verify)

    def _run(
        self,
        verification: Verification,
        verify: Callable[[Credential], Verdict],
        *,
        ended: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        credential = self._begin(verification)
        if credential is None:
            return
        answer: object
        try:
            answer = verify(credential)
        except BaseException as error:  # whatever a key service raises, callers must be told
            if ended(error):
                self._begin_again(verification, credential)
                del credential
                raise
            answer = error
        del credential
        self._finish(verification, answer)
        self._share(verification, answer)

    def _begin(self, verification: Verification) -> Credential | None:
        credential, verification.credential = verification.credential, None
        now = time.monotonic()
        if credential is None or verification.ended or now > verification.deadline:
            # Nobody waits for it any more: asking now would only add to the load.
            self._end(verification, Overloaded("no_slot"))
            return None
        if self._shared is not None and not self._asks_itself(verification, self._shared):
            return None
        verification.started = time.monotonic()
        return credential

    def _asks_itself(self, verification: Verification, shared: Shared) -> bool:
        """Whether the key service is to be asked: nobody shares an answer, and the breaker admits it."""
        said = shared.recall(verification.fingerprint)
        if said is not None:
            self._end(verification, self._remember(verification, said.verdict, age=said.age))
            return False
        if not verification.admitted and not self._breaker.admits(known=verification.known):
            self._end(verification, Overloaded("breaker_open", self._breaker.retry_after()))
            return False
        verification.admitted = True
        return True

    def _share(self, verification: Verification, answer: object) -> None:
        """Tell other workers what the key service said, unless the key was revoked meanwhile."""
        if self._shared is None or not isinstance(answer, Verdict):
            return
        if not verification.revoked:
            self._shared.tell(verification.fingerprint, answer)
        if verification.revoked:
            self._shared.take_back(verification.fingerprint)

    def _begin_again(self, verification: Verification, credential: Credential) -> None:
        """Have the pool run what its caller has begun, and does not end: the others still wait for it."""
        with self._changed:
            verification.started, verification.credential = None, credential
            verification.deadline = time.monotonic() + self._timeout
        self.hand_over(verification)

    def _finish(self, verification: Verification, answer: object) -> None:
        """End a verification for which the key service was asked."""
        outcome: Answer = KeyServiceUnavailable("error", type(answer).__name__)
        try:
            outcome = answer_of(
                answer, partial(self._remember, verification), on_loop=verification.turn is not None
            )
            tell_breaker(self._breaker, verification, outcome)
        finally:
            self._end(verification, outcome)

    def _remember(
        self, verification: Verification, verdict: Verdict, *, age: float = 0.0
    ) -> Remembered | None:
        """Store a verdict unless the key was revoked while it was on its way, or a later one is known."""
        with self._changed:
            entry = self._store(verification.fingerprint, verdict, not verification.revoked, age=age)
            if verification.overdue is not None:
                verification.overdue.revoked = True
        return entry

    def _end(self, verification: Verification, outcome: Answer) -> None:
        """End a verification, and those for whom nobody waits when its slot goes on to them."""
        ending = [(verification, outcome)]
        while ending:
            verification, outcome = ending.pop()
            with self._changed:
                if verification.ended:
                    continue
                verification.ended, verification.credential = True, None
                if self._under_way.get(verification.fingerprint) is verification:
                    del self._under_way[verification.fingerprint]
                if verification.has_slot:
                    self._slots.leave(verification)
                if verification.admitted and verification.started is None:
                    self._breaker.undecided(known=verification.known)
                self._ended(verification, outcome)
                late = self._slots.give()
            ending += [(other, Overloaded("no_thread" if other.has_slot else "no_slot")) for other in late]
            verification.future.set_result(outcome)
            wake(verification)
