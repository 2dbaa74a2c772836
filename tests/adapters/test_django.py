"""The Django middleware: what reaches a view, marks, hiding, the body, settings and checks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("django")

from tests.adapters import django_adapter

from asgiref.sync import async_to_sync  # isort: skip
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.middleware.cache import FetchFromCacheMiddleware
from django.test import AsyncClient, Client
from django.test.utils import override_settings

from apikey_guard import Consumer, Credential, Deny, Rejection, SettingsError, Verdict
from apikey_guard.core.standin import is_standin
from apikey_guard.django import optional, public, require_scopes
from apikey_guard.testing import FakeKeyService, as_consumer
from tests.adapters.django_project import views

KEY = "KCANARY-good"
GUARD = django_adapter.GUARD
COMMON = "django.middleware.common.CommonMiddleware"


@pytest.fixture
def keys() -> FakeKeyService:
    service = FakeKeyService({KEY: Consumer(id="42", scopes=frozenset({"read"}))})
    service.add("KCANARY-all", Consumer(id="7", scopes=frozenset({"read", "write"})))
    return service


@pytest.fixture(autouse=True)
def project(keys: FakeKeyService) -> Iterator[None]:
    with override_settings(
        APIKEY_GUARD={"KEY_SERVICE": keys},
        ROOT_URLCONF="tests.adapters.django_project.urls",
        MIDDLEWARE=[GUARD, COMMON],
    ):
        views.REACHED.clear()
        views.CONVERTED.clear()
        yield
        apps.get_app_config("apikey_guard").guard.close()  # type: ignore[attr-defined]  # our AppConfig


def send_sync(method: str, target: str, **headers: str) -> HttpResponse:
    extra: dict[str, Any] = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return Client().generic(method, target, **extra)  # type: ignore[return-value]  # a response


def send_async(method: str, target: str, **headers: str) -> HttpResponse:
    async def send() -> Any:
        return await AsyncClient().generic(method, target, **headers)  # type: ignore[arg-type]  # headers

    return async_to_sync(send)()  # type: ignore[no-any-return]  # a response


Send = Callable[..., HttpResponse]
both = pytest.mark.parametrize("send", [send_sync, send_async], ids=["sync", "async"])


@both
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/plain/"),
        ("HEAD", "/plain/"),
        ("OPTIONS", "/plain/"),
        ("POST", "/plain/"),
        ("GET", "/plain"),  # APPEND_SLASH would redirect
        ("GET", "/async/"),
        ("GET", "/class/"),
        ("OPTIONS", "/class/"),
        ("GET", "/included/ping/"),
        ("GET", "/open/inner/"),
        ("GET", "/static/views.py"),
        ("GET", "/nowhere/"),
        ("GET", "/scoped/"),
        ("GET", "/health/../plain/"),
        ("GET", "//health/"),
        ("GET", "/health;x/"),
    ],
)
def test_a15_without_a_key_nothing_is_reached(send: Send, method: str, target: str) -> None:
    response = send(method, target)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Key realm="api"'
    assert views.REACHED == []
    if method == "HEAD":
        assert response.content == b""
    else:
        assert json.loads(response.content)["code"] == "missing_credential"


@both
@pytest.mark.parametrize("target", ["/plain/", "/async/", "/class/", "/included/ping/", "/open/inner/"])
def test_with_a_key_the_view_sees_the_consumer(send: Send, target: str, keys: FakeKeyService) -> None:
    response = send("GET", target, apikey=KEY)
    assert json.loads(response.content)["consumer"] == "42"
    assert keys.calls == 1


@both
@pytest.mark.parametrize(
    ("target", "view"),
    [
        ("/health/", "health"),
        ("/health-async/", "health_async"),
        ("/open-class/", "Open"),
        ("/open-dispatch/", "OpenDispatch"),
        ("/open-as-view/", "Plain"),
        ("/open/ping/", "private"),
        ("/maybe/", "maybe"),
    ],
)
def test_a16_marks_open_a_view(send: Send, target: str, view: str) -> None:
    response = send("GET", target)
    assert response.status_code == 200
    assert json.loads(response.content) == {"view": view, "consumer": None}


@both
def test_an_optional_view_refuses_a_bad_key(send: Send) -> None:
    assert send("GET", "/maybe/", apikey="KCANARY-bad").status_code == 401
    assert json.loads(send("GET", "/maybe/", apikey=KEY).content)["consumer"] == "42"


@both
@pytest.mark.parametrize("target", ["/scoped/", "/scoped-async/", "/scoped-class/"])
def test_scopes_of_a_view(send: Send, target: str) -> None:
    refused = send("GET", target, apikey=KEY)
    assert (refused.status_code, views.REACHED) == (403, [])
    assert json.loads(refused.content)["code"] == "insufficient_scope"
    assert send("GET", target, apikey="KCANARY-all").status_code == 200


def test_scopes_of_one_method() -> None:
    assert send_sync("GET", "/scoped-method/", apikey=KEY).status_code == 200
    assert send_sync("POST", "/scoped-method/", apikey=KEY).status_code == 403
    assert views.REACHED == ["ScopedMethod.get"]


@both
@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_other_modes_refuse_nothing(send: Send, mode: str, keys: FakeKeyService) -> None:
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": keys, "MODE": mode}):
        assert send("GET", "/scoped/").status_code == 200


@both
def test_a_public_view_never_waits(send: Send, keys: FakeKeyService) -> None:
    keys.hold()
    try:
        assert send("GET", "/health/", apikey="KCANARY-unknown").status_code == 200
    finally:
        keys.release()
    assert keys.calls == 0


@both
def test_a_hit_resolves_the_url_once_and_a_miss_twice(send: Send) -> None:
    send("GET", "/counted/a/", apikey=KEY)
    assert views.CONVERTED == ["a", "a"]
    views.CONVERTED.clear()
    send("GET", "/counted/b/", apikey=KEY)
    assert views.CONVERTED == ["b"]


def _other_urlconf(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        request.urlconf = "tests.adapters.django_project.private_urls"  # type: ignore[attr-defined]  # Django's way
        return get_response(request)

    return middleware


@both
def test_a15_a_urlconf_chosen_behind_the_guard_opens_no_other_view(send: Send) -> None:
    with override_settings(MIDDLEWARE=[GUARD, f"{__name__}._other_urlconf"]):
        assert send("GET", "/health/").status_code == 401
        assert views.REACHED == []
        assert send("GET", "/health/", apikey=KEY).status_code == 200


@both
def test_p11_a_redirect_for_a_missing_slash_shows_no_key(send: Send) -> None:
    response = send("GET", f"/plain?apikey={KEY}&a=1")
    assert response.status_code == 301
    # Who follows it adds his key anew, as for every URL: the stand-in opens nothing, and disturbs nothing.
    standin = response["Location"].removeprefix("/plain/?apikey=").removesuffix("&a=1")
    assert is_standin(standin)
    assert send("GET", response["Location"]).status_code == 401
    assert send("GET", response["Location"] + f"&apikey={KEY}").status_code == 200


@both
def test_p02_a_forced_mount_opens_nothing(send: Send) -> None:
    with override_settings(FORCE_SCRIPT_NAME="/health"):
        assert send("GET", "/plain/").status_code == 401
        assert send("GET", "/plain/", apikey=KEY).status_code == 200


def _reads_early(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        assert request.headers is not None
        assert request.GET is not None
        assert request.COOKIES is not None
        return get_response(request)

    return middleware


SHOWN: list[str] = []


def _shows(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        SHOWN.append(f"{dict(request.headers)} {dict(request.GET)} {request.get_full_path()}")
        return get_response(request)

    return middleware


@pytest.mark.parametrize("place", ["header", "query"])
def test_what_was_built_before_the_guard_is_built_anew(place: str) -> None:
    SHOWN.clear()
    with override_settings(MIDDLEWARE=[f"{__name__}._reads_early", GUARD, f"{__name__}._shows"]):
        if place == "header":
            response = send_sync("GET", "/plain/", apikey=KEY)
        else:
            response = send_sync("GET", f"/plain/?apikey={KEY}")
    assert response.status_code == 200
    assert "KCANARY" not in SHOWN[0]


def test_k01_a_refused_request_is_logged_without_its_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "django.request"):
        send_sync("GET", "/plain/?apikey=KCANARY-bad")
    record = next(record for record in caplog.records if record.name == "django.request")
    assert "KCANARY" not in repr(record.__dict__)


@pytest.mark.parametrize("kind", ["form", "multipart"])
def test_d04_a_key_in_the_body_leaves_post_to_the_view(keys: FakeKeyService, kind: str) -> None:
    given = {"KEY_SERVICE": keys, "KEY_LOCATIONS": ["body:apikey"]}
    with override_settings(APIKEY_GUARD=given, DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        client = Client()
        if kind == "form":
            response = client.post(
                "/form/", f"a=1&apikey={KEY}", content_type="application/x-www-form-urlencoded"
            )
        else:
            response = client.post("/form/", {"a": "1", "apikey": KEY})
        assert response.json() == {"post": {"a": "1"}, "files": 0, "untouched": True}
        assert client.post("/form/", {"a": "1"}).status_code == 401


def test_settings_are_read_anew_where_they_change() -> None:
    client = Client()
    assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 200
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": FakeKeyService()}):
        assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 401
    assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 200


class Connected(FakeKeyService):
    """A hook with connections of its own: closed, it answers no more."""

    closed = False

    def verify(self, credential: Credential) -> Verdict:
        assert not self.closed
        return super().verify(credential)

    def close(self) -> None:
        self.closed = True


CONNECTED = Connected([KEY])


def test_a_hook_outlives_the_settings_that_name_it() -> None:
    """The next settings name the same object: a module is imported once."""
    given = {"KEY_SERVICE": f"{__name__}.CONNECTED", "CACHE_TTL": 0, "STALE_IF_ERROR": 0}
    client = Client()
    with override_settings(APIKEY_GUARD=given):
        assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 200
        with override_settings(APIKEY_GUARD={**given, "REALM": "another"}):
            assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 200
        assert client.get("/plain/", HTTP_APIKEY=KEY).status_code == 200


def test_a_stand_in_consumer_needs_no_key_service(keys: FakeKeyService) -> None:
    guard = apps.get_app_config("apikey_guard").guard  # type: ignore[attr-defined]  # our AppConfig
    with as_consumer(guard, "99", scopes=["read", "write"]):
        assert json.loads(send_sync("GET", "/scoped/").content)["consumer"] == "99"
    assert keys.calls == 0


def test_a16_contrary_marks_are_refused_when_they_are_written() -> None:
    with pytest.raises(ImproperlyConfigured, match="leave out either"):
        public(require_scopes("a")(views.plain))
    with pytest.raises(TypeError, match="with the scopes"):
        require_scopes(views.plain)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="marks a view"):
        optional("tests.adapters.django_project.urls")


def test_a16_a_mark_stays_with_the_url_it_was_written_for() -> None:
    assert send_sync("GET", "/open/ping/").status_code == 200
    assert send_sync("GET", "/included/ping/").status_code == 401


def test_x18_an_origin_is_refused_as_nothing_would_be_sent_there(keys: FakeKeyService) -> None:
    for given in (
        {"ORIGIN": "https://api.internal"},
        {"ROUTES": [{"path": "/v2/*", "origin": "https://v2.internal"}]},
        {"ORIGINS": {"v2": "https://v2.internal"}, "CHOOSE_ORIGIN": lambda environ, consumer: "v2"},
    ):
        settings = override_settings(APIKEY_GUARD={"KEY_SERVICE": keys, **given})
        with settings, pytest.raises(SettingsError, match="around the WSGI application"):
            send_sync("GET", "/private/")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"VALIDATOR_URL": "https://keys.example.com/"}, []),
        ({"VALIDATOR_URL": "https://keys.example.com/", "CACHE_TLL": 3}, ["apikey_guard.E001"]),
        ({}, ["apikey_guard.E002"]),
        ({"VALIDATOR_URL": "http://keys.example.com/"}, ["apikey_guard.E003"]),
        ({"VALIDATOR_URL": "https://keys.example.com/", "CACHE_TTL": -1}, ["apikey_guard.E004"]),
        (
            {"VALIDATOR_URL": "https://keys.example.com/", "ORIGIN": "https://api.internal"},
            ["apikey_guard.E004"],
        ),
        (
            {"VALIDATOR_URL": "https://keys.example.com/", "KEY_LOCATIONS": ["cookie:sessionid"]},
            ["apikey_guard.W011"],
        ),
        (
            {
                "VALIDATOR_URL": "https://keys.example.com/",
                "ROUTES": [{"path": "/a", "key_locations": ["cookie:csrftoken"]}],
            },
            ["apikey_guard.W011"],
        ),
        (
            {
                "VALIDATOR_URL": "https://keys.example.com/",
                "ROUTES": [{"path": "/Admin/*", "scopes": ["admin"]}, {"path": "/admin/*"}],
            },
            ["apikey_guard.W012"],
        ),
        ([], ["apikey_guard.E004"]),
    ],
    ids=[
        "fine",
        "unknown",
        "no-url",
        "http",
        "bad-value",
        "an-origin",
        "session",
        "csrf",
        "alike",
        "no-dictionary",
    ],
)
def test_checks_of_settings(given: object, expected: list[str]) -> None:
    with override_settings(APIKEY_GUARD=given):
        assert _ids() == expected
    if any(".E" in each for each in expected) and isinstance(given, dict):
        with override_settings(APIKEY_GUARD=given), pytest.raises(SettingsError):
            Client().get("/plain/")


UPDATE_CACHE = "django.middleware.cache.UpdateCacheMiddleware"
FETCH_CACHE = "django.middleware.cache.FetchFromCacheMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"


class OwnFetch(FetchFromCacheMiddleware):
    """A project's own, made from Django's."""


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([COMMON], ["apikey_guard.W001"]),
        ([GUARD, GUARD], ["apikey_guard.E005"]),
        ([GUARD, CORS], ["apikey_guard.W002"]),
        ([CORS, GUARD, SESSION], []),
        ([SESSION, GUARD], ["apikey_guard.W003"]),
        ([COMMON, GUARD], ["apikey_guard.W004"]),
        ([UPDATE_CACHE, FETCH_CACHE, GUARD], ["apikey_guard.W010"]),
        (["django.middleware.cache.CacheMiddleware", GUARD], ["apikey_guard.W010"]),
        ([f"{__name__}.OwnFetch", GUARD], ["apikey_guard.W010"]),
        ([UPDATE_CACHE, GUARD, FETCH_CACHE], []),
    ],
)
def test_checks_of_the_order(order: list[str], expected: list[str]) -> None:
    with override_settings(MIDDLEWARE=order, PREPEND_WWW=True):
        assert _ids() == expected


def test_checks_of_a_deployment() -> None:
    given = {"VALIDATOR_URL": "http://10.0.0.1/", "VALIDATOR_ALLOW_HTTP": True, "MODE": "monitor"}
    with override_settings(APIKEY_GUARD=given):
        assert _ids(deploy=True) == ["apikey_guard.W005", "apikey_guard.W006", "apikey_guard.W007"]
        assert _ids() == []


def test_the_check_of_the_mode_says_where() -> None:
    given = {"VALIDATOR_URL": "https://k.example/", "KEY_LOCATIONS": ["header:apikey"]}
    routes = [{"path": "/new/*", "mode": "monitor"}, {"path": "/b", "mode": "off"}, {"path": "/a"}]
    with override_settings(APIKEY_GUARD={**given, "ROUTES": routes}):
        (found,) = (
            message
            for message in run_checks(tags=["security"], include_deployment_checks=True)
            if message.id == "apikey_guard.W007"
        )
    assert found.msg == "Requests without a valid key pass under /b, /new/*: the mode is not 'enforce'."


def _ids(*, deploy: bool = False) -> list[str]:
    messages = run_checks(tags=["security"], include_deployment_checks=deploy)
    return [str(message.id) for message in messages if str(message.id).startswith("apikey_guard.")]


class OwnWords:
    """A dialect, named as Django names things."""

    def reject(self, deny: Deny, *, locations: object, realm: str) -> Rejection:
        return Rejection(402, (("Content-Type", "text/plain"),), b"pay", deny.reason)


OWN_WORDS = OwnWords()


def test_a_part_is_named_by_a_dotted_path(keys: FakeKeyService) -> None:
    with override_settings(APIKEY_GUARD={"KEY_SERVICE": keys, "DIALECT": f"{__name__}.OWN_WORDS"}):
        answer = send_sync("GET", "/private/")
    assert (answer.status_code, answer.content) == (402, b"pay")


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    send_sync("GET", "/plain/", apikey=KEY)
    call_command("apikey_guard", "check")
    call_command("apikey_guard", "stats")
    call_command("apikey_guard", "revoke", "--consumer", "42")
    shown = capsys.readouterr().out
    assert "a made-up key is invalid, as it must be" in shown
    assert "hide_credentials, all requests: replace" in shown
    assert "1 forgotten here" in shown
    assert "warning: key_locations: keys in the query" in shown
    with override_settings(APIKEY_GUARD={}), pytest.raises(CommandError, match="nobody knows the keys"):
        call_command("apikey_guard", "check")
