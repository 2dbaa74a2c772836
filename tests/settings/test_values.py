"""What each setting may be: one row per value, good and bad."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from apikey_guard.core.model import Credential, Deny, Rejection, Verdict
from apikey_guard.core.routing import Route
from apikey_guard.errors import SettingsError
from apikey_guard.keyservice.protocols import KeyRequest
from apikey_guard.settings import Settings, load_settings

URL = "https://keys.example.com/verify"


def load(**given: object) -> Settings:
    party = {} if {"validator_url", "keys_file", "key_service"} & given.keys() else {"validator_url": URL}
    return load_settings(**{**party, **given}, environ={})


def problems_of(**given: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return caught.value.problems


def rows(name: str, *values: object) -> list[object]:
    return [pytest.param(name, value, id=f"{name}={str(value)[:40]}") for value in values]


def plain(credential: Credential) -> Verdict:
    return Verdict.invalid()


async def asynchronous(credential: Credential) -> Verdict:
    return Verdict.invalid()


class WithVerify:
    def verify(self, credential: Credential) -> Verdict:
        return Verdict.invalid()


class WithReject:
    def reject(self, deny: Deny, *, locations: object, realm: str) -> Rejection:
        return Rejection(401, (), b"", deny.reason)


WITH_REJECT = WithReject()


class WithAsyncVerify:
    async def verify(self, credential: Credential) -> Verdict:
        return Verdict.invalid()


class AsyncCallable:
    async def __call__(self, *arguments: object) -> None: ...


ANYTHING_BUT_TEXT = (1, True, 1.5, b"bytes", ["a"], {"a": "b"})
NO_BOOLEANS: tuple[object, ...] = (0, 1, "true", "", None, [])
NO_SECONDS = (-1, -0.001, math.nan, math.inf, -math.inf, "5", True, False, None, [5], Decimal(5), 10**4000)
NO_COUNTS = (-1, 1.0, 1.5, "5", True, None, math.inf, 10**4000)

# D-09: nothing in the settings means "forever" or "without bound".
BAD = [
    *rows("validator_timeout", *NO_SECONDS, 0, 0.0, 60.001),
    *rows("cache_ttl", *NO_SECONDS, 86_401),
    *rows("negative_ttl", *NO_SECONDS, 3_601),
    *rows("stale_if_error", *NO_SECONDS, 86_401),
    *rows("validator_max_concurrency", *NO_COUNTS, 0, 257),
    *rows("key_max_length", *NO_COUNTS, 0, 4097),
    *rows("body_max_bytes", *NO_COUNTS, 0, 104_857_601),
    *rows("cache_max_entries", *NO_COUNTS, 10_000_001),
    *rows("negative_max_entries", *NO_COUNTS, 10_000_001),
    *rows("validator_allow_http", *NO_BOOLEANS),
    *rows("hide_credentials", 0, 1, "true", "", "keep", "Replace", []),
    *rows("allow_preflight", *NO_BOOLEANS),
    *rows("cors_origins", None, 1, b"*", {"a": 1}, [1], [None], ["null"], ["*", "https://a.example"], [""]),
    *rows("cors_origins", "a.example", "https://", "https://a.example/", "https://a.example/x", "null"),
    *rows("cors_origins", "https://a.example?q", "https://*.example", "https://u@a.example", "//a.example"),
    *rows("cors_origins", "https://a.example:", "https://a.example:65536", "https://a.example:0"),
    *rows("cors_origins", "https://a.example https://b.example", "https://é.example", "https://a.example\n"),
    *rows("cors_origins", "https:a.example", "https://.example", "https://a..b"),
    *rows("validator_cache_control", 0, 1, "true", ""),
    *rows("validator_protocol", "JSON", "rest", "", None, 1, object(), WithVerify(), KeyRequest),
    *rows("key_conflict", "last", "", None, ["first"]),
    *rows("default_access", "Public", "open", "", None, False, ["public"]),
    *rows("mode", "on", "Enforce", "", None, False),
    *rows("dialect", "kong", "nginx", "", None),
    *rows("realm", "", 'a"b', "a\\b", "a\nb", "a\n", "é", "a\x00", "x" * 201, None, 1),
    *rows("keys_file", "", "a\nb", *ANYTHING_BUT_TEXT),
    *rows("config_file", "", "a\x00b", *ANYTHING_BUT_TEXT),
    *rows("validator_ca", "", *ANYTHING_BUT_TEXT, False),
    *rows("validator_client_cert", "", [], ["a"], ["a", "b", "c"], ["a", 1], True, 1),
    *rows("validator_proxy", "proxy:3128", "socks5://proxy", "http://proxy/path", "http://proxy?q", "", 1),
    *rows("validator_key_header", "", "X_Key", "X Key", "Schlüssel", "X:", "Host", "content-length", None, 1),
    *rows("validator_headers", None, [], "A: b", 1),
    *rows("validator_headers", {"A b": "c"}, {"": "c"}, {1: "c"}, {"A\n": "c"}, {"A:": "c"}),
    *rows("validator_headers", {"A": "b\r\nC: d"}, {"A": "b\n"}, {"A": "b\x00"}, {"A": "\u20ac"}),
    *rows("validator_headers", {"A": ""}, {"A": " b"}, {"A": "b "}, {"A": 1}, {"A": None}, {"A": b"b"}),
    *rows(
        "validator_headers", {"Content-Length": "5"}, {"transfer-encoding": "chunked"}, {"A": "b", "a": "c"}
    ),
    *rows("key_pattern", "", "(", "[a-", "a{99999999999999999999}", "a\nb", 1, ["a"]),
    *rows("fingerprint_secret", "", "fifteen letters", b"x" * 15, 12345678901234567890, ["x" * 16]),
    *rows("key_service", 1, "no.such.module:name", object(), WithVerify),
    *rows("render_rejection", 1, [], asynchronous, WithVerify, WithVerify(), AsyncCallable()),
    *rows("on_decision", 1, {}, asynchronous, AsyncCallable(), functools.partial(asynchronous)),
    *rows("identity_headers", None, 1, "X-Me", ["X-Me"], {"X-Consumer-ID": "X-Me"}, {"idd": "X-Me"}),
    *rows("identity_headers", {"id": "X_Me"}, {"id": ""}, {"id": None}, {"id": "Host"}, {"id": "Cookie"}),
    *rows("identity_headers", {"id": "X-Me", "username": "x-me"}, {"id": "X-Consumer-Username"}),
    *rows("identity_headers", {"id": "Authorization"}, {"id": "apikey"}),
    *rows("routes", None, "x", {"path": "/a"}, 1, [1], ["/a"], [{}], [{"path": "/a", "origin": "x"}]),
    *rows("routes", [{"path": "a"}], [{"path": "/a", "key_locations": []}]),
    *rows("routes", [{"path": "/a", "key_locations": ["header:Cookie"]}]),
    *rows("dialect", 1, object(), WithVerify(), WithReject, "no.such.module:name", "operator:not_"),
    *rows("routes", [{"path": "/a", "dialect": object()}], [{"path": "/a", "dialect": WithReject}]),
    *rows("routes", [{"path": "/a", "dialect": "kong"}], [{"path": "/a", "realm": 'a"b'}]),
    *rows("routes", [{"path": "/a"}, {"path": "/a"}], [Route("/a"), {"path": "/a"}]),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_d09_a_bad_value_is_one_problem_with_the_name_of_the_setting(name: str, value: object) -> None:
    party = {"validator_url": URL} if name not in {"keys_file", "key_service"} else {}
    with pytest.raises(SettingsError) as caught:
        load_settings(**{**party, name: value}, environ={})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert len(problem) < 300


GOOD = [
    ("validator_timeout", 1, 1.0),
    ("validator_timeout", 60, 60.0),
    ("cache_ttl", 0, 0.0),
    ("negative_ttl", 0, 0.0),
    ("stale_if_error", 0, 0.0),
    ("cache_max_entries", 0, 0),
    ("negative_max_entries", 0, 0),
    ("cache_max_entries", 1, 1),
    ("cache_ttl", 86_400, 86_400.0),
    ("validator_ca", Path("ca.pem"), "ca.pem"),
    ("validator_client_cert", "both.pem", "both.pem"),
    ("validator_client_cert", ["cert.pem", Path("key.pem")], ("cert.pem", "key.pem")),
    ("validator_proxy", "http://proxy.example.com:3128/", "http://proxy.example.com:3128/"),
    (
        "validator_headers",
        {"Authorization": "Bearer é x", "Host": "keys"},
        {"Authorization": "Bearer é x", "Host": "keys"},
    ),
    ("validator_key_header", "X-API-Key", "X-API-Key"),
    ("key_pattern", "ak_", "ak_"),
    ("key_pattern", "[a-z]{20,40}", "[a-z]{20,40}"),
    ("fingerprint_secret", "sixteen letters!", b"sixteen letters!"),
    ("fingerprint_secret", b"\xff" * 16, b"\xff" * 16),
    ("realm", "the api, v1", "the api, v1"),
    ("identity_headers", False, False),
    ("identity_headers", {"id": "X-Consumer-Username", "username": "X-Consumer-ID"}, None),
    ("render_rejection", plain, plain),
    ("routes", [{"path": "/a"}, Route("/b")], (Route("/a"), Route("/b"))),
    (
        "routes",
        [{"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["POST"]}],
        (Route("/a", methods=["GET"]), Route("/a", methods=["POST"])),
    ),
    ("key_locations", ("authorization:Bearer", "cookie:__Host-key", "body:api_key", "query:api_key"), None),
    (
        "key_locations",
        ["query:key[id]", "query:KEY", "query:key"],
        ("query:key[id]", "query:KEY", "query:key"),
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "kept"), GOOD, ids=[f"{name}={value}"[:60] for name, value, _ in GOOD]
)
def test_a_good_value_is_kept_in_its_lasting_form(name: str, value: object, kept: object) -> None:
    found = getattr(load(**{name: value}), name)
    expected = value if kept is None else kept
    assert found == expected
    assert not isinstance(found, list | dict | set)
    if isinstance(expected, float | str | tuple):
        assert type(found) is type(expected)


@pytest.mark.parametrize(
    "url",
    [
        "https://keys.example.com",
        "https://keys.example.com:8443/verify?environment=live",
        "https://KEYS.example.com./verify",
        "https://192.0.2.1/verify",
        "https://[2001:db8::1]:8443/verify",
        "https://key_service/verify",
        "http://localhost:8080/verify",
        "http://localhost./verify",
        "http://127.0.0.1/verify",
        "http://127.255.1.2:8080/verify",
        "http://[::1]/verify",
    ],
)
def test_v13_a_url_that_keeps_the_key_safe_is_accepted(url: str) -> None:
    assert load(validator_url=url).validator_url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://keys.example.com/verify", "in the clear"),
        ("http://128.0.0.1/verify", "in the clear"),
        ("http://localhost.example.com/", "in the clear"),
        ("http://127.0.0.1.example.com/", "in the clear"),
        ("http://2130706433/", "in the clear"),
        ("http://0.0.0.0/", "in the clear"),
        ("http://[::2]/", "in the clear"),
        ("keys.example.com/verify", "must start with https://"),
        ("ftp://keys.example.com/", "must start with https://"),
        ("localhost:8080/verify", "must start with https://"),
        ("https://", "no usable host"),
        ("https:///verify", "no usable host"),
        ("https://:8080/", "no usable host"),
        ("https://a..b/", "no usable host"),
        ("https://-a.example.com/", "no usable host"),
        ("https://" + "a" * 64 + ".example.com/", "no usable host"),
        ("https://" + "a." * 130 + "com/", "no usable host"),
        ("https://a:0/", "no usable host and port"),
        ("https://a:65536/", "cannot be read"),
        ("https://a:x/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://[::x]/", ""),
        ("https://me:secret@a.example.com/", "user or password"),
        ("https://me@a.example.com/", "user or password"),
        ("https://@a.example.com/", "user or password"),
        ("https://a.example.com/#part", "fragment"),
        ("https://a.example.com/#", "fragment"),
        ("https://a.example.com/{key}", "placeholder"),
        ("https://a.example.com/<key>", "placeholder"),
        ("https://a.example.com/?apikey=", "no key belongs in a URL"),
        ("https://a.example.com/?x=1&APIKEY", "no key belongs in a URL"),
        ("https://a.example.com/?api%6bey=1", "no key belongs in a URL"),
        ("https://a.example.com/a b", "spaces"),
        ("https://a.example.com\\@b.example.com/", "backslashes"),
        ("https://a.example.com/\n", "control characters"),
        ("ht\ntps://a.example.com/", "control characters"),
        ("https://schlüssel.example.com/", "xn--"),
        ("", "empty"),
        (1, "not a int"),
        (b"https://a/", "not a bytes"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_v13_a_url_that_does_not_is_refused(url: object, says: str) -> None:
    (problem,) = problems_of(validator_url=url)
    assert problem.startswith("validator_url: ")
    assert says in problem


def test_v13_http_beyond_loopback_has_to_be_allowed() -> None:
    url = "http://keys.internal:8080/verify"
    assert "validator_allow_http" in problems_of(validator_url=url)[0]
    assert load(validator_url=url, validator_allow_http=True).validator_url == url


@pytest.mark.parametrize("value", [True, False])
def test_v13_verification_cannot_be_switched_off(value: bool) -> None:
    assert "cannot be switched off" in problems_of(validator_ca=value)[0]


def test_the_name_of_a_location_of_a_route_has_no_place_in_the_url_either() -> None:
    routes = [{"path": "/a", "key_locations": ["query:code"]}]
    (problem,) = problems_of(validator_url=f"{URL}?code=1", routes=routes)
    assert "no key belongs in a URL" in problem


@pytest.mark.parametrize(
    ("location", "says"),
    [
        pytest.param("header:X_Api_Key", "write 'header:X-Api-Key'", id="a04 underscore in a header name"),
        ("header:Cookie", "write 'cookie:NAME'"),
        ("header:Host", "frames or routes"),
        ("header:content-length", "frames or routes"),
        ("header:Transfer-Encoding", "frames or routes"),
        ("header:Connection", "frames or routes"),
        ("header:X-Consumer-Id", "identity header"),
        ("header:x-anonymous-consumer", "identity header"),
        ("header:", "header name"),
        ("header:X Key", "header name"),
        ("header:X:Key", "header name"),
        ("header:Schlüssel", "header name"),
        ("header: apikey", "header name"),
        ("headers:apikey", "did you mean header?"),
        ("Header:apikey", "did you mean header?"),
        ("apikey", "write kind:NAME"),
        ("", "write kind:NAME"),
        (":apikey", "write kind:NAME"),
        ("form:apikey", "write kind:NAME"),
        ("query:", "plain name"),
        ("query:a b", "plain name"),
        ("query:a&b", "plain name"),
        ("query:a=b", "plain name"),
        ("query:a%20b", "plain name"),
        ("query:a;b", "plain name"),
        ("query:" + "a" * 101, "plain name"),
        ("query:host", "not a key's"),
        ("body:Authorization", "not a key's"),
        ("query:content_length", "not a key's"),
        ("body:", "plain name"),
        ("cookie:", "name of a cookie"),
        ("cookie:a=b", "name of a cookie"),
        ("cookie:a;b", "name of a cookie"),
        ("authorization:", "scheme"),
        ("authorization:Bearer x", "scheme"),
        (1, "must be a text"),
        (None, "must be a text"),
    ],
)
def test_a_location_that_cannot_hold_a_key_is_refused(location: object, says: str) -> None:
    (problem,) = problems_of(key_locations=[location, "header:apikey"])
    assert problem.startswith("key_locations: ")
    assert says in problem


@pytest.mark.parametrize(
    "locations",
    [
        ["header:apikey", "header:APIKEY"],
        ["query:apikey", "query:apikey"],
        ["authorization:Bearer", "authorization:bearer"],
        ["cookie:a", "cookie:a"],
        ["body:a", "body:a"],
    ],
    ids=" and ".join,
)
def test_a_location_that_is_there_twice_is_refused(locations: list[str]) -> None:
    (problem,) = problems_of(key_locations=locations)
    assert "twice" in problem


@pytest.mark.parametrize("value", [[], (), "header:apikey", None, {"header:apikey"}, 1], ids=str)
def test_locations_are_a_list_with_something_in_it(value: object) -> None:
    (problem,) = problems_of(key_locations=value)
    assert problem.startswith("key_locations: ")


def test_every_bad_location_is_named() -> None:
    assert len(problems_of(key_locations=["a", "header:X_Y", "query:"])) == 3


def test_the_negative_ttl_is_not_longer_than_the_positive_one() -> None:
    assert "negative_ttl" in problems_of(cache_ttl=30, negative_ttl=31)[0]
    assert load(cache_ttl=30, negative_ttl=30).negative_ttl == 30.0
    # The default stays usable with a cache that is short, or off.
    assert load(cache_ttl=0).negative_ttl == 5.0
    assert load(cache_ttl=2).negative_ttl == 5.0


def test_the_header_of_the_credential_is_not_one_of_ours() -> None:
    given = {
        "validator_key_header": "Authorization",
        "validator_headers": {"authorization": "Bearer SCANARY"},
    }
    (problem,) = problems_of(validator_protocol="status", **given)
    assert "validator_key_header" in problem
    assert load(validator_protocol="json", **given).validator_protocol == "json"


def test_every_wrong_header_is_named() -> None:
    assert len(problems_of(validator_headers={"A": "\n", "B": "x", "Content-Length": "1", "b": "y"})) == 3


@pytest.mark.parametrize("service", [plain, asynchronous, WithVerify(), WithAsyncVerify()], ids=str)
def test_a_key_service_is_a_function_or_an_object_with_verify(service: Callable[..., object]) -> None:
    assert load(key_service=service).key_service is service


def test_a_key_service_that_could_never_answer_is_refused() -> None:
    assert "is the class WithVerify" in problems_of(key_service=WithVerify)[0]


def test_every_bad_route_is_named() -> None:
    problems = problems_of(
        routes=[
            {"path": "/a", "metods": ["GET"]},
            {"access": "public"},
            {"path": "b"},
            {"path": "/c", "mode": "on", "access": "open"},
            {"path": "/d", "realm": "é", "key_locations": ["header:X_Y"]},
            5,
        ]
    )
    starts = [problem.removeprefix("routes: ").partition(":")[0] for problem in problems]
    assert starts == ["route 1", "route 2", "route 'b'", *["route '/c'"] * 2, "route 6", *["route '/d'"] * 2]
    assert "did you mean methods?" in problems[0]
