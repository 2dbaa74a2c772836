"""The body of a request, on its way from the caller to an origin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, Final

from apikey_guard.errors import BadRequest
from apikey_guard.forwarding.outbound import Framing
from apikey_guard.http1.arriving import Read, reader_of

_PIECE_BYTES: Final = 65_536


def read_ahead(stream: BinaryIO, frame: Framing) -> Iterator[bytes]:
    """The body in pieces that are framed for the wire.

    The first one is read at once: no connection is held for a caller who has sent nothing yet.
    """
    _read_no_further_ahead(stream)
    read = reader_of(stream)
    pieces = _chunks(read) if frame.length is None else _pieces(read, frame.length)
    return chain((next(pieces),), pieces)


def _read_no_further_ahead(stream: object) -> None:
    """Keep gunicorn from reading a MiB of the body ahead, which it would copy for each of our pieces."""
    reader = getattr(stream, "reader", None)
    # The reader of chunks has it only by way of its request.
    unreader: Any = getattr(reader, "unreader", None) or getattr(
        getattr(reader, "req", None), "unreader", None
    )
    if hasattr(unreader, "max_body_chunk"):
        unreader.max_body_chunk = _PIECE_BYTES


def _pieces(read: Read, length: int) -> Iterator[bytes]:
    while length:
        piece = _some(read, min(length, _PIECE_BYTES))
        if not piece:
            raise BadRequest("the body is shorter than its Content-Length")
        length -= len(piece)
        yield piece


def _chunks(read: Read) -> Iterator[bytes]:
    while piece := _some(read, _PIECE_BYTES):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _some(read: Read, most: int) -> bytes:
    try:
        return read(most)
    except Exception as error:  # each server has errors of its own for a body that is broken or cut
        raise BadRequest("the body ended too early") from error
