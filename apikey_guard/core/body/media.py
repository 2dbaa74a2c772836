"""What a ``Content-Type`` says about a body, as all of its readers take it together.

Werkzeug reads the header by a grammar of its own, Django by that of mail, REST framework knows
wildcards, and all but Werkzeug obey ``charset``. Where they could take one header for different
things, it is *doubtful*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from encodings.aliases import aliases
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"

Kind = Literal["form", "multipart", "json"]
_KINDS: Final[Mapping[str, Kind]] = MappingProxyType({FORM: "form", MULTIPART: "multipart", JSON: "json"})

_MOST_REMEMBERED: Final = 256
_REMEMBERED_LENGTH: Final = 200  # characters; a longer one is no everyday header

_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+\-.^_`|~]"
_CHARSET: Final = re.compile(rf';[ \t]*charset=(?:"({_TOKEN}*)"|({_TOKEN}*))[ \t]*(?=;|\Z)', re.IGNORECASE)
# RFC 2046 section 5.1.1 allows up to 70 characters, Django 200. In quotes the alphabet is wider than
# its ``bchars``: both parsers accept any visible character, and differ about escapes alone.
_BOUNDARY: Final = re.compile(
    rf';[ \t]*boundary=(?:"([ -!#-\[\]-~]{{0,199}}[!#-\[\]-~])"|({_TOKEN}{{1,200}}))[ \t]*(?=;|\Z)',
    re.IGNORECASE,
)
# However a reader takes white space, and the numbers and stars of RFC 2231.
_MENTION: Final = re.compile(r"(boundary|charset)[\s*0-9]*=", re.IGNORECASE)
_NO_BOUNDARY: Final = re.compile(r'boundary=(?:"")?[ \t]*(?=;|\Z)', re.IGNORECASE)
_PLAIN_PARAMETERS: Final = re.compile(
    rf'(?:[ \t]*;[ \t]*{_TOKEN}+=(?:"[^"\\]*+"|{_TOKEN}*+))*+[ \t]*+;?[ \t]*+'
)

# Codecs that Python finds by their module's name alone.
_WITHOUT_ALIAS: Final = frozenset(
    [
        "charmap", "cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "idna", "iso8859_1", "koi8_t",
        "koi8_u", "mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian", "oem", "palmos", "punycode",
        "raw_unicode_escape", "undefined", "unicode_escape", "utf_8_sig",
    ]
)  # fmt: skip
_CODECS: Final = frozenset(aliases) | frozenset(aliases.values()) | _WITHOUT_ALIAS
_UTF_8: Final = frozenset({"utf_8", "utf_8_sig", "ascii"})
# One byte is one character, and the first 128 are ASCII.
_NARROW: Final = re.compile(r"latin_1|iso8859_\d+|cp125\d|koi8_[ru]")
_WIDE: Final = re.compile(r"utf_(?:16|32)(?:_[bl]e)?")


class Media(NamedTuple):
    """How a body is read.

    :param kind: as what; None is not looked at.
    :param doubtful: whether two readers could take the header for different things.
    :param narrow: whether some reader takes each byte for a character.
    :param boundary: of multipart, where all readers take the same one; None where they could differ;
        nothing where there is none.
    """

    kind: Kind | None
    doubtful: bool = False
    narrow: bool = False
    boundary: bytes | None = b""


NO_MEDIA: Final = Media(None)


def media_of(content_type: str | None) -> Media:
    """How a body with this ``Content-Type`` is read; any text is one."""
    if not content_type:
        return NO_MEDIA
    return _known(content_type) if len(content_type) <= _REMEMBERED_LENGTH else _media(content_type)


def _media(content_type: str) -> Media:
    whole = content_type.partition(";")[0]
    # Django takes off all that Python calls white space, and what follows an equals sign.
    name, equals, _ = whole.partition("=")
    name = name.strip().lower()
    kind = _KINDS.get(name)
    if kind is None and name.startswith("application/") and name.endswith("+json"):
        kind = "json"
    if "*" in name:
        # REST framework takes wildcards for the media type of its first parser.
        kind = next((known for exact, known in _KINDS.items() if _covers(name, exact)), None)
        return Media(kind, doubtful=kind is not None)
    if kind is None:
        return NO_MEDIA
    charsets = _charsets(content_type)
    narrow = charsets == {"narrow"}
    doubtful = bool(equals) or not (
        narrow or charsets <= {"utf-8"} or (kind == "json" and charsets == {"wide"})
    )
    boundary = _boundary(content_type) if kind == "multipart" else b""
    return Media(kind, doubtful, narrow, boundary)


_known = lru_cache(_MOST_REMEMBERED)(_media)


def _covers(wildcard: str, exact: str) -> bool:
    return all(
        ours in ("*", theirs)
        for ours, theirs in zip(wildcard.partition("/")[::2], exact.partition("/")[::2], strict=True)
    )


def _charsets(content_type: str) -> set[str]:
    """What the header says about the charset, by kinds; nothing where it says nothing."""
    mentioned = _mentions("charset", content_type)
    if not mentioned:
        return set()
    given = [quoted or bare for quoted, bare in _CHARSET.findall(content_type)]
    return {"doubtful"} if len(given) != mentioned else {_sort_of(charset) for charset in given}


def _mentions(parameter: str, content_type: str) -> int:
    return [name.lower() for name in _MENTION.findall(content_type)].count(parameter)


def _sort_of(charset: str) -> str:
    # As ``encodings`` normalises; asking it for any name would make it remember each.
    name = re.sub(r"[^a-z0-9.]+", "_", charset.lower()).strip("_")
    name = name if name in _CODECS else name.replace(".", "_")
    name = aliases.get(name, name)
    if name not in _CODECS or name in _UTF_8:
        return "utf-8"  # what nobody knows is ignored
    if _NARROW.fullmatch(name):
        return "narrow"
    # In JSON, the first bytes tell these apart, whatever is said.
    return "wide" if _WIDE.fullmatch(name) else "doubtful"


def _boundary(content_type: str) -> bytes | None:
    mentioned = _mentions("boundary", content_type)
    if mentioned == len(_NO_BOUNDARY.findall(content_type)):
        return b""
    given = _BOUNDARY.findall(content_type)
    parameters = content_type[len(content_type.partition(";")[0]) :]
    if mentioned != 1 or len(given) != 1 or not _PLAIN_PARAMETERS.fullmatch(parameters):
        return None
    quoted, bare = given[0]
    boundary: str = quoted or bare
    return boundary.encode("ascii")
