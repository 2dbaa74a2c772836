"""Whatever a request may be taken for, it goes where the route of its path sends it (threats P-01, P-03)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard.core.routing import Route
from apikey_guard.core.rules import Defaults, Rules, Way
from apikey_guard.core.table import RouteTable

DEFAULTS = Defaults(
    key_locations=["header:apikey"],
    key_conflict="reject",
    key_pattern=None,
    key_max_length=512,
    hide_credentials=None,
    forwards=True,
    default_access="required",
    mode="enforce",
    allow_preflight=False,
    dialect="standard",
    realm="api",
)
PLACES = ("/*", "/a", "/a/*", "/A/*", "/a/b/*", "/a/b", "/admin/*", "/open/")

routes = st.lists(
    st.builds(
        lambda path, methods, hosts, asks: Route(
            path, methods, *asks[:1], scopes=asks[1], hosts=hosts, name=f"{path} {methods} {hosts}"
        ),
        st.sampled_from(PLACES),
        st.sampled_from([None, ("POST",)]),
        st.sampled_from([None, ("a.example",)]),
        st.sampled_from([("required", ()), ("required", ("x",)), ("required", ("x", "y")), ("public", ())]),
    ),
    unique_by=lambda route: route.name,
    max_size=6,
)
segments = st.sampled_from(
    [
        "a",
        "A",
        "b",
        "admin",
        "open",
        "",
        ".",
        "..",
        "a;x",
        "%2e",
        "a%2fb",
        "%61",
        "7",
        "\ufffd",
        "a\\b",
        "%" * 5,
    ]
)
targets = st.lists(segments, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
requests = st.builds(
    lambda target, method, host, more: {
        "PATH_INFO": unquote(target),
        "REQUEST_METHOD": method,
        "HTTP_HOST": host,
        "RAW_URI": target,
        **more,
    },
    targets,
    st.sampled_from(["GET", "POST", "post"]),
    st.sampled_from(["a.example", "A.example:80", "b.example", "a.example.", "a b"]),
    st.sampled_from([{}, {"HTTP_X_FORWARDED_HOST": "b.example"}, {"HTTP_X_HTTP_METHOD": "POST"}]),
)


@settings(max_examples=400, deadline=None)
@given(routes, st.lists(requests, max_size=8))
def test_p03_a_request_goes_the_way_of_its_path_as_it_stands(
    written: Sequence[Route], asked: Sequence[dict[str, str]]
) -> None:
    rules = Rules(written, DEFAULTS, lambda route: Way(origin=route.label))
    literal = RouteTable([(route.path, route) for route in written], Route("/*"))
    for environ in asked:
        path = environ["PATH_INFO"]
        # What is remembered of the requests before counts, too.
        rule = rules.plain_rules.get(path) or rules.rule(path, environ)
        assert rule.way.origin == literal.match(path, environ).label


def test_p03_what_asks_for_more_changes_no_way() -> None:
    written = [Route("/a/*", access="public"), Route("/A/*", scopes=("x",)), Route("/b/*")]
    rules = Rules(written, DEFAULTS, lambda route: Way(origin=route.label))
    rule = rules.rule("/a/1", {"REQUEST_METHOD": "GET"})
    assert (rule.label, rule.scopes, rule.way.origin) == ("/A/*", {"x"}, "/a/*")


def test_p01_whether_all_readers_send_a_path_the_same_way() -> None:
    rules = Rules([Route("/a/*"), Route("/b/*")], DEFAULTS, lambda route: Way(origin="one"))
    environ = {"REQUEST_METHOD": "GET"}
    way = rules.rule("/a/1", environ).way
    assert rules.goes_one_way(way, "/a/x%2Fy", environ)
    # Two routes are two ways, also to one origin.
    assert not rules.goes_one_way(way, "/a/..%2Fb", environ)
    assert not rules.goes_one_way(way, "/b/1", environ)
