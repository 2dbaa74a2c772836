"""The body of a request, read once for the search and handed on byte for byte."""

from __future__ import annotations

import io
import re
from collections.abc import MutableMapping
from typing import BinaryIO, Protocol, cast

from apikey_guard.errors import BadRequest, BodyTooLarge

_LENGTH = re.compile(r"[0-9]{1,18}")
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
        stream = cast("BinaryIO", environ["wsgi.input"])
        terminated = bool(environ.get("wsgi.input_terminated"))
        length = str(environ.get("CONTENT_LENGTH") or "")
        if length and environ.get("HTTP_TRANSFER_ENCODING") and not terminated:
            # RFC 9112, section 6.1: two framings in one message are an attack or a fault.
            raise BadRequest("the body is framed both by length and by transfer coding")
        if length and not _LENGTH.fullmatch(length):
            raise BadRequest("Content-Length is not a number")
        if length and int(length) > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes")
        if not length and not terminated:
            return b""
        body = _read(stream, int(length) if length and not terminated else limit + 1)
        if len(body) > limit:
            environ["wsgi.input"] = io.BufferedReader(_PutBack(body, stream))
            raise BodyTooLarge(f"the body has more than {limit} bytes")
        if length and len(body) < int(length):
            raise BadRequest("the body is shorter than its Content-Length")
        environ["wsgi.input"] = io.BytesIO(body)
        return body

    def replace(self, body: bytes) -> None:
        self._environ["wsgi.input"] = io.BytesIO(body)
        if self._environ.get("CONTENT_LENGTH"):
            self._environ["CONTENT_LENGTH"] = str(len(body))


class _PutBack(io.RawIOBase):
    """What was read of a body, then the rest of it, which is read no sooner than it is asked for.

    :param begun: what was read.
    :param rest: where the body goes on.
    """

    def __init__(self, begun: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._begun = io.BytesIO(begun)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader hands over
        size = len(buffer)
        piece = self._begun.read(size) or self._rest.read(size)
        buffer[: len(piece)] = piece
        return len(piece)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes: some servers' streams return less than was asked for."""
    pieces: list[bytes] = []
    while size > 0:
        try:
            piece = stream.read(min(size, _PIECE))
        except Exception as error:  # each server has errors of its own for a body that is broken or cut
            raise BadRequest("the body ended too early") from error
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
