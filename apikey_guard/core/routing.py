"""Which rule holds for a request: routes, canonical paths, and the table that matches them.

A route is what people write; a rule is what it means under one guard's settings. The table is
a tree of path segments, so matching costs the depth of the longest route, not the number of
routes, and no pattern that a caller could slow down (threat P-09).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import unquote

from apikey_guard.core.hiding import HIDES
from apikey_guard.core.model import NO_SCOPES
from apikey_guard.errors import SettingsError

Access = Literal["required", "optional", "public"]
Mode = Literal["enforce", "monitor", "off"]
ACCESSES: tuple[str, ...] = ("required", "optional", "public")
MODES: tuple[str, ...] = ("enforce", "monitor", "off")

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_ODD_CHARACTER = re.compile(r"[;\\%#?\x00-\x1f\x7f\ufffd]")
# The fast yes for nearly every canonical path: one pass, no segment that starts with a dot.
is_plain_path = re.compile(r"(?:/[^./;\\%#?\x00-\x1f\x7f\ufffd][^/;\\%#?\x00-\x1f\x7f\ufffd]*)+/?").fullmatch
_ENCODED_SPECIAL = re.compile(r"%(?:2[ef35]|5c|3[bf]|[01][0-9a-f]|7f)", re.IGNORECASE)


def is_canonical(path: str) -> bool:
    """Whether a decoded path can be read in one way only.

    It starts with a slash and has no empty or dot segment, parameter, backslash, percent sign,
    fragment, question mark, control or replacement character. A trailing slash is fine.

    :param path: decoded once, as Unicode; bytes that are no UTF-8 as U+FFFD.
    """
    return is_plain_path(path) is not None or (
        path[:1] == "/"
        and "//" not in path
        and not _ODD_CHARACTER.search(path)
        and ("/." not in path or not _has_dot_segment(path))
    )


def _has_dot_segment(path: str) -> bool:
    return any(segment in {".", ".."} for segment in path.split("/"))


def hides_specials(target: str | None) -> bool:
    """Whether a raw request target, before any decoding, holds an encoded special character.

    ``%2F`` and its like decode to a path that looks canonical but was not sent so; a server
    behind may split it elsewhere (threat P-01).

    :param target: ``RAW_URI`` or ``REQUEST_URI``, where the server gives one.
    """
    if target is None:
        return False
    path = target.partition("?")[0]
    return "#" in path or _ENCODED_SPECIAL.search(path) is not None


def mixes_parameters(path: str, target: str | None) -> bool:
    """Whether a semicolon may begin a parameter in one place and belong to a name in another.

    A server behind that takes parameters off before it decodes then reads a path which is none of
    :func:`readings`.

    :param path: decoded.
    :param target: as it was sent, where the server gives it.
    """
    if target is None:
        return path.count(";") > 1
    sent = target.partition("?")[0]
    return ";" in sent and "%3b" in sent.lower()


def readings(path: str) -> set[str]:
    """The paths that servers behind may take an odd path for, the path itself among them."""
    found = {path}
    for text in (path, unquote(path)):
        whole = text.replace("\\", "/")
        # A mark may end the path or belong to it, and for some the path ends at a NUL.
        for cut in (whole, re.split(r"[?#\x00]", whole, maxsplit=1)[0]):
            found |= {cut, _resolved(cut), _resolved(re.sub(r";[^/]*", "", cut))}
    return found


def _resolved(path: str) -> str:
    segments: list[str] = []
    for raw in re.sub(r"[\x00-\x1f\x7f]", "", path).split("/"):
        if raw == "..":
            del segments[-1:]
        elif raw not in {"", "."}:
            segments.append(raw)
    return "/" + "/".join(segments) + ("/" if path.endswith("/") and segments else "")


@dataclass(frozen=True, slots=True)
class Route:
    """What holds for the requests that match a path, a set of methods and a set of hosts.

    :param path: ``/exact``, or ``/prefix/*`` for a path and everything below it; whole
        segments, case-sensitive. The longest path that matches wins; the order of routes does
        not matter.
    :param methods: the methods it is for; None is all of them. ``GET`` includes ``HEAD``.
    :param access: ``required``, ``optional`` (no credential is fine, a bad one is not), or
        ``public`` (nothing is looked at). Only a canonical path can be optional or public.
    :param mode: ``enforce``, ``monitor`` or ``off``; None is the guard's mode.
    :param scopes: the scopes that a credential needs, all of them.
    :param name: how decisions, logs and metrics call the route; None is its path.
    :param hosts: the host names it is for; None is all of them.
    :param key_locations: where credentials are looked for; None is the guard's setting.
    :param hide_credentials: ``"replace"`` (the app, or the origin of this route, sees a stand-in of a
        verified key), ``"remove"`` (True is the same) or False (it sees the key); None is the guard's
        setting.
    :param anonymous: the username sent on for a request without a credential (``optional``).
    :param dialect: how a rejection looks; None is the guard's setting.
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
    dialect: str | None = None
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
            if not _HOST.fullmatch(host):
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
        for name in ("name", "anonymous", "dialect", "realm"):
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
    """A sentence for each pair of routes that have a path, a method and a host in common."""
    problems = []
    for position, route in enumerate(routes):
        for other in routes[:position]:
            if route.path == other.path and _overlap(route.methods, other.methods, route.hosts, other.hosts):
                problems.append(
                    f"route {route.path!r} is there twice for the same method and host; keep one of them"
                )
                break
    return problems


def _overlap(
    methods: Collection[str] | None,
    other_methods: Collection[str] | None,
    hosts: Collection[str] | None,
    other_hosts: Collection[str] | None,
) -> bool:
    # A route with methods and one without stand side by side on purpose: the first one wins.
    if (methods is None) != (other_methods is None) or (hosts is None) != (other_hosts is None):
        return False
    same_methods = methods is None or other_methods is None or not set(methods).isdisjoint(other_methods)
    same_hosts = hosts is None or other_hosts is None or not set(hosts).isdisjoint(other_hosts)
    return same_methods and same_hosts


def request_host(environ: Mapping[str, object]) -> str | None:
    """The host name that the request names, lower-case and without a port; None for an odd one."""
    value = environ.get("HTTP_HOST")
    if not isinstance(value, str):
        return None
    host = value.lower()
    name, colon, port = host.rpartition(":")
    # RFC 9110, section 7.2, and RFC 3986, section 3.2.3: a port may be empty. A final dot means the root.
    if colon and (not port or (port.isascii() and port.isdigit())):
        host = name
    host = host.removesuffix(".")
    return host if _HOST.fullmatch(host) else None


class Matched(Protocol):
    """What a table hands out: anything that knows for which methods and hosts it stands."""

    @property
    def methods(self) -> Collection[str] | None: ...

    @property
    def hosts(self) -> Collection[str] | None: ...


M = TypeVar("M", bound=Matched)


M_co = TypeVar("M_co", covariant=True)


class Router(Protocol[M_co]):
    """Finds what holds for a path. Another gateway's way of matching stands behind the same words."""

    def match(self, path: str, environ: Mapping[str, object]) -> M_co: ...

    def matches(self, path: str, environ: Mapping[str, object]) -> Iterator[M_co]: ...


class RouteTable(Generic[M]):
    """Longest path first, then the entry with methods, then the one with hosts; else the default.

    :param entries: path (as in :class:`Route`) and what stands for it.
    :param default: what holds where nothing matches.
    """

    def __init__(self, entries: Iterable[tuple[str, M]], default: M) -> None:
        exact: dict[str, list[M]] = {}
        below: dict[str, list[M]] = {}
        for path, entry in entries:
            if path.endswith("/*"):
                below.setdefault(path[:-2], []).append(entry)
            else:
                exact.setdefault(path, []).append(entry)
        # A tree of dicts by segment; what holds at a node, best first, stands under the key None.
        self._root: dict[str | None, Any] = {None: (default,)}
        self._splits = max((prefix.count("/") for prefix in below), default=0) + 1
        for prefix in sorted(below, key=lambda prefix: prefix.count("/")):
            self._node(prefix)[None] = (*_best_first(below[prefix]), *self._below(prefix))
        self._exact = {path: (*_best_first(found), *self._below(path)) for path, found in exact.items()}

    def _node(self, prefix: str) -> dict[str | None, Any]:
        node = self._root
        found = node[None]
        for segment in prefix.split("/"):
            # A node between two routes holds what the nearest one above it does.
            node = node.setdefault(segment, {None: found})
            found = node[None]
        return node

    def _below(self, path: str) -> tuple[M, ...]:
        node = self._root
        # Never split further than the deepest route: a path of a thousand slashes costs no more.
        for segment in path.split("/", self._splits):
            child = node.get(segment)
            if child is None:
                break
            node = child
        found: tuple[M, ...] = node[None]
        return found

    def match(self, path: str, environ: Mapping[str, object]) -> M:
        """What holds for a request.

        :param path: decoded, as Unicode.
        :param environ: asked for method and host only, and only where an entry depends on them.
        """
        found = self._exact.get(path)
        if found is None:
            # As _below, written out: this runs for every request.
            node = self._root
            for segment in path.split("/", self._splits):
                child = node.get(segment)
                if child is None:
                    break
                node = child
            found = node[None]
        for entry in found:
            if entry.methods is not None and environ.get("REQUEST_METHOD") not in entry.methods:
                continue
            if entry.hosts is not None and request_host(environ) not in entry.hosts:
                continue
            return entry
        # The default, which has neither methods nor hosts, stands last in every tuple.
        raise AssertionError("a route table without a default")

    def matches(self, path: str, environ: Mapping[str, object]) -> Iterator[M]:
        """Everything that holds for a path: what :meth:`match` returns, then what it was chosen over."""
        method, host = environ.get("REQUEST_METHOD"), request_host(environ)
        for entry in self._exact.get(path) or self._below(path):
            if (entry.methods is None or method in entry.methods) and (
                entry.hosts is None or host in entry.hosts
            ):
                yield entry


def _best_first(entries: list[M]) -> list[M]:
    return sorted(entries, key=lambda entry: (entry.methods is None, entry.hosts is None))
