"""A refusal is the end: what stands inside of the guard is never handed a refused request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.shared_data import SharedDataMiddleware

from apikey_guard.flask import ApiKeyGuard, ApiKeyRejected, request_denied
from tests.adapters.flask_site import BAD, GOOD, known_keys

SECRET = b"what only a key shows"


def answering(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers everything itself, whatever was decided."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [SECRET]


def mounted(behind: WSGIApplication, _: Path) -> WSGIApplication:
    return DispatcherMiddleware(behind, {"/metrics": answering})


def files(behind: WSGIApplication, folder: Path) -> WSGIApplication:
    (folder / "a.txt").write_bytes(SECRET)
    return SharedDataMiddleware(behind, {"/metrics": str(folder / "a.txt")})


def in_place_of(behind: WSGIApplication, _: Path) -> WSGIApplication:
    return answering


def another_app(behind: WSGIApplication, _: Path) -> WSGIApplication:
    inner = flask.Flask("inner")
    inner.add_url_rule("/", view_func=lambda: SECRET.decode())
    return DispatcherMiddleware(behind, {"/metrics": inner})


def on_its_way_out(behind: WSGIApplication, _: Path) -> WSGIApplication:
    """Answers in place of every error that comes from within."""

    def replacing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        statuses: list[str] = []
        body = behind(environ, lambda status, headers, exc_info=None: statuses.append(status))  # type: ignore[arg-type,return-value]  # nobody writes
        return answering(environ, start_response) if statuses[0] >= "400" else body

    return replacing


INSIDE = [mounted, files, in_place_of, another_app, on_its_way_out]
ROUTES: dict[str, list[dict[str, object]]] = {
    "no-origins": [],
    "an-origin-elsewhere": [{"path": "/old/*", "origin": "http://127.0.0.1:9"}],
}


@pytest.mark.parametrize("headers", [{}, {"apikey": BAD}, {"apikey": ""}], ids=["none", "bad", "empty"])
@pytest.mark.parametrize("routes", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize("inside", INSIDE)
def test_a15_a_refused_request_reaches_nothing_inside_of_the_guard(
    tmp_path: Path,
    inside: Callable[[WSGIApplication, Path], WSGIApplication],
    routes: list[dict[str, object]],
    headers: dict[str, str],
) -> None:
    app = flask.Flask(__name__)
    app.wsgi_app = inside(app.wsgi_app, tmp_path)  # type: ignore[method-assign]  # as Flask documents it
    ApiKeyGuard(app, key_service=known_keys(), routes=routes)
    app.after_request(lambda answer: answer.headers.update({"X-After": "1"}) or answer)
    client = app.test_client()
    for path in ("/metrics", "/metrics/", "/else"):
        answer = client.get(path, headers=headers, buffered=True)
        assert (answer.status_code, answer.headers["X-After"]) == (401, "1")
        assert SECRET not in answer.data
    assert (
        client.get("/metrics", headers={"apikey": GOOD}, buffered=True, follow_redirects=True).data == SECRET
    )


def test_a15_a_service_that_is_down_opens_nothing_inside_either(tmp_path: Path) -> None:
    keys = known_keys()
    app = flask.Flask(__name__)
    app.wsgi_app = mounted(app.wsgi_app, tmp_path)  # type: ignore[method-assign]  # as above
    ApiKeyGuard(app, key_service=keys)
    keys.fail()
    assert app.test_client().get("/metrics", headers={"apikey": GOOD}).status_code == 503


class Answering(flask.Flask):
    """Answers some paths in a ``wsgi_app`` of its own."""

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return answering(environ, start_response)
        return super().wsgi_app(environ, start_response)


def test_a15_what_a_subclass_answers_in_its_own_wsgi_app_is_guarded() -> None:
    app = Answering(__name__)
    ApiKeyGuard(app, key_service=known_keys())
    assert app.test_client().get("/metrics").status_code == 401
    assert app.test_client().get("/metrics", headers={"apikey": GOOD}).data == SECRET


@pytest.mark.parametrize("what", [401, ApiKeyRejected, Exception], ids=["status", "class", "every error"])
def test_what_renders_a_refusal_runs_once_and_as_before(tmp_path: Path, what: Any) -> None:
    ran: list[str] = []
    app = flask.Flask(__name__)
    app.wsgi_app = mounted(app.wsgi_app, tmp_path)  # type: ignore[method-assign]  # as above
    ApiKeyGuard(app, key_service=known_keys())
    app.before_request(lambda: ran.append("before_request"))
    app.teardown_request(lambda error: ran.append("teardown"))

    @app.after_request
    async def after(answer: flask.Response) -> flask.Response:
        ran.append("after_request")
        return answer

    @app.errorhandler(what)
    async def own(error: ApiKeyRejected) -> tuple[str, int]:
        ran.append("handler")
        return f"our own page about {error.reason}", error.code or 0

    def denied(sender: flask.Flask, decision: Any) -> None:
        ran.append("signal")

    with request_denied.connected_to(denied, app):
        answer = app.test_client().get("/metrics")
    assert (answer.status_code, answer.text) == (401, "our own page about missing_credential")
    assert ran == ["signal", "handler", "after_request", "teardown"]


def test_a15_an_app_within_an_app_has_the_last_word_about_its_own_requests() -> None:
    inner, outer = flask.Flask("inner"), flask.Flask("outer")
    for app in (inner, outer):
        app.add_url_rule("/open", view_func=lambda: SECRET.decode())
    ApiKeyGuard(inner, key_service=known_keys())
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/inner": inner})  # type: ignore[method-assign]  # as above
    guard = ApiKeyGuard(outer, key_service=known_keys())
    guard.public(outer.view_functions["<lambda>"])
    client = outer.test_client()
    assert client.get("/open").data == SECRET
    assert client.get("/inner/open").status_code == 401
