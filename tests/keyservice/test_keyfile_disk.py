"""A key file on disk while keys are made and revoked: owner, mode, links, failures, many at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apikey_guard.core.model import Credential
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile import edit as keyfile_edit
from apikey_guard.keyservice.keyfile.edit import create_key, list_keys
from apikey_guard.keyservice.keyfile.service import FileKeyService


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


ONE_KEY = f'[[keys]]\nid = "c-1"\nsha256 = "{sha256("KCANARY-1")}"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def is_valid(path: Path, key: str) -> bool:
    return FileKeyService(path).verify(Credential(key)).valid


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o600, 0o600), (0o400, 0o400)]
)
def test_the_mode_is_narrowed_and_never_widened(path: Path, before: int, after: int) -> None:
    path.write_text(ONE_KEY)
    path.chmod(before)
    create_key(path, username="acme")
    assert path.stat().st_mode & 0o777 == after


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays_the_owner(path: Path) -> None:
    path.write_text(ONE_KEY)
    os.chown(path, 12345, 12346)
    create_key(path, username="acme")
    for file in (path, Path(f"{path}.lock")):
        assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "keys.toml")
    new = create_key(path, username="acme")
    assert path.is_symlink()
    assert is_valid(path, new.key)


def test_nothing_but_the_file_and_its_lock_is_left_behind(path: Path, monkeypatch) -> None:
    create_key(path, username="acme")
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match=r"cannot write .*\(ENOSPC\)"):
        create_key(path, username="zenith")
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.toml", "keys.toml.lock"]


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no directory for"):
        create_key(tmp_path / "missing" / "keys.toml", username="acme")


def test_an_edit_that_never_ends_is_not_waited_for(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(keyfile_edit, "LOCK_SECONDS", 0.05)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KeyFileError, match="another process is editing"):
            create_key(path, username="acme")
    assert not path.exists()


MANY = """
import sys
from apikey_guard.keyservice.keyfile.edit import create_key, revoke_key
path, name = sys.argv[1:]
sys.stdin.read()
for count in range(4):
    new = create_key(path, username=name)
    if count % 2:
        revoke_key(path, new.key)
    print(new.key, count % 2)
"""


def test_eight_processes_that_create_and_revoke_at_once_lose_nothing(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(path), f"n{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(8)
    ]
    # All wait for the end of their input, so that they start together.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    made = []
    for process in processes:
        assert process.stdout is not None
        with process.stdout:
            made += [line.split() for line in process.stdout]
        assert process.wait(timeout=30) == 0
    entries = {entry.digest.hex(): entry for entry in list_keys(path)}
    assert len(made) == len(entries) == 32
    for key, revoked in made:
        assert (entries[sha256(key)].revoked is not None) == (revoked == "1")
