"""What a request carries across one hop: headers that end here, headers that go on, headers of ours.

RFC 9110, section 7.6, and RFC 7239. A server has joined repeated headers by now, and made ``-`` and
``_`` the same, so there is one value for each name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from apikey_guard.core.claims import CLAIMED
from apikey_guard.core.extraction import environ_key
from apikey_guard.core.peers import Environ, Peers
from apikey_guard.core.request import METHOD_HEADERS
from apikey_guard.errors import BadRequest
from apikey_guard.forwarding.story import TOLD, seen, told
from apikey_guard.http1.parser import HOP_BY_HOP

#: How this hop is called in ``Via`` (RFC 9110, section 7.6.3).
VIA_NAME: Final = "apikey-guard"

# End here, besides what is hop-by-hop: an upgrade that is not made, an expectation that the server
# has met already, and a header that CGI programs behind take for a setting (httpoxy).
_ENDING = HOP_BY_HOP | {"http2-settings", "expect", "proxy", "host", "content-length", "content-type"}
# Written anew, as a caller could say anything in them.
_OURS = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        *(f"x-forwarded-{name}" for name in ("for", "proto", "host", "port", "prefix")),
    }
)
# Nominating one of these in Connection would change what the message is or whose it is (threat A-06).
_KEPT: Final = frozenset({"HTTP_AUTHORIZATION", "HTTP_VIA", "HTTP_FORWARDED"})
_KEPT_BEGINNING: Final = "HTTP_CONTENT_"
# A token (RFC 9110, section 5.6.2) as CGI writes it: without a dash, so that no two keys give one name.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z]+")
# Whatever may stand in a name besides, PHP and lighttpd read some of it or all as a dash.
_ODD = re.compile("[^0-9a-z-]")
_MOST_NAMES = 1_024


class Hop:
    """Writes the header block of the requests that go on.

    :param peers: whose claims are believed: ``X-Forwarded-*``, ``Forwarded`` and those of
        :data:`apikey_guard.core.claims.CLAIMS`.
    :param kept: environ keys of headers that the settings name: nobody but the guard takes them away.
    :param via: whether this hop names itself in ``Via``.
    """

    def __init__(self, *, peers: Peers, kept: Collection[str], via: bool = True) -> None:
        self._via = via
        self._peers = peers
        self._kept = _KEPT | frozenset(kept)
        # "Name: " for each environ key seen, "" for what ends here; of a trusted peer and of others.
        # Bounded, as callers choose names.
        self._names: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def header_block(self, environ: Environ, prefix: str) -> bytes:
        """The header lines to send on, each with its line break, without Host and framing.

        :param prefix: the part of the path that was taken off on the way, or "".
        :raises BadRequest: a name or value could not be sent without meaning something else.
        """
        trusted = self._peers.trusts(environ.get("REMOTE_ADDR") or "")
        names = self._names[trusted]
        lines: list[str] = []
        for key, value in environ.items():
            if key[:5] == "HTTP_":
                name = names.get(key)
                if name is None:
                    name = self._name(key, trusted=trusted)
                if name:
                    lines.append(name + value)
        content_type = environ.get("CONTENT_TYPE")
        if content_type:
            lines.append("Content-Type: " + content_type)
        nominated = environ.get("HTTP_CONNECTION")
        if nominated is not None and nominated.lower() not in {"keep-alive", "close"}:
            lines = self._without_nominated(lines, nominated)
        self._say_where_from(environ, prefix, lines, trusted=trusted)
        lines.append("")
        block = "\r\n".join(lines)
        # Some servers hand over a line break inside a value; it would begin a header of the caller's.
        breaks = len(lines) - 1
        if block.count("\n") != breaks or block.count("\r") != breaks or "\0" in block:
            raise BadRequest("a header has a control character in it")
        try:
            return block.encode("latin-1")
        except UnicodeEncodeError:
            raise BadRequest("a header is not as a server may hand it over") from None

    def _name(self, key: str, *, trusted: bool) -> str:
        if not _NAME.fullmatch(key, 5):
            raise BadRequest("a header has a name that is none")
        name = key[5:].replace("_", "-")
        lower = name.lower()
        claimed = key.startswith(TOLD) or (not trusted and lower in CLAIMED)
        ends = _is_ours(lower) or (claimed and key not in self._kept) or self._imitates(lower)
        line = "" if ends else f"{name.title()}: "
        names = self._names[trusted]
        if len(names) < _MOST_NAMES:
            names[key] = line
        return line

    def _imitates(self, name: str) -> bool:
        """Whether some program would take a name for one that means something here.

        :param name: in lower case.
        """
        meant = _ODD.sub("-", name)
        key = environ_key(meant)
        known = _is_ours(meant) or meant in CLAIMED or key in self._kept or key in METHOD_HEADERS
        return known and meant != name

    def _without_nominated(self, lines: list[str], nominated: str) -> list[str]:
        options = (option.strip(" \t") for option in nominated.split(","))
        keys = {key for key in map(environ_key, options) if not key.startswith(_KEPT_BEGINNING)} - self._kept
        return [line for line in lines if environ_key(line.partition(":")[0]) not in keys]

    # -- where from ----------------------------------------------------------------------------

    def _say_where_from(self, environ: Environ, prefix: str, lines: list[str], *, trusted: bool) -> None:
        if trusted:
            story = told(environ, self._peers, prefix)
            lines.extend(self._told_besides(environ))
        else:
            story = seen(environ, prefix)
        lines.append("X-Forwarded-Proto: " + story.scheme)
        lines.append("Forwarded: " + story.forwarded)
        if story.caller:  # there is none behind a Unix socket
            lines.append("X-Forwarded-For: " + story.addresses)
            lines.append("X-Real-IP: " + story.caller)
        if story.host:
            lines.append("X-Forwarded-Host: " + story.host)
        if story.port:
            lines.append("X-Forwarded-Port: " + story.port)
        if story.prefix:
            lines.append("X-Forwarded-Prefix: " + story.prefix)
        said: str = environ.get("HTTP_VIA", "")
        if self._via:
            via = f"{environ.get('SERVER_PROTOCOL', 'HTTP/1.1')[5:]} {VIA_NAME}"
            lines.append(f"Via: {said}, {via}" if said else "Via: " + via)
        elif said:
            lines.append("Via: " + said)

    def _told_besides(self, environ: Environ) -> Iterator[str]:
        """The ``X-Forwarded-*`` of a trusted peer that are no part of the story; they go on as they are."""
        for key, value in environ.items():
            if key.startswith(TOLD) and value and key not in self._kept:
                name = key[5:].replace("_", "-").title()
                if name.lower() not in _OURS and not self._imitates(name.lower()):
                    yield f"{name}: {value}"


def _is_ours(name: str) -> bool:
    """Whether this hop alone writes a header, or ends it."""
    return name in _ENDING or name in _OURS
