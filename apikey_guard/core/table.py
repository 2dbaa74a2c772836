"""The table of routes: a tree of path segments, walked as every server may read a path.

Matching costs the depth of the longest route, not the number of routes, and there is no pattern
that a caller could slow down (threat P-09).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from apikey_guard.core.paths import (
    TooManyReadings,
    folded,
    forms,
    is_readable,
    is_simple_path,
    looks_like,
    without_authority,
)
from apikey_guard.core.request import request_host

# How many segments off the tree are told apart: only ".." leads back, and nobody sends so many.
_FAR: Final = 8
# Steps of reading one path, some microseconds each. A path of twenty odd segments takes half of them.
_MOST_STEPS: Final = 1000


class Matched(Protocol):
    """What a table hands out: anything that knows for which methods and hosts it stands."""

    @property
    def methods(self) -> Collection[str] | None: ...

    @property
    def hosts(self) -> Collection[str] | None: ...


M = TypeVar("M", bound=Matched)


class Leaf(Generic[M]):
    """What holds for the paths that lead to one end in the tree.

    :ivar entries: best first; the last one has neither methods nor hosts.
    :ivar only: the one that holds for every method and host, or None where it depends on them.
    """

    __slots__ = ("entries", "only")

    def __init__(self, entries: tuple[M, ...]) -> None:
        self.entries = entries
        first = entries[0]
        self.only = first if first.methods is None and first.hosts is None else None

    def choose(self, method: object, host: str | None) -> M:
        """What holds for one method and one host."""
        for entry in self.entries:
            if (entry.methods is None or method in entry.methods) and (
                entry.hosts is None or host in entry.hosts
            ):
                return entry
        raise AssertionError("a route table without a default")

    def choose_all(self, methods: Iterable[str], hosts: Collection[str] | None) -> Iterator[M]:
        """What holds for some of the methods and hosts.

        :param hosts: None is every host.
        """
        for method in methods:
            if hosts is not None:
                yield from (self.choose(method, host) for host in hosts)
                continue
            for entry in self.entries:
                if entry.methods is None or method in entry.methods:
                    yield entry
                    if entry.hosts is None:
                        break


class _Node(dict[str, "_Node[M]"], Generic[M]):
    """One segment of the tree; the dict is of the segments below it."""

    __slots__ = ("above", "alike", "at", "below", "own_at", "own_below")
    __hash__ = object.__hash__  # type: ignore[assignment]  # a node is itself, whatever is below it
    __eq__ = object.__eq__

    at: Leaf[M]  # what holds for exactly this path
    below: Leaf[M]  # what holds for paths below it that lead no further in the tree

    def __init__(self, above: _Node[M] | None) -> None:
        super().__init__()
        self.above = above
        # The segments below by their folded names.
        self.alike: dict[str, tuple[_Node[M], ...]] = {}
        self.own_at: tuple[M, ...] = ()
        self.own_below: tuple[M, ...] = ()

    def child(self, name: str) -> _Node[M]:
        found = self.get(name)
        if found is None:
            found = self[name] = _Node(self)
            alike = folded(name)
            self.alike[alike] = (*self.alike.get(alike, ()), found)
        return found


class RouteTable(Generic[M]):
    """Longest path first, then the entry with methods, then the one with hosts; else the default.

    :param entries: path (as in :class:`~apikey_guard.core.routing.Route`) and what stands for it.
    :param default: what holds where nothing matches.
    """

    def __init__(self, entries: Iterable[tuple[str, M]], default: M) -> None:
        self._root: _Node[M] = _Node(None)
        self._top = self._root.child("")
        self._depth = 1
        # Paths that are the spelling of a route but for the last slash, folded.
        self._contested: set[str] = set()
        self._has_capitals = False
        for path, entry in entries:
            is_below = path.endswith("/*")
            own = path[:-2] if is_below else path
            segments = own.split("/")
            node = self._root
            for segment in segments:
                node = node.child(segment)
            if is_below:
                node.own_below += (entry,)
            else:
                node.own_at += (entry,)
            self._depth = max(self._depth, len(segments))
            lower = own.lower()
            if lower != own or not (is_simple_path(own) or not own):
                self._has_capitals = True
            if not is_below:
                self._contested.add(lower[:-1] if lower.endswith("/") else lower + "/")
        self.leaves: list[Leaf[M]] = []
        self._grow_leaves(default)

    def _grow_leaves(self, default: M) -> None:
        nowhere = Leaf((default,))
        self.leaves.append(nowhere)
        waiting = [(self._root, nowhere)]
        while waiting:
            node, above = waiting.pop()
            # A node between two routes holds what the nearest one above it does.
            node.below = self._leaf(node.own_below, above)
            node.at = self._leaf(node.own_at, node.below)
            waiting += ((child, node.below) for child in node.values())

    def _leaf(self, own: tuple[M, ...], above: Leaf[M]) -> Leaf[M]:
        if not own:
            return above
        best_first = sorted(own, key=lambda entry: (entry.methods is None, entry.hosts is None))
        leaf = Leaf((*best_first, *above.entries))
        self.leaves.append(leaf)
        return leaf

    def match(self, path: str, environ: Mapping[str, object]) -> M:
        """What holds for a request as it stands there.

        :param path: decoded, as Unicode.
        :param environ: asked for method and host only, and only where an entry depends on them.
        """
        leaf = self.literal(path)
        if leaf.only is not None:
            return leaf.only
        return leaf.choose(environ.get("REQUEST_METHOD"), request_host(environ))

    def literal(self, path: str) -> Leaf[M]:
        """Where a path leads as it stands there."""
        node = self._root
        # Never split further than the deepest route: a path of a thousand slashes costs no more.
        for segment in path.split("/", self._depth):
            child = node.get(segment)
            if child is None:
                return node.below
            node = child
        return node.at

    def simple(self, path: str) -> Leaf[M] | None:
        """Where a path leads in every reading; None where it must be read to know that."""
        if is_simple_path(path) is None:
            return None
        leaf = self.literal(path)
        lower = path.lower()
        if lower in self._contested:
            return None
        if (self._has_capitals or lower != path) and self._alike(lower) is not leaf:
            return None
        return leaf

    def below(self, path: str) -> Leaf[M] | None:
        """Where every simple name directly below a path leads to; None where not all lead to one leaf."""
        node = self._root
        for segment in path.lower().split("/", self._depth):
            children = node.alike.get(segment)
            if children is None:
                break
            if len(children) > 1:
                return None
            node = children[0]
        else:
            if node:
                return None
        # The same as it is written; no route has a name like this one.
        return node.below if self.literal(path + "/\0") is node.below else None

    def _alike(self, lower: str) -> Leaf[M] | None:
        """Where a path leads if letter case is ignored; None where that is more than one leaf."""
        node = self._root
        for segment in lower.split("/", self._depth):
            children = node.alike.get(segment)
            if children is None:
                return node.below
            if len(children) > 1:
                return None
            node = children[0]
        return node.at

    def readings(self, *paths: str, sent: bool = True) -> set[Leaf[M]] | None:
        """The leaves that servers may take a path for; None: too many to tell.

        :param paths: the path in the forms that are known, decoded or not.
        :param sent: whether one of them is the path as it was sent. Where it is not known, a slash may
            have been encoded, and belong to a parameter.
        """
        reader: _Reader[M] = _Reader(swallows=not sent)
        found: set[Leaf[M]] = set()
        try:
            for path in paths:
                found.add(self.literal(path))
                for node, off, *_ in reader.read(self._top, path):
                    found.add(node.below if off else node.at)
                    if not off and "" in node:
                        found.add(node[""].at)
        except TooManyReadings:
            return None
        return found

    def matches(self, path: str, environ: Mapping[str, object]) -> Collection[M] | None:
        """Everything that may hold for a path, whoever reads it; None: too much to tell."""
        leaves = self.readings(path)
        if leaves is None:
            return None
        method, host = environ.get("REQUEST_METHOD"), request_host(environ)
        return [leaf.choose(method, host) for leaf in leaves]


# Where a reader may be: the node, how many segments off the tree, whether an empty segment came just
# before (what follows is then an authority to some), whether parameters are still being cut off.
_State = tuple[_Node[M], int, bool, bool]


class _Reader(Generic[M]):
    """Walks the tree along everything that servers may take a path for, all at once.

    Each step of theirs may be taken or not at each segment: that is more than any one server does,
    and the work is bounded.
    """

    def __init__(self, *, swallows: bool) -> None:
        self._swallows = swallows
        self._left = _MOST_STEPS
        self._ended: set[_State[M]] = set()
        self._had_empty = False

    def read(self, top: _Node[M], path: str) -> set[_State[M]]:
        start: set[_State[M]] = {(top, 0, False, False)}
        found = self._walk(start, path.removeprefix("/"), 0)
        if path[:1] != "/" and (rest := without_authority(path)) is not None:
            found |= self._walk(start, rest.removeprefix("/"), 0)
        return found | self._ended

    def _walk(self, states: set[_State[M]], text: str, decoded: int) -> set[_State[M]]:
        for segment in text.split("/"):
            states = self._segment(states, segment, decoded)
        return states

    def _segment(self, states: set[_State[M]], segment: str, decoded: int) -> set[_State[M]]:
        found: set[_State[M]] = set()
        for node, off, after_empty, cutting in states:
            if cutting:
                found.add((node, off, after_empty, True))
            if after_empty:
                found.add((node, off, False, False))
        for form in forms(segment, decoded):
            if "/" in form.text:
                reached = self._walk(states, form.text, form.decoded)
            else:
                reached = self._step(states, form.text)
            if form.cut and self._swallows:
                reached |= {(node, off, empty, True) for node, off, empty, _ in reached}
            if form.ends:
                self._ended |= reached
            else:
                found |= reached
        return found

    def _step(self, states: set[_State[M]], name: str) -> set[_State[M]]:
        # A form costs its own step, whatever it leads to.
        self._left -= 1 + len(states)
        if self._left < 0:
            raise TooManyReadings
        found: set[_State[M]] = set()
        if name == "":
            self._had_empty = True
            found |= {(node, off, True, False) for node, off, *_ in states}
        elif name == ".":
            found |= {(node, off, empty, False) for node, off, empty, _ in states}
        elif name == "..":
            for node, off, *_ in states:
                if off == 0:
                    up = node if node.above is None or node.above.above is None else node.above
                    found.add((up, 0, self._had_empty, False))
                    continue
                found.add((node, off - 1, self._had_empty, False))
                if off == _FAR:
                    found.add((node, off, self._had_empty, False))
        alike = folded(name)
        for node, off, *_ in states:
            if off:
                found.add((node, min(off + 1, _FAR), False, False))
                continue
            same = node.get(name)
            found.add((node, 1, False, False) if same is None else (same, 0, False, False))
            found |= {(child, 0, False, False) for child in node.alike.get(alike, ())}
            if not is_readable(name):
                self._left -= len(node.alike)
                for known in looks_like(alike, node.alike):
                    found |= {(child, 0, False, False) for child in node.alike[known]}
        return found
