"""What all workers may remember together: the seat of level two."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from apikey_guard.core.model import Verdict


class SharedVerdict(NamedTuple):
    """A verdict that another worker may have had from the key service.

    :param age: seconds since the key service gave it, so that ages add up to one ttl and no more.
    """

    verdict: Verdict
    age: float


@runtime_checkable
class SharedCache(Protocol):
    """Remembers verdicts for all workers, by fingerprint; it never sees a credential.

    It is asked where a verification runs, with a slot, before the key service is; never on a hit. Each
    call should end within some 50 milliseconds. What it raises while it is asked or told counts as if it
    were not there.
    """

    def get(self, fingerprint: bytes) -> SharedVerdict | None:
        """What is remembered, or None. Called from several threads at once."""
        ...

    def put(self, fingerprint: bytes, verdict: Verdict, seconds: float) -> None:
        """Remember what the key service said just now, for so long and no longer."""
        ...

    def forget(self, fingerprint: bytes | None) -> None:
        """Forget one fingerprint, or, with None, all of them.

        What it raises is raised to whoever revokes: a revocation that did not arrive is not done.
        """
        ...
