"""What one field of a body presents, and where its copies lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from apikey_guard.errors import BodyTooLarge


class BodyField(NamedTuple):
    """Every copy of one field in one body; ``repr`` never shows a value.

    :param values: the values that are presented, decoded, in order; an empty one is presented too.
        Bytes that are not UTF-8 became U+FFFD, which no key holds. In a repeated JSON member, every
        value that is not a string counts as an empty one.
    :param spans: the bytes ``[start, end)`` that :meth:`without` cuts out, in order, one per copy.
    :param structured: whether a copy is a JSON array or object, which may hold several values.
    """

    values: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    structured: bool = False

    @property
    def ambiguous(self) -> bool:
        """Whether two readers of the body could take two different values from it."""
        return self.structured or len(self.values) > 1

    def without(self, body: bytes) -> bytes:
        """``body``, in which this was found, less every copy; the same object if there is none."""
        if not self.spans:
            return body
        if len(self.spans) == 1:
            ((start, end),) = self.spans
            return body[:start] + body[end:]
        kept: list[bytes] = []
        position = 0
        for start, end in self.spans:
            kept.append(body[position:start])
            position = end
        kept.append(body[position:])
        return b"".join(kept)

    def __repr__(self) -> str:
        return f"BodyField(copies={len(self.spans)}, ambiguous={self.ambiguous})"


NOTHING: Final = BodyField()


class Item(NamedTuple):
    """One field, part or member: where it lies, and what it presents where the name is ours."""

    start: int
    end: int
    copy: bool
    value: str | None = None
    structured: bool = False


def collect(items: Sequence[Item]) -> BodyField:
    """The field that some of the items are copies of."""
    copies = [item for item in items if item.copy]
    if not copies:
        return NOTHING
    # A lone number presents nothing; beside another copy it is what some reader would take.
    values = [item.value or "" for item in copies if item.value is not None or len(copies) > 1]
    return BodyField(
        values=tuple(values),
        spans=tuple(_spans(items)),
        structured=any(item.structured for item in copies),
    )


def _spans(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """What to cut so that as many separators go as items: the one before, or else the one after."""
    kept_before = False
    for index, item in enumerate(items):
        if not item.copy:
            kept_before = True
        elif kept_before:
            yield items[index - 1].end, item.end
        elif index + 1 < len(items):
            yield item.start, items[index + 1].start
        else:
            yield item.start, item.end


def bounded(count: int, most: int | None, things: str) -> None:
    """Raise where there are too many things to search.

    :param most: how many may be there; None bounds nothing.
    """
    if most is not None and count > most:
        raise BodyTooLarge(f"the body holds more than {most} {things}: too many to search for a credential")


def text_of(raw: bytes) -> str:
    """Bytes as text; what is no UTF-8 as U+FFFD."""
    # Replaced, not escaped to lone surrogates: a value that slipped through could not be encoded.
    return raw.decode("utf-8", "replace")
