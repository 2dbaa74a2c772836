"""The WSGI middleware: one line around an app."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Unpack

from apikey_guard.assembly import make_forwarder
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Allow, Decision, Deny, Reason, Rejection
from apikey_guard.environ import Environ, unicode_path
from apikey_guard.errors import SettingsError
from apikey_guard.guard import Guard
from apikey_guard.pending import Pending
from apikey_guard.settings import Settings, SettingsArgs

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from apikey_guard.forwarding.forwarder import Refuse


class GuardMiddleware:
    """Lets a request reach the wrapped app only if the guard allows it.

    ::

        app = GuardMiddleware(app, validator_url="https://keys.example.com/verify")

    The app's answer is passed on untouched: its iterable, its headers, its exceptions. What has an
    origin, by the settings or by its route, is forwarded there instead::

        app = GuardMiddleware(origin="https://api.internal", validator_url="https://keys.example.com/verify")

    :param app: the WSGI application to guard; None is a gateway, in which everything has an origin.
    :param guard: a guard made elsewhere; None makes one of the other arguments.
    :param settings: complete settings, instead of keyword arguments.
    :param clock: of the guard that is made here, for ages and dates; tests move one by hand.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong with the settings.
    """

    def __init__(
        self,
        app: WSGIApplication | None = None,
        *,
        guard: Guard | None = None,
        settings: Settings | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **given: Unpack[SettingsArgs],
    ) -> None:
        self.guard = guard = Guard(settings, clock=clock, **given) if guard is None else guard
        self._begin: Callable[[Environ, str], Decision | Pending] = guard.begin
        self._forwarder = make_forwarder(guard.settings, guard.clock, app=app, refuse=refusing(guard))
        if self._forwarder is not None:
            app, self._begin = self._forwarder, self._aimed
        if app is None:
            raise SettingsError(["origin: there is neither an app nor an origin; give one of them"])
        self.app: WSGIApplication = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            path = unicode_path(path)
        # As guard.check(), but for the call that a hit does not need.
        begun = self._begin(environ, path)
        if begun.__class__ is not Allow:
            if isinstance(begun, Pending):
                if isinstance(begun.settle(), Deny):
                    return _respond(begun.rejection(), environ, start_response)
            elif isinstance(begun, Deny):
                return _respond(self.guard.reject(begun, environ, path), environ, start_response)
        # Nothing stands around the app: what it raises is the server's to see.
        return self.app(environ, start_response)

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice."""
        self.guard.close()
        if self._forwarder is not None:
            self._forwarder.close()

    def _aimed(self, environ: Environ, path: str) -> Allow | Deny | Pending:
        """As ``guard.begin``, for a request that could be forwarded as it is decided about; else a Deny."""
        deny = self._forwarder.take_aim(environ, path) if self._forwarder is not None else None
        return self.guard.begin(environ, path) if deny is None else deny


def refusing(guard: Guard) -> Refuse:
    """What answers an allowed request that cannot be forwarded: the guard's rejections."""

    def refuse(reason: Reason, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return _respond(guard.unanswered(reason, environ), environ, start_response)

    return refuse


def _respond(rejection: Rejection, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    headers = list(rejection.headers)
    if rejection.status != 204:  # which has no length (RFC 9110, section 8.6)
        headers.append(("Content-Length", str(len(rejection.body))))
    start_response(rejection.status_line, headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [rejection.body]
