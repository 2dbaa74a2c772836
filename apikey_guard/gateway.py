"""A gateway as a WSGI app, for those who bring their own server.

::

    APIKEY_GUARD_CONFIG_FILE=gateway.toml gunicorn 'apikey_guard.gateway:create_app()'

Importing this module reads nothing; :func:`create_app` reads the settings. It answers what asks
whether it is alive, and writes the access log.
"""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Unpack
from urllib.parse import quote

from apikey_guard.assembly import open_by_default
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Allow, Consumer, Deny, Freshness
from apikey_guard.environ import DECISION, UNANSWERED
from apikey_guard.errors import SettingsError
from apikey_guard.settings import DEFAULTS, Settings, SettingsArgs, load_settings
from apikey_guard.settings.sources import find
from apikey_guard.wsgi import GuardMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from _typeshed import OptExcInfo

    Headers = list[tuple[str, str]]
    Write = Callable[[bytes], object]

__all__ = ["Gateway", "create_app", "gateway_settings"]

#: One line for each request, at INFO. Where that is off, nothing is made for it.
access_logger = logging.getLogger("apikey_guard.access")

logger = logging.getLogger("apikey_guard")

_ORIGIN: Final = "apikey_guard.origin"

_NO_ORIGIN: Final = (
    "origin: a gateway needs somewhere to send requests to; give origin, a route with one, or choose_origin "
    "with origins"
)
_ALIVE: Final = b"ok\n"
_NOTHING: Final = "-"
_LONGEST_WORD: Final = 256
_plain_word = re.compile(r"[A-Za-z0-9_/.:~*@+-]{1,256}").fullmatch
# Percent-encoded otherwise: a word has no space, no quote, no equals sign and no control character.
_SAFE_IN_WORDS: Final = "/.:~*@+-_,;!()"
_LINE: Final = (
    "peer=%s method=%s path=%s status=%s ms=%.1f bytes=%d route=%s origin=%s consumer=%s fingerprint=%s "
    "cache=%s reason=%s end=%s"
)


def create_app(
    settings: Settings | None = None, *, clock: Clock = SYSTEM_CLOCK, **given: Unpack[SettingsArgs]
) -> Gateway:
    """A gateway: the guard, and behind it the origins of the settings.

    :param settings: complete settings; None loads them from ``given``, the environment and the TOML
        file that ``APIKEY_GUARD_CONFIG_FILE`` names.
    :param clock: for ages and dates; tests move one by hand.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong, a missing origin included.
    """
    return Gateway(gateway_settings(**given) if settings is None else settings, clock=clock)


def gateway_settings(**given: Unpack[SettingsArgs]) -> Settings:
    """The settings that hold, with an origin among them.

    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong.
    """
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        # Whoever starts one for the first time learns at once that an origin is missing too.
        missing = not _names_an_origin(given)
        raise SettingsError([*error.problems, *([_NO_ORIGIN] if missing else [])]) from None
    if not _has_origin(settings.origin, settings.choose_origin, settings.routes):
        raise SettingsError([_NO_ORIGIN])
    return settings


def _names_an_origin(given: Mapping[str, object]) -> bool:
    """Whether one is given, be it right or wrong; also where the file cannot be read, and nobody knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the settings were loaded
        found = find(DEFAULTS, given, None, os.environ)
    origin, chosen, routes = (found.values.get(name) for name in ("origin", "choose_origin", "routes"))
    return not found.complete or _has_origin(origin, chosen, routes)


def _has_origin(origin: object, chosen: object, routes: object) -> bool:
    in_routes = isinstance(routes, Iterable) and any(
        (route.get("origin") if isinstance(route, Mapping) else getattr(route, "origin", None)) is not None
        for route in routes
    )
    return origin is not None or chosen is not None or in_routes


class Gateway:
    """Answers for its origins: health first, then the guard, then what the origin says.

    :param settings: as :func:`gateway_settings` returns them.
    :param clock: for ages and dates; tests move one by hand.
    :raises SettingsError: there is no origin.
    """

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.middleware = GuardMiddleware(settings=settings, clock=clock)
        self.guard = self.middleware.guard
        opened = open_by_default(settings)
        if opened is not None:
            logger.warning("this gateway is open: %s", opened)
        self._health_path = settings.health_path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == self._health_path and environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return _alive(environ, start_response)
        if not access_logger.isEnabledFor(logging.INFO):
            return self.middleware(environ, start_response)
        return _logged(self.middleware, environ, start_response)

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice."""
        self.middleware.close()


def _alive(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What says that this process answers; it asks nobody, and knows nothing of key service and origins."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(_ALIVE)))]
    start_response("200 OK", [*headers, ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [_ALIVE]


# -- the access log ----------------------------------------------------------------------------


def _logged(app: GuardMiddleware, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    log = _Log(environ)

    def start(status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
        log.status = status[:3]
        return start_response(status, headers, exc_info)

    try:
        log.pieces = app(environ, start)
    except BaseException:
        log.close()
        raise
    return log


class _Log:
    """The answer as it is, piece by piece; its line is written when it is closed.

    :param environ: of the request.
    """

    __slots__ = ("_environ", "_next", "_sent", "_started", "_whole", "pieces", "status")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._started = time.perf_counter()
        self._environ: WSGIEnvironment | None = environ
        self._next: Callable[[], bytes] | None = None
        self._sent = 0
        self._whole = False
        self.pieces: Iterable[bytes] = ()
        self.status = _NOTHING

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        take = self._next
        if take is None:
            take = self._next = iter(self.pieces).__next__
        try:
            piece = take()
        except StopIteration:
            self._whole = True
            raise
        self._sent += len(piece)
        return piece

    def close(self) -> None:
        """Close the answer and write the line; once, however often it is called."""
        environ, self._environ = self._environ, None
        try:
            close = getattr(self.pieces, "close", None)
            if close is not None:
                close()
        finally:
            if environ is not None:
                self._write(environ)

    def _write(self, environ: WSGIEnvironment) -> None:
        decision: Allow | Deny | None = environ.get(DECISION)
        route = consumer = reason = None
        fingerprint, cache = _NOTHING, Freshness.NONE
        if decision is not None:
            route, cache, reason = decision.route, decision.freshness, decision.reason
            consumer = _name_of(decision.consumer)
            if decision.fingerprint is not None:
                fingerprint = decision.fingerprint.hex()[:12]
        method = environ["REQUEST_METHOD"]
        # Nothing can be cut off an answer without a body, and not every server asks for its pieces.
        whole = self._whole or (method == "HEAD" and self.status != _NOTHING)
        access_logger.info(
            _LINE,
            _word(environ.get("REMOTE_ADDR")),
            _word(method),
            # PEP 3333: latin-1 stands for the bytes.
            _word(environ.get("PATH_INFO"), "latin-1"),
            self.status,
            (time.perf_counter() - self._started) * 1000,
            self._sent,
            _word(route),
            _word(environ.get(_ORIGIN)),
            _word(consumer),
            fingerprint,
            _NOTHING if cache is Freshness.NONE else cache.value,
            environ.get(UNANSWERED) or reason or _NOTHING,
            "complete" if whole else "aborted",
        )


def _name_of(consumer: Consumer | None) -> str | None:
    return None if consumer is None else consumer.username or consumer.id or consumer.custom_id


def _word(text: str | None, encoding: str = "utf-8") -> str:
    """A text from elsewhere as one word of a line: percent-encoded, shortened, ``-`` where there is none."""
    if not text:
        return _NOTHING
    if _plain_word(text):
        return text
    escaped = quote(text[:_LONGEST_WORD].encode(encoding, "replace"), safe=_SAFE_IN_WORDS)
    return escaped if len(text) <= _LONGEST_WORD >= len(escaped) else f"{escaped[:_LONGEST_WORD]}..."
