"""Views with and without marks; each call is noted in ``REACHED``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View

from apikey_guard.django import optional, public, require_scopes

REACHED: list[str] = []
CONVERTED: list[str] = []


class Counted:
    """A path converter that counts how often a URL is resolved."""

    regex = "[a-z]+"

    def to_python(self, value: str) -> str:
        CONVERTED.append(value)
        return value

    def to_url(self, value: str) -> str:
        return value


def _answer(request: HttpRequest, name: str) -> JsonResponse:
    REACHED.append(name)
    consumer = getattr(request, "consumer", "not guarded")
    return JsonResponse({"view": name, "consumer": getattr(consumer, "id", consumer)})


def plain(request: HttpRequest, **_: Any) -> HttpResponse:
    return _answer(request, "plain")


async def plain_async(request: HttpRequest) -> HttpResponse:
    return _answer(request, "plain_async")


def private(request: HttpRequest) -> HttpResponse:
    return _answer(request, "private")


def form(request: HttpRequest) -> HttpResponse:
    chosen = not request._upload_handlers  # type: ignore[attr-defined]  # what nothing may have touched
    REACHED.append("form")
    return JsonResponse({"post": request.POST.dict(), "files": len(request.FILES), "untouched": chosen})


@public
def health(request: HttpRequest, **_: Any) -> HttpResponse:
    return _answer(request, "health")


@public
async def health_async(request: HttpRequest) -> HttpResponse:
    return _answer(request, "health_async")


@optional
def maybe(request: HttpRequest) -> HttpResponse:
    return _answer(request, "maybe")


@require_scopes("read", "write")
def scoped(request: HttpRequest) -> HttpResponse:
    return _answer(request, "scoped")


@require_scopes("read", "write")
async def scoped_async(request: HttpRequest) -> HttpResponse:
    return _answer(request, "scoped_async")


class Plain(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "Plain")


@public
class Open(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "Open")


@method_decorator(public, name="dispatch")
class OpenDispatch(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "OpenDispatch")


@require_scopes("read", "write")
class ScopedAsync(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "ScopedAsync")


class ScopedMethod(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "ScopedMethod.get")

    @require_scopes("write")
    def post(self, request: HttpRequest) -> HttpResponse:
        return _answer(request, "ScopedMethod.post")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    REACHED.append("not_found")
    return HttpResponse("nothing here", status=404)
