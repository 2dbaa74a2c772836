"""System checks: what is wrong with the project's settings is said at deploy time.

=====================  ==================================================================
``apikey_guard.E001``  ``APIKEY_GUARD`` has a setting that does not exist
``apikey_guard.E002``  nobody knows the keys: ``VALIDATOR_URL`` is missing
``apikey_guard.E003``  ``VALIDATOR_URL`` is not https
``apikey_guard.E004``  another setting is wrong
``apikey_guard.E005``  the middleware is there twice
``apikey_guard.W001``  the middleware is missing
``apikey_guard.W002``  the middleware stands before the one that adds CORS headers
``apikey_guard.W003``  the middleware stands behind sessions or authentication
``apikey_guard.W004``  the middleware stands behind one that redirects before it
``apikey_guard.W005``  keys are accepted in the query (``check --deploy``)
``apikey_guard.W006``  keys travel in the clear to the key service (``check --deploy``)
``apikey_guard.W007``  the mode lets requests without a valid key pass (``check --deploy``)
``apikey_guard.W008``  preflights reach the views without a key (``check --deploy``)
``apikey_guard.W010``  the middleware stands behind one that answers from a cache
``apikey_guard.W011``  a cookie in which keys are accepted is one that Django itself reads
``apikey_guard.W012``  two routes differ by letter case or the last slash only
``apikey_guard.W013``  ``DEFAULT_ACCESS`` opens everything, and nothing asks for a key
=====================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags
from django.core.exceptions import ImproperlyConfigured
from django.middleware.cache import FetchFromCacheMiddleware
from django.urls import URLResolver, get_resolver
from django.utils.module_loading import import_string

from apikey_guard.assembly import key_cookies
from apikey_guard.diagnosis.settings import about_settings, nothing_asks
from apikey_guard.django.guards import SETTING, own_setting, read_settings
from apikey_guard.django.marks import asks_for_a_key
from apikey_guard.django.middleware import GuardMiddleware
from apikey_guard.errors import Problem, SettingsError
from apikey_guard.settings import Settings

Configs = Sequence[AppConfig] | None

MIDDLEWARE: Final = "apikey_guard.django.GuardMiddleware"
CORS: Final = "corsheaders.middleware.CorsMiddleware"
SESSIONS: Final = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
COMMON: Final = "django.middleware.common.CommonMiddleware"

# The id that a problem of the settings gets by its code, and what to do about it.
_PROBLEMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "unknown_setting": ("apikey_guard.E001", "Correct the name or remove it."),
    "no_key_service": ("apikey_guard.E002", f"Set {SETTING} = {{'VALIDATOR_URL': 'https://...'}}."),
    "plain_http": ("apikey_guard.E003", "Write https://."),
}
# What is said of a finding by its code, the id it gets, and what to do about it.
_DEPLOYMENT: Final[Mapping[str, tuple[str, str, str]]] = {
    "key_in_query": (
        "Keys are accepted in the query: URLs end up in access logs, histories and Referer headers.",
        "apikey_guard.W005",
        f"Set {SETTING}['KEY_LOCATIONS'] = ['header:apikey'] as soon as no caller needs the query.",
    ),
    "plain_http": (
        "Keys travel in the clear to the key service (VALIDATOR_ALLOW_HTTP).",
        "apikey_guard.W006",
        "Write https:// in VALIDATOR_URL.",
    ),
    "not_enforced": (
        "Requests without a valid key pass{under}: the mode is not 'enforce'.",
        "apikey_guard.W007",
        f"Set {SETTING}['MODE'] = 'enforce' when the counts look right.",
    ),
    "allow_preflight": (
        "Preflights reach every view that needs no scopes, without a key (ALLOW_PREFLIGHT).",
        "apikey_guard.W008",
        f"Put {CORS!r} before {MIDDLEWARE!r} and leave ALLOW_PREFLIGHT out.",
    ),
}


def register() -> None:
    """Register all checks with Django."""
    checks.register(check_settings, Tags.security)
    checks.register(check_middleware, Tags.security)
    checks.register(check_guarded, Tags.security)
    checks.register(check_deployment, Tags.security, deploy=True)


def check_settings(app_configs: Configs, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's call
    """Whether the settings can be used: every problem at once."""
    messages: list[CheckMessage] = []
    try:
        settings = read_settings()
        messages += _cookies(settings)
        messages += (
            checks.Warning(
                f"{SETTING}: {found.text}",
                hint="Write both with the same access and scopes, or keep one.",
                id="apikey_guard.W012",
            )
            for found in about_settings(settings)
            if found.code == "routes_alike"
        )
    except SettingsError as error:
        messages += (_problem(problem) for problem in error.problems)
    try:
        own_setting("user_from_consumer")
    except SettingsError:
        pass  # said above
    except ImproperlyConfigured as error:
        messages.append(Error(str(error), id="apikey_guard.E004"))
    return messages


def _cookies(settings: Settings) -> Iterator[checks.Warning]:
    own = {"SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "LANGUAGE_COOKIE_NAME"}
    for name in sorted(own):
        if getattr(django_settings, name) in key_cookies(settings):
            yield checks.Warning(
                f"Keys are accepted in the cookie of {name}: Django would find a stand-in in it.",
                hint=f"Give the cookie of the keys another name in {SETTING}['KEY_LOCATIONS'].",
                id="apikey_guard.W011",
            )


def _problem(problem: Problem) -> Error:
    check_id, hint = _PROBLEMS.get(problem.code, ("apikey_guard.E004", None))
    return Error(f"{SETTING}: {problem}", hint=hint, id=check_id)


def check_middleware(app_configs: Configs, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's call
    """Whether the middleware is there, once, and in its place."""
    order = list(django_settings.MIDDLEWARE)
    places = [index for index, path in enumerate(order) if _is_guard(path)]
    if not places:
        return [
            checks.Warning(
                "The app is installed, but the middleware is not: no request is checked.",
                hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE.",
                id="apikey_guard.W001",
            )
        ]
    if len(places) > 1:
        return [
            Error(
                "GuardMiddleware is in MIDDLEWARE more than once: the second finds no key and refuses all.",
                hint="Keep the first one.",
                id="apikey_guard.E005",
            )
        ]
    place = places[0]
    return list(_order(set(order[:place]), set(order[place:])))


def _order(before: set[str], behind: set[str]) -> Iterator[checks.Warning]:
    if CORS in behind:
        yield checks.Warning(
            "GuardMiddleware stands before CorsMiddleware: it refuses preflights, and no page reads why.",
            hint=f"Put {CORS!r} before {MIDDLEWARE!r}.",
            id="apikey_guard.W002",
        )
    if any(_is_made_from(path, FetchFromCacheMiddleware) for path in before):
        yield checks.Warning(
            "GuardMiddleware stands behind FetchFromCacheMiddleware: cached pages are given to anybody.",
            hint=f"Put {MIDDLEWARE!r} before it; UpdateCacheMiddleware stays first.",
            id="apikey_guard.W010",
        )
    if before.intersection(SESSIONS):
        yield checks.Warning(
            "GuardMiddleware stands behind sessions or authentication: they work for requests without a key.",
            hint=f"Put {MIDDLEWARE!r} before {' and '.join(map(repr, SESSIONS))}.",
            id="apikey_guard.W003",
        )
    if COMMON in before and getattr(django_settings, "PREPEND_WWW", False):
        yield checks.Warning(
            "GuardMiddleware stands behind CommonMiddleware: PREPEND_WWW redirects with the key in the URL.",
            hint=f"Put {MIDDLEWARE!r} before {COMMON!r}.",
            id="apikey_guard.W004",
        )


def _is_guard(path: str) -> bool:
    return path == MIDDLEWARE or _is_made_from(path, GuardMiddleware)


def _is_made_from(path: str, kind: type) -> bool:
    """Whether this names a class or one made from it, be it the project's own."""
    try:
        found: object = import_string(path)
    except ImportError:
        return False  # Django says so itself
    return isinstance(found, type) and issubclass(found, kind)


def check_guarded(app_configs: Configs, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's call
    """Whether anything is guarded where the default is to need no key."""
    try:
        settings = read_settings()
    except SettingsError:
        return []  # check_settings says why
    if not nothing_asks(settings) or any(asks_for_a_key(view) for view in _views(get_resolver())):
        return []
    return [
        checks.Warning(
            f"Nothing is guarded: DEFAULT_ACCESS is {settings.default_access!r}, and no view asks for a key.",
            hint="Mark views with @required or @require_scopes, or name their paths in ROUTES.",
            id="apikey_guard.W013",
        )
    ]


def _views(resolver: URLResolver) -> Iterator[object]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern)
        else:
            yield pattern.callback


def check_deployment(app_configs: Configs, **_: object) -> list[CheckMessage]:  # noqa: ARG001 - Django's call
    """What may be meant on a developer's machine, but hardly in production."""
    try:
        settings = read_settings()
    except SettingsError:
        return []  # check_settings says why
    messages: list[CheckMessage] = []
    for found in about_settings(settings):
        if found.code in _DEPLOYMENT:
            text, check_id, hint = _DEPLOYMENT[found.code]
            under = f" under {', '.join(found.where)}" if found.where else ""
            messages.append(checks.Warning(text.replace("{under}", under), hint=hint, id=check_id))
    return messages
