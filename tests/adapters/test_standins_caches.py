"""What frameworks' users tell callers apart by, with the real things: caches and limits by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apikey_guard import Consumer
from apikey_guard.testing import FakeKeyService

pytest.importorskip("django")
pytest.importorskip("flask")

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_cookie, vary_on_headers
from flask import Flask, request

from apikey_guard.core.routing import Access
from apikey_guard.core.standin import BEGINNING
from apikey_guard.django import public
from apikey_guard.flask import ApiKeyGuard, current_consumer
from tests.adapters.django_adapter import GUARD, configure

configure()

A, B = "KCANARY-of-a-long-enough", "KCANARY-of-b-long-enough"
LOCATIONS = ["authorization:Bearer", "header:apikey", "query:apikey", "cookie:apikey"]
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "bearer": lambda key: {"headers": {"Authorization": f"Bearer {key}"}},
    "header": lambda key: {"headers": {"apikey": key}},
    "query": lambda key: {"query": f"apikey={key}"},
    "cookie": lambda key: {"headers": {"Cookie": f"apikey={key}"}},
}
every_place = pytest.mark.parametrize("where", PLACES)


def keys() -> FakeKeyService:
    return FakeKeyService({A: Consumer(id="1", username="a"), B: Consumer(id="2", username="b")})


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.consumer.username if request.consumer else "nobody")  # type: ignore[attr-defined]


class _Urls:
    """A URLconf: ``limited`` counts callers, ``page`` is cached by the view or by the middleware."""

    def __init__(self) -> None:
        self.urlpatterns: list[Any] = [
            path("page/bearer", cache_page(60)(vary_on_headers("Authorization")(who))),
            path("page/header", cache_page(60)(vary_on_headers("apikey")(who))),
            path("page/query", cache_page(60)(who)),
            path("page/cookie", cache_page(60)(vary_on_cookie(who))),
            path("page/own", cache_page(60)(vary_on_headers("X-Consumer-ID")(who))),
            path("site/bearer", vary_on_headers("Authorization")(who)),
            path("site/header", vary_on_headers("apikey")(who)),
            path("site/query", who),
            path("site/cookie", vary_on_cookie(who)),
            path("open/header", public(cache_page(60)(vary_on_headers("apikey")(who)))),
        ]

    def __hash__(self) -> int:
        return id(self)


@pytest.fixture
def django_site() -> Iterator[FakeKeyService]:
    service = keys()
    with override_settings(
        ROOT_URLCONF=_Urls(),
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        APIKEY_GUARD={"KEY_SERVICE": service, "KEY_LOCATIONS": LOCATIONS},
        USE_I18N=False,
    ):
        cache.clear()
        yield service


def ask(client: Client, url: str, where: str, key: str) -> str:
    parts = PLACES[where](key)
    answer = client.get(f"{url}?{parts.get('query', '')}", headers=parts.get("headers"))
    return f"{answer.status_code} {answer.content.decode()[:10]}"


def answers(url: str, where: str) -> list[str]:
    client = Client(raise_request_exception=False)
    return [ask(client, url, where, key) for key in (A, B, A, B)]


@every_place
def test_cache_page_gives_nobody_the_page_of_another(django_site: FakeKeyService, where: str) -> None:
    assert answers(f"/page/{where}", where) == ["200 a", "200 b"] * 2
    assert answers("/page/own", where) == ["200 a", "200 b"] * 2


@every_place
def test_the_cache_for_a_whole_site_gives_nobody_the_page_of_another(
    django_site: FakeKeyService, where: str
) -> None:
    with override_settings(MIDDLEWARE=[UPDATE, GUARD, FETCH]):
        assert answers(f"/site/{where}", where) == ["200 a", "200 b"] * 2


@every_place
def test_a_page_is_remembered_for_the_caller_that_it_was_made_for(
    django_site: FakeKeyService, where: str
) -> None:
    client = Client()
    calls = []
    urls = _Urls()

    def view(request: HttpRequest) -> HttpResponse:
        calls.append(request)
        return who(request)

    kept = {"bearer": "Authorization", "header": "apikey", "cookie": "Cookie"}.get(where)
    cached = cache_page(60)(vary_on_headers(kept)(view) if kept else view)
    urls.urlpatterns = [path("page", cached)]
    with override_settings(ROOT_URLCONF=urls):
        assert [ask(client, "/page", where, key) for key in (A, A, B, B)] == ["200 a"] * 2 + ["200 b"] * 2
    assert len(calls) == 2


def test_a_key_that_is_revoked_opens_no_page_that_was_cached_for_it(django_site: FakeKeyService) -> None:
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": django_site, "CACHE_TTL": 0}):
        client = Client()
        assert ask(client, "/page/header", "header", A) == "200 a"
        django_site.revoke(A)
        assert ask(client, "/page/header", "header", A)[:3] == "401"


def test_a_public_page_is_the_same_for_every_key(django_site: FakeKeyService) -> None:
    client = Client()
    assert [ask(client, "/open/header", "header", key) for key in (A, B)] == ["200 nobody"] * 2


# -- django-ratelimit --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["bearer", "header"])
def test_django_ratelimit_counts_each_key_by_itself(django_site: FakeKeyService, where: str) -> None:
    decorators = pytest.importorskip("django_ratelimit.decorators")
    name = "header:authorization" if where == "bearer" else "header:apikey"
    limited = decorators.ratelimit(key=name, rate="2/d", block=True)(who)
    urls = _Urls()
    urls.urlpatterns = [path("limited", limited)]
    with override_settings(ROOT_URLCONF=urls):
        client = Client(raise_request_exception=False)
        given = [ask(client, "/limited", where, key)[:3] for key in (A, A, A, B, B, B)]
    assert given == ["200", "200", "403"] * 2


# -- Flask -------------------------------------------------------------------------------------


def flask_app() -> Flask:
    app = Flask(__name__)
    ApiKeyGuard(app, key_service=keys(), key_locations=LOCATIONS)
    return app


def flask_answers(app: Flask, where: str, *given: str) -> list[str]:
    client = app.test_client(use_cookies=False)
    found = []
    for key in given:
        parts = PLACES[where](key)
        answer = client.get("/", query_string=parts.get("query", ""), headers=parts.get("headers"))
        found.append(f"{answer.status_code} {answer.get_data(as_text=True)[:10]}")
    return found


SENT: dict[str, Callable[[], object]] = {
    "bearer": lambda: request.headers.get("Authorization"),
    "header": lambda: request.headers.get("apikey"),
    "query": lambda: request.args.get("apikey"),
    "cookie": lambda: request.cookies.get("apikey"),
}


@every_place
def test_flask_caching_gives_nobody_the_answer_of_another(where: str) -> None:
    caching = pytest.importorskip("flask_caching")
    app = flask_app()
    kept = caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    cached = (
        kept.cached(query_string=True)
        if where == "query"
        else kept.cached(make_cache_key=lambda *_, **__: f"{request.path} {SENT[where]()}")
    )
    calls = []

    def view() -> str:
        calls.append(1)
        return str(current_consumer.username)

    app.add_url_rule("/", view_func=cached(view))
    assert flask_answers(app, where, A, B, A, B) == ["200 a", "200 b"] * 2
    assert len(calls) == 2


@every_place
def test_flask_limiter_counts_each_key_by_itself(where: str) -> None:
    limiter = pytest.importorskip("flask_limiter")
    app = flask_app()
    limits = limiter.Limiter(lambda: str(SENT[where]()), app=app, storage_uri="memory://")
    app.add_url_rule("/", view_func=limits.limit("2 per day")(lambda: "ok"), endpoint="limited")
    given = [answer[:3] for answer in flask_answers(app, where, A, A, A, B, B, B)]
    assert given == ["200", "200", "429"] * 2


# -- where a key is asked for further in ---------------------------------------------------------


def rest_urls(where: str, decorated: str) -> _Urls:
    """A view of REST framework that is cached per key, as its documentation shows it."""
    pytest.importorskip("rest_framework")
    from django.utils.decorators import method_decorator
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from apikey_guard.django.drf import ApiKeyAuthentication

    varied = {"bearer": "Authorization", "header": "apikey", "cookie": "Cookie"}.get(where, "Accept")

    @method_decorator(cache_page(60), name=decorated)
    @method_decorator(vary_on_headers(varied), name=decorated)
    class Invoices(APIView):
        authentication_classes = (ApiKeyAuthentication,)
        permission_classes = (IsAuthenticated,)

        def get(self, request: Any) -> Any:
            return Response(request.auth.username)

    urls = _Urls()
    urls.urlpatterns = [path("rest", Invoices.as_view())]
    return urls


@every_place
@pytest.mark.parametrize("decorated", ["get", "dispatch"])
@pytest.mark.parametrize("before", ["guarded", "open-by-default", "optional-by-default", "alone"])
def test_a_cached_view_of_rest_framework_gives_nobody_the_page_of_another(
    django_site: FakeKeyService, where: str, decorated: str, before: str
) -> None:
    given = {"KEY_SERVICE": django_site, "KEY_LOCATIONS": LOCATIONS}
    if before.endswith("by-default"):
        given["DEFAULT_ACCESS"] = "public" if before.startswith("open") else "optional"
    with override_settings(
        ROOT_URLCONF=rest_urls(where, decorated),
        APIKEY_GUARD=given,
        MIDDLEWARE=[] if before == "alone" else [GUARD],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
    ):
        assert [answer[:6] for answer in answers("/rest", where)] == ['200 "a', '200 "b'] * 2
        client = Client()
        assert client.get("/rest").status_code == 401
        assert client.get("/rest", headers={"apikey": "KCANARY-unknown"}).status_code == 401


@every_place
def test_a_view_that_asks_for_a_key_where_all_is_open_tells_callers_apart(
    django_site: FakeKeyService, where: str
) -> None:
    from django.utils.decorators import method_decorator
    from django.views import View
    from rest_framework.viewsets import ViewSet

    from apikey_guard.django import require_scopes, required

    urls = _Urls()
    kept = {"bearer": "Authorization", "header": "apikey", "cookie": "Cookie"}.get(where, "Accept")
    inside = cache_page(60)(vary_on_headers(kept)(who))
    outside = cache_page(60)(vary_on_headers(kept)(require_scopes()(who)))

    def kept_method(view: Any) -> Any:
        return method_decorator(cache_page(60))(method_decorator(vary_on_headers(kept))(view))

    class Invoices(View):
        @kept_method
        @require_scopes()
        def get(self, request: HttpRequest) -> HttpResponse:
            return who(request)

    class InvoiceSet(ViewSet):  # type: ignore[misc]  # untyped base
        authentication_classes = ()
        permission_classes = ()

        @kept_method
        @required
        def list(self, request: Any) -> HttpResponse:
            return who(request._request)

    urls.urlpatterns = [
        path("inside", require_scopes()(inside)),
        path("outside", outside),
        path("method", Invoices.as_view()),
        path("action", InvoiceSet.as_view({"get": "list"})),
    ]
    given = {
        "KEY_SERVICE": django_site,
        "KEY_LOCATIONS": LOCATIONS,
        "ROUTES": [{"path": "/*", "access": "public"}],
    }
    with override_settings(
        ROOT_URLCONF=urls, APIKEY_GUARD=given, REST_FRAMEWORK={"UNAUTHENTICATED_USER": None}
    ):
        for place in ("/inside", "/outside", "/method", "/action"):
            assert answers(place, where) == ["200 a", "200 b"] * 2, place
            assert Client().get(place).status_code == Client().head(place).status_code == 401, place


@every_place
@pytest.mark.parametrize("read_before", [False, True], ids=["first-read-in-it", "read-before-it"])
def test_a_function_of_flask_that_asks_for_a_key_where_all_is_open_tells_callers_apart(
    where: str, read_before: bool
) -> None:
    caching = pytest.importorskip("flask_caching")
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys(), key_locations=LOCATIONS, default_access="public")
    kept = caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})

    def look() -> None:
        for name in ("values", "cookies", "authorization", "url"):
            getattr(request, name)  # what Werkzeug has read once it keeps

    if read_before:
        app.before_request(look)

    def sent(*_: object, **__: object) -> str:
        return f"{SENT[where]()} {request.url} {request.full_path} {request.values} {request.authorization}"

    @guard.required
    @kept.cached(make_cache_key=sent)
    def invoices() -> str:
        return str(current_consumer.username)

    app.add_url_rule("/", view_func=lambda: invoices(), endpoint="invoices")
    assert flask_answers(app, where, A, B, A, B) == ["200 a", "200 b"] * 2
    assert app.test_client().get("/").status_code == 401
    if where == "query":
        with app.test_client() as shown:
            shown.get("/", query_string=f"apikey={A}")
            assert request.args["apikey"].startswith(BEGINNING)
            assert request.args["apikey"] in request.url


@pytest.mark.parametrize("kind", ["SimpleCache", "FileSystemCache"])
@pytest.mark.parametrize("debug", [False, True], ids=["production", "debug"])
@pytest.mark.parametrize("access", ["required", "public"])
def test_flask_caching_keeps_no_refusal_of_a_function_that_asks_for_a_scope(
    kind: str, debug: bool, access: Access, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caching = pytest.importorskip("flask_caching")
    app = Flask(__name__)
    app.config["DEBUG"] = debug
    guard = ApiKeyGuard(app, key_service=keys(), key_locations=["header:apikey"], default_access=access)
    kept = caching.Cache(app, config={"CACHE_TYPE": kind, "CACHE_DIR": str(tmp_path)})
    allowed = []

    @guard.require_scopes("reports")
    def numbers() -> str:
        raise AssertionError("nobody here has that scope")

    @app.get("/")
    @kept.cached()  # by the path alone
    def report() -> str:
        return "numbers" if allowed else numbers()

    assert [answer[:3] for answer in flask_answers(app, "header", A, B, A)] == ["403"] * 3
    allowed.append(True)
    assert flask_answers(app, "header", A) == ["200 numbers"]
    assert {record.name for record in caplog.records} <= {"apikey_guard"}
