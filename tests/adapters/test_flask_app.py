"""The extension in real Flask apps: refusals, signals, settings, stand-ins and commands."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from werkzeug.routing import BaseConverter, ValidationError

from apikey_guard import Consumer, GuardMiddleware, Route, SettingsError
from apikey_guard.flask import (
    ApiKeyGuard,
    ApiKeyRejected,
    current_consumer,
    current_decision,
    request_allowed,
    request_denied,
)
from apikey_guard.testing import FakeKeyService
from tests.adapters.flask_site import BAD, GOOD, WRITER, Site, known_keys
from tests.harness import build_environ, call


@pytest.fixture
def site() -> Site:
    return Site()


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("headers", [[], [("apikey", BAD)]], ids=["missing", "bad"])
def test_a_refusal_is_byte_for_byte_that_of_the_middleware(
    site: Site, method: str, headers: list[tuple[str, str]]
) -> None:
    behind = GuardMiddleware(lambda environ, start: [], key_service=known_keys())
    answer = call(site.app, build_environ("/", method, headers=headers))
    expected = call(behind, build_environ("/", method, headers=headers))
    assert answer == expected


@pytest.mark.parametrize("what", [401, ApiKeyRejected], ids=["by status", "by class"])
def test_the_apps_own_error_handler_renders(site: Site, what: Any) -> None:
    @site.app.errorhandler(what)
    def own(error: ApiKeyRejected) -> tuple[dict[str, str], int]:
        assert isinstance(error, ApiKeyRejected)
        assert not bool(current_consumer)
        assert current_decision.reason is error.reason
        return {"reason": error.reason, "say": error.description or ""}, error.code or 0

    answer = site.app.test_client().get("/")
    assert answer.status_code == 401
    assert answer.json == {
        "reason": "missing_credential",
        "say": "Send the key in the header `apikey` or the query parameter `apikey`.",
    }


def test_an_error_handler_sees_no_key(site: Site) -> None:
    site.app.register_error_handler(401, lambda error: (flask.request.url + str(flask.request.headers), 401))
    answer = site.app.test_client().get(f"/?apikey={BAD}&q=1", headers={"Referer": f"http://a/?apikey={BAD}"})
    assert "q=1" in answer.text
    assert "KCANARY" not in answer.text


def test_an_error_handler_may_change_the_guards_answer(site: Site) -> None:
    @site.app.errorhandler(ApiKeyRejected)
    def own(error: ApiKeyRejected) -> Any:
        answer = error.get_response()
        answer.headers["X-Own"] = "1"
        return answer

    answer = site.app.test_client().get("/")
    assert (answer.status_code, answer.headers["X-Own"]) == (401, "1")
    assert answer.headers["WWW-Authenticate"] == 'Key realm="api"'


def test_after_request_functions_see_a_refusal_as_cors_extensions_need_it(site: Site) -> None:
    @site.app.after_request
    def cors(answer: flask.Response) -> flask.Response:
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer

    assert site.app.test_client().get("/").headers["Access-Control-Allow-Origin"] == "*"


def test_signals_tell_what_was_decided(site: Site) -> None:
    site.app.get("/a")(site.view("a"))
    site.app.get("/scoped")(site.guard.require_scopes("write")(site.view("scoped")))
    told: list[tuple[str, object]] = []

    def allowed(sender: flask.Flask, decision: Any) -> None:
        told.append(("allowed", decision.consumer.id))

    def denied(sender: flask.Flask, decision: Any) -> None:
        told.append(("denied", decision.reason))

    with request_allowed.connected_to(allowed, site.app), request_denied.connected_to(denied, site.app):
        site.status("/a", GOOD)
        site.status("/a")
        site.status("/scoped", GOOD)
    site.status("/a", GOOD)
    assert told == [("allowed", "42"), ("denied", "missing_credential"), ("denied", "insufficient_scope")]


# -- apps and settings ---------------------------------------------------------------------------------


def test_one_extension_serves_several_apps() -> None:
    guard = ApiKeyGuard(realm="shared")
    apps = []
    for number, key in enumerate((GOOD, WRITER)):
        app = flask.Flask(f"app{number}")
        app.config["APIKEY_GUARD_KEY_SERVICE"] = FakeKeyService([key])
        app.add_url_rule("/", view_func=lambda: "in")
        guard.init_app(app)
        apps.append(app)
    first, second = (app.test_client() for app in apps)
    assert apps[0].extensions["apikey_guard"] is not apps[1].extensions["apikey_guard"]
    assert [first.get("/", headers={"apikey": key}).status_code for key in (GOOD, WRITER)] == [200, 401]
    assert [second.get("/", headers={"apikey": key}).status_code for key in (GOOD, WRITER)] == [401, 200]
    assert first.get("/").headers["WWW-Authenticate"] == 'Key realm="shared"'


def test_a_second_guard_on_one_app_is_an_error(site: Site) -> None:
    with pytest.raises(RuntimeError, match="has a guard already"):
        site.guard.init_app(site.app)


def test_settings_from_the_environment_through_flask(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "VALIDATOR_URL": "https://keys.example.com/verify",
        "VALIDATOR_HEADERS__Authorization": "Bearer SCANARY",
        "KEY_LOCATIONS": "header:x-key, query:key",
        "CACHE_TTL": "30",
        "HIDE_CREDENTIALS": "false",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"FLASK_APIKEY_GUARD_{name}", value)
    app = flask.Flask(__name__)
    app.config.from_prefixed_env()
    ApiKeyGuard(app, cache_ttl=10)
    settings = app.extensions["apikey_guard"].settings
    assert settings.key_locations == ("header:x-key", "query:key")
    assert settings.validator_headers["Authorization"] == "Bearer SCANARY"
    assert (settings.cache_ttl, settings.hide_credentials) == (10, False)
    assert settings.sources["validator_url"] == "framework config"
    assert "SCANARY" not in repr(settings)


def test_a14_without_a_key_service_nothing_starts() -> None:
    app = flask.Flask(__name__)
    app.config["APIKEY_GUARD_VALIDATOR_ULR"] = "https://keys.example.com"
    with pytest.raises(SettingsError, match="validator_url"):
        ApiKeyGuard(app)


def test_c05_nobody_is_left_over_from_the_request_before(site: Site) -> None:
    @site.app.get("/who")
    @site.guard.optional
    def who() -> str:
        return str(current_consumer.id) if bool(current_consumer) else "nobody"

    client = site.app.test_client()
    assert client.get("/who", headers={"apikey": GOOD}).text == "42"
    assert client.get("/who").text == "nobody"


def test_c06_a_streamed_answer_is_handed_on_piece_by_piece(site: Site) -> None:
    site.app.add_url_rule("/stream", view_func=lambda: iter(["a", "b"]), endpoint="stream")
    assert call(site.app, build_environ("/stream", headers=[("apikey", GOOD)])).body == b"ab"


# -- tests and commands --------------------------------------------------------------------------------


def test_as_consumer_needs_no_key_and_no_service(site: Site) -> None:
    @site.app.get("/who")
    def who() -> list[str | None]:
        return [current_consumer.id, flask.request.headers.get("X-Consumer-ID")]

    site.app.get("/scoped")(site.guard.require_scopes("write")(site.view("scoped")))
    client = site.app.test_client()
    with site.guard.as_consumer("9", scopes=["write"]):
        assert client.get("/who").json == ["9", "9"]
        assert client.get("/scoped").status_code == 200
        with site.guard.as_consumer(Consumer(id="10")):
            assert client.get("/who").json == ["10", "10"]
            assert client.get("/scoped").status_code == 403
        assert client.get("/who", headers={"apikey": BAD}).json == ["9", "9"]
        assert client.get("/unknown").status_code == 404
    assert client.get("/who").status_code == 401
    assert site.keys.calls == 0


def test_as_consumer_without_an_app_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="call init_app first"), ApiKeyGuard().as_consumer("9"):
        pass


def test_the_command_check_shows_what_is_open(site: Site) -> None:
    site.app.get("/health")(site.guard.public(site.view("health")))
    site.app.get("/scoped")(site.guard.require_scopes("write")(site.view("scoped")))
    done = site.app.test_cli_runner().invoke(args=["apikey-guard", "check"])
    assert done.exit_code == 0
    assert "view health at /health (GET,HEAD,OPTIONS): public" in done.output
    assert "view scoped at /scoped (GET,HEAD,OPTIONS): needs write" in done.output
    assert "a revoked key works for 60 s at most" in done.output
    assert "hide_credentials, all requests: replace" in done.output
    assert "SESSION_COOKIE_NAME" not in done.output
    assert "a made-up key is invalid, as it must be" in done.output


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "none: everything needs a valid key"),
        ({"mode": "off"}, "everything, unless a route enforces: nothing is refused (mode off)"),
        ({"mode": "monitor"}, "warning: mode: monitor lets requests without a valid key pass"),
        ({"routes": [Route("/m", mode="monitor")]}, "route /m (every method): required, mode monitor"),
        (
            {"routes": [Route("/a/*", access="public"), Route("/A/*")]},
            "differ by letter case or the last slash only",
        ),
        ({"allow_preflight": True}, "warning: allow_preflight: an OPTIONS with Origin"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "warning: trusted_proxies: everybody may say"),
    ],
    ids=["nothing", "off", "monitor", "route-monitor", "routes-alike", "preflights", "proxies"],
)
def test_the_command_check_says_what_the_settings_let_pass(settings: dict[str, Any], shown: str) -> None:
    app = flask.Flask(__name__)
    ApiKeyGuard(app, key_service=FakeKeyService(), **settings)
    output = app.test_cli_runner().invoke(args=["apikey-guard", "check", "--offline"]).output
    assert shown in output
    assert ("none: everything" in output) == (settings.keys() <= {"allow_preflight", "trusted_proxies"})


def test_the_command_check_warns_of_a_cookie_that_flask_reads_itself() -> None:
    app = flask.Flask(__name__)
    ApiKeyGuard(app, key_service=FakeKeyService(), key_locations=["header:apikey", "cookie:session"])
    done = app.test_cli_runner().invoke(args=["apikey-guard", "check", "--offline"])
    assert "SESSION_COOKIE_NAME" in done.output


def test_the_command_check_says_what_is_wrong_with_the_key_service(site: Site) -> None:
    site.keys.fail()
    runner = site.app.test_cli_runner()
    done = runner.invoke(args=["apikey-guard", "check"])
    assert (done.exit_code, "the key service cannot be connected to" in done.output) == (1, True)
    assert runner.invoke(args=["apikey-guard", "check", "--offline"]).exit_code == 0


def test_the_commands_revoke_and_stats(site: Site) -> None:
    site.app.get("/a")(site.view("a"))
    site.status("/a", GOOD)
    runner = site.app.test_cli_runner()
    assert "cached_valid 1" in runner.invoke(args=["apikey-guard", "stats"]).output
    done = runner.invoke(args=["apikey-guard", "revoke", "--key"], input=f"{GOOD}\n")
    assert done.output.splitlines()[-1].startswith("forgotten in this process: 1")
    assert "KCANARY" not in done.output
    assert runner.invoke(args=["apikey-guard", "revoke"]).exit_code == 2
    assert runner.invoke(args=["apikey-guard", "revoke", "--fingerprint", "zz"]).exit_code == 2
    assert runner.invoke(args=["apikey-guard", "revoke", "--everything"]).exit_code == 0


class _OfTheApp(BaseConverter):
    """Looks something up where Flask lets converters do so: in the context of the app."""

    def to_python(self, value: str) -> str:
        flask.g.looked_up = flask.current_app.config["NAMES"].get(value)
        if flask.g.looked_up is None:
            raise ValidationError
        return str(flask.g.looked_up)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/public/a", (200, 200, 200), id="public"),
        pytest.param("/optional/a", (200, 401, 200), id="optional"),
        pytest.param("/plain/a", (401, 401, 200), id="unmarked"),
        pytest.param("/public/b", (401, 401, 404), id="found-nothing"),
    ],
)
def test_a_mark_is_found_behind_a_converter_that_uses_the_application_context(
    site: Site, path: str, expected: tuple[int, ...]
) -> None:
    site.app.config["NAMES"] = {"a": "found"}
    site.app.url_map.converters["name"] = _OfTheApp
    torn_down: list[object] = []
    site.app.teardown_appcontext(torn_down.append)
    marks = {"public": site.guard.public, "optional": site.guard.optional, "plain": lambda view: view}
    for name, mark in marks.items():
        site.app.add_url_rule(f"/{name}/<name:value>", view_func=mark(site.view(name)))
    assert tuple(site.status(path, key) for key in (None, BAD, GOOD)) == expected
    assert torn_down == [None] * len(torn_down)
