"""What a request becomes on its way to an origin."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from apikey_guard.core.peers import Environ
from apikey_guard.errors import BadRequest, LengthRequired, UpgradeUnsupported
from apikey_guard.forwarding import OriginRequest
from apikey_guard.forwarding.headers import Hop
from apikey_guard.forwarding.story import caller_host
from apikey_guard.forwarding.wire_path import mount_of, taken_off

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_QUERY_REFUSED = re.compile(r"[\x00-\x20\x7f#\u0100-\U0010ffff]")
# Where servers put the caller's connection; it is only watched, never read.
_CALLER_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
_DIGITS = re.compile(r"[0-9]{1,18}")


class Framing(NamedTuple):
    """Where a request's body ends.

    :param length: in bytes, or None where it was not announced.
    :param chunked: whether it comes without a length; with neither there is no body.
    """

    length: int | None
    chunked: bool

    @property
    def line(self) -> bytes:
        """The header that says it, with its line break; b"" where there is none."""
        if self.length is not None:
            return b"Content-Length: %d\r\n" % self.length
        return b"Transfer-Encoding: chunked\r\n" if self.chunked else b""


def outbound(
    environ: Environ, path: str, hop: Hop, *, prefix: str | None, preserve_host: bool
) -> tuple[OriginRequest, Framing]:
    """The request that goes on, complete but for its body, and where that ends.

    :param path: as :func:`~apikey_guard.forwarding.wire_path.wire_path` returns it.
    :param hop: writes the headers.
    :param prefix: what is taken off the path, or None.
    :param preserve_host: whether the caller's ``Host`` is sent on.
    :raises BadRequest: sent on, it could mean something else.
    :raises LengthRequired: as :func:`framing` says.
    :raises UpgradeUnsupported: it asks for a tunnel that is not made.
    """
    method = environ["REQUEST_METHOD"]
    # A tunnel would begin behind the answer to CONNECT, on a connection that is kept for others.
    if method == "CONNECT" or not _METHOD.fullmatch(method):
        raise BadRequest("the method is none that can be sent on")
    upgrade = environ.get("HTTP_UPGRADE")
    if upgrade is not None and "websocket" in upgrade.lower():
        raise UpgradeUnsupported
    frame = framing(environ)
    above = mount_of(environ)
    if prefix is not None:
        path, taken = taken_off(path, prefix)
        above += taken
    host = caller_host(environ) if preserve_host else None
    if preserve_host and host is None:
        raise BadRequest("Host is no host")
    headers = hop.header_block(environ, above) + frame.line
    return OriginRequest(method, path, _query(environ), headers, host, None, _caller(environ)), frame


def framing(environ: Environ) -> Framing:
    """Where the body ends, computed anew from what the server says (RFC 9112, section 6.3).

    :raises BadRequest: two framings at once, or one that two programs could read differently.
    :raises LengthRequired: a body in chunks whose end this server does not mark.
    """
    length, coding = environ.get("CONTENT_LENGTH") or "", environ.get("HTTP_TRANSFER_ENCODING")
    if coding is None:
        if not length:
            return Framing(None, chunked=False)
        if not _DIGITS.fullmatch(length):
            raise BadRequest("Content-Length is not a number")
        return Framing(int(length), chunked=False)
    if length or coding.strip(" \t").lower() != "chunked" or environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        raise BadRequest("the body is framed in a way that cannot be relied on")
    if not environ.get("wsgi.input_terminated"):
        raise LengthRequired("this server does not say where a body in chunks ends")
    return Framing(None, chunked=True)


def _query(environ: Environ) -> str:
    """The query as it was sent and as hiding left it, with its question mark."""
    query: str = environ.get("QUERY_STRING", "")
    if not query:
        # A bare question mark is part of the target, and only the raw one shows it.
        raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
        return "?" if raw.endswith("?") else ""
    if _QUERY_REFUSED.search(query):
        raise BadRequest("the query has a character that none can have")
    return "?" + query


def _caller(environ: Environ) -> int | None:
    for key in _CALLER_SOCKETS:
        connection = environ.get(key)
        if connection is not None:
            descriptor: int = connection.fileno()
            return descriptor if descriptor >= 0 else None
    return None
