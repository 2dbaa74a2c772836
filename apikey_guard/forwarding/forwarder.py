"""The forwarder: a WSGI application that answers with what an origin says.

A request is aimed first, before it is decided about: what cannot be forwarded as it was decided is
refused then. When it has been allowed, it is sent; the answer goes back as it comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from werkzeug.http import HTTP_STATUS_CODES

from apikey_guard.core.model import Consumer, Deny, Reason
from apikey_guard.core.table import Router
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
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("apikey_guard")


#: Where a request carries its aim from before the decision until after it.
AIM: Final = "apikey_guard.aim"


_REASONS: Final = (
    (OriginTimeout, Reason.ORIGIN_TIMEOUT),
    (OriginBusy, Reason.ORIGIN_BUSY),
    (OriginError, Reason.ORIGIN_FAILED),
    (LengthRequired, Reason.LENGTH_REQUIRED),
    (UpgradeUnsupported, Reason.UPGRADE_UNSUPPORTED),
    (BadRequest, Reason.BAD_REQUEST),
)


class Way(NamedTuple):
    """Where the requests of one route go.

    :param origin: the name of an origin, or None: to the app.
    :param prefix: what is taken off the path, or None.
    :param preserve_host: whether the caller's ``Host`` is sent on; None is as the origin wants it.
    :param methods: and ``hosts``: of the route.
    :param standin: whether the route says itself that its origin gets stand-ins.
    """

    origin: str | None = None
    prefix: str | None = None
    preserve_host: bool | None = None
    methods: Collection[str] | None = None
    hosts: Collection[str] | None = None
    standin: bool = False


class Aim(NamedTuple):
    """Where one request goes.

    :param way: of the route that it matches.
    :param path: as it will be sent, or None where only the hook can say whether it is.
    """

    way: Way
    path: str | None


class _Rechecked(Exception):
    """What was allowed for the app is not for the origin that the hook has chosen."""

    def __init__(self, answering: WSGIApplication) -> None:
        super().__init__()
        self.answering = answering


Refuse = Callable[[Reason, "WSGIEnvironment", "StartResponse"], Iterable[bytes]]
Recheck = Callable[[Environ], "WSGIApplication | None"]


class Forwarder:
    """Sends what is allowed to its origin.

    :param ways: finds the way for a path.
    :param make_clients: makes what sends to each origin, by its name; called once in each process.
    :param hop: writes the headers to send on.
    :param refuse: answers a request that cannot be forwarded.
    :param recheck: asked before a request goes to an origin that only the hook has chosen: None, or
        what answers in its place.
    :param app: gets the requests that have no origin; None answers them with 404.
    :param choose_origin: hook ``(environ, consumer)`` -> the name of an origin, or None.
    :param preserving: names of the origins that get the caller's ``Host``, unless a way says otherwise.
    :param take_out_standins: takes the stand-in of a key out of a request.
    """

    def __init__(
        self,
        ways: Router[Way],
        make_clients: Callable[[], Mapping[str, OriginClient]],
        hop: Hop,
        *,
        refuse: Refuse,
        recheck: Recheck | None = None,
        app: WSGIApplication | None = None,
        choose_origin: Callable[[WSGIEnvironment, Consumer | None], str | None] | None = None,
        preserving: Collection[str] = (),
        take_out_standins: Callable[[Environ], None] = lambda _: None,
    ) -> None:
        self._ways = ways
        self._hop = hop
        self._refuse = refuse
        self._recheck = recheck
        self._app = app
        self._choose_origin = choose_origin
        self._preserving = frozenset(preserving)
        self._take_out_standins = take_out_standins
        # By process: connections must not be shared with a parent.
        self._clients = PerProcess(make_clients, abandon=_abandon)

    def aim(self, environ: Environ, path: str) -> Aim | None:
        """Where a request goes; None is the app.

        :param path: decoded, as the guard decides about it.
        :raises BadRequest: it goes to an origin, but could not be sent as it is decided about.
        """
        way = self._ways.match(path, environ)
        if way.origin is None and self._app is not None:
            return None if self._choose_origin is None else Aim(way, None)
        return Aim(way, self._path(environ, way))

    def take_aim(self, environ: Environ, path: str) -> Deny | None:
        """Note in the environ where a request goes, for :meth:`__call__`; or the Deny, where it cannot.

        :param path: as in :meth:`aim`.
        """
        try:
            environ[AIM] = self.aim(environ, path)
        except BadRequest:
            return Deny(Reason.BAD_REQUEST)
        except Exception as error:  # noqa: BLE001 - the forwarder's own edge: a fault is a 500, never a pass
            return Deny(_reason_of(error, environ))
        return None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Forward a request that was aimed before; the rest goes to the app."""
        aim: Aim | None = environ.pop(AIM, None)
        try:
            answer = None if aim is None else self._send(aim, environ)
        except CallerGone:
            raise
        except _Rechecked as found:
            return found.answering(environ, start_response)
        except Exception as error:  # noqa: BLE001 - the forwarder's own edge: nothing was answered yet
            return self._refuse(_reason_of(error, environ), environ, start_response)
        if answer is None:
            if self._app is None:
                return self._refuse(Reason.NO_ORIGIN, environ, start_response)
            return self._app(environ, start_response)
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

    # -- one request ---------------------------------------------------------------------------

    def _path(self, environ: Environ, way: Way) -> str:
        path = wire_path(environ)
        # Where an encoded slash could lead to another route, two programs disagree about the path: the
        # origin may take parameters off a segment before it decodes, and then see another one.
        if has_encoded_slash(path):
            found = self._ways.matches(literal_path(path), environ)
            if found is None or any(each is not way for each in found):
                raise BadRequest("an encoded slash stands where routes part")
        return path

    def _send(self, aim: Aim, environ: Environ) -> OriginAnswer | None:
        way = aim.way
        origin = self._origin(way, environ)
        if origin is None:
            return None
        if aim.path is None and self._recheck is not None:
            answering = self._recheck(environ)
            if answering is not None:
                raise _Rechecked(answering)
        environ[ORIGIN] = origin
        if not way.standin:
            # Decided late: the guard may have taken this for a request to the app.
            self._take_out_standins(environ)
        client = self._clients.get()[origin]
        path = self._path(environ, way) if aim.path is None else aim.path
        preserve = origin in self._preserving if way.preserve_host is None else way.preserve_host
        request, frame = outbound(environ, path, self._hop, prefix=way.prefix, preserve_host=preserve)
        if frame.length or frame.chunked:
            request = request._replace(body=read_ahead(environ["wsgi.input"], frame))
        return client.send(request)

    def _origin(self, way: Way, environ: Environ) -> str | None:
        if self._choose_origin is None:
            return way.origin
        chosen = self._choose_origin(environ, environ.get(CONSUMER))
        return way.origin if chosen is None else chosen


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
