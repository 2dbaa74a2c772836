"""Our classes as REST framework's defaults for the whole project: they are imported while it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("rest_framework")

PROJECT = """
from django.conf import settings
from apikey_guard import Consumer
from apikey_guard.testing import FakeKeyService

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["apikey_guard.django.GuardMiddleware"],
    INSTALLED_APPS={apps!r},
    REST_FRAMEWORK={{"UNAUTHENTICATED_USER": None, **{defaults!r}}},
    APIKEY_GUARD={{"KEY_SERVICE": FakeKeyService({{"a-key": Consumer(id="42")}})}},
)
import django
django.setup()
{first}
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

class Things(APIView):
    def get(self, request):
        return Response(None if request.auth is None else request.auth.id)

urlpatterns = [path("", Things.as_view())]
from django.test import Client
answers = [Client().get("/", headers=headers) for headers in ({{}}, {{"apikey": "a-key"}})]
print([answer.status_code for answer in answers], answers[1].content)
"""
AUTHENTICATION = {"DEFAULT_AUTHENTICATION_CLASSES": ["apikey_guard.django.drf.ApiKeyAuthentication"]}
PERMISSION = {
    "DEFAULT_AUTHENTICATION_CLASSES": list[str](),
    "DEFAULT_PERMISSION_CLASSES": ["apikey_guard.django.drf.HasScopes"],
}
RENDERER = {"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]}
APPS = ["apikey_guard.django", "rest_framework"]
FIRST = {
    "nothing": "",
    "our-module": "import apikey_guard.django.drf",
    "the-views": "import rest_framework.views",
    "the-permissions": "import rest_framework.permissions",
}


@pytest.mark.parametrize("spectacular", [False, True], ids=["plain", "with-openapi"])
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
@pytest.mark.parametrize(
    "defaults", [AUTHENTICATION, PERMISSION, {**PERMISSION, **AUTHENTICATION}], ids=["who", "may", "both"]
)
def test_a_project_starts_with_our_classes_as_defaults(
    defaults: dict[str, list[str]], first: str, *, spectacular: bool
) -> None:
    apps = [*APPS, "drf_spectacular"] if spectacular else APPS
    if spectacular:
        pytest.importorskip("drf_spectacular")
    source = PROJECT.format(apps=apps, defaults={**defaults, **RENDERER}, first=first)
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
    known = b"" if not defaults["DEFAULT_AUTHENTICATION_CLASSES"] else b'"42"'
    assert done.stdout.splitlines()[-1] == f"[401, 200] {known!r}"
