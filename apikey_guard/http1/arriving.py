"""Reads of a request's body that return as soon as something is there.

``read(n)`` of most servers waits for all of the ``n`` bytes. What a caller has sent so far is then
held back until more comes, although whoever it is for could do something with it. Each server keeps
what it has received in another place; where that is not known, ``read`` is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO, Final

Read = Callable[[int], bytes]

# The size line of a chunk that is whole in a buffer, and where its data begins (RFC 9112, section 7.1).
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n")


def reader_of(stream: BinaryIO) -> Read:
    """``read(most)`` for a ``wsgi.input``: from 1 to ``most`` bytes that are there, b"" at the end.

    It waits for the first byte alone. With a length, it is not asked for more than that.
    """
    for find in _KINDS:
        found = find(stream)
        if found is not None:
            return found
    return stream.read


def _of_a_buffer(stream: Any) -> Read | None:
    """Of the standard library, and what stands on it: werkzeug, wsgiref, a body in memory."""
    read1: Read | None = getattr(stream, "read1", None)
    return read1


def _of_gunicorn(stream: Any) -> Read | None:
    """What the last ``recv`` brought lies in the unreader, and what a chunk brought in its reader."""
    reader: Any = getattr(stream, "reader", None)
    if not hasattr(stream, "buf"):
        return None
    if hasattr(reader, "length"):
        source = reader.unreader
    elif hasattr(reader, "parser"):
        source = reader
    else:
        return None

    def read(most: int) -> bytes:
        before = stream.buf.tell()
        if before:
            return bytes(stream.read(min(most, before)))
        try:
            first: bytes = reader.read(1)
            # Their buffers are made anew at each read, so none is kept here.
            more = min(source.buf.tell(), most - 1)
            return first + reader.read(more) if first and more else first
        except Exception:
            # As its own read does: where the next request begins is unknown, the connection must end.
            stream.failed = True
            raise

    return read


def _of_gevent(stream: Any) -> Read | None:
    """A buffered reader lies below; its ``peek`` waits for the first byte and says how many there are."""
    below: Any = getattr(stream, "rfile", None)
    if not hasattr(stream, "chunked_input") or not hasattr(below, "peek"):
        return None

    def read(most: int) -> bytes:
        stream.read(0)  # sends the 100 Continue that the caller may be waiting for
        if not stream.chunked_input:
            return bytes(stream.read(min(most, len(below.peek(1)))))
        if stream.chunk_length == 0:
            return b""
        left = max(stream.chunk_length - stream.position, 0)
        return bytes(stream.read(_of_a_chunk(most, left, below.peek(1))))

    return read


def _of_werkzeug_chunks(stream: Any) -> Read | None:
    """The development server's reader of chunks fills what it is given; below lies a buffered reader."""
    below: Any = getattr(stream, "_rfile", None)
    if not hasattr(stream, "_len") or not hasattr(stream, "_done") or not hasattr(below, "peek"):
        return None

    def read(most: int) -> bytes:
        there = below.peek(1) if not stream._done else b""
        return bytes(stream.read(_of_a_chunk(most, stream._len, there)))

    return read


def _of_a_chunk(most: int, left: int, there: bytes) -> int:
    """How many bytes of a body in chunks can be read without waiting for more than the first.

    :param left: bytes of the chunk that was begun; 0 where the next one begins.
    :param there: what has been received, framing included.
    """
    if not left:
        line = _SIZE_LINE.match(there)
        if line is None or line.end() == len(there):
            return 1
        left, there = int(line[1], 16), there[line.end() :]
    return max(min(most, left, len(there)), 1)


def _of_cheroot(stream: Any) -> Read | None:
    below: Any = getattr(stream, "rfile", None)
    if hasattr(stream, "remaining") and hasattr(below, "peek"):
        return lambda most: bytes(stream.read(min(most, len(below.peek(1)))))
    if isinstance(getattr(stream, "buffer", None), bytes):

        def read(most: int) -> bytes:
            first: bytes = stream.read(1)
            more = min(len(stream.buffer), most - 1)
            return first + stream.read(more) if first and more else first

        return read
    return None


_KINDS: Final = (_of_a_buffer, _of_gunicorn, _of_gevent, _of_werkzeug_chunks, _of_cheroot)
