"""The body of a request, read once for the search and handed on byte for byte."""

from __future__ import annotations

import io
from collections.abc import MutableMapping
from typing import BinaryIO, Protocol, cast

from apikey_guard.core import body as fields
from apikey_guard.core.extraction import AMBIGUOUS, Ambiguous, Extractor
from apikey_guard.core.standin import is_standin
from apikey_guard.errors import BadRequest, BodyTooLarge
from apikey_guard.http1.arriving import reader_of

_MOST_DIGITS = 18
_PIECE = 16_384


class RequestBody(Protocol):
    """A body that can be read, and replaced before the app reads it."""

    @property
    def content_type(self) -> str | None:
        """The value of ``Content-Type``."""
        ...

    def read(self, limit: int) -> bytes:
        """The whole body, which the app can then read again.

        :param limit: bytes; more raise :class:`~apikey_guard.errors.BodyTooLarge`, and the app can
            read the body as if nobody had tried. What says its length beforehand is not read at all.
        :returns: nothing where there is no body, or none whose end can be found.
        :raises BadRequest: the body is framed in two ways, or shorter than it says.
        """
        ...

    def replace(self, body: bytes) -> None:
        """Let the app read this instead."""
        ...


class WsgiBody:
    """The body of a WSGI request.

    :param environ: of the request; ``wsgi.input`` and ``CONTENT_LENGTH`` are exchanged in it.
    """

    def __init__(self, environ: MutableMapping[str, object]) -> None:
        self._environ = environ

    @property
    def content_type(self) -> str | None:
        value = self._environ.get("CONTENT_TYPE")
        return value if isinstance(value, str) else None

    def read(self, limit: int) -> bytes:
        environ = self._environ
        terminated = bool(environ.get("wsgi.input_terminated"))
        length = str(environ.get("CONTENT_LENGTH") or "")
        if not length and not terminated:
            return b""
        stream = cast("BinaryIO", environ["wsgi.input"])
        if length and environ.get("HTTP_TRANSFER_ENCODING") and not terminated:
            # RFC 9112, section 6.1: two framings in one message are an attack or a fault.
            raise BadRequest("the body is framed both by length and by transfer coding")
        if length and not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
            raise BadRequest("Content-Length is not a number")
        size = int(length) if length else 0
        if size > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes")
        body = _read(stream, limit + 1 if terminated else size)
        if len(body) > limit:
            environ["wsgi.input"] = io.BufferedReader(_PutBack(body, stream))
            raise BodyTooLarge(f"the body has more than {limit} bytes")
        if len(body) < size:
            raise BadRequest("the body is shorter than its Content-Length")
        environ["wsgi.input"] = io.BytesIO(body)
        return body

    def replace(self, body: bytes) -> None:
        self._environ["wsgi.input"] = io.BytesIO(body)
        if self._environ.get("CONTENT_LENGTH"):
            self._environ["CONTENT_LENGTH"] = str(len(body))


def with_body(
    extractor: Extractor, found: str | Ambiguous | None, body: RequestBody, *, limit: int, hides: bool
) -> str | Ambiguous | None:
    """What a request presents, its body included.

    :param extractor: knows the fields.
    :param found: what the request presents outside of its body.
    :param body: which is read only where something depends on it.
    :param limit: bytes that are searched; a larger body goes on as it was sent if a key was found.
    :param hides: whether every copy is cut out of the body.
    :raises BodyTooLarge: the body is larger, and no key was found.
    :raises BadRequest: the body is framed, or could be read, in two ways.
    """
    elsewhere = found is not None and not (isinstance(found, str) and is_standin(found))
    if elsewhere and extractor.takes_first and not hides:
        return found
    content_type = body.content_type
    if not fields.searchable(content_type):
        return found
    # Where nothing depends on the search, its bound is that of the bytes.
    most = None if elsewhere else fields.MAX_FIELDS
    try:
        data = kept = body.read(limit)
    except BodyTooLarge:
        # An upload whose key stands in a header is nobody's attempt to hide one.
        if elsewhere:
            return found
        raise
    for name in extractor.body_names:
        field = fields.find(content_type, kept, name, most=most)
        if field.structured and not (extractor.takes_first and elsewhere):
            found = AMBIGUOUS
        # Each field is a place of its own: the same value in two of them is one credential.
        found = extractor.merge(found, field.values)
        elsewhere = elsewhere or bool(field.values)
        if hides:
            kept = field.without(kept)
    if kept is not data:
        body.replace(kept)
    return found


class _PutBack(io.RawIOBase):
    """What was read of a body, then the rest of it: as it comes, and no sooner than it is asked for.

    :param begun: what was read.
    :param rest: where the body goes on.
    """

    def __init__(self, begun: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._begun = io.BytesIO(begun)
        self._rest = reader_of(rest)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader hands over
        size = len(buffer)
        piece = self._begun.read(size) or self._rest(size)
        buffer[: len(piece)] = piece
        return len(piece)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes: some servers' streams return less than was asked for."""
    piece = _piece(stream, size)
    if len(piece) >= size or not piece:
        return piece
    pieces = [piece]
    size -= len(piece)
    while size > 0 and (piece := _piece(stream, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _piece(stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(min(size, _PIECE))
    except Exception as error:  # each server has errors of its own for a body that is broken or cut
        raise BadRequest("the body ended too early") from error
