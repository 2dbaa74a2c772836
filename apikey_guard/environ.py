"""What an environ says: its path, and under our own names what was decided about the request."""

from __future__ import annotations

from typing import Any, Final

Environ = dict[str, Any]  # of WSGI, or Django's request.META: holds objects of every kind

#: Who calls: a :class:`~apikey_guard.Consumer`, or None.
CONSUMER: Final = "apikey_guard.consumer"
#: What the guard has decided.
DECISION: Final = "apikey_guard.decision"
#: The name of the origin that an allowed request was sent to.
ORIGIN: Final = "apikey_guard.origin"
#: Why a request that was allowed got no answer from behind the guard, for what logs it.
UNANSWERED: Final = "apikey_guard.unanswered"


def unicode_path(path: str) -> str:
    """A WSGI path as Unicode (PEP 3333 shows its bytes as latin-1); what is no UTF-8 as U+FFFD."""
    try:
        return path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # No server may hand this over; whatever it is, it is not a canonical path. Marked at its end, so
        # that it still lies below the routes it begins with.
        return path + "\ufffd"


def path_of(environ: Environ) -> str:
    """The path of a WSGI environ as Unicode: that below its mount, on which the app routes."""
    path: str = environ.get("PATH_INFO", "")
    return path if path.isascii() else unicode_path(path)


def is_path_of(environ: Environ, path: str) -> bool:
    """Whether a path is the one that an environ names, if it names one: Django's is Unicode already."""
    named = environ.get("PATH_INFO", path)
    return path == named or path == path_of(environ)
