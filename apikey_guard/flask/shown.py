"""What a Flask request shows, where a key was asked for only after it had been built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
