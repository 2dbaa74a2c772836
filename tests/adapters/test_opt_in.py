"""Opt-in: what neither a route nor a mark names is open; what asks for a key finds the one that was sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flask
import pytest
from flask.views import MethodView

pytest.importorskip("rest_framework")

from tests.adapters import django_adapter

from asgiref.sync import async_to_sync  # isort: skip
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject, classproperty
from django.views import View
from rest_framework.decorators import action, api_view  # type: ignore[import-untyped]
from rest_framework.permissions import AllowAny  # type: ignore[import-untyped]
from rest_framework.response import Response  # type: ignore[import-untyped]
from rest_framework.views import APIView  # type: ignore[import-untyped]
from rest_framework.viewsets import ViewSet  # type: ignore[import-untyped]

from apikey_guard import Consumer, GuardMiddleware, Route
from apikey_guard.core.standin import BEGINNING
from apikey_guard.django import optional, public, require_scopes, required
from apikey_guard.django.drf import ApiKeyAuthentication, HasScopes
from apikey_guard.flask import ApiKeyGuard, current_consumer
from apikey_guard.gateway import create_app
from apikey_guard.testing import FakeKeyService, as_consumer
from tests.harness import build_environ, call

GOOD, WRITER, BAD = "KCANARY-good-0123456789", "KCANARY-writer-0123456789", "KCANARY-bad"
ROUTES = [
    Route("/routed/*"),
    Route("/scoped-route/*", scopes=["write"]),
    Route("/public-route/*", access="public"),
]


@pytest.fixture
def keys() -> FakeKeyService:
    service = FakeKeyService({GOOD: Consumer(id="42")})
    service.add(WRITER, Consumer(id="7", scopes=frozenset({"write"})))
    return service


# Without a key, with a bad one, with one, with one that has the scope; and with an empty one.
Ends = tuple[int, int, int, int, int]
ALL: Ends = (200, 200, 200, 200, 200)
KEY: Ends = (401, 401, 200, 200, 401)
SCOPE: Ends = (401, 401, 403, 200, 401)
MAYBE: Ends = (200, 401, 200, 200, 401)
PRESENTED: list[dict[str, str]] = [{}, *({"apikey": key} for key in (BAD, GOOD, WRITER, ""))]

Ask = Callable[[str, dict[str, str]], tuple[int, str]]


def ends(ask: Ask, target: str) -> Ends:
    first = tuple(ask(target, headers)[0] for headers in PRESENTED)
    assert tuple(ask(target, headers)[0] for headers in PRESENTED) == first, "remembered, it ends otherwise"
    return first  # type: ignore[return-value]  # as many as are presented


# -- routes, before any app ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ALL),
        ("/new", ALL),
        ("/routed/x", KEY),
        ("/routed", KEY),
        ("/scoped-route/x", SCOPE),
        ("/public-route/x", ALL),
        ("//routed/x", KEY),
        ("/ROUTED/x", KEY),
        ("/x/../routed/x", KEY),
        ("/routed;a=b/x", KEY),
        ("/routed%2fx", KEY),
        ("/%72outed/x", KEY),
        ("/\\routed/x", KEY),
    ],
)
def test_p01_an_odd_path_gets_the_strictest_of_its_readings_and_never_the_default_alone(
    keys: FakeKeyService, path: str, expected: Ends
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    guarded = GuardMiddleware(app, key_service=keys, default_access="public", routes=ROUTES)

    def ask(target: str, headers: dict[str, str]) -> tuple[int, str]:
        environ = build_environ(target, headers=list(headers.items()))
        return call(guarded, environ, lint=False, may_echo=True).status, ""

    assert ends(ask, path) == expected


@pytest.mark.parametrize(("access", "expected"), [("required", KEY), ("optional", MAYBE), ("public", ALL)])
def test_the_default_holds_where_nothing_else_does(keys: FakeKeyService, access: str, expected: Ends) -> None:
    app = flask.Flask(__name__)
    ApiKeyGuard(app, key_service=keys, default_access=access, routes=[Route("/routed")])
    for name in ("plain", "routed"):
        app.add_url_rule(f"/{name}", name, lambda: "")

    def ask(target: str, headers: dict[str, str]) -> tuple[int, str]:
        return app.test_client().get(target, headers=headers).status_code, ""

    assert ends(ask, "/plain") == expected
    assert ends(ask, "/routed") == KEY
    # 404s, static files and methods that are not allowed are no views, so nothing else holds for them.
    without = {"required": 401, "optional": 404, "public": 404}[access]
    assert [ask(path, {})[0] for path in ("/unknown", "/static/x")] == [without] * 2


# -- Flask ---------------------------------------------------------------------------------------------


@pytest.fixture
def site(keys: FakeKeyService) -> flask.Flask:
    app = flask.Flask(__name__)
    app.testing = True
    guard = ApiKeyGuard(app, key_service=keys, default_access="public", routes=ROUTES)

    def view(**_: object) -> str:
        return (
            f"{current_consumer.id if current_consumer else 'nobody'} {flask.request.headers.get('apikey')}"
        )

    def named(name: str) -> Callable[..., str]:
        copy = type(view)(view.__code__, view.__globals__, name)
        copy.__kwdefaults__ = view.__kwdefaults__
        return copy

    for place, mark in {
        "/plain": None,
        "/required": guard.required,
        "/scoped": guard.require_scopes("write"),
        "/empty": guard.require_scopes(),
        "/maybe": guard.optional,
        "/open": guard.public,
        "/public-route/required": guard.required,
        "/public-route/scoped": guard.require_scopes("write"),
        "/public-route/plain": None,
        "/routed/open": guard.public,
        "/routed/plain": None,
    }.items():
        made = named(place)
        app.add_url_rule(place, place, made if mark is None else mark(made))

    class Methods(MethodView):
        def get(self) -> str:
            return "nobody"

        @guard.required
        def post(self) -> str:
            return view()

    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))
    inside = guard.required(flask.Blueprint("inside", __name__, url_prefix="/inside"))
    inside.add_url_rule("/plain", "plain", named("inside"))
    inside.add_url_rule("/open", "open", guard.public(named("inside-open")))
    app.register_blueprint(inside)
    return app


@pytest.mark.parametrize(
    ("target", "expected"),
    {
        "/plain": ALL,
        "/required": KEY,
        "/scoped": SCOPE,
        "/empty": KEY,
        "/maybe": MAYBE,
        "/open": ALL,
        "/public-route/required": KEY,
        "/public-route/scoped": SCOPE,
        "/public-route/plain": ALL,
        "/routed/open": ALL,
        "/routed/plain": KEY,
        "/inside/plain": KEY,
        "/inside/open": ALL,
    }.items(),
)
def test_a16_what_asks_for_a_key_in_flask_gets_the_one_that_was_sent(
    site: flask.Flask, target: str, expected: Ends
) -> None:
    def ask(target: str, headers: dict[str, str]) -> tuple[int, str]:
        response = site.test_client().get(target, headers=headers)
        return response.status_code, response.text

    assert ends(ask, target) == expected
    status, text = ask(target, {"apikey": WRITER})
    assert status == 200
    if expected is not ALL:
        assert text.startswith(f"7 {BEGINNING}"), "who calls, and what tells callers apart"
    elif not target.startswith("/routed"):
        assert text == "nobody None"


def test_methods_ask_for_themselves(site: flask.Flask) -> None:
    client = site.test_client()
    assert client.get("/methods").text == "nobody"
    assert [client.post("/methods", headers=headers).status_code for headers in PRESENTED] == list(KEY)


def test_flask_check_says_what_is_open(site: flask.Flask, keys: FakeKeyService) -> None:
    shown = site.test_cli_runner().invoke(args=["apikey-guard", "check", "--offline"]).output
    assert "everything else, 404s, static files and new views too: public" in shown
    assert "view /required at /required (GET,HEAD,OPTIONS): required" in shown
    assert "nothing is guarded" not in shown
    bare = flask.Flask("bare")
    ApiKeyGuard(bare, key_service=keys, default_access="public")
    checking = ["apikey-guard", "check", "--offline"]
    assert "nothing is guarded" in bare.test_cli_runner().invoke(args=checking).output
    guard = ApiKeyGuard(key_service=keys, default_access="public")
    before = flask.Flask("before")
    guard.init_app(before)
    before.before_request(guard.required(lambda: None))
    assert "nothing is guarded" not in before.test_cli_runner().invoke(args=checking).output


def test_as_consumer_reaches_what_asks_for_a_key(
    site: flask.Flask, keys: FakeKeyService, caplog: pytest.LogCaptureFixture
) -> None:
    with as_consumer(site.extensions["apikey_guard"], "9", scopes=["write"]):
        client = site.test_client()
        assert client.get("/required").text.startswith("9 ")
        assert client.get("/scoped").status_code == 200
    assert keys.calls == 0
    assert "fewer than" not in caplog.text  # no key was weak: there was none


# -- Django --------------------------------------------------------------------------------------------


def answered(request: HttpRequest) -> HttpResponse:
    consumer = request.consumer  # type: ignore[attr-defined]  # set by the middleware
    return HttpResponse(f"{consumer.id if consumer else 'nobody'} {request.headers.get('apikey')}")


def plain(request: HttpRequest, **_: object) -> HttpResponse:
    return answered(request)


async def later(request: HttpRequest) -> HttpResponse:
    return answered(request)


class Orders(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request)

    @require_scopes("write")
    def post(self, request: HttpRequest) -> HttpResponse:
        return answered(request)


class OrdersAsync(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request)

    @required
    async def post(self, request: HttpRequest) -> HttpResponse:
        return answered(request)


def who(request: Any) -> Any:
    return Response("nobody" if request.auth is None else request.auth.id)


class Rest(APIView):  # type: ignore[misc]  # untyped base
    authentication_classes = [ApiKeyAuthentication]  # noqa: RUF012 - as REST framework has it
    permission_classes = [AllowAny]  # noqa: RUF012

    def get(self, request: Any) -> Any:
        return who(request)


class Scoped(Rest):
    permission_classes = [HasScopes]  # noqa: RUF012
    required_scopes = ["write"]  # noqa: RUF012


class ScopedKnown(Scoped):
    def get(self, request: Any) -> Any:
        return Response(request._request.consumer.id)


class ScopedAlone(ScopedKnown):
    authentication_classes = []  # noqa: RUF012


@public
class Things(ViewSet):  # type: ignore[misc]  # untyped base
    authentication_classes = []  # noqa: RUF012
    permission_classes = [AllowAny]  # noqa: RUF012

    def list(self, request: Any) -> Any:
        return Response("nobody")

    @required
    def retrieve(self, request: Any, pk: str) -> Any:
        return Response(request._request.consumer.id)


@api_view(["GET"])  # type: ignore[untyped-decorator]  # untyped
@required
def below(request: Any) -> Any:
    return Response(request._request.consumer.id)


class Urls:
    urlpatterns = [  # noqa: RUF012
        path("plain", plain),
        path("required", required(plain)),
        path("required-async", required(later)),
        path("scoped", require_scopes("write")(plain)),
        path("maybe", optional(plain)),
        path("open", public(plain)),
        path("public-route/required", required(plain)),
        path("public-route/plain", plain),
        path("routed/plain", plain),
        path("orders", Orders.as_view()),
        path("orders-async", OrdersAsync.as_view()),
        path("class", required(Orders.as_view())),
        path("rest", Rest.as_view()),
        path("rest-scoped", Scoped.as_view()),
        path("rest-scoped-alone", ScopedAlone.as_view()),
        path("public-route/rest-scoped", ScopedKnown.as_view()),
        path("things", Things.as_view({"get": "list"})),
        path("things/<pk>", Things.as_view({"get": "retrieve"})),
        path("below", below),
    ]


class Bare:
    urlpatterns = [path("plain", plain)]  # noqa: RUF012


class Acting(ViewSet):  # type: ignore[misc]  # untyped base
    @action(detail=False, permission_classes=[HasScopes.of("a")])  # type: ignore[untyped-decorator]  # untyped
    def act(self, request: Any) -> Any:
        return who(request)


def computed(*_: object) -> Any:
    raise AssertionError("nobody has asked for it")


class Lazy(View):
    lazy = SimpleLazyObject(computed)
    made = classproperty(computed)  # type: ignore[no-untyped-call]


def urls_of(view: type, permissions: Sequence[Any] = (AllowAny,), **actions: str) -> type:
    """A URLconf with one class of REST framework's."""
    kind = type("Kind", (view,), {"permission_classes": permissions, "authentication_classes": []})
    made = kind.as_view(actions) if actions else kind.as_view()  # type: ignore[attr-defined]
    return type("Conf", (), {"urlpatterns": [path("", made)]})


@pytest.fixture
def project(keys: FakeKeyService) -> Iterator[None]:
    rest = {"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []}
    given = {"KEY_SERVICE": keys, "DEFAULT_ACCESS": "public", "ROUTES": ROUTES}
    middleware = [django_adapter.GUARD]
    with override_settings(APIKEY_GUARD=given, ROOT_URLCONF=Urls, REST_FRAMEWORK=rest, MIDDLEWARE=middleware):
        yield


def ask_sync(target: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    response = Client().generic(method, target, headers={"Accept": "application/json", **headers})
    return response.status_code, response.content.decode()


def ask_async(target: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    async def ask() -> Any:
        given = {"Accept": "application/json", **headers}
        return await AsyncClient().generic(method, target, headers=given)

    response = async_to_sync(ask)()
    return response.status_code, response.content.decode()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["wsgi", "asgi"])
@pytest.mark.parametrize(
    ("target", "expected"),
    {
        "/plain": ALL,
        "/required": KEY,
        "/required-async": KEY,
        "/scoped": SCOPE,
        "/maybe": MAYBE,
        "/open": ALL,
        "/public-route/required": KEY,
        "/public-route/plain": ALL,
        "/routed/plain": KEY,
        "/orders": ALL,
        "/class": KEY,
        "/rest": MAYBE,
        "/rest-scoped": SCOPE,
        "/rest-scoped-alone": SCOPE,
        "/public-route/rest-scoped": SCOPE,
        "/things": ALL,
        "/things/1": KEY,
        "/below": KEY,
    }.items(),
)
def test_a16_what_asks_for_a_key_in_django_gets_the_one_that_was_sent(
    ask: Ask, target: str, expected: Ends
) -> None:
    if target == "/rest-scoped-alone":
        # Without an authenticator REST framework knows no challenge, and says 403 where it says 401 else.
        expected = (403, 403, 403, 200, 403)
    assert ends(ask, target) == expected
    text = ask(target, {"apikey": WRITER})[1]
    if expected is ALL:
        assert "7" not in text
    else:
        assert text.strip('"').startswith("7")
    if expected is KEY and target.startswith(("/required", "/public-route", "/routed", "/class")):
        assert BEGINNING in text, "what tells callers apart"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["wsgi", "asgi"])
@pytest.mark.parametrize(("target", "expected"), [("/orders", SCOPE), ("/orders-async", KEY)])
def test_methods_of_classes_ask_for_themselves(
    ask: Callable[..., tuple[int, str]], target: str, expected: Ends
) -> None:
    assert tuple(ask(target, headers, "POST")[0] for headers in PRESENTED) == expected
    assert ask(target, {})[0] == 200
    shown = ask(target, {"apikey": WRITER}, "POST")[1]
    assert shown.startswith(f"7 {BEGINNING}"), "who calls, and what tells callers apart"


def test_a_key_in_the_body_is_found_by_what_asks_for_it(keys: FakeKeyService) -> None:
    given = {"KEY_SERVICE": keys, "DEFAULT_ACCESS": "public", "KEY_LOCATIONS": ["body:apikey"]}
    form = "application/x-www-form-urlencoded"
    with override_settings(APIKEY_GUARD=given, ROOT_URLCONF=Urls):
        for target in ("/required", "/orders"):
            bodies = [f"apikey={WRITER}&a=1", f"apikey={BAD}", "a=1"]
            answers = [Client().generic("POST", target, body, form).status_code for body in bodies]
            assert answers == [200, 401, 401], target


@pytest.mark.parametrize(
    ("urls", "routes", "expected"),
    [
        (Bare, [], ["apikey_guard.W013"]),
        (Bare, [Route("/api/*")], []),
        (Urls, [], []),
        (urls_of(APIView), [], ["apikey_guard.W013"]),
        (urls_of(APIView, [HasScopes.of("a") | AllowAny]), [], []),
        (urls_of(APIView, [AllowAny & (AllowAny | HasScopes.of("a"))]), [], []),
        (urls_of(APIView, [~HasScopes.of("a")]), [], ["apikey_guard.W013"]),
        (urls_of(Acting, get="act"), [], []),
        (urls_of(Lazy), [], ["apikey_guard.W013"]),
    ],
    ids=["nothing", "a-route", "marks", "a-class", "either", "both", "not", "an-action", "lazy"],
)
def test_checks_say_when_nothing_is_guarded(
    keys: FakeKeyService, urls: type, routes: list[Route], expected: list[str]
) -> None:
    given = {"KEY_SERVICE": keys, "DEFAULT_ACCESS": "public", "ROUTES": routes}
    with override_settings(APIKEY_GUARD=given, ROOT_URLCONF=urls):
        messages = [str(message.id) for message in run_checks(tags=["security"])]
    assert [name for name in messages if name.startswith("apikey_guard.W013")] == expected


# -- a gateway -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        (
            {"default_access": "public"},
            "no key is needed wherever no route says otherwise; no route guards anything",
        ),
        ({"default_access": "optional", "routes": ROUTES}, "guarded are /routed/*, /scoped-route/*"),
    ],
    ids=["closed", "open", "optional"],
)
def test_a_gateway_that_is_open_says_so(
    keys: FakeKeyService, caplog: pytest.LogCaptureFixture, given: dict[str, Any], said: str | None
) -> None:
    with caplog.at_level(logging.WARNING, "apikey_guard"):
        create_app(key_service=keys, origin="http://127.0.0.1:9", **given).close()
    warnings = [
        record.getMessage() for record in caplog.records if "this gateway is open" in record.getMessage()
    ]
    assert bool(warnings) == (said is not None)
    assert said is None or said in warnings[0]
