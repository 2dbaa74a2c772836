"""Runs the real command as a person would: in a process and a directory of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SECONDS = 60
COMMAND = (sys.executable, "-W", "error", "-m", "apikey_guard")


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APIKEY_GUARD_")}
    kept.pop("NO_COLOR", None)
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm", **more}


def run(place: Path, *arguments: str, given: str = "", env: Mapping[str, str] | None = None) -> Done:
    """The command with its output piped."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=place,
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        env=environment(env or {}),
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run_on_terminal(place: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """The command on a terminal; ``out`` is everything that the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=place,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(env or {}),
    )
    os.close(theirs)
    got = b""
    try:
        while piece := os.read(ours, 65_536):
            got += piece
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    return Done(process.wait(SECONDS), got.decode().replace("\r\n", "\n"), "")


def start(place: Path, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """The command, running; its output is read by the caller."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment({}),
    )
