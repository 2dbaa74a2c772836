"""Keys in the app's own database, and Django's own test cases around them.

Each project is made on disk and tested by ``django-admin test``, as its author would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("django")

MODELS = """
    from django.db import models

    class ApiKey(models.Model):
        key = models.CharField(max_length=64)
        owner = models.CharField(max_length=64)

        class Meta:
            app_label = "shop"
"""
KEYS = """
    from asgiref.sync import sync_to_async
    from django.db import connection, transaction
    from apikey_guard import Consumer, Verdict

    def verdict(row):
        if row is None:
            return Verdict.invalid()
        return Verdict(valid=True, consumer=Consumer(id="1", username=row.owner))

    def plain(credential):
        from shop.models import ApiKey
        with transaction.atomic():
            return verdict(ApiKey.objects.filter(key=credential.value).first())

    async def awaited(credential):
        from shop.models import ApiKey
        return verdict(await ApiKey.objects.filter(key=credential.value).afirst())

    class Service:
        def verify(self, credential):
            return plain(credential)

    service = Service()
"""
URLS = """
    from django.db import connection, transaction
    from django.http import HttpResponse
    from django.urls import path

    def view(request):
        from shop.models import ApiKey
        answer = f"{request.consumer.username} {connection.in_atomic_block} {ApiKey.objects.count()}"
        return HttpResponse(answer)

    @transaction.non_atomic_requests  # async views can be nothing else
    async def aview(request):
        return HttpResponse(request.consumer.username)

    urlpatterns = [path("", view), path("async", aview)]
"""
SETTINGS = """
    import os
    SECRET_KEY = "x"
    ROOT_URLCONF = "shop.urls"
    ALLOWED_HOSTS = ["*"]
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DB"],
            "TEST": {"NAME": os.environ["TEST_DB"] or None},
            "ATOMIC_REQUESTS": os.environ["ATOMIC"] == "1",
        }
    }
    INSTALLED_APPS = ["apikey_guard.django", "shop"]
    MIDDLEWARE = ["apikey_guard.django.GuardMiddleware"]
    APIKEY_GUARD = {
        "KEY_SERVICE": os.environ["HOOK"],
        "KEY_SERVICE_IN_POOL": os.environ["IN_POOL"] == "1",
        "CACHE_TTL": 0,
        "NEGATIVE_TTL": 0,
    }
"""
TESTS = """
    import os
    from django.db import connection, transaction
    from django.test import TestCase, TransactionTestCase
    from shop.models import ApiKey

    Base = TransactionTestCase if os.environ["BASE"] == "TransactionTestCase" else TestCase
    ATOMIC = os.environ["ATOMIC"] == "1" or Base is TestCase

    class Orders(Base):
        def setUp(self):
            ApiKey.objects.create(key="k-1", owner="acme")

        def test_a_key_that_the_test_made(self):
            for _ in range(2):
                answer = self.client.get("/", headers={"apikey": "k-1"})
                self.assertEqual((answer.status_code, answer.content), (200, f"acme {ATOMIC} 1".encode()))
            self.assertEqual(ApiKey.objects.count(), 1)

        def test_another_owner_in_another_test(self):
            ApiKey.objects.update(owner="globex")
            self.assertEqual(self.client.get("/", headers={"apikey": "k-1"}).content.split()[0], b"globex")

        def test_a_key_that_nobody_made(self):
            self.assertEqual(self.client.get("/", headers={"apikey": "k-2"}).status_code, 401)

        def test_a_key_that_is_taken_back(self):
            self.assertEqual(self.client.get("/", headers={"apikey": "k-1"}).status_code, 200)
            ApiKey.objects.all().delete()
            self.assertEqual(self.client.get("/", headers={"apikey": "k-1"}).status_code, 401)

        def test_in_a_transaction_that_is_rolled_back(self):
            with transaction.atomic():
                ApiKey.objects.create(key="k-3", owner="initech")
                self.assertEqual(self.client.get("/", headers={"apikey": "k-3"}).status_code, 200)
                self.assertTrue(connection.in_atomic_block)
                transaction.set_rollback(True)
            self.assertEqual(self.client.get("/", headers={"apikey": "k-3"}).status_code, 401)

        async def test_async(self):
            await ApiKey.objects.acreate(key="k-4", owner="umbrella")
            for path in ("/", "/async"):
                answer = await self.async_client.get(path, headers={"apikey": "k-4"})
                self.assertEqual((answer.status_code, answer.content.split()[0]), (200, b"umbrella"))
            answer = await self.async_client.get("/", headers={"apikey": "k-5"})
            self.assertEqual(answer.status_code, 401)

        async def test_async_at_once(self):
            import asyncio
            asked = [self.async_client.get("/async", headers={"apikey": "k-1"}) for _ in range(5)]
            self.assertEqual([a.status_code for a in await asyncio.gather(*asked)], [200] * 5)
"""


def run(folder: Path, *names: str, **environ: str) -> subprocess.CompletedProcess[str]:
    app = folder / "shop"
    app.mkdir()
    for name, text in {
        "__init__": "",
        "models": MODELS,
        "keys": KEYS,
        "urls": URLS,
        "settings": SETTINGS,
        "tests": TESTS,
    }.items():
        (app / f"{name}.py").write_text(textwrap.dedent(text))
    given = {
        "DB": str(folder / "db.sqlite3"),
        "TEST_DB": "",
        "ATOMIC": "0",
        "BASE": "TestCase",
        "IN_POOL": "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "django", "test", *names, "--settings", "shop.settings", "--noinput"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.getcwd()}", **given, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("hook", "base", "database", "atomic"),
    [
        pytest.param("plain", "TestCase", "memory", "0", id="TestCase"),
        pytest.param("plain", "TestCase", "file", "1", id="TestCase, a file, atomic requests"),
        pytest.param("plain", "TransactionTestCase", "file", "0", id="TransactionTestCase, a file"),
        pytest.param(
            "plain", "TransactionTestCase", "memory", "1", id="TransactionTestCase, atomic requests"
        ),
        pytest.param("service", "TestCase", "memory", "0", id="an object"),
        pytest.param("awaited", "TestCase", "memory", "0", id="async, TestCase"),
        pytest.param("awaited", "TransactionTestCase", "file", "1", id="async, TransactionTestCase, a file"),
    ],
)
def test_a_test_case_finds_the_keys_that_it_made(
    tmp_path: Path, hook: str, base: str, database: str, atomic: str
) -> None:
    done = run(
        tmp_path,
        "shop",
        HOOK=f"shop.keys.{hook}",
        BASE=base,
        ATOMIC=atomic,
        TEST_DB=str(tmp_path / "test.sqlite3") if database == "file" else "",
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 7 tests" in done.stderr


def test_in_the_pool_a_hook_does_not_see_what_a_test_made(tmp_path: Path) -> None:
    """The setting is for hooks that may hang; a test's transaction is nobody else's."""
    done = run(
        tmp_path,
        "shop.tests.Orders.test_a_key_that_the_test_made",
        HOOK="shop.keys.plain",
        IN_POOL="1",
        TEST_DB=str(tmp_path / "test.sqlite3"),
    )
    assert done.returncode == 1
    assert "401" in done.stderr or "503" in done.stderr
