"""The example project runs from the commands that its README prints, as real servers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "flask_app"
PATIENCE_SECONDS = 30.0

pytest.importorskip("gunicorn")


def blocks() -> list[list[str]]:
    """The lines of each code block of the README."""
    found = re.findall(r"```\w+\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)
    return [block.splitlines() for block in found]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Terminal:
    """A shell in a copy of the project; the ports of the README are exchanged for free ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports = {number: str(free_port()) for number in ("8181", "8000")}
        shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("__pycache__"))
        source = directory / "shop.py"
        source.write_text(self._moved(source.read_text("utf-8")), "utf-8")
        # The commands as an installation makes them.
        commands = directory / "bin"
        commands.mkdir()
        for name, module in {
            "apikey-guard": "apikey_guard",
            "gunicorn": "gunicorn",
            "flask": "flask",
        }.items():
            command = commands / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            command.chmod(0o755)
        pytest_command = commands / "pytest"
        pytest_command.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m pytest '
            f'-p no:cacheprovider -c /dev/null --rootdir . "$@"\n'
        )
        pytest_command.chmod(0o755)
        path = os.pathsep.join([str(commands), os.environ["PATH"]])
        self._environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(directory)}

    def _moved(self, text: str) -> str:
        for number, free in self._ports.items():
            text = text.replace(number, free)
        return text

    def run(self, command: str) -> str:
        """The output of a command that ends by itself, and must end well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._moved(command)],
            cwd=self.directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 2,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, command: str, port: str) -> Iterator[None]:
        """A command that runs until it is stopped, from when it listens."""
        log = self.directory / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", self._moved(command)],
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(process, int(self._ports[port]), log)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def _wait(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError(f"nothing listens: {log.read_text('utf-8', 'replace')}")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "shop")


def test_the_readme_holds_from_its_first_command_to_its_last(terminal: Terminal) -> None:
    prepare, start, calls, after = blocks()
    install, create, serve = prepare
    assert install.startswith("pip install ")
    terminal.run(create)
    with ExitStack() as stack:
        stack.enter_context(terminal.running(serve, "8181"))
        stack.enter_context(terminal.running(start[0], "8000"))
        for command, expected in zip(calls[::2], calls[1::2], strict=True):
            assert terminal.run(command.removeprefix("$ ")).strip() == expected
        check, own_tests = after
        checked = terminal.run(check)
    assert "view health at /health" in checked
    assert "a made-up key is invalid" in checked
    assert "3 passed" in terminal.run(own_tests)
