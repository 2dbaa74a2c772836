"""Copies of the query in objects that a server or middleware has built of a request."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

# An event of a platform for functions has no more dicts in dicts.
_DEPTH: Final = 6


class Nested:
    """Changes texts and parameters in dicts, lists and their like.

    :param names: of the parameters.
    :param text: a text with its copies changed.
    :param parameter: what takes the place of a value; None takes it away.
    :param environ: is left as it is wherever it is found.
    """

    def __init__(
        self,
        names: Collection[str],
        text: Callable[[str], str],
        parameter: Callable[[str], str | None],
        environ: object,
    ) -> None:
        self._names = names
        self._text = text
        self._parameter = parameter
        # Objects may hold each other.
        self._seen = {id(environ)}

    def changed(self, value: object) -> object | None:
        """The object; None where it must be made anew.

        A dict is changed in place, as others may hold it; anything else is made of the request again
        by whoever does not find it.
        """
        return value if self._object(value, _DEPTH) is value else None

    def _object(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            text = self._text(value)
            return value if text == value else text
        if isinstance(value, bytes | bytearray):
            text = value.decode("latin-1")
            changed = self._text(text)
            return value if changed == text else changed.encode("latin-1")
        if not depth or id(value) in self._seen:
            return value
        if type(value) is dict:
            self._seen.add(id(value))
            self._change(value, depth - 1)
        elif isinstance(value, dict):
            self._seen.add(id(value))
            if any(self._pair(name, each, depth - 1) is not each for name, each in [*value.items()]):
                return None
        elif isinstance(value, list | tuple | set):
            self._seen.add(id(value))
            return self._collection(value, depth - 1)
        return value

    def _change(self, found: dict[Any, Any], depth: int) -> None:
        for name, value in [*found.items()]:
            changed = self._pair(name, value, depth)
            if changed is None and value is not None:
                del found[name]
            elif changed is not value:
                found[name] = changed

    def _collection(self, value: Any, depth: int) -> Any:
        if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
            # A name and its value, or two texts.
            first, second = self._text(value[0]), self._pair(value[0], value[1], depth)
            kept = [] if second is None and value[1] is not None else [first, second]
        else:
            pairs = [(each, self._object(each, depth)) for each in value]
            kept = [after for before, after in pairs if after is not None or before is None]
        if kept == [*value]:
            return value
        return kept if isinstance(value, list) else tuple(kept) if isinstance(value, tuple) else set(kept)

    def _pair(self, name: object, value: Any, depth: int) -> Any:
        if name in self._names:
            if isinstance(value, str):
                parameter = self._parameter(value)
                return value if parameter == value else parameter
            if isinstance(value, list | tuple):
                texts = [self._parameter(each) if isinstance(each, str) else each for each in value]
                kept = [each for each in texts if each is not None]
                return value if kept == [*value] else kept or None
        return self._object(value, depth)
