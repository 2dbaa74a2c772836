"""The WSGI middleware: one line around an app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.decision import Question
from apikey_guard.core.model import Allow, Deny
from apikey_guard.guard import Environ, Guard
from apikey_guard.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class GuardMiddleware:
    """Lets a request reach the wrapped app only if the guard allows it.

    ::

        app = GuardMiddleware(app, validator_url="https://keys.example.com/verify")

    The app's answer is passed on untouched: its iterable, its headers, its exceptions.

    :param app: the WSGI application to guard.
    :param guard: a guard made elsewhere; None makes one of the other arguments.
    :param settings: complete settings, instead of keyword arguments.
    :param clock: for ages and dates; tests move one by hand.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong with the settings.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        guard: Guard | None = None,
        settings: Settings | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **given: object,
    ) -> None:
        self.app = app
        self.guard = Guard(settings, clock=clock, **given) if guard is None else guard
        self._begin = self.guard.begin

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            path = unicode_path(path)
        # As guard.check(), but for the call that a hit does not need.
        decision = self._begin(environ, path)
        if decision.__class__ is not Allow:
            if isinstance(decision, Question):
                decision = self.guard.conclude(decision, self.guard.ask(decision), environ)
            if isinstance(decision, Deny):
                return self._reject(decision, environ, path, start_response)
        # Nothing stands around the app: what it raises is the server's to see.
        return self.app(environ, start_response)

    def _reject(
        self, deny: Deny, environ: Environ, path: str, start_response: StartResponse
    ) -> Iterable[bytes]:
        rejection = self.guard.reject(deny, environ, path)
        headers = [*rejection.headers, ("Content-Length", str(len(rejection.body)))]
        start_response(rejection.status_line, headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [rejection.body]


def unicode_path(path: str) -> str:
    """A WSGI path as Unicode (PEP 3333 shows its bytes as latin-1); what is no UTF-8 as U+FFFD."""
    try:
        return path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # No server may hand this over; whatever it is, it is not a canonical path. Marked at its end, so
        # that it still lies below the routes it begins with.
        return path + "\ufffd"
