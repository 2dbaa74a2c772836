"""A part never passes for the whole, and whoever leaves takes the other side along (X-03, X-04)."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from apikey_guard.errors import ApiKeyGuardError, OriginAborted
from tests.forwarding.gateway import Gateway, outcome
from tests.forwarding.live import ALL_SERVERS, SERVERS, LiveGateway, request
from tests.harness import is_complete
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked

SIZE = 300


def padded(body: bytes, *lines: bytes, length: bool = True) -> bytes:
    """An answer of exactly 300 bytes."""
    bare = answer(body, *lines, b"X-Pad: ", length=length)
    return answer(body, *lines, b"X-Pad: " + b"p" * (SIZE - len(bare)), length=length)


WHOLE = {
    "length": padded(b"x" * 120),
    "chunks": padded(chunked(b"x" * 50, b"y" * 50), CHUNKED, length=False),
    "coded": padded(gzip.compress(b"x" * 1000, mtime=0), b"Content-Encoding: gzip"),
}


def became_of(gateway: Gateway) -> str:
    """One word for how an answer ended."""
    try:
        response = gateway.get()
    except OriginAborted:
        return "aborted"
    if outcome(response) == (502, "origin_failed"):
        return "502"
    return f"{response.status}, complete"


# -- X-03 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_x03_an_origin_that_dies_at_any_byte(
    gateway: Gateway, origin: Origin, whole: bytes, reset: bool
) -> None:
    assert len(whole) == SIZE
    head = whole.index(b"\r\n\r\n") + 4
    wrong = []
    for offset in range(SIZE):
        origin.says(whole[:offset], close=not reset, reset=reset)
        word = became_of(gateway)
        # A reset may overtake what was sent before it.
        expected = (
            {"502"} if offset < head else {"502", "aborted"} if reset or offset == head else {"aborted"}
        )
        if word not in expected:
            wrong.append((offset, word))
    assert wrong == []
    origin.says(whole)
    assert became_of(gateway) == "200, complete"


def test_x03_what_came_before_the_end_is_passed_on(gateway: Gateway, origin: Origin) -> None:
    origin.says(answer(b"x" * 100)[:-40], close=True)
    received: list[bytes] = []
    with gateway.opened() as opened, pytest.raises(OriginAborted):
        received.extend(opened)
    assert b"".join(received) == b"x" * 60
    assert ("Content-Length", "100") in opened.headers


def test_x03_the_error_is_one_that_servers_take_for_a_lost_connection(
    gateway: Gateway, origin: Origin
) -> None:
    origin.says(answer(b"x" * 100)[:-40], close=True)
    with gateway.opened() as opened, pytest.raises(ConnectionResetError) as caught:
        list(opened)
    assert isinstance(caught.value, ApiKeyGuardError)
    assert origin.netloc not in str(caught.value)


@pytest.mark.parametrize("framing", [(b"Content-Length: 5",), (CHUNKED,), ()])
def test_x03_a_reset_is_never_a_clean_end(
    gateway: Gateway, origin: Origin, framing: tuple[bytes, ...]
) -> None:
    body = b"3\r\nabc\r\n" if framing == (CHUNKED,) else b"abc"
    release = threading.Event()

    def behave(exchange: Exchange) -> None:
        exchange.send(answer(body, *framing, length=False))
        assert release.wait(10)
        exchange.close(reset=True)

    origin.behave(behave)
    with gateway.opened() as opened:
        assert next(opened) == b"abc"
        release.set()
        with pytest.raises(OriginAborted):
            list(opened)


@pytest.mark.parametrize("bad", [b"3\r\nabcd\r\n", b"x\r\n", b"3\nabc\n"])
def test_x03_chunks_that_turn_out_wrong_abort(gateway: Gateway, origin: Origin, bad: bytes) -> None:
    release = threading.Event()

    def behave(exchange: Exchange) -> None:
        exchange.send(answer(chunked(b"good", end=b""), CHUNKED, length=False))
        assert release.wait(10)
        exchange.send(bad + b"0\r\n\r\n")
        exchange.wait_until_left()

    origin.behave(behave)
    with gateway.opened() as opened:
        assert next(opened) == b"good"
        release.set()
        with pytest.raises(OriginAborted):
            list(opened)
    origin.wait_until_open(0)


CUT = {
    "length": answer(b"x" * 100_000)[:-1],
    "chunks, amid": answer(chunked(b"x" * 100_000, end=b"10\r\nabc"), CHUNKED, length=False),
    "chunks, before the last": answer(chunked(b"x" * 100_000, end=b""), CHUNKED, length=False),
    "coded": answer(gzip.compress(bytes(range(256)) * 9), b"Content-Encoding: gzip")[:-9],
}


# These end every answer without a length by closing, whatever the app does: nobody can tell.
ENDING_BY_CLOSING = ("wsgiref", "uwsgi")


@pytest.mark.parametrize(
    ("server", "name"),
    [
        (server, name)
        for server in ALL_SERVERS
        for name in CUT
        if server not in ENDING_BY_CLOSING or not name.startswith("chunks")
    ],
)
def test_x03_under_real_servers_no_cut_answer_ends_cleanly(
    server: str, name: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    for reset in (False, True):
        gateway.origin.says(CUT[name], close=not reset, reset=reset)
        received = gateway.received(request("/"))
        assert b"HTTP/1.1 200" in received or b"HTTP/1.0 200" in received or b" 502 " in received
        assert not is_complete(received) or b" 502 " in received[:20]


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_x03_under_real_servers_nothing_at_all_is_a_502(
    server: str, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    gateway.origin.says(b"", close=True)
    assert outcome(gateway.get("/")) == (502, "origin_failed")


# -- X-04 -----------------------------------------------------------------------------------------

STREAMS = {
    "length": answer(b"", b"Content-Length: 1000000000000", length=False),
    "chunks": answer(b"", CHUNKED, length=False),
    "until closed": answer(b"", length=False),
}


def endless(start: bytes) -> Callable[[Exchange], None]:
    """An answer that never ends."""
    piece = chunked(b"x" * 8_000, end=b"") if CHUNKED in start else b"x" * 8_000

    def behave(exchange: Exchange) -> None:
        exchange.send(start)
        while True:
            exchange.send(piece)

    return behave


@pytest.mark.parametrize("start", STREAMS.values(), ids=STREAMS)
def test_x04_close_leaves_no_connection(gateway: Gateway, origin: Origin, start: bytes) -> None:
    origin.behave(endless(start))
    for read in (0, 1, 3):
        opened = gateway.opened()
        for _ in range(read):
            assert next(opened)
        assert origin.open == 1
        opened.close()
        origin.wait_until_open(0)
        opened.close()
        assert list(opened) == []
    origin.heal()
    assert gateway.get("/a").body == b"/a"


def test_x04_a_silent_origin_is_left_as_well(gateway: Gateway, origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"abc", b"Content-Length: 10", length=False))
        exchange.wait_until_left()

    origin.behave(behave)
    with gateway.opened() as opened:
        assert next(opened) == b"abc"
    origin.wait_until_open(0)


def test_x04_a_whole_answer_that_was_not_read_is_not_pooled_wrongly(gateway: Gateway, origin: Origin) -> None:
    origin.says(answer(b"nobody's"))
    with gateway.opened():
        pass
    origin.heal()
    assert [gateway.get(f"/{number}").body for number in range(3)] == [b"/0", b"/1", b"/2"]


def test_x04_an_answer_to_which_nobody_listens_any_more_frees_its_place(origin: Origin) -> None:
    origin.behave(endless(STREAMS["chunks"]))
    with Gateway(origin, origin_max_connections=2, origin_connect_timeout=5.0) as gateway:
        for _ in range(20):
            first, second = gateway.opened(), gateway.opened()
            next(first)
            first.close()
            second.close()
        origin.wait_until_open(0)


def leave(gateway: LiveGateway, target: str) -> None:
    """Read the beginning of an answer and reset the connection."""
    with gateway.connection() as caller:
        caller.send(request(target))
        while len(caller.received) < 1_000:
            assert caller.read(1_000), caller.received
        caller.reset()


@pytest.mark.parametrize("server", [*SERVERS, "gevent", "cheroot", "wsgiref", "uwsgi"])
@pytest.mark.parametrize("start", STREAMS.values(), ids=STREAMS)
def test_x04_a_caller_that_leaves_takes_the_origins_connection_along(
    server: str, start: bytes, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)
    gateway.origin.behave(endless(start))
    leave(gateway, "/")
    gateway.origin.wait_until_open(0, timeout=5)


def test_x04_a_thousand_downloads_broken_off_leave_nothing(live: Callable[..., LiveGateway]) -> None:
    gateway = live("gunicorn-gthread")
    for start in STREAMS.values():
        gateway.origin.behave(endless(start))
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda number: leave(gateway, f"/{number}"), range(334)))
        gateway.origin.wait_until_open(0)
    assert len(gateway.origin.requests) == 1002
    gateway.origin.forget()
    assert gateway.get("/after").body == b"/after"


@pytest.mark.parametrize("server", ["gunicorn-gthread", "gunicorn-sync", "werkzeug"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "amid the answer"])
def test_x04_a_caller_that_leaves_a_silent_origin(
    server: str, begun: bool, live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server)

    def behave(exchange: Exchange) -> None:
        if begun:
            exchange.send(answer(b"abc", CHUNKED, length=False)[:-3] + chunked(b"abc", end=b""))
        exchange.wait_until_left()

    gateway.origin.behave(behave)
    with gateway.connection() as caller:
        caller.send(request("/"))
        gateway.origin.wait_for_requests(1)
        if begun:
            caller.read_until(b"abc")
    gateway.origin.wait_until_open(0)


def late(exchange: Exchange) -> None:
    """Answer only after whoever watches the caller has looked at it."""
    exchange.pause(0.4)
    exchange.send(answer(b"late"))


def test_x04_a_caller_that_waits_in_silence_is_still_there(live: Callable[..., LiveGateway]) -> None:
    gateway = live("gunicorn-gthread")
    gateway.origin.behave(late)
    with gateway.connection() as caller:
        caller.send(request("/", "Content-Length: 3", method="POST", body=b"abc"))
        caller.read_until(b"late")


@pytest.mark.parametrize("server", SERVERS)
def test_x04_a_caller_that_pipelines_is_still_there(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    gateway.origin.behave(late)
    with gateway.connection() as caller:
        caller.send(request("/1", close=False) + request("/2"))
        caller.read_until(b"late")
        while caller.read():
            pass  # until the second one is answered, too
