"""An origin that the app itself speaks to: an object in the settings instead of URLs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeGuard

from apikey_guard.errors import PartFailed
from apikey_guard.forwarding import OriginAnswer, OriginClient, OriginRequest
from apikey_guard.http1.parser import is_header

logger = logging.getLogger("apikey_guard")


class GivenOrigin:
    """Sends by an object of the app's own; nothing of its answer is used before all of it is looked at.

    :param given: one and the same in all processes.
    """

    def __init__(self, given: OriginClient) -> None:
        self._given = given

    def send(self, request: OriginRequest) -> OriginAnswer:
        """As the object's; besides what it raises:

        :raises PartFailed: it gave no answer that can be sent on.
        """
        answer: object = self._given.send(request)
        if _can_be_sent(answer):
            return answer
        with suppress(Exception):  # it may be anything
            answer.body.close()  # type: ignore[attr-defined]  # the same
        raise PartFailed("the object of an origin gave no OriginAnswer that can be sent on")

    def close(self) -> None:
        _quietly(self._given.close)

    def abandon(self) -> None:
        _quietly(self._given.abandon)


def _can_be_sent(answer: object) -> TypeGuard[OriginAnswer]:
    match answer:
        case OriginAnswer(int(status), str(reason), list() | tuple() as headers, Iterable() as body):
            return (
                200 <= status <= 599
                and is_header(("Reason", reason))
                and all(map(is_header, headers))
                and not isinstance(body, str | bytes | bytearray | memoryview)
            )
    return False


def _quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception as error:  # noqa: BLE001 - somebody else's object; ours are still to be closed
        logger.warning("the object of an origin failed with %s while it was closed", type(error).__name__)
