"""A remembered key in Flask: the bare app, a hand-written check, Flask-HTTPAuth if installed, and ours."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterable
from typing import Any

import cachetools
import flask

from apikey_guard import Route
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds, table
from tests.benchmarks.wsgi_hit import CONSUMER, ENVIRON, KEY

REQUEST = {**ENVIRON, "PATH_INFO": "/v1/items/42", "HTTP_APIKEY": KEY, "HTTP_AUTHORIZATION": f"Bearer {KEY}"}


def bare() -> flask.Flask:
    """An app with one view."""
    app = flask.Flask("bench")

    @app.get("/v1/items/<int:number>")
    def item(number: int) -> str:
        return "ok"

    return app


def hand_written() -> flask.Flask:
    """What people write: hash the key, look it up in a locked cache, else refuse."""
    app = bare()
    cache: cachetools.TTLCache[bytes, object] = cachetools.TTLCache(100_000, 3600)
    lock = threading.Lock()
    cache[hashlib.sha256(KEY.encode()).digest()] = CONSUMER

    @app.before_request
    def check() -> Any:
        key = flask.request.environ.get("HTTP_APIKEY")
        if not key:
            return {"error": "no key"}, 401
        with lock:
            consumer = cache.get(hashlib.sha256(key.encode()).digest())
        if consumer is None:
            return {"error": "bad key"}, 401
        flask.g.consumer = consumer
        return None

    return app


def http_auth() -> flask.Flask:
    """Flask-HTTPAuth over a dictionary, for all views."""
    app = bare()
    auth, known = importlib.import_module("flask_httpauth").HTTPTokenAuth(scheme="Bearer"), {KEY: CONSUMER}
    auth.verify_token(known.get)
    app.before_request(auth.login_required(lambda: None))
    return app


def guarded(**settings: Any) -> flask.Flask:
    """The extension, with a key that is remembered."""
    app = bare()
    ApiKeyGuard(app, key_service=FakeKeyService({KEY: CONSUMER}), cache_ttl=3600, **settings)
    answer(app)
    return app


def answer(app: flask.Flask) -> None:
    """One request, which must be let through."""

    def start(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
        assert status.startswith("200"), status
        return lambda data: None

    body: Iterable[bytes] = app(REQUEST.copy(), start)
    for _ in body:
        pass
    body.close()  # type: ignore[attr-defined]  # Werkzeug's


def main() -> None:
    routes = [Route("/health", access="public"), Route("/v1/admin/*", scopes={"admin"})]
    apps = {
        "bare Flask": bare(),
        "hand-written before_request": hand_written(),
        "ApiKeyGuard": guarded(),
        "ApiKeyGuard with routes": guarded(routes=routes),
    }
    if importlib.util.find_spec("flask_httpauth"):
        apps["Flask-HTTPAuth"] = http_auth()
    cases = {name: (lambda app=app: answer(app)) for name, app in apps.items()}
    table(
        microseconds(cases, rounds=120, calls=100), bare="bare Flask", against="hand-written before_request"
    )


if __name__ == "__main__":
    main()
