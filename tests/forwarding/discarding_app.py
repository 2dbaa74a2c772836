"""``app``: reads every body and keeps nothing of it, to see what a server alone needs for an upload."""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    left = int(environ.get("CONTENT_LENGTH") or 1 << 40)
    if environ["REQUEST_METHOD"] == "POST":
        while left and (piece := environ["wsgi.input"].read(min(left, 65_536))):
            left -= len(piece)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
