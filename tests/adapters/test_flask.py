"""The extension in real Flask apps: nothing reaches a view unasked, and marks mean what they say."""

from __future__ import annotations

import flask
import pytest
from flask.views import MethodView, View
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from apikey_guard.core.standin import is_standin
from apikey_guard.flask import (
    ApiKeyGuard,
    current_consumer,
)
from tests.adapters.flask_site import BAD, GOOD, WRITER, Site, known_keys


@pytest.fixture
def site() -> Site:
    return Site()


# -- an unauthenticated request reaches no view ------------------------------------------------------


def everything(site: Site) -> flask.Flask:
    """An app in which each way of reaching code of the app notes that it was reached."""
    app, called = site.app, site.called

    def note(name: str, status: int) -> tuple[str, int]:
        called.append(name)
        return name, status

    async def later() -> str:
        called.append("async")
        return "async"

    class Thing(View):
        def dispatch_request(self) -> str:
            called.append("class")
            return "class"

    class Things(MethodView):
        def get(self) -> str:
            called.append("method")
            return "method"

    blueprint = flask.Blueprint("bp", __name__, url_prefix="/bp")
    blueprint.add_url_rule("/view", view_func=site.view("blueprint"))
    blueprint.before_app_request(lambda: called.append("before_app_request"))
    app.register_blueprint(blueprint)
    app.add_url_rule("/plain", view_func=site.view("plain"))
    app.add_url_rule("/slash/", view_func=site.view("slash"))
    app.add_url_rule("/async", view_func=later)
    app.add_url_rule("/class", view_func=Thing.as_view("thing"))
    app.add_url_rule("/method", view_func=Things.as_view("things"))
    app.add_url_rule("/options", view_func=site.view("options"), methods=["OPTIONS", "GET"])
    app.before_request(lambda: called.append("before_request"))
    app.url_value_preprocessor(lambda endpoint, values: called.append("preprocessor"))
    app.register_error_handler(404, lambda error: note("404", 404))
    app.register_error_handler(405, lambda error: note("405", 405))
    return app


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/plain", "GET"),
        ("/plain", "HEAD"),
        ("/plain", "OPTIONS"),
        ("/options", "OPTIONS"),
        ("/bp/view", "GET"),
        ("/static/style.css", "GET"),
        ("/slash", "GET"),
        ("/slash/", "GET"),
        ("/async", "GET"),
        ("/class", "GET"),
        ("/method", "GET"),
        ("/unknown", "GET"),
        ("/plain", "DELETE"),
    ],
)
@pytest.mark.parametrize("key", [None, BAD])
def test_a15_nobody_gets_in_without_a_valid_key(site: Site, path: str, method: str, key: str | None) -> None:
    everything(site)
    assert site.status(path, key, method) == 401
    assert site.called == []


def test_a15_with_a_key_everything_is_as_flask_makes_it(site: Site) -> None:
    everything(site)
    paths = ("/plain", "/bp/view", "/slash/", "/async", "/class", "/method", "/options")
    assert [site.status(path, GOOD) for path in paths] == [200] * 7
    assert [site.status(path, GOOD) for path in ("/slash", "/unknown", "/static/x")] == [308, 404, 404]
    assert site.status("/plain", GOOD, "DELETE") == 405


def test_a15_a_view_under_another_mount_is_guarded_by_its_own_app(site: Site) -> None:
    everything(site)
    open_app = flask.Flask("outer")
    open_app.add_url_rule("/", view_func=lambda: "open")
    client = Client(DispatcherMiddleware(open_app, {"/plain": site.app}))
    assert client.get("/").status_code == 200
    assert client.get("/plain/plain").status_code == 401
    assert site.called == []
    assert client.get("/plain/plain", headers={"apikey": GOOD}).text == "plain"


def test_a15_what_was_registered_before_the_guard_does_not_run_before_it() -> None:
    called: list[str] = []
    app = flask.Flask(__name__)
    app.before_request(lambda: called.append("before_request"))
    app.url_value_preprocessor(lambda endpoint, values: called.append("preprocessor"))
    ApiKeyGuard(app, key_service=known_keys())
    assert app.test_client().get("/").status_code == 401
    assert called == []


def test_a15_a_request_that_comes_around_wsgi_app_is_decided_all_the_same(site: Site) -> None:
    everything(site)
    with site.app.test_request_context("/plain"):
        assert site.app.full_dispatch_request().status_code == 401
    assert site.called == []
    with site.app.test_request_context("/plain", headers={"apikey": GOOD}):
        assert site.app.full_dispatch_request().status_code == 200


def test_a15_the_service_down_is_no_way_in(site: Site) -> None:
    everything(site)
    site.keys.fail()
    assert site.status("/plain", GOOD) == 503
    assert site.called == []


def test_p11_a_redirect_has_no_key(site: Site) -> None:
    everything(site)
    answer = site.app.test_client().get(f"/slash?apikey={GOOD}&q=1")
    assert answer.status_code == 308
    standin = answer.headers["Location"].partition("/slash/?apikey=")[2].removesuffix("&q=1")
    assert is_standin(standin)


def test_the_request_that_flask_builds_shows_no_key(site: Site) -> None:
    @site.app.get("/look")
    def look() -> list[str]:
        request = flask.request
        return [request.url, request.full_path, str(request.headers), str(request.args)]

    answer = site.app.test_client().get(f"/look?apikey={GOOD}&q=1", headers={"apikey": GOOD})
    assert answer.status_code == 200
    assert "q=1" in answer.text
    assert "KCANARY" not in answer.text


# -- marks ---------------------------------------------------------------------------------------------


def test_a16_decorators_hold_on_either_side_of_the_route(site: Site) -> None:
    guard, app = site.guard, site.app
    guard.public(app.get("/public-outside")(site.view("a")))
    app.get("/public-inside")(guard.public(site.view("b")))
    guard.require_scopes("write")(app.get("/scoped-outside")(site.view("c")))
    app.get("/scoped-inside")(guard.require_scopes("write")(site.view("d")))
    assert [site.status(f"/public-{side}") for side in ("outside", "inside")] == [200, 200]
    for path in ("/scoped-outside", "/scoped-inside"):
        assert [site.status(path, key) for key in (None, GOOD, WRITER, GOOD)] == [401, 403, 200, 403]


def test_a_public_view_with_a_key_never_waits(site: Site) -> None:
    site.app.get("/health")(site.guard.public(site.view("health")))
    site.keys.hold()
    assert site.status("/health", BAD) == 200
    assert site.keys.calls == 0


def test_an_optional_view_takes_nobody_or_a_valid_key(site: Site) -> None:
    site.app.get("/maybe")(site.guard.optional(site.view("maybe")))
    assert [site.status("/maybe", key) for key in (None, GOOD, BAD, "")] == [200, 200, 401, 401]


@pytest.mark.parametrize("path", ["//health", "/health;x", "/x/../health", "/health%00"])
def test_p01_a_public_view_is_public_under_its_own_path_only(site: Site, path: str) -> None:
    site.app.get("/health")(site.guard.public(site.view("health")))
    assert site.status(path) == 401


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/tags/c%23", 200),
        ("/tags/a;b", 200),
        ("/tags/100%25", 200),
        ("/tags/what%3F", 200),
        ("/tags/a%2Fb", 200),
        ("/tags/a%09b", 200),
        ("//tags/c%23", 401),
        ("/tags//c", 401),
        ("/tags/..;/c", 401),
        ("/tags/%252e%252e", 401),
        ("/tags/x%5C..", 401),
        ("/tags/%3Bx", 401),
        ("/tags/%23", 401),
        ("/tags/%C0%AF", 401),
        ("/tags/%" + "25" * 50, 401),
    ],
)
def test_p01_a_public_view_is_public_where_everybody_sees_its_segments(
    site: Site, target: str, status: int
) -> None:
    site.app.get("/tags/<path:name>")(site.guard.public(lambda name: "ok"))
    answer = site.app.test_client().get(target)
    assert answer.status_code == status


def test_p02_the_mount_does_not_make_a_view_public(site: Site) -> None:
    site.app.get("/public/x")(site.guard.public(site.view("x")))
    site.app.get("/x")(site.view("private"))
    assert site.status("/x", environ_overrides={"SCRIPT_NAME": "/public"}) == 401


def test_a05_forged_identity_is_gone_from_public_views_and_error_pages(site: Site) -> None:
    def identity(*_: object) -> dict[str, str | None]:
        return {"id": flask.request.headers.get("X-Consumer-ID")}

    site.app.get("/open", endpoint="open")(site.guard.public(identity))
    site.app.register_error_handler(401, identity)
    client = site.app.test_client()
    for path in ("/open", "/closed"):
        assert client.get(path, headers={"X-Consumer-ID": "admin"}).json == {"id": None}


def test_classes_methods_and_decorators_can_be_marked(site: Site) -> None:
    guard = site.guard

    @guard.public
    class Open(View):
        def dispatch_request(self) -> str:
            return "open"

    class Heir(Open):
        pass

    class Mixed(MethodView):
        @guard.public
        def get(self) -> str:
            return "get"

        @guard.require_scopes("write")
        def post(self) -> str:
            return "post"

        def put(self) -> str:
            return "put"

    class Decorated(View):
        decorators = [guard.public]  # noqa: RUF012 - as Flask's documentation writes it

        def dispatch_request(self) -> str:
            return "decorated"

    for name, kind in {"open": Open, "heir": Heir, "mixed": Mixed, "decorated": Decorated}.items():
        site.app.add_url_rule(f"/{name}", view_func=kind.as_view(name))
    assert [site.status(f"/{name}") for name in ("open", "heir", "mixed", "decorated")] == [
        200,
        401,
        200,
        200,
    ]
    assert site.status("/mixed", method="HEAD") == 200
    assert [site.status("/mixed", key, "POST") for key in (None, GOOD, WRITER)] == [401, 403, 200]
    assert [site.status("/mixed", key, "PUT") for key in (None, GOOD)] == [401, 200]


def test_blueprints_can_be_marked_and_their_views_differ(site: Site) -> None:
    outer = site.guard.require_scopes("read")(flask.Blueprint("outer", __name__, url_prefix="/outer"))
    inner = site.guard.require_scopes("write")(flask.Blueprint("inner", __name__, url_prefix="/inner"))
    open_ = site.guard.public(flask.Blueprint("open", __name__, url_prefix="/open"))
    outer.get("/a")(site.view("a"))
    outer.get("/health")(site.guard.public(site.view("health")))
    inner.get("/b")(site.view("b"))
    open_.get("/c")(site.view("c"))
    open_.get("/d")(site.guard.require_scopes()(site.view("d")))
    outer.register_blueprint(inner)
    site.app.register_blueprint(outer)
    site.app.register_blueprint(open_)
    assert [site.status("/outer/a", key) for key in (None, GOOD, WRITER)] == [401, 403, 200]
    assert [site.status("/outer/inner/b", key) for key in (None, GOOD, WRITER)] == [401, 403, 200]
    assert site.status("/outer/health") == 200
    assert site.status("/open/c") == 200
    assert [site.status("/open/d", key) for key in (None, GOOD)] == [401, 200]


def test_an_async_view_can_be_scoped(site: Site) -> None:
    @site.app.get("/later")
    @site.guard.require_scopes("write")
    async def later() -> str:
        return str(current_consumer.id)

    client = site.app.test_client()
    assert client.get("/later", headers={"apikey": GOOD}).status_code == 403
    assert client.get("/later", headers={"apikey": WRITER}).text == "7"


def test_a_preflight_passes_a_scoped_view(site: Site) -> None:
    site.app.get("/scoped")(site.guard.require_scopes("write")(site.view("scoped")))
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    assert site.status("/scoped", method="OPTIONS", headers=preflight) == 200
    assert site.status("/scoped", method="OPTIONS") == 401


def test_marks_that_say_the_opposite_are_an_error(site: Site) -> None:
    with pytest.raises(TypeError, match="marked as public and as optional; keep one"):
        site.guard.optional(site.guard.public(site.view("x")))
    with pytest.raises(TypeError, match="with the scopes"):
        site.guard.require_scopes(site.view("x"))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="cannot be marked"):
        site.guard.public("health")  # type: ignore[type-var]  # the mistake


@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_a_mode_that_refuses_nothing_refuses_no_scoped_view_either(mode: str) -> None:
    site = Site(mode=mode)
    site.app.get("/scoped")(site.guard.require_scopes("write")(site.view("scoped")))
    assert [site.status("/scoped", key) for key in (None, BAD, GOOD)] == [200, 200, 200]
