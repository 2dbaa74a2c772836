"""Which peers are trusted, and from which address a request is told to come.

A peer that is not trusted can say anything about where its requests come from, so only its own
address counts. What a trusted one says is read from its end backwards: each trusted server added
the address that it saw, and the first address that is not of such a server is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

Environ = Mapping[str, Any]  # a CGI environment: what is read here is text, other keys hold anything

Networks = Sequence[IPv4Network | IPv6Network]

_MOST_PEERS: Final = 4_096
# Behind more trusted servers than this nobody stands; a caller may send thousands of addresses.
_MOST_HOPS: Final = 32
# One parameter of an element of ``Forwarded``, or what parts elements (RFC 7239, section 4).
_FORWARDED_PART = re.compile(
    r"[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^\",; \t]+|\"(?:[^\"\\]|\\.)*\")[ \t]*)?([,;]|$)"
)
_MAPPED_BITS: Final = 96
_UNREADABLE: Final = ("",)
_BRACKETED = re.compile(r"\[([^\]]*)\](?::[0-9]*)?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]*")


class Peers:
    """Who is believed about where a request comes from.

    :param trusted: addresses and networks of peers whose word is taken.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted: Networks = [_plain_network(ip_network(network, strict=False)) for network in trusted]
        self._known: dict[str, bool] = {}

    def trusts(self, peer: str) -> bool:
        """Whether a peer's word is taken; a text that is no address is nobody's."""
        if not self._trusted:
            return False
        known = self._known.get(peer)
        if known is None:
            address = _plain_address(peer)
            known = address is not None and self._is_trusted(address)
            if len(self._known) < _MOST_PEERS:
                self._known[peer] = known
        return known

    def told(self, environ: Environ) -> str:
        """The address that a request is told to come from; "" where nobody says one.

        ``X-Forwarded-For`` is read before ``Forwarded``, and that before ``X-Real-IP``. What comes
        from behind something that is no address is not believed: then it is the address of the
        trusted server that said so.
        """
        peer = environ.get("REMOTE_ADDR") or ""
        if not self.trusts(peer):
            return peer
        told = peer
        for text, _ in zip(_said_backwards(environ), range(_MOST_HOPS), strict=False):
            address = address_of(text)
            if address is None:
                break
            told = str(address)
            if not self._is_trusted(address):
                break
        return told

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def network_of(address: str) -> str:
    """Whom an address belongs to: itself, or its /64 where it is one of IPv6, which one caller has."""
    if ":" not in address:
        return address
    found = _plain_address(address)
    return address if found is None or found.version == 4 else str(ip_network((int(found) >> 64 << 64, 64)))


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text names, with a port, brackets or a zone around it; None for none."""
    text = text.strip(" \t")
    inside = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    return _plain_address(inside[1] if inside else text)


def _plain_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows an IPv4 peer as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _plain_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ip_network((mapped, network.prefixlen - _MAPPED_BITS))


def _said_backwards(environ: Environ) -> Iterator[str]:
    """The addresses that the servers before us added, the last one first."""
    said = environ.get("HTTP_X_FORWARDED_FOR")
    if said:
        while said:
            said, _, last = said.rpartition(",")
            yield last
        return
    said = environ.get("HTTP_FORWARDED")
    if said:
        yield from reversed(_forwarded(said))
        return
    said = environ.get("HTTP_X_REAL_IP")
    if said:
        yield said


def _forwarded(said: str) -> Sequence[str]:
    """The ``for`` of each element of ``Forwarded``; where it cannot be read, none that is an address."""
    elements = elements_of(said)
    return _UNREADABLE if elements is None else [element.get("for", "") for element in elements]


def elements_of(said: str) -> Sequence[Mapping[str, str]] | None:
    """The elements of ``Forwarded``, by their parameters in lower case; None where it cannot be read."""
    found: list[dict[str, str]] = []
    element: dict[str, str] = {}
    at = 0
    while True:
        part = _FORWARDED_PART.match(said, at)
        if part is None:
            return None
        if part[1]:
            element[part[1].lower()] = re.sub(r"\\(.)", r"\1", part[2].strip('"'))
        if part[3] != ";":
            if element:
                found.append(element)
            element = {}
        if not part[3]:
            return found
        at = part.end()
