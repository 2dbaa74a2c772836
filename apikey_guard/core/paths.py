"""How a path may be written, and what a server may make of one segment of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

# Nothing here means anything to any server but a name; a dot neither begins nor ends one.
_NAME: Final = r"[A-Za-z0-9_~!$&'()*+,=:@-]++(?:\.++[A-Za-z0-9_~!$&'()*+,=:@-]++)*+"
#: The fast yes for nearly every path: whoever reads it, only letter case and the last slash are open.
is_simple_path: Final = re.compile(rf"(?:/{_NAME})++/?+|/").fullmatch
#: The same for one segment.
is_simple_name: Final = re.compile(_NAME).fullmatch

_ODD_CHARACTER: Final = re.compile(r"[;\\%#?\x00-\x1f\x7f\ufffd]")
_ENCODED_SPECIAL: Final = re.compile(r"%(?:2[ef35]|5c|3[bf]|[01][0-9a-f]|7f)", re.IGNORECASE)
# The percent sign of such an escape, and of one of itself.
_KEPT: Final = re.compile(r"%(?=2[ef35]|5c|3[bf]|[01][0-9a-f]|7f)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# A mark may end the path or belong to it, and for some the path ends at a NUL.
_END: Final = re.compile(r"[?#\x00]")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]*[^/\\?#]*")
_WIDE_ESCAPE: Final = re.compile("%u([0-9a-fA-F]{4})")
_UNREADABLE: Final = "\ufffd"
# What forms of one segment are looked at, and how often it is decoded: beyond, nobody means well.
_MOST_FORMS: Final = 48
_MOST_DECODINGS: Final = 4
# Of how many segments the forms are looked at; each may have as many as above.
_MOST_NAMES: Final = 64


class TooManyReadings(Exception):
    """A path that can be read in more ways than are looked at."""


class Form(NamedTuple):
    """What a server may take one segment of a path for.

    :param text: with slashes where it is several segments for that server.
    :param ends: whether the path ends here, whatever follows.
    :param cut: whether parameters were cut off.
    :param decoded: how often it was decoded.
    """

    text: str
    ends: bool = False
    cut: bool = False
    decoded: int = 0


def is_canonical(path: str) -> bool:
    """Whether a decoded path can be read in one way only, letter case and the last slash aside.

    It starts with a slash and has no empty or dot segment, parameter, backslash, percent sign,
    fragment, question mark, control or replacement character. A trailing slash is fine.

    :param path: decoded once, as Unicode; bytes that are no UTF-8 as U+FFFD.
    """
    return is_simple_path(path) is not None or (
        path[:1] == "/"
        and "//" not in path
        and not _ODD_CHARACTER.search(path)
        and ("/." not in path or not any(segment in {".", ".."} for segment in path.split("/")))
    )


def keeps_its_segments(path: str) -> bool:
    """Whether a path has the same segments for everybody, though one of their names may be read otherwise.

    ``/tags/c#`` is ``/tags/c`` to some, but nobody takes it for a path elsewhere.

    :param path: as in :func:`is_canonical`.
    """
    if is_canonical(path):
        return True
    if path[:1] != "/" or not is_readable(path):
        return False
    # The last slash stands for no segment.
    names = path[1:].removesuffix("/").split("/")
    if len(names) > _MOST_NAMES:
        return False
    try:
        return all(_is_name(form.text) for name in names for form in forms(name, 0))
    except TooManyReadings:
        return False


def _is_name(text: str) -> bool:
    return text not in {"", ".", ".."} and "/" not in text and "\\" not in text


def folded(name: str) -> str:
    """A segment as servers that ignore letter case compare it; Windows drops dots and blanks at its end."""
    if name.isascii():
        return name.lower().rstrip(". ") or name
    plain = unicodedata.normalize("NFKC", name).casefold()
    # The two letters that Python's own IGNORECASE takes for an i, and casefold does not.
    return plain.replace("i\u0307", "i").replace("\u0131", "i").rstrip(". ") or name


def forms(segment: str, decoded: int) -> Iterator[Form]:
    """Everything that servers may take a segment for, itself first.

    :param segment: without a slash.
    :param decoded: how often it was decoded before.
    :raises TooManyReadings: there are more than anybody sends who means well.
    """
    first = Form(segment, decoded=decoded)
    yield first
    if _ODD_CHARACTER.search(segment) is None:
        return
    waiting, seen = [first], {first}
    while waiting:
        for form in _next_forms(waiting.pop()):
            if form in seen:
                continue
            if len(seen) >= _MOST_FORMS or form.decoded > _MOST_DECODINGS:
                raise TooManyReadings
            seen.add(form)
            yield form
            # Slashes begin new segments, which are read one by one.
            if "/" not in form.text:
                waiting.append(form)


def _next_forms(form: Form) -> Iterator[Form]:
    text = form.text
    if ";" in text:
        name = text.partition(";")[0]
        yield form._replace(text=name, cut=True)
        # For some the whole path ends here.
        yield form._replace(text=name, ends=True)
    if "\\" in text:
        yield form._replace(text=text.replace("\\", "/"))
    end = _END.search(text)
    if end is not None:
        yield form._replace(text=text[: end.start()], ends=True)
    if _CONTROL.search(text) is not None:
        yield form._replace(text=_CONTROL.sub("", text))
    if "%" in text:
        plain = unquote(_WIDE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text), errors="replace")
        if plain != text:
            yield form._replace(text=plain, decoded=form.decoded + 1)
    if _UNREADABLE * 2 in text:
        # Two bytes at least that are no UTF-8: some take an overlong form for what it stands for.
        for meant in "/.":
            yield form._replace(text=text.replace(_UNREADABLE * 2, meant))


def looks_like(segment: str, names: Mapping[str, object]) -> Iterator[str]:
    """The names that a segment with unreadable bytes may stand for in another encoding."""
    begin, _, rest = segment.partition(_UNREADABLE)
    end = rest.rpartition(_UNREADABLE)[2]
    for name in names:
        if name.startswith(begin) and name.endswith(end) and len(name) > len(begin) + len(end):
            yield name


def is_readable(text: str) -> bool:
    """Whether a text was UTF-8."""
    return _UNREADABLE not in text


def without_authority(path: str) -> str | None:
    """What follows scheme and host where a target is a whole URL; None where it is none."""
    found = _ABSOLUTE.match(path)
    return None if found is None else path[found.end() :]


def hides_specials(target: str | None) -> bool:
    """Whether a raw request target, before any decoding, holds an encoded special character.

    ``%2F`` and its like decode to a path that looks canonical but was not sent so; a server
    behind may split it elsewhere (threat P-01).

    :param target: ``RAW_URI`` or ``REQUEST_URI``, where the server gives one.
    """
    if target is None:
        return False
    path = target.partition("?")[0]
    return "#" in path or _ENCODED_SPECIAL.search(path) is not None


def sent_path(target: str, mount: str) -> str:
    """The path of a raw target below the mount of the app, with its special characters still encoded.

    Everything else means the same to everybody, encoded or not.

    :param target: as it was sent.
    :param mount: ``SCRIPT_NAME``; where the target does not begin with it, nothing is taken off.
    """
    path = _KEPT.sub("%25", target.partition("?")[0])
    path = unquote_to_bytes(path.encode("latin-1", "replace")).decode("utf-8", "replace")
    if path[:1] != "/" and (rest := without_authority(path)) is not None:
        path = rest or "/"
    if not mount:
        return path
    count = mount.count("/") + 1
    pieces = path.split("/", count)
    known = mount.encode("latin-1", "replace").decode("utf-8", "replace")
    return "/" + "".join(pieces[count:]) if "/".join(pieces[:count]) == known else path
