"""Who knows the keys: the remote key service over HTTP, or a local file of hashed keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from apikey_guard.core.model import Credential, Verdict


@runtime_checkable
class KeyService(Protocol):
    """Answers one question: is this credential valid, and whose is it?"""

    def verify(self, credential: Credential) -> Verdict:
        """Ask about one credential. Called from several threads at once.

        :raises VerificationError: where no verdict could be had. Any other exception counts as
            *unavailable* too: it is never taken for a valid or an invalid credential.
        """
        ...

    def close(self) -> None:
        """Let go of every socket and file. May be called twice."""
        ...


#: What ``key_service`` may be: such an object, or the one function, plain or async.
Hook = KeyService | Callable[[Credential], Verdict] | Callable[[Credential], Awaitable[Verdict]]
