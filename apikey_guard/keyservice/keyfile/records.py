"""The key file: a TOML text of hashed keys, checked member by member.

::

    [[keys]]
    id = "key_5d41402abc4b"
    sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    consumer = { id = "42", username = "acme", custom_id = "A-17" }
    scopes = ["read", "write"]
    created = 2026-11-23T12:00:00Z
    expires = 2027-11-23T12:00:00Z
    metadata = { plan = "gold" }

``id`` and ``sha256`` are required. A line ``revoked = true``, or with the date of it, ends a key at
once. This module knows the text; ``service`` reads it from disk, ``edit`` writes it.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from apikey_guard.core.model import NO_METADATA, NO_SCOPES, Consumer
from apikey_guard.errors import KeyFileError, KeyServiceUnavailable
from apikey_guard.keyservice import fields
from apikey_guard.keyservice.keyfile.blocks import Block, find_blocks

FINGERPRINT_DIGITS: Final = 12  # as logs show it
MAX_PROBLEMS: Final = 10  # named in one message; whoever has more will read it again anyway

#: The byte order mark that editors of Windows put before UTF-8; no part of the text.
MARK: Final = codecs.BOM_UTF8
_MEMBERS: Final = ("id", "sha256", "consumer", "scopes", "metadata", "created", "expires", "revoked")
_CONSUMER_MEMBERS: Final = ("id", "username", "custom_id")
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_TOML_PLACE: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
# tomllib quotes what it found; a text of letters alone repeats nothing of the file.
_TOML_REASON: Final = re.compile(r"[A-Za-z ]+(?= \(at )")


class KeyState(StrEnum):
    """Whether a key may be used."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key of the file: its hash and what is known about it, never the key itself.

    :param credential_id: the name of the key, unique in the file.
    :param digest: SHA-256 of the key.
    :param consumer: who it belongs to.
    :param created: when it was made; only for the reader of the file.
    :param expires: when it ends.
    :param revoked: when it was revoked, or True. It counts at once, whatever the date says: the
        clock that wrote it may be ahead of ours.
    """

    credential_id: str
    digest: bytes = field(repr=False)
    consumer: Consumer
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | Literal[True] | None = None

    @property
    def fingerprint(self) -> str:
        """The first twelve hex digits of the digest, as logs show them."""
        return self.digest.hex()[:FINGERPRINT_DIGITS]

    def state(self, now: float) -> KeyState:
        """Whether the key may be used.

        :param now: seconds since the epoch.
        """
        if self.revoked is not None:
            return KeyState.REVOKED
        if self.expires is not None and self.expires.timestamp() <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that was read and found right.

    :param text: the whole text without a byte order mark, line breaks as they are.
    :param entries: its keys, in order.
    :param blocks: where each of them stands; empty where they are not written as ``[[keys]]``.
    """

    text: str = field(repr=False)
    entries: tuple[KeyEntry, ...]
    blocks: tuple[Block, ...]


def digest_of(key: str) -> bytes:
    """SHA-256 of a key, as the file holds it. Any text has one, even one that is not Unicode."""
    # Unsalted on purpose: the digest is the index, and a generated key has 256 bits to guess.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def parse(data: bytes, *, path: str) -> KeyFile:
    """The keys in the bytes of a key file.

    :param data: the whole file.
    :param path: its name, for messages only.
    :raises KeyFileError: with the problems that were found and their lines. Nothing that stands in
        the file is repeated in it: somebody may have pasted a key.
    """
    text, table = _read_toml(data.removeprefix(MARK), path)
    keys = table.pop("keys", [])
    problems = [f"an unknown member at the top{_meant(name, ('keys',))}" for name in table]
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        problems.append("keys must be written as [[keys]] blocks")
        keys = []
    found = find_blocks(text, "keys")
    blocks = found if len(found) == len(keys) else ()
    places = [_Place(index, blocks[index] if blocks else None, problems) for index in range(len(keys))]
    try:
        entries = [_entry(key, place) for key, place in zip(keys, places, strict=True)]
    except RecursionError:
        problems.append("metadata is nested too deeply")
        entries = []
    _check_unique(entries, places)
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise KeyFileError(f"the key file {path} cannot be used: {'; '.join(problems[:MAX_PROBLEMS])}{more}")
    return KeyFile(text, tuple(entries), blocks)


def check_name(text: str) -> str | None:
    """What is wrong with a name that is to be sent on in a header, or None.

    The rule is the one for answers over HTTP, so that a file means the same either way.
    """
    try:
        fields.sendable(text, "")
    except KeyServiceUnavailable:
        return (
            f"must be at most {fields.MAX_TEXT} characters, without control characters or spaces around it: "
            "it is sent on in a header"
        )
    return None if text else "must not be empty"


def check_scope(text: object) -> str | None:
    """What is wrong with a scope, or None."""
    try:
        fields.scope_set((text,), "")
    except KeyServiceUnavailable:
        return f"must be texts of at most {fields.MAX_TEXT} characters, without spaces"
    return None


def _read_toml(data: bytes, path: str) -> tuple[str, dict[str, object]]:
    try:
        text = data.decode("utf-8")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"line {line}: not UTF-8" + (": it is UTF-16, save it anew" if data[:2] in _UTF_16 else "")
    except tomllib.TOMLDecodeError as error:
        place, reason = _TOML_PLACE.search(str(error)), _TOML_REASON.match(str(error))
        # It names no place where the end of the text came too early.
        where = f"line {place[1]}, column {place[2]}" if place else "at its end"
        problem = f"{where}: not valid TOML" + (f" ({reason[0]})" if reason else "")
    except (ValueError, RecursionError):  # a number of 5000 digits, arrays nested a thousand deep
        problem = "not valid TOML: a number too long, or arrays nested too deeply"
    raise KeyFileError(f"the key file {path} cannot be used: {problem}") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """One block, and where its problems are written down."""

    index: int
    block: Block | None
    problems: list[str]

    def name_of(self, member: str = "") -> str:
        if self.block is None:
            return f"key {self.index + 1}"
        return f"line {self.block.members.get(member, self.block.line)}"

    def problem(self, sentence: str, member: str = "") -> None:
        self.problems.append(f"{self.name_of(member)}: {sentence}")


def _entry(key: Mapping[str, object], place: _Place) -> KeyEntry:
    """The entry that a block describes; where it describes none, a problem is written down."""
    for name in key:
        if name not in _MEMBERS:
            place.problem(f"an unknown member{_meant(name, _MEMBERS)}", name)
    if "id" not in key:
        place.problem("id is missing: the name of the key")
    digest = key.get("sha256")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        place.problem("sha256 must be the SHA-256 of the key: 64 hexadecimal digits", "sha256")
        digest = ""
    return KeyEntry(
        credential_id=_name(key, "id", "id", place) or "",
        digest=bytes.fromhex(digest),
        consumer=_consumer(key, place),
        created=_moment(key, "created", place),
        expires=_moment(key, "expires", place),
        revoked=True if key.get("revoked") is True else _moment(key, "revoked", place),
    )


def _check_unique(entries: Sequence[KeyEntry], places: Sequence[_Place]) -> None:
    first: dict[str | bytes, _Place] = {}
    for entry, place in zip(entries, places, strict=False):
        for member, value in (("id", entry.credential_id), ("sha256", entry.digest)):
            earlier = first.setdefault(value, place)
            # Empty where it was missing or wrong, which has been said.
            if value and earlier is not place:
                place.problem(f"the same {member} as {earlier.name_of(member)}", member)


def _consumer(key: Mapping[str, object], place: _Place) -> Consumer:
    table = key.get("consumer", {})
    if not isinstance(table, dict):
        place.problem('consumer must be a table: { id = "42", username = "acme" }', "consumer")
        table = {}
    for name in table:
        if name not in _CONSUMER_MEMBERS:
            place.problem(f"an unknown member of consumer{_meant(name, _CONSUMER_MEMBERS)}", "consumer")
    scopes = key.get("scopes", [])
    if not isinstance(scopes, list) or any(check_scope(scope) for scope in scopes):
        place.problem('scopes must be a list of texts without spaces: ["read", "write"]', "scopes")
        scopes = []
    metadata = _plain(key.get("metadata", {}), place)
    if not isinstance(metadata, dict):
        place.problem('metadata must be a table: { plan = "gold" }', "metadata")
        metadata = {}
    return Consumer(
        id=_name(table, "id", "consumer", place),
        username=_name(table, "username", "consumer", place),
        custom_id=_name(table, "custom_id", "consumer", place),
        scopes=frozenset(scopes) if scopes else NO_SCOPES,
        metadata=MappingProxyType(metadata) if metadata else NO_METADATA,
    )


def _name(table: Mapping[str, object], name: str, member: str, place: _Place) -> str | None:
    value = table.get(name)
    if value is None:
        return None
    path = name if member == name else f"{member}.{name}"
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # many number their consumers, and forget the quotes
    if not isinstance(value, str):
        place.problem(f"{path} must be a text: write it in quotes", member)
        return None
    wrong = check_name(value)
    if wrong is not None:
        place.problem(f"{path} {wrong}", member)
    return value


def _moment(key: Mapping[str, object], name: str, place: _Place) -> datetime | None:
    value = key.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime) and value.tzinfo is not None:
        with suppress(OverflowError):  # the last evening of the year 9999, west of Greenwich
            return value.astimezone(UTC)
    or_true = " (or, without quotes, true)" if name == "revoked" else ""
    place.problem(f"{name} must be a date and time with its offset, like 2027-01-31T12:00:00Z{or_true}", name)
    return None


def _plain(value: object, place: _Place) -> object:
    """Metadata as JSON can carry it, so that it is the same from the file and over HTTP."""
    if isinstance(value, dict):
        return {name: _plain(item, place) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, place) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        place.problem("metadata cannot hold inf or nan", "metadata")
    return value


def _meant(name: str, known: Sequence[str]) -> str:
    # Repeated only where it resembles a name of ours: it might be a key in the wrong place.
    close = difflib.get_close_matches(name, known, n=1)
    return f": {name} (did you mean {close[0]}?)" if close else f" (known are {', '.join(known)})"
