"""Keys made and revoked in a key file that people edit too: every other byte survives.

An edit is made under a lock (``<path>.lock``), checked by reading its own result, written to a
temporary file beside the key file, fsynced and renamed. A reader sees the file before or after it,
never in between; a crash leaves one of the two.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Consumer
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile.records import (
    FINGERPRINT_DIGITS,
    MARK,
    KeyEntry,
    KeyFile,
    check_name,
    check_scope,
    digest_of,
    parse,
)
from apikey_guard.keyservice.keyfile.service import MAX_BYTES, cannot, read_bytes

DEFAULT_PREFIX: Final = "ag_"  # so that scanners for leaked secrets, and people, know one when they see it

# Longer than any edit takes on a healthy disk, shorter than the patience of whoever types.
LOCK_SECONDS: Final = 10.0

_HEADING: Final = (
    "# Keys of this API. Only hashes are stored: a key is shown once, by `apikey-guard keys create`.\n"
)
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,32}")
_FINGERPRINT: Final = re.compile(rf"[0-9a-f]{{{FINGERPRINT_DIGITS},64}}")
_TO_ESCAPE: Final = re.compile(r'["\\\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; the only place where it is ever held.

    :param key: the key itself, to be handed to the consumer; ``repr`` does not show it.
    :param credential_id: its name in the key file.
    """

    key: str = field(repr=False)
    credential_id: str


class Revocation(NamedTuple):
    """What :func:`revoke_key` did, as names of keys.

    :param revoked: revoked just now.
    :param already: they were revoked before; nothing was changed.
    """

    revoked: tuple[str, ...]
    already: tuple[str, ...]


def create_key(
    path: str | os.PathLike[str],
    *,
    username: str,
    consumer_id: str | None = None,
    custom_id: str | None = None,
    scopes: Collection[str] = (),
    expires: datetime | None = None,
    prefix: str = DEFAULT_PREFIX,
    clock: Clock = SYSTEM_CLOCK,
) -> NewKey:
    """A new key, appended to the key file as one ``[[keys]]`` block; the file is made if missing.

    :param username: of the consumer that the key belongs to.
    :param consumer_id: the consumer's ``id``, sent on as ``X-Consumer-ID``.
    :param custom_id: the consumer's ``custom_id``.
    :param scopes: what the key may be used for.
    :param expires: when it ends, with an offset; None is never.
    :param prefix: what the key starts with: letters, digits, ``.``, ``_``, ``-``.
    :param clock: for the date on the block.
    :returns: the key, which is not stored anywhere and cannot be shown again.
    :raises KeyFileError: where an argument or the file cannot be used; nothing is written then.
    """
    if not _PREFIX.fullmatch(prefix):
        raise KeyFileError("the prefix of a key must be at most 32 letters, digits or characters of . _ -")
    if expires is not None and expires.tzinfo is None:
        raise KeyFileError("the date when a key ends must have an offset, like 2027-01-31T12:00:00Z")
    for name, text in (("username", username), ("consumer_id", consumer_id), ("custom_id", custom_id)):
        wrong = None if text is None else check_name(text)
        if wrong is not None:
            raise KeyFileError(f"{name} {wrong}")
    for scope in scopes:
        wrong = check_scope(scope)
        if wrong is not None:
            raise KeyFileError(f"scopes {wrong}")
    key = prefix + secrets.token_urlsafe(32)
    entry = KeyEntry(
        credential_id=f"key_{secrets.token_hex(8)}",
        digest=digest_of(key),
        consumer=Consumer(id=consumer_id, username=username, custom_id=custom_id, scopes=frozenset(scopes)),
        created=_now(clock),
        expires=None if expires is None else expires.astimezone(UTC),
    )

    def append(file: KeyFile) -> tuple[str, tuple[KeyEntry, ...]]:
        newline = _line_break(file.text)
        text = file.text or _HEADING
        if not text.endswith("\n"):
            text += newline
        return text + newline + _block(entry).replace("\n", newline), (*file.entries, entry)

    _edit(os.fspath(path), append, may_create=True)
    return NewKey(key, entry.credential_id)


def revoke_key(path: str | os.PathLike[str], identifier: str, *, clock: Clock = SYSTEM_CLOCK) -> Revocation:
    """Marks keys as revoked: one line ``revoked = <date>`` in the block of each.

    :param identifier: the name (``id``) of a key; a username, for all keys of that consumer; the
        first twelve or more hex digits of a fingerprint; or a key itself.
    :param clock: for the date.
    :raises KeyFileError: where no key or more than one consumer is meant, or the file cannot be
        used; nothing is written then. The identifier, which may be a key, is not repeated.
    """
    revoked: list[str] = []
    already: list[str] = []
    now = _now(clock)

    def mark(file: KeyFile) -> tuple[str, tuple[KeyEntry, ...]]:
        if len(file.blocks) != len(file.entries):
            raise KeyFileError(f"the key file {path} must be written in [[keys]] blocks to be edited")
        text, entries = file.text, list(file.entries)
        # From the end, so that the places before an insertion stay right.
        for index in sorted(_meant(file, identifier, os.fspath(path)), reverse=True):
            entry = entries[index]
            if entry.revoked is not None:
                already.insert(0, entry.credential_id)
                continue
            revoked.insert(0, entry.credential_id)
            entries[index] = replace(entry, revoked=now)
            text = _insert(text, file.blocks[index].insert_at, f"revoked = {_moment(now)}")
        return text, tuple(entries)

    _edit(os.fspath(path), mark)
    return Revocation(tuple(revoked), tuple(already))


def list_keys(path: str | os.PathLike[str]) -> tuple[KeyEntry, ...]:
    """The keys of a key file, in order, revoked and expired ones included.

    :raises KeyFileError: where the file is missing or cannot be used.
    """
    name = os.fspath(path)
    try:
        return parse(read_bytes(name)[0], path=name).entries
    except OSError as error:
        raise cannot("read", name, error) from None


def _meant(file: KeyFile, identifier: str, path: str) -> set[int]:
    """Which entries an identifier names."""
    digest = digest_of(identifier)
    ways = [
        {i for i, entry in enumerate(file.entries) if entry.digest == digest},
        {i for i, entry in enumerate(file.entries) if entry.credential_id == identifier},
        {i for i, entry in enumerate(file.entries) if entry.consumer.username == identifier},
    ]
    prefix = identifier.lower()
    if _FINGERPRINT.fullmatch(prefix):
        starting = {i for i, entry in enumerate(file.entries) if entry.digest.hex().startswith(prefix)}
        if len(starting) > 1:
            raise KeyFileError(
                f"{len(starting)} keys in {path} have a fingerprint that starts so: give more digits"
            )
        ways.append(starting)
    found = {frozenset(way) for way in ways if way}
    if not found:
        raise KeyFileError(
            f"no such key in {path}: give its id, its consumer's username, at least "
            f"{FINGERPRINT_DIGITS} digits of its fingerprint, or the key itself"
        )
    if len(found) > 1:
        raise KeyFileError(f"in {path} that names one key and the consumer of others: give a fingerprint")
    return set(found.pop())


def _edit(
    path: str,
    change: Callable[[KeyFile], tuple[str, tuple[KeyEntry, ...]]],
    *,
    may_create: bool = False,
) -> None:
    """Replace the text of a key file by what ``change`` makes of it, if it holds what it should.

    :param change: from the file to the new text, and the entries that the text must hold.
    """
    # A link stays a link: what it points to is replaced.
    path = os.path.realpath(path)
    with _locked(path):
        status: os.stat_result | None = None
        try:
            data, status = read_bytes(path)
        except OSError as error:
            if not (may_create and isinstance(error, FileNotFoundError)):
                raise cannot("read", path, error) from None
            data = b""
        file = parse(data, path=path)
        text, entries = change(file)
        if text == file.text:
            return
        new = (MARK if data.startswith(MARK) else b"") + text.encode("utf-8")
        if len(new) > MAX_BYTES:
            raise KeyFileError(f"the key file {path} is full: {MAX_BYTES // 1024 // 1024} MiB")
        if parse(new, path=path).entries != entries:
            raise KeyFileError(f"the key file {path} is written in a way that cannot be edited safely")
        try:
            _replace(path, new, status)
        except OSError as error:
            raise cannot("write", path, error) from None


@contextmanager
def _locked(path: str) -> Iterator[None]:
    if sys.platform == "win32":
        raise KeyFileError("key files can be edited by hand only on this system: it has no flock")
    import fcntl

    try:
        # Never removed: another process may be waiting on it.
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise KeyFileError(f"there is no directory for the key file {path}") from None
    except OSError as error:
        raise cannot("lock", path, error) from None
    try:
        if os.geteuid() == 0:
            # An administrator's edit must not lock out whoever owns the key file.
            with suppress(OSError):
                owner = os.stat(path)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise KeyFileError(f"another process is editing the key file {path}") from None
                time.sleep(0.02)
            except OSError as error:
                raise cannot("lock", path, error) from None
        yield
    finally:
        os.close(descriptor)


def _replace(path: str, data: bytes, status: os.stat_result | None) -> None:
    """Put ``data`` in the place of a file, which nobody ever sees in between."""
    # Never wider than 0600; what the owner has narrowed stays narrow.
    mode = 0o600 if status is None else stat.S_IMODE(status.st_mode) & 0o600
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            # Where it cannot be given to its owner, it is not written: the owner must read it.
            if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # Without it a power cut could bring the old file back, and a revoked key with it.
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _insert(text: str, offset: int, line: str) -> str:
    before, after = text[:offset], text[offset:]
    newline = _line_break(before)
    if not before.endswith("\n"):
        before += newline
    return before + line + newline + after


def _line_break(text: str) -> str:
    """The line break to go on with: as the last one."""
    end = text.rfind("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _block(entry: KeyEntry) -> str:
    consumer = entry.consumer
    names = (("id", consumer.id), ("username", consumer.username), ("custom_id", consumer.custom_id))
    table = ", ".join(f"{name} = {quoted(text)}" for name, text in names if text is not None)
    lines = [
        "[[keys]]",
        f"id = {quoted(entry.credential_id)}",
        f'sha256 = "{entry.digest.hex()}"',
        f"consumer = {{ {table} }}",
    ]
    if consumer.scopes:
        lines.append(f"scopes = [{', '.join(quoted(scope) for scope in sorted(consumer.scopes))}]")
    if entry.created is not None:
        lines.append(f"created = {_moment(entry.created)}")
    if entry.expires is not None:
        lines.append(f"expires = {_moment(entry.expires)}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, section String)."""
    escaped = _TO_ESCAPE.sub(
        lambda match: f"\\{match[0]}" if match[0] in '"\\' else f"\\u{ord(match[0]):04x}", text
    )
    return f'"{escaped}"'


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.time(), UTC).replace(microsecond=0)
