"""Where a request's body ends is computed, and a part never passes for the whole (X-02, X-12..14, X-17)."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from apikey_guard.errors import CallerGone
from tests.forwarding.gateway import Gateway, carried, site
from tests.forwarding.live import ALL_SERVERS, SERVERS, LiveGateway, request
from tests.harness.origin import Exchange, Origin, Received, answer, chunked

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


class Upload(io.RawIOBase):
    """A body that is made while it is read, and counts what was asked of it.

    :param size: bytes that it has.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size
        self.given = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0, "the whole body was asked for at once"
        taken = min(size, self.left, 65_536)
        self.left -= taken
        self.given += taken
        return b"x" * taken


def framing(got: Received) -> tuple[str | None, str | None]:
    return got.header("Content-Length"), got.header("Transfer-Encoding")


# -- X-17 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "extra", "body", "expected"),
    [
        pytest.param("GET", {}, b"", (None, None), id="GET"),
        pytest.param("GET", {}, b"abc", ("3", None), id="GET with a body"),
        pytest.param("GET", {"CONTENT_LENGTH": ""}, b"", (None, None), id="GET, as wsgiref"),
        pytest.param("POST", {}, b"", (None, None), id="POST without a length"),
        pytest.param("POST", {"CONTENT_LENGTH": "0"}, b"", ("0", None), id="POST of nothing"),
        pytest.param("POST", {}, b"abc", ("3", None), id="POST"),
        pytest.param("POST", {"CONTENT_LENGTH": "003"}, b"abc", ("3", None), id="leading zeros"),
        pytest.param("PUT", {}, b"\r\n\r\n0\r\n\r\n", ("9", None), id="PUT of what looks like framing"),
        pytest.param("DELETE", {}, b"abc", ("3", None), id="DELETE with a body"),
        pytest.param("DELETE", CHUNKED, b"abc", (None, "chunked"), id="DELETE in chunks"),
        pytest.param("GET", CHUNKED, b"", (None, "chunked"), id="GET in no chunks"),
        pytest.param("POST", CHUNKED, b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", (None, "chunked"), id="chunks"),
        pytest.param("PATCH", {}, bytes(range(256)) * 1000, ("256000", None), id="large"),
        pytest.param("PATCH", CHUNKED, bytes(range(256)) * 1000, (None, "chunked"), id="large, in chunks"),
        pytest.param("M-SEARCH", {}, b"abc", ("3", None), id="another method"),
    ],
)
def test_x17_the_framing_is_kept_and_not_invented(
    gateway: Gateway,
    origin: Origin,
    method: str,
    extra: dict[str, Any],
    body: bytes,
    expected: tuple[str | None, str | None],
) -> None:
    given = {"CONTENT_LENGTH": None, **extra} if extra is CHUNKED else extra
    assert gateway.get("/", method, body=body, extra=given, lint=method != "M-SEARCH").status == 200
    (got,) = origin.requests
    assert got.line == f"{method} / HTTP/1.1"
    assert framing(got) == expected
    assert got.body == body
    assert set(carried(got)) <= {"content-length", "transfer-encoding"}


def test_x17_what_the_server_has_beyond_the_length_is_left_alone(gateway: Gateway, origin: Origin) -> None:
    stream = io.BytesIO(b"abcGET /smuggled HTTP/1.1\r\n\r\n")
    extra = {"wsgi.input": stream, "CONTENT_LENGTH": "3"}
    assert gateway.get("/", "POST", extra=extra).status == 200
    assert (origin.last.body, stream.tell()) == (b"abc", 3)
    gateway.get("/next")
    assert [got.target for got in origin.requests] == ["/", "/next"]


# -- X-02 -----------------------------------------------------------------------------------------

DOUBTFUL: dict[str, dict[str, Any]] = {
    **{f"length {text!r}": {"CONTENT_LENGTH": text} for text in ("3, 3", "+3", "-1", "3_0", "٣", " 3")},
    **{f"length {text!r}": {"CONTENT_LENGTH": text} for text in ("3 ", "3.0", "0x3", "9" * 30)},
    "both": {**CHUNKED, "CONTENT_LENGTH": "3"},
    "both, of nothing": {**CHUNKED, "CONTENT_LENGTH": "0"},
    "the old version": {**CHUNKED, "SERVER_PROTOCOL": "HTTP/1.0"},
    **{
        f"coding {text!r}": {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}
        for text in ("xchunked", "gzip, chunked", "identity", "chunked, chunked", "", "\x0bchunked")
    },
}


@pytest.mark.parametrize("extra", DOUBTFUL.values(), ids=DOUBTFUL)
def test_x02_framing_in_doubt_is_refused(gateway: Gateway, origin: Origin, extra: dict[str, Any]) -> None:
    given = {"CONTENT_LENGTH": None, "wsgi.input": io.BytesIO(b"abc"), **extra}
    assert gateway.outcome("/", "POST", extra=given, lint=False) == (400, "bad_request")
    assert all(not got.complete for got in origin.requests)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
SMUGGLING: dict[str, tuple[tuple[str, ...], bytes]] = {
    "both framings": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n" + SMUGGLED),
    "both, the other way": (("Transfer-Encoding: chunked", "Content-Length: 50"), b"0\r\n\r\n" + SMUGGLED),
    "the same length twice": (("Content-Length: 3", "Content-Length: 3"), b"abc" + SMUGGLED),
    "two lengths": (("Content-Length: 3", "Content-Length: 40"), b"abc" + SMUGGLED),
    "a list of lengths": (("Content-Length: 3, 3",), b"abc" + SMUGGLED),
    "signed": (("Content-Length: +3",), b"abc" + SMUGGLED),
    "unknown coding": (("Content-Length: 3", "Transfer-Encoding: xchunked"), b"abc" + SMUGGLED),
    "underscore": (("Content_Length: 3",), b"abc" + SMUGGLED),
    "underscored coding": (("Transfer_Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n" + SMUGGLED),
    "space before the colon": (("Transfer-Encoding : chunked", "Content-Length: 5"), b"0\r\n\r\n" + SMUGGLED),
    "bare LF": (("Content-Length: 3\nTransfer-Encoding: chunked",), b"0\r\n\r\n" + SMUGGLED),
    "chunk of too much": (("Transfer-Encoding: chunked",), b"3\r\nabcdef\r\n0\r\n\r\n" + SMUGGLED),
    "chunk size with a sign": (("Transfer-Encoding: chunked",), b"+3\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
    "chunk ended by a bare LF": (("Transfer-Encoding: chunked",), b"3\nabc\n0\n\n" + SMUGGLED),
    "trailers": (
        ("Transfer-Encoding: chunked",),
        b"3\r\nabc\r\n0\r\nContent-Length: 99\r\nHost: x\r\n\r\n" + SMUGGLED,
    ),
    "in the body": ((f"Content-Length: {5 + len(SMUGGLED)}",), b"0\r\n\r\n" + SMUGGLED),
    "in a chunk": (("Transfer-Encoding: chunked",), chunked(b"0\r\n\r\n" + SMUGGLED)),
}


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x02_no_request_is_smuggled(server: str, live: Callable[..., LiveGateway]) -> None:
    """Whatever a server makes of it: the origin sees one request at most, and never the hidden one."""
    gateway = live(server)
    for number, (lines, body) in enumerate(SMUGGLING.values()):
        with gateway.connection() as caller:
            caller.send(request(f"/{number}", *lines, method="POST", body=body))
            if not caller.has_answer(timeout=0.3):
                # The server waits for more of a body.
                caller.finish_sending()
            while caller.read():
                pass
    targets = [got.target for got in gateway.origin.requests]
    assert len(set(targets)) == len(targets)
    assert set(targets) <= {f"/{number}" for number in range(len(SMUGGLING))}
    for got in gateway.origin.requests:
        assert None in framing(got), got.head
    # The connections that are pooled now are in step.
    gateway.origin.forget()
    assert [gateway.get(f"/{number}").body for number in range(4)] == [b"/0", b"/1", b"/2", b"/3"]


# -- X-13 -----------------------------------------------------------------------------------------


def test_x13_chunks_whose_end_the_server_does_not_mark_need_a_length(
    gateway: Gateway, origin: Origin
) -> None:
    extra = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None}
    assert gateway.outcome("/", "POST", extra=extra) == (411, "length_required")
    assert origin.connections == 0


@pytest.mark.parametrize("server", ["wsgiref", "uwsgi"])
def test_x13_under_servers_that_do_not_mark_it(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    response = gateway.get("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"abc"))
    assert (response.status, response.json()["code"]) == (411, "length_required")
    assert gateway.origin.requests == []


@pytest.mark.parametrize("server", [*SERVERS, "gevent", "cheroot"])
def test_x13_chunks_go_on_under_servers_that_do(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    body = chunked(b"abc", b"0\r\n\r\n", b"x" * 70_000)
    assert gateway.get("/", "Transfer-Encoding: chunked", method="POST", body=body).status == 200
    (got,) = gateway.origin.requests
    assert got.body == b"abc" + b"0\r\n\r\n" + b"x" * 70_000
    # waitress has collected the body, and knows its length.
    assert framing(got) == (("70008", None) if server == "waitress" else (None, "chunked"))


@pytest.mark.parametrize("length", [True, False], ids=["known length", "chunks"])
def test_x13_an_upload_is_read_in_pieces_as_the_origin_takes_it(
    gateway: Gateway, origin: Origin, length: bool
) -> None:
    size = 64 << 20
    upload = Upload(size)

    def stalls(exchange: Exchange) -> None:
        taken = len(exchange.read())
        # The origin takes no more until the pipes between the two are full.
        before = -1
        while upload.given != before:
            before = upload.given
            exchange.pause(0.1)
        assert 0 < before < size // 2, "the upload was read ahead of the origin"
        ending = b""
        while taken < size if length else not ending.endswith(b"0\r\n\r\n"):
            piece = exchange.read()
            taken += len(piece)
            ending = (ending + piece)[-5:]
        exchange.send(answer(b"ok"))
        exchange.close()

    origin.behave(stalls, reads_body=False)
    extra = {
        **({} if length else CHUNKED),
        "wsgi.input": upload,
        "CONTENT_LENGTH": str(size) if length else None,
    }
    assert gateway.get("/", "POST", extra=extra).body == b"ok"
    assert upload.given == size


@pytest.mark.parametrize("conflict", ["reject", "first"])
@pytest.mark.parametrize("length", [True, False], ids=["known length", "chunks"])
def test_d04_an_upload_whose_key_is_elsewhere_streams_past_a_body_location(
    length: bool, conflict: str
) -> None:
    size = 16 << 20
    upload = Upload(size)
    settings = {"key_locations": ["header:apikey", "body:apikey"], "key_conflict": conflict}
    begun = []

    def early(exchange: Exchange) -> None:
        exchange.read()
        begun.append(upload.given)
        exchange.send(answer(b"too large", status=b"413 Content Too Large"))
        exchange.wait_until_left()

    with site(**settings) as place:
        place.origin.behave(early, reads_body=False)
        extra = {
            **({} if length else CHUNKED),
            "wsgi.input": upload,
            "CONTENT_LENGTH": str(size) if length else None,
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
        }
        response = place.gateway.get("/", "POST", extra=extra)
    assert (response.status, response.body) == (413, b"too large")
    assert 0 < begun[0] < size


# -- X-12 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["keeps the connection", "closes it", "resets it"])
@pytest.mark.parametrize("length", [True, False], ids=["known length", "chunks"])
def test_x12_an_early_answer_is_passed_on_and_the_upload_is_cut(
    gateway: Gateway, origin: Origin, length: bool, ending: str
) -> None:
    upload = Upload(1 << 30)
    too_large = answer(b"too large", status=b"413 Content Too Large")

    def early(exchange: Exchange) -> None:
        exchange.send(too_large)
        if ending == "keeps the connection":
            exchange.wait_until_left()
        exchange.pause(0.2)  # so that the answer is there before the end is
        exchange.close(reset=ending == "resets it")

    origin.behave(early, reads_body=False)
    extra = {
        **({} if length else CHUNKED),
        "wsgi.input": upload,
        "CONTENT_LENGTH": str(1 << 30) if length else None,
    }
    response = gateway.get("/", "POST", extra=extra)
    assert (response.status, response.body) == (413, b"too large")
    assert upload.given < 1 << 29
    origin.wait_until_open(0)


@pytest.mark.parametrize("server", SERVERS)
def test_x12_under_real_servers_nobody_waits_for_the_other(
    server: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)

    def early(exchange: Exchange) -> None:
        exchange.send(answer(b"too large", status=b"413 Content Too Large"))
        exchange.wait_until_left()

    gateway.origin.behave(early, reads_body=False)
    size = 1 << 26 if server == "waitress" else 1 << 30  # waitress takes all of a body before it calls
    sent = 0
    with gateway.connection() as caller:
        head = (f"Content-Length: {size}", "Expect: 100-continue")
        caller.send(request("/", *head, method="POST", close=False))
        caller.read_until(b"\r\n\r\n")
        assert caller.received.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100", b"HTTP/1.1 413"))
        piece = b"x" * 65_536
        try:
            while sent < size and b"413" not in caller.received:
                caller.send(piece)
                sent += len(piece)
                if caller.has_answer():
                    caller.read()
            caller.read_until(b"too large")
        except ConnectionError:
            # A server may close as soon as it has answered, with the upload half-way.
            assert server in {"gunicorn-sync", "gunicorn-gthread", "werkzeug"}
    if server != "waitress":
        assert sent < size // 2
    gateway.origin.wait_until_open(0)


@pytest.mark.parametrize("server", SERVERS)
def test_x12_a_caller_that_waits_for_the_go_ahead_gets_one(
    server: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    with gateway.connection() as caller:
        caller.send(request("/a", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        caller.read_until(b" 100 ")
        caller.send(b"abc")
        caller.read_until(b"\r\n\r\n/a")
    (got,) = gateway.origin.requests
    assert (got.body, got.header("Expect")) == (b"abc", None)


@pytest.mark.parametrize("server", ["gunicorn-gthread", "werkzeug"])
def test_x12_a_body_location_gives_the_go_ahead_too(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(
        server,
        {"APIKEY_GUARD_KEY_LOCATIONS": "header:apikey,body:apikey", "APIKEY_GUARD_BODY_MAX_BYTES": "1000"},
    )
    for size in (3, 5000):  # searched, and handed on unread
        lines = (f"Content-Length: {size}", "Expect: 100-continue", "Content-Type: application/json")
        with gateway.connection() as caller:
            caller.send(request("/a", *lines, method="POST"))
            caller.read_until(b" 100 ")
            caller.send(b" " * size)
            caller.read_until(b"\r\n\r\n/a")
    assert [len(got.body) for got in gateway.origin.requests] == [3, 5000]


# -- X-14 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_x14_a_body_that_is_shorter_than_announced_never_reaches_the_origin_as_a_whole(
    gateway: Gateway, origin: Origin, method: str
) -> None:
    given = {"CONTENT_LENGTH": "10", "wsgi.input": io.BytesIO(b"abc")}
    assert gateway.outcome("/", method, extra=given) == (400, "bad_request")
    origin.wait_until_open(0)
    assert [got.complete for got in origin.requests] in ([], [False])
    assert gateway.get("/next").body == b"/next"


@pytest.mark.parametrize("error", [OSError("told to"), ConnectionResetError(), ValueError("bad chunk")])
@pytest.mark.parametrize("extra", [{"CONTENT_LENGTH": "100000"}, CHUNKED], ids=["known length", "chunks"])
def test_x14_a_body_that_cannot_be_read_never_reaches_the_origin_as_a_whole(
    gateway: Gateway, origin: Origin, extra: dict[str, Any], error: Exception
) -> None:
    class Broken(Upload):
        def read(self, size: int | None = -1) -> bytes:
            if self.given:
                raise error
            return super().read(size)

    given = {"CONTENT_LENGTH": None, **extra, "wsgi.input": Broken(100_000)}
    try:
        assert gateway.outcome("/", "POST", extra=given) == (400, "bad_request")
    except CallerGone:
        assert isinstance(error, OSError)
    origin.wait_until_open(0)
    assert [got.complete for got in origin.requests] in ([], [False])


@pytest.mark.parametrize("server", ALL_SERVERS)
@pytest.mark.parametrize("ending", ["half-close", "reset"])
def test_x14_a_caller_that_stops_half_way(server: str, ending: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    with gateway.connection() as caller:
        caller.send(request("/", "Content-Length: 1000000", method="POST", body=b"x" * 500_000))
        if server != "waitress":  # which takes all of a body before it calls anybody
            gateway.origin.wait_until_connected()
        if ending == "reset":
            caller.reset()
        else:
            caller.finish_sending()
            while caller.read():
                pass
            assert b" 400 " in caller.received or (server == "waitress" and not caller.received)
    gateway.origin.wait_until_open(0)
    assert [got.complete for got in gateway.origin.requests] == ([] if server == "waitress" else [False])


@pytest.mark.parametrize("server", [*SERVERS, "gevent"])
def test_x14_a_caller_that_stops_amid_the_chunks(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    body = b"6\r\nabcdef\r\n6\r\nabc"
    with gateway.connection() as caller:
        caller.send(request("/", "Transfer-Encoding: chunked", method="POST", body=body))
        if server != "waitress":  # the others send the first chunk on before they read the next one
            gateway.origin.wait_until_connected()
        caller.finish_sending()
        while caller.read():
            pass
    assert b" 200 " not in caller.received
    gateway.origin.wait_until_open(0)
    assert [got.complete for got in gateway.origin.requests] in ([], [False])
