"""Whatever the query and the path: the key that is found is the one that is there, and then it is gone.

The judges are parsers that share nothing with ours: ``urllib.parse`` and ``posixpath``.
"""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard.core.extraction import AMBIGUOUS, Conflict, Extractor, Location
from apikey_guard.core.hiding import Hiding
from apikey_guard.core.paths import is_canonical
from apikey_guard.core.routing import Route
from apikey_guard.core.table import RouteTable

NAME = "apikey"
QUERY = Location("query", NAME)
quick = settings(max_examples=300, deadline=None)


def every_byte_encoded(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


# Names near the wanted one, and every way of writing them, make collisions likely.
names = st.sampled_from([NAME, "APIKEY", "apikey[]", " apikey", "apikeys", "xapikey", "", "a"]) | st.text(
    max_size=3
)
values = st.sampled_from(["", NAME, f"{NAME}=1", "k", "a b", "a+b", "é", "100%"]) | st.text(max_size=6)
ways = st.sampled_from([quote, quote_plus, every_byte_encoded, lambda text: every_byte_encoded(text).upper()])
fields = st.builds(
    lambda name, sign, value: name + sign + (value if sign else ""),
    st.builds(lambda text, way: way(text), names, ways),
    st.sampled_from(["=", ""]),
    st.builds(lambda text, way: way(text), values, ways),
) | st.sampled_from(["", "=", "%", "%6", ";apikey=k", "apikey;x=k", "%61pikey=k"])
queries = st.lists(fields, max_size=6).map("&".join)


def parsed(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True, encoding="latin-1")


def extractor(*locations: Location, conflict: Conflict = "reject") -> Extractor:
    return Extractor(locations, conflict=conflict, pattern=None, max_length=512)


@quick
@given(queries)
def test_the_key_in_a_query_is_the_one_parameter_of_that_name(query: str) -> None:
    there = [value for name, value in parsed(query) if name == NAME]
    expected = AMBIGUOUS if len(there) > 1 else there[0] if there else None
    assert extractor(QUERY).find({"QUERY_STRING": query}) == expected


@quick
@given(queries)
def test_a_query_less_its_key_is_the_query_less_its_key(query: str) -> None:
    environ: dict[str, Any] = {"QUERY_STRING": query, "HTTP_REFERER": f"https://a.example/p?{query}#{NAME}"}
    Hiding([QUERY], "remove").hide(environ)
    rest = environ["QUERY_STRING"]
    assert parsed(rest) == [pair for pair in parsed(query) if pair[0] != NAME]
    # What is left is written as it was: every field is one of the old ones, in their order.
    fields_left = iter(query.split("&"))
    assert all(field in fields_left for field in rest.split("&") if rest)
    assert extractor(QUERY).find(environ) is None
    kept = [pair for pair in parsed(query) if pair[0] != NAME]
    # A name alone, without a value, gives nothing away and may stay in a copy.
    copied = parsed(environ["HTTP_REFERER"].partition("?")[2].partition("#")[0])
    assert [pair for pair in copied if pair != (NAME, "")] == kept


@quick
@given(st.sampled_from(["a", "b", ""]), queries)
def test_header_and_query_agree_or_are_ambiguous(header: str, query: str) -> None:
    locations = (Location("header", NAME), QUERY)
    environ = {"HTTP_APIKEY": header, "QUERY_STRING": query}
    there = [value for name, value in parsed(query) if name == NAME]
    expected = header if not there or there == [header] else AMBIGUOUS
    assert extractor(*locations).find(environ) == expected
    assert extractor(*locations, conflict="first").find(environ) == header


segments = st.sampled_from(["a", "open", "admin", ".", "..", "...", "", ".a", "a;b", "é", "%2e", "a b"])
odd = st.sampled_from(["", "\\", "\x00", "#", "?", ";", "%2f", "\ufffd"])
paths = st.builds(lambda parts, end: "/" + "/".join(parts) + end, st.lists(segments, max_size=5), odd)


# What each prefix of such a path leads to is told apart; no two differ by case or a slash.
PLACES: RouteTable[Route] = RouteTable(
    [
        (route.path, route)
        for one in ["a", "open", "admin", "é"]
        for route in (Route(f"/{one}/*"), Route(f"/{one}/a/*"))
    ],
    Route("/*"),
)


@quick
@given(paths | st.text(max_size=8))
def test_a_canonical_path_can_be_read_in_one_way_only(path: str) -> None:
    if is_canonical(path) and path == path.casefold():
        assert unquote(path) == path
        assert posixpath.normpath(path) == (path.rstrip("/") or "/")
        assert PLACES.readings(path) == {PLACES.literal(path)}


@quick
@given(paths)
def test_where_a_path_resolves_to_is_one_of_its_readings(path: str) -> None:
    for resolved in (posixpath.normpath(unquote(path.replace("\\", "/"))), posixpath.normpath(path)):
        if resolved.lstrip("/") != path.strip("/"):
            assert not is_canonical(path)
        places = PLACES.readings(path)
        assert places is None or PLACES.literal("/" + resolved.lstrip("/")) in places


@quick
@given(st.text(alphabet="/.;%25\\?#\x00aAé\ufffd", max_size=4000))
def test_reading_a_path_ends(path: str) -> None:
    places = PLACES.readings(path)
    assert places is None or PLACES.literal(path) in places


prefixes = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
routes = st.lists(
    st.builds(lambda prefix, below: prefix.rstrip("/") + "/*" if below else prefix, prefixes, st.booleans()),
    unique=True,
    max_size=6,
).map(lambda written: [Route(path) for path in written])


@quick
@given(routes, prefixes, st.sampled_from(["", "/"]))
def test_the_longest_route_that_covers_a_path_wins(given_routes: list[Route], prefix: str, end: str) -> None:
    path = prefix if prefix == "/" else prefix + end
    default = Route("/default")

    def covers(route: Route) -> bool:
        if route.path.endswith("/*"):
            return path == route.path[:-2] or path.startswith(route.path[:-1])
        return path == route.path

    def length(route: Route) -> tuple[int, bool]:
        return len(route.path.removesuffix("/*")), not route.path.endswith("/*")

    table = RouteTable([(route.path, route) for route in given_routes], default)
    expected = max((route for route in given_routes if covers(route)), key=length, default=default)
    assert table.match(path, {"REQUEST_METHOD": "GET"}) is expected
