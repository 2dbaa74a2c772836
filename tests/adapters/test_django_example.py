"""The example project, started by the commands that its README prints."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

pytest.importorskip("django")

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "docs" / "examples" / "django_app"
START_SECONDS = 30.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _command(word: str) -> str:
    lines = re.findall(rf"^python .*{word}.*$", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 1, f"the README has {len(lines)} commands with {word}"
    return str(lines[0])


@contextmanager
def _running(command: str, port: int, **env: str) -> Iterator[None]:
    words = [sys.executable, *shlex.split(command)[1:]]
    process = subprocess.Popen(
        words,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{command} does not answer"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_the_example_runs_as_its_readme_says(server: str, tmp_path: Path) -> None:
    pytest.importorskip(server)
    keys, port = _free_port(), _free_port()
    # The same commands on free ports: two runs on one machine must not meet.
    service = tmp_path / "keys.py"
    service.write_text((PROJECT / "keys.py").read_text().replace("8181", str(keys)))
    key_command = _command("keys.py").replace("keys.py", str(service))
    command = _command(server).replace("8000", str(port))
    url = f"http://127.0.0.1:{port}"
    with (
        _running(key_command, keys),
        _running(command, port, KEY_SERVICE_URL=f"http://127.0.0.1:{keys}/verify", HOME=str(tmp_path)),
    ):
        found = [
            requests.get(url + "/health/", timeout=10).status_code,
            requests.get(url + "/orders/", timeout=10).status_code,
            requests.get(url + "/orders/", headers={"apikey": "demo-reader"}, timeout=10).status_code,
            requests.get(url + "/orders/close/", headers={"apikey": "demo-reader"}, timeout=10).status_code,
            requests.get(url + "/orders/close/", headers={"apikey": "demo-writer"}, timeout=10).status_code,
        ]
        shown = requests.get(url + "/orders/?apikey=demo-reader", timeout=10).json()
    assert found == [200, 401, 200, 403, 200]
    assert shown == {"orders": [], "for": "reader"}
