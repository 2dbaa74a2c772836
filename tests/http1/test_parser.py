"""Answers taken apart: what is refused, what is kept, and that llhttp reads the same (X-02, X-07, X-08)."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apikey_guard.http1.parser import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    Chunks,
    Head,
    Malformed,
    parse_head,
)


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> Head:
    return parse_head(b"\r\n".join([status, *lines]) + b"\r\n\r\n")


# -- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.0 200 OK", 200, "OK"),
        (b"HTTP/1.1 404 Not Found", 404, "Not Found"),
        (b"HTTP/1.1 299 All; fine, 'so far'", 299, "All; fine, 'so far'"),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 200 \xc3\x96K", 200, ""),
        (b"HTTP/1.1 200 a\tb", 200, ""),
    ],
)
def test_x08_status_and_phrase(line: bytes, status: int, reason: str) -> None:
    found = head(status=line)
    assert (found.status, found.reason) == (status, reason)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.11 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 O\x7fK",
        b"\r\nHTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\nX: y",
        b"<html>",
        b"GET / HTTP/1.1",
    ],
)
def test_x08_a_status_line_that_is_none(line: bytes) -> None:
    with pytest.raises(Malformed):
        head(status=line)


@pytest.mark.parametrize(
    "line",
    [
        b"X: a\rSet-Cookie: sid=evil",
        b"X: a\nSet-Cookie: sid=evil",
        b"X: a\r",
        b"X: a\0b",
        b"X: a\x7fb",
        b"X: a\x0bb",
        b"X: a\x1b[31m",
        b"X: a\r\n  folded",
        b"X: a\r\n\tfolded",
        b" X: a",
        b"X : a",
        b"X\t: a",
        b": a",
        b"X",
        b"X Y: a",
        b"X\xe9: a",
        b"X(: a",
        b"X\0: a",
        b'"X": a',
    ],
)
def test_x08_a_field_that_is_none(line: bytes) -> None:
    with pytest.raises(Malformed):
        head(line)


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        (b"X: a", ("X", "a")),
        (b"X:a", ("X", "a")),
        (b"X:", ("X", "")),
        (b"X:  a \t ", ("X", "a")),
        (b"x-y_z.1: a:b", ("x-y_z.1", "a:b")),
        (b"X: \xc3\xa9 \xff", ("X", "\xc3\xa9 \xff")),
        (b"X: a\tb", ("X", "a\tb")),
        (b"!#$%&'*+-.^_`|~: 1", ("!#$%&'*+-.^_`|~", "1")),
    ],
)
def test_x08_a_field_is_kept_as_it_is(line: bytes, pair: tuple[str, str]) -> None:
    assert head(line).headers == [pair]


def test_x09_repeated_fields_stay_apart_and_in_order() -> None:
    lines = [b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", b"X: 1", b"set-cookie: b=2", b"X: 1"]
    assert head(*lines).headers == [
        ("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("X", "1"),
        ("set-cookie", "b=2"),
        ("X", "1"),
    ]


@pytest.mark.parametrize(
    ("lines", "length", "is_chunked"),
    [
        ((), None, False),
        ((b"Content-Length: 0",), 0, False),
        ((b"Content-Length:  7 ",), 7, False),
        ((b"content-length: 007",), 7, False),
        ((b"Transfer-Encoding: chunked",), None, True),
        ((b"transfer-encoding: CHUNKED ",), None, True),
    ],
)
def test_x02_framing(lines: tuple[bytes, ...], length: int | None, is_chunked: bool) -> None:
    found = head(*lines)
    assert (found.length, found.chunked) == (length, is_chunked)


BAD_FRAMING = {
    "length and coding": (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "coding and length": (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    "two lengths": (b"Content-Length: 3", b"Content-Length: 4"),
    "the same length twice": (b"Content-Length: 3", b"content-length: 3"),
    "a list of lengths": (b"Content-Length: 3, 3",),
    "negative": (b"Content-Length: -1",),
    "signed": (b"Content-Length: +3",),
    "empty length": (b"Content-Length:",),
    "underscore": (b"Content-Length: 3_0",),
    "hexadecimal": (b"Content-Length: 0x3",),
    "fraction": (b"Content-Length: 3.0",),
    "another script's digit": (b"Content-Length: \xd9\xa3",),
    "space within": (b"Content-Length: 3 0",),
    "beyond every number": (b"Content-Length: " + b"9" * 30,),
    "xchunked": (b"Transfer-Encoding: xchunked",),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked",),
    "chunked, chunked": (b"Transfer-Encoding: chunked, chunked",),
    "chunked twice": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "identity": (b"Transfer-Encoding: identity",),
    "identity and chunked": (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    "quoted": (b'Transfer-Encoding: "chunked"',),
    "vertical tab": (b"Transfer-Encoding: \x0bchunked",),
    "no-break space": (b"Transfer-Encoding: \xa0chunked",),
    "empty coding": (b"Transfer-Encoding:",),
}


@pytest.mark.parametrize("lines", BAD_FRAMING.values(), ids=BAD_FRAMING)
def test_x02_framing_in_doubt_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Malformed):
        head(*lines)


def test_x02_no_coding_in_the_old_version() -> None:
    with pytest.raises(Malformed):
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    ("status", "lines", "persistent"),
    [
        (b"HTTP/1.1 200 OK", (), True),
        (b"HTTP/1.1 200 OK", (b"Connection: keep-alive",), True),
        (b"HTTP/1.1 200 OK", (b"Connection: close",), False),
        (b"HTTP/1.1 200 OK", (b"Connection: X-A , Close",), False),
        (b"HTTP/1.1 200 OK", (b"Connection: x-a", b"connection: close"), False),
        (b"HTTP/1.0 200 OK", (), False),
    ],
)
def test_whether_the_connection_goes_on(status: bytes, lines: tuple[bytes, ...], persistent: bool) -> None:
    assert head(*lines, status=status).persistent is persistent


HOP_BY_HOP = [
    b"Connection: x",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Authorization: Basic eA==",
    b"TE: trailers",
    b"Trailer: X-Sum",
    b"Transfer-Encoding: chunked",
    b"Upgrade: h2c",
]


@pytest.mark.parametrize("line", HOP_BY_HOP)
def test_x07_what_belongs_to_the_connection_is_left_out(line: bytes) -> None:
    assert head(b"A: 1", line, b"B: 2").headers == [("A", "1"), ("B", "2")]


def test_x07_nominated_fields_are_left_out() -> None:
    lines = [
        b"Connection: X-Secret, x-other",
        b"X-Secret: 1",
        b"X-Kept: 2",
        b"X-Other: 3",
        b"connection: late",
    ]
    assert head(*lines, b"Late: 4").headers == [("X-Kept", "2")]


@pytest.mark.parametrize("name", [b"Content-Length", b"Content-Type", b"Content-Encoding"])
def test_x07_what_says_where_the_body_ends_and_what_it_is_cannot_be_nominated(name: bytes) -> None:
    found = head(
        b"Connection: " + name, b"Content-Length: 3", b"Content-Type: a/b", b"Content-Encoding: gzip"
    )
    assert found.length == 3
    assert [key for key, _ in found.headers] == ["Content-Length", "Content-Type", "Content-Encoding"]


def test_x11_no_length_in_a_204() -> None:
    assert head(b"Content-Length: 3", b"A: 1", status=b"HTTP/1.1 204 No Content").headers == [("A", "1")]
    assert head(b"Content-Length: 3", status=b"HTTP/1.1 304 Not Modified").headers == [
        ("Content-Length", "3")
    ]


@pytest.mark.parametrize("name", [b"X-Accel-Redirect", b"x-sendfile", b"X-LIGHTTPD-send-file"])
def test_p07_orders_to_a_web_server_in_front_are_left_out(name: bytes) -> None:
    assert head(name + b": /protected", b"A: 1").headers == [("A", "1")]


def test_whatever_is_not_whole_is_refused() -> None:
    whole = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 3\r\n\r\n"
    parse_head(whole)
    for end in range(len(whole)):
        with pytest.raises(Malformed):
            parse_head(whole[:end])
    with pytest.raises(Malformed):
        parse_head(whole + b"x")


# -- chunks ---------------------------------------------------------------------------------------


def joined(data: bytes, size: int | None = None) -> tuple[bytes, bool, bytes]:
    """Body, whether it has ended, and what came after it, fed in pieces of a size."""
    chunks = Chunks()
    step = size or max(1, len(data))
    body, at = b"", 0
    while at < len(data) and not chunks.done:
        body += chunks.feed(data[at : at + step])
        at += step
    return body, chunks.done, chunks.surplus + data[at:]


SIZES = [None, 1, 2, 3, 7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("data", "body", "done", "surplus"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc", True, b""),
        (b'3\r\nabc\r\n2;name="value"\r\nde\r\n0\r\n\r\n', b"abcde", True, b""),
        (b"00003\r\nabc\r\n000\r\n\r\n", b"abc", True, b""),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, True, b""),
        (b"5\r\n\r\n\r\n0\r\n0\r\n\r\n", b"\r\n\r\n0", True, b""),
        (b"0\r\n\r\n", b"", True, b""),
        (b"0;last\r\nX-Sum: 1\r\nHost: evil\r\n\r\n", b"", True, b""),
        (b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", b"a", True, b"HTTP/1.1 200 OK\r\n"),
        (b"3\r\nabc\r\n0\r\n\r", b"abc", False, b""),
        (b"3\r\nabc\r\n0\r\nX: 1\r\n", b"abc", False, b""),
        (b"3\r\nabc\r\n0\r\n", b"abc", False, b""),
        (b"3\r\nabc\r\n0", b"abc", False, b""),
        (b"3\r\nabc", b"abc", False, b""),
        (b"3\r\nab", b"ab", False, b""),
        (b"3\r", b"", False, b""),
    ],
)
def test_chunks_are_joined(data: bytes, body: bytes, done: bool, surplus: bytes, size: int | None) -> None:
    assert joined(data, size) == (body, done, surplus)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"0x1\r\na\r\n",
        b"1\na\n0\n\n",
        b"1\ra\r0\r\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na\rx",
        b"3;a\rb\r\nabc\r\n",
        b"3;a\nb\r\nabc\r\n",
        b"3;a\0b\r\nabc\r\n",
        b"3,3\r\nabc\r\n",
        b"f" * 16 + b"\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX: a\rb\r\n\r\n",
        b"0\r\nX: a\nb\r\n\r\n",
        b"1;" + b"x" * MAX_CHUNK_LINE_BYTES,
        b"0\r\nX: " + b"x" * (MAX_TRAILER_BYTES + 1),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_x02_chunks_in_doubt_are_refused(data: bytes, size: int | None) -> None:
    with pytest.raises(Malformed):
        joined(data, size)


# -- against llhttp -------------------------------------------------------------------------------


class Message(NamedTuple):
    """An answer, as one of two parsers reads it."""

    status: int
    headers: list[tuple[str, str]]
    persistent: bool
    body: bytes
    whole: bool


def by_us(data: bytes) -> tuple[Message, bytes]:
    """The answer, and the bytes that it consists of."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        raise Malformed("not whole")
    found = parse_head(data[:end])
    rest = data[end:]
    if found.status in (204, 304) or found.status < 200:
        return _message(found, b"", True), data[:end]
    if found.chunked:
        chunks = Chunks()
        body = chunks.feed(rest)
        used = data[: len(data) - len(chunks.surplus)]
        return _message(found, body, chunks.done), used
    if found.length is not None:
        return _message(found, rest[: found.length], len(rest) >= found.length), data[: end + found.length]
    return _message(found, rest, False), data


def _message(found: Head, body: bytes, whole: bool) -> Message:
    return Message(found.status, found.headers, found.persistent, body, whole)


class _Listener:
    """What llhttp tells."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.status = 0
        self.persistent = False
        self.whole = False
        self._in_head = True
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self.headers.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.status = self.parser.get_status_code()
        self.persistent = self.parser.get_http_version() == "1.1" and not any(
            option.strip(" \t").lower() == "close"
            for name, value in self.headers
            if name.lower() == "connection"
            for option in value.split(",")
        )

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True


def by_llhttp(data: bytes) -> Message:
    listener = _Listener()
    listener.parser.feed_data(data)
    return Message(listener.status, listener.headers, listener.persistent, listener.body, listener.whole)


def end_to_end(message: Message) -> list[tuple[str, str]]:
    """What llhttp told less what a hop leaves out, by the words of the standard."""
    options = {
        option.strip(" \t").lower()
        for name, value in message.headers
        if name.lower() == "connection"
        for option in value.split(",")
    } - {"close", "keep-alive", "content-length", "content-type", "content-encoding"}
    hop = {line.partition(b":")[0].decode().lower() for line in HOP_BY_HOP} | {
        "x-accel-redirect",
        "x-sendfile",
    }
    dropped = options | hop | ({"content-length"} if message.status == 204 else set())
    return [(name, value) for name, value in message.headers if name.lower() not in dropped]


some_lines = st.sampled_from(
    [
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"content-length: 3, 3",
        b"Content-Length: -3",
        b"Content-Length: +3",
        b"Content-Length : 3",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding:\tchunked",
        b"Connection: close",
        b"Connection: X-A, keep-alive",
        b"Upgrade: h2c",
        b"X-A: 1",
        b"X-B:",
        b"X-C: \xc3\xa9",
        b"X-D: a\rb",
        b"X-E: a\nX-F: b",
        b" folded",
        b"\tfolded",
        b"Set-Cookie: a=1, b",
        b"Trailer: X",
        b"",
    ]
)
statuses = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 404 Not \xff Found",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 ",
        b"HTTP/1.1 205 Reset",
        b"HTTP/1.1 500 \ta",
        b"HTTP/1.1 599 x",
        b"HTTP/1.1 999 x",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.1  200 OK",
    ]
)
chunk_bits = st.sampled_from(
    [
        b"3",
        b"\r\n",
        b"abc",
        b"0",
        b"a",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b";x=y",
        b"\n",
        b"\r",
        b" ",
        b"00",
        b"X: 1\r\n",
    ]
)
bodies = st.lists(chunk_bits, max_size=8).map(b"".join) | st.binary(max_size=12)
answers = st.builds(
    lambda status, lines, body: b"\r\n".join([status, *lines]) + b"\r\n\r\n" + body,
    statuses,
    st.lists(some_lines, max_size=4),
    bodies,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An answer with a few bytes replaced, taken out or put in."""
    data = bytearray(draw(answers))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        bit = draw(
            st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"\x80", b""])
        )
        data[at : at + draw(st.integers(0, 2))] = bit
        data = data or bytearray(b" ")
    return bytes(data)


@settings(max_examples=1500, deadline=None)
@given(damaged())
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: 1\r\n\r\nmore")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")
@example(b"HTTP/1.0 200 OK\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\n\r\nabc")
def test_x02_llhttp_reads_the_same_in_whatever_is_accepted(data: bytes) -> None:
    try:
        ours, used = by_us(data)
    except Malformed:
        return
    if b"chunked" in data.lower() and not ours.whole:
        # A line that has not ended is not judged yet; the answer is a broken one in any case.
        with suppress(httptools.HttpParserError):
            assert by_llhttp(used).body == ours.body
        return
    theirs = by_llhttp(used)
    assert (theirs.status, end_to_end(theirs), theirs.body, theirs.whole, theirs.persistent) == (
        ours.status,
        ours.headers,
        ours.body,
        ours.whole,
        ours.persistent,
    )


@settings(max_examples=500, deadline=None)
@given(bodies, st.lists(st.integers(0, 40), max_size=6))
def test_x02_however_a_body_is_split_it_is_read_the_same(data: bytes, cuts: list[int]) -> None:
    assert _fed(data, sorted(cuts)) == _fed(data, [])


def _fed(data: bytes, cuts: list[int]) -> tuple[bytes, bool, bytes] | None:
    chunks = Chunks()
    body, start = b"", 0
    try:
        for end in [*cuts, len(data)]:
            if chunks.done:
                break
            body += chunks.feed(data[start:end])
            start = max(start, min(end, len(data)))
    except Malformed:
        return None
    return body, chunks.done, chunks.surplus + data[start:] if chunks.done else b""
