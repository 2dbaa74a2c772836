"""What a request becomes on its way to an origin."""

from __future__ import annotations

import re
from typing import NamedTuple

from apikey_guard.core.peers import Environ
from apikey_guard.errors import BadRequest, LengthRequired

_DIGITS = re.compile(r"[0-9]{1,18}")


class Framing(NamedTuple):
    """Where a request's body ends.

    :param length: in bytes, or None where it was not announced.
    :param chunked: whether it comes without a length; with neither there is no body.
    """

    length: int | None
    chunked: bool


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
