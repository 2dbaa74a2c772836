"""Django REST framework: authentication and permission, behind the middleware and alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rest_framework")

from tests.adapters import django_adapter

from django.apps import apps  # isort: skip
from django.core.cache import cache
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from django.utils.module_loading import import_string
from rest_framework.permissions import BasePermission, IsAuthenticated  # type: ignore[import-untyped]
from rest_framework.response import Response  # type: ignore[import-untyped]
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate  # type: ignore[import-untyped]
from rest_framework.throttling import UserRateThrottle  # type: ignore[import-untyped]
from rest_framework.views import APIView  # type: ignore[import-untyped]

from apikey_guard import Consumer
from apikey_guard.django.drf import ApiKeyAuthentication, ConsumerUser, HasScopes
from apikey_guard.testing import FakeKeyService

KEY = "KCANARY-good"
BEHIND = pytest.mark.parametrize(
    "middleware", [[django_adapter.GUARD], []], ids=["behind-middleware", "alone"]
)


class Things(APIView):  # type: ignore[misc]  # untyped base
    authentication_classes = [ApiKeyAuthentication]  # noqa: RUF012 - as REST framework has it
    permission_classes = [IsAuthenticated]  # noqa: RUF012

    def get(self, request: Any) -> Any:
        return Response({"user": str(request.user), "auth": request.auth.id})


class Scoped(Things):
    permission_classes = [HasScopes]  # noqa: RUF012
    required_scopes = ["read"]  # noqa: RUF012


class Fixed(Things):
    permission_classes = [HasScopes.of("write")]  # noqa: RUF012


class Watched(Fixed):
    def get(self, request: Any) -> Any:
        return Response("in")


class Asking(Things):
    """Asks whether another method would be allowed, as the browsable API does for its forms."""

    def get(self, request: Any) -> Any:
        may = {scope: HasScopes.of(scope)().has_permission(request, self) for scope in ("write", "read")}
        return Response(may)


class ReadOnly(BasePermission):  # type: ignore[misc]  # untyped base
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(request.method == "GET")


READ, WRITE = HasScopes.of("read"), HasScopes.of("write")
# What a key with the scope "read" gets, by GET and by POST.
COMBINED = {
    "either-scope-first": (READ | WRITE, 200, 200),
    "either-scope-last": (WRITE | READ, 200, 200),
    "scope-or-reading": (WRITE | ReadOnly, 200, 403),
    "reading-or-scope": (ReadOnly | WRITE, 200, 403),
    "both": (READ & ReadOnly, 200, 403),
    "scope-and-more": (WRITE & ReadOnly, 403, 403),
    "more-and-scope": (ReadOnly & WRITE, 403, 403),
    "not": (~WRITE, 200, 200),
    "not-that": (~READ, 403, 403),
    "nested": ((WRITE & ReadOnly) | READ, 200, 200),
}


class Combined(Things):
    chosen: Any = None

    def get_permissions(self) -> list[Any]:
        return [self.chosen()]

    def post(self, request: Any) -> Any:
        return self.get(request)


class Once(UserRateThrottle):  # type: ignore[misc]  # untyped base
    rate = "1/day"


class Throttled(Things):
    throttle_classes = [Once]  # noqa: RUF012


class Choosing(Things):
    """Has other permissions for callers with a scope, and asks for it while it chooses."""

    def get_permissions(self) -> list[Any]:
        writes = self.request is not None and WRITE().has_permission(self.request, self)
        return [IsAuthenticated()] if writes else [READ()]


class Strict(Things):
    def get_permissions(self) -> list[Any]:
        return [WRITE()]


class Urls:
    urlpatterns = [  # noqa: RUF012
        path("things/", Things.as_view()),
        path("scoped/", Scoped.as_view()),
        path("fixed/", Fixed.as_view()),
        path("watched/", Watched.as_view()),
        path("asking/", Asking.as_view()),
        path("throttled/", Throttled.as_view()),
        path("choosing/", Choosing.as_view()),
        path("strict/", Strict.as_view()),
        *(path(f"{name}/", Combined.as_view(chosen=each)) for name, (each, *_) in COMBINED.items()),
    ]


def user_of(consumer: Consumer) -> str:
    return f"user of {consumer.id}"


@pytest.fixture
def keys() -> FakeKeyService:
    return FakeKeyService({KEY: Consumer(id="42", username="acme", scopes=frozenset({"read"}))})


@pytest.fixture(autouse=True)
def project(keys: FakeKeyService) -> Iterator[None]:
    rest = {
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    }
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": keys}, ROOT_URLCONF=Urls, REST_FRAMEWORK=rest):
        yield
        apps.get_app_config("apikey_guard").guard.close()  # type: ignore[attr-defined]  # our AppConfig


@BEHIND
def test_a_key_says_who_calls(middleware: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        response = Client().get(f"/things/?apikey={KEY}")
    assert response.json() == {"user": "acme", "auth": "42"}


@BEHIND
@pytest.mark.parametrize("headers", [{}, {"HTTP_APIKEY": "KCANARY-bad"}], ids=["none", "bad"])
def test_without_a_valid_key_401_with_a_challenge(middleware: list[str], headers: dict[str, str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        response = Client().get("/things/", **headers)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Key realm="api"'


@BEHIND
def test_scopes(middleware: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        assert Client().get("/scoped/", HTTP_APIKEY=KEY).status_code == 200
        assert Client().get("/fixed/", HTTP_APIKEY=KEY).status_code == 403
        assert Client().get("/scoped/").status_code == 401


@BEHIND
@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_scopes_are_asked_for_though_another_route_enforces_nothing(
    middleware: list[str], mode: str, keys: FakeKeyService
) -> None:
    given = {"KEY_SERVICE": keys, "ROUTES": [{"path": "/watched/*", "mode": mode}]}
    with override_settings(MIDDLEWARE=middleware, APIKEY_GUARD=given):
        for key, status in ((KEY, 403), ("KCANARY-bad", 401), (None, 401)):
            sent = {} if key is None else {"HTTP_APIKEY": key}
            assert Client().get("/fixed/", **sent).status_code == status
            assert Client().get("/watched/", **sent).status_code == 200


@BEHIND
def test_the_project_makes_its_own_user(middleware: list[str], keys: FakeKeyService) -> None:
    given = {"KEY_SERVICE": keys, "USER_FROM_CONSUMER": f"{__name__}.user_of"}
    with override_settings(MIDDLEWARE=middleware, APIKEY_GUARD=given):
        response = Client().get("/scoped/", HTTP_APIKEY=KEY)
    assert response.json() == {"user": "user of 42", "auth": "42"}


@BEHIND
def test_an_unavailable_key_service_is_503(middleware: list[str], keys: FakeKeyService) -> None:
    keys.fail()
    with override_settings(MIDDLEWARE=middleware):
        response = Client().get("/things/", HTTP_APIKEY=KEY)
    assert response.status_code == 503
    assert int(response["Retry-After"]) >= 1


def test_openapi_describes_the_locations() -> None:
    openapi = pytest.importorskip("apikey_guard.django.openapi")
    scheme = openapi.ApiKeyScheme(ApiKeyAuthentication())
    assert len(scheme.name) == len(scheme.get_security_definition(None)) == 2
    assert {"type": "apiKey", "in": "header", "name": "apikey"}.items() <= scheme.get_security_definition(
        None
    )[0].items()


def test_throttles_count_a_consumer_and_a_user_with_its_number_apart(keys: FakeKeyService) -> None:
    cache.clear()
    keys.add("KCANARY-other", Consumer(id="7"))
    user = APIClient()
    user.force_authenticate(user=SimpleNamespace(is_authenticated=True, pk=42), token=Consumer(id="1"))
    clients = [user, *(APIClient(headers={"apikey": key}) for key in (KEY, "KCANARY-other"))]
    with override_settings(MIDDLEWARE=[django_adapter.GUARD]):
        answers = [[client.get("/throttled/").status_code for client in clients] for _ in range(2)]
    assert answers == [[200, 200, 200], [429, 429, 429]]


@BEHIND
@pytest.mark.parametrize("name", COMBINED)
def test_scopes_can_be_combined_with_other_permissions(name: str, middleware: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        answers = [ask(f"/{name}/", headers={"apikey": KEY}) for ask in (Client().get, Client().post)]
    assert tuple(answer.status_code for answer in answers) == COMBINED[name][1:]


@BEHIND
def test_a_view_may_ask_about_scopes_while_it_chooses_its_permissions(middleware: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        assert Client().get("/choosing/", headers={"apikey": KEY}).status_code == 200
        refused = Client().get("/strict/", headers={"apikey": KEY})
    detail = "The key is valid but may not be used for this."
    assert (refused.status_code, refused.json()) == (403, {"detail": detail})


@BEHIND
def test_asking_about_a_scope_that_lacks_leaves_the_request_allowed(middleware: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        response = Client().get("/asking/", headers={"apikey": KEY})
    assert (response.status_code, response.json()) == (200, {"write": False, "read": True})


# -- tests of a project's own, and what looks at the same view twice ------------------------------------


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (Consumer(id="9", scopes=frozenset({"read", "x"})), 200),
        (Consumer(id="9", scopes=frozenset({"x"})), 403),
        (Consumer(id="9"), 403),
        (None, 403),
        ("some other token", 403),
    ],
    ids=["all-scopes", "another-scope", "no-scope", "no-token", "another-token"],
)
def test_scopes_are_those_of_the_forced_consumer(token: object, status: int) -> None:
    request = APIRequestFactory().get("/scoped/")
    force_authenticate(request, user="somebody", token=token)
    assert Scoped.as_view()(request).status_code == status


@pytest.mark.parametrize(
    ("target", "user", "token", "expected"),
    [
        ("/scoped/", "somebody", Consumer(id="9", scopes=frozenset({"read"})), (200, "9")),
        ("/scoped/", None, Consumer(id="9", scopes=frozenset({"read"})), (200, "9")),
        ("/fixed/", "somebody", Consumer(id="9", scopes=frozenset({"read"})), (403, None)),
        ("/things/", ConsumerUser(Consumer(id="9"), "9"), Consumer(id="9"), (200, "9")),
        ("/scoped/", "somebody", None, (403, None)),
        ("/scoped/", None, None, (401, None)),
    ],
)
def test_the_client_of_rest_framework_stands_for_authentication_behind_the_middleware_too(
    keys: FakeKeyService, target: str, user: object, token: Consumer | None, expected: tuple[int, str | None]
) -> None:
    client = APIClient()
    if user is not None or token is not None:
        client.force_authenticate(user=user, token=token)
    with override_settings(MIDDLEWARE=[django_adapter.GUARD]):
        response = client.get(target)
    assert (response.status_code, response.json().get("auth")) == expected
    assert keys.calls == 0


@pytest.mark.parametrize("header", ["_force_auth_user", "X-Force-Auth-User", "force-auth-token"])
def test_nobody_outside_can_stand_for_authentication(header: str) -> None:
    with override_settings(MIDDLEWARE=[django_adapter.GUARD]):
        response = Client().get(f"/things/?{header}=admin", headers={header: "admin"})
    assert response.status_code == 401


@BEHIND
def test_the_browsable_api_shows_a_view_whose_other_methods_lack_a_scope(middleware: list[str]) -> None:
    renderers = ["rest_framework.renderers.BrowsableAPIRenderer"]

    class Browsable(Scoped):
        renderer_classes = [import_string(name) for name in renderers]  # noqa: RUF012

        def post(self, request: Any) -> Any:
            return Response({})

    class Here:
        urlpatterns = [path("browsable/", Browsable.as_view())]  # noqa: RUF012

    given = {"MIDDLEWARE": middleware, "ROOT_URLCONF": Here, "TEMPLATES": TEMPLATES}
    apps_too = ["apikey_guard.django", "rest_framework"]
    with override_settings(**given, INSTALLED_APPS=apps_too):
        response = Client().get("/browsable/", headers={"apikey": KEY, "accept": "text/html"})
    assert response.status_code == 200


TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
