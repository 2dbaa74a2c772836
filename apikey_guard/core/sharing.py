"""What a key service said, in a form that nobody can change and that equal answers share.

Many keys have the same scopes, metadata and names: kept once, a hundred thousand of them stay small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from types import MappingProxyType
from typing import NoReturn, TypeVar, cast

from apikey_guard.core.model import NO_METADATA, NO_SCOPES
from apikey_guard.errors import UnusableAnswer

T = TypeVar("T")

# So many different values are shared; a table that is full begins anew.
_MOST_SHARED = 4096
# Deeper than any record; a structure that holds itself has no end.
_DEEPEST = 32
_UNCHANGEABLE = (str, int, float, complex, bool, bytes, type(None))


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("what is remembered of a key cannot be changed; copy it first")


class FrozenDict(dict[object, object]):
    """A dict that stays as it is, so that it is still a dict to JSON, ``==`` and ``isinstance``."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (list(self.items()),)


class FrozenList(list[object]):
    """A list that stays as it is."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        return list, (list(self),)


class Shared:
    """Equal values as one object; bounded. Whoever races here gets an object of his own at worst."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def text(self, value: str | None) -> str | None:
        """A name."""
        return None if value is None else self._one(value, value)

    def scopes(self, value: Iterable[str]) -> frozenset[str]:
        """Scopes, whatever set they came in."""
        frozen = frozenset(value)
        return self._one(frozen, frozen) if frozen else NO_SCOPES

    def metadata(self, value: Mapping[str, object]) -> Mapping[str, object]:
        """Metadata as a copy in which nothing can be changed, however deep.

        :raises UnusableAnswer: it holds something that cannot be copied, or is too deep.
        """
        if not value:
            return NO_METADATA
        frozen, key = _frozen(value, _DEEPEST)
        view = MappingProxyType(cast("dict[str, object]", frozen))
        return view if key is None else self._one(key, view)

    def _one(self, key: object, value: T) -> T:
        known = self._known
        if len(known) >= _MOST_SHARED:
            known.clear()
        return cast("T", known.setdefault(key, value))


def _frozen(value: object, depth: int) -> tuple[object, object]:
    """A copy of a value that cannot be changed, and what it is equal by; None for the second: by nothing.

    1, 1.0 and True are equal, but not the same.
    """
    if depth == 0:
        raise UnusableAnswer("content", "its metadata is too deep")
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return value, (kind, repr(value) if kind in {float, complex} else value)
    if isinstance(value, Mapping):
        frozen = {name: _frozen(held, depth - 1) for name, held in value.items()}
        parts = [(type(name), name, key) for name, (_, key) in frozen.items() if key is not None]
        whole = len(parts) == len(frozen)
        return FrozenDict({name: held for name, (held, _) in frozen.items()}), (
            dict,
            *parts,
        ) if whole else None
    if kind in {tuple, set, frozenset} or isinstance(value, list | AbstractSet):
        members = [_frozen(each, depth - 1) for each in cast("Iterable[object]", value)]
        held = [each for each, _ in members]
        keys = [key for _, key in members if key is not None]
        if isinstance(value, AbstractSet):
            return frozenset(held), None
        copy: object = FrozenList(held) if isinstance(value, list) else tuple(held)
        return copy, (type(copy), *keys) if len(keys) == len(held) else None
    if isinstance(value, bytearray):
        return bytes(value), (bytes, bytes(value))
    try:
        return deepcopy(value), None
    except Exception:  # noqa: BLE001 - of the app's own class
        raise UnusableAnswer("content", "its metadata holds what cannot be copied") from None
