"""HTTP/1.1 answers, taken apart strictly (RFC 9112): what two programs could read differently is refused.

Nothing here reads from anywhere: bytes come in, and what they say comes out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from apikey_guard.core.claims import ORDERED
from apikey_guard.errors import ApiKeyGuardError

#: Bytes of an answer's header block; more than any server sends.
MAX_HEAD_BYTES: Final = 65_536
#: Bytes of a chunk's size line, and of the trailer section, which is read and left out.
MAX_CHUNK_LINE_BYTES: Final = 4_096
MAX_TRAILER_BYTES: Final = 16_384

# RFC 9110, section 5: a name is a token, a value has no control character but the tab. Nothing
# between a name and its colon (RFC 9112, section 5.1), no folded line (section 5.2), no bare LF.
_FIELD: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n"
_STATUS_LINE: Final = rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n"
_HEAD = re.compile(_STATUS_LINE + rb"((?:" + _FIELD + rb")*)\r\n")
_TRAILERS = re.compile(rb"(?:" + _FIELD + rb")*\r\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
# As Apache and Node write it; there is no standard for it.
_TIMEOUT = re.compile(r"(?:^|[,; \t])timeout[ \t]*=[ \t]*\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_TEXT = re.compile(rb"[\x20-\x7e]+")

# What belongs to one connection and not to the message (RFC 9110, section 7.6.1).
HOP_BY_HOP: Final = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_BODILESS: Final = frozenset([204, 304])
_LOOKED_AT: Final = HOP_BY_HOP | {"content-length"}
# Naming one of these in Connection changes nothing: the first two name no header of the message, the
# others say where it ends and what it is.
_KEPT: Final = frozenset(["close", "keep-alive", "content-length", "content-type", "content-encoding"])


_is_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_line = re.compile(r"[ -~\x80-\xff]*").fullmatch


def is_method(method: object) -> bool:
    """Whether a request may begin with it."""
    return isinstance(method, str) and _is_name(method) is not None


def is_header(header: object) -> bool:
    """Whether it is a name and a text of one line, of the message and not of its connection."""
    match header:
        case (str(name), str(value)):
            return bool(_is_name(name) and _is_line(value)) and name.lower() not in HOP_BY_HOP
    return False


class Malformed(ApiKeyGuardError):
    """An answer that cannot be relied on."""


class Endless(Malformed):
    """A part of it that ought to have ended long ago."""


class Head(NamedTuple):
    """The header block of an answer.

    :param status: the status code, from 100 to 599.
    :param reason: the phrase as it was sent, or "" where it was not plain text.
    :param headers: in order, latin-1, without what belongs to the connection.
    :param length: of the body in bytes, where it was announced.
    :param chunked: whether the body comes in chunks.
    :param persistent: whether another request may be sent on the connection afterwards.
    :param keep_alive: seconds for which the origin says that it keeps an idle connection, or None.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    length: int | None
    chunked: bool
    persistent: bool
    keep_alive: int | None = None


def parse_head(block: bytes) -> Head:
    """What a header block says.

    :param block: up to and including the empty line.
    :raises Malformed: it is not HTTP/1.1, or its framing is not beyond doubt (section 6.3).
    """
    match = _HEAD.fullmatch(block)
    if match is None:
        raise Malformed("the header block is not HTTP/1.1")
    minor, code, phrase, fields = match.groups()
    headers: list[tuple[str, str]] = []
    lengths: list[str] = []
    codings: list[str] = []
    options: list[str] = []
    keep_alive: int | None = None
    for line in fields.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.strip(" \t")
        lower = name.lower()
        if lower in _LOOKED_AT:
            if lower == "content-length":
                lengths.append(value)
            else:
                if lower == "transfer-encoding":
                    codings.append(value)
                elif lower == "connection":
                    options += [option.strip(" \t").lower() for option in value.split(",")]
                elif lower == "keep-alive":
                    keep_alive = _shortest(value, keep_alive)
                continue
        # An origin could make the server in front serve its protected files (threat P-07).
        elif lower.startswith("x-") and lower in ORDERED:
            continue
        headers.append((name, value))
    status = int(code)
    length, chunked = _framing(lengths, codings, new=minor == b"1")
    # RFC 9110, section 8.6: no length in a 204, where some servers would wait for that many bytes.
    dropped = {"content-length"} if status == 204 else set()
    dropped.update(option for option in options if option not in _KEPT)
    if dropped:
        headers = [(name, value) for name, value in headers if name.lower() not in dropped]
    reason = phrase.decode("ascii") if phrase and _TEXT.fullmatch(phrase) else ""
    persistent = minor == b"1" and "close" not in options
    return Head(status, reason, headers, length, chunked, persistent, keep_alive)


def is_bodiless(method: str, status: int) -> bool:
    """Whether an answer has no body, whatever its header says (RFC 9112, section 6.3)."""
    return method == "HEAD" or status in _BODILESS


def _shortest(value: str, known: int | None) -> int | None:
    """The ``timeout`` of a ``Keep-Alive``; what cannot be read says nothing."""
    match = _TIMEOUT.search(value)
    if match is None:
        return known
    seconds = int(match[1])
    return seconds if known is None else min(seconds, known)


def _framing(lengths: list[str], codings: list[str], *, new: bool) -> tuple[int | None, bool]:
    if codings:
        if lengths or not new or len(codings) > 1 or codings[0].lower() != "chunked":
            raise Malformed("a Transfer-Encoding that cannot be relied on")
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("a Content-Length that cannot be relied on")
    return int(lengths[0]), False


class Chunks:
    """Takes a body in chunks apart as its bytes come (RFC 9112, section 7.1).

    :ivar done: whether the last chunk and the trailer section have come.
    :ivar surplus: what came after them; it belongs to nobody.
    """

    __slots__ = ("_held", "_left", "_state", "done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""
        self._held = b""
        self._left = 0
        self._state = "size"

    def feed(self, data: bytes) -> bytes:
        """The part of the body that these bytes complete.

        :raises Malformed: they are not what a chunked body is made of.
        """
        if self._state == "data" and len(data) < self._left:
            self._left -= len(data)
            return data
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._state == "data":
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._state = "data" if self._left else "end"
                continue
            ended = self._line(data, at)
            if ended is None:
                self._held = data[at:]
                break
            at = ended
        if self.done:
            self.surplus = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, data: bytes, at: int) -> int | None:
        """Take what stands between two pieces of data; where it ends, or None if it is not whole."""
        if self._state == "end":
            if data.startswith(b"\r\n", at):
                self._state = "size"
                return at + 2
            if data[at:] == b"\r":
                return None
            raise Malformed("a chunk that does not end where it says")
        if self._state == "size":
            return self._size(data, at)
        return self._trailers(data, at)

    def _size(self, data: bytes, at: int) -> int | None:
        end = data.find(b"\n", at, at + MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(data) - at >= MAX_CHUNK_LINE_BYTES:
                raise Endless("a chunk's size line does not end")
            return None
        match = _CHUNK_LINE.fullmatch(data, at, end + 1)
        if match is None:
            raise Malformed("a chunk's size cannot be read")
        self._left = int(match[1], 16)
        self._state = "data" if self._left else "trailers"
        return end + 1

    def _trailers(self, data: bytes, at: int) -> int | None:
        # Read for their end only: merged into headers, they could change what was decided.
        if data.startswith(b"\r\n", at):
            end = at + 2
        else:
            last = data.find(b"\r\n\r\n", at)
            if last < 0:
                if len(data) - at > MAX_TRAILER_BYTES:
                    raise Endless("the trailer section does not end")
                return None
            end = last + 4
        if end - at > MAX_TRAILER_BYTES or _TRAILERS.fullmatch(data, at, end) is None:
            raise Malformed("the trailer section cannot be read")
        self.done = True
        return end
