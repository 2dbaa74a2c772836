"""The way to the origins: one request goes in, one answer comes out, both in pieces.

:class:`OriginClient` is the seam. Whatever can send a request can stand behind it: what speaks to
URLs is :class:`apikey_guard.forwarding.targets.HttpOrigin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class OriginRequest(NamedTuple):
    """A request, complete but for where it goes.

    :param method: as the caller sent it.
    :param path: percent-encoded, from its first slash on.
    :param query: with its question mark, or "".
    :param headers: the lines, framing included, without ``Host``.
    :param host: the ``Host`` to send, or None for that of the target.
    :param body: in pieces that are framed for the wire already, or None where there is none.
        :class:`~apikey_guard.errors.BadRequest` out of it breaks the request off.
    :param caller: file descriptor of the caller's connection, to be watched while waiting.
    """

    method: str
    path: str
    query: str
    headers: bytes
    host: str | None = None
    body: Iterator[bytes] | None = None
    caller: int | None = None


class OriginBody(Protocol):
    """The body of an answer; it must be closed, and raises ``OriginAborted`` where it is cut."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """Give the connection back, or destroy it where the body was not read to its end."""
        ...


class OriginAnswer(NamedTuple):
    """An answer whose header has come.

    :param status: from 200 to 599.
    :param reason: the origin's phrase, or "".
    :param headers: in order, without those that end at this hop.
    :param body: all of it, where it came at once, or what brings it piece by piece.
    """

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    body: Iterable[bytes] | OriginBody


@runtime_checkable
class OriginClient(Protocol):
    """Sends requests to one origin; called from many threads at once."""

    def send(self, request: OriginRequest) -> OriginAnswer:
        """The origin's answer, as soon as its header is complete.

        :raises OriginError: there is none.
        :raises BadRequest: the caller's body ended too early; the origin has not got all of it.
        :raises CallerGone: nobody waits any more.
        """
        ...

    def close(self) -> None:
        """Close what is idle. May be called twice."""
        ...

    def abandon(self) -> None:
        """Let go of what a forked child inherited, without a lock that its parent may have held."""
        ...
