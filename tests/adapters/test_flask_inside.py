"""Flask: what a view's mark opens is answered by Flask, not by a mount that stands before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from apikey_guard import Route
from apikey_guard.flask import ApiKeyGuard, current_consumer
from tests.adapters.flask_site import BAD, GOOD, known_keys

App = Callable[[dict[str, Any], Any], Iterable[bytes]]
CLOSED: list[str] = []


class Answer(list[bytes]):
    def close(self) -> None:
        CLOSED.append("closed")


def plain(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Answer([b"of the mount"])


def late(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"of the "
    yield b"mount"


def writing(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(b"of the ")
    return [b"mount"]


def copied(app: App) -> App:
    return lambda environ, start_response: app({**environ}, start_response)


def lazy(app: App) -> App:
    def generator(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        yield from app(environ, start_response)

    return generator


def untouched(app: App) -> App:
    return app


def made(mount: App, around: Callable[[App], App] = untouched, **settings: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]  # as Flask documents it
        around(app.wsgi_app), {"/mount": mount}
    )
    app.wsgi_app = around(app.wsgi_app)  # type: ignore[method-assign]  # as above
    guard = ApiKeyGuard(app, key_service=known_keys(), **settings)

    @app.get("/<path:path>")
    @guard.public
    def everything(path: str) -> str:
        return f"page {path}"

    @app.get("/mount/maybe")
    @guard.optional
    def maybe() -> str:
        return f"maybe {current_consumer.id}"

    return app


def ends(app: flask.Flask, path: str, key: str | None = None) -> tuple[int, str]:
    response = app.test_client().get(path, headers={} if key is None else {"apikey": key})
    return response.status_code, response.text if response.status_code == 200 else ""


FORWARDING = {"origins": {"elsewhere": "http://127.0.0.1:9"}, "choose_origin": lambda *_: None}


@pytest.mark.parametrize("settings", [{}, FORWARDING], ids=["plain", "forwarding"])
@pytest.mark.parametrize("around", [untouched, copied, lazy])
@pytest.mark.parametrize("mount", [plain, late, writing])
def test_a15_a_mark_opens_no_mount_before_flask(
    mount: App, around: Callable[[App], App], settings: dict[str, Any]
) -> None:
    app = made(mount, around, **settings)
    given = (200, "of the mount")
    for path in ("/mount", "/mount/x", "/mount/maybe"):
        assert [ends(app, path, key) for key in (None, BAD, GOOD)] == [(401, ""), (401, ""), given], path
    assert [ends(app, "/x/y", key) for key in (None, BAD, GOOD)] == [(200, "page x/y")] * 3


def test_a15_what_is_thrown_away_is_closed() -> None:
    CLOSED.clear()
    assert ends(made(plain), "/mount") == (401, "")
    assert CLOSED == ["closed"]


def test_a_mount_that_a_route_opens_is_open() -> None:
    assert ends(made(plain, routes=[Route("/mount/*", access="public")]), "/mount/x") == (200, "of the mount")


@pytest.mark.parametrize("status", ["302 Found", "429 Too Many Requests", "503 Service Unavailable"])
def test_what_gives_nothing_stands(status: str) -> None:
    def answering(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Location", "/elsewhere")])
        return []

    assert ends(made(answering), "/mount") == (int(status[:3]), "")
