"""How each front and each origin is started: gunicorn with eight threads, or nginx."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.forwarding.apps import APPLICATIONS
from tests.benchmarks.forwarding.processes import Program, free_port

NGINX = "nginx"
NGINX_UNBUFFERED = "nginx-unbuffered"
FRONTS = ("static", NGINX, NGINX_UNBUFFERED, "werkzeug", "requests", "urllib3", "ours")

_GUNICORN = (
    "--worker-class gthread --workers 1 --threads 8 --keep-alive 60 --graceful-timeout 1 --log-level error"
)
_COMMON = """
daemon off; master_process on; worker_processes 1; pid {prefix}/pid; error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off; types {{ }} default_type text/plain; sendfile on; tcp_nopush on; tcp_nodelay on;
    keepalive_requests 100000000; keepalive_timeout 60s; open_file_cache max=16; {paths}
"""
_ORIGIN = """
    server {{ listen 127.0.0.1:{port}; root {site}; }}
}}
"""
_FRONT = """
    upstream origin {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering {buffering};
        }}
    }}
}}
"""


def program_of_nginx() -> str | None:
    # Debian keeps it where only the administrator's PATH looks.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin")


def missing() -> dict[str, str]:
    """The fronts that cannot be measured here, and why."""
    why = {}
    if program_of_nginx() is None:
        why[NGINX] = why[NGINX_UNBUFFERED] = "nginx is not installed"
    return why | {
        name: f"{name} is not installed"
        for name in ("werkzeug", "requests", "urllib3")
        if not importlib.util.find_spec(name)
    }


def start_front(name: str, origin: int, workshop: Path) -> Program:
    """A front that passes everything on to the origin at that port."""
    port = free_port()
    if name in APPLICATIONS:
        return Program(name, _gunicorn(name, f"http://127.0.0.1:{origin}", port), port)
    buffering = "off" if name == NGINX_UNBUFFERED else "on"
    tail = _FRONT.format(port=port, origin=f"127.0.0.1:{origin}", buffering=buffering)
    return Program(name, _nginx(tail, workshop / f"front-{port}"), port)


def start_origin(site: Path, workshop: Path) -> Program:
    """The origin of the files: nginx where there is one, as it is the cheapest."""
    if program_of_nginx() is None:
        return start_raw_origin(site)
    port = free_port()
    tail = _ORIGIN.format(port=port, site=site)
    return Program("origin", _nginx(tail, workshop / f"origin-{port}"), port)


def start_raw_origin(site: Path) -> Program:
    port = free_port()
    module = "tests.benchmarks.forwarding.origin"
    return Program("origin", [sys.executable, "-m", module, str(port), str(site)], port)


def _gunicorn(name: str, origin: str, port: int) -> Sequence[str]:
    command = [sys.executable, "-m", "gunicorn", *_GUNICORN.split(), "--bind", f"127.0.0.1:{port}"]
    if _knows_control_sockets():
        # A file in the home directory, which several servers would fight over.
        command.append("--no-control-socket")
    return [*command, f"tests.benchmarks.forwarding.apps:build({name!r}, {origin!r})"]


def _knows_control_sockets() -> bool:
    from gunicorn.config import make_settings  # type: ignore[import-untyped]

    return "control_socket_disable" in make_settings()


def _nginx(tail: str, prefix: Path) -> Sequence[str]:
    program = program_of_nginx()
    assert program is not None
    prefix.mkdir()
    configuration = prefix / "nginx.conf"
    paths = " ".join(f"{name} {prefix}/{name};" for name in _temporary_paths(program))
    text = _COMMON.format(prefix=prefix, paths=paths) + tail
    if os.geteuid() == 0:
        # Its workers would become somebody who may not read the directory.
        text = "user root;" + text
    configuration.write_text(text)
    return [program, "-p", str(prefix), "-e", "stderr", "-c", str(configuration)]


def _temporary_paths(program: str) -> list[str]:
    """The directories that this build writes to; a name that it does not know would be an error."""
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    optional = ("proxy", "fastcgi", "uwsgi", "scgi")
    present = [name for name in optional if f"--without-http_{name}_module" not in built]
    return ["client_body_temp_path", *(f"{name}_temp_path" for name in present)]
