"""What belongs to one process: its connection to the key service and what is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from apikey_guard.assembly import make_key_service
from apikey_guard.clock import Clock
from apikey_guard.core.freshness import Remembered
from apikey_guard.core.model import Verdict
from apikey_guard.keyservice import KeyService
from apikey_guard.keyservice.called import CalledKeyService
from apikey_guard.settings import Settings
from apikey_guard.verification.breaker import Breaker
from apikey_guard.verification.inflight import Verifications
from apikey_guard.verification.memory import MemoryCache
from apikey_guard.verification.shared import Shared
from apikey_guard.verification.slots import Answer, Verification

if TYPE_CHECKING:
    import asyncio


class Memory(Protocol):
    """What verifications tell and ask of what is remembered."""

    cache: MemoryCache
    shared: Shared | None

    def is_fresh(self, fingerprint: bytes) -> bool:
        """Whether a verdict is remembered that is not due for refresh."""
        ...

    def keep(
        self, fingerprint: bytes, verdict: Verdict, remembered: bool, *, age: float = 0.0
    ) -> Remembered | None:
        """What is kept of a verdict, and remembered, too, if it may be."""
        ...

    def note(self, verification: Verification, answer: Answer) -> None:
        """How a verification ended."""
        ...


class Process:
    """The key service of one process, and the verifications that are under way there.

    :param memory: what is remembered, whichever process it was in.
    """

    def __init__(self, memory: Memory, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._making = threading.Lock()
        self._key_service: KeyService | None = None
        # What runs on callers' event loops, and what to do where it never ends: a loop may be closed
        # with its tasks still in it.
        self._tasks: dict[asyncio.Task[None], Callable[[], None]] = {}
        # A probe that never reports is given up when its caller has been for some time.
        self.breaker = Breaker(clock, probe_timeout=2 * settings.validator_timeout)
        self.verifications = Verifications(
            verify=lambda credential: self.key_service.verify(credential),
            known=memory.is_fresh,
            lately=memory.cache.valid,
            store=memory.keep,
            ended=memory.note,
            concurrency=settings.validator_max_concurrency,
            timeout=settings.validator_timeout,
            breaker=self.breaker,
            shared=memory.shared,
        )

    @property
    def key_service(self) -> KeyService:
        """The key service, made on first use: one that cannot be made is unavailable like any other."""
        with self._making:
            if self._key_service is None:
                self._key_service = make_key_service(self._settings, self._clock)
            return self._key_service

    @property
    def hook(self) -> CalledKeyService | None:
        """The key service of the app's own, if it is one and may be asked by callers themselves."""
        if self._settings.key_service is None or self._settings.key_service_in_pool:
            return None
        made = self.key_service
        return made if isinstance(made, CalledKeyService) else None

    def keep(self, task: asyncio.Task[None], verification: Verification) -> None:
        """See to the end of a verification that runs on a caller's event loop."""
        # One that is cancelled before its first step never runs a line of its own.
        self._tasks[task] = partial(self.verifications.left_by_its_loop, verification)
        task.add_done_callback(self._forget)

    def forget_closed_loops(self) -> None:
        """End the verifications of event loops that are no more."""
        for task in list(self._tasks):
            if task.get_loop().is_closed():
                self._forget(task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        left = self._tasks.pop(task, None)
        if left is not None:
            left()

    def close(self) -> None:
        self.verifications.close()
        if self._key_service is not None:
            self._key_service.close()
