"""A key is asked for by what is further in, and by then the app has read the body."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("django")
pytest.importorskip("flask")

from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.views import View
from flask import Flask, request

from apikey_guard import Consumer
from apikey_guard.django import required
from apikey_guard.flask import ApiKeyGuard, current_consumer
from apikey_guard.testing import FakeKeyService
from tests.adapters.django_adapter import GUARD, configure

configure()

KEY = "KCANARY-good-0123456789"
LOCATIONS = ["header:apikey", "body:apikey"]
FORM = "application/x-www-form-urlencoded"


def keys() -> FakeKeyService:
    return FakeKeyService({KEY: Consumer(id="1", username="acme")})


READ: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "form": lambda: request.form,
    "values": lambda: request.values,
    "json": lambda: request.get_json(silent=True),
    "data": lambda: request.get_data(),
    "files": lambda: request.files,
}
# What was read of a body of each kind; else it is still there.
GONE = {"form": {"form", "values", "data", "files"}, "json": {"json", "data"}}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("kind", GONE)
def test_flask_finds_a_key_that_is_still_there(read: str, kind: str) -> None:
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys(), key_locations=LOCATIONS, default_access="public")

    @guard.required
    def inside() -> str:
        seen = request.form if kind == "form" else request.get_json()
        return f"{current_consumer.username} {seen['z']}"

    def before() -> None:
        READ[read]()

    app.before_request(before)
    app.add_url_rule("/", view_func=lambda: inside(), methods=["POST"], endpoint="view")
    client = app.test_client()
    as_sent = {"form": "data", "json": "json"}[kind]
    answer = client.post("/", headers={"apikey": KEY}, **{as_sent: {"z": "1"}})
    assert (answer.status_code, answer.text) == (200, "acme 1")
    answer = client.post("/", **{as_sent: {"z": "1", "apikey": KEY}})
    expected = (401, None) if read in GONE[kind] else (200, "acme 1")
    assert (answer.status_code, answer.text if answer.status_code == 200 else None) == expected


@required
def inside(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.consumer.username} {request.POST['z']}")  # type: ignore[attr-defined]


class Uploads(View):
    def post(self, request: HttpRequest) -> HttpResponse:
        answer: HttpResponse = inside(request)
        return answer

    def dispatch(self, request: Any, *args: object, **kwargs: object) -> Any:
        getattr(request, request.GET["read"])
        return super().dispatch(request, *args, **kwargs)


urlpatterns = [path("", Uploads.as_view())]


@pytest.fixture
def site() -> Iterator[Client]:
    given = {"KEY_SERVICE": keys(), "KEY_LOCATIONS": LOCATIONS, "DEFAULT_ACCESS": "public"}
    with override_settings(ROOT_URLCONF=sys.modules[__name__], APIKEY_GUARD=given, MIDDLEWARE=[GUARD]):
        yield Client(raise_request_exception=False)


@pytest.mark.parametrize("read", ["method", "body", "POST", "FILES"])
@pytest.mark.parametrize("kind", ["form", "upload"])
def test_django_finds_a_key_that_is_still_there(site: Client, read: str, kind: str) -> None:
    def sent(fields: str, **headers: str) -> tuple[int, str]:
        if kind == "form":
            answer = site.post(f"/?read={read}", fields, content_type=FORM, headers=headers)
        else:
            data = dict(pair.split("=") for pair in fields.split("&"))
            file = SimpleUploadedFile("a.txt", b"a")
            answer = site.post(f"/?read={read}", {**data, "file": file}, headers=headers)
        return answer.status_code, answer.content.decode() if answer.status_code == 200 else ""

    assert sent("z=1", apikey=KEY) == (200, "acme 1")
    # Of an upload Django keeps what it meant, and no body.
    gone = kind == "upload" and read in {"POST", "FILES"}
    assert sent(f"z=1&apikey={KEY}") == ((401, "") if gone else (200, "acme 1"))
