"""What the methods of a class say about themselves means the same in Flask and in Django."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("django")
pytest.importorskip("flask")

from tests.adapters import django_adapter

from asgiref.sync import async_to_sync  # isort: skip
import flask
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from flask.views import MethodView
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from apikey_guard.django import optional, public, require_scopes, required
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService

GUARD = django_adapter.GUARD
GOOD, BAD = "KCANARY-good-0123456789", "KCANARY-bad"
OPEN, MAYBE, KEY, SCOPE = (200, 200, 200), (200, 401, 200), (401, 401, 200), (401, 401, 403)


def classes(base: type, guard: Any, answer: Callable[..., Any]) -> dict[str, type]:
    """The same classes for one framework.

    :param base: the framework's own class of views.
    :param guard: has the decorators.
    :param answer: what an unmarked method is.
    """

    def method() -> Callable[..., Any]:
        return lambda *args: answer(*args)

    def kind(parent: type, **methods: Any) -> type:
        return type("Kind", (parent,), methods)

    opened = kind(base, get=guard.public(method()), post=method())
    everything = guard.public(kind(base, get=method(), post=guard.required(method())))
    return {
        "opened": opened,
        "opened-heir": kind(opened),
        "maybe": kind(base, get=guard.optional(method()), post=guard.require_scopes("write")(method())),
        "everything": everything,
        "everything-heir": kind(everything),
        "everything-heir-maybe": kind(everything, get=guard.optional(method())),
        "maybe-in-public": guard.public(kind(base, get=guard.optional(method()), post=method())),
    }


EXPECTED = [
    ("opened", "GET", OPEN),
    ("opened", "HEAD", OPEN),
    ("opened", "POST", KEY),
    ("opened-heir", "GET", KEY),
    ("maybe", "GET", MAYBE),
    ("maybe", "POST", SCOPE),
    ("everything", "GET", OPEN),
    ("everything", "POST", KEY),
    ("everything-heir", "GET", KEY),
    ("everything-heir-maybe", "GET", MAYBE),
    ("everything-heir-maybe", "POST", KEY),
    ("maybe-in-public", "GET", MAYBE),
    ("maybe-in-public", "POST", OPEN),
]


class Marks:
    public, optional, required = staticmethod(public), staticmethod(optional), staticmethod(required)
    require_scopes = staticmethod(require_scopes)


def answered(*_: object) -> HttpResponse:
    return HttpResponse("answered")


@require_scopes("write")
class Contrary(View):
    @public
    def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request)


@method_decorator(public, name="get")
class Decorated(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request)


class Later(View):
    @public
    async def get(self, request: HttpRequest) -> HttpResponse:
        return answered(request)

    async def post(self, request: HttpRequest) -> HttpResponse:
        return answered(request)


class Things(ViewSet):  # type: ignore[misc]  # untyped base
    authentication_classes: list[type] = []  # noqa: RUF012
    permission_classes = [AllowAny]  # noqa: RUF012

    def list(self, _request: Any) -> Any:
        return Response("all")

    @action(detail=False)  # type: ignore[untyped-decorator]  # untyped
    @public
    def status(self, _request: Any) -> Any:
        return Response("fine")


class Urls:
    urlpatterns = [  # noqa: RUF012
        *(path(name, kind.as_view()) for name, kind in classes(View, Marks, answered).items()),
        path("contrary", Contrary.as_view()),
        path("decorated", Decorated.as_view()),
        path("later", Later.as_view()),
        path("things", Things.as_view({"get": "list"})),
        path("things/status", Things.as_view({"get": "status"})),
    ]


def of_flask(name: str, method: str) -> tuple[int, ...]:
    app, guard = flask.Flask(__name__), ApiKeyGuard(key_service=FakeKeyService([GOOD]))
    for each, kind in classes(MethodView, guard, lambda *_: "answered").items():
        app.add_url_rule(f"/{each}", view_func=kind.as_view(each))
    guard.init_app(app)
    return tuple(app.test_client().open(name, method=method, headers=sent).status_code for sent in SENT)


def of_django(name: str, method: str) -> tuple[int, ...]:
    return tuple(Client().generic(method, name, headers=sent).status_code for sent in SENT)


def of_django_async(name: str, method: str) -> tuple[int, ...]:
    async def ask(sent: dict[str, str]) -> int:
        return (await AsyncClient().generic(method, name, headers=sent)).status_code

    return tuple(async_to_sync(ask)(sent) for sent in SENT)


SENT: list[dict[str, str]] = [{}, {"apikey": BAD}, {"apikey": GOOD}]
django_settings = override_settings(
    ROOT_URLCONF=Urls,
    MIDDLEWARE=[GUARD],
    APIKEY_GUARD={"KEY_SERVICE": FakeKeyService([GOOD])},
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},  # Django's own would need its tables
)
in_django = pytest.mark.parametrize("ask", [of_django, of_django_async], ids=["django", "django-async"])


@pytest.mark.parametrize(("name", "method", "expected"), EXPECTED)
@pytest.mark.parametrize(
    "ask", [of_flask, of_django, of_django_async], ids=["flask", "django", "django-async"]
)
def test_a16_a_mark_on_a_method_holds_for_it_and_for_no_subclass(
    ask: Callable[[str, str], tuple[int, ...]], name: str, method: str, expected: tuple[int, ...]
) -> None:
    with django_settings:
        assert ask(f"/{name}", method) == expected


@in_django
@pytest.mark.parametrize(
    ("name", "method", "expected"),
    [
        pytest.param("contrary", "GET", SCOPE, id="opens-nothing-that-its-class-asks-for"),
        pytest.param("decorated", "GET", OPEN, id="method_decorator"),
        pytest.param("later", "GET", OPEN, id="async"),
        pytest.param("later", "POST", KEY, id="async-unmarked"),
        pytest.param("things/status", "GET", OPEN, id="action-of-a-viewset"),
        pytest.param("things", "GET", KEY, id="viewset-unmarked"),
    ],
)
def test_a16_django_finds_the_mark_of_a_method(
    ask: Callable[[str, str], tuple[int, ...]], name: str, method: str, expected: tuple[int, ...]
) -> None:
    with django_settings:
        assert ask(f"/{name}", method) == expected
