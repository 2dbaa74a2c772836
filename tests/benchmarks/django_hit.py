"""A remembered key in Django: the bare project, hand-written middlewares that read ``META``, and ours."""

from __future__ import annotations

import hashlib
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

from apikey_guard import Route
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds, table
from tests.benchmarks.wsgi_hit import CONSUMER, ENVIRON, KEY

REQUEST = {**ENVIRON, "PATH_INFO": "/v1/items/42", "HTTP_APIKEY": KEY, "wsgi.input": io.BytesIO()}
GUARD = "apikey_guard.django.GuardMiddleware"

_CACHE: cachetools.TTLCache[bytes, object] = cachetools.TTLCache(100_000, 3600)
_LOCK = threading.Lock()
_KEYS = {KEY: CONSUMER}


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


def project(*middleware: str, **guard: Any) -> WSGIHandler:
    """A handler with these middlewares, which has answered one request."""
    given: Mapping[str, object] = {"KEY_SERVICE": FakeKeyService({KEY: CONSUMER}), "CACHE_TTL": 3600, **guard}
    with override_settings(MIDDLEWARE=list(middleware), APIKEY_GUARD=given):
        handler = WSGIHandler()
        answer(handler)
    return handler


def answer(handler: WSGIHandler) -> None:
    """One request, which must be let through."""

    def start(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
        assert status.startswith("200"), status
        return lambda data: None

    response: Any = handler(REQUEST.copy(), start)
    for _ in response:
        pass
    response.close()


def main() -> None:
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="benchmark", DATABASES={}, APIKEY_GUARD={}
    )
    django.setup()
    from apikey_guard.django import GuardMiddleware
    from apikey_guard.django.guards import make_guard

    routes = [Route("/health", access="public"), Route("/v1/admin/*", scopes={"admin"})]

    def guarded(**guard: Any) -> WSGIHandler:
        given = {"KEY_SERVICE": FakeKeyService({KEY: CONSUMER}), "CACHE_TTL": 3600, **guard}
        with override_settings(APIKEY_GUARD=given):
            made = make_guard()
        handler = project(GUARD)
        middleware = GuardMiddleware(handler._get_response, guard=made)  # type: ignore[attr-defined]  # as load_middleware
        handler._middleware_chain = middleware  # type: ignore[attr-defined]  # keeps its guard
        handler._view_middleware = [middleware.process_view]  # type: ignore[attr-defined]  # likewise
        answer(handler)
        return handler

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


if __name__ == "__main__":
    main()
