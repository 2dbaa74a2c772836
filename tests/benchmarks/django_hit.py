"""A remembered key in Django: the bare project, hand-written middlewares that read ``META``, and ours.

With djangorestframework-api-key installed, a second table has a view of REST framework: bare, behind
our middleware with our authentication class, and behind the permission of that package, which keeps
keys in the database (here SQLite in memory) and asks it for every request.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

import cachetools
import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path

from apikey_guard import Guard, Route
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds, table
from tests.benchmarks.wsgi_hit import CONSUMER, ENVIRON, KEY

REQUEST = {**ENVIRON, "PATH_INFO": "/v1/items/42", "HTTP_APIKEY": KEY, "wsgi.input": io.BytesIO()}

_CACHE: cachetools.TTLCache[bytes, object] = cachetools.TTLCache(100_000, 3600)
_LOCK = threading.Lock()
_KEYS = {KEY: CONSUMER}
_GUARDS: list[Guard] = []


def item(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("v1/items/<int:number>", item)]


def simple(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The least that can be written: the key in a dictionary."""

    def middleware(request: HttpRequest) -> HttpResponse:
        consumer = _KEYS.get(request.META.get("HTTP_APIKEY", ""))
        if consumer is None:
            return HttpResponse(status=401)
        request.consumer = consumer  # type: ignore[attr-defined]  # as people do
        return get_response(request)

    return middleware


def hand_written(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """What people write: hash the key, look it up in a locked cache, else refuse."""
    _CACHE[hashlib.sha256(KEY.encode()).digest()] = CONSUMER

    def middleware(request: HttpRequest) -> HttpResponse:
        key = request.META.get("HTTP_APIKEY", "")
        with _LOCK:
            consumer = _CACHE.get(hashlib.sha256(key.encode()).digest())
        if consumer is None:
            return HttpResponse(status=401)
        request.consumer = consumer  # type: ignore[attr-defined]  # as people do
        return get_response(request)

    return middleware


def ours(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """Our middleware, with a guard that a change of settings leaves alone."""
    from apikey_guard.django import GuardMiddleware

    return GuardMiddleware(get_response, guard=_GUARDS[-1])


def project(*middleware: str, **guard: Any) -> WSGIHandler:
    """A handler with these middlewares, which has answered one request."""
    given: Mapping[str, object] = {"KEY_SERVICE": FakeKeyService({KEY: CONSUMER}), "CACHE_TTL": 3600, **guard}
    with override_settings(MIDDLEWARE=list(middleware), APIKEY_GUARD=given):
        handler = WSGIHandler()
        answer(handler)
    return handler


def answer(handler: WSGIHandler) -> None:
    """One request, which must be let through."""
    ask(handler, REQUEST)


def ask(handler: WSGIHandler, request: Mapping[str, object]) -> None:
    """One request of these parts, which must be let through."""

    def start(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
        assert status.startswith("200"), status
        return lambda data: None

    response: Any = handler(dict(request), start)
    for _ in response:
        pass
    response.close()


def rest_framework(guarded: WSGIHandler) -> dict[str, Callable[[], None]]:
    """A view of REST framework, bare and with a key.

    :param guarded: a handler with our middleware.
    """
    from django.core.management import call_command
    from rest_framework.views import APIView  # type: ignore[import-untyped]

    from apikey_guard.django.drf import ApiKeyAuthentication

    call_command("migrate", verbosity=0)
    permission = importlib.import_module("rest_framework_api_key.permissions").HasAPIKey
    _, key = importlib.import_module("rest_framework_api_key.models").APIKey.objects.create_key(name="bench")

    class Item(APIView):  # type: ignore[misc]  # untyped base
        authentication_classes = ()
        permission_classes = ()

        def get(self, request: object, number: int) -> HttpResponse:
            return HttpResponse("ok")

    ours = Item.as_view(authentication_classes=[ApiKeyAuthentication])
    theirs = Item.as_view(permission_classes=[permission])
    urlpatterns.extend(
        [
            path("bare/<int:number>", Item.as_view()),
            path("ours/<int:number>", ours),
            path("theirs/<int:number>", theirs),
        ]
    )
    plain, theirs_key = project(), {"HTTP_AUTHORIZATION": f"Api-Key {key}"}
    return {
        "bare REST framework": lambda: ask(plain, {**REQUEST, "PATH_INFO": "/bare/42"}),
        "GuardMiddleware, ApiKeyAuthentication": lambda: ask(guarded, {**REQUEST, "PATH_INFO": "/ours/42"}),
        "djangorestframework-api-key": lambda: ask(
            plain, {**REQUEST, "PATH_INFO": "/theirs/42", **theirs_key}
        ),
    }


def main() -> None:
    compared = importlib.util.find_spec("rest_framework_api_key") is not None
    in_memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="benchmark",
        DATABASES={"default": in_memory} if compared else {},
        INSTALLED_APPS=["rest_framework_api_key"] if compared else [],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
        APIKEY_GUARD={},
    )
    django.setup()
    from apikey_guard.django.guards import make_guard

    routes = [Route("/health", access="public"), Route("/v1/admin/*", scopes={"admin"})]

    def guarded(**guard: Any) -> WSGIHandler:
        given = {"KEY_SERVICE": FakeKeyService({KEY: CONSUMER}), "CACHE_TTL": 3600, **guard}
        with override_settings(APIKEY_GUARD=given):
            _GUARDS.append(make_guard())
        return project(f"{__name__}.ours")

    apps = {
        "bare Django": project(),
        "dictionary in META middleware": project(f"{__name__}.simple"),
        "hand-written META middleware": project(f"{__name__}.hand_written"),
        "GuardMiddleware": guarded(),
        "GuardMiddleware with routes": guarded(ROUTES=routes),
    }
    cases = {name: (lambda app=app: answer(app)) for name, app in apps.items()}
    table(
        microseconds(cases, rounds=120, calls=100), bare="bare Django", against="hand-written META middleware"
    )
    if compared:
        print()
        theirs = "djangorestframework-api-key"
        # A table of its own: what takes ten times as long leaves the others a cold cache.
        times = microseconds(rest_framework(apps["GuardMiddleware"]), rounds=60, calls=50)
        table(times, bare="bare REST framework", against=theirs)


if __name__ == "__main__":
    main()
