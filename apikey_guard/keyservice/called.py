"""A key service of the app's own: a function or an object, plain or async."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, cast

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.keyservice import Hook
from apikey_guard.keyservice.fields import sendable, unusable

if TYPE_CHECKING:
    from apikey_guard.keyservice.loop import OwnLoop

logger = logging.getLogger("apikey_guard")

_Function = Callable[[Credential], Verdict]
_Async = Callable[[Credential], Awaitable[Verdict]]


class CalledKeyService:
    """A key service of the app's own: keys in its database.

    Its verdicts become header values as well, so they have to be as usable as a remote service's.

    :param given: a function, credential to verdict, or an object whose ``verify`` is one; plain or
        async. An object's ``close`` is called too, where it has one. It may have ways of its own to
        be asked, ``verify_here`` in the caller's thread and ``verify_async`` on his event loop; one
        with ``in_pool = True`` is asked from threads of the guard only.
    :param loop: runs what is async where there is no event loop of a caller.
    :ivar here: asks in the thread of a caller; None where that is not to be done.
    :ivar on_loop: asks on the event loop of a caller; None where that is not to be done.
    :ivar holds: whether what runs on a loop cannot be cancelled, so that its caller waits for it.
    """

    def __init__(self, given: Hook, loop: OwnLoop) -> None:
        verify: object = getattr(given, "verify", None)
        called = verify if callable(verify) else given
        self._loop = loop
        self._close: Callable[[], None] | None = getattr(given, "close", None)
        plain = None if is_async(called) else cast("_Function", called)
        awaited = cast("_Async", called) if is_async(called) else None
        self._plain, self._awaited = plain, awaited
        self.here: _Function | None = None
        self.on_loop: _Async | None = None
        self.holds = bool(getattr(given, "holds", False))
        if getattr(given, "in_pool", False):
            return
        here: _Function | None = getattr(given, "verify_here", None) or plain
        on_loop: _Async | None = getattr(given, "verify_async", None) or awaited
        self.here = None if here is None else partial(_checked, here)
        self.on_loop = None if on_loop is None else partial(_checked_async, on_loop)

    def verify(self, credential: Credential) -> Verdict:
        """Ask from a thread of the guard."""
        if self._awaited is not None:
            return self._loop.run(_checked_async(self._awaited, credential))
        if self._plain is None:
            raise AssertionError("a hook is plain or async")
        return _checked(self._plain, credential)

    def stop(self) -> None:
        """Let go of what is ours, and leave the app's own object as it is."""
        self._loop.close()

    def close(self) -> None:
        self.stop()
        if self._close is not None:
            self._close()


def is_async(called: object) -> bool:
    """Whether calling it gives something to be awaited."""
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(
        getattr(type(called), "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


def _checked(verify: _Function, credential: Credential) -> Verdict:
    return _reported(verify(credential))


async def _checked_async(verify: _Async, credential: Credential) -> Verdict:
    return _reported(await verify(credential))


def _reported(verdict: object) -> Verdict:
    try:
        return usable(verdict)
    except KeyServiceUnavailable as error:
        # Nobody else would tell the author of the hook what is wrong with it.
        logger.error("the hook key_service gave no usable verdict: %s", error.detail)
        raise


def usable(verdict: object) -> Verdict:
    """The verdict, where it is one that can be used; no message repeats a value of it.

    :raises UnusableAnswer: it is none, does not say exactly whether the credential is valid,
        or has a text that cannot be a header value.
    """
    if not isinstance(verdict, Verdict) or not isinstance(verdict.valid, bool):
        raise unusable("it is no Verdict whose valid is True or False")
    consumer: object = Consumer() if verdict.consumer is None else verdict.consumer
    if not isinstance(consumer, Consumer) or not isinstance(cast("object", consumer.scopes), AbstractSet):
        raise unusable("its consumer is no Consumer with a set of scopes")
    if not isinstance(cast("object", consumer.metadata), Mapping):
        raise unusable("the metadata of its consumer are no mapping")
    numbers: dict[str, object] = {"ttl": verdict.ttl, "expires_at": verdict.expires_at}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise unusable(f"its {name!r} is no number")
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
