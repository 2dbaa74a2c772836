"""Who knows the keys: the remote key service over HTTP, or a local file of hashed keys."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol, cast, runtime_checkable

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.keyservice.fields import sendable, unusable

logger = logging.getLogger("apikey_guard")


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


_Function = Callable[[Credential], Verdict]


class CalledKeyService:
    """A key service of the app's own: keys in its database.

    Its verdicts become header values as well, so they have to be as usable as a remote service's.

    :param given: a function, credential to verdict, or an object whose ``verify`` is one; called
        from several threads. An object's ``close`` is called too, where it has one.
    """

    def __init__(self, given: KeyService | Callable[[Credential], Verdict]) -> None:
        verify: object = getattr(given, "verify", None)
        self._verify: Callable[[Credential], object] = (
            verify if callable(verify) else cast("_Function", given)
        )
        self._close: Callable[[], None] | None = getattr(given, "close", None)

    def verify(self, credential: Credential) -> Verdict:
        verdict = self._verify(credential)
        try:
            return usable(verdict)
        except KeyServiceUnavailable as error:
            # Nobody else would tell the author of the hook what is wrong with it.
            logger.error("the hook key_service gave no usable verdict: %s", error.detail)
            raise

    def close(self) -> None:
        if self._close is not None:
            self._close()


def usable(verdict: object) -> Verdict:
    """The verdict, where it is one that can be used; no message repeats a value of it.

    :raises KeyServiceUnavailable: it is none, does not say exactly whether the credential is valid,
        or has a text that cannot be a header value.
    """
    if not isinstance(verdict, Verdict) or not isinstance(verdict.valid, bool):
        raise unusable("it is no Verdict whose valid is True or False")
    consumer: object = Consumer() if verdict.consumer is None else verdict.consumer
    if not isinstance(consumer, Consumer) or not isinstance(cast("object", consumer.scopes), AbstractSet):
        raise unusable("its consumer is no Consumer with a set of scopes")
    texts: dict[str, object] = {
        "id": consumer.id,
        "username": consumer.username,
        "custom_id": consumer.custom_id,
    }
    for name, value in (*texts.items(), ("credential_id", verdict.credential_id)):
        if value is not None and not isinstance(value, str):
            raise unusable(f"its {name!r} is no text")
        if value is not None:
            sendable(value, name)
    return verdict
