"""What people write about origins: URLs, lists of them, names, and tables with bounds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, cast
from urllib.parse import SplitResult

from apikey_guard.core.paths import is_canonical
from apikey_guard.errors import BadRequest
from apikey_guard.forwarding import OriginClient
from apikey_guard.forwarding.spec import OriginSpec, OriginTarget
from apikey_guard.forwarding.wire_path import wire_path
from apikey_guard.settings import checks as check
from apikey_guard.settings.checks import Check, Wrong, shown
from apikey_guard.settings.parts import refuse_class
from apikey_guard.settings.sources import closest

_PORTS: Final = {"http": 80, "https": 443}

#: The bounds of an origin, as settings and in a table of `origins`.
CONNECT_TIMEOUT: Final = check.seconds(60, zero=False)
READ_TIMEOUT: Final = check.seconds(3_600, zero=False)
IDLE_TIMEOUT: Final = check.seconds(3_600, zero=True)
MAX_CONNECTIONS: Final = check.whole(1, 10_000)

_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "targets": lambda value: _targets(value),
        "connect_timeout": check.optional(CONNECT_TIMEOUT),
        "read_timeout": check.optional(READ_TIMEOUT),
        "idle_timeout": check.optional(IDLE_TIMEOUT),
        "max_connections": check.optional(MAX_CONNECTIONS),
        "ca": check.optional(check.ca_bundle),
        "preserve_host": check.optional(check.boolean),
    }
)


def target(value: object) -> OriginTarget:
    """The target that a URL names; every message leaves the URL itself out."""
    if isinstance(value, str) and value.startswith("unix:"):
        raise Wrong("must be an http or https URL; Unix sockets cannot be forwarded to")
    parts = check.address(value, "a URL like https://api.internal")
    if "?" in str(value):
        raise Wrong("must not have a query; that of each request is sent on")
    _refuse_more_than_an_address(parts)
    path = parts.path.rstrip("/")
    try:
        if path and (wire_path({"PATH_INFO": "/", "RAW_URI": path}) and not is_canonical(path)):
            raise Wrong("has a path that can be read in several ways; write it resolved, without escapes")
    except BadRequest:
        raise Wrong("has a path that can be read in several ways; write it resolved") from None
    scheme = cast('Literal["http", "https"]', parts.scheme)
    return OriginTarget(scheme, (parts.hostname or ""), parts.port or _PORTS[scheme], path)


def _refuse_more_than_an_address(parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise Wrong("must not have a user or password in it; callers' own credentials are sent on")
    if parts.netloc.endswith(":"):
        raise Wrong("has a colon but no port after it")
    if "%" in (parts.hostname or ""):
        raise Wrong("must not have a zone in its address")
    if any(mark in parts.geturl() for mark in "{}<>"):
        raise Wrong("must not have a placeholder; where requests go is not for callers to choose")


def _targets(value: object) -> tuple[OriginTarget, ...]:
    urls = [value] if isinstance(value, str) else value
    if not isinstance(urls, Sequence) or isinstance(urls, bytes) or not urls:
        raise Wrong(f"must be a URL or a list of URLs, not {shown(value)}")
    found: list[OriginTarget] = []
    problems: list[str] = []
    for url in urls:
        try:
            one = target(url)
        except Wrong as error:
            problems += error.sentences
            continue
        if one in found:
            problems.append(f"{one} is there twice")
        found.append(one)
    if problems:
        raise Wrong(*problems)
    return tuple(found)


def origin(value: object) -> str | tuple[str, ...]:
    """A URL, a list of URLs, or the name of an entry of `origins`; for the guard and for routes."""
    if isinstance(value, str) and is_name(value):
        return value
    _targets(value)
    return (value,) if isinstance(value, str) else tuple(cast("Sequence[str]", value))


def may_forward(origin: object, choose_origin: object, routes: object) -> bool:
    """Whether anything can go to an origin, by the settings of these names; right or wrong ones."""
    in_routes = isinstance(routes, Iterable) and any(
        (route.get("origin") if isinstance(route, Mapping) else getattr(route, "origin", None)) is not None
        for route in routes
    )
    return origin is not None or choose_origin is not None or in_routes


def is_name(value: str) -> bool:
    """Whether a text can only be the name of an origin, not its address."""
    return bool(value) and "/" not in value and ":" not in value and value.isprintable()


def origins(value: object) -> Mapping[str, OriginSpec | OriginClient]:
    """Origins by name: a URL, a list of URLs, a table with targets and bounds, or an object that sends."""
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a table of names and origins, not {shown(value)}")
    found: dict[str, OriginSpec | OriginClient] = {}
    problems: list[str] = []
    for name, entry in value.items():
        if not isinstance(name, str) or not is_name(name):
            problems.append(f"{shown(name)} is no name; write one without ':' and '/', like 'reports'")
            continue
        try:
            found[name] = _origin(name, entry)
        except Wrong as error:
            problems += (f"{name}: {sentence}" for sentence in error.sentences)
    if problems:
        raise Wrong(*problems)
    return MappingProxyType(found)


def _origin(name: str, entry: object) -> OriginSpec | OriginClient:
    if isinstance(entry, OriginClient):
        refuse_class(entry)
        return entry
    return entry if isinstance(entry, OriginSpec) else _spec(name, entry)


def _spec(name: str, entry: object) -> OriginSpec:
    if not isinstance(entry, Mapping):
        return OriginSpec(name=name, targets=_targets(entry))
    problems = [
        f"{shown(field)} is no field of an origin{closest(str(field), _FIELDS)}"
        for field in entry
        if field not in _FIELDS
    ]
    if "targets" not in entry:
        problems.append("has no targets; give a list of URLs")
    given: dict[str, object] = {}
    for field, check_value in _FIELDS.items():
        try:
            if field in entry:
                given[field] = check_value(entry[field])
        except Wrong as error:
            problems += (f"{field}: {sentence}" for sentence in error.sentences)
    if problems:
        raise Wrong(*problems)
    return OriginSpec(name=name, **given)  # type: ignore[arg-type]  # each value has passed its check


class Origins:
    """Every origin of a guard's settings by its name, those written as URLs among them.

    :param known: the setting `origins`.
    :param meant: what `origin` and the routes say, None where one says nothing.
    :ivar specs: by name; one that is written as URLs is named after its first target.
    :ivar given: the objects that send, by name.
    """

    def __init__(
        self, known: Mapping[str, OriginSpec | OriginClient], meant: Iterable[str | Sequence[str] | None]
    ) -> None:
        self.given = {name: each for name, each in known.items() if not isinstance(each, OriginSpec)}
        self.specs = {name: each for name, each in known.items() if isinstance(each, OriginSpec)}
        self._names: dict[tuple[OriginTarget, ...], str] = {}
        for each in meant:
            if each is None or (isinstance(each, str) and is_name(each)):
                continue
            targets = _targets(each)
            if targets not in self._names:
                self._names[targets] = name = self._free_name(str(targets[0]))
                self.specs[name] = OriginSpec(name=name, targets=targets)

    def name_of(self, meant: str | Sequence[str] | None) -> str | None:
        """The name of the origin that a setting or a route means.

        :param meant: as it was given to the constructor.
        """
        if meant is None or (isinstance(meant, str) and is_name(meant)):
            return meant
        return self._names[_targets(meant)]

    def _free_name(self, name: str) -> str:
        """The name, or one with a number where another origin begins with the same target."""
        names = (name, *(f"{name} ({number})" for number in range(2, len(self.specs) + len(self.given) + 2)))
        return next(one for one in names if one not in self.specs and one not in self.given)


def networks(value: object) -> tuple[str, ...]:
    """Addresses and networks of peers that are believed."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Wrong(f"must be a list like ['10.0.0.0/8', '::1'], not {shown(value)}")
    for entry in value:
        try:
            if not isinstance(entry, str):
                raise ValueError
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise Wrong(f"{shown(entry)} is neither an address nor a network, like '10.0.0.0/8'") from None
    return tuple(value)


def health_path(value: object) -> str | None:
    """The path of the gateway's own answer; exact. An empty text is none: TOML has no None."""
    if value == "":
        return None
    if not isinstance(value, str) or not is_canonical(value) or "*" in value or value == "/":
        raise Wrong(f"must be a path like '/healthz', not {shown(value)}")
    return value
