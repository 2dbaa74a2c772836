"""A credential in a request body: found, and cut out without touching any other byte.

Three media types are searched, each by its own specification: forms (WHATWG URL,
``application/x-www-form-urlencoded``), ``multipart/form-data`` (RFC 7578, RFC 2046) and
``application/json`` (RFC 8259). A body that does not parse holds no credential and is left alone.

Everything here takes time linear in the body and never recurses, whatever a caller sends.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from werkzeug.http import parse_options_header

from apikey_guard.errors import BodyTooLarge

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"

# What Werkzeug (max_form_parts) and Django (DATA_UPLOAD_MAX_NUMBER_FIELDS) allow a form to hold:
# a body beyond it would not reach the application's code either.
MAX_FIELDS: Final = 1000

# RFC 2046 section 5.1.1 allows up to 70 characters. The alphabet is wider than its ``bchars``:
# the usual parsers accept any visible character, and so would the application.
_BOUNDARY: Final = re.compile(r"[\x20-\x7e]{0,69}[\x21-\x7e]")
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_LINE_BREAK: Final = re.compile(rb"\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_REST_OF_DELIMITER: Final = re.compile(rb"(--)|[ \t]*+(?=\r?\n)")

_BOM: Final = b"\xef\xbb\xbf"
_JSON_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
# Possessive quantifiers: without them a long string would be kept on the backtracking stack.
_JSON_TOKEN: Final = re.compile(
    rb"[ \t\n\r]*+("
    rb"[{}\[\],:]"
    rb'|"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*+"'
    rb"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
    rb"|true|false|null)"
)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class BodyField:
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


def searchable(content_type: str | None) -> bool:
    """Whether a body of this media type is looked at at all.

    :param content_type: the value of ``Content-Type``; case and parameters do not matter.
    """
    return _media_type(content_type) in _FINDERS


def find(content_type: str | None, body: bytes, name: str) -> BodyField:
    """Every copy of the field ``name`` in ``body``.

    Names are compared exactly and by case: ``k[]``, ``k[0]`` and ``K`` are not ``k``. In a form,
    names and values are percent-decoded once, ``+`` is a space, and ``;`` separates nothing. In
    multipart, file parts are not looked at. In JSON, only members of the top-level object are; a
    number, ``true``, ``false`` or ``null`` is no credential.

    :param content_type: the value of ``Content-Type``, or None; no value of it is an error.
    :param body: the whole body.
    :param name: the field's name.
    :raises BodyTooLarge: for more than :data:`MAX_FIELDS` fields, parts or top-level members.
    """
    finder = _FINDERS.get(_media_type(content_type))
    if finder is None or not body:
        return NOTHING
    try:
        return _collect(list(finder(content_type or "", body, name)))
    except _UnreadableError:
        return NOTHING


def cut(content_type: str | None, body: bytes, name: str) -> bytes:
    """``body`` without any copy of the field ``name``, all other bytes as they were.

    A form field goes with one adjoining ``&``, a JSON member with one adjoining comma, a part
    with its boundary line. A body that has no such field is returned as the same object.
    Parameters and errors are those of :func:`find`.
    """
    return find(content_type, body, name).without(body)


class _UnreadableError(Exception):
    """The body is not what its media type says."""


class _Item(NamedTuple):
    """One field, part or member: where it lies, and what it presents where the name is ours."""

    start: int
    end: int
    copy: bool
    value: str | None = None
    structured: bool = False


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip(" \t").lower()


def _collect(items: Sequence[_Item]) -> BodyField:
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


def _spans(items: Sequence[_Item]) -> Iterator[tuple[int, int]]:
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


def _form_items(_content_type: str, body: bytes, name: str) -> Iterator[_Item]:
    if body.count(b"&") >= MAX_FIELDS:
        raise _too_many("fields")
    wanted = name.encode()
    start = 0
    for pair in body.split(b"&"):
        end = start + len(pair)
        raw_name, _, raw_value = pair.partition(b"=")
        if _form_decoded(raw_name) == wanted:
            yield _Item(start, end, copy=True, value=_text(_form_decoded(raw_value)))
        else:
            yield _Item(start, end, copy=False)
        start = end + 1


def _form_decoded(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


def _text(raw: bytes) -> str:
    # Replaced, not escaped to lone surrogates: a value that slipped through could not be encoded.
    return raw.decode("utf-8", "replace")


def _multipart_items(content_type: str, body: bytes, name: str) -> Iterator[_Item]:
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _UnreadableError
    delimiters = _delimiters(body, b"--" + boundary.encode("ascii"))
    for (start, line_end), (end, _) in itertools.pairwise(delimiters):
        blank = _BLANK_LINE.search(body, line_end, end)
        if blank is None:
            raise _UnreadableError
        if _part_name(body[line_end : blank.start()]) == name:
            # The line break before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1);
            # for an empty part it may be the very one that ends the blank line.
            content_end = end - (2 if body[end - 2 : end] == b"\r\n" else 1)
            yield _Item(start, end, copy=True, value=_text(body[blank.end() : content_end]))
        else:
            yield _Item(start, end, copy=False)


def _delimiters(body: bytes, dashed: bytes) -> Iterator[tuple[int, int]]:
    """Where each delimiter starts, and where its text ends; the closing one is the last.

    A delimiter stands at the start of a line. A bare LF counts as a line break, as the usual
    parsers take it, and padding after the boundary is skipped.
    """
    lines, line = b"\n" + body, b"\n" + dashed
    count = 0
    start = lines.find(line)  # in ``lines`` the line break, in ``body`` the byte after it
    while start >= 0:
        rest = _REST_OF_DELIMITER.match(body, start + len(dashed))
        if rest is not None:
            yield start, rest.end()
            if rest[1]:
                return
            count += 1
            if count > MAX_FIELDS:
                raise _too_many("parts")
        start = lines.find(line, start + 1)
    raise _UnreadableError


def _part_name(headers: bytes) -> str | None:
    """The name of a form part; None for a file, or a part that is no field."""
    found: str | None = None
    for line in _LINE_BREAK.split(_FOLD.sub(b" ", headers)):
        header, _, value = line.partition(b":")
        if header.strip(b" \t").lower() == b"content-disposition":
            if found is not None:
                raise _UnreadableError
            found = _text(value)
    options = parse_options_header(found)[1]
    return None if "filename" in options else options.get("name")


def _json_items(_content_type: str, body: bytes, name: str) -> Iterator[_Item]:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnreadableError from None
    end = _json_mark(body, len(_BOM) if body.startswith(_BOM) else 0, b"{")
    token, after = _json_token(body, end)
    separator, end = (token, after) if token == b"}" else (b",", end)
    count = 0
    while separator == b",":
        count += 1
        if count > MAX_FIELDS:
            raise _too_many("members")
        token, start, end = _json_name(body, end)
        first, end = _json_value(body, end)
        if _json_string(token) == name:
            text = _json_string(first) if first.startswith(b'"') else None
            yield _Item(start, end, copy=True, value=text, structured=first in (b"{", b"["))
        else:
            yield _Item(start, end, copy=False)
        separator, end = _json_token(body, end)
    if separator != b"}" or _JSON_SPACE.fullmatch(body, end) is None:
        raise _UnreadableError


def _json_token(body: bytes, position: int) -> tuple[bytes, int]:
    """The token at ``position``, white space before it skipped, and where it ends."""
    match = _JSON_TOKEN.match(body, position)
    if match is None:
        raise _UnreadableError
    return match[1], match.end()


def _json_mark(body: bytes, position: int, mark: bytes) -> int:
    token, end = _json_token(body, position)
    if token != mark:
        raise _UnreadableError
    return end


def _json_name(body: bytes, position: int) -> tuple[bytes, int, int]:
    """The name of the member at ``position``, where it starts, and where its colon ends."""
    token, end = _json_token(body, position)
    if not token.startswith(b'"'):
        raise _UnreadableError
    return token, end - len(token), _json_mark(body, end, b":")


def _json_value(body: bytes, position: int) -> tuple[bytes, int]:
    """The first token of the value at ``position``, and where the value ends.

    A stack of our own, one byte per level: ``json`` recurses, and ``[`` a hundred thousand times
    would end it with a RecursionError at a depth that depends on who called us.
    """
    first, end = _json_token(body, position)
    token = first
    containers = bytearray()
    while True:
        if token in (b"{", b"["):
            containers += token
            following, _ = _json_token(body, end)
            if following not in (b"}", b"]"):
                token, end = _json_next(body, end, containers)
                continue
        elif token in (b"}", b"]", b",", b":"):
            raise _UnreadableError
        # A value has ended, or an empty container is about to.
        while containers:
            separator, end = _json_token(body, end)
            if separator == b",":
                token, end = _json_next(body, end, containers)
                break
            if separator != (b"}" if containers.endswith(b"{") else b"]"):
                raise _UnreadableError
            containers.pop()
        else:
            return first, end


def _json_next(body: bytes, position: int, containers: bytearray) -> tuple[bytes, int]:
    """The first token of the next value in the innermost container, and where the token ends."""
    if containers.endswith(b"{"):
        _, _, position = _json_name(body, position)
    return _json_token(body, position)


def _json_string(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode("utf-8")
    # An escape can spell a lone surrogate. U+FFFD, as everywhere: encoding would make it a "?".
    return _SURROGATES.sub("\ufffd", json.loads(token))


def _too_many(things: str) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body holds more than {MAX_FIELDS} {things}: too many to search for a credential"
    )


_FINDERS: Final = {FORM: _form_items, MULTIPART: _multipart_items, JSON: _json_items}
