"""``apikey-guard serve``: a real process, called over real sockets, with logs that show no key."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from apikey_guard.testing import LoopbackKeyService
from tests.cli.run import environment, run
from tests.harness import Response, parse_response, raw_request
from tests.harness.origin import CHUNKED, Exchange, Origin, answer
from tests.harness.watch import find_canary

KEY = "KCANARY_good"
# gunicorn leaves a duplicate of the socket that it is given to the garbage collector.
COMMAND = (sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-m", "apikey_guard")
PATIENCE_SECONDS = 15.0


@pytest.fixture
def keys() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService({KEY: {"consumer": {"id": "42", "username": "acme"}}}) as service:
        yield service


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


def _began(line: Mapping[str, str]) -> float:
    """When a request came: its line is written when its answer has ended, maybe after the next one's."""
    return datetime.fromisoformat(line["time"]).timestamp() - float(line["ms"]) / 1000


class Serving:
    """A running ``apikey-guard serve``.

    :param descriptors: how many the system gives it at most.
    :ivar said: what it wrote at the start.
    """

    def __init__(
        self,
        place: Path,
        arguments: tuple[str, ...],
        env: Mapping[str, str],
        *,
        descriptors: int | None = None,
    ) -> None:
        self._out, self._err = place / "serve.out", place / "serve.err"
        limited = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"']
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*limited, *COMMAND, "serve", "--bind", "127.0.0.1:0", "--workers", "1", *arguments],
                cwd=place,
                stdout=out,
                stderr=err,
                env=environment(env),
                start_new_session=True,
            )
        self.wait_for(r"routes +.*\n.*everything else|everything else", "out")
        found = re.search(r"^gateway +http://127\.0\.0\.1:(\d+) \(1 worker", self.out, re.MULTILINE)
        assert found is not None, self.out + self.err
        self.port = int(found[1])
        self.said = self.out
        # The socket listens from the beginning; a worker is ready when it answers.
        assert self.get("/healthz", key=None).status in {200, 401}

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def request(self, data: bytes) -> Response:
        return parse_response(raw_request(("127.0.0.1", self.port), data, timeout=PATIENCE_SECONDS))

    def get(self, target: str = "/", key: str | None = KEY) -> Response:
        line = "" if key is None else f"apikey: {key}\r\n"
        return self.request(
            f"GET {target} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n{line}\r\n".encode()
        )

    def wait_for(self, pattern: str, where: str) -> re.Match[str]:
        """The first match in what it has written."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            found = re.search(pattern, getattr(self, where))
            if found is not None:
                return found
            assert self.process.poll() is None, self.out + self.err
            time.sleep(0.02)
        raise AssertionError(f"{pattern} is not in\n{self.out}{self.err}")

    def access(self) -> list[dict[str, str]]:
        """The access log so far, in the order in which requests came."""
        lines = [
            dict(word.split("=", 1) for word in line.split(" "))
            for line in self.out.splitlines()
            if line.startswith("time=")
        ]
        return sorted(lines, key=_began)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal to all its processes, as a terminal does; the exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """``serve(*arguments, **environment)`` -> a running gateway; its logs are searched at the end."""
    started: list[Serving] = []

    def start(*arguments: str, **env: str) -> Serving:
        place = tmp_path / str(len(started))
        place.mkdir()
        started.append(Serving(place, arguments, env))
        return started[-1]

    yield start
    for serving in started:
        serving.stop(signal.SIGKILL)
        written = serving.out + serving.err
        assert find_canary(written) is None, written
        assert "Traceback" not in written, written


@pytest.fixture
def file(tmp_path: Path, origin: Origin, keys: LoopbackKeyService) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'''
validator_url = "{keys.url}"
validator_headers = {{ Authorization = "Bearer SCANARY-ours" }}
origin = "api"
stale_if_error = 0

[origins]
api = "{origin.url}"
nowhere = ["http://127.0.0.1:9", "http://127.0.0.1:10"]

[[routes]]
path = "/v2/reports/*"
origin = "{origin.url}/reports"
strip_prefix = true

[[routes]]
path = "/down/*"
methods = ["GET"]
origin = "nowhere"

[[routes]]
path = "/admin/*"
scopes = ["write", "read"]

[[routes]]
path = "/new/*"
mode = "monitor"
'''
    )
    return str(path)


def test_it_forwards_and_says_what_it_serves(
    serve: Callable[..., Serving], file: str, origin: Origin, keys: LoopbackKeyService
) -> None:
    serving = serve(file)
    assert serving.get("/orders", key=None).status == 401
    assert serving.get(f"/orders?apikey={KEY}&page=2", key=None).body == b"/orders?page=2"
    assert serving.get("/v2/reports/2024%2F05").body == b"/reports/2024%2F05"
    assert serving.get("/down/a").status == 502
    assert origin.requests[1].header("X-Consumer-Username") == "acme"
    for line in (
        rf"gateway +http://127\.0\.0\.1:{serving.port} \(1 worker of 128 threads\)",
        rf"health +http://127\.0\.0\.1:{serving.port}/healthz",
        rf"key service +{re.escape(keys.url)} \(json\)",
        rf"origins +api +{re.escape(origin.url)}",
        r" +nowhere +http://127\.0\.0\.1:9, http://127\.0\.0\.1:10",
        rf"routes +/v2/reports/\* +required +to {re.escape(origin.url)}/reports without /v2/reports",
        r" +GET /down/\* +required +to nowhere",
        r" +/admin/\* +required, scopes read write +to api",
        r" +/new/\* +required, mode monitor +to api",
        r" +everything else +required +to api",
    ):
        assert re.search(rf"^{line}$", serving.said, re.MULTILINE), (line, serving.said)
    serving.wait_for("path=/down/a .*end=", "out")
    assert [(line["path"], line["status"], line["reason"], line["origin"]) for line in serving.access()] == [
        ("/orders", "401", "missing_credential", "-"),
        ("/orders", "200", "-", "api"),
        ("/v2/reports/2024/05", "200", "-", origin.url),
        ("/down/a", "502", "origin_failed", "nowhere"),
    ]
    assert serving.access()[1]["consumer"] == "acme"
    assert serving.stop() == 0


def test_it_works_from_the_environment_alone(
    serve: Callable[..., Serving], origin: Origin, keys: LoopbackKeyService
) -> None:
    serving = serve(
        "--no-access-log",
        APIKEY_GUARD_ORIGIN=origin.url,
        APIKEY_GUARD_VALIDATOR_URL=keys.url,
        APIKEY_GUARD_HEALTH_PATH="/live",
        # What gunicorn would obey.
        FORWARDED_ALLOW_IPS="*",
        WEB_CONCURRENCY="7",
        GUNICORN_CMD_ARGS="--access-logfile -",
    )
    assert serving.get("/healthz").body == b"/healthz"
    assert serving.get("/live", key=None).body == b"ok\n"
    assert f"health       http://127.0.0.1:{serving.port}/live\n" in serving.said
    assert serving.access() == []


def test_health_can_be_off(serve: Callable[..., Serving], file: str) -> None:
    serving = serve(file, "--set", "health_path=")
    assert serving.get("/healthz").body == b"/healthz"
    assert "health " not in serving.said


def test_health_while_the_key_service_is_down(
    serve: Callable[..., Serving], file: str, origin: Origin, keys: LoopbackKeyService
) -> None:
    serving = serve(file)
    keys.refuse()
    origin.refuse()
    assert serving.get("/orders").status == 503
    healthy = serving.get("/healthz", key=None)
    assert (healthy.status, healthy.body) == (200, b"ok\n")


def test_nobody_but_trusted_proxies_is_believed(
    serve: Callable[..., Serving], file: str, origin: Origin
) -> None:
    serving = serve(file, FORWARDED_ALLOW_IPS="*")
    lines = ("X-Forwarded-Proto: https", "X-Forwarded-For: 1.2.3.4", "Script-Name: /a", "Script_Name: /a")
    head = "\r\n".join(
        ["GET /a/b HTTP/1.1", "Host: h.example", f"apikey: {KEY}", "Connection: close", *lines]
    )
    assert serving.request(f"{head}\r\n\r\n".encode()).body == b"/a/b"
    (request,) = origin.requests
    assert request.header("X-Forwarded-Proto") == "http"
    assert request.header("X-Forwarded-For") == "127.0.0.1"
    assert request.header("X-Forwarded-Prefix") is None


GARBLED = {
    "a version": f"GET /?apikey={KEY} HTTP/9.9\r\nHost: h\r\n\r\n",
    "a request line": f"GET /?apikey={KEY} and more HTTP/1.1\r\nHost: h\r\n\r\n",
    "a header without a colon": f"GET / HTTP/1.1\r\nHost: h\r\napikey {KEY}\r\n\r\n",
    "a header's name": f"GET / HTTP/1.1\r\nHost: h\r\napikey {KEY}: x\r\n\r\n",
    "a method": f"{KEY}\x01 / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a long query": f"GET /?apikey={KEY}{'x' * 9_000} HTTP/1.1\r\nHost: h\r\n\r\n",
    "a large header": f"GET /?apikey={KEY} HTTP/1.1\r\nHost: h\r\napikey: {KEY}{'x' * 9_000}\r\n\r\n",
}


def test_what_the_server_itself_refuses_shows_no_key(serve: Callable[..., Serving], file: str) -> None:
    serving = serve(file)
    for data in GARBLED.values():
        assert 400 <= serving.request(data.encode("latin-1")).status < 500
    serving.wait_for(r"\[WARNING\] Invalid request from ip=127.0.0.1: Invalid HTTP Version\n", "err")
    assert serving.err.count("Invalid request from ip=127.0.0.1") == len(GARBLED)


def test_a_fault_shows_no_key_and_no_query(serve: Callable[..., Serving], file: str, tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(
        "import dataclasses\n"
        "from apikey_guard import Rejection\n"
        "class Odd(Rejection):\n"
        "    @property\n"
        "    def status_line(self):\n"
        "        raise LookupError('KCAN' 'ARY_text')\n"
        "def render(rejection, environ):\n"
        "    fields = [field.name for field in dataclasses.fields(rejection)]\n"
        "    return Odd(*(getattr(rejection, name) for name in fields))\n"
    )
    serving = serve(
        file,
        "--set",
        "render_rejection=hooks:render",
        PYTHONPATH=f"{tmp_path}:{environment({})['PYTHONPATH']}",
    )
    # What the hook made up fails where it is sent, and gunicorn writes down what was asked for and why.
    assert serving.get("/a?apikey=KCANARY_unknown", key=None).status == 500
    serving.wait_for(r"\[ERROR\] Error handling request\n", "err")
    # Where it came from is there, its text is not.
    assert re.search(r'File ".*gunicorn.*\nLookupError\n', serving.err, re.DOTALL)


def test_sigterm_lets_requests_end(serve: Callable[..., Serving], file: str, origin: Origin) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.send(answer(b"", CHUNKED, length=False) + b"3\r\none\r\n")
        serving.process.send_signal(signal.SIGTERM)
        exchange.pause(1.0)
        exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    origin.behave(slow)
    serving = serve(file)
    assert serving.get("/").body == b"onetwo"
    assert serving.process.wait(PATIENCE_SECONDS) == 0
    assert serving.access()[-1]["end"] == "complete"


def test_ctrl_c_waits_for_nobody(serve: Callable[..., Serving], file: str, origin: Origin) -> None:
    def silent(exchange: Exchange) -> None:
        exchange.send(answer(b"", CHUNKED, length=False) + b"3\r\none\r\n")
        exchange.wait_until_left()

    origin.behave(silent)
    serving = serve(file)
    with socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE_SECONDS) as caller:
        caller.sendall(f"GET / HTTP/1.1\r\nHost: h\r\napikey: {KEY}\r\n\r\n".encode())
        received = b""
        while not received.endswith(b"one\r\n"):
            received += caller.recv(4_096)
        started = time.monotonic()
        assert serving.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 5
        # Cut, not ended: the last chunk is missing.
        assert caller.recv(4_096) == b""


def test_sighup_reads_the_settings_again_and_keeps_good_ones(
    serve: Callable[..., Serving], file: str, origin: Origin
) -> None:
    serving = serve(file)
    good = Path(file).read_text()
    Path(file).write_text(good.replace('origin = "api"', 'origin = "apo"', 1))
    serving.process.send_signal(signal.SIGHUP)
    serving.wait_for(
        r"as before, as the new ones cannot be used: origin: 'apo' is none of the origins", "err"
    )
    assert serving.get("/").status == 200
    Path(file).write_text(good.replace('origin = "api"', f'origin = "{origin.url}/new"', 1))
    serving.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + PATIENCE_SECONDS
    answered = b""
    while answered != b"/new/":
        assert time.monotonic() < end, serving.err
        time.sleep(0.1)
        with suppress(AssertionError):  # gunicorn 23 drops what a worker that ends had not read yet
            answered = serving.get("/").body
    assert serving.stop() == 0


def test_a_port_that_is_taken(serve: Callable[..., Serving], file: str, tmp_path: Path) -> None:
    serving = serve(file)
    done = run(tmp_path, "serve", file, "--bind", f"127.0.0.1:{serving.port}")
    assert (done.status, done.out) == (2, "")
    assert f"127.0.0.1:{serving.port} is in use by another program; choose another --bind" in done.err


def test_settings_that_cannot_be_used_are_all_listed(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--set", "cache_tll=3")
    assert (done.status, done.out) == (2, "")
    for problem in (
        "3 problems",
        "did you mean cache_ttl?",
        "nobody knows the keys",
        "origin: a gateway needs",
    ):
        assert problem in done.err
    assert "Traceback" not in done.err


ADDRESSES = ("8000", "localhost", ":8000", "::1:8000", "127.0.0.1:65536", "127.0.0.1:x", "[::1:8000")


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_that_is_none(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, "serve", f"--bind={text}")
    assert done.status == 2
    assert "must be" in done.err
    assert "Traceback" not in done.err


def test_without_gunicorn_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.py").write_text("raise ImportError('not here')\n")
    done = run(
        tmp_path,
        "serve",
        "--set",
        "origin=http://127.0.0.1:9",
        "--set",
        "keys_file=keys.toml",
        env={"PYTHONPATH": f"{tmp_path}:{environment({})['PYTHONPATH']}"},
    )
    assert (done.status, done.out) == (2, "")
    assert done.err == "error: serve needs gunicorn: pip install 'apikey-guard[serve]'\n"


@pytest.mark.parametrize("text", [None, "keys = [\n"], ids=["missing", "broken"])
def test_a_key_file_that_cannot_be_used_is_said_at_the_start(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "keys.toml").write_text(text)
    done = run(tmp_path, "serve", "--set", "origin=http://127.0.0.1:9", "--set", "keys_file=keys.toml")
    assert (done.status, done.out) == (2, "")
    assert "key file keys.toml" in done.err


def test_a_process_that_finds_a_broken_key_file_says_what_is_wrong(
    serve: Callable[..., Serving], tmp_path: Path, origin: Origin
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("keys = []\n")
    file.chmod(0o600)
    serving = serve("--set", f"origin={origin.url}", "--set", f"keys_file={file}")
    # Nobody has shown a key yet, so the process has not read it.
    file.write_text("keys = [\n")
    assert serving.get("/").status == 503
    serving.wait_for(r"key file \S+ cannot be used: at its end: not valid TOML", "err")
    file.write_text("keys = []\n")
    assert serving.get("/").status == 401


def test_check_connects_to_the_origins(tmp_path: Path, file: str, origin: Origin) -> None:
    done = run(tmp_path, "check", "--config", file, "--json")
    found = {
        one["text"]: one["level"] for one in json.loads(done.out)["findings"] if "origin " in one["text"]
    }
    assert found[f"origin api: {origin.url} can be connected to"] == "good"
    assert found[f"origin {origin.url} can be connected to"] == "good"
    down = "cannot be connected to: is it running, is the port right?"
    assert found[f"origin nowhere: http://127.0.0.1:9 {down}"] == "problem"
    assert done.status == 1
    offline = run(tmp_path, "check", "--config", file, "--offline")
    assert offline.status == 0
    assert "can be connected to" not in offline.out
