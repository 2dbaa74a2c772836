"""Single routes of a Flask app go to an origin; its views answer everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from apikey_guard import Consumer, SettingsError
from apikey_guard.flask import ApiKeyGuard, current_consumer
from apikey_guard.testing import FakeKeyService
from tests.harness.guarded import BAD, GOOD
from tests.harness.origin import Origin, answer
from tests.harness.wire import Response
from tests.harness.wsgi import build_environ, call


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        made.says(answer(b"origin"))
        yield made


def make_app(**settings: Any) -> Flask:
    app = Flask("shop")
    keys = FakeKeyService()
    keys.add(GOOD, Consumer(id="42", username="acme"))
    guard = ApiKeyGuard(app, key_service=keys, **settings)

    @app.get("/<path:path>")
    def view(path: str) -> str:
        return f"view for {current_consumer.username}"

    @app.get("/open")
    @guard.public
    def anybody() -> str:
        return "open"

    @app.errorhandler(401)
    def refused(error: Exception) -> tuple[str, int]:
        return "our own page", 401

    return app


def get(app: Flask, path: str, key: str | None = GOOD) -> Response:
    return call(app.wsgi_app, build_environ(path, headers=[] if key is None else [("apikey", key)]))


def test_a_route_with_an_origin_is_forwarded_and_the_rest_is_not(origin: Origin) -> None:
    app = make_app(routes=[{"path": "/v2/*", "origin": origin.url, "strip_prefix": True}])
    assert get(app, "/v2/reports").body == b"origin"
    assert (origin.last.target, origin.last.header("X-Consumer-Username")) == ("/reports", "acme")
    assert origin.last.header("apikey") is None
    assert get(app, "/v1/reports").body == b"view for acme"
    assert get(app, "/open", None).body == b"open"
    assert len(origin.requests) == 1


def test_a_refusal_is_the_apps_own_page_and_reaches_no_origin(origin: Origin) -> None:
    app = make_app(routes=[{"path": "/v2/*", "origin": origin.url}, {"path": "/open", "origin": origin.url}])
    # The mark of the view counts for what the view answers, not for what an origin does.
    for path, key in (("/v2/x", None), ("/v2/x", BAD), ("/open", None)):
        response = get(app, path, key)
        assert (response.status, response.body) == (401, b"our own page"), path
    assert get(app, "/v2/../open").status == 400
    assert origin.requests == []


def test_a_hook_may_leave_a_request_to_its_view(origin: Origin) -> None:
    app = make_app(
        origins={"reports": origin.url},
        choose_origin=lambda environ, consumer: "reports" if environ["PATH_INFO"] == "/reports" else None,
    )
    assert get(app, "/reports").body == b"origin"
    assert get(app, "/else").body == b"view for acme"
    assert get(app, "/open", None).body == b"open"


def test_an_origin_for_everything_leaves_nothing_to_the_app() -> None:
    with pytest.raises(SettingsError, match="nothing would be left for the app"):
        make_app(origin="https://api.internal")
