"""Django: what a middleware outside of the guard makes of a refusal is what the caller gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("django")

from tests.adapters import django_adapter

from django.http import HttpResponse  # isort: skip
from django.test import Client
from django.test.utils import override_settings

from apikey_guard.django import RejectionResponse
from apikey_guard.testing import FakeKeyService

Change = Callable[[RejectionResponse], None]


def in_own_words(response: RejectionResponse) -> None:
    response.content = json.dumps({"error": response.rejection.reason, "more": "x" * 500}).encode()


def shorter(response: RejectionResponse) -> None:
    response.content = b"no"


def longer(response: RejectionResponse) -> None:
    response.write(b"\n(see our documentation)")


def with_its_length(response: RejectionResponse) -> None:
    response.content = b"with a length"
    response["Content-Length"] = str(len(response.content))


def nothing(_response: RejectionResponse) -> None:
    pass


CHANGE: list[Change] = [nothing]


def outside(get_response: Callable[[Any], HttpResponse]) -> Callable[[Any], HttpResponse]:
    def middleware(request: Any) -> HttpResponse:
        response = get_response(request)
        assert isinstance(response, RejectionResponse)
        CHANGE[0](response)
        return response

    return middleware


@pytest.mark.parametrize("change", [nothing, in_own_words, shorter, longer, with_its_length])
@pytest.mark.parametrize("method", ["get", "head"])
def test_the_length_is_that_of_what_is_sent(change: Change, method: str) -> None:
    order = [f"{__name__}.outside", django_adapter.GUARD]
    CHANGE[:] = [change]
    with override_settings(MIDDLEWARE=order, APIKEY_GUARD={"KEY_SERVICE": FakeKeyService()}):
        response: Any = getattr(Client(), method)("/orders")
    sent = [value for name, value in response.items() if name.lower() == "content-length"]
    assert response.status_code == 401
    assert len(sent) == 1, sent
    if method == "get":
        assert int(sent[0]) == len(response.content)
