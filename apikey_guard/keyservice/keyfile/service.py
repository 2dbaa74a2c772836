"""A key service without a network: a local file of hashed keys, read again when it changes."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile.records import MARK, KeyEntry, KeyState, digest_of, parse
from apikey_guard.process import PerProcess

logger = logging.getLogger("apikey_guard")

# Often enough for a revocation, seldom enough for a file that lies on a network.
CHECK_SECONDS: Final = 1.0

# Longer than whoever writes a file in place pauses; only a key that is to be valid again waits for it.
SETTLE_SECONDS: Final = 10.0

# Some 200 000 keys. More belong in a database; and a wrong path must not fill the memory.
MAX_BYTES: Final = 64 * 1024 * 1024

# Two edits within one tick of mtime differ in size or, written by rename, in inode. ctime also
# shows a tool that sets mtime back (rsync, cp -p), and a mode that was put right.
_Signature = tuple[int, int, int, int, int]
# What of it says which file it is; the rest tells of its writing.
_FILE: Final = slice(3, 5)


class FileKeyService:
    """Answers from a key file, as it was when it last could be used.

    The file is looked at on a verification, at most once a second, and read again when it has
    changed. While it is broken, half written or empty, that is logged at each look, with the line, and
    the keys from before go on serving; the same where the file disappears or cannot be read any more.
    A whole file without a valid key means no keys at once.

    A file that is written in place, and cut at the end of a line, may look whole without the line that
    ends a key: what was revoked, or had an end, keeps it until nothing was written for ten seconds.

    :param path: the key file (:mod:`apikey_guard.keyservice.keyfile.records` describes it).
    :param clock: decides when to look at the file again, and which keys have expired.
    :raises KeyFileError: where the file is missing or cannot be used at the start.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._path = os.fspath(path)
        self._clock = clock
        self._reading = PerProcess(threading.Lock)
        self._seen: _Signature | None = None
        self._settles_at: float | None = None
        self._complaint = ""
        self._broken = False
        self._warned = False
        self._next_look = clock.monotonic() + CHECK_SECONDS
        self._entries: Mapping[bytes, KeyEntry] = {}
        # And those that were there before the file that is being written was cut.
        self._known: Mapping[bytes, KeyEntry] = {}
        try:
            self._entries = self._read()
        except OSError as error:
            raise cannot("read", self._path, error) from None

    def verify(self, credential: Credential) -> Verdict:
        """The verdict of the file. Unknown, expired and revoked keys are all merely invalid."""
        self._look_again()
        # Compared by the dict, not in constant time: whoever measures it learns about digests, and
        # to find a key that has a wanted digest is as hard as to guess the key.
        entry = self._entries.get(digest_of(credential.value))
        if entry is None or entry.state(self._clock.time()) is not KeyState.ACTIVE:
            return Verdict.invalid()
        return Verdict(
            valid=True,
            consumer=entry.consumer,
            credential_id=entry.credential_id,
            expires_at=None if entry.expires is None else entry.expires.timestamp(),
        )

    def close(self) -> None:
        """Nothing is held open; it goes on answering."""

    def _look_again(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        # Whoever comes while another thread reads is answered from what is known.
        reading = self._reading.get()
        if not reading.acquire(blocking=False):
            return
        try:
            self._next_look = now + CHECK_SECONDS
            self._read_changes()
        finally:
            reading.release()

    def _read_changes(self) -> None:
        try:
            settles = self._settles_at is not None and self._clock.monotonic() >= self._settles_at
            if self._broken or settles or _signature(os.stat(self._path)) != self._seen:
                self._entries = self._read()
                logger.info("the key file %s has changed: %d keys", self._path, len(self._entries))
            self._complaint = ""
            self._broken = False
        except OSError as error:
            complaint = str(cannot("read", self._path, error))
            # Tried every second, said once.
            if complaint != self._complaint:
                self._complaint = complaint
                logger.error("%s; the %d keys from before go on serving", complaint, len(self._entries))
        except KeyFileError as error:
            # Said at each look: whoever edits it thinks that it holds.
            self._broken = True
            logger.error("%s; the %d keys from before go on serving", error, len(self._entries))

    def _read(self) -> Mapping[bytes, KeyEntry]:
        data, status = read_bytes(self._path)
        before, self._seen = self._seen, _signature(status)
        if before is not None:
            self._refuse_half_written(data)
            self._note_writing(before, self._seen)
        entries = parse(data, path=self._path).entries
        if os.name == "posix" and status.st_mode & 0o077 and not self._warned:
            self._warned = True
            logger.warning(
                "the key file %s may be read or written by others than its owner (mode %03o): chmod 600",
                self._path,
                stat.S_IMODE(status.st_mode),
            )
        if self._settles_at is None:
            self._known = {}
        found = {entry.digest: _still_ended(entry, self._known.get(entry.digest)) for entry in entries}
        self._known = {**self._known, **found}
        return found

    def _note_writing(self, before: _Signature, seen: _Signature) -> None:
        now = self._clock.monotonic()
        if seen[_FILE] != before[_FILE]:
            self._settles_at = None  # renamed: whole
        elif seen != before:
            self._settles_at = now + SETTLE_SECONDS
        elif self._settles_at is not None and now >= self._settles_at:
            self._settles_at = None

    def _refuse_half_written(self, data: bytes) -> None:
        """Written in place, a file is empty first; one that is cut within a line is no key file anyway.

        :raises KeyFileError: it is not whole.
        """
        if self._entries and not data.removeprefix(MARK).strip():
            raise KeyFileError(f"the key file {self._path} is empty; keys = [] means no keys")
        if _signature(os.stat(self._path)) != self._seen:
            raise KeyFileError(f"the key file {self._path} is being written")

    def __repr__(self) -> str:
        return f"FileKeyService({self._path!r}, {len(self._entries)} keys)"


def read_bytes(path: str) -> tuple[bytes, os.stat_result]:
    """The whole key file, and the status of exactly the file that was read.

    :raises OSError: where it cannot be read.
    :raises KeyFileError: where it is no regular file, or larger than :data:`MAX_BYTES`.
    """
    # Not blocking: a named pipe without a writer would hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"the key file {path} is not a regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise KeyFileError(f"the key file {path} is larger than {MAX_BYTES // 1024 // 1024} MiB")
    return data, status


def cannot(do: str, path: str, error: OSError) -> KeyFileError:
    """The error to raise for what the operating system refused."""
    if error.errno == errno.ENOENT:
        return KeyFileError(f"there is no key file {path}; `apikey-guard keys create` makes one")
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return KeyFileError(f"cannot {do} the key file {path} ({name})")


def _signature(status: os.stat_result) -> _Signature:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _still_ended(entry: KeyEntry, before: KeyEntry | None) -> KeyEntry:
    """The entry, with the ends that it had before and has no more."""
    if before is None:
        return entry
    return replace(entry, revoked=entry.revoked or before.revoked, expires=entry.expires or before.expires)
