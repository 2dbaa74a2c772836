"""A gateway as a WSGI app, for those who bring their own server.

::

    APIKEY_GUARD_CONFIG_FILE=gateway.toml gunicorn 'apikey_guard.gateway:create_app()'

Importing this module reads nothing; :func:`create_app` reads the settings. It answers what asks
whether it is alive, and writes the access log.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Unpack

from apikey_guard.assembly import open_by_default
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.errors import Problem, SettingsError
from apikey_guard.observe.access_log import access_logger, logged
from apikey_guard.settings import DEFAULTS, Settings, SettingsArgs, load_settings
from apikey_guard.settings.origins import may_forward
from apikey_guard.settings.sources import find
from apikey_guard.wsgi import GuardMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Gateway", "create_app", "gateway_settings"]

logger = logging.getLogger("apikey_guard")

_NO_ORIGIN: Final = Problem(
    "origin: a gateway needs somewhere to send requests to; give origin, a route with one, or choose_origin "
    "with origins",
    "no_origin",
)
_ALIVE: Final = b"ok\n"


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
    if not settings.forwards:
        raise SettingsError([_NO_ORIGIN])
    return settings


def _names_an_origin(given: Mapping[str, object]) -> bool:
    """Whether one is given, be it right or wrong; also where the file cannot be read, and nobody knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the settings were loaded
        found = find(DEFAULTS, given, None, os.environ)
    values = {name: found.values.get(name) for name in ("origin", "choose_origin", "routes")}
    return not found.complete or may_forward(**values)


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
        return logged(self.middleware, environ, start_response)

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice."""
        self.middleware.close()


def _alive(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What says that this process answers; it asks nobody, and knows nothing of key service and origins."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(_ALIVE)))]
    start_response("200 OK", [*headers, ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [_ALIVE]
