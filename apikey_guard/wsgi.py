"""The WSGI middleware: one line around an app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack, cast

from apikey_guard.assembly import make_forwarder
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Allow, Deny, Reason
from apikey_guard.environ import unicode_path
from apikey_guard.errors import SettingsError
from apikey_guard.guard import Guard
from apikey_guard.pending import Pending
from apikey_guard.rejections import respond
from apikey_guard.settings import Settings, SettingsArgs

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from apikey_guard.forwarding.forwarder import Forwarder


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
        self._begin = guard.begin
        self._forwarder = make_forwarder(guard.settings, guard.clock, has_app=app is not None)
        if app is None and self._forwarder is None:
            raise SettingsError(["origin: there is neither an app nor an origin; give one of them"])
        # Without one, everything has an origin.
        self.app = cast("WSGIApplication", app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            path = unicode_path(path)
        if self._forwarder is not None:
            return self._forward(self._forwarder, environ, path, start_response)
        # As guard.check(), but for the call that a hit does not need.
        begun = self._begin(environ, path)
        if begun.__class__ is not Allow and isinstance(begun, Pending) and isinstance(begun.settle(), Deny):
            return respond(begun.rejection(), environ, start_response)
        # Nothing stands around the app: what it raises is the server's to see.
        return self.app(environ, start_response)

    def _forward(
        self, forwarder: Forwarder, environ: WSGIEnvironment, path: str, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Aim, decide, send."""
        policy = self.guard.policy
        aim = forwarder.aim(environ, path, policy.rules)
        if isinstance(aim, Deny):
            rejection = policy.reject(aim, environ, policy.rule_of(environ, path))
            return respond(rejection, environ, start_response)
        begun = self._begin(environ, path, policy=policy, rule=aim.rule)
        if isinstance(begun, Pending) and isinstance(begun.settle(), Deny):
            return respond(begun.rejection(), environ, start_response)
        answer = forwarder.send(aim, environ, start_response)
        if isinstance(answer, Reason):
            return respond(policy.unanswered(answer, environ, aim.rule), environ, start_response)
        return self.app(environ, start_response) if answer is None else answer

    def close(self) -> None:
        """Let go of threads and sockets. May be called twice."""
        self.guard.close()
        if self._forwarder is not None:
            self._forwarder.close()
