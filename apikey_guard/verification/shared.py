"""Level two as verifications use it: whatever is wrong with it, it is as if there were none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from apikey_guard.clock import Clock
from apikey_guard.core.freshness import Lifetimes
from apikey_guard.core.level_two import SharedCache, SharedVerdict
from apikey_guard.core.model import Verdict
from apikey_guard.keyservice.called import usable

logger = logging.getLogger("apikey_guard")

T = TypeVar("T")

_QUIET_SECONDS = 60.0


class Shared:
    """What other workers were told, as far as it is young enough to count.

    :param cache: of the settings.
    :param lifetimes: how long verdicts serve.
    :param clock: keeps complaints apart.
    """

    def __init__(self, cache: SharedCache, lifetimes: Lifetimes, clock: Clock) -> None:
        self._cache = cache
        self._lifetimes = lifetimes
        self._clock = clock
        self._quiet_until = clock.monotonic()

    def recall(self, fingerprint: bytes) -> SharedVerdict | None:
        """What is remembered and would be fresh here, too; None where the key service is to be asked."""
        said = self._safely(lambda: self._cache.get(fingerprint))
        if said is None:
            return None
        now = self._clock.time()
        young = self._safely(lambda: self._lifetimes.is_young(usable(said.verdict), said.age, wall_time=now))
        return said._replace(age=max(said.age, 0.0)) if young else None

    def tell(self, fingerprint: bytes, verdict: Verdict) -> None:
        """Have others know what the key service said just now."""
        seconds = self._lifetimes.seconds_of(verdict, given_at=self._clock.time())
        if seconds > 0:
            self._safely(lambda: self._cache.put(fingerprint, verdict, seconds))

    def take_back(self, fingerprint: bytes) -> None:
        """Have others forget what they were told, as it was revoked meanwhile."""
        self._safely(lambda: self._cache.forget(fingerprint))

    def forget(self, fingerprint: bytes | None) -> None:
        """As :meth:`~apikey_guard.core.level_two.SharedCache.forget`, errors included."""
        self._cache.forget(fingerprint)

    def _safely(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - somebody else's object, which must never be felt
            now = self._clock.monotonic()
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET_SECONDS
                logger.warning("shared_cache failed with %s: as if there were none", type(error).__name__)
            return None
