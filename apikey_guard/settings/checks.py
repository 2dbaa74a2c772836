"""What a single value must be: numbers, addresses, header names, key locations, secrets.

A check takes what was written and returns it in its lasting form (immutable, one type), or
raises :class:`Wrong`. No message repeats a secret, and an address is never repeated at all:
people paste passwords into them. Which setting has which check stands in ``rules``.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import cast
from urllib.parse import SplitResult, urlsplit

from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.hiding import HIDES, Hide, as_hide
from apikey_guard.http1.parser import HOP_BY_HOP
from apikey_guard.settings.sources import closest

LOCATION_KINDS = ("header", "query", "authorization", "cookie", "body")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_PARAMETER = re.compile(r"[A-Za-z0-9._~\-\[\]:$@!*/]{1,100}")
_HEADER_VALUE = re.compile(r"[!-~\xa1-\xff](?:[\t -~\xa0-\xff]*[!-~\xa1-\xff])?")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_REALM = re.compile(r"[ !#-\[\]-~]{1,200}")
# Framing and routing of the request itself: whoever sets these decides what a server reads.
_FRAMING_HEADERS = HOP_BY_HOP | {"content-length", "content-type", "expect", "host"}
# Host may be set: a key service is sometimes reached by number. A coded answer is never asked for.
_BUILT_BY_US = _FRAMING_HEADERS - {"host"} | {"accept-encoding"}


MASK = "***"


class Wrong(Exception):
    """A value that cannot be used; each argument is one sentence about it."""

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(str(sentence) for sentence in self.args)


Check = Callable[[object], object]


class SecretBytes(bytes):
    """Bytes that no log, message or traceback with local variables shows."""

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__


class SecretHeaders(Mapping[str, str]):
    """Immutable headers whose values no log, message or traceback with local variables shows."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] = MappingProxyType({})) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self._values, MASK))


def shown(value: object) -> str:
    """A short form of a value for a message; never used for a secret or an address."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def optional(check: Check) -> Check:
    """The same check, for a setting that may be None."""
    return lambda value: None if value is None else check(value)


def _printable(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be {what}, not a {type(value).__name__}")
    if not value or not value.isprintable():
        raise Wrong(f"must be {what}; it is empty or has control characters")
    return value


def one_of(words: Collection[str], *besides: str) -> Check:
    """One of a few words.

    :param besides: what may be written as well, and is no word.
    """

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            hint = closest(value, words) if isinstance(value, str) else ""
            raise Wrong(f"must be one of {', '.join((*words, *besides))}, not {shown(value)}{hint}")
        return value

    return check


def boolean(value: object) -> bool:
    """True or False, and nothing that is merely true or false in Python."""
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {shown(value)}")
    return value


def hiding(value: object) -> Hide:
    """What becomes of the credential; true is how ``remove`` was once written."""
    if isinstance(value, bool):
        return as_hide(value)
    return cast("Hide", one_of(HIDES, "true", "false")(value))


def seconds(most: float, *, zero: bool) -> Check:
    """A number of seconds with an end: nothing here means "forever" (threat D-09).

    :param most: the greatest value, in seconds.
    :param zero: whether 0 is allowed; it always means "off".
    """
    span = f"from 0 (off) to {most:g}" if zero else f"above 0 and at most {most:g}"

    def check(value: object) -> float:
        # A bool is an int in Python, and never what was meant. NaN fails every comparison.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= most or not (zero or value):  # type: ignore[operator]  # a number
            raise Wrong(f"must be a number of seconds {span}, not {shown(value)}")
        return float(value)  # type: ignore[arg-type]  # a number

    return check


def whole(least: int, most: int) -> Check:
    """A whole number between two bounds, both included."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Wrong(f"must be a whole number from {least} to {most}, not {shown(value)}")
        return value

    return check


def file_path(value: object) -> str:
    """The path of a file; whether the file is there is for whoever opens it."""
    return _printable(os.fspath(value) if isinstance(value, os.PathLike) else value, "the path of a file")


def ca_bundle(value: object) -> str:
    """The path of a CA bundle; there is no way to switch verification off (threat V-13)."""
    if isinstance(value, bool):
        raise Wrong("must be the path of a CA bundle; TLS verification cannot be switched off")
    return file_path(value)


def client_cert(value: object) -> str | tuple[str, str]:
    """One file, or certificate and key apart."""
    if not isinstance(value, list | tuple):
        return file_path(value)
    if len(value) != 2:
        raise Wrong("must be one path, or the paths of certificate and key")
    return file_path(value[0]), file_path(value[1])


def address(value: object, what: str) -> SplitResult:
    """An http or https URL taken apart; every message leaves the URL itself out.

    :param what: how messages call it.
    """
    url = _printable(value, what)
    # urlsplit would drop some of these silently, and then check another URL than the one used.
    if not url.isascii() or " " in url or "\\" in url:
        raise Wrong("must be ASCII without spaces and backslashes (other host names as xn--...)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Wrong("has a host or port that cannot be read") from None
    if parts.scheme not in {"http", "https"}:
        raise Wrong("must start with https:// (or http:// on loopback)")
    if "#" in url:
        raise Wrong("must not have a fragment (#...)")
    if port == 0 or not _is_host(parts.hostname or ""):
        raise Wrong("has no usable host and port; write https://HOST/PATH or https://HOST:PORT/PATH")
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        return _ip(host) is not None
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or number: nothing is sent over a wire."""
    number = _ip(host)
    return host.removesuffix(".") == "localhost" if number is None else number.is_loopback


def service_url(value: object) -> str:
    """The address of the key service; keys and passwords have no place in it."""
    parts = address(value, "a URL like https://keys.example.com/verify")
    if "@" in parts.netloc:
        raise Wrong("must not have a user or password in it; send them with validator_headers")
    if any(mark in str(value) for mark in "{}<>"):
        raise Wrong("must not have a placeholder; the key is sent in a body or header, never in a URL")
    return str(value)


def proxy_url(value: object) -> str:
    """The address of an HTTP proxy; a user and a password may be in it, and are masked when shown."""
    parts = address(value, "a URL like http://proxy.example.com:3128")
    if parts.path not in {"", "/"} or parts.query:
        raise Wrong("must be the address of a proxy and nothing more, like http://proxy.example.com:3128")
    return str(value)


def key_header(value: object) -> str:
    """The name of a header that we write ourselves; not repeated, as people write keys here."""
    name = _printable(value, "a header name")
    if not _TOKEN.fullmatch(name):
        raise Wrong("must be a header name (RFC 9110: letters, digits and -)")
    if "_" in name:
        raise Wrong("must not contain '_', which many servers drop or read as '-'; write '-'")
    if name.lower() in _FRAMING_HEADERS:
        raise Wrong(f"header {name!r} frames or routes the request; choose another")
    return name


def sent_headers(value: object) -> Mapping[str, str]:
    """Headers for every request to the key service; values are secret and never repeated."""
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a table of header names and values, not a {type(value).__name__}")
    problems: list[str] = []
    seen: set[str] = set()
    for name, text in value.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            # The name stays out: "Authorization: Bearer ..." lands here when it is written as one.
            problems.append("has a name that is no header name (RFC 9110: letters, digits and -)")
            continue
        if name.lower() in _BUILT_BY_US:
            problems.append(f"must not set {name!r}, which belongs to the request that we build")
        elif name.lower() in seen:
            problems.append(f"has {name!r} twice (header names ignore case)")
        elif not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            problems.append(
                f"the value of {name!r} must be a latin-1 text without line breaks, control "
                "characters and spaces around it"
            )
        seen.add(name.lower())
    if problems:
        raise Wrong(*problems)
    return SecretHeaders(value)


def identity_headers(value: object) -> bool | Mapping[str, str]:
    """Whether to say who calls, or other header names for it, by field."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping):
        raise Wrong(f"must be true, false or a table like {{'id': 'X-My-ID'}}, not {shown(value)}")
    problems: list[str] = []
    for field, name in value.items():
        if field not in IDENTITY_HEADERS:
            hint = closest(str(field), IDENTITY_HEADERS)
            problems.append(f"{shown(field)} is none of {', '.join(IDENTITY_HEADERS)}{hint}")
            continue
        try:
            if key_header(name).lower() in {"authorization", "cookie"}:
                problems.append(f"{field}: header {name!r} already means something else; choose another")
        except Wrong as error:
            problems += (f"{field}: {sentence}" for sentence in error.sentences)
    names = [str(name).lower() for name in {**IDENTITY_HEADERS, **value}.values()]
    if not problems and len(set(names)) < len(names):
        problems.append("two of the headers have the same name")
    if problems:
        raise Wrong(*problems)
    return MappingProxyType(dict(value))


def key_locations(value: object) -> tuple[str, ...]:
    """The places where a credential is looked for, in order; for the guard and for routes."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Wrong(f"must be a list, like ['header:apikey', 'query:apikey'], not {shown(value)}")
    if not value:
        raise Wrong("must name at least one location, like 'header:apikey'")
    problems: list[str] = []
    seen: set[str] = set()
    for entry in value:
        try:
            location = _folded(_location(entry))
        except Wrong as error:
            problems += error.sentences
            continue
        if location in seen:
            problems.append(f"{shown(entry)} is there twice")
        seen.add(location)
    if problems:
        raise Wrong(*problems)
    return tuple(value)


def _folded(location: str) -> str:
    """One spelling per location: header names and schemes ignore case, other names do not."""
    return location.lower() if location.startswith(("header:", "authorization:")) else location


def _location(text: object) -> str:
    example = "write kind:NAME, like 'header:apikey'"
    if not isinstance(text, str):
        raise Wrong(f"a location must be a text, not {shown(text)}; {example}")
    kind, colon, name = text.partition(":")
    if not colon or kind not in LOCATION_KINDS:
        hint = closest(kind, LOCATION_KINDS) if colon else ""
        raise Wrong(f"{shown(text)} is no location; {example} ({', '.join(LOCATION_KINDS)}){hint}")
    if kind == "header":
        _location_header(name)
    elif kind == "authorization":
        if not _TOKEN.fullmatch(name):
            raise Wrong(f"{shown(text)} must end in a scheme, like 'authorization:Bearer'")
    elif kind == "cookie":
        if not _TOKEN.fullmatch(name):
            raise Wrong(f"{shown(text)} must end in the name of a cookie, like 'cookie:apikey'")
    elif not _PARAMETER.fullmatch(name):
        raise Wrong(f"{shown(text)} must end in a plain name, like '{kind}:apikey'")
    # Hiding removes a name from headers and parameters alike.
    elif name.lower().replace("_", "-") in _FRAMING_HEADERS | {"authorization", "cookie"}:
        raise Wrong(f"{shown(text)} has the name of a header that is not a key's; choose another")
    return text


def _location_header(name: str) -> None:
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        raise Wrong(f"'header:{name[:40]}' must end in a header name (RFC 9110: letters, digits and -)")
    if "_" in name:  # threat A-04
        raise Wrong(
            f"'header:{name}' must not contain '_': servers make '-' and '_' the same, so that a second "
            f"header could pass for it; write 'header:{name.replace('_', '-')}'"
        )
    if lower == "cookie":
        raise Wrong(f"'header:{name}' would take all cookies for a key; write 'cookie:NAME'")
    if lower in _FRAMING_HEADERS:
        raise Wrong(f"'header:{name}' frames or routes the request and cannot hold a key")
    if lower in {header.lower() for header in IDENTITY_HEADERS.values()}:
        raise Wrong(f"'header:{name}' is an identity header, which no caller may send")


def key_pattern(value: object) -> str:
    """A prefix or a regular expression; not repeated, as people write keys here."""
    text = _printable(value, "a prefix or a regular expression")
    try:
        re.compile(text)
    except re.error as error:
        raise Wrong(f"is neither a prefix nor a regular expression (position {error.pos})") from None
    except (OverflowError, RecursionError):
        raise Wrong("is no regular expression that can be used") from None
    return text


def realm(value: object) -> str:
    """The realm of a challenge; it stands between quotes in ``WWW-Authenticate``."""
    if not isinstance(value, str) or not _REALM.fullmatch(value):
        raise Wrong(f"must be 1 to 200 ASCII characters without quotes and backslashes, not {shown(value)}")
    return value


def secret(value: object) -> bytes:
    """A secret of 16 bytes or more; a shorter one could be tried out."""
    found = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if not isinstance(found, bytes) or len(found) < 16:
        raise Wrong("must be 16 bytes or more, as text or bytes, such as secrets.token_hex() returns")
    return SecretBytes(found)
