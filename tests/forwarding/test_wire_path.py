"""The path that an origin gets: the one that was decided, as it was written (threats P-03, P-06)."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard.errors import BadRequest
from apikey_guard.forwarding.wire_path import literal_path, mount_of, taken_off, wire_path

RAW = ["RAW_URI", "REQUEST_URI"]

KEPT = [
    "/",
    "/a",
    "/a/",
    "//a",
    "/a//b/",
    "//evil.example/x",
    "/@evil.example",
    "/a%2Fb",
    "/a%2fb",
    "/a%20b",
    "/a+b",
    "/a|b",
    "/a%7Cb",
    "/~x",
    "/%7Ex",
    "/%41",
    "/caf%C3%A9",
    "/caf%c3%a9",
    "/%ff",
    "/%c0%ae",
    "/a;x=/b",
    "/a;b=1,c",
    "/a:b@c!$&'()*",
    "/a=b",
    '/"<>^`{}[]',
    "/%252e%252e/x",
    "/a%25b",
    "/a%23b",
    "/a%3Fb",
    "/a%3bb",
    "/...",
    "/.a/..b/c..",
    "/a.;b/c",
    "/http://other/x",
]

REFUSED = [
    "/.",
    "/..",
    "/./a",
    "/../a",
    "/a/.",
    "/a/..",
    "/a/../b",
    "/a/%2e%2e/b",
    "/a/%2E./b",
    "/a/.%2e",
    "/a/%2e",
    "/a/..;x=y/b",
    "/a/.;/b",
    "/a/..%3bx/b",
    "/a/..%2fb",
    "/a%2f..%2fb",
    "/a%2f.%2Fb",
    "//../a",
    "/\\evil",
    "/a\\..\\b",
    "/a%5cb",
    "/a%5C..%5Cb",
    "/a%00",
    "/a%0a",
    "/a%0D%0Ab",
    "/a%09b",
    "/a%1f",
    "/a%7f",
    "/a\x7f",
    "/a b",
    "/a\tb",
    "/a%",
    "/a%z",
    "/a%zz",
    "/a%2",
    "/a%%41",
    "/a#b",
    "/a/#",
]


def sent(target: str, key: str = "RAW_URI", **more: str) -> dict[str, str]:
    """A request for a target, by a server that decodes once and keeps the target."""
    path = target.partition("?")[0].partition("#")[0]
    return {"PATH_INFO": unquote_to_bytes(path).decode("latin-1"), key: target, **more}


@pytest.mark.parametrize("key", RAW)
@pytest.mark.parametrize("query", ["", "?", "?a=%2F&b=+&c", "?/../x", "?a=%zz"])
@pytest.mark.parametrize("target", KEPT)
def test_p03_every_byte_of_the_path_is_kept(target: str, query: str, key: str) -> None:
    assert wire_path(sent(target + query, key)) == target


@pytest.mark.parametrize("key", RAW)
@pytest.mark.parametrize("target", REFUSED)
def test_p03_what_can_be_read_in_several_ways_is_refused(target: str, key: str) -> None:
    with pytest.raises(BadRequest):
        wire_path(sent(target, key))


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/", "/"),
        ("", "/"),
        ("/a/b", "/a/b"),
        ("/a b", "/a%20b"),
        ("/a+b", "/a+b"),
        ("/caf\xc3\xa9", "/caf%C3%A9"),
        ("/\xff", "/%FF"),
        ("/a%b", "/a%25b"),
        ("/a?b", "/a%3Fb"),
        ("/a#b", "/a%23b"),
        ("/a|b", "/a%7Cb"),
        ("/~x", "/~x"),
        ("//evil.example/x", "//evil.example/x"),
    ],
)
def test_p03_without_the_target_the_path_is_written_anew(path: str, wire: str) -> None:
    assert wire_path({"PATH_INFO": path}) == wire


@pytest.mark.parametrize(
    "path", ["/..", "/a/../b", "/./a", "/a\\b", "/a\0", "/a\n", "/a\r\nX: y", "/\x7f", "/a/..;x/b", "/a/.;"]
)
def test_p03_without_the_target_what_the_path_says_is_refused_all_the_same(path: str) -> None:
    with pytest.raises(BadRequest):
        wire_path({"PATH_INFO": path})


@pytest.mark.parametrize("path", ["a", "*", "http://other/a", "other:443", " /a", "\\a", "%2Fa"])
def test_p06_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        wire_path({"PATH_INFO": path})
    with pytest.raises(BadRequest):
        wire_path({"PATH_INFO": path, "RAW_URI": path})


@pytest.mark.parametrize(
    ("raw", "path", "wire"),
    [
        ("http://other/a%2Fb?x", "/a/b", "/a%2Fb"),
        ("https://other:8443/a%20b", "/a b", "/a%20b"),
        ("http://who@other/a", "/a", "/a"),
        ("http://other", "", "/"),
        ("http://other?x", "/", "/"),
    ],
)
def test_p06_of_the_absolute_form_only_the_path_is_used(raw: str, path: str, wire: str) -> None:
    assert wire_path({"PATH_INFO": path, "RAW_URI": raw}) == wire


@pytest.mark.parametrize("raw", ["/b", "/a/", "/A", "/", "", "/x/a", "*", "http://other/b"])
def test_p03_a_target_that_says_something_else_is_not_used(raw: str) -> None:
    assert wire_path({"PATH_INFO": "/a%", "RAW_URI": raw}) == "/a%25"


@pytest.mark.parametrize("raw", ["/a/../b", "/a/%2e%2e/b", "/x\\/b", "/b#", "/b%zz"])
def test_p03_a_target_that_the_server_has_resolved_is_refused(raw: str) -> None:
    with pytest.raises(BadRequest):
        wire_path({"PATH_INFO": "/b", "RAW_URI": raw})


@pytest.mark.parametrize(
    ("mount", "path", "raw", "wire"),
    [
        ("/api", "/a b", "/api/a%20b", "/a%20b"),
        ("/api", "", "/api", "/"),
        ("/api", "/", "/api/", "/"),
        ("/api", "/a/b", "/%61pi/a%2Fb", "/a%2Fb"),
        ("/api/v 1", "/a", "/api/v%201/a", "/a"),
        ("/api", "//a", "/api//a", "//a"),
        # The mount ends within an encoded segment: the target cannot be cut there.
        ("/api", "/a", "/api%2Fa", "/a"),
        ("/api", "/a", "/other/a", "/a"),
    ],
)
def test_p02_below_a_mount_the_mount_is_taken_off(mount: str, path: str, raw: str, wire: str) -> None:
    assert wire_path({"SCRIPT_NAME": mount, "PATH_INFO": path, "RAW_URI": raw}) == wire


@pytest.mark.parametrize(
    ("wire", "prefix", "left"),
    [
        ("/v2/reports/a", "/v2/reports", "/a"),
        ("/v2/reports/a%2Fb", "/v2/reports", "/a%2Fb"),
        ("/%762/reports/a", "/v2/reports", "/a"),
        ("/v2/reports", "/v2/reports", "/"),
        ("/v2/reports/", "/v2/reports", "/"),
        ("/v2/reports//a", "/v2/reports", "//a"),
        ("/a", "", "/a"),
        ("/", "", "/"),
    ],
)
def test_a_prefix_is_taken_off_by_segments(wire: str, prefix: str, left: str) -> None:
    rest, taken = taken_off(wire, prefix)
    assert rest == left
    assert taken == prefix


def test_a_prefix_is_told_percent_encoded() -> None:
    assert taken_off("/caf%C3%A9/x", "/café") == ("/x", "/caf%C3%A9")


@pytest.mark.parametrize(
    ("mount", "sent"),
    [
        (None, ""),
        ("", ""),
        ("/api", "/api"),
        ("/caf\xc3\xa9", "/caf%C3%A9"),
        ("/a b", "/a%20b"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
    ],
)
def test_a_mount_is_written_percent_encoded(mount: str | None, sent: str) -> None:
    assert mount_of({"SCRIPT_NAME": mount}) == sent


@pytest.mark.parametrize(
    ("wire", "literal"),
    [
        ("/a/b", "/a/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%20b", "/a b"),
        ("/caf%C3%A9", "/café"),
        ("/%ff", "/\ufffd"),
        ("/%252F", "/%2F"),
    ],
)
def test_p03_an_encoded_slash_is_no_separator(wire: str, literal: str) -> None:
    assert literal_path(wire) == literal


quick = settings(max_examples=200, deadline=None)
odd_bits = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2F",
        "%5c",
        "\\",
        ";",
        "%00",
        "%",
        "%2",
        "#",
        "a",
        "é",
        "%C3%A9",
        "+",
        "?",
        " ",
    ]
)
targets = st.lists(odd_bits | st.text(max_size=3), max_size=8).map(lambda bits: "/" + "".join(bits))


@quick
@given(targets)
def test_p03_what_is_sent_is_what_was_decided(target: str) -> None:
    """Whatever the target: the decoded wire path is PATH_INFO, with no segment that means another one."""
    raw = target.encode().decode("latin-1")
    environ = sent(raw)
    try:
        wire = wire_path(environ)
    except BadRequest:
        return
    assert unquote_to_bytes(wire.encode("latin-1")).decode("latin-1") == (environ["PATH_INFO"] or "/")
    assert wire.startswith("/")
    assert not set(wire) & set("?#\\ \r\n\0")
    segments = unquote_to_bytes(wire.encode("latin-1")).decode("latin-1").split("/")
    assert not {segment.partition(";")[0] for segment in segments} & {".", ".."}


@quick
@given(st.binary(max_size=12))
def test_p03_without_the_target_the_path_survives(path: bytes) -> None:
    info = "/" + path.decode("latin-1")
    try:
        wire = wire_path({"PATH_INFO": info})
    except BadRequest:
        return
    assert wire.isascii()
    assert unquote_to_bytes(wire).decode("latin-1") == info
