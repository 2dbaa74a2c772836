"""What must never show up anywhere: the canaries, and where they are looked for.

Every key in the tests contains ``KCANARY`` and every secret that we show to a key service
contains ``SCANARY``, so that one search finds a leak of any of them.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

KEY_CANARY = "KCANARY"
SECRET_CANARY = "SCANARY"

# Percent-encoded letters, base64 and hex would hide a canary from a plain search; the words are
# long enough that a leak in one of those forms cuts out a stretch that is always the same.
_CANARY = re.compile(
    r"[KS]CANARY|[ks]canary|%4[bB]%43%41|%53%43%41%4[eE]|4b43414e415259|5343414e415259"
    r"|S0NBTkFSW|tDQU5BUl|LQ0FOQVJZ|U0NBTkFSW|NDQU5BUl|TQ0FOQVJZ"
)


def find_canary(text: str | bytes) -> str | None:
    """The surroundings of the first canary in a text, or None where there is none."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    found = _CANARY.search(text)
    if found is None:
        return None
    return text[max(0, found.start() - 120) : found.end() + 60]


class BreachList:
    """What the recorders and servers saw that must never happen, for the watch over each test."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, breach: str) -> None:
        self._found.append(breach)

    def take(self) -> list[str]:
        """Everything since the last call."""
        found, self._found = self._found, []
        return found


# One list for the test run: an app under test has no other way to reach the watch.
BREACHES = BreachList()


class _LogWatch(logging.Handler):
    """Looks for canaries in every record: message, arguments, extras and traceback."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        texts = [record.getMessage(), repr(record.__dict__)]
        if record.exc_info and record.exc_info[0] is not None:
            texts.append("".join(traceback.format_exception(*record.exc_info)))
        for text in texts:
            found = find_canary(text)
            if found is not None:
                self.leaks.append(f"logger {record.name!r} ({record.levelname}): ...{found}...")
                return


@contextmanager
def watched_logs() -> Iterator[list[str]]:
    """Every logger at DEBUG while this lasts; the list that is given fills with what leaked."""
    root = logging.getLogger()
    before = root.level
    handler = _LogWatch()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.leaks
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
