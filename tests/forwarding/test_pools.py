"""Connections are shared, answers never are; targets fail and come back (X-01, X-06, X-11, X-19)."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from apikey_guard import Consumer, Route
from tests.forwarding.gateway import Gateway, outcome
from tests.forwarding.live import SERVERS, LiveGateway
from tests.harness.exchanges import Fits
from tests.harness.guarded import at_once
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked, echo

FAILED = (502, "origin_failed")
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def own(exchange: Exchange) -> bytes:
    """The right answer: it names its path."""
    return answer(exchange.request.target.encode())


# -- X-01 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["in one segment", "apart"])
@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 X"])
def test_x01_interim_answers_are_read_past(
    gateway: Gateway, origin: Origin, interim: bytes, pause: float
) -> None:
    start = b"HTTP/1.1 " + interim + b"\r\nLink: </a>\r\nSet-Cookie: who=alice\r\n\r\n"

    def behave(exchange: Exchange) -> None:
        if pause:
            exchange.send(start)
            exchange.pause(pause)
            exchange.send(own(exchange))
        else:
            exchange.send(start * 2 + own(exchange))

    origin.behave(behave)
    for number in range(25):
        for who in ("alice", "bob"):
            response = gateway.get(f"/{who}/{number}")
            assert (response.status, response.body) == (200, f"/{who}/{number}".encode())
            assert response.header("Link") is None
    assert origin.connections == 1


def test_x01_endless_interim_answers_are_a_failure(gateway: Gateway, origin: Origin) -> None:
    origin.says(EARLY * 1000 + answer(b"late"))
    assert gateway.outcome() == FAILED
    origin.heal()
    assert gateway.get("/a").body == b"/a"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_p08_x01_a_switch_of_protocols_is_a_502_and_the_end_of_the_connection(
    gateway: Gateway, origin: Origin, method: str
) -> None:
    origin.says(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + answer(b"x")
    )
    assert gateway.outcome("/", method) == FAILED
    origin.wait_until_open(0)
    origin.heal()
    assert gateway.get("/a").body == b"/a"
    assert origin.connections == 2


# Whatever an origin does wrong (or right), by the number of the request.
ODD: list[Callable[[Exchange], None]] = [
    echo,
    lambda exchange: exchange.send(EARLY + own(exchange)),
    lambda exchange: exchange.send(own(exchange) + answer(b"surplus", b"Set-Cookie: who=mallory")),
    lambda exchange: exchange.send(own(exchange) + b"HTTP/1.1 500 X\r\n"),
    lambda exchange: exchange.send(answer(b"late"[:0], b"Content-Length: 4", length=False) + b"abcdefgh"),
    lambda exchange: ends_early(exchange),
    lambda exchange: exchange.close(reset=True),
    lambda exchange: exchange.send(answer(chunked(own(exchange)[-3:]) + b"surplus", CHUNKED, length=False)),
    lambda exchange: exchange.send(answer(b"who", b"Set-Cookie: who=alice", status=b"500 Broken")),
    lambda exchange: exchange.send(answer(b"body", status=b"304 Not Modified")),
    lambda exchange: exchange.send(answer(b"abc\r\n\r\n", b"X: a\rb")),
    lambda exchange: exchange.send(own(exchange).replace(b"200 OK", b"204 No Content")),
]


def ends_early(exchange: Exchange) -> None:
    exchange.send(own(exchange)[:-1])
    exchange.close()


class Odd:
    """Does one thing after the other, whoever asks, and writes down what it did to whom."""

    def __init__(self) -> None:
        self._number = itertools.count()
        self.right: set[str] = set()

    def __call__(self, exchange: Exchange) -> None:
        behaviour = ODD[next(self._number) % len(ODD)]
        if behaviour in ODD[:4]:
            self.right.add(exchange.request.target)
        behaviour(exchange)


def own_answer_or_none(gateway: Gateway, odd: Odd, who: str, number: int, method: str) -> None:
    """One request; its answer is its own, in every respect."""
    target = f"/{who}/{number}/{method}"
    headers = [("Cookie", f"who={who}")]
    try:
        response = gateway.get(target, method, key=f"KCANARY-{who}", headers=headers, lint=False)
    except ConnectionResetError:
        return
    if response.status == 200 and target in odd.right:
        assert response.body == (b"" if method == "HEAD" else target.encode())
        assert response.header("Set-Cookie") is None
    else:
        other = "bob" if who == "alice" else "alice"
        assert other.encode() not in response.body
        assert f"/{other}/" not in str(response.headers)
    assert b"surplus" not in response.body


@pytest.mark.parametrize("threads", [1, 6])
def test_x01_x11_no_caller_ever_sees_what_is_anothers(origin: Origin, threads: int) -> None:
    odd = Odd()
    origin.behave(odd)
    with Gateway(origin) as gateway:
        for who in ("alice", "bob"):
            gateway.keys.add(f"KCANARY-{who}", Consumer(id=who, username=who))

        def work(thread: int) -> None:
            for number in range(180 // threads):
                who = ("alice", "bob")[(number + thread) % 2]
                method = ("GET", "HEAD", "POST")[number % 3]
                own_answer_or_none(gateway, odd, who, thread * 1000 + number, method)

        at_once([lambda thread=thread: work(thread) for thread in range(threads)])  # type: ignore[misc]  # bound
    assert len(odd.right) > 30
    for got in origin.requests:
        who = got.target.split("/")[1]
        assert (got.header("Cookie"), got.header("X-Consumer-Username")) == (f"who={who}", who)


@pytest.mark.parametrize("server", SERVERS)
def test_x01_under_real_servers(server: str, live: Callable[..., LiveGateway]) -> None:
    gateway = live(server)
    odd = Odd()
    gateway.origin.behave(odd)
    for number in range(72):
        who = ("alice", "bob")[number % 2]
        method = ("GET", "HEAD", "POST")[number % 3]
        target = f"/{who}/{number}"
        response = gateway.get(target, method=method)
        if target in odd.right:
            assert response.body == (b"" if method == "HEAD" else target.encode())
        else:
            assert (b"alice" if who == "bob" else b"bob") not in response.body


def test_x02_what_comes_after_an_answer_ends_the_connection(gateway: Gateway, origin: Origin) -> None:
    origin.behave(lambda exchange: exchange.send(own(exchange) + answer(b"nobody's")))
    assert [gateway.get(f"/{number}").body for number in range(3)] == [b"/0", b"/1", b"/2"]
    assert origin.connections == 3


def test_x02_what_comes_later_unasked_ends_the_connection(gateway: Gateway, origin: Origin) -> None:
    sent = threading.Event()

    def behave(exchange: Exchange) -> None:
        exchange.send(own(exchange))
        if exchange.request.target == "/first":
            exchange.pause(0.05)
            exchange.send(answer(b"nobody's"))
            sent.set()

    origin.behave(behave)
    assert gateway.get("/first").body == b"/first"
    assert sent.wait(5)
    assert gateway.get("/second").body == b"/second"
    assert origin.connections == 2


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 60\r\n\r\n"),
    ],
)
def test_x11_a_forbidden_body_that_comes_late_is_nobodys_answer(
    gateway: Gateway, origin: Origin, method: str, head: bytes
) -> None:
    """It may look like an answer, and come when the next caller is already waiting for one."""

    def behave(exchange: Exchange) -> None:
        if exchange.request.target != "/alice":
            exchange.pause(0.05)
            exchange.send(own(exchange))
            return
        exchange.send(head)
        exchange.pause(0.02)
        exchange.send(answer(b"alice's", b"Set-Cookie: who=alice"))

    origin.behave(behave)
    for _ in range(3):
        assert gateway.get("/alice", method, lint=False).body == b""
        response = gateway.get("/bob")
        assert (response.status, response.body, response.header("Set-Cookie")) == (200, b"/bob", None)


# -- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_connection_is_used_again(gateway: Gateway, origin: Origin, method: str, status: bytes) -> None:
    bodiless = status[:3] in {b"204", b"304"}
    data = b"HTTP/1.1 " + status + b"\r\n\r\n" if bodiless else answer(b"ok", status=status)
    origin.says(data)
    for _ in range(5):
        response = gateway.get("/", method, body=b"abc" if method == "POST" else b"")
        assert response.status == int(status[:3])
    assert origin.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        answer(b"ok", b"Connection: close"),
        answer(b"ok", b"Connection: x, CLOSE"),
        answer(b"ok").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_that_will_end_is_not_used_again(gateway: Gateway, origin: Origin, data: bytes) -> None:
    origin.says(data)
    for _ in range(3):
        assert gateway.get("/", "POST", body=b"abc").body == b"ok"
    assert origin.connections == 3
    origin.wait_until_open(0)


def test_no_socket_before_the_first_request(origin: Origin) -> None:
    with Gateway(origin) as gateway:
        assert gateway.outcome("/", key=None)[0] == 401
        assert origin.connections == 0
    origin.refuse()
    with Gateway(origin) as gateway:
        origin.heal()
        assert gateway.get("/a").body == b"/a"


def test_close_leaves_no_connection(origin: Origin) -> None:
    gateway = Gateway(origin)
    gateway.get("/")
    assert origin.open == 1
    gateway.close()
    origin.wait_until_open(0)
    gateway.close()


# -- X-06 -----------------------------------------------------------------------------------------


class DiesOnReuse:
    """Answers the first request of every connection, and dies on the second after so many bytes."""

    def __init__(self, *, reset: bool, after: bytes = b"") -> None:
        self._reset = reset
        self._after = after
        self._seen: set[int] = set()

    def __call__(self, exchange: Exchange) -> None:
        number = exchange.request.connection
        if number in self._seen:
            exchange.send(self._after)
            exchange.close(reset=self._reset)
        self._seen.add(number)
        exchange.send(answer(b""))


SAFE = ["GET", "HEAD", "OPTIONS", "TRACE"]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("method", SAFE)
def test_x06_a_safe_request_is_tried_once_more_on_a_fresh_connection(
    gateway: Gateway, origin: Origin, method: str, reset: bool
) -> None:
    origin.behave(DiesOnReuse(reset=reset))
    assert gateway.get("/first").status == 200
    assert gateway.get("/second", method).status == 200
    assert [got.target for got in origin.requests] == ["/first", "/second", "/second"]
    assert origin.connections == 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("POST", (), b"abc"),
        ("POST", (), b""),
        ("POST", (("Idempotency-Key", "1"),), b"abc"),
        ("PUT", (), b"abc"),
        ("DELETE", (), b""),
        ("PATCH", (), b"abc"),
        ("GET", (), b"abc"),
    ],
)
def test_x06_nothing_else_is_sent_twice(
    gateway: Gateway,
    origin: Origin,
    method: str,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    reset: bool,
) -> None:
    origin.behave(DiesOnReuse(reset=reset))
    assert gateway.get("/first").status == 200
    assert gateway.outcome("/second", method, headers=headers, body=body) == FAILED
    assert [got.target for got in origin.requests].count("/second") == 1
    assert gateway.get("/third").status == 200


def test_x06_not_after_a_byte_of_the_answer(gateway: Gateway, origin: Origin) -> None:
    origin.behave(DiesOnReuse(reset=False, after=b"HTTP/1.1 2"))
    assert gateway.get("/first").status == 200
    assert gateway.outcome("/second") == FAILED
    assert len(origin.requests) == 2


def test_x06_not_on_a_fresh_connection(gateway: Gateway, origin: Origin) -> None:
    origin.says(b"", close=True)
    assert gateway.outcome() == FAILED
    assert len(origin.requests) == 1


def test_x06_not_twice(gateway: Gateway, origin: Origin) -> None:
    gateway.get("/")
    origin.says(b"", close=True)
    assert gateway.outcome() == FAILED
    assert (len(origin.requests), origin.connections) == (3, 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_x06_an_idle_connection_that_the_origin_has_closed_is_not_an_error(
    gateway: Gateway, origin: Origin, method: str
) -> None:
    for _ in range(20):
        assert gateway.get("/", method, body=b"abc" if method == "POST" else b"").status == 200
        origin.drop_idle()
    assert len(origin.requests) == 20


def test_x06_nothing_is_repeated_after_a_timeout(origin: Origin) -> None:
    with Gateway(origin, origin_read_timeout=0.2) as gateway:
        gateway.get("/")
        origin.behave(lambda exchange: exchange.wait_until_left())
        with Fits(0.2):
            assert gateway.outcome() == (504, "origin_timeout")
        origin.wait_until_open(0)
    assert len(origin.requests) == 2


# -- X-19 -----------------------------------------------------------------------------------------


def test_x19_a_slow_origin_keeps_nobody_from_another(origin: Origin) -> None:
    release = threading.Event()
    with Origin() as slow:

        def behave(exchange: Exchange) -> None:
            assert release.wait(20)
            echo(exchange)

        slow.behave(behave)
        routes = [Route("/slow/*", origin=slow.url)]
        settings: dict[str, Any] = {"origin_max_connections": 3, "origin_connect_timeout": 0.2}
        with Gateway(origin, routes=routes, **settings) as gateway, ThreadPoolExecutor(20) as callers:
            gateway.get("/warm")
            waiting = [callers.submit(gateway.get, f"/slow/{number}") for number in range(3)]
            slow.wait_for_requests(3)
            refused = [callers.submit(gateway.get, f"/slow/{number}") for number in range(10)]
            for number in range(50):
                assert gateway.get(f"/{number}").body == f"/{number}".encode()
            for response in (future.result(10) for future in refused):
                assert outcome(response) == (503, "origin_busy")
                assert int(response.header("Retry-After") or 0) >= 1
            assert slow.connections == 3
            release.set()
            assert [future.result(10).body for future in waiting] == [b"/slow/0", b"/slow/1", b"/slow/2"]
            # Nothing of it is left: three at once go again.
            assert [response.status for response in callers.map(gateway.get, ["/slow/x"] * 3)] == [200] * 3


def test_x19_who_waits_gets_the_place_that_becomes_free(origin: Origin) -> None:
    release = threading.Event()
    first = True

    def behave(exchange: Exchange) -> None:
        nonlocal first
        if first:
            first = False
            assert release.wait(20)
        echo(exchange)

    origin.behave(behave)
    with (
        Gateway(origin, origin_max_connections=1, origin_connect_timeout=10.0) as gateway,
        ThreadPoolExecutor(8) as callers,
    ):
        answers = [callers.submit(gateway.get, f"/{number}") for number in range(8)]
        origin.wait_for_requests(1)
        release.set()
        assert sorted(future.result(10).body for future in answers) == [
            b"/%d" % number for number in range(8)
        ]
        assert origin.open == 1


@pytest.mark.parametrize(
    "bad", ["refused", "cut", "reset", "malformed", "aborted", "timeout", "left", "raises"]
)
def test_x19_whatever_happens_a_place_becomes_free_again(origin: Origin, bad: str) -> None:
    settings: dict[str, Any] = {
        "origin_max_connections": 1,
        "origin_connect_timeout": 2.0,
        "origin_read_timeout": 0.1,
    }
    with Gateway(origin, **settings) as gateway:
        for number in range(5):
            if bad == "refused":
                origin.refuse()
                assert gateway.outcome() == FAILED
                origin.heal()
                # It rests; nobody waits for that here.
                gateway.clock.advance(11)
            elif bad == "raises":

                class Broken:
                    def read(self, size: int = -1) -> bytes:
                        raise RuntimeError("told to")

                extra = {"wsgi.input": Broken(), "CONTENT_LENGTH": "3"}
                assert gateway.outcome("/", "POST", extra=extra, lint=False) == (400, "bad_request")
            elif bad == "left":
                origin.says(answer(b"abc", b"Content-Length: 10", length=False))
                with gateway.opened() as opened:
                    next(opened)
            elif bad == "aborted":
                origin.says(answer(b"abc", b"Content-Length: 10", length=False), close=True)
                with pytest.raises(ConnectionResetError):
                    gateway.get()
            elif bad == "timeout":
                origin.behave(lambda exchange: exchange.wait_until_left())
                assert gateway.outcome() == (504, "origin_timeout")
            else:
                data = b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n" if bad == "malformed" else b""
                origin.says(data, close=bad == "cut", reset=bad == "reset")
                assert gateway.outcome() == FAILED
            origin.heal()
            assert gateway.get(f"/{number}").body == f"/{number}".encode()


# -- several targets ------------------------------------------------------------------------------


@pytest.fixture
def second() -> object:
    with Origin() as made:
        yield made


def test_targets_take_turns(origin: Origin, second: Origin) -> None:
    with Gateway([origin.url, second.url]) as gateway:
        for number in range(10):
            assert gateway.get(f"/{number}").body == f"/{number}".encode()
    assert (len(origin.requests), len(second.requests)) == (5, 5)
    assert {got.header("Host") for got in second.requests} == {second.netloc}


@pytest.mark.parametrize(
    ("method", "body"), [("GET", b""), ("POST", b"abc"), ("DELETE", b""), ("PUT", b"abc")]
)
def test_x20_where_one_target_refuses_the_next_is_asked(
    origin: Origin, second: Origin, method: str, body: bytes
) -> None:
    origin.refuse()
    with Gateway([origin.url, second.url]) as gateway:
        for _ in range(6):
            assert gateway.get("/", method, body=body).status == 200
    assert [got.body for got in second.requests] == [body] * 6


def test_a_target_that_refuses_rests_and_is_probed(origin: Origin, second: Origin) -> None:
    with Gateway([origin.url, second.url]) as gateway:
        origin.refuse()
        for _ in range(2):
            gateway.get("/")
        origin.heal()
        for _ in range(6):
            gateway.get("/")
        assert origin.connections == 0
        gateway.clock.advance(9)
        for _ in range(4):
            gateway.get("/")
        assert origin.connections == 0
        gateway.clock.advance(2)
        for _ in range(8):
            gateway.get("/")
        assert len(origin.requests) in {3, 4}
        assert len(second.requests) == 20 - len(origin.requests)


def test_a_target_that_still_refuses_the_probe_rests_again(origin: Origin, second: Origin) -> None:
    with Gateway([origin.url, second.url]) as gateway:
        origin.refuse()
        for _ in range(2):
            assert gateway.get("/").status == 200
        gateway.clock.advance(11)
        for _ in range(4):
            assert gateway.get("/").status == 200
        origin.heal()
        for _ in range(4):
            gateway.get("/")
        assert origin.connections == 0
        gateway.clock.advance(11)
        for _ in range(4):
            gateway.get("/")
        assert origin.requests


def test_where_all_rest_the_one_that_has_rested_longest_is_asked(origin: Origin, second: Origin) -> None:
    with Gateway([origin.url, second.url]) as gateway:
        origin.refuse()
        second.refuse()
        assert gateway.outcome() == FAILED
        origin.heal()
        second.heal()
        assert gateway.get("/a").body == b"/a"


def test_a_single_target_never_rests_so_that_nobody_is_asked(gateway: Gateway, origin: Origin) -> None:
    origin.refuse()
    assert [gateway.outcome() for _ in range(3)] == [FAILED] * 3
    origin.heal()
    assert gateway.get("/a").body == b"/a"


def test_what_fails_after_the_connection_is_not_asked_of_another_target(
    origin: Origin, second: Origin
) -> None:
    for target in (origin, second):
        target.says(b"", close=True)
    with Gateway([origin.url, second.url]) as gateway:
        assert gateway.outcome("/", "POST", body=b"abc") == FAILED
        assert len(origin.requests) + len(second.requests) == 1


# -- how long an idle connection is kept -------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "line", "seconds", "kept"),
    [
        pytest.param({}, None, 3.9, True, id="below the default"),
        pytest.param({}, None, 4.0, False, id="Node and uvicorn close theirs after 5 s"),
        pytest.param({"origin_idle_timeout": 60}, None, 59, True, id="a longer setting"),
        pytest.param({"origin_idle_timeout": 60}, None, 61, False, id="beyond it"),
        pytest.param({"origin_idle_timeout": 0}, None, 0, False, id="none is kept"),
        pytest.param({"origin_idle_timeout": 600}, None, 301, False, id="addresses may have changed"),
        pytest.param({}, b"Keep-Alive: timeout=3", 1.9, True, id="the origin's, less a second"),
        pytest.param({}, b"Keep-Alive: timeout=3", 2, False, id="a second before it"),
        pytest.param({}, b"Keep-Alive: timeout=1", 0.4, True, id="half of one second"),
        pytest.param({}, b"Keep-Alive: timeout=1", 0.5, False, id="and no more"),
        pytest.param({}, b"Keep-Alive: timeout=0", 0, False, id="none at all"),
        pytest.param({}, b"Keep-Alive: timeout=72", 4, False, id="a longer one than ours"),
        pytest.param({"origin_idle_timeout": 60}, b"Keep-Alive: timeout=5, max=100", 4, False, id="Apache's"),
        pytest.param(
            {"origin_idle_timeout": 60}, b"Keep-Alive: max=99,Timeout = 5", 3.9, True, id="in any order"
        ),
        pytest.param(
            {"origin_idle_timeout": 60}, b"Keep-Alive: header-timeout=1", 59, True, id="another name"
        ),
        pytest.param({"origin_idle_timeout": 60}, b"keep-alive: timeout=x", 59, True, id="no number"),
        pytest.param(
            {"origin_idle_timeout": 60},
            b"Keep-Alive: timeout=9\r\nKeep-Alive: timeout=5",
            4,
            False,
            id="the shorter of two",
        ),
        pytest.param(
            {"origins": {"one": {"targets": ["URL"], "idle_timeout": 1}}, "origin": "one"},
            None,
            1,
            False,
            id="a table's",
        ),
    ],
)
def test_x06_an_idle_connection_is_kept_no_longer_than_the_origin_keeps_it(
    origin: Origin, settings: dict[str, Any], line: bytes | None, seconds: float, kept: bool
) -> None:
    if "origins" in settings:
        settings = {**settings, "origins": {"one": {**settings["origins"]["one"], "targets": [origin.url]}}}
    origin.says(answer(b"ok", *([] if line is None else [line])))
    with Gateway(**{"origin": origin, **settings}) as gateway:
        response = gateway.get("/", "POST", body=b"x")
        assert (response.body, response.header("Keep-Alive")) == (b"ok", None)
        gateway.clock.advance(seconds)
        gateway.get("/", "POST", body=b"x")
    assert origin.connections == (1 if kept else 2)


@pytest.mark.parametrize("why", ["closed by the origin", "too old"])
def test_x19_whenever_a_pool_is_used_every_dead_connection_is_closed(origin: Origin, why: str) -> None:
    together = threading.Barrier(4)
    sockets: list[socket.socket] = []

    def behave(exchange: Exchange) -> None:
        sockets.append(exchange._sock)
        if exchange.request.target == "/together":
            together.wait(5)
        exchange.send(answer(b"ok"))

    origin.behave(behave)
    with Gateway(origin) as gateway:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: gateway.get("/together"), range(4)))
        assert origin.open == 4
        if why == "too old":
            gateway.clock.advance(10)
        else:
            for each in sockets:
                # It has closed, and sees now whether the gateway does.
                each.shutdown(socket.SHUT_WR)
        assert gateway.get("/", "POST").body == b"ok"
        origin.wait_until_open(1)
        assert origin.connections == 5
        # What is not dead stays.
        assert gateway.get("/", "POST").body == b"ok"
        assert origin.connections == 5


def test_x19_a_pool_keeps_what_is_alive_beside_what_is_dead(origin: Origin) -> None:
    together = threading.Barrier(3)
    sockets: dict[int, socket.socket] = {}

    def behave(exchange: Exchange) -> None:
        sockets[exchange.request.connection] = exchange._sock
        if exchange.request.target == "/together":
            together.wait(5)
        exchange.send(answer(b"ok"))

    origin.behave(behave)
    with Gateway(origin) as gateway:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: gateway.get("/together"), range(3)))
        sockets[1].shutdown(socket.SHUT_WR)
        for _ in range(3):
            assert gateway.get("/", "POST").body == b"ok"
        origin.wait_until_open(2)
        assert origin.connections == 3
