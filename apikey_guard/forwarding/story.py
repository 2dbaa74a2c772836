"""Where a request came from, as one story: what is told to an origin in several headers agrees.

Of a peer that is not trusted the socket and ``Host`` are all there is. What a trusted peer says is
completed from what it says: how that peer reached us tells nothing about how its caller reached it.
Where its words contradict each other, ``X-Forwarded-*`` holds: most servers that write those pass on
a ``Forwarded`` of their caller as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from apikey_guard.core.peers import Environ, Peers, address_of, elements_of

#: Headers that tell a part of the story begin so, as environ keys.
TOLD: Final = "HTTP_X_FORWARDED_"
# A name or address with an optional port (RFC 9110, section 7.2), and nothing that ends a header.
_HOST = re.compile(r"((?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]))(?::([0-9]{0,5}))?")
# How servers write the address of a peer.
_DOTTED = re.compile(r"[0-9A-Za-z._-]+")
_COLONS = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PORTS: Final[Mapping[str, str]] = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
# What servers wrote before there was X-Forwarded-Proto, with the word that means https.
_SCHEMES_TOLD: Final = (
    ("HTTP_X_FORWARDED_PROTO", ""),
    ("HTTP_X_FORWARDED_SCHEME", ""),
    ("HTTP_X_FORWARDED_PROTOCOL", ""),
    ("HTTP_X_FORWARDED_SSL", "on"),
    ("HTTP_FRONT_END_HTTPS", "on"),
    ("HTTP_X_FORWARDED_PORT", "443"),
)


class Story(NamedTuple):
    """Where one request came from; "" is unknown.

    :param addresses: the ``X-Forwarded-For`` of this hop: the caller's address first, the peer's last.
    :param caller: the address of the caller.
    :param scheme: by which the caller asked, and ``host`` and ``port`` that it asked.
    :param prefix: the part of the path that was taken off on the way.
    :param forwarded: the same as :rfc:`7239` says it.
    """

    addresses: str
    caller: str
    scheme: str
    host: str
    port: str
    prefix: str
    forwarded: str


def caller_host(environ: Environ) -> str | None:
    """The host that the caller named, as it was sent; None for an odd one."""
    host = environ.get("HTTP_HOST")
    return host if isinstance(host, str) and _HOST.fullmatch(host) else None


def seen(environ: Environ, prefix: str) -> Story:
    """The story by the socket and ``Host``, whatever else the request says."""
    peer = environ.get("REMOTE_ADDR") or ""
    scheme = environ.get("wsgi.url_scheme", "http")
    host = caller_host(environ) or ""
    port = _port(host, scheme) or environ.get("SERVER_PORT", "")
    return Story(peer, peer, scheme, host, port, prefix, _element(_node(peer), scheme, host))


def told(environ: Environ, peers: Peers, prefix: str) -> Story:
    """The story as a trusted peer tells it, with that peer's own address added.

    :param peers: says how far the told addresses are believed.
    """
    plain = seen(environ, prefix)
    said: str = environ.get("HTTP_FORWARDED") or ""
    elements = elements_of(said) or []
    nodes, addresses = _addresses(environ, elements)
    if not _same_addresses(elements, nodes):
        # Nobody's word: of a caller before a server that does not know this header, or unreadable.
        elements = []
    elements_of_caller = _since_caller(elements, peers)
    told_scheme = _scheme(environ, elements_of_caller)
    scheme = told_scheme or plain.scheme
    host = environ.get("HTTP_X_FORWARDED_HOST") or _host_of(elements_of_caller) or plain.host
    last = _last_of(host)
    port = environ.get("HTTP_X_FORWARDED_PORT") or _port(last, _last_of(scheme))
    if not port and told_scheme:
        port = _PORTS.get(_last_of(scheme).lower(), "")
    elif not port and not nodes:
        port = plain.port
    last_host = _with_port(last, _last_of(port), _last_of(scheme))
    element = _element(_node(plain.caller), _last_of(scheme), last_host)
    if not _agree(elements_of_caller, scheme=_last_of(scheme), host=last_host):
        said = ", ".join(f"for={_node(node)}" for node in nodes[1:])
        if nodes:
            first = _element(_node(nodes[0]), _last_of(scheme), last_host)
            said = f"{first}, {said}" if said else first
    return Story(
        addresses=f"{addresses}, {plain.addresses}" if addresses else plain.addresses,
        caller=peers.told(environ),
        scheme=scheme,
        host=host,
        port=port,
        prefix=environ.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/") + prefix,
        forwarded=f"{said}, {element}" if said else element,
    )


def _addresses(environ: Environ, elements: Sequence[Mapping[str, str]]) -> tuple[list[str], str]:
    """The addresses before the peer's, one by one and as ``X-Forwarded-For`` has them."""
    said: str = environ.get("HTTP_X_FORWARDED_FOR") or ""
    if said:
        return [node.strip(" \t") for node in said.split(",")], said
    nodes = [
        str(address_of(node) or node or "unknown") for node in (each.get("for", "") for each in elements)
    ]
    real = environ.get("HTTP_X_REAL_IP")
    if not nodes and real:
        nodes = [real]
    return nodes, ", ".join(nodes)


def _since_caller(elements: Sequence[Mapping[str, str]], peers: Peers) -> Sequence[Mapping[str, str]]:
    """The elements from that of the caller on: what it asked, by the word of the server that it reached."""
    first = len(elements) - 1
    while first > 0 and peers.trusts(_plain(elements[first].get("for", ""))):
        first -= 1
    return elements[max(first, 0) :]


def _scheme(environ: Environ, elements: Sequence[Mapping[str, str]]) -> str:
    """The scheme that is told, as it is told; "" where none is."""
    for key, word in _SCHEMES_TOLD:
        value: str = environ.get(key) or ""
        if value and not word:
            return value
        if word and value.lower() == word:
            return "https"
        if key == "HTTP_X_FORWARDED_PROTO":
            of_elements = next((each["proto"] for each in elements if each.get("proto")), "")
            if _SCHEME.fullmatch(of_elements):
                return of_elements
    return ""


def _host_of(elements: Sequence[Mapping[str, str]]) -> str:
    host = next((each["host"] for each in elements if each.get("host")), "")
    return host if _HOST.fullmatch(host) else ""


def _last_of(said: str) -> str:
    """What the peer itself added to a list that servers before it began."""
    return said.rpartition(",")[2].strip(" \t") if "," in said else said


def _port(host: str, scheme: str) -> str:
    """The port of a host, or that of its scheme; "" where there is no host."""
    match = _HOST.fullmatch(host)
    return "" if match is None else match[2] or _PORTS.get(scheme.lower(), "")


def _with_port(host: str, port: str, scheme: str) -> str:
    """A host as ``Forwarded`` names it: with its port, unless the scheme implies that one."""
    match = _HOST.fullmatch(host)
    if match is None:
        return ""
    if match[2] or not port.isdecimal() or port == _PORTS.get(scheme.lower()):
        return host
    return f"{match[1]}:{port}"


def _same_addresses(elements: Sequence[Mapping[str, str]], nodes: Sequence[str]) -> bool:
    return [_plain(each.get("for", "unknown")) for each in elements] == [_plain(node) for node in nodes]


def _agree(elements: Sequence[Mapping[str, str]], *, scheme: str, host: str) -> bool:
    """Whether the caller's element says what the rest does; what it leaves out contradicts nothing."""
    if not elements:
        return False
    known_host, known_scheme = elements[0].get("host"), elements[0].get("proto")
    return (not known_host or _place(known_host, scheme) == _place(host, scheme)) and (
        not known_scheme or known_scheme.lower() == scheme.lower()
    )


def _plain(node: str) -> str:
    return str(address_of(node) or node.lower())


def _place(host: str, scheme: str) -> tuple[str, str]:
    """Name and port of a host; both "" for an odd one."""
    match = _HOST.fullmatch(host)
    return ("", "") if match is None else (match[1].lower(), _port(host, scheme))


def _element(node: str, scheme: str, host: str) -> str:
    """One element of ``Forwarded`` (RFC 7239, section 4)."""
    named = f'host="{host}";' if host else ""
    proto = scheme if _SCHEME.fullmatch(scheme) else "http"
    return f"for={node};{named}proto={proto}"


def _node(peer: str) -> str:
    """An address as ``Forwarded`` names it (RFC 7239, section 6); a zone means nothing elsewhere."""
    if _DOTTED.fullmatch(peer):
        return peer
    bare = peer.partition("%")[0]
    if not _COLONS.fullmatch(bare):  # with a port, it may be an address all the same
        bare = str(address_of(peer) or "")
        if _DOTTED.fullmatch(bare):
            return bare
    return f'"[{bare}]"' if _COLONS.fullmatch(bare) else "unknown"
