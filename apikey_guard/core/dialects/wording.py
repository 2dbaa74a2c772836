"""How the refusals of some routes look: made once by their dialect, and looked at before they are sent."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from apikey_guard.core.dialects import DIALECTS, Dialect
from apikey_guard.core.dialects.standard import STATUS, whole_seconds
from apikey_guard.core.extraction import Location
from apikey_guard.core.model import Deny, Reason, Rejection
from apikey_guard.errors import PartFailed
from apikey_guard.http1.parser import is_header

# Routes of one guard share a few wordings; each has a rejection for every reason and some seconds to wait.
_WORDINGS: Final = 1024
_REMEMBERED_REJECTIONS: Final = 128

# A preflight is refused by nobody, so it is no dialect's to word.
_ANSWERED: Final = Rejection(status=STATUS[Reason.PREFLIGHT], headers=(), body=b"", reason=Reason.PREFLIGHT)


class Wording:
    """How the refusals of some routes look; each one is made once.

    :param dialect: words them.
    :param locations: as in :meth:`Dialect.reject`, and so is ``realm``.
    """

    __slots__ = ("_dialect", "_locations", "_made", "_realm")

    def __init__(self, dialect: Dialect, locations: tuple[Location, ...], realm: str) -> None:
        self._dialect = dialect
        self._locations = locations
        self._realm = realm
        self._made: dict[Reason | tuple[Reason, int], Rejection] = {Reason.PREFLIGHT: _ANSWERED}

    def reject(self, deny: Deny) -> Rejection:
        """The response for a Deny.

        :raises PartFailed: the dialect gives none that can be sent.
        """
        key: Reason | tuple[Reason, int] = deny.reason
        if deny.retry_after is not None:
            key = deny.reason, whole_seconds(deny.retry_after)
        made = self._made.get(key)
        if made is None:
            made = sendable(
                self._dialect.reject(deny, locations=self._locations, realm=self._realm), "the dialect"
            )
            if len(self._made) >= _REMEMBERED_REJECTIONS:
                self._made = {Reason.PREFLIGHT: _ANSWERED}
            self._made[key] = made
        return made

    def of_fault(self) -> Rejection:
        """The response for a fault of ours; it needs nothing that can fail."""
        deny = Deny(Reason.INTERNAL_ERROR)
        return DIALECTS["standard"].reject(deny, locations=self._locations, realm=self._realm)


@lru_cache(_WORDINGS)
def _named(dialect: str, locations: tuple[Location, ...], realm: str) -> Wording:
    return Wording(DIALECTS[dialect], locations, realm)


def wording(dialect: str | Dialect, locations: tuple[Location, ...], realm: str) -> Wording:
    """How refusals look in a dialect; for one with a name, one and the same for the same words."""
    if isinstance(dialect, str):
        return _named(dialect, locations, realm)
    return Wording(dialect, locations, realm)


def sendable(rejection: object, by: str) -> Rejection:
    """The rejection, where it is one that refuses and can be sent as it is.

    :param by: who made it, for the message, which repeats nothing of it.
    :raises PartFailed: it is none, lets pass (a status below 400), or would break the answer.
    """
    reason: object = getattr(rejection, "reason", None)
    if not isinstance(rejection, Rejection) or not isinstance(reason, Reason) or reason is Reason.PREFLIGHT:
        raise PartFailed(f"{by} gave no Rejection with a Reason")
    status: object = rejection.status
    if not isinstance(status, int) or not 400 <= status <= 599:
        raise PartFailed(f"{by} gave a Rejection whose status is no number from 400 to 599")
    headers: object = rejection.headers
    if not isinstance(headers, tuple | list) or not all(map(is_header, headers)):
        raise PartFailed(
            f"{by} gave a Rejection whose headers are not pairs of texts of one line each, about the answer"
        )
    texts: tuple[object, object] = rejection.body, rejection.detail
    if not isinstance(texts[0], bytes) or not isinstance(texts[1], str):
        raise PartFailed(f"{by} gave a Rejection whose body is not bytes, or whose detail is no text")
    # Its length is for whoever sends it to say.
    kept = tuple(header for header in rejection.headers if header[0].lower() != "content-length")
    return rejection if kept == rejection.headers else replace(rejection, headers=kept)
