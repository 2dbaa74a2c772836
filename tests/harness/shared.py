"""Level two in plain memory, for as many guards as there are in one process."""

from __future__ import annotations

from apikey_guard import Verdict
from apikey_guard.core.level_two import SharedVerdict
from apikey_guard.testing import ManualClock


class InMemory:
    """Remembers verdicts for several guards.

    :param clock: that the guards have, too.
    :ivar asked: how often it was.
    :ivar failure: what every call raises, if anything.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.verdicts: dict[bytes, tuple[Verdict, float, float]] = {}
        self.asked = 0
        self.failure: Exception | None = None

    def get(self, fingerprint: bytes) -> SharedVerdict | None:
        self.asked += 1
        self._fail()
        found = self.verdicts.get(fingerprint)
        if found is None or self._clock.monotonic() >= found[2]:
            return None
        return SharedVerdict(found[0], self._clock.monotonic() - found[1])

    def put(self, fingerprint: bytes, verdict: Verdict, seconds: float) -> None:
        self._fail()
        now = self._clock.monotonic()
        self.verdicts[fingerprint] = (verdict, now, now + seconds)

    def forget(self, fingerprint: bytes | None) -> None:
        self._fail()
        if fingerprint is None:
            self.verdicts.clear()
        else:
            self.verdicts.pop(fingerprint, None)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class Nothing:
    """Remembers nothing."""

    __name__ = "nothing"

    def get(self, fingerprint: bytes) -> SharedVerdict | None:
        return None

    def put(self, fingerprint: bytes, verdict: Verdict, seconds: float) -> None:
        pass

    def forget(self, fingerprint: bytes | None) -> None:
        pass


nothing = Nothing()
