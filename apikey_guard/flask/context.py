"""A key service of the app's own, asked where the app's own code can run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Flask, current_app, has_app_context

from apikey_guard.assembly import called_key_service
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.settings import Settings


class InContext:
    """A hook that finds an application context of its app, in whatever thread it is asked.

    One that is there already is used, as Flask does for requests: in tests, what the test has not
    committed belongs to it.

    :param app: whose context it is.
    :param settings: with a hook, under whose name this is shown.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        given = settings.key_service
        if given is None:
            raise AssertionError("the settings have no hook")
        self._app = app
        self._key_service = called_key_service(given, settings)
        self.__wrapped__ = given
        here = self._key_service.here
        self.in_pool = here is None
        self.verify_here = None if here is None else partial(self._within, here)

    def verify(self, credential: Credential) -> Verdict:
        return self._within(self._key_service.verify, credential)

    def close(self) -> None:
        self._key_service.close()

    def _within(self, ask: Callable[[Credential], Verdict], credential: Credential) -> Verdict:
        if has_app_context() and current_app == self._app:
            return ask(credential)
        with self._app.app_context():
            return ask(credential)
