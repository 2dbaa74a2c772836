"""The API: one open view, one that needs a key, one that needs a scope."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from apikey_guard.django import GuardedRequest, public, require_scopes


@public
def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ok": True})


async def orders(request: GuardedRequest) -> JsonResponse:
    return JsonResponse({"orders": [], "for": request.consumer.username if request.consumer else None})


@require_scopes("orders:write")
def close(request: GuardedRequest) -> JsonResponse:
    return JsonResponse({"closed": True})


urlpatterns = [
    path("health/", health),
    path("orders/", orders),
    path("orders/close/", close),
]
