"""Pages of the ``cors_origins`` can read what the guard answers, and their preflights are answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from apikey_guard import GuardMiddleware, Rejection, Route, SettingsError, load_settings
from apikey_guard.testing import FakeKeyService
from tests.adapters import django_adapter
from tests.adapters.flask_site import GOOD, Site
from tests.forwarding.gateway import Gateway
from tests.harness import Response, build_environ, call
from tests.harness.guarded import Guarded
from tests.harness.origin import Origin

from django.apps import apps  # isort: skip
from asgiref.sync import async_to_sync
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path as url
from rest_framework.permissions import IsAuthenticated  # type: ignore[import-untyped]  # no stubs
from rest_framework.views import APIView  # type: ignore[import-untyped]  # no stubs

from apikey_guard.django import require_scopes
from apikey_guard.django.drf import ApiKeyAuthentication

PAGE = "https://app.example"
OTHER = "https://other.example"
ASKS = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "DELETE",
    "Access-Control-Request-Headers": "apikey, x-trace",
}
ALLOW, EXPOSE = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"


def cors_of(response: Response) -> Mapping[str, list[str]]:
    """The headers by which browsers decide who may read, with all their values."""
    found: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name.startswith("Access-Control-") or name == "Vary":
            found.setdefault(name, []).append(value)
    return found


# -- the guard's own answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "origin", "expected"),
    [
        pytest.param({"cors_origins": [PAGE]}, PAGE, {ALLOW: [PAGE], "Vary": ["Origin"]}, id="named"),
        pytest.param({"cors_origins": [OTHER, PAGE]}, PAGE, {ALLOW: [PAGE], "Vary": ["Origin"]}, id="two"),
        pytest.param({"cors_origins": PAGE}, PAGE, {ALLOW: [PAGE], "Vary": ["Origin"]}, id="a single text"),
        pytest.param(
            {"cors_origins": ["HTTPS://App.Example:443"]},
            PAGE,
            {ALLOW: [PAGE], "Vary": ["Origin"]},
            id="as browsers spell it",
        ),
        pytest.param({"cors_origins": "*"}, PAGE, {ALLOW: ["*"], "Vary": ["Origin"]}, id="all"),
        pytest.param({"cors_origins": "*"}, "null", {ALLOW: ["*"], "Vary": ["Origin"]}, id="all, opaque"),
        pytest.param(
            {"cors_origins": [PAGE], "key_locations": ["cookie:key"]},
            PAGE,
            {ALLOW: [PAGE], "Vary": ["Origin"], "Access-Control-Allow-Credentials": ["true"]},
            id="with a cookie",
        ),
        pytest.param(
            {"cors_origins": [PAGE], "routes": [Route("/x", key_locations=["cookie:key"])]},
            PAGE,
            {ALLOW: [PAGE], "Vary": ["Origin"], "Access-Control-Allow-Credentials": ["true"]},
            id="with a cookie of a route",
        ),
        pytest.param({"cors_origins": [PAGE]}, OTHER, {"Vary": ["Origin"]}, id="another page"),
        pytest.param({"cors_origins": [PAGE]}, PAGE + ":8443", {"Vary": ["Origin"]}, id="another port"),
        pytest.param({"cors_origins": [PAGE]}, PAGE + ".evil", {"Vary": ["Origin"]}, id="a longer host"),
        pytest.param({"cors_origins": [PAGE]}, "http://app.example", {"Vary": ["Origin"]}, id="http"),
        pytest.param({"cors_origins": [PAGE]}, "null", {"Vary": ["Origin"]}, id="opaque"),
        pytest.param({"cors_origins": [PAGE]}, None, {"Vary": ["Origin"]}, id="no page"),
        pytest.param({}, PAGE, {}, id="by default"),
    ],
)
def test_a_refusal_says_who_may_read_it(
    settings: dict[str, Any], origin: str | None, expected: Mapping[str, list[str]]
) -> None:
    with Guarded(**settings) as guarded:
        sent = {} if origin is None else {"Origin": origin}
        response = guarded.get(None, headers=sent.items())
        exposed = {EXPOSE: ["WWW-Authenticate"]} if ALLOW in expected else {}
        assert (response.status, cors_of(response)) == (401, {**expected, **exposed})
        # All else is as it was.
        unset = {name: value for name, value in settings.items() if name != "cors_origins"}
        with Guarded(**unset) as plain:
            bare = plain.get(None)
        assert response.body == bare.body
        assert [pair for pair in response.headers if pair[0] not in cors_of(response)] == list(bare.headers)


def fails(_credential: object) -> object:
    raise RuntimeError("nobody is there")


def with_a_large_body(environ: dict[str, Any]) -> dict[str, Any]:
    return {
        **environ,
        "CONTENT_LENGTH": "99999",
        "CONTENT_TYPE": "application/json",
        "REQUEST_METHOD": "POST",
    }


@pytest.mark.parametrize(
    ("status", "settings", "key", "change", "exposed"),
    [
        pytest.param(401, {}, "KCANARY-bad", dict, "WWW-Authenticate", id="bad key"),
        pytest.param(403, {"routes": [Route("/*", scopes=["w"])]}, GOOD, dict, None, id="scope"),
        pytest.param(
            413,
            {"key_locations": ["body:k"], "body_max_bytes": 9},
            None,
            with_a_large_body,
            None,
            id="large",
        ),
        pytest.param(503, {"key_service": fails}, GOOD, dict, "Retry-After", id="key service away"),
        pytest.param(
            500, {"render_rejection": lambda rejection, environ: 1}, None, dict, None, id="a hook that fails"
        ),
    ],
)
def test_every_refusal_can_be_read(
    status: int, settings: dict[str, Any], key: str | None, change: Callable[..., Any], exposed: str | None
) -> None:
    settings = {"key_service": FakeKeyService([GOOD]), **settings}
    with GuardMiddleware(lambda *_: [], cors_origins=[PAGE], **settings).guard as guard:
        headers = [("Origin", PAGE), *([("apikey", key)] if key else [])]
        wsgi = GuardMiddleware(lambda *_: [], guard=guard)
        response = call(wsgi, change(build_environ("/", headers=headers)), lint=False)
    assert (response.status, response.all_headers(ALLOW)) == (status, [PAGE])
    assert response.header(EXPOSE) == exposed


@pytest.mark.parametrize(
    ("said", "allowed", "credentials"),
    [
        (("access-control-allow-origin", "https://mine"), ["https://mine"], []),
        (("Access-Control-Allow-Credentials", "true"), [PAGE], ["true"]),
    ],
    ids=["an-origin", "credentials"],
)
def test_what_the_hook_says_is_not_said_again(
    said: tuple[str, str], allowed: list[str], credentials: list[str]
) -> None:
    def render(rejection: Rejection, environ: Mapping[str, Any]) -> Rejection:
        return replace(rejection, headers=(*rejection.headers, said))

    with Guarded(cors_origins=[PAGE], key_locations=["cookie:key"], render_rejection=render) as guarded:
        response = guarded.get(None, headers=[("Origin", PAGE)])
        assert response.all_headers(ALLOW) == allowed
        assert response.all_headers("Access-Control-Allow-Credentials") == credentials


def test_answers_of_the_app_are_not_touched() -> None:
    with Guarded(cors_origins=[PAGE], routes=[Route("/open", access="public")]) as guarded:
        for key, path in ((GOOD, "/"), (None, "/open")):
            response = guarded.get(key, path, headers=[("Origin", PAGE)])
            assert (response.status, cors_of(response)) == (200, {})


def test_an_origin_that_gives_no_answer_and_one_that_does() -> None:
    with Gateway("http://127.0.0.1:9", cors_origins=[PAGE]) as gateway:
        response = gateway.get("/", headers=[("Origin", PAGE)])
        assert (response.status, response.all_headers(ALLOW)) == (502, [PAGE])
        refused = gateway.get("/", key=None, headers=[("Origin", PAGE)])
        assert (refused.status, refused.all_headers(ALLOW)) == (401, [PAGE])
    with Origin() as origin, Gateway(origin, cors_origins=[PAGE]) as gateway:
        assert cors_of(gateway.get("/", headers=[("Origin", PAGE)])) == {}


@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_where_nothing_is_enforced_nothing_is_answered(mode: str) -> None:
    answered = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        answered.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"mine"]

    with GuardMiddleware(app, key_service=FakeKeyService(), mode=mode, cors_origins=[PAGE]).guard as guard:
        response = call(GuardMiddleware(app, guard=guard), preflight())
        assert guard.stats().get("preflights", 0) == (mode == "monitor")
    assert (response.body, cors_of(response), answered) == (b"mine", {}, ["OPTIONS"])


# -- preflights -----------------------------------------------------------------------------------


def preflight(path: str = "/orders", **headers: str) -> dict[str, Any]:
    sent = {**ASKS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return build_environ(path, method="OPTIONS", headers=[pair for pair in sent.items() if pair[1]])


ANSWER = {
    ALLOW: [PAGE],
    "Vary": ["Origin, Access-Control-Request-Method, Access-Control-Request-Headers"],
    "Access-Control-Allow-Methods": ["DELETE"],
    "Access-Control-Allow-Headers": ["apikey, x-trace"],
    "Access-Control-Max-Age": ["600"],
}


def test_a_preflight_of_a_named_page_is_answered_as_it_asks() -> None:
    with Guarded(cors_origins=[PAGE], routes=[Route("/scoped", scopes=["w"])]) as guarded:
        for path in ("/orders", "/scoped", "//odd"):
            response = call(guarded.wsgi, preflight(path))
            assert (response.status, response.body, response.all_headers("Content-Length")) == (204, b"", [])
            assert cors_of(response) == ANSWER
        assert (guarded.app.calls, guarded.keys.calls) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "changed", "expected"),
    [
        pytest.param(
            {}, {"Access_Control_Request_Headers": ""}, {"Access-Control-Allow-Headers": None}, id="none"
        ),
        pytest.param(
            {},
            {"Access_Control_Request_Headers": 'a"b'},
            {"Access-Control-Allow-Headers": None},
            id="what is no header",
        ),
        pytest.param({"cors_origins": "*"}, {}, {ALLOW: ["*"]}, id="all"),
        pytest.param(
            {"key_locations": ["cookie:k"]},
            {},
            {"Access-Control-Allow-Credentials": ["true"]},
            id="with a cookie",
        ),
    ],
)
def test_what_the_answer_to_a_preflight_says(
    settings: dict[str, Any], changed: dict[str, str], expected: dict[str, list[str] | None]
) -> None:
    with Guarded(**{"cors_origins": [PAGE], **settings}) as guarded:
        response = call(guarded.wsgi, preflight(**changed))
        wanted = {**ANSWER, **expected}
        assert cors_of(response) == {name: value for name, value in wanted.items() if value is not None}


@pytest.mark.parametrize(
    ("settings", "changed", "status"),
    [
        pytest.param({}, {"Origin": OTHER}, 401, id="another page"),
        pytest.param({}, {"Origin": "null"}, 401, id="opaque origin"),
        pytest.param({}, {"Origin": ""}, 401, id="no origin"),
        pytest.param({}, {"Access_Control_Request_Method": ""}, 401, id="no method"),
        pytest.param({}, {"Access_Control_Request_Method": "A B"}, 401, id="no method's name"),
        pytest.param({"routes": [Route("/*", access="public")]}, {}, 200, id="public: the app's own"),
        pytest.param({"routes": [Route("/*", access="optional")]}, {}, 204, id="optional"),
        pytest.param({"allow_preflight": True}, {}, 200, id="handed on"),
        pytest.param({"allow_preflight": True, "routes": [Route("/*", scopes=["w"])]}, {}, 204, id="scopes"),
    ],
)
def test_which_preflights_are_answered(
    settings: dict[str, Any], changed: dict[str, str], status: int
) -> None:
    with Guarded(**{"cors_origins": [PAGE], **settings}) as guarded:
        assert call(guarded.wsgi, preflight(**changed)).status == status
        assert guarded.app.calls == (status == 200)


def test_a_preflight_to_an_origin_is_answered_before_it() -> None:
    with Origin() as origin, Gateway(origin, cors_origins=[PAGE]) as gateway:
        response = call(gateway.wsgi, preflight())
        assert (response.status, cors_of(response), len(origin.requests)) == (204, ANSWER, 0)


# -- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"key_locations": ["header:apikey", "cookie:k"]}, id="of the guard"),
        pytest.param({"routes": [Route("/x", key_locations=["cookie:k"])]}, id="of a route"),
    ],
)
def test_all_origins_are_not_for_a_cookie(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"cors_origins: '\*' is not for cookie:k"):
        load_settings(**{"key_service": FakeKeyService(), "cors_origins": "*", **settings})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://a.example:080", "https://a.example:80"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, kept: str) -> None:
    settings = load_settings(key_service=FakeKeyService(), cors_origins=[given])
    assert settings.cors_origins == (kept,)


# -- Flask ----------------------------------------------------------------------------------------


def flask_site(**settings: Any) -> Site:
    site = Site(cors_origins=[PAGE], **settings)
    site.app.add_url_rule("/orders", view_func=site.view("orders"), methods=["GET", "DELETE"])
    site.app.add_url_rule("/own", view_func=site.view("own"), methods=["GET", "OPTIONS"])
    site.app.add_url_rule("/scoped", view_func=site.guard.require_scopes("w")(site.view("scoped")))
    site.app.add_url_rule("/open", view_func=site.guard.public(site.view("open")), methods=["GET", "OPTIONS"])
    return site


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/orders", None, 401), ("/nowhere", None, 401), ("/scoped", GOOD, 403), ("/static/x", None, 401)],
)
@pytest.mark.parametrize("handled", [False, True], ids=["the guard's own page", "an error page of the app"])
def test_flask_refusals_can_be_read(path: str, key: str | None, status: int, handled: bool) -> None:
    site = flask_site()
    if handled:
        site.app.register_error_handler(401, lambda error: ("mine", 401))
    headers = {"Origin": PAGE, **({"apikey": key} if key else {})}
    response = site.app.test_client().get(path, headers=headers)
    assert (response.status_code, response.headers.getlist(ALLOW)) == (status, [PAGE])
    assert "Origin" in response.headers.getlist("Vary")
    assert site.called == []


def test_flask_answers_of_views_are_not_touched() -> None:
    client = flask_site().app.test_client()
    for path, headers in (("/orders", {"apikey": GOOD}), ("/open", {}), ("/nowhere", {"apikey": GOOD})):
        response = client.get(path, headers={"Origin": PAGE, **headers})
        assert ALLOW not in response.headers
        assert "Vary" not in response.headers


@pytest.mark.parametrize("path", ["/orders", "/own", "/scoped", "/nowhere"])
def test_flask_preflights_are_answered(path: str) -> None:
    site = flask_site()
    site.app.register_error_handler(Exception, lambda error: ("mine", 500))
    response = site.app.test_client().options(path, headers=ASKS)
    assert (response.status_code, response.data, site.called) == (204, b"", [])
    assert {name: response.headers.getlist(name) for name in ANSWER} == ANSWER


def test_flask_leaves_the_preflight_of_an_open_view_to_it() -> None:
    site = flask_site()
    assert site.app.test_client().options("/open", headers=ASKS).text == "open"


@pytest.mark.parametrize("origin", [PAGE, OTHER])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_flask_cors_and_the_guard_never_both(origin: str, method: str) -> None:
    cors = pytest.importorskip("flask_cors")
    site = flask_site()
    cors.CORS(site.app, origins=[PAGE, OTHER])
    response = site.app.test_client().open("/orders", method=method, headers={**ASKS, "Origin": origin})
    assert response.headers.getlist(ALLOW) == [origin]
    assert (response.status_code == 401) == (method == "GET")


def test_flask_with_an_origin_that_gives_no_answer() -> None:
    site = flask_site(routes=[Route("/away/*", origin="http://127.0.0.1:9")])
    client = site.app.test_client()
    response = client.get("/away/x", headers={"Origin": PAGE, "apikey": GOOD})
    assert (response.status_code, response.headers.getlist(ALLOW)) == (502, [PAGE])
    refused = client.get("/away/x", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers.getlist(ALLOW)) == (401, [PAGE])


# -- Django ---------------------------------------------------------------------------------------


def orders(request: Any) -> HttpResponse:
    return HttpResponse("orders")


class Open(APIView):  # type: ignore[misc]  # untyped base
    """Open to all."""

    authentication_classes = [ApiKeyAuthentication]  # noqa: RUF012 - as REST framework has it


class Closed(Open):
    permission_classes = [IsAuthenticated]  # noqa: RUF012


urlpatterns = [
    url("orders", orders),
    url("scoped", require_scopes("w")(orders)),
    url("open", Open.as_view()),
    url("closed", Closed.as_view()),
]


async def send_async(method: str, target: str, headers: dict[str, str]) -> Any:
    return await AsyncClient().generic(method, target, headers=headers)


CORS_LAYER = "corsheaders.middleware.CorsMiddleware"


@pytest.fixture
def send() -> Callable[..., Any]:
    def send(
        target: str,
        method: str = "GET",
        *,
        outside: tuple[str, ...] = (),
        inside: bool = True,
        asynchronous: bool = False,
        **headers: str,
    ) -> Any:
        with override_settings(
            APIKEY_GUARD={"KEY_SERVICE": FakeKeyService([GOOD]), "CORS_ORIGINS": [PAGE]},
            ROOT_URLCONF=__name__,
            MIDDLEWARE=[*outside, *([django_adapter.GUARD] if inside else [])],
            REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
            CORS_ALLOWED_ORIGINS=[PAGE, OTHER],
        ):
            try:
                if asynchronous:
                    return async_to_sync(send_async)(method, target, headers)
                return Client(headers=headers).generic(method, target)
            finally:
                apps.get_app_config("apikey_guard").guard.close()  # type: ignore[attr-defined]  # our AppConfig

    return send


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@both
@pytest.mark.parametrize(("path", "key", "status"), [("/orders", None, 401), ("/scoped", GOOD, 403)])
def test_django_refusals_can_be_read(
    send: Callable[..., Any], path: str, key: str | None, status: int, asynchronous: bool
) -> None:
    response = send(path, asynchronous=asynchronous, Origin=PAGE, **({"apikey": key} if key else {}))
    assert (response.status_code, response[ALLOW], response["Vary"]) == (status, PAGE, "Origin")
    assert json.loads(response.content)["status"] == status


@both
def test_django_preflights_are_answered(send: Callable[..., Any], asynchronous: bool) -> None:
    for path in ("/orders", "/scoped", "/nowhere", "/closed"):
        response = send(path, "OPTIONS", asynchronous=asynchronous, **ASKS)
        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Length" not in response
        assert {name: [response[name]] for name in ANSWER} == ANSWER


@pytest.mark.parametrize("origin", [PAGE, OTHER])
def test_a_cors_layer_of_django_and_the_guard_never_both(send: Callable[..., Any], origin: str) -> None:
    pytest.importorskip("corsheaders")
    response = send("/orders", outside=(CORS_LAYER,), Origin=origin)
    pairs = [value for name, value in response.items() if name.lower() == ALLOW.lower()]
    assert (response.status_code, pairs) == (401, [origin])


def test_django_answers_of_views_are_not_touched(send: Callable[..., Any]) -> None:
    response = send("/orders", Origin=PAGE, apikey=GOOD)
    assert (response.status_code, response.get(ALLOW), response.get("Vary")) == (200, None, None)


@pytest.mark.parametrize(("path", "status"), [("/open", 200), ("/closed", 401), ("//closed", 404)])
def test_what_rest_framework_answers_alone_is_its_own(
    send: Callable[..., Any], path: str, status: int
) -> None:
    response = send(path, "OPTIONS", inside=False, **ASKS)
    assert (response.status_code, response.get(ALLOW)) == (status, None)
