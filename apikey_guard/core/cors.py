"""What browsers ask before they call another origin, and what lets their pages read an answer (CORS)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from apikey_guard.core.request import overrides

Environ = Mapping[str, Any]  # a CGI environment: what is read here is text
Headers = Sequence[tuple[str, str]]

_is_method = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}").fullmatch
_are_names = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]{1,4096}").fullmatch
_VARY_OF_PREFLIGHT: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
# Headers of a refusal that its reader needs, and that browsers show to no page unasked.
_EXPOSED: Final = ("WWW-Authenticate", "Retry-After")
# Seconds: few calls ask first, and what is no longer one of the origins soon asks again.
_MAX_AGE: Final = "600"


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
        or bool(overrides(environ))
    )


class Cors:
    """Lets pages of named origins read what the guard itself answers.

    :param origins: as browsers send them, or ``*`` alone for all.
    :param with_cookies: whether browsers may send a cookie with the key.
    """

    def __init__(self, origins: Sequence[str], *, with_cookies: bool) -> None:
        self._everybody = tuple(origins) == ("*",)
        self._named = frozenset(origins)
        self._with_cookies = with_cookies and not self._everybody

    def names(self, environ: Environ) -> bool:
        """Whether the page that a request comes from is of one of the origins."""
        origin = environ.get("HTTP_ORIGIN")
        return origin in self._named or (self._everybody and bool(origin))

    def added(self, environ: Environ, headers: Headers, *, preflight: bool = False) -> Headers:
        """The headers to add to an answer; none where something has said who may read it.

        :param environ: of the request.
        :param headers: that the answer has.
        :param preflight: whether the answer is one to a preflight.
        """
        there = {name.lower() for name, _ in headers}
        if "access-control-allow-origin" in there:
            return ()
        vary = _VARY_OF_PREFLIGHT if preflight else "Origin"
        if not self.names(environ):
            return (("Vary", vary),)
        origin = "*" if self._everybody else environ["HTTP_ORIGIN"]
        added = [("Access-Control-Allow-Origin", origin), ("Vary", vary)]
        if self._with_cookies and "access-control-allow-credentials" not in there:
            added.append(("Access-Control-Allow-Credentials", "true"))
        if preflight:
            added += _asked_for(environ)
        exposed = ", ".join(name for name in _EXPOSED if name.lower() in there)
        if exposed:
            added.append(("Access-Control-Expose-Headers", exposed))
        return tuple(added)


def _asked_for(environ: Environ) -> list[tuple[str, str]]:
    found = [("Access-Control-Allow-Methods", environ["HTTP_ACCESS_CONTROL_REQUEST_METHOD"])]
    asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
    if asked and _are_names(asked):
        found.append(("Access-Control-Allow-Headers", asked))
    return [*found, ("Access-Control-Max-Age", _MAX_AGE)]
