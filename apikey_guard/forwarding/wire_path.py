"""The path that an origin gets: the one that was decided, as the caller wrote it.

A server hands over a decoded path, and some also the target as it was sent. Only the decoded one
is what the guard decides about, so the other is used where both say the same and nowhere else
(threat P-03). What two programs could read differently is refused before anything else happens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

from apikey_guard.errors import BadRequest

# RFC 3986, section 3.3: what may stand in a path as it is; the rest is written percent-encoded.
_SAFE_IN_PATH = "!$&'()*+,;=:@/~"
# Paths that mean the same to everybody: nothing encoded, no segment that begins with a dot.
_is_plain = re.compile(r"(?:/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_~!$&'()*+,=:@.-]*)?)+").fullmatch
_REFUSED = re.compile(
    r"[^\x21\x22\x24-\x5b\x5d-\x7e\x80-\xff]"  # what no target may hold, and what some take for a slash
    r"|%(?![0-9A-Fa-f]{2})"  # an escape that is none
    r"|%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])"  # the same, written percent-encoded
)
_DOT_SEGMENT = re.compile(r"(?:\A|/)\.\.?(?:;[^/]*)?(?:/|\Z)")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_ENCODED_SLASH = re.compile("%2[Ff]")


def wire_path(environ: Mapping[str, Any]) -> str:
    """The path to send on: below the mount, percent-encoded, each byte as the caller wrote it.

    :param environ: of a WSGI request; ``PATH_INFO`` is what the guard decides about.
    :returns: latin-1 text that begins with a slash.
    :raises BadRequest: it has dot segments, a backslash, a control character (each also in
        encoded form), a broken escape or a fragment, or does not begin with a slash.
    """
    path: str = environ.get("PATH_INFO") or "/"
    if path[0] != "/":
        raise BadRequest("the request's target is no path")
    raw: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw is None:
        return _checked(_encoded(path))
    if "#" in raw:
        raise BadRequest("the request's target has a fragment")
    sent = raw.partition("?")[0]
    if sent == path and _is_plain(path):
        return sent
    if sent[:1] != "/":
        # RFC 9112, section 3.2.2: the absolute form; whose host it names does not matter here.
        authority = _AUTHORITY.match(sent)
        sent = "/" if authority is None else sent[authority.end() :] or "/"
    # Checked as it was sent, too: a server may have resolved it before.
    below = _below(_checked(sent), environ.get("SCRIPT_NAME", ""), path)
    return _checked(_encoded(path)) if below is None else below


def has_encoded_slash(wire: str) -> bool:
    """Whether a path holds a slash that is no separator."""
    return "%2" in wire and _ENCODED_SLASH.search(wire) is not None


def literal_path(wire: str) -> str:
    """The decoded path in which an encoded slash is still no separator but ``%2F``.

    It differs from the path that was decided about only where such a slash was sent.

    :param wire: as :func:`wire_path` returns it.
    """
    if "%" not in wire:
        return wire
    return unquote(_ENCODED_SLASH.sub("%252F", wire), errors="replace")


def taken_off(wire: str, prefix: str) -> tuple[str, str]:
    """A path without a route's prefix, ``/`` at least, and the prefix, percent-encoded.

    :param wire: as :func:`wire_path` returns it; its first segments spell the prefix.
    :param prefix: decoded, without a final slash.
    """
    count = prefix.count("/") + 1
    pieces = wire.split("/", count)
    return "/" + "".join(pieces[count:]), quote(prefix, safe=_SAFE_IN_PATH)


def mount_of(environ: Mapping[str, Any]) -> str:
    """Where an app before this one has taken something off the path, percent-encoded; "" for nowhere.

    :raises BadRequest: it is not as a server may hand it over.
    """
    mount = environ.get("SCRIPT_NAME")
    return _encoded(mount) if mount else ""


def _below(sent: str, mount: str, path: str) -> str | None:
    """The part of a target that stands for the path, or None where it says something else."""
    count = mount.count("/")
    pieces = sent.split("/", count + 1)
    above, below = "/".join(pieces[: count + 1]), "/".join(["", *pieces[count + 1 :]])
    return below if _decoded(above) == mount and _decoded(below) == path else None


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode("latin-1") if "%" in text else text


def _encoded(path: str) -> str:
    try:
        return quote_from_bytes(path.encode("latin-1"), safe=_SAFE_IN_PATH)
    except UnicodeEncodeError:
        raise BadRequest("the request's path is not as a server may hand it over") from None


def _checked(path: str) -> str:
    if _is_plain(path):
        return path
    if _REFUSED.search(path) or _DOT_SEGMENT.search(_decoded(path)):
        raise BadRequest("the request's path can be read in several ways")
    return path
