"""What a request becomes on its way to an origin (threats X-02, X-13)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from apikey_guard.core.peers import Peers
from apikey_guard.errors import BadRequest, LengthRequired, UpgradeUnsupported
from apikey_guard.forwarding import OriginRequest
from apikey_guard.forwarding.headers import Hop
from apikey_guard.forwarding.outbound import Framing, framing, outbound

PLAIN = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
HOP = Hop(peers=Peers([]), kept=[], via=False)


def made(
    given: dict[str, Any], path: str = "/v2/a", *, prefix: str | None = None, preserve_host: bool = False
) -> OriginRequest:
    request, _ = outbound({**PLAIN, **given}, path, HOP, prefix=prefix, preserve_host=preserve_host)
    return request


def test_a_request_that_goes_on_as_it_came() -> None:
    environ = {**PLAIN, "HTTP_ACCEPT": "a/b", "QUERY_STRING": "a=1&b", "HTTP_HOST": "api.example"}
    before = {**environ}
    request, frame = outbound(environ, "/v2/a", HOP, prefix=None, preserve_host=False)
    where_from = [
        "X-Forwarded-Proto: http",
        'Forwarded: for=unknown;host="api.example";proto=http',
        "X-Forwarded-Host: api.example",
        "X-Forwarded-Port: 80",
    ]
    headers = "".join(f"{line}\r\n" for line in ["Accept: a/b", *where_from]).encode()
    assert request == OriginRequest("GET", "/v2/a", "?a=1&b", headers)
    assert frame == Framing(None, chunked=False)
    assert environ == before


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, b""),
        ({"CONTENT_LENGTH": "003"}, b"Content-Length: 3\r\n"),
        ({"CONTENT_LENGTH": "0"}, b"Content-Length: 0\r\n"),
        (
            {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
            b"Transfer-Encoding: chunked\r\n",
        ),
    ],
    ids=["none", "length", "empty", "chunks"],
)
def test_x02_the_framing_is_the_last_line_and_stands_there_once(given: dict[str, Any], line: bytes) -> None:
    headers = made(given).headers
    assert headers.endswith(b"\r\n" + line)
    assert headers.count(b"Content-Length") + headers.count(b"Transfer-Encoding") == bool(line)


@pytest.mark.parametrize("method", ["CONNECT", "", "GET /", "G\r\nT", "G\xe9T"])
def test_x02_a_method_that_is_none_goes_nowhere(method: str) -> None:
    with pytest.raises(BadRequest):
        made({"REQUEST_METHOD": method})


@pytest.mark.parametrize("protocols", ["websocket", "WebSocket", "h2c, websocket"])
def test_a_websocket_is_not_made(protocols: str) -> None:
    with pytest.raises(UpgradeUnsupported):
        made({"HTTP_UPGRADE": protocols})


@pytest.mark.parametrize(
    ("mount", "prefix", "path", "above"),
    [
        ("", None, "/v2/a", None),
        ("", "/v2", "/a", b"/v2"),
        ("/outer", None, "/v2/a", b"/outer"),
        ("/outer", "/v2", "/a", b"/outer/v2"),
        ("/out er", "/v2/a", "/", b"/out%20er/v2/a"),
    ],
)
def test_what_was_taken_off_the_path_is_told(
    mount: str, prefix: str | None, path: str, above: bytes | None
) -> None:
    request = made({"SCRIPT_NAME": mount}, prefix=prefix)
    assert request.path == path
    told = [line for line in request.headers.split(b"\r\n") if line.startswith(b"X-Forwarded-Prefix")]
    assert told == ([] if above is None else [b"X-Forwarded-Prefix: " + above])


@pytest.mark.parametrize("preserve_host", [False, True])
def test_the_host_of_the_caller_is_sent_where_it_is_asked_for(preserve_host: bool) -> None:
    assert made({"HTTP_HOST": "api.example"}, preserve_host=preserve_host).host == (
        "api.example" if preserve_host else None
    )


def test_x15_an_odd_host_is_refused_where_it_would_be_sent() -> None:
    assert made({"HTTP_HOST": "a/b"}).host is None
    with pytest.raises(BadRequest):
        made({"HTTP_HOST": "a/b"}, preserve_host=True)


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ({}, ""),
        ({"RAW_URI": "/v2/a?"}, "?"),
        ({"REQUEST_URI": "/v2/a?"}, "?"),
        ({"QUERY_STRING": "a=%20\xe9", "RAW_URI": "/v2/a?key=x&a=%20\xe9"}, "?a=%20\xe9"),
    ],
)
def test_the_query_is_the_one_that_hiding_left(given: dict[str, str], query: str) -> None:
    assert made(given).query == query


@pytest.mark.parametrize("query", ["a b", "a#b", "a\r\nb", "a\0", "a\u20ac"])
def test_x02_a_query_that_is_none_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        made({"QUERY_STRING": query})


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_the_connection_of_the_caller_is_named(key: str) -> None:
    with open(os.devnull, "rb") as connection:
        assert made({key: connection}).caller == connection.fileno()
    assert made({}).caller is None


# -- framing --------------------------------------------------------------------------------------
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Framing(None, chunked=False)),
        ({"CONTENT_LENGTH": ""}, Framing(None, chunked=False)),
        ({"CONTENT_LENGTH": "0"}, Framing(0, chunked=False)),
        ({"CONTENT_LENGTH": "3"}, Framing(3, chunked=False)),
        ({"CONTENT_LENGTH": "003"}, Framing(3, chunked=False)),
        (CHUNKED, Framing(None, chunked=True)),
        ({**CHUNKED, "CONTENT_LENGTH": ""}, Framing(None, chunked=True)),
        ({**CHUNKED, "HTTP_TRANSFER_ENCODING": " Chunked\t"}, Framing(None, chunked=True)),
        ({"wsgi.input_terminated": True, "CONTENT_LENGTH": "3"}, Framing(3, chunked=False)),
        ({"wsgi.input_terminated": True}, Framing(None, chunked=False)),
    ],
)
def test_x02_framing_is_computed(given: dict[str, Any], expected: Framing) -> None:
    assert framing({**PLAIN, **given}) == expected


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"CONTENT_LENGTH": text}
            for text in ["3, 3", "3,3", "+3", "-1", "3_0", "٣", "\xb2", " 3", "3 ", "3.0"]
        ),
        *({"CONTENT_LENGTH": text} for text in ["0x3", "9" * 30, "3\r\n", "a"]),
        {**CHUNKED, "CONTENT_LENGTH": "3"},
        {**CHUNKED, "CONTENT_LENGTH": "0"},
        {**CHUNKED, "SERVER_PROTOCOL": "HTTP/1.0"},
        *(
            {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}
            for text in [
                "xchunked",
                "gzip, chunked",
                "chunked, chunked",
                "chunked,chunked",
                "identity",
                "gzip",
            ]
        ),
        *(
            {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}
            for text in ["", '"chunked"', "\x0bchunked", "chunked;q=1"]
        ),
        {"HTTP_TRANSFER_ENCODING": "identity", "CONTENT_LENGTH": "3"},
    ],
    ids=repr,
)
def test_x02_framing_in_doubt_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        framing({**PLAIN, **given})


def test_x13_chunks_whose_end_the_server_does_not_mark_need_a_length() -> None:
    with pytest.raises(LengthRequired):
        framing({**PLAIN, "HTTP_TRANSFER_ENCODING": "chunked"})
