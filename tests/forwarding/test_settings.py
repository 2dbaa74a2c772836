"""What can be written about origins, and what is refused at start with a reason (X-18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from apikey_guard import GuardMiddleware, Route, SettingsError, load_settings
from apikey_guard.settings import DEFAULTS, all_origins
from apikey_guard.testing import FakeKeyService
from tests.forwarding.gateway import Gateway
from tests.harness.origin import Origin

URL = "https://api.internal"


def problems_of(**given: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"key_service": FakeKeyService(), **given}, environ={})
    return caught.value.problems


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"app"]


def test_secure_defaults() -> None:
    expected: dict[str, object] = {
        "origin": None,
        "preserve_host": False,
        "origin_connect_timeout": 2.0,
        "origin_read_timeout": 60.0,
        "origin_max_connections": 64,
        "choose_origin": None,
        "health_path": "/healthz",
    }
    assert {name: DEFAULTS[name] for name in expected} == expected
    assert not DEFAULTS["origins"]
    assert not DEFAULTS["trusted_proxies"]
    assert (Route("/a").origin, Route("/a").strip_prefix, Route("/a").preserve_host) == (None, False, None)


GOOD_ORIGINS: list[object] = [
    "https://api.internal",
    "https://api.internal/",
    "http://api.internal:8080/base/path",
    "http://127.0.0.1:8080",
    "http://[::1]:8080/base",
    "https://xn--caf-dma.example",
    "https://api.internal/base/a.b/~c-d_e",
    ["https://a.internal", "https://b.internal:8443"],
    ("https://a.internal",),
]


@pytest.mark.parametrize("origin", GOOD_ORIGINS)
def test_an_origin_that_can_be_used(origin: Any) -> None:
    load_settings(key_service=FakeKeyService(), origin=origin, environ={})
    load_settings(key_service=FakeKeyService(), routes=[Route("/a/*", origin=origin)], environ={})
    load_settings(key_service=FakeKeyService(), origins={"one": origin}, origin="one", environ={})


BAD_ORIGINS: dict[str, object] = {
    "userinfo": "https://who:SCANARY-word@api.internal",
    "user": "https://who@api.internal",
    "empty userinfo": "https://@api.internal",
    "unix socket": "unix:/run/api.sock",
    "unix socket, http": "http+unix://%2Frun%2Fapi.sock",
    "unix, as a host": "http://unix:/run/api.sock",
    "query": "https://api.internal/?a=1",
    "empty query": "https://api.internal/?",
    "fragment": "https://api.internal/#a",
    "empty fragment": "https://api.internal/#",
    "placeholder": "https://{host}/",
    "placeholder in the path": "https://api.internal/{path}",
    "angle brackets": "https://<host>/",
    "another scheme": "ftp://api.internal",
    "no scheme, with a port": "api.internal:8080",
    "no host": "https:///a",
    "port 0": "https://api.internal:0",
    "port too large": "https://api.internal:65536",
    "port is no number": "https://api.internal:http",
    "space": "https://api.internal/a b",
    "backslash": "https://api.internal\\evil.example",
    "not ASCII": "https://café.example",
    "line break": "https://api.internal/\r\nX: y",
    "control character": "https://api.internal/\x7f",
    "broken address": "https://[::1",
    "label too long": f"https://{'x' * 64}.example",
    "dot segments": "https://api.internal/a/../b",
    "encoded dot segments": "https://api.internal/%2e%2e/b",
    "bad escape": "https://api.internal/%zz",
    "escape": "https://api.internal/%20",
    "empty": "",
    "unknown name": "nowhere",
    "no origin at all": [],
    "not a text": 5,
    "a list of something": [5],
    "a list with a bad one": ["https://api.internal", "https://who@api.internal"],
    "twice the same": ["https://api.internal", "https://api.internal"],
    "bytes": b"https://api.internal",
}


@pytest.mark.parametrize("origin", BAD_ORIGINS.values(), ids=BAD_ORIGINS)
def test_x18_an_origin_that_cannot_be_used(origin: object) -> None:
    for given in ({"origin": origin}, {"routes": [{"path": "/a", "origin": origin}]}):
        (problem, *more) = problems_of(**given)
        assert more == []
        assert "origin" in problem
        assert "SCANARY" not in problem


@pytest.mark.parametrize(
    "origins",
    [
        {"one": BAD_ORIGINS["userinfo"]},
        {"one": {"targets": ["https://who@a.internal"]}},
        {"one": {"targets": []}},
        {"one": {}},
        {"one": {"targets": ["https://a.internal"], "conect_timeout": 1}},
        {"one": {"targets": ["https://a.internal"], "connect_timeout": 0}},
        {"one": {"targets": ["https://a.internal"], "read_timeout": -1}},
        {"one": {"targets": ["https://a.internal"], "read_timeout": "5"}},
        {"one": {"targets": ["https://a.internal"], "max_connections": 0}},
        {"one": {"targets": ["https://a.internal"], "max_connections": True}},
        {"one": {"targets": ["https://a.internal"], "ca": False}},
        {"one": {"targets": ["https://a.internal"], "preserve_host": "yes"}},
        {"one": None},
        {"": "https://a.internal"},
        {"https://a.internal": "https://b.internal"},
        {5: "https://a.internal"},
        ["https://a.internal"],
        "https://a.internal",
    ],
    ids=repr,
)
def test_x18_a_table_of_origins_that_cannot_be_used(origins: object) -> None:
    problems = problems_of(origins=origins)
    assert len(problems) == 1
    assert "origins" in problems[0]


def test_an_unknown_name_is_told_with_the_closest_one() -> None:
    (problem,) = problems_of(origins={"reports": URL}, origin="report")
    assert "reports" in problem
    (problem,) = problems_of(origins={"reports": URL}, routes=[Route("/a", origin="report")])
    assert "reports" in problem


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("origin_connect_timeout", [0, -1, "2", True, float("nan"), float("inf"), None, 1e9]),
        ("origin_read_timeout", [0, -1, "2", True, float("nan"), float("inf"), None, 1e9]),
        ("origin_max_connections", [0, -1, 1.5, "2", True, None]),
        ("preserve_host", ["yes", 1, None]),
        ("trusted_proxies", ["10.0.0.0/8", ["10.0.0.0/33"], ["nowhere"], [5], [""], ["10.0.0.0/8", "x"], 5]),
        ("choose_origin", ["one", 5]),
        ("health_path", ["healthz", "/", "/a/../b", 5]),
    ],
)
def test_a_value_that_cannot_be_used(name: str, values: list[object]) -> None:
    for value in values:
        (problem,) = problems_of(**{name: value, "origin": URL})
        assert name in problem, value


@pytest.mark.parametrize("networks", [[], ["10.0.0.0/8"], ["10.1.2.3"], ["::1", "fe80::/10"], ["0.0.0.0/0"]])
def test_networks_that_can_be_trusted(networks: list[str]) -> None:
    load_settings(key_service=FakeKeyService(), trusted_proxies=networks, environ={})


@pytest.mark.parametrize(
    ("route", "word"),
    [
        ({"path": "/a/*", "strip_prefix": True}, "strip_prefix"),
        ({"path": "/a/*", "strip_prefix": "yes", "origin": URL}, "strip_prefix"),
        ({"path": "/a/*", "preserve_host": "yes", "origin": URL}, "preserve_host"),
    ],
)
def test_a_route_that_cannot_be_used(route: Mapping[str, object], word: str) -> None:
    (problem,) = problems_of(routes=[route])
    assert word in problem


def test_no_app_and_no_origin_is_no_gateway() -> None:
    for given in ({}, {"origins": {"one": URL}}, {"routes": [Route("/a")]}):
        with pytest.raises(SettingsError) as caught:
            GuardMiddleware(key_service=FakeKeyService(), **given)
        (problem,) = caught.value.problems
        assert "origin" in problem


def test_an_app_and_an_origin_for_everything_are_one_too_many() -> None:
    """Which of the two gets what no route sends elsewhere would be a guess."""
    with pytest.raises(SettingsError, match="origin"):
        GuardMiddleware(app, key_service=FakeKeyService(), origin=URL)


def test_everything_that_is_wrong_is_in_one_error() -> None:
    with pytest.raises(SettingsError) as caught:
        GuardMiddleware(
            key_service=FakeKeyService(),
            origin="https://who@api.internal",
            origins={"one": "unix:/run/x", "two": {"targets": [URL], "read_timeout": 0}},
            origin_read_timeout=0,
            origin_max_conections=5,
            trusted_proxies=["nowhere"],
            routes=[{"path": "/a", "origin": "three"}, {"path": "/b", "strip_prefix": True}],
        )
    text = str(caught.value)
    words = ["origin_read_timeout", "origin_max_connections", "trusted_proxies", "three"]
    assert [word for word in [*words, "'one'", "'two'"] if word.strip("'") not in text] == []
    assert len(caught.value.problems) >= 7


def test_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text(
        """
        keys_file = "keys.toml"
        origin = "main"
        trusted_proxies = ["10.0.0.0/8"]
        origin_read_timeout = 5

        [origins]
        plain = "https://plain.internal"
        pair = ["https://a.internal", "https://b.internal"]

        [origins.main]
        targets = ["https://main.internal"]
        read_timeout = 2
        max_connections = 3

        [[routes]]
        path = "/v2/reports/*"
        origin = "pair"
        strip_prefix = true
        preserve_host = true
        """
    )
    settings = load_settings(environ={"APIKEY_GUARD_CONFIG_FILE": str(file)})
    assert (settings.origin, settings.origin_read_timeout) == ("main", 5.0)
    assert set(settings.origins) == {"plain", "pair", "main"}
    assert list(settings.trusted_proxies) == ["10.0.0.0/8"]
    (route,) = settings.routes
    assert (route.origin, route.strip_prefix, route.preserve_host) == ("pair", True, True)
    environ = {
        "APIKEY_GUARD_KEYS_FILE": "keys.toml",
        "APIKEY_GUARD_ORIGIN": '["https://a.internal", "https://b.internal"]',
        "APIKEY_GUARD_ORIGINS": '{"one": {"targets": ["https://c.internal"], "read_timeout": 3}}',
        "APIKEY_GUARD_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
        "APIKEY_GUARD_PRESERVE_HOST": "true",
        "APIKEY_GUARD_ORIGIN_MAX_CONNECTIONS": "7",
    }
    settings = load_settings(environ=environ)
    assert list(settings.origin or ()) == ["https://a.internal", "https://b.internal"]
    assert list(settings.trusted_proxies) == ["10.0.0.0/8", "192.0.2.1"]
    assert (settings.preserve_host, settings.origin_max_connections) == (True, 7)


def test_the_settings_of_one_origin_are_its_own(origin: Origin) -> None:
    origin.behave(lambda exchange: exchange.wait_until_left())
    origins = {"quick": {"targets": [origin.url], "read_timeout": 0.1}}
    with Gateway("quick", origins=origins, origin_read_timeout=50.0) as gateway:
        assert gateway.outcome() == (504, "origin_timeout")


def test_each_origin_has_one_name_however_often_it_is_written() -> None:
    one, both = "https://a.internal", ["https://a.internal", "https://b.internal"]
    routes = [Route("/one/*", origin=one), Route("/both/*", origin=both), Route("/again/*", origin=both)]
    settings = load_settings(
        key_service=FakeKeyService(),
        origins={"named": one},
        origin="named",
        routes=routes,
        environ={},
    )
    origins = all_origins(settings)
    names = [origins.name_of(meant) for meant in ("named", one, both, tuple(both), None)]
    assert names == ["named", "https://a.internal", "https://a.internal (2)", "https://a.internal (2)", None]
    assert {name: len(spec.targets) for name, spec in origins.specs.items()} == {
        "named": 1,
        "https://a.internal": 1,
        "https://a.internal (2)": 2,
    }
