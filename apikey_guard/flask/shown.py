"""What a Flask request shows, where a key was asked for only after it had been built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from werkzeug.wsgi import LimitedStream

if TYPE_CHECKING:
    from flask import Request

# What Werkzeug reads once of the query, a cookie or a header and keeps.
_KEPT: Final = ("args", "values", "cookies", "authorization", "url", "full_path")


def show_anew(current: Request) -> None:
    """Let a request show what its environ holds by now, be it the stand-in of a key that was removed before.

    :param current: the request itself, no proxy of it.
    """
    current.query_string = current.environ.get("QUERY_STRING", "").encode("latin-1")
    for name in _KEPT:
        current.__dict__.pop(name, None)
    if not body_is_read(current):
        # Of the body as it was sent; the guard may have cut a key out of it.
        current.__dict__.pop("stream", None)


def body_is_read(current: Request) -> bool:
    """Whether the app has begun to read the body: what is gone from it cannot be looked at again.

    :param current: as in :func:`show_anew`.
    """
    stream = current.__dict__.get("stream")
    # Werkzeug makes a stream also to see that there is nothing to parse.
    return stream is not None and not (isinstance(stream, LimitedStream) and stream.tell() == 0)
