"""Django: marks hold for the view that is called, and decisions for the place where it is called."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("django")

from tests.adapters import django_adapter

from asgiref.sync import async_to_sync  # isort: skip
from django.conf.urls.i18n import i18n_patterns
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import include, path
from django.utils import translation
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from apikey_guard import Consumer
from apikey_guard.django import optional, public, require_scopes
from apikey_guard.testing import FakeKeyService

GUARD = django_adapter.GUARD
GOOD, WRITER, BAD = "KCANARY-good", "KCANARY-writer", "KCANARY-bad"
REACHED: list[str] = []


def answered(request: HttpRequest, name: str) -> HttpResponse:
    REACHED.append(name)
    consumer = request.consumer  # type: ignore[attr-defined]  # set by the middleware
    return HttpResponse(f"{name} for {consumer.id if consumer else 'nobody'}")


def named(name: str) -> Callable[..., HttpResponse]:
    def view(request: HttpRequest, **_: object) -> HttpResponse:
        return answered(request, name)

    return view


def forgetful(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that copies nothing from what it stands around."""
    return lambda request, **parts: view(request, **parts)


class Status(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request, "status")


class Open(Status):
    pass


public(Open)


class Heir(Open):
    pass


@method_decorator(never_cache, name="dispatch")
class Wrapped(Open):
    pass


class Overriding(Open):
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)


@require_scopes("write")
class Closed(Open):
    pass


@optional
class Maybe(Status):
    pass


class MaybeHeir(Maybe):
    pass


@method_decorator(public, name="dispatch")
class OpenDispatch(Status):
    pass


class DispatchHeir(OpenDispatch):
    pass


@require_scopes("write")
class Writing(Status):
    pass


class WritingHeir(Writing):
    pass


@public
class Mixed(Status):
    @require_scopes()
    def post(self, request: HttpRequest) -> HttpResponse:
        return answered(request, "posted")

    @require_scopes("write")
    def put(self, request: HttpRequest) -> HttpResponse:
        return answered(request, "put")


@public
class MixedAsync(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request, "later")

    @require_scopes("write")
    async def put(self, request: HttpRequest) -> HttpResponse:
        return answered(request, "put later")


class Urls:
    urlpatterns = [  # noqa: RUF012
        path("open/", public(named("open"))),
        path("other/", public(named("other"))),
        path("maybe/", optional(named("maybe"))),
        path("orders/", named("orders")),
        path("write/", require_scopes("write")(named("write"))),
        path("public/<str:name>/", named("by route")),
        path("admin/<str:name>/", named("admin")),
        path("status/", Status.as_view()),
        path("class/", Open.as_view()),
        path("heir/", Heir.as_view()),
        path("heir-marked/", public(Heir.as_view())),
        path("wrapped/", Wrapped.as_view()),
        path("overriding/", Overriding.as_view()),
        path("closed/", Closed.as_view()),
        path("maybe-class/", Maybe.as_view()),
        path("maybe-heir/", MaybeHeir.as_view()),
        path("dispatch/", OpenDispatch.as_view()),
        path("dispatch-heir/", DispatchHeir.as_view()),
        path("writing-heir/", WritingHeir.as_view()),
        path("mixed/", Mixed.as_view()),
        path("mixed-async/", MixedAsync.as_view()),
        path(
            "include/",
            public(
                include(
                    (
                        [
                            path("open/", named("included")),
                            path("key/", require_scopes()(named("key"))),
                            path("hidden/", forgetful(require_scopes()(named("hidden")))),
                            path("scoped/", forgetful(require_scopes("write")(named("scoped")))),
                        ],
                        "included",
                    )
                )
            ),
        ),
    ]


Change = Callable[[Any], object]


def changing(change: Change) -> Callable[..., Any]:
    """A middleware that changes a request behind the guard; it returns another one, or None."""

    def around(get_response: Any) -> Any:
        def middleware(request: Any) -> Any:
            return get_response(change(request) or request)

        return middleware

    return around


def _set_path(request: Any) -> None:
    request.path_info = request.headers.get("X-Path", request.path_info)


def _set_method(request: Any) -> None:
    request.method = request.headers.get("X-Method", request.method)


def _set_host(request: Any) -> None:
    request.META["HTTP_HOST"] = request.headers.get("X-Host", request.META["HTTP_HOST"])


def _set_key(request: Any) -> None:
    request.path_info = "/orders/"
    request.META["HTTP_APIKEY"] = GOOD


def _another(request: Any) -> Any:
    if "scope" in request.__dict__:
        return ASGIRequest(request.scope, request._stream)
    return WSGIRequest(request.environ)


def _another_elsewhere(request: Any) -> Any:
    path = request.headers["X-Path"]
    if "scope" in request.__dict__:
        return ASGIRequest({**request.scope, "path": path}, request._stream)
    return WSGIRequest({**request.environ, "PATH_INFO": path})


set_path, set_method, set_host = changing(_set_path), changing(_set_method), changing(_set_host)
set_key, another = changing(_set_key), changing(_another)
another_elsewhere = changing(_another_elsewhere)

Send = Callable[..., tuple[int, str]]


def send_sync(target: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return judged(Client().generic(method, target, headers=sent))


def send_async(target: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return judged(async_to_sync(_ask)(method, target, sent))


async def _ask(method: str, target: str, headers: dict[str, str]) -> Any:
    return await AsyncClient().generic(method, target, headers=headers)


def judged(response: Any) -> tuple[int, str]:
    text = response.content.decode()
    if response.status_code == 200:
        return 200, text
    return response.status_code, json.loads(text)["code"]


both = pytest.mark.parametrize("send", [send_sync, send_async], ids=["wsgi", "asgi"])
MISSING, INVALID = (401, "missing_credential"), (401, "invalid_credential")
LACKING = (403, "insufficient_scope")


@pytest.fixture
def keys() -> FakeKeyService:
    service = FakeKeyService({GOOD: Consumer(id="42")})
    service.add(WRITER, Consumer(id="7", scopes=frozenset({"write"})))
    return service


@pytest.fixture(autouse=True)
def project(keys: FakeKeyService) -> Iterator[None]:
    routes = [
        {"path": "/public/*", "access": "public"},
        {"path": "/admin/*", "scopes": ["write"]},
        {"path": "/watched/*", "mode": "monitor"},
        {"path": "/status/", "methods": ["GET"], "hosts": ["open.example"], "access": "public"},
    ]
    REACHED.clear()
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": keys, "ROUTES": routes}, ROOT_URLCONF=Urls):
        yield


@both
@pytest.mark.parametrize(
    ("middleware", "target", "headers", "expected"),
    [
        ("set_path", "/open/", {}, (200, "open for nobody")),
        ("set_path", "/open/", {"X_Path": "/orders/"}, MISSING),
        ("set_path", "/open/", {"X_Path": "/orders/", "apikey": BAD}, INVALID),
        ("set_path", "/open/", {"X_Path": "/orders/", "apikey": GOOD}, (200, "orders for 42")),
        ("set_path", "/open/", {"X_Path": "/other/"}, (200, "other for nobody")),
        ("set_path", "/open/", {"X_Path": "/maybe/", "apikey": BAD}, INVALID),
        ("set_path", "/maybe/", {"X_Path": "/orders/"}, MISSING),
        ("set_path", "/public/x/", {"X_Path": "/admin/x/"}, MISSING),
        ("set_path", "/public/x/", {"X_Path": "/admin/x/", "apikey": GOOD}, LACKING),
        ("set_path", "/public/x/", {"X_Path": "/admin/x/", "apikey": WRITER}, (200, "admin for 7")),
        ("set_path", "/orders/", {"X_Path": "/admin/x/", "apikey": GOOD}, LACKING),
        ("set_path", "/orders/", {"X_Path": "/admin/x/", "apikey": WRITER}, (200, "admin for 7")),
        ("set_key", "/open/", {}, MISSING),
        ("set_key", "/open/", {"apikey": BAD}, INVALID),
        ("another", "/open/", {}, (200, "open for nobody")),
        ("another", "/orders/", {}, MISSING),
        ("another_elsewhere", "/watched/", {"X_Path": "/write/", "apikey": GOOD}, LACKING),
        ("another_elsewhere", "/watched/", {"X_Path": "/admin/x/", "apikey": GOOD}, LACKING),
        ("another_elsewhere", "/watched/", {"X_Path": "/orders/", "apikey": GOOD}, (200, "orders for 42")),
        ("another_elsewhere", "/watched/", {"X_Path": "/orders/"}, MISSING),
    ],
)
def test_a16_what_was_decided_is_decided_anew_where_the_view_is_another(
    send: Send, middleware: str, target: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    with override_settings(MIDDLEWARE=[GUARD, f"{__name__}.{middleware}"]):
        for _ in range(2):  # unknown, then remembered
            assert send(target, **headers) == expected
    assert ([expected[1].partition(" for ")[0]] * 2 if expected[0] == 200 else []) == REACHED


@pytest.mark.parametrize(
    ("middleware", "headers", "status"),
    [
        ("set_method", {}, 200),
        ("set_method", {"X_Method": "POST"}, 401),
        ("set_host", {"X_Host": "closed.example"}, 401),
        ("set_host", {"X_Host": "closed.example", "apikey": GOOD}, 200),
    ],
)
def test_p02_a_route_holds_for_the_method_and_host_at_the_view(
    middleware: str, headers: dict[str, str], status: int
) -> None:
    with override_settings(MIDDLEWARE=[GUARD, f"{__name__}.{middleware}"]):
        assert send_sync("/status/", Host="open.example", **headers)[0] in {status}
    assert bool(REACHED) == (status == 200)


def test_p02_the_host_that_django_takes_from_a_header_counts_too() -> None:
    send = send_sync
    told = {"Host": "open.example", "X_Forwarded_Host": "closed.example"}
    with override_settings(USE_X_FORWARDED_HOST=True):
        assert send("/status/", **told) == MISSING
        assert send("/status/", Host="open.example", X_Forwarded_Host="open.example")[0] == 200
        assert send("/status/", Host="closed.example", X_Forwarded_Host="open.example") == MISSING


def test_a_request_made_anew_keeps_the_decision_about_its_key() -> None:
    with override_settings(MIDDLEWARE=[GUARD, f"{__name__}.another"]):
        assert send_sync("/orders/", apikey=GOOD) == (200, "orders for 42")
        assert send_sync("/admin/x/", apikey=GOOD) == LACKING


# -- what marks mean -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("target", "without", "good"),
    [
        ("/class/", (200, "status for nobody"), (200, "status for nobody")),
        ("/heir/", MISSING, (200, "status for 42")),
        ("/heir-marked/", (200, "status for nobody"), (200, "status for nobody")),
        ("/wrapped/", MISSING, (200, "status for 42")),
        ("/overriding/", MISSING, (200, "status for 42")),
        ("/closed/", MISSING, LACKING),
        ("/maybe-class/", (200, "status for nobody"), (200, "status for 42")),
        ("/maybe-heir/", MISSING, (200, "status for 42")),
        ("/dispatch/", (200, "status for nobody"), (200, "status for nobody")),
        ("/dispatch-heir/", MISSING, (200, "status for 42")),
        ("/writing-heir/", MISSING, LACKING),
    ],
)
def test_a16_what_opens_a_class_opens_no_subclass(
    send: Send, target: str, without: tuple[int, str], good: tuple[int, str]
) -> None:
    assert send(target) == without
    assert send(target, apikey=GOOD) == good


@both
@pytest.mark.parametrize(
    ("target", "method", "answers"),
    [
        ("/mixed/", "GET", [(200, "status for nobody")] * 4),
        ("/mixed/", "POST", [MISSING, INVALID, (200, "posted for 42"), (200, "posted for 7")]),
        ("/mixed/", "PUT", [MISSING, INVALID, LACKING, (200, "put for 7")]),
        ("/mixed-async/", "GET", [(200, "later for nobody")] * 4),
        ("/mixed-async/", "PUT", [MISSING, INVALID, LACKING, (200, "put later for 7")]),
        ("/include/open/", "GET", [(200, "included for nobody")] * 4),
        ("/include/key/", "GET", [MISSING, INVALID, (200, "key for 42"), (200, "key for 7")]),
        ("/include/hidden/", "GET", [MISSING, INVALID, (200, "hidden for 42"), (200, "hidden for 7")]),
        ("/include/scoped/", "GET", [MISSING, INVALID, LACKING, (200, "scoped for 7")]),
    ],
)
def test_a16_require_scopes_asks_for_a_key_wherever_it_stands(
    send: Send, target: str, method: str, answers: list[tuple[int, str]]
) -> None:
    for _ in range(2):  # unknown, then remembered
        assert send(target, method) == answers[0]
        assert [send(target, method, apikey=key) for key in (BAD, GOOD, WRITER)] == answers[1:]


@both
def test_a_view_that_asks_itself_says_when_nobody_could_be_asked(send: Send, keys: FakeKeyService) -> None:
    keys.fail()
    assert send("/mixed/", "POST", apikey=GOOD) == (503, "key_service_unavailable")
    assert REACHED == []


@both
@pytest.mark.parametrize(
    "place", ["header:apikey", "query:apikey", "cookie:apikey", "authorization:Key", "body:apikey"]
)
def test_a12_an_empty_credential_is_not_nobody(send: Send, keys: FakeKeyService, place: str) -> None:
    kind, _, name = place.partition(":")
    headers = {
        "header": {"apikey": ""},
        "authorization": {"Authorization": f"{name} "},
    }.get(kind, {})
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": keys, "KEY_LOCATIONS": [place]}):
        if kind == "body":
            form = {"data": "a=1&apikey=", "content_type": "application/x-www-form-urlencoded"}
            assert judged(Client().generic("POST", "/maybe/", **form)) == MISSING
            assert judged(Client().generic("POST", "/maybe/", **{**form, "data": "a=1"}))[0] == 200
            return
        if kind == "cookie":
            assert send_sync("/maybe/", Cookie="apikey=") == MISSING
            return
        assert send("/maybe/?apikey=" if kind == "query" else "/maybe/", **headers) == MISSING
        assert send("/maybe/") == (200, "maybe for nobody")


# -- languages in the path ---------------------------------------------------------------------------------


class LanguageUrls:
    urlpatterns = i18n_patterns(
        path("open/", public(named("open"))), path("orders/", named("orders")), prefix_default_language=False
    )


@both
@pytest.mark.parametrize("active", ["de", "en"])
def test_a16_a_mark_is_found_whatever_language_was_spoken_before(send: Send, active: str) -> None:
    middleware = [GUARD, "django.middleware.locale.LocaleMiddleware"]
    languages = {"LANGUAGE_CODE": "en", "LANGUAGES": [("en", "English"), ("de", "Deutsch")]}
    # As LocaleMiddleware leaves it behind in the thread of an earlier request.
    with (
        override_settings(USE_I18N=True, **languages, MIDDLEWARE=middleware, ROOT_URLCONF=LanguageUrls),
        translation.override(active),
    ):
        for target in ("/open/", "/de/open/", "/open/"):
            assert send(target, Accept_Language="de") == (200, "open for nobody")
        for target in ("/orders/", "/de/orders/", "/en/open/"):
            assert send(target) == MISSING
            assert send(target, apikey=BAD) == INVALID
        assert send("/de/orders/", apikey=GOOD) == (200, "orders for 42")
