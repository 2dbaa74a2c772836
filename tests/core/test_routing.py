"""Which route holds for a request, and which paths can be read in one way only."""

from __future__ import annotations

import pytest

from apikey_guard import Route, SettingsError
from apikey_guard.core.paths import hides_specials, is_canonical, keeps_its_segments
from apikey_guard.core.request import request_host
from apikey_guard.core.routing import duplicate_routes, routes_alike
from apikey_guard.core.table import RouteTable

CANONICAL = {
    "the root": "/",
    "a segment": "/a",
    "a slash at the end": "/a/",
    "an accent": "/café",
    "a space": "/a b",
    "a dot in a name": "/a.b/.c/...",
    "a tilde and a plus": "/~a/b+c",
}
ODD = {
    "empty": "",
    "no slash": "a",
    "a star": "*",
    "two slashes": "//a",
    "an empty segment": "/a//b",
    "a dot": "/a/./b",
    "two dots": "/a/../b",
    "a last dot": "/a/.",
    "last dots": "/a/..",
    "a parameter": "/a;b",
    "a backslash": "/a\\b",
    "a percent sign": "/a%41",
    "a fragment": "/a#b",
    "a question mark": "/a?b",
    "a NUL": "/a\x00",
    "a line feed": "/a\n",
    "a delete": "/a\x7f",
    "bytes that are no UTF-8": "/a\ufffd",
    "a whole URL": "http://a.example/a",
}


@pytest.mark.parametrize("path", CANONICAL.values(), ids=CANONICAL)
def test_canonical(path: str) -> None:
    assert is_canonical(path)


@pytest.mark.parametrize("path", ODD.values(), ids=ODD)
def test_not_canonical(path: str) -> None:
    assert not is_canonical(path)


@pytest.mark.parametrize(
    ("path", "keeps"),
    [
        *((path, True) for path in CANONICAL.values()),
        ("/a;b/c", True),
        ("/a/c#/", True),
        ("/100%", True),
        ("/a\tb", True),
        ("//a", False),
        ("/a//b", False),
        ("/;x", False),
        ("/a/..;x/b", False),
        ("/%2e%2e/a", False),
        ("/a%2fb", False),
        ("/a\\b", False),
        ("/\x00", False),
        ("/a\ufffd", False),
        ("a", False),
        ("", False),
    ],
)
def test_a_path_may_keep_its_segments_whoever_reads_it(path: str, keeps: bool) -> None:
    assert keeps_its_segments(path) is keeps


@pytest.mark.parametrize(
    ("target", "hides"),
    [
        (None, False),
        ("/a/b?c=%2F", False),
        ("/a%20b/%7Ec", False),
        ("/a%2Fb", True),
        ("/a%2e%2E/b", True),
        ("/a%5cb", True),
        ("/a%3Bb", True),
        ("/a%00", True),
        ("/a#b", True),
    ],
)
def test_a_target_that_hides_a_special_character_is_seen(target: str | None, hides: bool) -> None:
    assert hides_specials(target) is hides


TABLE = (
    Route("/a", name="exact"),
    Route("/a/*", name="below"),
    Route("/a/b/*", name="deeper"),
    Route("/a/b/c", methods=["POST"], name="with methods"),
    Route("/a/b/c", name="without methods"),
    Route("/get/*", methods=["GET"], name="get"),
    Route("/host/*", hosts=["b.example"], name="host"),
)
MATCHES = {
    "exact before below": ("GET", "/a", "exact"),
    "a slash at the end": ("GET", "/a/", "below"),
    "below": ("GET", "/a/x", "below"),
    "not a longer word": ("GET", "/ab", "default"),
    "case counts": ("GET", "/A", "default"),
    "the longest wins": ("GET", "/a/b/x", "deeper"),
    "its own path too": ("GET", "/a/b", "deeper"),
    "with methods before without": ("POST", "/a/b/c", "with methods"),
    "another method": ("PUT", "/a/b/c", "without methods"),
    "GET includes HEAD": ("HEAD", "/get/x", "get"),
    "and nothing else": ("POST", "/get/x", "default"),
    "another host": ("GET", "/host/x", "default"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["as written", "in the other order"])
@pytest.mark.parametrize(("method", "path", "expected"), MATCHES.values(), ids=MATCHES)
def test_which_route_holds(method: str, path: str, expected: str, turned: bool) -> None:
    routes = TABLE[::-1] if turned else TABLE
    table = RouteTable([(route.path, route) for route in routes], Route("/default", name="default"))
    environ = {"REQUEST_METHOD": method, "HTTP_HOST": "a.example"}
    assert table.match(path, environ).name == expected


def test_a_route_for_a_host_holds_there() -> None:
    table = RouteTable([(route.path, route) for route in TABLE], Route("/default", name="default"))
    for host in ("b.example", "B.EXAMPLE:8443", "b.example."):
        assert table.match("/host/x", {"REQUEST_METHOD": "GET", "HTTP_HOST": host}).name == "host"


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("A.example", "a.example"),
        ("a.example:80", "a.example"),
        ("a.example.", "a.example"),
        ("[::1]:80", "[::1]"),
        ("a,b", None),
        ("a b", None),
        ("user@a", None),
        ("", None),
        (None, None),
    ],
)
def test_the_host_of_a_request(value: str | None, host: str | None) -> None:
    assert request_host({} if value is None else {"HTTP_HOST": value}) == host


@pytest.mark.parametrize(
    ("first", "second", "twice"),
    [
        (Route("/a"), Route("/a"), True),
        (Route("/a"), Route("/a/*"), False),
        (Route("/a", methods=["GET"]), Route("/a", methods=["HEAD"]), True),
        (Route("/a", methods=["GET"]), Route("/a", methods=["POST"]), False),
        (Route("/a", methods=["GET"]), Route("/a"), False),
        (Route("/a", hosts=["a"]), Route("/a", hosts=["b"]), False),
        (Route("/a", hosts=["a"]), Route("/a", hosts=["a", "b"]), True),
    ],
    ids=["same", "exact and below", "GET and HEAD", "GET and POST", "with and without", "hosts", "one host"],
)
def test_the_same_path_twice_is_found(first: Route, second: Route, twice: bool) -> None:
    assert bool(duplicate_routes([first, second])) is twice


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        (Route("/Admin/*", scopes=["s"]), Route("/admin/*"), True),
        (Route("/admin"), Route("/admin/", access="public"), True),
        (Route("/Café", mode="off"), Route("/CAFÉ"), True),
        (Route("/Admin/*"), Route("/admin/*"), False),
        (Route("/Admin/*"), Route("/admin", access="public"), False),
        (Route("/A", methods=["GET"], access="public"), Route("/a", methods=["POST"]), False),
        (Route("/A", methods=["GET"], access="public"), Route("/a"), True),
        (Route("/A", hosts=["a"], access="public"), Route("/a", hosts=["b"]), False),
        (Route("/a", methods=["GET"], access="public"), Route("/a"), False),
    ],
    ids=[
        "case",
        "slash",
        "accent",
        "the same",
        "exact and below",
        "methods",
        "all methods",
        "hosts",
        "one path",
    ],
)
def test_routes_that_differ_by_spelling_only_are_found(first: Route, second: Route, alike: bool) -> None:
    assert bool(routes_alike([first, second])) is alike
    assert bool(routes_alike([second, first])) is alike


WRONG: dict[str, dict[str, object]] = {
    "no slash": {"path": "a"},
    "a star inside": {"path": "/a/*/b"},
    "a star in a segment": {"path": "/a*"},
    "not canonical": {"path": "/a/../b"},
    "no method": {"path": "/a", "methods": []},
    "a method in small letters": {"path": "/a", "methods": ["get"]},
    "one text for methods": {"path": "/a", "methods": "GET"},
    "an unknown access": {"path": "/a", "access": "open"},
    "scopes on a public route": {"path": "/a", "access": "public", "scopes": ["read"]},
    "a host with a port": {"path": "/a", "hosts": ["a.example:80"]},
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
def test_a_wrong_route_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="route"):
        Route(**given)  # type: ignore[arg-type]  # wrong on purpose
