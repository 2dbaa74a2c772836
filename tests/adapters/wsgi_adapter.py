"""The WSGI middleware in the conformance suite: what all others are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast
from wsgiref.types import StartResponse, WSGIEnvironment

from apikey_guard import Consumer, GuardMiddleware, load_settings
from apikey_guard.environ import unicode_path
from tests.adapters.conformance import REACHED, Answer, Request, Seen, identity_of, texts_of
from tests.harness import call, read_body


class WsgiAdapter:
    def __init__(self, settings: Mapping[str, object]) -> None:
        self._seen: Seen | None = None
        self._app = GuardMiddleware(self._view, settings=load_settings(**settings))

    def _view(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._seen = Seen(
            method=environ["REQUEST_METHOD"],
            path=unicode_path(environ["PATH_INFO"]),
            query=environ["QUERY_STRING"],
            identity=identity_of(environ),
            consumer=cast("Consumer | None", environ.get("apikey_guard.consumer")),
            body=read_body(environ),
            texts=texts_of(environ),
        )
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(REACHED)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [REACHED]

    def call(self, request: Request) -> Answer:
        self._seen = None
        # Many requests here are none that PEP 3333 allows, and the checker would refuse them first.
        response = call(self._app, request.environ(), lint=False, may_echo=True)
        return Answer(response.status, response.headers, response.body, self._seen)

    def close(self) -> None:
        self._app.guard.close()


def make(settings: Mapping[str, object]) -> WsgiAdapter:
    return WsgiAdapter(settings)
