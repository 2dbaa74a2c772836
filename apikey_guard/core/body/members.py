"""A member of a JSON object, as ``json.loads`` and all that call it read it.

Read with the standard library's own scanner, which also takes ``NaN``, and a little more: control
characters in strings and numbers of any length, as an application may choose to. What it cannot
read, nobody reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from apikey_guard.core.body.field import NOTHING, BodyField, Item, bounded
from apikey_guard.core.body.media import Media
from apikey_guard.errors import BadRequest

_space = re.compile(r"[ \t\n\r]*+").match
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
# Numbers stay texts: nothing is computed with them, and one of a million digits costs nothing.
_scan = json.JSONDecoder(strict=False, parse_float=str, parse_int=str).raw_decode
_BRACE: Final = ord("{")
_ASCII_ESCAPED: Final = re.compile(rb"\\u00[0-7]").search
# The rest of a member after its name, and the comma after it.
_PLAIN_VALUE: Final = re.compile(rb'[ \t\n\r]*+:[ \t\n\r]*+"([^"\\]*+)"(?:[ \t\n\r]*+(,)[ \t\n\r]*+)?+').match
# The marks that ``json.detect_encoding`` finds, with the codec of what follows.
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)


def plain_member(body: bytes, name: str) -> BodyField | None:
    """What a body holds that is written as clients mostly write it; None of any other body.

    The same as :func:`json_items` finds, for a quarter of the time. Where nothing spells the name with
    an escape, only what reads ``"name"`` can be the member; if that is there once, the scanner
    says whether it is one of the object's own.
    """
    quoted = _quoted(name)
    if quoted is None:
        return None
    find = body.find  # several times as fast as ``in``
    at = find(quoted)
    if body[0] != _BRACE or find(b"\0") >= 0 or find(quoted, at + 1) >= 0:
        return None
    if find(b"\\") >= 0 and _ASCII_ESCAPED(body) is not None:
        return None
    if at < 0:
        return NOTHING
    match = _PLAIN_VALUE(body, at + len(quoted))
    if match is None:
        return None
    try:
        text = body.decode()
        members, end = _scan(text)
    except (ValueError, RecursionError):
        return None
    if name not in members or (end != len(text) and _after(text, end) != len(text)):
        return None
    start, end = at, match.end(1) + 1
    before = body[:at].rstrip(b" \t\n\r")
    if before.endswith(b","):
        start = len(before[:-1].rstrip(b" \t\n\r"))
    elif match[2] is not None:
        end = match.end()
    return BodyField((members[name],), ((start, end),))


@lru_cache(64)
def _quoted(name: str) -> bytes | None:
    """A name as JSON writes it, where only ``\\u00..`` could write it in another way."""
    return None if not name.isascii() or set(name) & set('"\\/') else b'"%b"' % name.encode()


def json_items(media: Media, body: bytes, name: str, most: int | None) -> Sequence[Item]:
    """The members of the object that a body is; none where it is no object, or no JSON."""
    mark, codec = _encoding(body)
    try:
        text = body[mark:].decode(codec, "surrogatepass")
    except UnicodeDecodeError:
        if not media.narrow:
            return ()
        mark, codec, text = 0, "latin-1", body.decode("latin-1")
    try:
        items = list(_members(text, name, most))
    except ValueError:
        return ()
    except RecursionError:
        # How deep a reader comes depends on how deep it is called.
        raise BadRequest("the body is nested too deep to be searched") from None
    return items if codec == "utf-8" and not mark and text.isascii() else _in_bytes(items, text, codec, mark)


def _encoding(body: bytes) -> tuple[int, str]:
    """How many bytes of ``body`` say how it is encoded, and how it is."""
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return len(mark), codec
    return 0, json.detect_encoding(body)


def _members(text: str, name: str, most: int | None) -> Iterator[Item]:
    """:raises ValueError: the text is no JSON object."""
    position = _next(text, 0, "{")
    if text.startswith("}", position):
        return
    count = 0
    while True:
        start = position
        if not text.startswith('"', start):
            raise ValueError
        count += 1
        bounded(count, most, "members")
        member, position = _scan(text, start)
        begin = _next(text, position, ":")
        value, end = _scan(text, begin)
        if member == name:
            structured = isinstance(value, (dict, list))
            # An escape can spell a lone surrogate. U+FFFD, as everywhere: encoding would make it a "?".
            shown = _SURROGATES.sub("\ufffd", value) if text[begin] == '"' else None
            yield Item(start, end, copy=True, value=shown, structured=structured)
        else:
            yield Item(start, end, copy=False)
        position = _after(text, end)
        if text.startswith("}", position):
            break
        position = _next(text, position, ",")
    if _after(text, position + 1) != len(text):
        raise ValueError


def _after(text: str, position: int) -> int:
    match = _space(text, position)
    return position if match is None else match.end()


def _next(text: str, position: int, mark: str) -> int:
    """Where the next token begins, after a mark and the white space around it."""
    position = _after(text, position)
    if not text.startswith(mark, position):
        raise ValueError
    return _after(text, position + 1)


def _in_bytes(items: Sequence[Item], text: str, codec: str, mark: int) -> Sequence[Item]:
    """The items of a text, by where they lie in the bytes that it was."""
    found = []
    position, place = 0, mark
    for item in items:
        places = []
        for wanted in (item.start, item.end):
            place += len(text[position:wanted].encode(codec, "surrogatepass"))
            position = wanted
            places.append(place)
        found.append(item._replace(start=places[0], end=places[1]))
    return found
