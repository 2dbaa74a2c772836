"""Routes: what people write. A rule is what a route means under one guard's settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from apikey_guard.core.dialects import Dialect
from apikey_guard.core.hiding import HIDES
from apikey_guard.core.model import NO_SCOPES, Mode
from apikey_guard.core.paths import folded, is_canonical
from apikey_guard.core.request import HOST_NAME
from apikey_guard.errors import SettingsError

Access = Literal["required", "optional", "public"]
ACCESSES: tuple[str, ...] = ("required", "optional", "public")
MODES: tuple[str, ...] = ("enforce", "monitor", "off")

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")


@dataclass(frozen=True, slots=True)
class Route:
    """What holds for the requests that match a path, a set of methods and a set of hosts.

    :param path: ``/exact``, or ``/prefix/*`` for a path and everything below it; whole
        segments. The longest path that matches wins; the order of routes does not matter. What a
        route asks for holds for every spelling of its path that some server takes for it: another
        letter case, a slash more or less, ``//``, ``/./``, ``;x``, ``%2F``. What it opens is open
        as it is written alone. Of two routes that differ so, the stricter holds for both.
    :param methods: the methods it is for; None is all of them. ``GET`` includes ``HEAD``.
    :param access: ``required``, ``optional`` (no credential is fine, a bad one is not), or
        ``public`` (nothing is looked at). Where a path can be read in several ways, the strictest
        of them holds.
    :param mode: ``enforce``, ``monitor`` or ``off``; None is the guard's mode.
    :param scopes: the scopes that a credential needs, all of them.
    :param name: how decisions, logs and metrics call the route; None is its path.
    :param hosts: the host names it is for; None is all of them.
    :param key_locations: where credentials are looked for; None is the guard's setting.
    :param hide_credentials: ``"replace"`` (the app, or the origin of this route, sees a stand-in of a
        verified key), ``"remove"`` (True is the same) or False (it sees the key); None is the guard's
        setting.
    :param anonymous: the username sent on for a request without a credential (``optional``).
    :param dialect: how a rejection looks: a name or an object; None is the guard's setting.
    :param realm: the realm of the challenge; None is the guard's setting.
    :param origin: where allowed requests are sent: a URL, a list of URLs that are taken in turn, or
        the name of one of the guard's origins; None is the guard's setting, else the app.
    :param strip_prefix: whether the route's own path is taken off before that; ``/`` stays.
    :param preserve_host: whether the caller's ``Host`` is sent on; None is the guard's setting.
    :raises SettingsError: lists everything that is wrong with the route.
    """

    path: str
    methods: Collection[str] | None = None
    access: Access = "required"
    mode: Mode | None = None
    scopes: Collection[str] = NO_SCOPES
    name: str | None = None
    hosts: Collection[str] | None = None
    key_locations: Sequence[str] | None = None
    hide_credentials: Literal["replace", "remove"] | bool | None = None
    anonymous: str | None = None
    dialect: str | Dialect | None = field(default=None, hash=False)
    realm: str | None = None
    origin: str | Sequence[str] | None = None
    strip_prefix: bool = False
    preserve_host: bool | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        place = f"route {self.path!r}"
        for name in ("methods", "scopes", "hosts"):
            words = _words(getattr(self, name), frozenset, f"{place}: {name}", problems)
            object.__setattr__(self, name, words)
        if self.key_locations is not None:
            locations = _words(self.key_locations, tuple, f"{place}: key_locations", problems)
            object.__setattr__(self, "key_locations", locations)
        if self.origin is not None and not isinstance(self.origin, str):
            origin = _words(self.origin, tuple, f"{place}: origin", problems)
            object.__setattr__(self, "origin", origin)
        problems += self._problems(place)
        if problems:
            raise SettingsError(problems)
        if self.methods and "GET" in self.methods:
            object.__setattr__(self, "methods", frozenset({*self.methods, "HEAD"}))

    def _problems(self, place: str) -> Iterator[str]:
        yield from _path_problems(self.path)
        if self.methods is not None and not self.methods:
            yield f"{place}: methods is empty; leave it out to mean every method"
        for method in sorted(self.methods or ()):
            if not _METHOD.fullmatch(method):
                yield f"{place}: method {method!r} is not a method; write it in capitals, like 'GET'"
        for host in sorted(self.hosts or ()):
            if not HOST_NAME.fullmatch(host):
                yield f"{place}: host {host!r} is not a lower-case host name without a port"
        if self.access not in ACCESSES:
            yield f"{place}: access {self.access!r} is not one of {', '.join(ACCESSES)}"
        if self.mode is not None and self.mode not in MODES:
            yield f"{place}: mode {self.mode!r} is not one of {', '.join(MODES)}"
        if self.scopes and self.access != "required":
            yield f"{place}: scopes need access 'required', not {self.access!r}"
        if self.anonymous is not None and self.access != "optional":
            yield f"{place}: anonymous needs access 'optional', not {self.access!r}"
        if not (isinstance(self.hide_credentials, bool) or self.hide_credentials in (*HIDES, None)):
            yield f"{place}: hide_credentials must be {' or '.join(HIDES)}, true or false"
        for name in ("strip_prefix", "preserve_host"):
            if getattr(self, name) not in {None, True, False}:
                yield f"{place}: {name} must be true or false"
        named = () if isinstance(self.dialect, Dialect) else ("dialect",)
        for name in ("name", "anonymous", "realm", *named):
            text = getattr(self, name)
            if text is not None and (not isinstance(text, str) or not text.isprintable() or not text):
                yield f"{place}: {name} must be a printable text"

    @property
    def label(self) -> str:
        """How decisions, logs and metrics call the route."""
        return self.name or self.path


def _words(
    value: object, kind: type[frozenset[str]] | type[tuple[str, ...]], place: str, problems: list[str]
) -> frozenset[str] | tuple[str, ...] | None:
    """The value as a set or tuple of texts; a single text is a mistake that reads like a list."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        problems.append(f"{place}: write a list of texts, like {[value]!r}")
        return kind()
    words: list[object] = list(value)
    if not all(isinstance(word, str) for word in words):
        problems.append(f"{place}: every item must be a text")
        return kind()
    return kind(str(word) for word in words)


def _path_problems(path: object) -> Iterator[str]:
    if not isinstance(path, str) or not path.startswith("/"):
        yield f"route {path!r}: the path must start with a slash, like '/v1/*'"
        return
    plain = path[:-2] if path.endswith("/*") else path
    if plain and not is_canonical(plain):
        yield (
            f"route {path!r}: the path is not canonical (no empty or dot segments, and none of ; \\ % # ?); "
            "write it decoded and resolved"
        )
    elif "*" in plain:
        yield f"route {path!r}: '*' stands only at the end, after a slash, like '/v1/*'"


def duplicate_routes(routes: Sequence[Route]) -> list[str]:
    """A sentence for each route that has a path, a method and a host in common with one before."""
    problems = []
    seen: set[tuple[str, str | None, str | None]] = set()
    for route in routes:
        # A route with methods and one without stand side by side on purpose: the first one wins.
        keys = {
            (route.path, method, host)
            for method in route.methods or (None,)
            for host in route.hosts or (None,)
        }
        if not seen.isdisjoint(keys):
            problems.append(
                f"route {route.path!r} is there twice for the same method and host; keep one of them"
            )
        seen |= keys
    return problems


def routes_alike(routes: Sequence[Route]) -> list[str]:
    """A sentence for each route that asks for more or less than one which some servers take for the same."""
    found = []
    spelled: dict[str, list[Route]] = {}
    for route in routes:
        alike = spelled.setdefault(_spelling(route.path), [])
        other = next((each for each in alike if each.path != route.path and _disagree(each, route)), None)
        if other is not None:
            found.append(
                f"routes: {other.path!r} and {route.path!r} differ by letter case or the last slash only; "
                "some servers take one for the other, so the stricter holds for both"
            )
        alike.append(route)
    return found


def _spelling(path: str) -> str:
    return "/".join(map(folded, path.rstrip("/").split("/")))


def _disagree(one: Route, other: Route) -> bool:
    same = (one.access, one.mode, one.scopes) == (other.access, other.mode, other.scopes)
    return not same and _overlap(one.methods, other.methods) and _overlap(one.hosts, other.hosts)


def _overlap(one: Collection[str] | None, other: Collection[str] | None) -> bool:
    return one is None or other is None or not set(one).isdisjoint(other)
