"""Where credentials are looked for, and how a request is read: missing, ambiguous, malformed.

Nothing is copied out of the request and no query is parsed: a compiled pattern finds the one
parameter, written plainly or percent-encoded, and everything else is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote

Environ = Mapping[str, Any]  # a CGI environment: what is read here is text, other keys hold anything
Conflict = Literal["reject", "first"]


class Ambiguous(Enum):
    """The request presents more than one credential."""

    AMBIGUOUS = "ambiguous"


AMBIGUOUS: Final = Ambiguous.AMBIGUOUS

# What a header can carry unchanged through every server and every key service: visible ASCII
# without the characters that join or quote header values (threats A-03 and D-05).
_ALPHABET = re.compile(r"[!#-+\-.-:<-\[\]-~]+")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+")


class Location(NamedTuple):
    """One configured place: ``header:apikey`` and its like.

    :param kind: ``header``, ``query``, ``authorization``, ``cookie`` or ``body``.
    :param name: of the header, parameter, cookie or field; the scheme for ``authorization``.
    """

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """The location that a setting names, like ``query:apikey``."""
        kind, _, name = text.partition(":")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def environ_key(header: str) -> str:
    """The name that a header has in a CGI environment (RFC 3875, section 4.1.18)."""
    return "HTTP_" + header.upper().replace("-", "_")


class Parameter:
    """One parameter of a query, found by pattern: its name may be written percent-encoded.

    :param name: the decoded name.
    """

    __slots__ = ("_encoded", "_plain", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        rest = r"(?:=([^&]*))?(?=&|\Z)"
        self._plain = re.compile(f"&{re.escape(name)}{rest}")
        self._encoded = re.compile("&" + "".join(_written(character) for character in name) + rest)

    def pattern(self, query: str) -> re.Pattern[str]:
        """What finds the parameter, its value as group 1, in a query to which ``&`` was prefixed."""
        # Without a percent sign in the query, the name can only stand there as it is.
        return self._encoded if "%" in query else self._plain


def _written(character: str) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in character.encode())
    # In a query a name may be written in any mixture of both ways; hex digits in any case.
    return f"(?:{re.escape(character)}|(?i:{encoded}))"


class Extractor:
    """Finds the credential that a request presents in the configured locations.

    :param locations: in the order in which they are looked at.
    :param conflict: what two different credentials mean: ``reject``, or the ``first`` counts.
    :param pattern: the declared shape of a key: a prefix (letters, digits, ``.``, ``_``, ``-``)
        or a regular expression for the whole key; None for any.
    :param max_length: characters; a longer key is malformed.
    """

    def __init__(
        self,
        locations: Sequence[Location],
        *,
        conflict: Conflict,
        pattern: str | None,
        max_length: int,
    ) -> None:
        self.locations = tuple(locations)
        self.max_length = max_length
        self.takes_first = conflict == "first"
        self.body_names = tuple(location.name for location in locations if location.kind == "body")
        self._readers = tuple(
            (_key(location), _reader(location), "" if location.kind == "authorization" else location.name)
            for location in locations
            if location.kind != "body"
        )
        prefix = pattern is not None and _PREFIX.fullmatch(pattern) is not None
        self._prefix = pattern if prefix else None
        self._shape = None if prefix or pattern is None else re.compile(pattern)

    def find(self, environ: Environ) -> str | Ambiguous | None:
        """The credential that the request presents outside its body.

        An empty value counts as presented: it hides nothing and unlocks nothing. Two equal
        values in two places are one credential; a parameter that is there twice is ambiguous.

        :returns: the text as presented (not yet vetted), None where there is none.
        """
        found: str | Ambiguous | None = None
        for key, reader, name in self._readers:
            # An empty header presents an empty credential; an empty query presents nothing.
            text: str | None = environ.get(key)
            if text is None:
                continue
            value: str | Ambiguous | None = text
            if reader is not None:
                # Nothing is read that cannot hold the name, be it written percent-encoded.
                value = reader(text) if name in text or "%" in text else None
                if value is None:
                    continue
            if self.takes_first:
                return value
            if found is None:
                found = value
            elif value != found:
                return AMBIGUOUS
        return found

    def merge(self, found: str | Ambiguous | None, in_body: Sequence[str]) -> str | Ambiguous | None:
        """What the request presents, its body included.

        :param found: what :meth:`find` returned.
        :param in_body: the values that the body presents under the configured names.
        """
        if found is AMBIGUOUS or not in_body or (self.takes_first and found is not None):
            return found
        if len(in_body) > 1 or (found is not None and found != in_body[0]):
            return AMBIGUOUS
        return in_body[0]

    def is_well_formed(self, value: str) -> bool:
        """Whether a key service may be asked about a text at all: length, alphabet, shape."""
        return (
            len(value) <= self.max_length
            and _ALPHABET.fullmatch(value) is not None
            and (self._prefix is None or value.startswith(self._prefix))
            and (self._shape is None or self._shape.fullmatch(value) is not None)
        )

    def location_of(self, environ: Environ) -> str:
        """The first configured location in which the request presents a credential."""
        named = [location for location in self.locations if location.kind != "body"]
        for location, (key, reader, _) in zip(named, self._readers, strict=True):
            text = environ.get(key)
            if text is not None and (reader is None or reader(text) is not None):
                return str(location)
        return f"body:{self.body_names[0]}" if self.body_names else ""


_Reader = Callable[[str], str | Ambiguous | None]


def _key(location: Location) -> str:
    return {
        "header": environ_key(location.name),
        "query": "QUERY_STRING",
        "authorization": "HTTP_AUTHORIZATION",
        "cookie": "HTTP_COOKIE",
    }[location.kind]


def _reader(location: Location) -> _Reader | None:
    """How the text under the location's key is read; None where it is the credential itself."""
    if location.kind == "query":
        return _query_reader(location.name)
    if location.kind == "authorization":
        return _authorization_reader(location.name)
    if location.kind == "cookie":
        return _cookie_reader(location.name)
    return None


def _query_reader(name: str) -> _Reader:
    parameter = Parameter(name)

    def read(query: str) -> str | Ambiguous | None:
        text = "&" + query
        search = parameter.pattern(text).search
        match = search(text)
        if match is None:
            return None
        if search(text, match.end()) is not None:
            return AMBIGUOUS
        value: str | None = match[1]
        if value is None:
            return ""
        # Latin-1 keeps every byte apart; what is not ASCII is malformed anyway.
        return unquote(value.replace("+", " "), "latin-1") if "%" in value or "+" in value else value

    return read


def _authorization_reader(scheme: str) -> _Reader:
    wanted = scheme.lower()

    def read(text: str) -> str | None:
        # RFC 9110, section 11.4: the scheme is a token, compared without case, then one space.
        presented, _, rest = text.partition(" ")
        return rest if presented.lower() == wanted else None

    return read


def cookie_pattern(name: str) -> re.Pattern[str]:
    """A pattern for one cookie in a ``Cookie`` header to which ``;`` was prefixed."""
    # Frameworks strip all that Python takes for white space, not only what RFC 6265 allows.
    return re.compile(rf";\s*{re.escape(name)}\s*(?:=([^;]*))?(?=;|\Z)")


def _cookie_reader(name: str) -> _Reader:
    search = cookie_pattern(name).search

    def read(text: str) -> str | Ambiguous | None:
        cookies = ";" + text
        match = search(cookies)
        if match is None:
            return None
        if search(cookies, match.end()) is not None:
            return AMBIGUOUS
        return (match[1] or "").strip(" \t")

    return read
