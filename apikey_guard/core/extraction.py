"""Where credentials are looked for, and how a request is read: missing, ambiguous, malformed.

Nothing is copied out of the request and no query is parsed: a compiled pattern finds the one
parameter, written plainly or percent-encoded, and everything else is never looked at.

It is read in two ways. :meth:`Extractor.find` is quick: what it finds is right if it is a key that is
remembered, as such a text has one spelling. Everything else goes on to :meth:`Extractor.sift`, which
knows blanks, quotes and stand-ins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote

from apikey_guard.core.standin import BEGINNING, SCHEME, holds_standin, is_standin

Environ = Mapping[str, Any]  # a CGI environment: what is read here is text, other keys hold anything
Conflict = Literal["reject", "first"]


class Ambiguous(Enum):
    """The request presents more than one credential."""

    AMBIGUOUS = "ambiguous"


AMBIGUOUS: Final = Ambiguous.AMBIGUOUS

#: What may stand around a header's value (RFC 9110, section 5.6.3).
BLANKS: Final = " \t"

_OWN_SCHEME = SCHEME.lower()
_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
# White space of Python's in a header, each byte a character: frameworks read it as UTF-8.
_WHITE = r"(?:\s|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*"

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

    __slots__ = ("_begins", "_encoded", "_plain", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._begins = name + "="
        rest = r")(?:=([^&]*))?(?=&|\Z)"
        self._plain = re.compile(f"&({re.escape(name)}{rest}")
        self._encoded = re.compile("&(" + "".join(_written(character) for character in name) + rest)

    def pattern(self, query: str) -> re.Pattern[str]:
        """What finds the parameter in a query to which ``&`` was prefixed: name and value, as written."""
        # Without a percent sign in the query, the name can only stand there as it is.
        return self._encoded if "%" in query else self._plain

    def quick(self, query: str) -> str | Ambiguous | None:
        """Its value; None where it is not there."""
        if "%" not in query:
            # Written as it is, once: much quicker than a pattern, and right where nothing is odd.
            head, _, tail = query.partition(self._begins)
            value, _, rest = tail.partition("&")
            if (
                value
                and (not head or head[-1] == "&")
                and self.name not in head
                and self.name not in rest
                and "+" not in value
            ):
                return value
        text = "&" + query
        search = self.pattern(text).search
        match = search(text)
        if match is None:
            return None
        if search(text, match.end()) is not None:
            return AMBIGUOUS
        return self.meant(match[2])

    def every(self, query: str) -> Iterator[str]:
        """Its value in each copy."""
        for _, _, value in self.pairs(query):
            yield value

    def pairs(self, query: str) -> Iterator[tuple[str, str, str]]:
        """Each copy: the pair and its name as they are written, and its value as it is meant."""
        text = "&" + query
        for match in self.pattern(text).finditer(text):
            yield match[0][1:], match[1], self.meant(match[2])

    @staticmethod
    def meant(written: str | None) -> str:
        """What a value means that is written percent-encoded."""
        if written is None:
            return ""
        # Latin-1 keeps every byte apart; what is not ASCII is malformed anyway.
        return unquote(written.replace("+", " "), "latin-1") if "%" in written or "+" in written else written


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
        self._sources = tuple(_Source.of(location) for location in locations if location.kind != "body")
        self._readers = tuple((source.key, source.quick, source.name) for source in self._sources)
        prefix = pattern is not None and _PREFIX.fullmatch(pattern) is not None
        self._prefix = pattern if prefix else None
        self._shape = None if prefix or pattern is None else re.compile(pattern)

    def find(self, environ: Environ) -> str | Ambiguous | None:
        """The credential that the request presents outside its body, at a glance.

        :returns: the text as presented, None where there is none. Whatever is no remembered key is to
            be looked at again by :meth:`sift`.
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

    def sift(self, environ: Environ, found: str | Ambiguous | None) -> str | Ambiguous | None:
        """The credential that the request presents outside its body, after a second look.

        An empty value counts as presented: it hides nothing and unlocks nothing. Two equal values in
        two places are one credential; a parameter that is there twice is ambiguous. A stand-in counts
        only where nothing else is presented.

        :param found: what :meth:`find` returned.
        :returns: the text without blanks and quotes around it (not yet vetted), None where there is none.
        """
        if found is None or (found.__class__ is str and _ALPHABET.fullmatch(found) and not is_standin(found)):
            return found
        kept: str | Ambiguous | None = None
        standin: str | None = None
        for source in self._sources:
            text: str | None = environ.get(source.key)
            if text is None:
                continue
            there = list(source.every(text))
            values = [value for value in there if not is_standin(value)]
            if not values:
                standin = there[0] if there else standin
                continue
            value = AMBIGUOUS if len(values) > 1 else values[0]
            if self.takes_first:
                return value
            if kept is not None and value != kept:
                return AMBIGUOUS
            kept = value
        return standin if kept is None else kept

    def merge(self, found: str | Ambiguous | None, in_body: Sequence[str]) -> str | Ambiguous | None:
        """What the request presents, its body included.

        :param found: what :meth:`sift` returned.
        :param in_body: the values that the body presents under the configured names.
        """
        if found is None and len(in_body) == 1:
            return in_body[0]
        values = [value for value in in_body if not is_standin(value)]
        if not values:
            return in_body[0] if found is None and in_body else found
        if found.__class__ is str and is_standin(found):
            found = None
        if found is AMBIGUOUS or (self.takes_first and found is not None):
            return found
        if len(values) > 1 or (found is not None and found != values[0]):
            return AMBIGUOUS
        return values[0]

    def is_well_formed(self, value: str) -> bool:
        """Whether a key service may be asked about a text at all: length, alphabet, shape."""
        return (
            len(value) <= self.max_length
            and _ALPHABET.fullmatch(value) is not None
            and (self._prefix is None or value.startswith(self._prefix))
            and (self._shape is None or self._shape.fullmatch(value) is not None)
        )

    def location_of(self, environ: Environ, value: str) -> str:
        """The first configured location in which the request presents this credential."""
        for source in self._sources:
            text = environ.get(source.key)
            if text is not None and value in source.every(text):
                return str(source.location)
        return f"body:{self.body_names[0]}" if self.body_names else ""


class _Source(NamedTuple):
    """A location outside the body.

    :param key: of the environ.
    :param name: without it, or a percent sign, a text need not be read.
    :param quick: the one value in a text; None where the text is the value.
    :param every: all values in a text, as they are meant.
    """

    location: Location
    key: str
    name: str
    quick: Callable[[str], str | Ambiguous | None] | None
    every: Callable[[str], Iterator[str]]

    @classmethod
    def of(cls, location: Location) -> _Source:
        kind, name = location
        if kind == "query":
            parameter = Parameter(name)
            return cls(location, "QUERY_STRING", name, parameter.quick, parameter.every)
        if kind == "cookie":
            cookie = Cookie(name)
            return cls(location, "HTTP_COOKIE", name, cookie.quick, cookie.every)
        if kind == "authorization" or name.lower() == "authorization":
            authorization = Authorization(name if kind == "authorization" else None)
            return cls(location, "HTTP_AUTHORIZATION", "", authorization.quick, authorization.every)
        return cls(location, environ_key(name), name, None, _header_value)


def _header_value(text: str) -> Iterator[str]:
    yield text.strip(BLANKS)


class Authorization:
    """A key in ``Authorization``, behind a scheme (RFC 9110, section 11.4) or without any.

    :param scheme: compared without case; None is for a value that has no scheme.
    """

    __slots__ = ("_wanted", "usual")

    def __init__(self, scheme: str | None) -> None:
        self._wanted = None if scheme is None else scheme.lower()
        #: What stands before the key where it is written as in the settings.
        self.usual = "" if scheme is None else scheme + " "

    def quick(self, text: str) -> str | None:
        """The key, perhaps with blanks around it; None where the value has another scheme."""
        usual = self.usual
        return text[len(usual) :] if usual and text.startswith(usual) else self.read(text)

    def read(self, text: str) -> str | None:
        """The key, None where the value has another scheme; a stand-in has one of its own."""
        # Spaces, one or more, stand between scheme and key; a tab does not.
        presented, space, rest = text.strip(BLANKS).partition(" ")
        presented = presented.lower()
        if presented == self._wanted:
            return rest.lstrip(" ")
        if presented == _OWN_SCHEME:
            # Only we write it. Whatever else somebody puts there is no key either.
            rest = rest.lstrip(" ")
            return rest if is_standin(rest) else BEGINNING
        if self._wanted is None and not space:
            return text.strip(BLANKS)
        # Behind whatever scheme: who looks at what follows it must not take it for ours.
        return BEGINNING if holds_standin(text) else None

    def every(self, text: str) -> Iterator[str]:
        """The same, as all values that there are."""
        value = self.read(text)
        if value is not None:
            yield value


class Cookie:
    """One cookie in a ``Cookie`` header, as frameworks read it.

    :param name: of the cookie.
    """

    __slots__ = ("_begins", "name", "pattern")

    def __init__(self, name: str) -> None:
        self.name = name
        self._begins = name + "="
        # Frameworks strip all that Python takes for white space, not only what RFC 6265 allows.
        self.pattern = re.compile(rf";({_WHITE}{re.escape(name)}{_WHITE})(?:=([^;]*))?(?=;|\Z)")

    def quick(self, text: str) -> str | Ambiguous | None:
        """Its value, perhaps with quotes and blanks around it; None where it is not there."""
        if text.count(self.name) == 1:
            # As in a query: one copy, written as servers write it.
            head, _, tail = text.partition(self._begins)
            if tail and (not head or head[-2:] == "; "):
                return tail.partition(";")[0]
        cookies = ";" + text
        match = self.pattern.search(cookies)
        if match is None:
            return None
        if self.pattern.search(cookies, match.end()) is not None:
            return AMBIGUOUS
        return (match[2] or "").strip(BLANKS)

    def every(self, text: str) -> Iterator[str]:
        """Its value in each copy, without quotes."""
        for match in self.pattern.finditer(";" + text):
            yield self.meant(match[2])

    @staticmethod
    def meant(written: str | None) -> str:
        """What a value means, in quotes (RFC 6265) or not, as ``http.cookies`` reads it."""
        value = (written or "").strip(BLANKS)
        if len(value) < 2 or value[0] != '"' or value[-1] != '"':
            return value
        return _ESCAPED.sub(_unescaped, value[1:-1]) if "\\" in value else value[1:-1]


def _unescaped(match: re.Match[str]) -> str:
    return match[2] if match[1] is None else chr(int(match[1], 8))
