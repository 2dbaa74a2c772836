"""Keys made, revoked and listed in a key file that people edit too."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard.core.model import Consumer, Credential
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile import edit as keyfile_edit
from apikey_guard.keyservice.keyfile.edit import Revocation, create_key, list_keys, revoke_key
from apikey_guard.keyservice.keyfile.records import KeyState
from apikey_guard.keyservice.keyfile.service import FileKeyService
from apikey_guard.testing import ManualClock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXPIRES = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=NOW.timestamp())


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def is_valid(path: Path, key: str) -> bool:
    return FileKeyService(path).verify(Credential(key)).valid


HAND_WRITTEN = f"""# Our keys. Ask Ada before you touch one.

[[keys]]   # the first customer
id = "c-1"
sha256 = "{sha256("KCANARY-1")}"
consumer = {{ username = "acme" }}
note_to_self = "x"

   # partner
[[ keys ]]
  id = 'c-2'  # [[keys]]
  sha256 = "{sha256("KCANARY-2")}"
  scopes = [
    "read", # [
  ]
  consumer.username = "acme"

  [keys.metadata]
  text = '''
[[keys]]
'''

[[keys]]
id = "c-3"
sha256 = "{sha256("KCANARY-3")}"
consumer = {{ id = "42", username = "zenith" }}
revoked = 2026-01-01T00:00:00Z
# the end, without a line break""".replace('note_to_self = "x"\n', "")


# -- create ---------------------------------------------------------------------------------------


def test_a_new_file_is_readable_by_its_owner_alone_and_its_key_is_valid(
    path: Path, clock: ManualClock
) -> None:
    umask = os.umask(0)
    try:
        new = create_key(path, username="acme", clock=clock)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(f"{path}.lock").stat().st_mode & 0o777 == 0o600
    verdict = FileKeyService(path).verify(Credential(new.key))
    assert verdict.valid
    assert verdict.credential_id == new.credential_id
    assert verdict.consumer == Consumer(username="acme")
    assert path.read_text() == (
        "# Keys of this API. Only hashes are stored: a key is shown once, by `apikey-guard keys create`.\n"
        "\n"
        "[[keys]]\n"
        f'id = "{new.credential_id}"\n'
        f'sha256 = "{sha256(new.key)}"\n'
        'consumer = { username = "acme" }\n'
        "created = 2026-11-23T12:00:00Z\n"
    )


def test_everything_given_is_written(path: Path, clock: ManualClock) -> None:
    create_key(
        path, username="acme", consumer_id="42", custom_id="A-17", scopes=["write", "read"], expires=EXPIRES,
        prefix="acme_live_", clock=clock,
    )  # fmt: skip
    (entry,) = list_keys(path)
    assert entry.consumer == Consumer("42", "acme", "A-17", frozenset({"read", "write"}))
    assert (entry.created, entry.expires, entry.revoked) == (NOW, EXPIRES, None)
    assert entry.state(EXPIRES.timestamp() - 1) is KeyState.ACTIVE
    assert entry.state(EXPIRES.timestamp()) is KeyState.EXPIRED
    assert entry.fingerprint == entry.digest.hex()[:12]
    assert 'scopes = ["read", "write"]\n' in path.read_text()


def test_k06_a_key_is_long_random_and_shown_once(path: Path) -> None:
    keys = [create_key(path, username="acme") for _ in range(3)]
    for new in keys:
        assert re.fullmatch(r"ag_[A-Za-z0-9_-]{43}", new.key)
        assert new.key not in path.read_text()
        assert new.key not in repr(new)
    assert len({new.key for new in keys}) == len({new.credential_id for new in keys}) == 3


@pytest.mark.parametrize(
    "text",
    [
        'a"b',
        "a\\b",
        "a\\",
        '"""',
        "'",
        "#[[keys]]",
        "é😀\u202e",
        "[x]={y}",
        "a\\u0041",
        "x" * 256,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_names_are_written_so_that_they_are_read_as_they_were(path: Path, text: str) -> None:
    create_key(path, username=text, consumer_id=text, custom_id=text, scopes=[text])
    create_key(path, username="after")
    first, after = list_keys(path)
    assert first.consumer == Consumer(text, text, text, frozenset({text}))
    assert after.consumer.username == "after"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_written_as_toml(text: str) -> None:
    written = keyfile_edit.quoted(text)
    assert tomllib.loads(f"a = {written}") == {"a": text}
    assert "\n" not in written


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"username": ""}, "username must not be empty"),
        ({"username": "a\r\nX-Admin: 1"}, "username must be at most 256 characters, without control"),
        ({"username": "a", "consumer_id": "\x00"}, "consumer_id must be at most"),
        ({"username": "a", "custom_id": "\x85"}, "custom_id must be at most"),
        ({"username": "a" * 257}, "username must be at most"),
        ({"username": "a", "scopes": ["read", ""]}, "scopes must be texts of at most 256"),
        ({"username": "a", "scopes": ["read write"]}, "scopes must be texts of at most 256"),
        ({"username": "a", "prefix": "a b"}, "the prefix of a key must be"),
        ({"username": "a", "prefix": "é"}, "the prefix of a key must be"),
        ({"username": "a", "expires": datetime(2027, 1, 1)}, "must have an offset"),  # noqa: DTZ001
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_sent_on_is_not_written(path: Path, arguments, problem: str) -> None:
    with pytest.raises(KeyFileError, match=problem):
        create_key(path, **arguments)
    assert not path.exists()


@pytest.mark.parametrize(
    "before",
    [HAND_WRITTEN, HAND_WRITTEN.replace("\n", "\r\n"), "", "# only a comment", "\n\n", HAND_WRITTEN + "\n"],
    ids=["hand-written", "crlf", "empty", "comment", "blank", "line-break-at-the-end"],
)
def test_a_block_is_appended_and_every_byte_before_it_stays(
    path: Path, clock: ManualClock, before: str
) -> None:
    path.write_bytes(before.encode())
    new = create_key(
        path, username="new", expires=EXPIRES.astimezone(timezone(timedelta(hours=2))), clock=clock
    )
    after = path.read_bytes().decode()
    assert after.startswith(before)
    assert after.count("\n") == after.count("\r\n") or "\r" not in before
    assert is_valid(path, new.key)
    assert list_keys(path)[-1].expires == EXPIRES


def test_a_broken_file_is_not_added_to(path: Path) -> None:
    path.write_text("[[keys]]\nid = 'c-1'\nsha256 = 'KCANARY'\n")
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="line 3: sha256 must be"):
        create_key(path, username="acme")
    assert path.read_bytes() == before


def test_keys_that_are_not_written_in_blocks_are_not_edited(path: Path) -> None:
    path.write_text(f'keys = [{{ id = "c-1", sha256 = "{sha256("KCANARY-1")}" }}]\n')
    before = path.read_bytes()
    assert is_valid(path, "KCANARY-1")
    with pytest.raises(KeyFileError):
        create_key(path, username="acme")
    with pytest.raises(KeyFileError, match=r"must be written in \[\[keys\]\] blocks to be edited"):
        revoke_key(path, "c-1")
    assert path.read_bytes() == before


# -- revoke ---------------------------------------------------------------------------------------


def revoked_by(path: Path, identifier: str, clock: ManualClock, before: str = HAND_WRITTEN) -> Revocation:
    """Revokes, and holds that nothing but whole lines ``revoked = …`` came in."""
    path.write_bytes(before.encode())
    result = revoke_key(path, identifier, clock=clock)
    after = path.read_bytes().decode()
    added = re.sub(r"\r?\nrevoked = 2026-11-23T12:00:00Z(?=\r?\n)", "", after)
    assert added == before
    assert len(after.splitlines()) == len(before.splitlines()) + len(result.revoked)
    return result


@pytest.mark.parametrize(
    ("identifier", "revoked", "already"),
    [
        pytest.param("c-1", ("c-1",), (), id="id"),
        pytest.param("acme", ("c-1", "c-2"), (), id="username"),
        pytest.param("KCANARY-2", ("c-2",), (), id="key"),
        pytest.param(sha256("KCANARY-1")[:12], ("c-1",), (), id="fingerprint"),
        pytest.param(sha256("KCANARY-2").upper(), ("c-2",), (), id="whole-fingerprint-in-capitals"),
        pytest.param("zenith", (), ("c-3",), id="revoked-before"),
    ],
)
def test_exactly_the_keys_that_are_meant_are_marked(
    path: Path, clock: ManualClock, identifier: str, revoked: tuple[str, ...], already: tuple[str, ...]
) -> None:
    assert revoked_by(path, identifier, clock) == Revocation(revoked, already)
    for number in (1, 2):
        assert is_valid(path, f"KCANARY-{number}") == (f"c-{number}" not in revoked)
    assert {entry.credential_id for entry in list_keys(path) if entry.revoked == NOW} == set(revoked)


def test_the_line_stands_at_the_end_of_the_blocks_own_members(path: Path, clock: ManualClock) -> None:
    revoked_by(path, "acme", clock)
    lines = path.read_text().splitlines()
    places = [index for index, line in enumerate(lines) if line == "revoked = 2026-11-23T12:00:00Z"]
    assert [lines[index - 1] for index in places] == [
        'consumer = { username = "acme" }',
        '  consumer.username = "acme"',
    ]


def test_line_breaks_stay_as_they_are(path: Path, clock: ManualClock) -> None:
    revoked_by(path, "acme", clock, HAND_WRITTEN.replace("\n", "\r\n"))
    data = path.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_a_byte_order_mark_stays_and_means_nothing(path: Path, clock: ManualClock, newline: str) -> None:
    text = HAND_WRITTEN.replace("\n", newline).replace(
        "# Our keys. Ask Ada before you touch one." + 2 * newline, ""
    )
    assert text.startswith("[[keys]]")
    before = codecs.BOM_UTF8 + text.encode()
    path.write_bytes(before)
    assert is_valid(path, "KCANARY-1")
    created = create_key(path, username="new", clock=clock)
    assert is_valid(path, created.key)
    assert path.read_bytes().startswith(before)
    revoke_key(path, "acme", clock=clock)
    assert not is_valid(path, "KCANARY-1")
    assert is_valid(path, created.key)
    data = path.read_bytes()
    assert (data.count(codecs.BOM_UTF8), data[:3]) == (1, codecs.BOM_UTF8)
    assert [entry.consumer.username for entry in list_keys(path)].count("new") == 1


def test_a_file_of_nothing_but_a_byte_order_mark_can_be_added_to(path: Path, clock: ManualClock) -> None:
    path.write_bytes(codecs.BOM_UTF8)
    assert is_valid(path, create_key(path, username="new", clock=clock).key)


def test_the_last_line_may_lack_its_line_break(path: Path, clock: ManualClock) -> None:
    path.write_text(f'[[keys]]\nid = "c-1"\nsha256 = "{sha256("KCANARY-1")}"')
    revoke_key(path, "c-1", clock=clock)
    assert path.read_text().endswith('"\nrevoked = 2026-11-23T12:00:00Z\n')


def test_revoking_twice_changes_nothing(path: Path, clock: ManualClock) -> None:
    new = create_key(path, username="acme")
    assert revoke_key(path, new.key, clock=clock) == Revocation((new.credential_id,), ())
    before = path.read_bytes(), path.stat().st_ino
    assert revoke_key(path, new.credential_id, clock=clock) == Revocation((), (new.credential_id,))
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert not is_valid(path, new.key)


@pytest.mark.parametrize(
    "identifier",
    [
        "KCANARY-9",
        "",
        "c",
        "ACME",
        "C-1",
        sha256("KCANARY-1")[:11],
        sha256("KCANARY-1")[1:],
        "0" * 64,
        "\udc80",
    ],
    ids=ascii,
)
def test_an_unknown_identifier_is_an_error_that_does_not_repeat_it(path: Path, identifier: str) -> None:
    path.write_text(HAND_WRITTEN)
    with pytest.raises(KeyFileError, match="no such key in") as caught:
        revoke_key(path, identifier)
    assert "KCANARY" not in str(caught.value)
    assert path.read_text() == HAND_WRITTEN


def test_an_id_that_is_also_the_name_of_a_consumer_is_not_guessed_at(path: Path) -> None:
    path.write_text(HAND_WRITTEN.replace('"c-3"', '"acme"'))
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="names one key and the consumer of others"):
        revoke_key(path, "acme")
    assert path.read_bytes() == before


def test_a_fingerprint_must_mean_one_key(path: Path) -> None:
    digests = [sha256("KCANARY-1"), sha256("KCANARY-1")[:20] + "0" * 44]
    path.write_text(
        "".join(f'[[keys]]\nid = "{i}"\nsha256 = "{digest}"\n' for i, digest in enumerate(digests))
    )
    with pytest.raises(KeyFileError, match=r"2 keys in .* give more digits"):
        revoke_key(path, digests[0][:20])
    assert revoke_key(path, digests[0][:24]).revoked == ("0",)


def test_a_missing_file_names_the_command_that_makes_one(path: Path) -> None:
    for call in (lambda: revoke_key(path, "c-1"), lambda: list_keys(path)):
        with pytest.raises(KeyFileError, match="`apikey-guard keys create` makes one"):
            call()
