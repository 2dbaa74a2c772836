"""What browsers ask before they call another origin, and what lets their pages read an answer (CORS)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

Environ = Mapping[str, Any]  # a CGI environment: what is read here is text

_is_method = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}").fullmatch
# Headers by which frameworks and origins are told to take the request for one with another method.
_OVERRIDES: Final = ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE")


def is_preflight(environ: Environ) -> bool:
    """Whether this is what a browser asks before it calls (Fetch standard, section 3.3.2).

    ``OPTIONS`` in capitals, with the origin of a page and the method that it wants to use.
    """
    return (
        environ.get("REQUEST_METHOD") == "OPTIONS"
        and bool(environ.get("HTTP_ORIGIN"))
        and _is_method(environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD") or "") is not None
    )


def says_more(environ: Environ) -> bool:
    """Whether a preflight brings what no browser sends with one: a body, or another method."""
    return (
        environ.get("CONTENT_LENGTH") not in {None, "", "0"}
        or "HTTP_TRANSFER_ENCODING" in environ
        or any(name in environ for name in _OVERRIDES)
        or "_method" in unquote_plus(environ.get("QUERY_STRING") or "")
    )
