"""The forwarder: it says where a request goes, and answers it with what an origin says.

A request is aimed first, then decided about, then sent: what cannot be forwarded as it is decided
about is refused before anybody is asked. The answer goes back as it comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from werkzeug.http import HTTP_STATUS_CODES

from apikey_guard.core.model import Consumer, Deny, Reason
from apikey_guard.core.rules import Rule, Rules, Way
from apikey_guard.environ import CONSUMER, ORIGIN, Environ
from apikey_guard.errors import (
    BadRequest,
    CallerGone,
    LengthRequired,
    OriginBusy,
    OriginError,
    OriginTimeout,
    PartFailed,
    UpgradeUnsupported,
)
from apikey_guard.forwarding import OriginAnswer, OriginClient
from apikey_guard.forwarding.headers import Hop
from apikey_guard.forwarding.outbound import outbound
from apikey_guard.forwarding.request_body import read_ahead
from apikey_guard.forwarding.wire_path import has_encoded_slash, literal_path, wire_path
from apikey_guard.process import PerProcess

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger("apikey_guard")

# The first one that fits holds.
_REASONS: Final = (
    (OriginTimeout, Reason.ORIGIN_TIMEOUT),
    (OriginBusy, Reason.ORIGIN_BUSY),
    (OriginError, Reason.ORIGIN_FAILED),
    (LengthRequired, Reason.LENGTH_REQUIRED),
    (UpgradeUnsupported, Reason.UPGRADE_UNSUPPORTED),
    (BadRequest, Reason.BAD_REQUEST),
)


class Aim(NamedTuple):
    """Where one request goes.

    :param rules: the guard's, and ``rule``: the one of them that holds, with its way.
    :param path: as it will be sent; None where only the hook could send it anywhere.
    """

    rules: Rules
    rule: Rule
    path: str | None


class Forwarder:
    """Sends what is allowed to its origin.

    :param make_clients: makes what sends to each origin, by its name; called once in each process.
    :param hop: writes the headers to send on.
    :param has_app: whether an app answers what has no origin.
    :param choose_origin: hook ``(environ, consumer)`` -> the name of an origin, or None.
    :param preserving: names of the origins that get the caller's ``Host``, unless a way says otherwise.
    :param take_out_standins: takes the stand-in of a key out of a request.
    """

    def __init__(
        self,
        make_clients: Callable[[], Mapping[str, OriginClient]],
        hop: Hop,
        *,
        has_app: bool = False,
        choose_origin: Callable[[WSGIEnvironment, Consumer | None], str | None] | None = None,
        preserving: Collection[str] = (),
        take_out_standins: Callable[[Environ], None] = lambda _: None,
    ) -> None:
        self._hop = hop
        self._has_app = has_app
        self._choose_origin = choose_origin
        self._preserving = frozenset(preserving)
        self._take_out_standins = take_out_standins
        # By process: connections must not be shared with a parent.
        self._clients = PerProcess(make_clients, abandon=_abandon)

    def aim(self, environ: Environ, path: str, rules: Rules) -> Aim | Deny:
        """Where a request goes; a Deny where it has an origin but could not be sent as it is decided about.

        :param path: decoded, as the guard decides about it.
        :param rules: the guard's.
        """
        try:
            rule = rules.plain_rules.get(path) or rules.rule(path, environ)
            if self._has_app and rule.way.origin is None:
                return Aim(rules, rule, None)
            return Aim(rules, rule, _path(environ, rules, rule.way))
        except Exception as error:  # noqa: BLE001 - the forwarder's own edge: a fault is a 500, never a pass
            return Deny(_reason_of(error, environ))

    def send(
        self,
        aim: Aim,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        may_go: Callable[[Environ], bool] = lambda _: True,
    ) -> Iterable[bytes] | Reason | None:
        """The answer to an allowed request, why there is none, or None: it is the app's to answer.

        :param may_go: asked before a request goes to an origin that only the hook has chosen.
        """
        try:
            answer = self._answer(aim, environ, may_go)
        except CallerGone:
            raise
        except Exception as error:  # noqa: BLE001 - the forwarder's own edge: nothing was answered yet
            return _reason_of(error, environ)
        if answer is None:
            return None if self._has_app else Reason.NO_ORIGIN
        body = answer.body
        try:
            phrase = answer.reason or HTTP_STATUS_CODES.get(answer.status, "Unknown")
            start_response(f"{answer.status} {phrase}", list(answer.headers))
        except BaseException:
            close = getattr(body, "close", None)
            if close is not None:
                close()
            raise
        return body

    def close(self) -> None:
        """Close idle connections; what is under way ends by itself."""
        for client in (self._clients.made() or {}).values():
            client.close()

    def _answer(self, aim: Aim, environ: Environ, may_go: Callable[[Environ], bool]) -> OriginAnswer | None:
        way, path = aim.rule.way, aim.path
        chosen = None if self._choose_origin is None else self._choose_origin(environ, environ.get(CONSUMER))
        origin = way.origin if chosen is None else chosen
        if origin is None or (path is None and not may_go(environ)):
            return None
        environ[ORIGIN] = origin
        if not way.standin:
            # Decided late: the guard may have taken this for a request to the app.
            self._take_out_standins(environ)
        client = self._clients.get()[origin]
        if path is None:
            path = _path(environ, aim.rules, way)
        preserve = origin in self._preserving if way.preserve_host is None else way.preserve_host
        request, frame = outbound(environ, path, self._hop, prefix=way.prefix, preserve_host=preserve)
        if frame.length or frame.chunked:
            request = request._replace(body=read_ahead(environ["wsgi.input"], frame))
        return client.send(request)


def _path(environ: Environ, rules: Rules, way: Way) -> str:
    path = wire_path(environ)
    # Where an encoded slash could lead to another route, two programs disagree about the path: the
    # origin may take parameters off a segment before it decodes, and then see another one.
    if has_encoded_slash(path) and not rules.goes_one_way(way, literal_path(path), environ):
        raise BadRequest("an encoded slash stands where routes part")
    return path


def _abandon(clients: Mapping[str, OriginClient]) -> None:
    for client in clients.values():
        client.abandon()


def _reason_of(error: Exception, environ: Environ) -> Reason:
    if isinstance(error, OriginError):
        logger.info("forwarding failed: %s (origin %s)", error, environ.get(ORIGIN))
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    # Any other text may hold anything.
    what = error if isinstance(error, PartFailed) else type(error).__name__
    logger.error("forwarding failed with %s: answered with 500", what)
    return Reason.INTERNAL_ERROR
