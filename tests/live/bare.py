"""``app``: what a server alone hands to an app, with no guard before it, and what it lets an app say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

from tests.harness.recorder import LiveRecorder

_recorder = LiveRecorder(behind="nothing")

HEADERS = {
    "/header-with-line-break": [("X-Name", "a\r\nX-Split: b")],
    "/both-framings": [("Content-Length", "2"), ("Transfer-Encoding", "chunked")],
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Misbehaves at three paths, and records everywhere else."""
    path = environ["PATH_INFO"]
    if path in HEADERS:
        start_response("200 OK", HEADERS[path])
        return [b"ok"]
    if path == "/raises-in-the-middle":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _raise_in_the_middle()
    return _recorder(environ, start_response)


def _raise_in_the_middle() -> Iterator[bytes]:
    yield b"first part"
    raise RuntimeError("told to")
