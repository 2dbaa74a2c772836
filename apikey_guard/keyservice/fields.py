"""Reads what a key service says, strictly: a field is what it should be, or the answer is unusable.

``json.loads`` takes NaN, the last of two equal members and any top-level type, and what it returns
is believed by its truth value all too easily. Everything here raises
:class:`~apikey_guard.errors.UnusableAnswer` with the cause ``content`` instead of guessing;
no message repeats a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn

from apikey_guard.core.model import NO_METADATA, NO_SCOPES
from apikey_guard.errors import UnusableAnswer

Headers = Sequence[tuple[str, str]]

# Long enough for every identifier in use; these become header values of every request.
MAX_TEXT = 256
# The last second of the year 9999. A greater number is milliseconds, taken for seconds.
MAX_EPOCH_SECONDS = 253_402_300_799
# A rate limit that ends later than this is no reason to keep a caller away longer.
MAX_RETRY_AFTER = 3_600.0

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9!#$&^_.+-]+\+)?json")
# Control characters (C1 included), line separators, and what UTF-8 has no form for.
_UNSENDABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCOPE = re.compile(rf"[^\s\x00-\x20\x7f-\xa0\ud800-\udfff]{{1,{MAX_TEXT}}}")
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def unusable(detail: str) -> UnusableAnswer:
    """The error for an answer about a credential that cannot be used."""
    return UnusableAnswer("content", detail)


def values(headers: Headers, name: str) -> list[str]:
    """All values of a header, in order; names ignore case."""
    lower = name.lower()
    return [value for found, value in headers if found.lower() == lower]


def is_json(headers: Headers) -> bool:
    """Whether exactly one Content-Type says JSON (``application/json`` or ``application/...+json``).

    JSON is UTF-8 (RFC 8259, section 8.1); another charset means that the server means another text.
    Other parameters are ignored.
    """
    types = values(headers, "Content-Type")
    if len(types) != 1:
        return False
    kind, *parameters = (part.strip().lower() for part in types[0].split(";"))
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    return _JSON_TYPE.fullmatch(kind) is not None and set(charsets) <= {"utf-8", "utf8", "us-ascii"}


def json_object(body: bytes) -> Mapping[str, object]:
    """The JSON object that the body is: UTF-8 without a mark, no member twice, finite numbers."""
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    # ValueError: no JSON, no UTF-8, a number of thousands of digits. RecursionError: nested too deep.
    except (ValueError, RecursionError):
        raise unusable("the body is not a JSON object that can be relied on") from None
    if not isinstance(document, dict):
        raise unusable("the body is JSON, but not an object")
    return document


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("not finite")
    return number


def text(document: Mapping[str, object], name: str) -> str | None:
    """A text that can be a header value, or None where it is absent, null or empty.

    A whole number is taken as its digits, as many services number their consumers.
    """
    value = document.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise unusable(f"{name!r} is neither a text nor a whole number of 64 bits")
    return sendable(value, name)


def sendable(value: str, name: str) -> str:
    """The same text, where it can be a header value as it is."""
    if len(value) > MAX_TEXT:
        raise unusable(f"{name!r} is longer than {MAX_TEXT} characters")
    if _UNSENDABLE.search(value) or value != value.strip():
        raise unusable(f"{name!r} has control characters or spaces around it")
    return value


def flag(document: Mapping[str, object], name: str) -> bool | None:
    """Exactly true or false, or None where the member is absent."""
    value = document.get(name)
    if name in document and not isinstance(value, bool):
        raise unusable(f"{name!r} is neither true nor false")
    return value if isinstance(value, bool) else None


def table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """An object, read-only; empty where it is absent or null."""
    value = document.get(name)
    if value is None:
        return NO_METADATA
    if not isinstance(value, dict):
        raise unusable(f"{name!r} is not an object")
    return MappingProxyType(value)


def scopes(document: Mapping[str, object], name: str) -> frozenset[str]:
    """A list of scopes; empty where it is absent or null."""
    value = document.get(name)
    if value is None:
        return NO_SCOPES
    if not isinstance(value, list):
        raise unusable(f"{name!r} is not a list")
    return scope_set(value, name)


def scope_set(found: Iterable[object], name: str) -> frozenset[str]:
    """The scopes as a set; none is empty or has spaces or control characters."""
    checked = [scope for scope in found if isinstance(scope, str) and _SCOPE.fullmatch(scope)]
    if len(checked) != len(list(found)):
        raise unusable(f"{name!r} has something in it that is no scope")
    return frozenset(checked)


def number(document: Mapping[str, object], name: str, most: float | None = None) -> float | None:
    """A number from 0 on, or None where it is absent or null.

    :param most: the greatest value; a greater one makes the answer unusable.
    """
    value = document.get(name)
    if value is None:
        return None
    # A bool is an int in Python. A huge int does not fit into a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= (most or 1e300):
        raise unusable(f"{name!r} is not a number that makes sense")
    return float(value)


def retry_after(document: Mapping[str, object], headers: Headers) -> float | None:
    """Seconds until a rate limit ends, an hour at most; None where neither body nor header says."""
    found = number(document, "retry_after")
    if found is None:
        digits = values(headers, "Retry-After")
        if len(digits) != 1 or not re.fullmatch(r"[0-9]{1,9}", digits[0]):
            return None
        found = float(digits[0])
    return min(found, MAX_RETRY_AFTER)


def moment(document: Mapping[str, object], name: str) -> float | None:
    """A date and time of RFC 3339 as seconds since the epoch, or None where it is absent or null.

    The offset is required: without one, nobody knows which moment is meant. A leap second is the
    second before it, and one more.
    """
    value = document.get(name)
    if value is None:
        return None
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise unusable(f"{name!r} is not a date and time of RFC 3339 with an offset")
    date, minute, second, fraction, offset = match.groups()
    leap = second == "60"
    try:
        found = datetime.fromisoformat(
            f"{date}T{minute}:{'59' if leap else second}{'+00:00' if offset in 'Zz' else offset}"
        )
        return found.astimezone(UTC).timestamp() + leap + float(fraction or 0)
    except (ValueError, OverflowError):
        raise unusable(f"{name!r} is a date that does not exist") from None
