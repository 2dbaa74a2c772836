"""nginx and Node behind a gateway; what they take for a protected path is protected (P-01, P-03)."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from apikey_guard import Route
from tests.differential.targets import targets
from tests.forwarding.gateway import GOOD, Gateway
from tests.harness import Response

START_SECONDS = 30.0
NODE_SCRIPT = Path(__file__).with_name("origins.js")
NGINX_CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors; events {{}}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 'URI<$uri>'; }} }}
}}
"""


def needs(program: str) -> pytest.MarkDecorator:
    """A machine of one's own may lack it; where it counts (.ci/run installs it) nothing is skipped."""
    return pytest.mark.skipif(
        shutil.which(program) is None and "CI" not in os.environ, reason=f"{program} is not installed"
    )


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        config = folder / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(folder=folder, port=port))
        # nginx takes over a socket that it is told of, if it listens where the configuration says.
        process = subprocess.Popen(
            ["nginx", "-e", str(folder / "errors"), "-c", str(config)],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
        )
    with ended(process):
        yield port


@contextmanager
def node(folder: Path) -> Iterator[int]:
    with ended(subprocess.Popen(["node", str(NODE_SCRIPT)], stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextmanager
def ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process  # type: ignore[misc]  # of text where its output is read
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
    raise AssertionError("the origin does not listen")


def seen_by_nginx(response: Response) -> tuple[bool, list[str]]:
    found = re.fullmatch(r"URI<(.*)>", response.body.decode("latin-1"), re.DOTALL)
    assert found is not None, response.body
    path = found[1]
    scope = re.match(r"/(?:admin(?:/|\Z)|report\Z)", path) is not None
    return scope, [] if re.match(r"/open(?:/|\Z)", path) else [path]


def seen_by_node(response: Response) -> tuple[bool, list[str]]:
    seen = response.json()
    return bool(seen["scope"]), list(seen["closed"])


ORIGINS = {"nginx": (nginx, seen_by_nginx), "node": (node, seen_by_node)}


@pytest.mark.parametrize("raw", ["RAW_URI", None], ids=["target known", "path alone"])
@pytest.mark.parametrize("origin", [pytest.param(name, marks=needs(name)) for name in ORIGINS])
def test_p01_what_an_origin_takes_for_a_protected_path_is_protected(
    origin: str, raw: str | None, tmp_path: Path
) -> None:
    start, seen_by = ORIGINS[origin]
    with start(tmp_path) as port:
        wait_for(port)
        url = f"http://127.0.0.1:{port}"
        routes = [
            Route("/admin/*", scopes=["s"]),
            Route("/report", scopes=["s"]),
            Route("/open/*", access="public"),
            # The same origin once more, whose own paths begin below: what is taken off hides nothing.
            Route("/moved/*", origin=url, strip_prefix=True),
            Route("/moved/admin/*", origin=url, strip_prefix=True, scopes=["s"]),
            Route("/moved/report", origin=url, strip_prefix=True, scopes=["s"]),
        ]
        reached = 0
        with Gateway(url, routes=routes) as gateway:
            for target in targets(f"{origin} {raw}"):
                for key in (None, GOOD):
                    response = gateway.get(target, key=key, raw=raw, lint=False)
                    if response.status != 200:
                        continue
                    reached += 1
                    scope, closed = seen_by(response)
                    assert not scope, (target, key)
                    assert key is not None or not closed, (target, closed)
        # The judge has something to judge.
        assert reached > 20
