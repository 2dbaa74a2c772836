"""A page in a real browser, of another origin than the guard: what it can read, and what it cannot."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from apikey_guard import GuardMiddleware
from apikey_guard.testing import FakeKeyService

GOOD, BAD = "KCANARY-good", "KCANARY-bad"
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--virtual-time-budget=20000",
    "--dump-dom",
)

# Calls every address with its headers, and writes down what a page can see of the answers.
SCRIPT = """
(async () => {
  const seen = [];
  for (const [url, options] of CALLS) {
    try {
      const answer = await fetch(url, options);
      const told = ["WWW-Authenticate", "Retry-After"].map((name) => answer.headers.get(name));
      seen.push([answer.status, await answer.text(), ...told]);
    } catch (error) { seen.push([error.name]); }
  }
  document.body.textContent = JSON.stringify(seen);
})();
"""


class Quiet(WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        pass


@contextmanager
def served(app: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Lets all pages read, but answers no preflight."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Access-Control-Allow-Origin", "*")])
    return [environ["REQUEST_METHOD"].encode()]


def guarded(**settings: Any) -> GuardMiddleware:
    return GuardMiddleware(app, key_service=FakeKeyService([GOOD]), **settings)


def read_by_a_page(place: Path, page: str) -> list[list[Any]]:
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={place}", page],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"<body>(\[.*\])</body>", done.stdout, re.DOTALL)
    assert found is not None, done.stdout + done.stderr[-2000:]
    seen: list[list[Any]] = json.loads(html.unescape(found[1]))
    return seen


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_page_of_a_named_origin_reads_refusals_and_others_do_not(tmp_path: Path) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [f"<body><script>{SCRIPT.replace('CALLS', json.dumps(calls))}</script></body>".encode()]

    with served(page) as origin:
        named = guarded(cors_origins=[origin])
        cookie = guarded(cors_origins=[origin], key_locations=["header:apikey", "cookie:key"])
        others = guarded(cors_origins=["https://app.example"])
        with (
            named.guard,
            cookie.guard,
            others.guard,
            served(named) as reads,
            served(cookie) as sends_cookies,
            served(others) as does_not,
        ):
            calls += [
                (f"{reads}/orders", {}),
                (f"{reads}/orders", {"headers": {"apikey": BAD}}),
                (f"{reads}/orders", {"method": "DELETE", "headers": {"apikey": GOOD}}),
                (f"{sends_cookies}/orders", {"credentials": "include"}),
                (f"{reads}/orders", {"credentials": "include"}),
                (f"{does_not}/orders", {}),
                (f"{does_not}/orders", {"headers": {"apikey": GOOD}}),
            ]
            missing, bad, allowed, with_cookie, *unread = read_by_a_page(tmp_path, f"{origin}/")
    for seen, code in (
        (missing, "missing_credential"),
        (bad, "invalid_credential"),
        (with_cookie, "missing_credential"),
    ):
        status, body, challenge, retry_after = seen
        assert (status, challenge, retry_after) == (401, 'Key realm="api"', None)
        assert json.loads(body)["code"] == code
    assert allowed[:2] == [200, "DELETE"]
    assert unread == [["TypeError"]] * 3
