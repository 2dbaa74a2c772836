"""The guard that Django's settings ask for: made on first use, and anew when the settings change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import close_old_connections
from django.utils.module_loading import import_string

from apikey_guard.assembly import called_key_service
from apikey_guard.core.extraction import environ_key
from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.hiding import URL_HEADERS
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import SettingsError
from apikey_guard.guard import Guard
from apikey_guard.keyservice.called import CalledKeyService
from apikey_guard.settings import Settings, load_settings
from apikey_guard.settings.sources import HOOKS, PARTS

SETTING: Final = "APIKEY_GUARD"
APP_LABEL: Final = "apikey_guard"

# Settings of this adapter alone; all others are the guard's.
_OWN_SETTINGS: Final = frozenset({"user_from_consumer"})

# Headers that hold the credential under a scheme, in a cookie or in a URL, or change with the body.
_EDITED_HEADERS: Final = ("Authorization", "Cookie", *URL_HEADERS)

# A view answers with a response of Django's, which cannot be streamed both ways.
_NOT_FORWARDED: Final = (
    "Django's middleware forwards nothing; put apikey_guard.GuardMiddleware around the WSGI application "
    "in wsgi.py instead"
)


def given_settings() -> Mapping[str, object]:
    """The dictionary ``APIKEY_GUARD`` of Django's settings; an empty one where there is none.

    :raises SettingsError: it is no dictionary.
    """
    given = getattr(django_settings, SETTING, {})
    if not isinstance(given, Mapping):
        raise SettingsError([f"{SETTING} must be a dictionary, like {{'VALIDATOR_URL': 'https://...'}}"])
    return given


def read_settings() -> Settings:
    """The guard's settings: those of Django over the environment over the file over the defaults.

    :raises SettingsError: lists everything that is wrong.
    """
    framework: dict[str, object] = {}
    for name, value in given_settings().items():
        lower = str(name).lower()
        if lower in _OWN_SETTINGS:
            continue
        dotted = isinstance(value, str) and (lower in HOOKS or (lower in PARTS and "." in value))
        if dotted and isinstance(value, str) and ":" not in value:
            # Django writes dotted paths with dots only.
            module, _, attribute = value.rpartition(".")
            value = f"{module}:{attribute}"
        framework[str(name)] = value
    settings = load_settings(framework=framework)
    if settings.forwards:
        routed = [route.path for route in settings.routes if route.origin is not None]
        named = f" (routes {', '.join(routed)})" if routed else ""
        raise SettingsError([f"origin{named}: {_NOT_FORWARDED}"])
    return settings


def own_setting(name: str) -> object:
    """A setting of this adapter, its dotted path resolved; None where it is not given.

    :raises ImproperlyConfigured: the dotted path leads nowhere.
    """
    value = next((value for key, value in given_settings().items() if str(key).lower() == name), None)
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING}[{name.upper()!r}]: {value!r} cannot be imported") from error


class _WithConnections:
    """A key service that may use Django's database, however it is asked.

    Django lets go of outdated connections at the start and end of each request, which threads of
    the guard never see. In the caller's own thread they are the caller's: a transaction may be open.

    :param key_service: the hook of the settings.
    """

    def __init__(self, key_service: CalledKeyService) -> None:
        self._key_service = key_service
        here, on_loop = key_service.here, key_service.on_loop
        self.in_pool = here is None and on_loop is None
        # What runs in a thread that Django chooses cannot be cancelled.
        self.holds = on_loop is None
        self.verify_here = here
        self.verify_async = on_loop
        if here is None and on_loop is not None:
            self.verify_here = async_to_sync(on_loop)
        if here is not None and on_loop is None:
            self.verify_async = sync_to_async(here, thread_sensitive=True)

    def verify(self, credential: Credential) -> Verdict:
        close_old_connections()
        try:
            return self._key_service.verify(credential)
        finally:
            close_old_connections()

    def close(self) -> None:
        # A dotted path leads to the same object again, for the guard of the next settings.
        self._key_service.stop()


def make_guard() -> Guard:
    """A guard with the settings of now.

    :raises SettingsError: lists everything that is wrong with them.
    """
    settings = read_settings()
    if settings.key_service is not None:
        own = _WithConnections(called_key_service(settings.key_service, settings))
        settings = replace(settings, key_service=own)
    return Guard(settings)


class GuardHolder:
    """Holds one guard per process, which :class:`GuardMiddleware` and everything else here uses.

    :param guard: a guard made elsewhere, which settings then do not change; None makes one of
        Django's settings on first use.
    :ivar made: the guard, or None where it is not made yet.
    :ivar reads_body: whether the guard looks for credentials in bodies.
    :ivar scope_headers: the headers that the guard may change, by their ASGI name.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self.made: Guard | None = None
        self.reads_body = False
        self.scope_headers: Mapping[bytes, str] = {}
        if guard is not None:
            self._take(guard)
        else:
            # A weak reference: a holder that nobody needs any more hears nothing.
            setting_changed.connect(self._setting_changed)

    @property
    def guard(self) -> Guard:
        """The guard; made now where there is none.

        :raises SettingsError: lists everything that is wrong with the settings.
        """
        return self.made or self._take(make_guard())

    def _take(self, guard: Guard) -> Guard:
        # No lock: of two guards that were made at once, one goes, with nothing remembered yet.
        names = _location_names(guard.settings)
        self.reads_body = any(kind == "body" for kind, _ in names)
        self.scope_headers = _scope_headers(guard.settings, names)
        self.made = guard
        return guard

    def _setting_changed(self, *, setting: str, **_: object) -> None:
        if setting == SETTING and self.made is not None:
            self.made.close()
            self.made = None


def _location_names(settings: Settings) -> set[tuple[str, str]]:
    """Kind and name of every location, those of routes included."""
    locations = [*settings.key_locations]
    for route in settings.routes:
        locations += route.key_locations or ()
    pairs = (location.partition(":") for location in locations)
    return {(kind, name) for kind, _, name in pairs}


def _scope_headers(settings: Settings, names: set[tuple[str, str]]) -> Mapping[bytes, str]:
    identity = {*IDENTITY_HEADERS.values(), *(settings.identity_header_names or {}).values()}
    presented = {name for kind, name in names if kind in {"header", "query", "body"}}
    headers = {*_EDITED_HEADERS, *identity, *presented}
    found = {_scope_name(name): environ_key(name) for name in sorted(headers)}
    return {**found, b"content-length": "CONTENT_LENGTH"}


def _scope_name(header: str) -> bytes:
    return header.lower().replace("_", "-").encode("latin-1", "replace")


def installed_holder() -> GuardHolder | None:
    """The holder of the app ``apikey_guard.django``; None where it is not installed."""
    # Asked of the registry, not imported: AppConfig classes are Django's to make.
    config = apps.app_configs.get(APP_LABEL)
    holder = getattr(config, "holder", None)
    return holder if isinstance(holder, GuardHolder) else None


def installed_guard() -> Guard:
    """The guard of the app ``apikey_guard.django``.

    :raises ImproperlyConfigured: the app is not installed.
    """
    holder = installed_holder()
    if holder is None:
        raise ImproperlyConfigured("add 'apikey_guard.django' to INSTALLED_APPS")
    return holder.guard
