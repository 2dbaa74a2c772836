"""What a refusal costs beside a hit: an attacker sends nothing else. WSGI, Flask and Django in one run."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apikey_guard import Guard, GuardMiddleware, Route
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds
from tests.benchmarks.wsgi_hit import CONSUMER, ENVIRON, KEY, TEN_ROUTES, app

BAD = "ag_000000000000000000000000"
# Nobody has the scope of this path.
ROUTES = (*TEN_ROUTES, Route("/v1/closed/*", scopes={"nobody"}))

HIT = "hit"
REQUESTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    HIT: ("200", {"HTTP_APIKEY": KEY}),
    "remembered bad key": ("401", {"HTTP_APIKEY": BAD}),
    "without a key": ("401", {}),
    "without a scope": ("403", {"HTTP_APIKEY": KEY, "PATH_INFO": "/v1/closed/42"}),
}


def requests(application: Callable[..., Iterable[bytes]]) -> dict[str, Callable[[], object]]:
    """One function for each request, after one of each."""

    def case(status: str, changed: Mapping[str, str]) -> Callable[[], object]:
        environ = {**ENVIRON, "wsgi.input": io.BytesIO(), **changed}

        def start(line: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
            assert line.startswith(status), line
            return lambda data: None

        def call() -> None:
            body = application(environ.copy(), start)
            close = getattr(body, "close", None)
            if close is not None:
                close()

        call()
        return call

    return {name: case(*request) for name, request in REQUESTS.items()}


def wsgi() -> Callable[..., Iterable[bytes]]:
    return GuardMiddleware(app, guard=Guard(key_service=FakeKeyService({KEY: CONSUMER}), **SETTINGS))


def in_flask() -> Callable[..., Iterable[bytes]]:
    from apikey_guard.flask import ApiKeyGuard
    from tests.benchmarks.flask_hit import bare

    flask_app = bare()
    ApiKeyGuard(flask_app, key_service=FakeKeyService({KEY: CONSUMER}), **SETTINGS)
    return flask_app


def in_django() -> Callable[..., Iterable[bytes]]:
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import re_path

    from apikey_guard.django import GuardMiddleware as DjangoMiddleware
    from tests.adapters import django_adapter  # configures Django

    class Urls:
        urlpatterns = (re_path("", lambda request: HttpResponse("ok")),)

    guard = Guard(key_service=FakeKeyService({KEY: CONSUMER}), **SETTINGS)

    def middleware(get_response: Any) -> Any:
        return DjangoMiddleware(get_response, guard=guard)

    globals()["middleware"] = middleware
    override_settings(MIDDLEWARE=[f"{__name__}.middleware"], ROOT_URLCONF=Urls).enable()
    del django_adapter
    return WSGIHandler()


SETTINGS: dict[str, Any] = {"routes": ROUTES, "cache_ttl": 3600, "negative_ttl": 3600}


def main() -> None:
    kinds: dict[str, Callable[[], Callable[..., Iterable[bytes]]]] = {"WSGI": wsgi}
    kinds |= {"Flask": in_flask} if importlib.util.find_spec("flask") else {}
    kinds |= {"Django": in_django} if importlib.util.find_spec("django") else {}
    print(f"{'':8}{'request':22}{'us/request':>11}  of a hit")
    for kind, make in kinds.items():
        calls = 2000 if kind == "WSGI" else 200
        taken = microseconds(requests(make()), rounds=60, calls=calls)
        for name, time in taken.items():
            print(f"{kind:8}{name:22}{time:11.2f}  {time / taken[HIT]:8.2f}")


if __name__ == "__main__":
    main()
