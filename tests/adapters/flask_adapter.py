"""The Flask extension in the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping

import flask
from werkzeug.routing import BaseConverter, Rule

from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.flask import ApiKeyGuard, current_consumer
from tests.adapters.conformance import REACHED, Answer, Request, Seen, texts_of
from tests.harness import call


class _Everything(BaseConverter):
    regex = ".*"
    part_isolating = False


class FlaskAdapter:
    def __init__(self, settings: Mapping[str, object]) -> None:
        self._seen: Seen | None = None
        self._app = app = flask.Flask(__name__, static_folder=None)
        app.testing = True
        # The framework's own opinions about paths and methods are not what is compared.
        app.url_map.merge_slashes = False
        app.url_map.converters["everything"] = _Everything
        app.url_map.add(Rule("/<everything:path>", endpoint="view", methods=None))
        app.view_functions["view"] = self._view
        app.config.update({f"APIKEY_GUARD_{name.upper()}": value for name, value in settings.items()})
        ApiKeyGuard(app)

    def _view(self, path: str) -> flask.Response:
        request = flask.request
        cookies = [f"{name}={value}" for name, value in request.cookies.items()]
        arguments = [f"{name}={value}" for name, value in request.args.items(multi=True)]
        body = request.get_data()
        identity = {
            name: request.headers[name] for name in IDENTITY_HEADERS.values() if name in request.headers
        }
        self._seen = Seen(
            method=request.method,
            path="/" + path,
            query=request.query_string.decode("latin-1"),
            identity={name: value.encode("latin-1").decode() for name, value in identity.items()},
            consumer=current_consumer._get_current_object(),  # type: ignore[attr-defined]  # a LocalProxy
            body=body,
            texts=(*texts_of(request.environ), request.url, request.full_path, *cookies, *arguments),
        )
        return flask.Response(REACHED, content_type="text/plain")

    def call(self, request: Request) -> Answer:
        self._seen = None
        response = call(self._app, request.environ(), lint=False, may_echo=True)
        return Answer(response.status, response.headers, response.body, self._seen)

    def close(self) -> None:
        self._app.extensions["apikey_guard"].close()


def make(settings: Mapping[str, object]) -> FlaskAdapter:
    return FlaskAdapter(settings)
