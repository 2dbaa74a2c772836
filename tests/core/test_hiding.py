"""What becomes of a credential: the quick way and the plain way agree, and nothing else is touched."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard import Consumer, Guard, Route
from apikey_guard.assembly import hiding_of
from apikey_guard.core.extraction import Location
from apikey_guard.core.hiding import Hiding
from apikey_guard.core.standin import BEGINNING, is_standin, standin_of
from apikey_guard.settings import load_settings
from apikey_guard.testing import FakeKeyService, as_consumer

KEY, OTHER = "k-1", "k-2"
FINGERPRINT = bytes(range(32))
STANDIN = standin_of(FINGERPRINT)
LOCATIONS = [Location.parse(text) for text in ("header:apikey", "query:apikey", "cookie:apikey")]
written = st.sampled_from([KEY, OTHER, "", f" {KEY}\t", STANDIN, "x"])


@settings(max_examples=200, deadline=None)
@given(written, written, written)
def test_the_quick_way_does_what_the_plain_one_does(header: str, query: str, cookie: str) -> None:
    environ: dict[str, Any] = {
        "HTTP_APIKEY": header,
        "QUERY_STRING": f"a=1&apikey={query.strip()}",
        "HTTP_COOKIE": f"apikey={cookie}; a",
        "HTTP_REFERER": f"https://h.example/?apikey={query.strip()}",
        "PATH_INFO": f"/apikey={KEY}",
    }
    quick, plain = dict(environ), dict(environ)
    hiding = Hiding(LOCATIONS, "replace")
    hiding.exchange(quick, KEY, FINGERPRINT)
    hiding._change(plain, lambda value: STANDIN if value == KEY else None)
    assert quick == plain
    assert (KEY in quick.get("HTTP_COOKIE", "")) is False
    assert quick["PATH_INFO"] == f"/apikey={KEY}"


USUAL = {
    "the header alone": {"HTTP_APIKEY": KEY},
    "an empty query": {"HTTP_APIKEY": KEY, "QUERY_STRING": ""},
    "a query of something else": {"HTTP_APIKEY": KEY, "QUERY_STRING": "p=2", "RAW_URI": "/v1/items?p=2"},
    "a query with an escape": {"HTTP_APIKEY": KEY, "QUERY_STRING": "q=a%20b"},
    "the key in both": {
        "HTTP_APIKEY": KEY,
        "QUERY_STRING": f"apikey={KEY}",
        "RAW_URI": f"/v1/items?apikey={KEY}",
    },
    "the key in both, its name encoded": {
        "HTTP_APIKEY": KEY,
        "QUERY_STRING": f"%61pikey={KEY}",
        "RAW_URI": f"/v1/items?%61pikey={KEY}",
    },
    "another key in the query": {"HTTP_APIKEY": KEY, "QUERY_STRING": f"apikey={OTHER}"},
    "the key in the referer": {"HTTP_APIKEY": KEY, "HTTP_REFERER": f"https://h.example/?apikey={KEY}"},
    "another key in the referer": {"HTTP_APIKEY": KEY, "HTTP_REFERER": f"https://h.example/?apikey={OTHER}"},
    "blanks around the key": {"HTTP_APIKEY": f" {KEY} "},
    "a bad key": {"HTTP_APIKEY": OTHER},
    "an empty header": {"HTTP_APIKEY": ""},
    "a stand-in, the key in the query": {"HTTP_APIKEY": STANDIN, "QUERY_STRING": f"apikey={KEY}"},
    "the query alone": {"QUERY_STRING": f"apikey={KEY}", "RAW_URI": f"/v1/items?apikey={KEY}"},
    "no key": {},
}


@pytest.mark.parametrize("beside", ["nothing", "forged identities"])
@pytest.mark.parametrize("parts", USUAL.values(), ids=USUAL)
def test_a_request_with_its_key_in_the_usual_header_is_decided_and_shown_as_any_other(
    parts: dict[str, str], beside: str
) -> None:
    sent = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/items", **parts}
    if beside == "forged identities":
        forged = ("ID", "USERNAME", "CUSTOM_ID")
        sent |= {f"HTTP_X_CONSUMER_{name}": "root" for name in forged}
        sent |= {"HTTP_X_CREDENTIAL_IDENTIFIER": "root", "HTTP_X_ANONYMOUS_CONSUMER": "true"}
    seen = []
    usual = ("header:apikey", "query:apikey")
    # Where there is a third place to look at, nothing is usual.
    for locations in (usual, (*usual, "cookie:unknown")):
        with Guard(key_service=FakeKeyService({KEY: Consumer(id="42")}), key_locations=locations) as guard:
            guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": KEY}, "/v1/items")
            guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": OTHER}, "/v1/items")
            environ: dict[str, Any] = dict(sent)
            decision = guard.check(environ, "/v1/items")
        said = None if decision.consumer is None else decision.consumer.id
        shown = {name: value for name, value in environ.items() if isinstance(value, str)}
        seen.append((type(decision), said, shown))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STANDIN, True),
        (STANDIN.upper(), True),
        (BEGINNING, True),
        (STANDIN + "-0", True),
        (STANDIN + "/", True),
        (STANDIN + ".", True),
        (BEGINNING + "_+=%:~", True),
        (STANDIN + " x", False),
        (STANDIN + ",x", False),
        ("x" + STANDIN, False),
        (BEGINNING[:-1], False),
        ("", False),
    ],
)
def test_the_form_of_a_stand_in(text: str, expected: bool) -> None:
    assert is_standin(text) is expected


def test_a_weak_key_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    keys = FakeKeyService(["short", "short-too", "long-enough-to-be-strong"])

    def warned(*given: str, **settings: Any) -> int:
        caplog.clear()
        with Guard(key_service=keys, **settings) as guard, caplog.at_level(logging.WARNING):
            for key in given:
                assert guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": key}, "/").allowed
        assert "short" not in caplog.text
        return caplog.text.count("fingerprint_secret")

    assert warned("short", "short", "short-too") == 1
    assert warned("long-enough-to-be-strong") == 0
    assert warned("short", fingerprint_secret=b"SCANARY-0123456789") == 0
    assert warned("short", hide_credentials="remove") == 0


@pytest.mark.parametrize(
    ("location", "environ", "key", "expected"),
    [
        ("header:apikey", {}, "HTTP_APIKEY", "{}"),
        ("header:apikey", {"HTTP_APIKEY": "of-a-test"}, "HTTP_APIKEY", "{}"),
        ("query:apikey", {"QUERY_STRING": "a=1"}, "QUERY_STRING", "a=1&apikey={}"),
        ("query:apikey", {"QUERY_STRING": "apikey=x&a=1"}, "QUERY_STRING", "apikey={}&a=1"),
        ("cookie:apikey", {}, "HTTP_COOKIE", "apikey={}"),
        ("cookie:apikey", {"HTTP_COOKIE": "a=1"}, "HTTP_COOKIE", "a=1; apikey={}"),
        ("authorization:Bearer", {}, "HTTP_AUTHORIZATION", "Apikey-Guard-Standin {}"),
    ],
)
def test_as_consumer_gives_a_stand_in_too(
    location: str, environ: dict[str, Any], key: str, expected: str
) -> None:
    with Guard(key_service=FakeKeyService(), key_locations=[location]) as guard:
        shown = []
        for _ in range(2):
            with as_consumer(guard, Consumer(id="42")):
                request = {"REQUEST_METHOD": "GET", **environ}
                assert guard.check(request, "/").allowed
                before, _, after = expected.partition("{}")
                standin = str(request[key]).removeprefix(before).removesuffix(after)
                assert is_standin(standin)
                shown.append(standin)
        assert shown[0] != shown[1]
        with as_consumer(guard, "42"):
            assert guard.check({"REQUEST_METHOD": "GET"}, "/").allowed


def test_as_consumer_hides_as_the_settings_say() -> None:
    with Guard(key_service=FakeKeyService(), hide_credentials="remove") as guard, as_consumer(guard, "42"):
        request = {"REQUEST_METHOD": "GET", "HTTP_APIKEY": "x"}
        assert guard.check(request, "/").allowed
        assert "HTTP_APIKEY" not in request


def test_what_holds_where_is_told() -> None:
    routes = [
        Route("/app/*"),
        Route("/origin/*", origin="http://127.0.0.1:1"),
        Route("/shown", hide_credentials=False, methods=["POST"]),
        Route("/both/*", origin="http://127.0.0.1:1", hide_credentials="replace"),
    ]
    given = {"key_service": FakeKeyService(), "routes": routes}
    assert hiding_of(load_settings(**given, environ={})) == {
        "all requests": "replace",
        "/origin/*": "remove",
        "POST /shown": False,
    }
    whole = {"key_service": FakeKeyService(), "origin": "http://127.0.0.1:1", "hide_credentials": "replace"}
    assert hiding_of(load_settings(**whole, environ={})) == {"all requests": "remove"}
    late = {**given, "routes": [], "origins": {"a": "http://127.0.0.1:1"}, "choose_origin": lambda *_: "a"}
    assert hiding_of(load_settings(**late, environ={})) == {
        "all requests": "replace",
        "what choose_origin sends to an origin": "remove",
    }


QUERIES = st.lists(
    st.sampled_from(
        [
            f"apikey={KEY}",
            "a=1",
            f"apikey={OTHER}",
            "apikey",
            "b=%20",
            f"x={KEY}",
            f"api%6bey={KEY}",
            f"n=%3Fapikey%3D{KEY}",
            f"n=/p?apikey={KEY}",
        ]
    ),
    min_size=1,
    max_size=4,
).map("&".join)
# What may stand under one name in one request and in the next.
COPIES = [
    "/p?{}",
    "{}",
    "https://h.example/?{}#t",
    "<{}>",
    "none",
    "%2Fp%3F{}",
    None,
    7,
    b"/p?{}",
    ("x", "{}"),
]
ONE_FOR_ALL = Hiding([Location("query", "apikey")], "replace")


def written_for(copy: Any, query: str) -> Any:
    if isinstance(copy, str):
        return copy.format(query)
    if isinstance(copy, tuple):
        return tuple(each.format(query) for each in copy)
    return copy.replace(b"{}", query.encode()) if isinstance(copy, bytes) else copy


@settings(max_examples=500, deadline=None)
@given(QUERIES, st.lists(st.sampled_from(COPIES), min_size=4, max_size=4))
def test_the_quick_way_through_a_query_does_what_the_plain_one_does(query: str, copies: list[Any]) -> None:
    names = ("RAW_URI", "HTTP_A", "server.b", "HTTP_C")
    environ = {"QUERY_STRING": query}
    environ |= {name: written_for(copy, query) for name, copy in zip(names, copies, strict=True)}
    quick, plain = dict(environ), dict(environ)
    # One that has seen requests of the same names before, and one that has seen none.
    ONE_FOR_ALL.exchange(quick, KEY, FINGERPRINT)
    Hiding([Location("query", "apikey")], "replace")._change(
        plain, lambda value: STANDIN if value == KEY else None
    )
    assert quick == plain
