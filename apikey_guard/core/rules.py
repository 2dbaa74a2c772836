"""Which rule holds for a request: the strictest of all that servers may take it for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from apikey_guard.core.cors import is_preflight, says_more
from apikey_guard.core.dialects import Dialect
from apikey_guard.core.dialects.wording import Wording, wording
from apikey_guard.core.extraction import Conflict, Environ, Extractor, Location
from apikey_guard.core.hiding import Hide, Hiding, as_hide
from apikey_guard.core.model import NO_SCOPES, Deny, Mode, Reason
from apikey_guard.core.paths import hides_specials, is_canonical, is_simple_name, sent_path
from apikey_guard.core.request import (
    hosts_meant,
    means_one_method,
    methods_meant,
    only_host,
    raw_target,
    request_host,
)
from apikey_guard.core.routing import Access, Route
from apikey_guard.core.table import Leaf, RouteTable

# APIs are asked for the same paths again and again; a quarter of a MiB at most remembers them.
_REMEMBERED_PATHS = 1024
_REMEMBERED_LENGTH = 128
_MODES: Mapping[str, int] = {"enforce": 2, "monitor": 1, "off": 0}
_ACCESSES: Mapping[str, int] = {"required": 2, "optional": 1, "public": 0}
# Rules that no single route stands for. Each asks for the scopes of several.
_JOINED_RULES = 256


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a route says nothing: the guard's settings.

    The fields are the settings of the same names.

    :param forwards: whether everything goes to an origin that no route sends elsewhere.
    """

    key_locations: Sequence[str]
    key_conflict: Conflict
    key_pattern: str | None
    key_max_length: int
    hide_credentials: Hide | None
    forwards: bool
    default_access: Access
    mode: Mode
    allow_preflight: bool
    dialect: str | Dialect
    realm: str


class Way(NamedTuple):
    """Where the requests of one route are forwarded to. Each route has a way of its own.

    :param origin: the name of an origin, or None: to the app.
    :param prefix: what is taken off the path, or None.
    :param preserve_host: whether the caller's ``Host`` is sent on; None is as the origin wants it.
    :param standin: whether the route says itself that its origin gets stand-ins.
    """

    origin: str | None = None
    prefix: str | None = None
    preserve_host: bool | None = None
    standin: bool = False


#: Of every route where nothing is forwarded.
TO_APP: Final = Way()


@dataclass(frozen=True, slots=True)
class Rule:
    """A route as it holds under one guard's settings; everything looked up is looked up before.

    :param hiding: what the app sees of the credential.
    :param wording: how its refusals look.
    :param missing: what is said of a request without a credential.
    :param plain: whether requests are decided by their credential alone: required and enforced.
    :param way: of the route of the path as it stands there, whichever asks for most.
    """

    label: str | None
    methods: Collection[str] | None
    hosts: Collection[str] | None
    access: Access
    mode: Mode
    scopes: frozenset[str]
    extractor: Extractor
    hiding: Hiding
    anonymous: str | None
    wording: Wording
    missing: Deny
    plain: bool
    way: Way

    @classmethod
    def of(
        cls,
        route: Route | None,
        defaults: Defaults,
        everywhere: Collection[str],
        way_of: Callable[[Route], Way],
    ) -> Rule:
        """The rule that a route stands for; None is the rule for everything that no route matches.

        :param everywhere: the locations of all rules.
        :param way_of: as for :class:`Rules`.
        """
        given = route or Route("/*", access=defaults.default_access)
        names = tuple(defaults.key_locations if given.key_locations is None else given.key_locations)
        mode = given.mode or defaults.mode
        extractor = _extractor(names, defaults.key_conflict, defaults.key_pattern, defaults.key_max_length)
        return cls(
            label=None if route is None else route.label,
            methods=given.methods,
            hosts=given.hosts,
            access=given.access,
            mode=mode,
            scopes=frozenset(given.scopes),
            extractor=extractor,
            hiding=_hiding(
                names, hide_of(given, defaults), tuple(name for name in everywhere if name not in names)
            ),
            anonymous=given.anonymous,
            wording=wording(
                given.dialect or defaults.dialect, extractor.locations, given.realm or defaults.realm
            ),
            missing=Deny(Reason.MISSING_CREDENTIAL, route=None if route is None else route.label),
            plain=given.access == "required" and mode == "enforce",
            way=way_of(given),
        )


# Ten thousand routes say the same: the patterns are compiled once.
@lru_cache(maxsize=256)
def _extractor(names: tuple[str, ...], conflict: Conflict, pattern: str | None, max_length: int) -> Extractor:
    locations = [Location.parse(name) for name in names]
    return Extractor(locations, conflict=conflict, pattern=pattern, max_length=max_length)


@lru_cache(maxsize=256)
def _hiding(names: tuple[str, ...], hide: Hide, others: tuple[str, ...]) -> Hiding:
    locations, elsewhere = ([Location.parse(name) for name in each] for each in (names, others))
    return Hiding(locations, hide, elsewhere=elsewhere)


def hide_of(route: Route, defaults: Defaults) -> Hide:
    """What becomes of a credential under a route.

    An app has what tells callers apart by the key, so it gets a stand-in. An origin belongs to
    somebody else: it gets one only if its own route says so.
    """
    if route.hide_credentials is not None:
        return as_hide(route.hide_credentials)
    if defaults.forwards or route.origin is not None:
        return False if defaults.hide_credentials is False else "remove"
    return "replace" if defaults.hide_credentials is None else defaults.hide_credentials


class Rules:
    """Which rule holds for a request.

    :param routes: of the settings.
    :param defaults: what holds where a route says nothing.
    :param way_of: where requests of a route are forwarded to.
    """

    def __init__(self, routes: Iterable[Route], defaults: Defaults, way_of: Callable[[Route], Way]) -> None:
        routes = list(routes)
        everywhere = list(dict.fromkeys(defaults.key_locations))
        for given in {route.key_locations for route in routes if route.key_locations is not None}:
            everywhere += [name for name in given if name not in everywhere]
        self.default = Rule.of(None, defaults, everywhere, way_of)
        self.by_path = [(route.path, Rule.of(route, defaults, everywhere, way_of)) for route in routes]
        self._all = [self.default, *(rule for _, rule in self.by_path)]
        self._table = table = RouteTable(self.by_path, self.default)
        self._everywhere = everywhere
        # Where every rule decides alike, the default included, it does not matter how a path can be read.
        self._readings_matter = any(
            not rule.plain
            or rule.scopes
            or rule.extractor is not self.default.extractor
            or rule.hiding.hides != self.default.hiding.hides
            for rule in self._all
        )
        self._methods_matter = any(rule.methods is not None for rule in self._all)
        self._hosts_matter = any(rule.hosts is not None for rule in self._all)
        # Where an encoded slash leads nowhere that asks for more: leaves that hold however they are written.
        self._steady = {leaf for leaf in table.leaves if _is_steady(leaf)}
        # Rules of paths seen lately. Only rules that nothing but the path selects, and only plain ones.
        self.plain_rules: dict[str, Rule] = {}
        # The same for all that stands directly below a path: of items, nearly every one is new.
        self._rules_below: dict[str, Rule] = {}
        self._joined: dict[tuple[object, ...], Rule] = {}
        self._allow_preflight = defaults.allow_preflight
        self._methods = sorted({method for _, rule in self.by_path for method in rule.methods or ()})
        self._everything = self._join(self._all, self.default.way)

    def rule(self, path: str, environ: Environ) -> Rule:
        """The rule that holds for a request: the strictest of all that servers may take it for.

        A path can be read in several ways (P-01), a method overridden or written small (P-05), a host
        odd (P-04). What all readings agree on holds as it is.

        :param path: decoded, as Unicode; undecodable bytes as U+FFFD.
        """
        above, _, name = path.rpartition("/")
        below = self._rules_below.get(above)
        if below is not None and ((name.isalnum() and name.isascii()) or is_simple_name(name)):
            # As _remember, written out: on a path that is new, this is all there is.
            rules = self.plain_rules
            if len(rules) >= _REMEMBERED_PATHS:
                rules.clear()
            if len(name) <= _REMEMBERED_LENGTH:
                rules[path] = below
            return below
        leaf = self._table.simple(path) if self._readings_matter else self._table.literal(path)
        if leaf is None:
            return self._strictest(path, environ)
        rule = leaf.only
        if rule is None:
            if self._readings_matter and self._methods_matter and not means_one_method(environ):
                return self._strictest(path, environ)
            host = only_host(environ) if self._hosts_matter else None
            if host is None and self._hosts_matter:
                if self._readings_matter:
                    return self._strictest(path, environ)
                host = request_host(environ)
            rule = leaf.choose(environ.get("REQUEST_METHOD"), host)
        elif leaf in self._steady:
            if len(path) <= _REMEMBERED_LENGTH:
                _remember(self.plain_rules, path, rule)
                if self._table.below(above) is leaf:
                    _remember(self._rules_below, above, rule)
            return rule
        if self._readings_matter and hides_specials(raw_target(environ)):
            return self._strictest(path, environ)
        return rule

    def _strictest(self, path: str, environ: Environ) -> Rule:
        """What holds for a request that must be read with care."""
        literal, leaves = self._table.match(path, environ), self._leaves(path, environ)
        if leaves is None:
            return self._join([self._everything], literal.way)
        rule = self._join([literal, *self._chosen(leaves, environ)], literal.way)
        if leaves <= self._steady and is_canonical(path):
            scopes = NO_SCOPES.union(*(each.scopes for leaf in leaves for each in leaf.entries))
            if scopes <= rule.scopes and len(path) <= _REMEMBERED_LENGTH:
                _remember(self.plain_rules, path, rule)
        return rule

    def _leaves(self, path: str, environ: Environ) -> set[Leaf[Rule]] | None:
        """Where servers may take the path to; None: anywhere."""
        target = raw_target(environ)
        if target is None:
            return self._table.readings(path, sent=False)
        mount = environ.get("SCRIPT_NAME")
        sent = sent_path(target, mount if isinstance(mount, str) else "")
        return self._table.readings(path) if sent == path else self._table.readings(path, sent)

    def _chosen(self, leaves: set[Leaf[Rule]], environ: Environ) -> Iterator[Rule]:
        """The rules of these leaves for all that the method and the host may mean."""
        methods = methods_meant(environ) if self._methods_matter else [""]
        hosts = hosts_meant(environ) if self._hosts_matter else [""]
        for leaf in leaves:
            yield from leaf.choose_all(methods, hosts)

    def _join(self, rules: Sequence[Rule], way: Way) -> Rule:
        """The rule that asks for everything that one of these asks for; one of them where one does.

        It looks like the one that asks for most: its label, its locations, its dialect. One that looks in
        no place where another does not comes first, and one of a route before the default. The credential
        is hidden if one of them hides it.

        :param way: where the request is forwarded to, whatever it asks for.
        """
        asking = [rule for rule in rules if rule.mode == "enforce" and rule.access != "public"]
        if not asking:
            mode = max((rule.mode for rule in rules), key=_MODES.__getitem__)
            asking = [rule for rule in rules if rule.mode == mode]
        sets = [frozenset(rule.extractor.locations) for rule in asking]
        common = sets[0].intersection(*sets)
        differ = len(set(sets)) > 1

        def asks(rule: Rule) -> tuple[int, bool, int, bool, bool, str]:
            narrow = common.issuperset(rule.extractor.locations)
            of_route, named = differ and rule.label is not None, rule.label or ""
            # At last by name: every process must choose the same one.
            return _ACCESSES[rule.access], narrow, len(rule.scopes), of_route, rule is rules[0], named

        most = max(asking, key=asks)
        scopes = NO_SCOPES.union(*(rule.scopes for rule in asking))
        hide = most.hiding.hide_as or next(
            (rule.hiding.hide_as for rule in rules if rule.hiding.hides), False
        )
        if scopes == most.scopes and hide == most.hiding.hide_as and way is most.way:
            return most
        key = (id(most), scopes, hide, id(way))
        joined = self._joined.get(key)
        if joined is None:
            if len(self._joined) >= _JOINED_RULES:
                self._joined.clear()
            hiding = most.hiding
            if hide != hiding.hide_as:
                names = tuple(map(str, most.extractor.locations))
                hiding = _hiding(names, hide, tuple(each for each in self._everywhere if each not in names))
            joined = self._joined[key] = replace(most, scopes=scopes, hiding=hiding, way=way)
        return joined

    def goes_one_way(self, way: Way, path: str, environ: Environ) -> bool:
        """Whether a request is forwarded this way, whoever reads its path.

        :param path: as for :meth:`rule`.
        """
        found = self._table.matches(path, environ)
        return found is not None and all(rule.way is way for rule in found)

    def hands_on(self, path: str, environ: Environ) -> bool:
        """Whether this is a preflight that goes on without a credential (P-05).

        Only a real one, where the settings say so, and never to what needs scopes: many views
        answer every method alike, so the scopes of every method of the path count.
        """
        if not self._allow_preflight or not is_preflight(environ) or says_more(environ):
            return False
        given = [{**environ, "REQUEST_METHOD": method} for method in self._methods]
        return not any(self.rule(path, each).scopes for each in (environ, *given))


def _remember(rules: dict[str, Rule], path: str, rule: Rule) -> None:
    if len(rules) >= _REMEMBERED_PATHS:
        rules.clear()
    rules[path] = rule


def _is_steady(leaf: Leaf[Rule]) -> bool:
    rule = leaf.only
    return rule is not None and rule.plain and all(each.scopes <= rule.scopes for each in leaf.entries)
