"""Real WSGI servers on port 0, each as a process of its own: ``live_server``.

The listening socket is made here and inherited by the server, so that nobody else can take the
port in between. The app is given as ``module:name``; its process finds the repository on its path
and the file of :class:`~tests.harness.recorder.LiveRecorder` in its environment.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.harness.recorder import RECORDER_FILE, Seen
from tests.harness.watch import BREACHES, find_canary
from tests.harness.wire import Address, Response, parse_response, raw_request

ROOT = Path(__file__).parents[2]

# A loaded machine that also compiles bytecode; a server that is broken ends much earlier.
START_SECONDS = 30.0
STOP_SECONDS = 5.0


def _gunicorn(*options: str) -> Callable[[int, str], list[str]]:
    def command(fd: int, app: str) -> list[str]:
        from gunicorn.config import make_settings  # type: ignore[import-untyped]  # has no stubs

        # Newer versions open a control socket in the home directory, where two would meet.
        quiet = ["--no-control-socket"] if "control_socket_disable" in make_settings() else []
        gunicorn = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{fd}"]
        return [*gunicorn, *quiet, "--graceful-timeout", "2", *options, app]

    return command


def _runner(name: str) -> Callable[[int, str], list[str]]:
    return lambda fd, app: [sys.executable, "-m", "tests.harness.serve", name, str(fd), app]


def _uwsgi(fd: int, app: str) -> list[str]:
    # In this mode it joins repeated headers and parses HTTP by itself, without a web server before it.
    uwsgi = [str(Path(sys.executable).parent / "uwsgi"), "--http-socket", f"fd://{fd}"]
    return [*uwsgi, "--module", app, "--master", "--need-app", "--die-on-term", "--disable-logging"]


_PACKAGE = {
    "gunicorn-sync": "gunicorn",
    "gunicorn-gthread": "gunicorn",
    "gunicorn-gevent": "gunicorn",
    "gunicorn-preload": "gunicorn",
    "waitress": "waitress",
    "gevent": "gevent",
    "werkzeug": "werkzeug",
    "wsgiref": "",
    "cheroot": "cheroot",
    "uwsgi": "pyuwsgi",
}

_COMMANDS: Mapping[str, Callable[[int, str], list[str]]] = {
    "gunicorn-sync": _gunicorn("--worker-class", "sync"),
    "gunicorn-gthread": _gunicorn("--worker-class", "gthread", "--threads", "8"),
    "gunicorn-gevent": _gunicorn("--worker-class", "gevent"),
    "gunicorn-preload": _gunicorn("--preload", "--workers", "2"),
    "waitress": _runner("waitress"),
    "gevent": _runner("gevent"),
    "werkzeug": _runner("werkzeug"),
    "wsgiref": _runner("wsgiref"),
    "cheroot": _runner("cheroot"),
    "uwsgi": _uwsgi,
}

SERVERS = tuple(_COMMANDS)

# Which of them really ran in this test run, with their versions, for the summary.
RAN: dict[str, str] = {}


def missing(server: str) -> str | None:
    """Why a server cannot run here, or None where it can."""
    package = _PACKAGE[server]
    if not package:
        return None
    try:
        version(package)
    except PackageNotFoundError:
        # The same server, built from its sources.
        if server == "uwsgi" and (Path(sys.executable).parent / "uwsgi").exists():
            return None
        return f"{package} is not installed"
    return None


class LiveServer:
    """A running server.

    :ivar address: host and port.
    :ivar pid: of its first process, which leads the process group.
    :ivar log: everything that it wrote to stdout and stderr.
    """

    def __init__(self, name: str, address: Address, log: Path, record: Path) -> None:
        self.name = name
        self.pid = 0
        self.address = address
        self.log = log
        self._record = record
        self._log_read = 0
        self._record_read = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def request(self, data: bytes, *, timeout: float = 10.0) -> Response:
        """Send exactly these bytes and parse the first final answer."""
        return parse_response(raw_request(self.address, data, timeout=timeout))

    def get(self, target: str = "/", headers: Mapping[str, str] | None = None) -> Response:
        """A plain GET on a connection of its own."""
        lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{self.address[1]}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return self.request("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def seen(self) -> list[Seen]:
        """Every request that reached a :class:`~tests.harness.recorder.LiveRecorder`, in any worker."""
        lines = [json.loads(line) for line in self._record.read_bytes().splitlines()]
        return [Seen(line["environ"], line["body"].encode("latin-1")) for line in lines]

    def forget(self) -> None:
        """Start :meth:`seen` anew."""
        self.check()
        os.truncate(self._record, 0)
        self._record_read = 0

    def check(self) -> None:
        """Look for canaries and breaches in what was written since the last check."""
        with self.log.open("rb") as file:
            file.seek(self._log_read)
            written = file.read()
        self._log_read += len(written)
        leaked = find_canary(written)
        if leaked is not None:
            BREACHES.add(f"a canary is in the log of {self.name}: ...{leaked}...")
        with self._record.open("rb") as file:
            file.seek(self._record_read)
            written = file.read()
        self._record_read += len(written)
        for line in written.splitlines():
            for breach in json.loads(line)["breaches"]:
                BREACHES.add(f"{self.name}: {breach}")


RUNNING: list[LiveServer] = []


@contextmanager
def live_server(
    name: str, app: str, directory: Path, *, env: Mapping[str, str] | None = None, ready: str = "/"
) -> Iterator[LiveServer]:
    """Run an app under a real server for as long as the block lasts.

    Returns when the app has answered a first request. At the end the whole process group is
    stopped, and its log and record are searched for what must not be there.

    :param name: one of :data:`SERVERS`.
    :param app: ``module:name``, importable from the repository's root.
    :param directory: where log and record are kept.
    :param env: added to the environment of the process.
    :param ready: target of that first request; whatever is answered counts.
    :raises AssertionError: where the server ends, or has not answered in 30 s; with its log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log, record = directory / f"{name}.log", directory / f"{name}.jsonl"
    record.write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("wb") as output:
        server = LiveServer(name, listener.getsockname(), log, record)
        process = subprocess.Popen(
            _COMMANDS[name](listener.fileno(), app),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), RECORDER_FILE: str(record), **(env or {})},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        server.pid = process.pid
    try:
        _wait_until_answering(server, process, ready)
        RAN[name] = version(_PACKAGE[name]) if _PACKAGE[name] else sys.version.split()[0]
        server.forget()
        RUNNING.append(server)
        yield server
    finally:
        _stop(process)
        if server in RUNNING:
            RUNNING.remove(server)
        server.check()


def _wait_until_answering(server: LiveServer, process: subprocess.Popen[bytes], ready: str) -> None:
    request = f"GET {ready} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{server.name} ended with {process.returncode}:\n{_tail(server.log)}")
        # The socket listens already, so this waits in its backlog until the server accepts.
        with suppress(OSError):
            if raw_request(server.address, request, timeout=1.0):
                return
    raise AssertionError(f"{server.name} has not answered in {START_SECONDS} s:\n{_tail(server.log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        # As by Ctrl-C: the servers that wait for open connections on SIGTERM do not on this.
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # Also where the first process has ended: a worker may be left over.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-3000:]
