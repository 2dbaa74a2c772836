"""``apikey-guard demo``: the tour passes, fails when the guard does, and Ctrl-C ends the rest quietly."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.run import ROOT, environment, run, run_on_terminal, start

HELP = (
    ["--help"],
    ["demo", "--help"],
    ["serve", "--help"],
    ["check", "--help"],
    ["verify", "--help"],
    ["keys", "--help"],
    *(["keys", name, "--help"] for name in ("create", "list", "revoke", "serve")),
)


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_has_an_example(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments)
    assert done.status == 0
    assert "example:\n  " in done.out or "commands:" in done.out
    assert all(len(line) <= 100 for line in done.out.splitlines())


def test_the_tour_passes_and_is_plain_in_a_pipe(tmp_path: Path) -> None:
    # What is set for the reader's own app is not for the demo.
    done = run(
        tmp_path, "demo", "--tour", env={"APIKEY_GUARD_KEYS_FILE": "nowhere", "APIKEY_GUARD_MODE": "off"}
    )
    assert done.status == 0, done.out
    assert re.search(r"^all 31 lines are as they should be", done.out, re.MULTILINE)
    assert "✗" not in done.out
    assert "\x1b" not in done.out
    assert done.err == ""
    assert "ag_" not in done.out


def test_the_tour_is_coloured_on_a_terminal_and_ascii_where_it_has_to_be(tmp_path: Path) -> None:
    coloured = run_on_terminal(tmp_path, "demo", "--tour")
    assert (coloured.status, "\x1b[32m✓" in coloured.out) == (0, True)
    ascii_only = run(tmp_path, "demo", "--tour", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert (ascii_only.status, ascii_only.out.isascii()) == (0, True)
    assert "\nok    GET /hello" in ascii_only.out or "\nok   GET /hello" in ascii_only.out


def test_the_tour_fails_when_a_bad_key_is_let_in(tmp_path: Path) -> None:
    broken = (
        "import sys\n"
        "from apikey_guard import Verdict\n"
        "from apikey_guard.cli import main\n"
        "from apikey_guard.keyservice.keyfile.service import FileKeyService\n"
        "FileKeyService.verify = lambda self, credential: Verdict(valid=True)\n"
        "sys.exit(main(['demo', '--tour']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=environment({}),
    )
    assert done.returncode == 1
    assert re.search(r"^✗ GET /hello +unknown, header", done.stdout, re.MULTILINE)
    assert "expected: 401 invalid_credential" in done.stdout
    assert "lines are not as they should be" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_the_live_demo_tells_of_each_decision_and_ends_quietly(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, ["demo"])
    assert process.stdout is not None
    said = ""
    while "calls\n" not in said:
        said += process.stdout.readline()
    key = re.search(r"acme +(ag_\S+)", said)
    url = re.search(r"guarded app +(\S+)", said)
    gateway = re.search(r"gateway +(\S+)", said)
    key_file = re.search(r"key file +(\S+)", said)
    assert key is not None and url is not None and gateway is not None and key_file is not None  # noqa: PT018
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(f"{url[1]}/hello", timeout=10)
    refused.value.close()
    assert "401     missing_credential" in process.stdout.readline()
    with urllib.request.urlopen(f"{url[1]}/hello?apikey={key[1]}&page=2", timeout=10) as answer:
        assert b'"query_seen": "apikey=apikey-guard-standin-' in answer.read()
    line = process.stdout.readline()
    assert "200     allowed" in line and "acme" in line  # noqa: PT018
    assert key[1] not in line
    with urllib.request.urlopen(f"{gateway[1]}/v2/reports/may?page=2&apikey={key[1]}", timeout=10) as answer:
        assert b'"origin": "reports", "method": "GET", "target": "/may?page=2"' in answer.read()
    assert "200     allowed" in process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert (out, err) == ("", "")
    assert not Path(key_file[1]).exists()


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    process = start(tmp_path, ["demo", "--tour"])
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(60)
    assert process.stderr.read() == ""
    process.stderr.close()
