"""Which setting has which check, and the rules between settings.

Every bound is here, in one table; what the bounds are for is said by the fields of
:class:`~apikey_guard.settings.Settings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

from apikey_guard.core.dialects import DIALECTS, Dialect
from apikey_guard.core.extraction import Conflict
from apikey_guard.core.level_two import SharedCache
from apikey_guard.core.routing import ACCESSES, MODES, Route, duplicate_routes
from apikey_guard.errors import Problem, SettingsError
from apikey_guard.keyservice.protocols import PROTOCOLS, KeyProtocol
from apikey_guard.settings import checks as check
from apikey_guard.settings import origins as its
from apikey_guard.settings import parts
from apikey_guard.settings.checks import Check, Wrong, optional, shown
from apikey_guard.settings.cors import about_cookies, cors_origins
from apikey_guard.settings.sources import Unreadable, closest

CONFLICTS: tuple[str, ...] = get_args(Conflict)

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_DEFAULT_NEGATIVE_TTL = 5.0
_ROUTE_FIELDS = tuple(field.name for field in fields(Route))


def _routes(value: object) -> tuple[Route, ...]:
    """Routes, given as such or as tables."""
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise Wrong(f"must be a list of routes or tables, not {shown(value)}")
    problems: list[str] = []
    found: list[Route] = []
    for number, entry in enumerate(value, start=1):
        try:
            found.append(_route(entry))
        except Wrong as error:
            problems += (f"route {number}: {sentence}" for sentence in error.sentences)
        except SettingsError as error:
            problems += error.problems
    for route in found:
        problems += _route_problems(route)
    problems += duplicate_routes(found)
    if problems:
        raise Wrong(*problems)
    return tuple(found)


def _route(entry: object) -> Route:
    if isinstance(entry, Route):
        return entry
    if not isinstance(entry, Mapping):
        raise Wrong(f"must be a Route or a table, not {shown(entry)}")
    problems = [
        f"{shown(name)} is no field of a route{closest(str(name), _ROUTE_FIELDS)}"
        for name in entry
        if name not in _ROUTE_FIELDS
    ]
    if "path" not in entry:
        problems.append("has no path; give one, like '/v1/*'")
    if problems:
        raise Wrong(*problems)
    return Route(**entry)


def _route_problems(route: Route) -> Iterator[str]:
    """What a route cannot know of itself: it overrides settings, so their checks hold for it."""
    for name in ("key_locations", "dialect", "realm", "origin"):
        value = getattr(route, name)
        if value is None:
            continue
        try:
            CHECKS[name](value)
        except Wrong as error:
            yield from (f"route {route.path!r}: {name}: {sentence}" for sentence in error.sentences)


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "validator_url": optional(check.service_url),
        "validator_protocol": parts.part(KeyProtocol, "an object with request() and verdict()", PROTOCOLS),
        "validator_headers": check.sent_headers,
        "validator_key_header": check.key_header,
        "validator_timeout": check.seconds(_MINUTE, zero=False),
        "validator_max_concurrency": check.whole(1, 256),
        "validator_ca": optional(check.ca_bundle),
        "validator_client_cert": optional(check.client_cert),
        "validator_proxy": optional(check.proxy_url),
        "validator_cache_control": optional(check.boolean),
        "validator_allow_http": check.boolean,
        "keys_file": optional(check.file_path),
        "key_service": optional(parts.key_service),
        "key_service_in_pool": check.boolean,
        "shared_cache": optional(parts.part(SharedCache, "an object with get(), put() and forget()")),
        "key_locations": check.key_locations,
        "key_pattern": optional(check.key_pattern),
        "key_max_length": check.whole(1, 4096),
        "key_conflict": check.one_of(CONFLICTS),
        "body_max_bytes": check.whole(1, 100 * 1024 * 1024),
        "hide_credentials": optional(check.hiding),
        "cache_ttl": check.seconds(_DAY, zero=True),
        "negative_ttl": check.seconds(_HOUR, zero=True),
        "stale_if_error": check.seconds(_DAY, zero=True),
        "cache_max_entries": check.whole(0, 10_000_000),
        "negative_max_entries": check.whole(0, 10_000_000),
        "routes": _routes,
        "default_access": check.one_of(ACCESSES),
        "mode": check.one_of(MODES),
        "allow_preflight": check.boolean,
        "cors_origins": cors_origins,
        "dialect": parts.part(Dialect, "an object with reject()", DIALECTS),
        "realm": check.realm,
        "identity_headers": check.identity_headers,
        "fingerprint_secret": optional(check.secret),
        "origin": optional(its.origin),
        "origins": its.origins,
        "preserve_host": check.boolean,
        "origin_via": check.boolean,
        "origin_connect_timeout": its.CONNECT_TIMEOUT,
        "origin_read_timeout": its.READ_TIMEOUT,
        "origin_idle_timeout": its.IDLE_TIMEOUT,
        "origin_max_connections": its.MAX_CONNECTIONS,
        "trusted_proxies": its.networks,
        "health_path": optional(its.health_path),
        "config_file": optional(check.file_path),
        "render_rejection": optional(parts.hook("a function (rejection, environ) -> rejection")),
        "on_decision": optional(parts.hook("a function (decision, environ)")),
        "choose_origin": optional(parts.hook("a function (environ, consumer) -> name of an origin")),
    }
)


def place(source: str | None) -> str:
    """Where a value came from, for a message; what stands in the program itself needs no place."""
    return f" ({source})" if source not in {None, "keyword", "default"} else ""


def checked(
    values: Mapping[str, object], sources: Mapping[str, str], *, complete: bool = True
) -> tuple[dict[str, object], list[str]]:
    """Every value in its lasting form, and every problem found.

    :param values: one value per setting.
    :param sources: where each came from, for the messages.
    :param complete: False where a source could not be read: what is missing may be in there.
    """
    good: dict[str, object] = {}
    problems: list[str] = []
    for name, check_value in CHECKS.items():
        value = values[name]
        try:
            if isinstance(value, Unreadable):
                raise Wrong(value.why)
            good[name] = check_value(value)
        except Wrong as error:
            where = place(sources.get(name))
            problems += (f"{name}{where}: {sentence}" for sentence in error.sentences)
    problems += _who_knows_the_keys(values, sources, complete=complete)
    for rule in (_about_the_url, _about_headers, _about_the_cache):
        problems += rule(good)
    problems += _about_origins(values, good.get("routes"))
    problems += about_cookies(good.get("cors_origins"), _locations(good))
    return good, problems


def _who_knows_the_keys(
    values: Mapping[str, object], sources: Mapping[str, str], *, complete: bool
) -> Iterator[str]:
    # No combination of settings means "let everything pass" (threat A-14).
    given = [name for name in ("validator_url", "keys_file", "key_service") if values[name] is not None]
    if not given and complete:
        sentence = "validator_url: nobody knows the keys; give validator_url, keys_file or key_service"
        yield Problem(sentence, "no_key_service")
    if len(given) > 1:
        names = " and ".join(name + place(sources.get(name)) for name in given)
        yield f"{names}: only one of them can know the keys; leave out the others"


# The rules below are given the values that are right by themselves; a wrong one is not there.


def _locations(good: Mapping[str, object]) -> list[str]:
    """All locations of the guard and of its routes."""
    found: list[str] = []
    guard, its_routes = good.get("key_locations"), good.get("routes")
    if isinstance(guard, tuple):
        found += guard
    if isinstance(its_routes, tuple):
        for route in its_routes:
            found += route.key_locations or ()
    return found


def _about_the_url(good: Mapping[str, object]) -> Iterator[str]:
    url = good.get("validator_url")
    if not isinstance(url, str):
        return
    parts = urlsplit(url)
    allowed = good.get("validator_allow_http") or check.is_loopback(parts.hostname or "")
    if parts.scheme == "http" and not allowed:
        yield Problem(
            "validator_url: keys would travel in the clear; write https://, or set "
            "validator_allow_http where the network itself is trusted",
            "plain_http",
        )
    names = {location.partition(":")[2].lower() for location in _locations(good)}
    if any(name.lower() in names for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        yield "validator_url: its query has the name of a key location; no key belongs in a URL"


def _about_headers(good: Mapping[str, object]) -> Iterator[str]:
    identity, sent = good.get("identity_headers"), good.get("validator_headers")
    if isinstance(identity, Mapping):
        named = {f"header:{name}".lower() for name in identity.values()}
        for location in dict.fromkeys(_locations(good)):
            if location.lower() in named:
                yield f"identity_headers: {location!r} is a key location; choose another header"
    if isinstance(sent, Mapping) and good.get("validator_protocol") == "status":
        key_header = str(good.get("validator_key_header"))
        if key_header.lower() in {name.lower() for name in sent}:
            yield f"validator_headers: {key_header!r} is where the credential goes (validator_key_header)"


def _about_the_cache(good: Mapping[str, object]) -> Iterator[str]:
    negative, positive = good.get("negative_ttl"), good.get("cache_ttl")
    if isinstance(negative, float) and isinstance(positive, float):
        # The default may stay where a short cache_ttl, or none, was asked for.
        most = max(positive, _DEFAULT_NEGATIVE_TTL)
        if negative > most:
            yield f"negative_ttl: must not be longer than cache_ttl; at most {most:g} here"


def _about_origins(values: Mapping[str, object], routes: object) -> Iterator[str]:
    # By what was given, right or wrong: a name that exists is not missing because its origin is wrong.
    known, default, chosen = (values[name] for name in ("origins", "origin", "choose_origin"))
    names = known if isinstance(known, Mapping) else {}
    checked_routes: tuple[Route, ...] = routes if isinstance(routes, tuple) else ()
    named = [("origin", default)]
    named += ((f"routes: route {route.path!r}: origin", route.origin) for route in checked_routes)
    for where, name in named:
        if isinstance(name, str) and its.is_name(name) and name not in names:
            hint = closest(name, names)
            yield f"{where}: {shown(name)} is none of the origins{hint}; write a URL or one of their names"
    if callable(chosen) and not names:
        yield "choose_origin: it can only choose among origins; give them by name"
    for route in checked_routes:
        if route.strip_prefix and route.origin is None and default is None and chosen is None:
            yield f"routes: route {route.path!r}: strip_prefix is for an origin, and there is none"
