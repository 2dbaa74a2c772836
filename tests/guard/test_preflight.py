"""A preflight runs nothing that a key protects (P-05), with ``allow_preflight`` and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from apikey_guard import GuardMiddleware, Route, load_settings
from apikey_guard.diagnosis.settings import about_settings
from tests.adapters import django_adapter
from tests.adapters.flask_site import GOOD, WRITER, Site
from tests.forwarding.gateway import Gateway
from tests.harness import Recorder, build_environ, call
from tests.harness.guarded import Guarded
from tests.harness.origin import Origin

from django.apps import apps  # isort: skip
from django.core.checks import run_checks
from django.http import HttpResponse
from django.test import Client
from django.test.utils import override_settings
from django.urls import path as url
from django.views import View
from rest_framework.response import Response  # type: ignore[import-untyped]  # no stubs
from rest_framework.views import APIView  # type: ignore[import-untyped]  # no stubs

from apikey_guard.django import optional, public, require_scopes
from apikey_guard.django.drf import ApiKeyAuthentication, HasScopes
from apikey_guard.testing import FakeKeyService

ASKS = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

# Requests that look like a preflight. The second value says whether a browser could have sent it.
LIKE_ONE: list[Any] = [
    pytest.param("OPTIONS", ASKS, {}, True, id="real"),
    pytest.param("OPTIONS", {**ASKS, "Access-Control-Request-Headers": "apikey"}, {}, True, id="headers"),
    pytest.param("OPTIONS", {**ASKS, "Origin": "null"}, {}, True, id="opaque origin"),
    pytest.param("OPTIONS", {**ASKS, "Content-Length": "0"}, {}, True, id="empty body"),
    pytest.param("options", ASKS, {}, False, id="in lower case"),
    pytest.param("Options", ASKS, {}, False, id="in mixed case"),
    pytest.param("OPTIONS", {"Origin": "https://app.example"}, {}, False, id="no method asked for"),
    pytest.param("OPTIONS", {"Access-Control-Request-Method": "POST"}, {}, False, id="no origin"),
    pytest.param("OPTIONS", {**ASKS, "Origin": ""}, {}, False, id="empty origin"),
    pytest.param("OPTIONS", {**ASKS, "Access-Control-Request-Method": ""}, {}, False, id="empty method"),
    pytest.param("OPTIONS", {**ASKS, "Access-Control-Request-Method": "A B"}, {}, False, id="odd method"),
    pytest.param("GET", ASKS, {}, False, id="GET"),
    pytest.param("POST", {**ASKS, "X-HTTP-Method-Override": "OPTIONS"}, {}, False, id="POST for OPTIONS"),
    pytest.param("OPTIONS", {**ASKS, "X-HTTP-Method-Override": "POST"}, {}, False, id="override"),
    pytest.param("OPTIONS", {**ASKS, "X-HTTP-Method": "POST"}, {}, False, id="override, second name"),
    pytest.param("OPTIONS", {**ASKS, "X-Method-Override": "POST"}, {}, False, id="override, third name"),
    pytest.param("OPTIONS", ASKS, {"query": "_method=POST"}, False, id="override in the query"),
    pytest.param("OPTIONS", ASKS, {"query": "%5fmethod=POST"}, False, id="override, encoded"),
    pytest.param("OPTIONS", ASKS, {"body": b"_method=POST"}, False, id="with a body"),
    pytest.param("OPTIONS", {**ASKS, "Transfer-Encoding": "chunked"}, {}, False, id="with chunks"),
]
like_one = pytest.mark.parametrize(("method", "headers", "parts", "real"), LIKE_ONE)


@like_one
@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_p05_an_app_answers_only_a_real_one_and_only_where_asked_for(
    method: str, headers: dict[str, str], parts: dict[str, Any], real: bool, allowed: bool
) -> None:
    with Guarded(allow_preflight=allowed) as guarded:
        environ = build_environ("/orders", method=method, headers=headers.items(), **parts)
        # The linter knows no method in lower case.
        status = call(guarded.wsgi, environ, lint=method.isupper()).status
        assert status == (200 if real and allowed else 401)
        assert guarded.app.calls == (status == 200)
        assert guarded.keys.calls == 0


@pytest.mark.parametrize(
    ("target", "settings", "status"),
    [
        pytest.param("/orders", {}, 200, id="a key alone"),
        pytest.param("/scoped", {}, 401, id="scopes under every method"),
        pytest.param("/posted", {}, 401, id="scopes of the method that is asked for"),
        pytest.param("/deleted", {}, 401, id="scopes of another method"),
        pytest.param("//scoped", {}, 401, id="scopes of a reading of the path"),
        pytest.param("//deleted", {}, 401, id="scopes of a method and a reading"),
        pytest.param("/below/x", {}, 401, id="scopes of a prefix"),
        pytest.param("/open", {"allow_preflight": False}, 200, id="public"),
        pytest.param("/read", {"allow_preflight": False}, 401, id="public for GET"),
        pytest.param("/maybe", {"allow_preflight": False}, 200, id="optional, without a credential"),
    ],
)
def test_p05_it_is_never_handed_on_to_what_needs_scopes(
    target: str, settings: dict[str, Any], status: int
) -> None:
    routes = [
        Route("/scoped", scopes=["write"]),
        Route("/posted", methods=["POST"], scopes=["write"]),
        Route("/deleted", methods=["DELETE"], scopes=["write"]),
        Route("/below/*", methods=["PUT"], scopes=["write"]),
        Route("/open", access="public"),
        Route("/read", methods=["GET"], access="public"),
        Route("/maybe", access="optional"),
    ]
    with Guarded(**{"allow_preflight": True, "routes": routes, **settings}) as guarded:
        assert guarded.status(None, target, method="OPTIONS", headers=ASKS.items()) == status
        assert guarded.app.calls == (status == 200)


@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_where_nothing_is_enforced_a_preflight_is_a_request_like_others(mode: str) -> None:
    app = Recorder(behind="nothing")
    with GuardMiddleware(app, key_service=FakeKeyService(), mode=mode).guard as guard:
        wsgi = GuardMiddleware(app, guard=guard)
        environ = build_environ("/orders", method="OPTIONS", headers=ASKS.items())
        assert (call(wsgi, environ).status, app.calls) == (200, 1)
        denied = guard.stats().get("denied_missing_credential", 0)
    assert denied == (mode == "monitor")


def test_p05_a_preflight_with_a_key_is_a_request_with_a_key() -> None:
    with Guarded(routes=[Route("/scoped", scopes=["write"])]) as guarded:
        assert guarded.status(GOOD, "/orders", method="OPTIONS", headers=ASKS.items()) == 200
        assert guarded.status(GOOD, "/scoped", method="OPTIONS", headers=ASKS.items()) == 403


@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_p05_an_origin_is_asked_only_where_it_answers_itself(allowed: bool) -> None:
    with Origin() as origin, Gateway(origin, allow_preflight=allowed) as gateway:
        status = gateway.get("/orders", "OPTIONS", key=None, headers=ASKS.items()).status
        assert (status, len(origin.requests)) == ((200, 1) if allowed else (401, 0))


# -- Flask ----------------------------------------------------------------------------------------


def flask_site(**settings: Any) -> Site:
    """An app whose views answer every method alike, but where Flask answers OPTIONS."""
    site = Site(**settings)
    app, guard = site.app, site.guard

    class Things(MethodView):
        def get(self) -> str:
            return str(site.called.append("get"))

        def options(self) -> str:
            return str(site.called.append("options"))

    class Plain(MethodView):
        def get(self) -> str:
            return str(site.called.append("get"))

    blueprint = flask.Blueprint("shop", __name__, url_prefix="/shop")
    blueprint.add_url_rule("/orders", view_func=site.view("blueprint"))
    blueprint.before_request(lambda: site.called.append("before, blueprint"))
    guard.require_scopes("write")(blueprint)
    app.register_blueprint(blueprint)
    app.add_url_rule("/orders", view_func=site.view("orders"), methods=["GET", "POST"])
    app.add_url_rule("/scoped", view_func=guard.require_scopes("write")(site.view("scoped")))
    app.add_url_rule("/own", view_func=site.view("own"), methods=["GET", "OPTIONS"])
    app.add_url_rule(
        "/own-scoped", view_func=guard.require_scopes("write")(site.view("own_scoped")), methods=["OPTIONS"]
    )
    app.add_url_rule("/open", view_func=guard.public(site.view("open")), methods=["GET", "OPTIONS"])
    app.add_url_rule("/maybe", view_func=guard.optional(site.view("maybe")), methods=["GET", "OPTIONS"])
    app.add_url_rule("/things", view_func=Things.as_view("things"))
    app.add_url_rule("/plain", view_func=Plain.as_view("plain"))
    app.add_url_rule("/slash/", view_func=site.view("slash"))
    app.before_request(lambda: site.called.append("before"))
    return site


@pytest.mark.parametrize(
    ("target", "status", "handed_on"),
    [
        pytest.param("/orders", 200, 200, id="function, Flask answers"),
        pytest.param("/scoped", 200, 200, id="function with scopes, Flask answers"),
        pytest.param("/shop/orders", 200, 200, id="blueprint with scopes, Flask answers"),
        pytest.param("/plain", 200, 200, id="MethodView, Flask answers"),
        pytest.param("/static/style.css", 200, 200, id="static, Flask answers"),
        pytest.param("/own", 401, "own", id="function that answers OPTIONS"),
        pytest.param("/own-scoped", 401, 401, id="function that answers OPTIONS, with scopes"),
        pytest.param("/things", 401, "options", id="MethodView with options"),
        pytest.param("/open", "open", "open", id="public"),
        pytest.param("/maybe", "maybe", "maybe", id="optional"),
        pytest.param("/slash", 401, 308, id="redirect"),
        pytest.param("/nowhere", 401, 404, id="no view"),
    ],
)
@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_p05_flask_answers_without_any_function_of_the_app(
    target: str, status: int | str, handed_on: int | str, allowed: bool
) -> None:
    site = flask_site(allow_preflight=allowed)
    wanted = handed_on if allowed else status
    response = site.app.test_client().open(target, method="OPTIONS", headers=ASKS)
    views = [name for name in site.called if not name.startswith("before")]
    if isinstance(wanted, str):
        assert (response.status_code, views) == (200, [wanted])
    else:
        assert (response.status_code, views) == (wanted, [])
        if not allowed:
            assert site.called == []
    if status == 200:
        assert "OPTIONS" in response.headers["Allow"]
    assert site.keys.calls == 0


@like_one
def test_p05_flask_answers_nothing_but_a_real_one(
    method: str, headers: dict[str, str], parts: dict[str, Any], real: bool
) -> None:
    site = flask_site()
    sent = {"query_string": parts.get("query", ""), "data": parts.get("body", b"")}
    # Flask's own answer runs nothing, whatever the request says of its method.
    harmless = method == "OPTIONS" and bool(headers.get("Origin"))
    harmless = harmless and headers.get("Access-Control-Request-Method") == "POST"
    assert site.status("/orders", method=method, headers=headers, **sent) == (200 if harmless else 401)
    assert site.called == []
    assert harmless >= real


@pytest.mark.parametrize("order", ["before", "after"])
def test_flask_cors_says_who_may_call(order: str) -> None:
    cors = pytest.importorskip("flask_cors").CORS
    site = Site()
    site.app.add_url_rule("/orders", view_func=site.guard.require_scopes("write")(site.view("orders")))
    if order == "after":
        cors(site.app, origins=["https://app.example"])
    else:
        site.app = flask.Flask("before")
        cors(site.app, origins=["https://app.example"])
        site.guard.init_app(site.app)
        site.app.add_url_rule("/orders", view_func=site.guard.require_scopes("write")(site.view("orders")))
    client = site.app.test_client()
    response = client.options("/orders", headers=ASKS)
    assert response.status_code == 200
    assert response.headers.getlist("Access-Control-Allow-Origin") == ["https://app.example"]
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    refused = client.get("/orders", headers={"Origin": "https://app.example"})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (
        401,
        "https://app.example",
    )
    assert site.called == []
    assert client.get("/orders", headers={"apikey": WRITER}).text == "orders"


def test_p05_what_is_mounted_inside_the_guard_sees_no_preflight() -> None:
    reached: list[str] = []

    def mounted(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        reached.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"secret"]

    site = flask_site()
    app = flask.Flask("catches all")
    app.add_url_rule("/<path:rest>", view_func=site.view("all"))
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": mounted})  # type: ignore[method-assign]
    site.guard.init_app(app)
    response = app.test_client().options("/metrics", headers=ASKS)
    assert b"secret" not in response.data
    assert (reached, site.called) == ([], [])


def test_a_preflight_is_counted_apart(caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []
    site = flask_site(on_decision=lambda decision, environ: told.append(decision.reason))
    with caplog.at_level("INFO", "apikey_guard"):
        assert site.status("/orders", method="OPTIONS", headers=ASKS) == 200
    stats = site.app.extensions["apikey_guard"].stats()
    assert (stats["allowed"], stats["denied"], stats["preflights"]) == (0, 0, 1)
    assert (told, caplog.records) == (["preflight"], [])


# -- Django ---------------------------------------------------------------------------------------

REACHED: list[str] = []


def orders(request: Any) -> HttpResponse:
    REACHED.append("orders")
    return HttpResponse("secret")


async def orders_async(request: Any) -> HttpResponse:
    REACHED.append("orders")
    return HttpResponse("secret")


class Orders(View):
    def get(self, request: Any) -> HttpResponse:
        return orders(request)

    def options(self, request: Any) -> HttpResponse:  # type: ignore[override]  # no other arguments here
        return orders(request)


class Generic(View):
    def get(self, request: Any) -> HttpResponse:
        return orders(request)


class Rest(APIView):  # type: ignore[misc]  # untyped base
    """An API."""

    def get(self, request: Any) -> Response:
        return Response("secret")


class RestScoped(Rest):
    authentication_classes = [ApiKeyAuthentication]  # noqa: RUF012 - as REST framework has it
    permission_classes = [HasScopes.of("write")]  # noqa: RUF012


urlpatterns = [
    url("function", orders),
    url("async", orders_async),
    url("class", Orders.as_view()),
    url("generic", Generic.as_view()),
    url("rest", Rest.as_view()),
    url("rest-scoped", RestScoped.as_view()),
    url("scoped", require_scopes("write")(orders)),
    url("scoped-class", require_scopes("write")(Orders.as_view())),
    url("open", public(orders)),
    url("maybe", optional(orders)),
]

CORS_LAYER = "corsheaders.middleware.CorsMiddleware"


@pytest.fixture
def django_client() -> Iterator[Callable[..., Any]]:
    def send(target: str, *, outside: tuple[str, ...] = (), method: str = "OPTIONS", **given: object) -> Any:
        settings = {"KEY_SERVICE": FakeKeyService([GOOD]), **given}
        middleware = [*outside, django_adapter.GUARD]
        with override_settings(
            APIKEY_GUARD=settings,
            ROOT_URLCONF=__name__,
            MIDDLEWARE=middleware,
            CORS_ALLOWED_ORIGINS=["https://app.example"],
            REST_FRAMEWORK={
                "UNAUTHENTICATED_USER": None,
                "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
            },
        ):
            try:
                return Client(headers=ASKS).generic(method, target)
            finally:
                apps.get_app_config("apikey_guard").guard.close()  # type: ignore[attr-defined]  # our AppConfig

    REACHED.clear()
    yield send
    REACHED.clear()


@pytest.mark.parametrize(
    ("target", "status", "handed_on"),
    [
        pytest.param("/function", 401, 200, id="function"),
        pytest.param("/async", 401, 200, id="async function"),
        pytest.param("/class", 401, 200, id="class with options"),
        pytest.param("/generic", 401, 200, id="class without"),
        pytest.param("/rest", 401, 200, id="REST framework"),
        pytest.param("/rest-scoped", 401, 401, id="REST framework, HasScopes"),
        pytest.param("/scoped", 401, 401, id="function with scopes"),
        pytest.param("/scoped-class", 401, 401, id="class with scopes"),
        pytest.param("/open", 200, 200, id="public"),
        pytest.param("/maybe", 200, 200, id="optional"),
        pytest.param("/nowhere", 401, 404, id="no view"),
    ],
)
@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_p05_a_view_of_django_answers_only_where_asked_for(
    django_client: Callable[..., Any], target: str, status: int, handed_on: int, allowed: bool
) -> None:
    wanted = handed_on if allowed else status
    assert django_client(target, allow_preflight=allowed).status_code == wanted
    if wanted != 200:
        assert REACHED == []


@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_p05_django_takes_lower_case_for_options_but_the_guard_does_not(
    django_client: Callable[..., Any], allowed: bool
) -> None:
    assert django_client("/function", method="options", allow_preflight=allowed).status_code == 401
    assert REACHED == []


def test_a_cors_layer_outside_answers_before_the_guard(django_client: Callable[..., Any]) -> None:
    pytest.importorskip("corsheaders")
    response = django_client("/scoped", outside=(CORS_LAYER,))
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    assert REACHED == []


# -- what the checks say --------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "handed on"])
def test_the_checks_say_what_is_handed_on(allowed: bool) -> None:
    settings = load_settings(key_service=FakeKeyService(), allow_preflight=allowed)
    assert any(found.code == "allow_preflight" for found in about_settings(settings)) == allowed
    shown = flask_site(allow_preflight=allowed).app.test_cli_runner()
    said = shown.invoke(args=["apikey-guard", "check", "--offline"]).output
    assert ("warning: allow_preflight: an OPTIONS" in said) == allowed
    given = {"KEY_SERVICE": FakeKeyService(), "ALLOW_PREFLIGHT": allowed}
    with override_settings(APIKEY_GUARD=given):
        ids = [message.id for message in run_checks(tags=["security"], include_deployment_checks=True)]
    assert ("apikey_guard.W008" in ids) == allowed
