"""``apikey-guard keys``: what a person, a pipe and a script see."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.cli.run import run, run_on_terminal, start


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A key of acme in ``keys.toml``."""
    made = run(tmp_path, "keys", "create", "acme", "--scope", "read", "--prefix", "KCANARY_")
    assert made.status == 0
    return made.out.strip()


def test_a_new_key_alone_goes_to_standard_output(tmp_path: Path) -> None:
    done = run(tmp_path, "keys", "create", "acme")
    assert done.status == 0
    assert done.out.startswith("ag_")
    assert done.out.count("\n") == 1
    assert "for acme in the new file keys.toml" in done.err
    assert done.out.strip() not in done.err + (tmp_path / "keys.toml").read_text()
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600


def test_the_list_is_tab_separated_in_a_pipe_and_shows_no_key(tmp_path: Path, key: str) -> None:
    done = run(tmp_path, "keys", "list")
    cells = done.out.rstrip("\n").split("\t")
    assert (cells[1], cells[2], cells[3]) == ("active", "acme", "read")
    assert len(cells) == 7
    assert "\x1b" not in done.out
    assert key not in done.out


def test_the_list_has_a_heading_on_a_terminal(tmp_path: Path, key: str) -> None:
    heading, row = run_on_terminal(tmp_path, "keys", "list").out.splitlines()
    assert heading.startswith("\x1b[2mid ")
    assert "\t" not in row
    plain = run_on_terminal(tmp_path, "keys", "list", env={"NO_COLOR": "1"}).out
    assert "\x1b" not in plain
    assert plain.startswith("id ")


def test_json(tmp_path: Path, key: str) -> None:
    (entry,) = json.loads(run(tmp_path, "keys", "list", "--json").out)
    assert entry["state"] == "active"
    assert entry["consumer"]["username"] == "acme"
    assert json.loads(run(tmp_path, "keys", "revoke", "acme", "--json").out)["revoked"] == [entry["id"]]


@pytest.mark.parametrize("way", ["username", "key on standard input"])
def test_revoking_is_seen_and_may_be_done_twice(tmp_path: Path, key: str, way: str) -> None:
    identifier, given = ("acme", "") if way == "username" else ("-", key + "\n")
    first = run(tmp_path, "keys", "revoke", identifier, given=given)
    again = run(tmp_path, "keys", "revoke", identifier, given=given)
    assert (first.status, again.status) == (0, 0)
    assert first.out.startswith("revoked key_")
    assert again.out.startswith("already revoked key_")
    assert "\trevoked " in run(tmp_path, "keys", "list").out


def test_the_file_is_taken_from_the_environment(tmp_path: Path) -> None:
    env = {"APIKEY_GUARD_KEYS_FILE": "other.toml"}
    assert run(tmp_path, "keys", "create", "acme", env=env).status == 0
    assert (tmp_path / "other.toml").exists()


WRONG = {
    "no file": (["list"], "there is no key file keys.toml"),
    "a date in the past": (["create", "acme", "--expires", "2001-01-01"], "lies in the past"),
    "no date": (["create", "acme", "--expires", "soon"], "write a span like"),
    "no command": ([], ""),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_ends_with_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run(tmp_path, "keys", *arguments)
    assert done.status == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_an_unknown_key_is_not_repeated(tmp_path: Path, key: str) -> None:
    done = run(tmp_path, "keys", "revoke", "KCANARY_unknown")
    assert done.status == 2
    assert "KCANARY" not in done.out + done.err


def test_serve_is_a_key_service_until_ctrl_c(tmp_path: Path, key: str) -> None:
    process = start(tmp_path, ["keys", "serve", "--port", "0"])
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    asked = urllib.request.Request(url, json.dumps({"key": key}).encode(), method="POST")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["consumer"]["username"] == "acme"
    taken = run(tmp_path, "keys", "serve", "--port", url.split(":")[2].split("/")[0])
    assert taken.status == 2
    assert "is in use by another program" in taken.err
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "POST /verify  200" in err
    assert "Traceback" not in err
    assert key not in err
