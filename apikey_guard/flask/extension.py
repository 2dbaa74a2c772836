"""The extension: one line that puts a guard before a Flask app."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar, Unpack, cast

from flask import Flask, request
from werkzeug.local import LocalProxy

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import NO_SCOPES, Consumer, Decision
from apikey_guard.environ import CONSUMER, DECISION
from apikey_guard.flask.commands import make_commands
from apikey_guard.flask.context import InContext
from apikey_guard.flask.entrance import Entrance
from apikey_guard.flask.marks import ENTRANCE, Mark, checked, name_of, put
from apikey_guard.guard import Guard
from apikey_guard.settings import DEFAULTS, SettingsArgs, load_settings
from apikey_guard.settings.sources import PREFIX, from_text

if TYPE_CHECKING:
    from flask import Blueprint
    from flask.views import View

    Marked = TypeVar("Marked", bound=Callable[..., object] | type[View] | Blueprint)

EXTENSION: Final = "apikey_guard"


class ApiKeyGuard:
    """Lets a request reach a view only if the guard allows it.

    ::

        app = Flask(__name__)
        app.config["APIKEY_GUARD_VALIDATOR_URL"] = "https://keys.example.com/verify"
        guard = ApiKeyGuard(app)

    Everything needs a key, static files, 404 and 405 included, until it is marked otherwise. The
    app's :class:`~apikey_guard.Guard` is ``app.extensions["apikey_guard"]``; the extension itself
    holds no app, so one object serves any number of them.

    :param app: the app to guard; None leaves it to :meth:`init_app`.
    :param clock: of the guards that are made here, for ages and dates; tests move one by hand.
    :param given: settings as keyword arguments, for every app; they win over ``app.config``.
    :raises SettingsError: lists everything that is wrong with the settings.
    """

    def __init__(
        self, app: Flask | None = None, *, clock: Clock = SYSTEM_CLOCK, **given: Unpack[SettingsArgs]
    ) -> None:
        self._clock = clock
        self._given = given
        self._guards: weakref.WeakSet[Guard] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, guard: Guard | None = None, **given: Unpack[SettingsArgs]) -> None:
        """Put a guard before an app.

        Its settings are the keyword arguments, then ``APIKEY_GUARD_*`` of ``app.config``, then the
        environment and the TOML file.

        :param app: with its configuration loaded.
        :param guard: a guard made elsewhere; None makes one of the settings.
        :param given: settings for this app alone; they win over those of the extension.
        :raises SettingsError: lists everything that is wrong with the settings.
        :raises RuntimeError: the app has a guard already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError(
                f"the app {app.name!r} has a guard already; write ApiKeyGuard(app) or init_app(app), once"
            )
        if guard is None:
            merged: SettingsArgs = {**self._given, **given}
            settings = load_settings(framework=_config_of(app), **merged)
            if settings.key_service is not None:
                settings = replace(settings, key_service=InContext(app, settings))
            guard = Guard(settings, clock=self._clock)
        app.extensions[EXTENSION] = guard
        self._guards.add(guard)
        app.extensions[ENTRANCE] = Entrance(app, guard)
        app.cli.add_command(make_commands(app, guard))

    # -- marks ---------------------------------------------------------------------------------

    def public(self, marked: Marked) -> Marked:
        """Let everybody in: the key service is never asked, a key that is sent is removed.

        Works on view functions, view classes, their methods and whole blueprints, on either side of
        ``@app.route``. A path whose segments are not the same for everybody is not public. A view
        that wants to know who calls, if anybody, is :meth:`optional`.
        """
        put(marked, Mark("public"))
        return marked

    def optional(self, marked: Marked) -> Marked:
        """Let in who sends no key; a key that is sent must be valid."""
        put(marked, Mark("optional"))
        return marked

    def required(self, marked: Marked) -> Marked:
        """Refuse who sends no valid key, whatever a route, the blueprint or ``default_access`` says.

        For apps that guard some views only; anywhere else a view needs a key unless it is opened.
        """
        put(marked, Mark("required"))
        return checked(marked, NO_SCOPES)

    def require_scopes(self, *scopes: str) -> Callable[[Marked], Marked]:
        """Refuse, with 403, a valid key that lacks one of these scopes.

        Scopes of a view, its class and its blueprint add up. On a view of a public blueprint it
        makes that view need a key again; without arguments, it does only that.

        :param scopes: all of them are needed.
        """
        words: tuple[object, ...] = scopes
        for word in words:
            if not isinstance(word, str):
                raise TypeError(
                    f'write @guard.require_scopes("SCOPE") above {name_of(word)}, with the scopes'
                )

        def decorate(marked: Marked) -> Marked:
            put(marked, Mark("required", frozenset(scopes)))
            return checked(marked, frozenset(scopes))

        return decorate

    # -- tests ---------------------------------------------------------------------------------

    @contextmanager
    def as_consumer(self, consumer: Consumer | str, *, scopes: Collection[str] = ()) -> Iterator[Consumer]:
        """For tests: every request to the app counts as one with a valid key of this consumer.

        See :func:`apikey_guard.testing.as_consumer`. It holds for all apps of this extension.

        :param consumer: who calls; a text is the ``id`` of one.
        :param scopes: added to the consumer's own.
        :raises RuntimeError: the extension has no app yet.
        """
        guards = list(self._guards)
        if not guards:
            raise RuntimeError("there is no app to stand in for; call init_app first")
        # Imported here: an app in production needs none of it.
        from apikey_guard.testing import as_consumer

        with ExitStack() as stack:
            entered = [stack.enter_context(as_consumer(guard, consumer, scopes=scopes)) for guard in guards]
            yield entered[0]


def _config_of(app: Flask) -> dict[str, object]:
    """The app's own settings, without prefix, in lower case.

    A text for a setting that holds something else is read as in the environment: that is where
    ``from_prefixed_env`` has it from.
    """
    config: dict[str, object] = dict(app.config.get_namespace(PREFIX))
    for name, value in config.items():
        if isinstance(value, str) and name in DEFAULTS:
            config[name] = from_text(name, value, DEFAULTS[name])
    return config


#: Who calls: a :class:`~apikey_guard.Consumer`, or false where nobody needs to be known.
current_consumer = cast("Consumer", LocalProxy(lambda: request.environ.get(CONSUMER)))
#: What the guard has decided about the current request.
current_decision = cast("Decision", LocalProxy(lambda: request.environ.get(DECISION)))
