"""A part of ``multipart/form-data``, as Werkzeug and Django read it.

The two differ in much: Django takes a boundary for one wherever it stands, reads what comes before
the first and after the last, needs CRLF, and reads a body whose end is missing; Werkzeug takes any
line end, joins folded headers, and reads nothing of a body without its end. So only the plain form
that clients write, and that both read in one way, is read here; in any other one, a field of our
name that some reader might find is a reason to refuse.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from apikey_guard.core.body.field import Item, bounded, text_of
from apikey_guard.core.body.media import Media
from apikey_guard.errors import BadRequest

_TOKEN: Final = rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]++"
# An odd number of backslashes escapes a quote for all. After an even one Werkzeug ends the text, and
# Django goes on. Elsewhere they end nothing: old browsers send whole paths.
_QUOTED: Final = rb'"(?:[^"\\\x00-\x1f\x7f]|\\(?:\\\\)*+"|\\++(?!["\\]))*+"'
_PARAMETER: Final = re.compile(rb"[ \t]*+;[ \t]*+([A-Za-z0-9_\-]++\*?+)=(%b|%b)" % (_QUOTED, _TOKEN))
_DISPOSITION: Final = re.compile(
    rb"content-disposition:[ \t]*+[A-Za-z\-]++((?:%b)*+)[ \t]*+;?+[ \t]*+"
    % re.sub(rb"\((?!\?)", rb"(?:", _PARAMETER.pattern),
    re.IGNORECASE,
)
_EXTENDED_NAME: Final = re.compile(rb"utf-8''%b" % _TOKEN, re.IGNORECASE)
# Other spellings of the parameter: continued, or percent-encoded.
_OTHER_NAME: Final = re.compile(rb"name\*", re.IGNORECASE)


class _OddError(Exception):
    """The body is written in a way that its readers could differ about."""


class _Head(NamedTuple):
    """What the headers of a part say.

    :param name: of the field; None where the part is none.
    :param encoded: whether some reader decodes the content.
    """

    name: str | None
    encoded: bool = False


def part_items(media: Media, body: bytes, name: str, most: int | None) -> Sequence[Item]:
    """The parts of a body; none where nobody finds any."""
    if media.boundary == b"":
        return ()
    try:
        if media.boundary is None:
            raise _OddError
        return _parts(body, b"--" + media.boundary, name, most)
    except _OddError:
        # Werkzeug drops backslashes.
        if name.encode() in body.replace(b"\\", b"") or _OTHER_NAME.search(body):
            raise BadRequest("the body is written so that its readers could find different fields") from None
        return ()


def _parts(body: bytes, dash: bytes, name: str, most: int | None) -> Sequence[Item]:
    line_end = b"\r\n" if b"\r" in body else b"\n"
    opening, closing = _delimiters(body, dash, line_end, most)
    delimiters = [*opening, *([] if closing is None else [closing])]
    before = body if not delimiters else body[: max(0, delimiters[0][0] - len(line_end))]
    after = b"" if closing is None else body[closing[1] :]
    if b"\r\n\r\n" in before or b"\r\n\r\n" in after:
        raise _OddError  # where Django reads headers
    if closing is None and line_end == b"\n":
        return ()  # Django needs CRLF, and Werkzeug an end
    items = []
    for (start, head), following in itertools.zip_longest(opening, delimiters[1:]):
        # The line break before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
        content_end = len(body) if following is None else following[0] - len(line_end)
        blank = body.find(line_end * 2, head, content_end)
        if blank < 0:
            raise _OddError
        said = _headers(body[head:blank], line_end)
        end = content_end if closing is None or following is None else following[0]
        if said.name != name:
            items.append(Item(start, end, copy=False))
            continue
        if said.encoded:
            raise _OddError  # Django decodes the content
        content = body[blank + 2 * len(line_end) : content_end]
        items.append(Item(start, end, copy=True, value=text_of(content)))
    return items


_Span = tuple[int, int]


def _delimiters(
    body: bytes, dash: bytes, line_end: bytes, most: int | None
) -> tuple[list[_Span], _Span | None]:
    """Where each delimiter starts and where what follows it does; the one that closes the body apart."""
    line = re.compile(rb"(?:(--)[ \t]*+(?:%b|\Z)|[ \t]*+%b)" % (line_end, line_end)).match
    opening: list[_Span] = []
    closing: _Span | None = None
    start = body.find(dash)
    while start >= 0:
        match = line(body, start + len(dash))
        if match is None or closing is not None or (start and not body.endswith(line_end, 0, start)):
            raise _OddError
        if match[1] is None:
            opening.append((start, match.end()))
            bounded(len(opening), most, "parts")
        else:
            closing = start, match.end()
        start = body.find(dash, match.end())
    return opening, closing


def _headers(block: bytes, line_end: bytes) -> _Head:
    """What the headers of one part say, without the line break that ends the last one."""
    lines = block.split(line_end)
    disposition: bytes | None = None
    encoded = False
    for line in lines:
        # Folded, ended by one half of a line break, empty, or not UTF-8: read by one of the two alone.
        if not line or line[:1] in b" \t" or b"\r" in line or b"\n" in line or not _is_utf8(line):
            raise _OddError
        lower = line.lower()
        if b"disposition" in lower:
            if disposition is not None:
                raise _OddError
            disposition = line
        elif b"transfer-encoding" in lower and b"base64" in lower:
            encoded = True
    return _Head(None if disposition is None else _field_name(disposition), encoded)


def _field_name(disposition: bytes) -> str | None:
    """The name of the field that a part is; None for a file, or a part that is no field."""
    match = _DISPOSITION.fullmatch(disposition)
    if match is None:
        raise _OddError
    parameters = _PARAMETER.findall(match[1])
    values = {key.lower(): value for key, value in parameters}
    if len(values) < len(parameters):
        raise _OddError
    extended = values.pop(b"filename*", None)
    if any(key.endswith(b"*") for key in values) or (extended and not _EXTENDED_NAME.fullmatch(extended)):
        raise _OddError
    # Django takes a file without a name for a field.
    if extended or values.get(b"filename", b"").strip(b'"'):
        return None
    quoted = values.get(b"name")
    if quoted is None:
        return None
    if b"\\" in quoted:
        raise _OddError
    # Django takes white space off.
    return text_of(quoted.strip(b'"').strip())


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
