"""What people write about the pages that may read the guard's answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from apikey_guard.settings.checks import Wrong, shown

_PARTS: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_PORTS: Final = {"http": 80, "https": 443}


def cors_origins(value: object) -> tuple[str, ...]:
    """Origins as browsers send them, or ``*`` alone."""
    entries = (value,) if isinstance(value, str) else value
    if isinstance(entries, bytes | Mapping) or not isinstance(entries, Sequence):
        raise Wrong(f"must be a list of origins like 'https://app.example.com', or '*', not {shown(value)}")
    found: dict[str, None] = {}
    problems: list[str] = []
    for entry in entries:
        try:
            found[_origin(entry)] = None
        except Wrong as error:
            problems += error.sentences
    if "*" in found and len(found) > 1:
        problems.append("'*' stands for all origins; leave out the others, or it")
    if problems:
        raise Wrong(*problems)
    return tuple(found)


def _origin(entry: object) -> str:
    if entry == "*":
        return "*"
    if entry == "null":
        raise Wrong("'null' is what pages without an origin send, anybody's among them; name real ones")
    text = entry.lower() if isinstance(entry, str) else ""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise Wrong(
            f"{shown(entry)} is no origin; write scheme, host and port only: 'https://app.example.com'"
        )
    scheme, host, port = parts.group("scheme", "host", "port")
    if port is not None and not 0 < int(port) < 65_536:
        raise Wrong(f"{shown(entry)} has no port from 1 to 65535")
    # Browsers leave out the port that the scheme means anyway.
    kept = "" if port is None or int(port) == _PORTS.get(scheme) else f":{int(port)}"
    return f"{scheme}://{host}{kept}"


def about_cookies(origins: object, locations: Iterable[str]) -> Iterator[str]:
    """What is wrong with ``*`` where a browser sends the key by itself.

    :param origins: the setting, right by itself.
    :param locations: all key locations, those of routes included.
    """
    cookies = sorted({location for location in locations if location.startswith("cookie:")})
    if origins == ("*",) and cookies:
        yield f"cors_origins: '*' is not for {', '.join(cookies)}, which browsers send unasked; name origins"
