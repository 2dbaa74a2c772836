"""The key file as a key service: what it answers, when it is read again, what is wrong with it."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice import KeyService
from apikey_guard.keyservice.keyfile.service import SETTLE_SECONDS, FileKeyService
from apikey_guard.testing import ManualClock

KEY = "KCANARY-good"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def block(key: str = KEY, *lines: str, id: str = "c-1") -> str:  # noqa: A002  # the file's own word
    return "\n".join(["[[keys]]", f'id = "{id}"', f'sha256 = "{sha256(key)}"', *lines]) + "\n"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """As an editor saves: a new file, renamed over the old one."""
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=NOW)


def verdict_of(path: Path, clock: ManualClock, key: str = KEY) -> Verdict:
    return FileKeyService(path, clock=clock).verify(Credential(key))


# -- answers --------------------------------------------------------------------------------------


def test_a_full_block_becomes_a_verdict(path: Path, clock: ManualClock) -> None:
    write(
        path,
        block(
            KEY,
            'consumer = { id = "42", username = "acme", custom_id = "A-17" }',
            'scopes = ["write", "read"]',
            "created = 2026-01-01T00:00:00Z",
            "expires = 2027-01-01T01:00:00+01:00",
            "[keys.metadata]",
            'plan = "gold"',
            "limits = { since = 2026-01-01, each = [1, 2.5, true] }",
        ),
    )
    service: KeyService = FileKeyService(path, clock=clock)
    assert service.verify(Credential(KEY)) == Verdict(
        valid=True,
        consumer=Consumer(
            id="42",
            username="acme",
            custom_id="A-17",
            scopes=frozenset({"read", "write"}),
            metadata={"plan": "gold", "limits": {"since": "2026-01-01", "each": [1, 2.5, True]}},
        ),
        credential_id="c-1",
        expires_at=datetime(2027, 1, 1, tzinfo=UTC).timestamp(),
    )
    service.close()
    service.close()


def test_a_short_block_is_enough(path: Path, clock: ManualClock) -> None:
    write(path, block().replace(sha256(KEY), sha256(KEY).upper()))
    assert verdict_of(path, clock) == Verdict(valid=True, consumer=Consumer(), credential_id="c-1")


def test_an_empty_file_knows_no_key(path: Path, clock: ManualClock) -> None:
    write(path, "# none yet\n")
    assert verdict_of(path, clock) == Verdict.invalid()


@pytest.mark.parametrize(
    "lines",
    [
        ["revoked = true"],
        ["revoked = 2026-11-01T00:00:00Z"],
        ["revoked = 2099-01-01T00:00:00Z"],
        ['revoked = "2026-11-01T00:00:00+01:00"'],
        ["expires = 2026-11-23T12:00:00Z"],
        ["expires = 2026-11-23T13:59:59+02:00"],
        ['expires = "2026-11-23T11:59:59Z"'],
    ],
    ids=lambda lines: lines[0],
)
def test_a09_expired_revoked_and_unknown_are_one_verdict(
    path: Path, clock: ManualClock, lines: list[str]
) -> None:
    write(path, block(KEY, 'consumer = { username = "acme" }', *lines))
    assert verdict_of(path, clock) == verdict_of(path, clock, "KCANARY-unknown") == Verdict.invalid()


def test_a_key_ends_while_the_service_runs(path: Path, clock: ManualClock) -> None:
    write(path, block(KEY, "expires = 2026-11-23T12:00:10Z"))
    service = FileKeyService(path, clock=clock)
    assert service.verify(Credential(KEY)).valid
    clock.set_wall(NOW + 10)
    assert not service.verify(Credential(KEY)).valid


@pytest.mark.parametrize(
    "key",
    [
        KEY.upper(), KEY.lower(), KEY + "\x00", KEY + " ", " " + KEY, KEY + "\n", KEY + "%00", KEY[:-1],
        KEY + "d", "\uff2b" + KEY[1:], KEY + "A" * 100_000, "", sha256(KEY), KEY + "\udc80", "é", "e\u0301",
    ],
    ids=ascii,
)  # fmt: skip
def test_a11_only_the_exact_key_is_that_key(path: Path, clock: ManualClock, key: str) -> None:
    write(path, block())
    assert verdict_of(path, clock, key) == Verdict.invalid()


def test_a09_a_key_may_hold_anything(path: Path, clock: ManualClock) -> None:
    write(path, block("KCANARY-ké"))
    assert verdict_of(path, clock, "KCANARY-ké").valid


# -- reading again --------------------------------------------------------------------------------


def test_a_change_is_noticed_within_a_second(path: Path, clock: ManualClock) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    write(path, block("KCANARY-other"))
    clock.advance(0.5)
    assert service.verify(Credential(KEY)).valid, "looked at more than once a second"
    clock.advance(0.5)
    assert not service.verify(Credential(KEY)).valid
    assert service.verify(Credential("KCANARY-other")).valid


def test_a_change_in_place_is_noticed_even_if_size_and_mtime_are_as_before(
    path: Path, clock: ManualClock
) -> None:
    write(path, block())
    before = path.stat()
    service = FileKeyService(path, clock=clock)
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # its clock ticks every few milliseconds
        path.write_text(block("KCANARY-diff"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.advance(1)
    assert not service.verify(Credential(KEY)).valid


def test_an_unchanged_file_is_not_read_again(path: Path, clock: ManualClock, caplog) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    caplog.set_level(logging.DEBUG)
    for _ in range(3):
        clock.advance(2)
        assert service.verify(Credential(KEY)).valid
    assert caplog.messages == []


def test_a_broken_edit_keeps_the_last_good_keys_and_says_so_at_each_look(
    path: Path, clock: ManualClock, caplog
) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    write(path, block() + '\n[[keys]]\nid = "c-2"\nsha256 = "KCANARY-pasted"\n')
    for _ in range(3):
        clock.advance(1)
        assert service.verify(Credential(KEY)).valid
    assert len(caplog.records) == 3
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    assert "line 7: sha256 must be" in record.getMessage()
    assert "1 keys from before" in record.getMessage()
    assert "KCANARY" not in caplog.text

    write(path, block() + "oops\n")
    clock.advance(1)
    assert service.verify(Credential(KEY)).valid
    assert "line 4, column 5: not valid TOML" in caplog.messages[3]

    write(path, block("KCANARY-new"))
    clock.advance(1)
    assert service.verify(Credential("KCANARY-new")).valid
    assert not service.verify(Credential(KEY)).valid
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 4


def in_place(path: Path, data: bytes) -> None:
    """As cp, rsync --inplace and some editors write: the same file, emptied first."""
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data)


WHOLE = block().encode() + block("KCANARY-two", id="c-2").encode()


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"\xef\xbb\xbf", *(WHOLE[:end] for end in (3, 12, 40, 80, len(WHOLE) - 40, len(WHOLE) - 2))],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_is_half_written_keeps_the_keys_until_it_is_whole(
    path: Path, clock: ManualClock, caplog, data: bytes
) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    in_place(path, data)
    for look in range(1, 4):
        clock.advance(1)
        assert service.verify(Credential(KEY)).valid
        assert len(caplog.records) == look
    in_place(path, WHOLE)
    clock.advance(1)
    assert service.verify(Credential("KCANARY-two")).valid


ENDED = {
    "revoked": "revoked = true",
    "revoked, with a date": "revoked = 2026-11-01T00:00:00Z",
    "expired": "expires = 2026-11-23T11:00:00Z",
    "expires later": "expires = 2026-11-23T12:00:02Z",
}


@pytest.mark.parametrize("line", ENDED.values(), ids=ENDED)
def test_v11_a_file_cut_before_the_line_that_ends_a_key_makes_it_valid_no_more(
    path: Path, clock: ManualClock, line: str
) -> None:
    whole = block("KCANARY-two", id="c-2") + block(KEY, 'consumer = { id = "42" }', line)
    cuts = [whole[: at + 1].encode() for at, character in enumerate(whole) if character == "\n"]
    write(path, whole)
    service = FileKeyService(path, clock=clock)
    clock.advance(2)
    for cut in cuts:
        in_place(path, cut)
        for _ in range(3):
            clock.advance(1)
            assert not service.verify(Credential(KEY)).valid
    clock.advance(SETTLE_SECONDS)
    assert not service.verify(Credential(KEY)).valid  # whole again


@pytest.mark.parametrize(
    ("save", "seconds"),
    [(write, 1.0), (lambda path, text: in_place(path, text.encode()), SETTLE_SECONDS + 1)],
    ids=["renamed", "in place"],
)
def test_a_key_that_is_to_be_valid_again_is(
    path: Path, clock: ManualClock, save: Callable[[Path, str], None], seconds: float
) -> None:
    write(path, block(KEY, "revoked = true"))
    service = FileKeyService(path, clock=clock)
    save(path, block())
    for step in (1.0, seconds - 1.0):
        clock.advance(step)
        valid = service.verify(Credential(KEY)).valid
    assert valid
    clock.advance(SETTLE_SECONDS)
    assert service.verify(Credential(KEY)).valid


@pytest.mark.parametrize(
    "text", ["keys = []", "keys = []\n", "# none\nkeys = []\n", block(KEY, "revoked = true")], ids=repr
)
def test_a_whole_file_without_a_valid_key_means_no_keys_at_once(
    path: Path, clock: ManualClock, text: str
) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    in_place(path, text.encode())
    clock.advance(1)
    assert not service.verify(Credential(KEY)).valid


def test_an_empty_file_at_the_start_may_be_filled_later(path: Path, clock: ManualClock) -> None:
    write(path, "")
    service = FileKeyService(path, clock=clock)
    assert not service.verify(Credential(KEY)).valid
    in_place(path, block().encode())
    clock.advance(1)
    assert service.verify(Credential(KEY)).valid


def test_a_file_that_disappears_keeps_the_last_good_keys(path: Path, clock: ManualClock, caplog) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    path.unlink()
    for _ in range(3):
        clock.advance(1)
        assert service.verify(Credential(KEY)).valid
    path.mkdir()
    for _ in range(3):
        clock.advance(1)
        assert service.verify(Credential(KEY)).valid
    path.rmdir()
    write(path, block("KCANARY-new"))
    clock.advance(1)
    assert service.verify(Credential("KCANARY-new")).valid
    missing, directory = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert missing.startswith("there is no key file")
    assert "not a regular file" in directory or "EISDIR" in directory


def test_a_file_that_becomes_unreadable_keeps_the_last_good_keys(
    path: Path, clock: ManualClock, caplog
) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    path.unlink()
    path.symlink_to(path)  # as unreadable as by its mode, for root too
    for _ in range(3):
        clock.advance(1)
        assert service.verify(Credential(KEY)).valid
    (record,) = caplog.records
    assert "cannot read the key file" in record.getMessage()
    assert "(ELOOP)" in record.getMessage()


def test_many_threads_ask_while_the_file_changes(path: Path, clock: ManualClock) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(200):
            verdicts = service.verify(Credential(KEY)), service.verify(Credential("KCANARY-unknown"))
            if [verdict.valid for verdict in verdicts] != [True, False]:
                wrong.append(verdicts)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for count in range(20):
        write(path, block() + "".join(block(f"k{i}", id=f"k-{i}") for i in range(count)))
        clock.advance(1)
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_c01_a_fork_in_the_middle_of_a_reading_does_not_stop_the_child_from_reading(
    path: Path, clock: ManualClock
) -> None:
    write(path, block())
    service = FileKeyService(path, clock=clock)
    reads, writes = os.pipe()
    with service._reading.get():  # as a thread holds it that is reading when another one forks
        child = os.fork()
        if child == 0:
            write(path, block("KCANARY-new"))
            clock.advance(1)
            os.write(writes, b"%d" % service.verify(Credential("KCANARY-new")).valid)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 10) == b"1"
    os.close(reads)
    os.close(writes)


# -- at the start ---------------------------------------------------------------------------------


def test_a_missing_file_names_the_command_that_makes_one(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"there is no key file .*keys\.toml; `apikey-guard keys create`"):
        FileKeyService(path)


@pytest.mark.parametrize("kind", ["directory", "pipe", "endless"])
def test_what_is_no_file_is_refused_at_once(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(KeyFileError):
        FileKeyService(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_open_to_others_is_warned_about_once(
    path: Path, clock: ManualClock, caplog, mode: int
) -> None:
    write(path, block(), mode)
    service = FileKeyService(path, clock=clock)
    write(path, block("KCANARY-new"), mode)
    clock.advance(1)
    assert service.verify(Credential("KCANARY-new")).valid
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"mode {mode:03o}" in warning.getMessage()


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_not_warned_about(path: Path, caplog, mode: int) -> None:
    write(path, block(), mode)
    FileKeyService(path)
    assert caplog.records == []
