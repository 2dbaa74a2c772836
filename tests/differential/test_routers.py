"""Flask and Django route every target; what they take for a protected path is protected (P-01)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import re_path
from flask import Flask

from apikey_guard import Route
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService
from tests.adapters.django_adapter import configure
from tests.differential.targets import targets
from tests.harness import build_environ, call

configure()

READER = "KCANARY-reader"
ROUTES = [
    Route("/admin/*", scopes=["s"]),
    Route("/report", scopes=["s"]),
    Route("/*", access="optional"),
    Route("/open/*", access="public"),
    Route("/items/*"),
]
# What a router says it took a target for, and who may then have come so far.
NEEDS_SCOPE, NEEDS_KEY = {"admin", "report"}, {"items"}


@contextmanager
def flask_app(*, strict: bool, merge: bool) -> Iterator[WSGIApplication]:
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes, app.url_map.merge_slashes = strict, merge
    ApiKeyGuard(app, key_service=FakeKeyService([READER]), routes=ROUTES)
    rules = {"/admin": "admin", "/admin/<path:p>": "admin", "/report": "report", "/items/<path:p>": "items"}
    for number, (rule, name) in enumerate({**rules, "/open/<path:p>": "open", "/<path:p>": "else"}.items()):
        app.add_url_rule(rule, str(number), lambda p="", name=name: name)
    yield app


@contextmanager
def django_app(*, ignore_case: bool) -> Iterator[WSGIApplication]:
    flags = "(?is)" if ignore_case else "(?s)"

    def view(name: str) -> object:
        def answer(request: HttpRequest) -> HttpResponse:
            return HttpResponse(name)

        return answer

    class Project:
        urlpatterns = tuple(
            re_path(flags + pattern, view(name))
            for pattern, name in (
                (r"^admin(?:/.*)?\Z", "admin"),
                (r"^report/?\Z", "report"),
                (r"^items/", "items"),
                (r"^open/", "open"),
                (r"", "else"),
            )
        )
        __hash__ = object.__hash__

    guard = {"KEY_SERVICE": FakeKeyService([READER]), "ROUTES": ROUTES}
    with override_settings(APIKEY_GUARD=guard, ROOT_URLCONF=Project(), APPEND_SLASH=False):
        yield WSGIHandler()


ROUTERS = {
    "flask": lambda: flask_app(strict=True, merge=True),
    "flask, slashes neither strict nor merged": lambda: flask_app(strict=False, merge=False),
    "flask, slashes not strict": lambda: flask_app(strict=False, merge=True),
    "django": lambda: django_app(ignore_case=False),
    "django, case ignored": lambda: django_app(ignore_case=True),
}


@pytest.mark.parametrize("raw", ["RAW_URI", None], ids=["target known", "path alone"])
@pytest.mark.parametrize("router", ROUTERS)
def test_p01_what_a_router_takes_for_a_protected_path_is_protected(router: str, raw: str | None) -> None:
    with ROUTERS[router]() as app:
        reached = compared(app, f"{router} {raw}", raw)
    # The judge has something to judge.
    assert reached > 20


def compared(app: WSGIApplication, salt: str, raw: str | None) -> int:
    """How many requests reached a view; none that may not."""
    reached = 0
    for target in targets(salt):
        path, _, query = target.partition("?")
        sent = unquote_to_bytes(path.encode("latin-1"))
        for key in (None, READER):
            headers = [] if key is None else [("apikey", key)]
            extra = {} if raw is None else {raw: target}
            response = call(app, build_environ(sent, query=query, headers=headers, extra=extra), lint=False)
            if response.status != 200:
                continue
            reached += 1
            name = response.body.decode()
            assert name not in NEEDS_SCOPE, (target, key)
            assert key is not None or name not in NEEDS_KEY, target
    return reached
