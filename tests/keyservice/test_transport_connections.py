"""When a connection is used again, replaced, or closed."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackCall, LoopbackKeyService, http_answer
from tests.harness.exchanges import SHORT, Fits, cause_of, get


@pytest.fixture
def server() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService() as service:
        yield service


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(timeout=SHORT)
    yield made
    made.close()


class TestConnections:
    def test_no_socket_at_construction(self, server: LoopbackKeyService) -> None:
        Transport(timeout=SHORT).close()
        assert server.connections == 0

    def test_a_connection_is_used_again(self, server: LoopbackKeyService, transport: Transport) -> None:
        server.lie(http_answer(200))
        for _ in range(5):
            get(transport, server)
        assert server.connections == 1

    def test_v16_a_connection_that_is_too_old_is_not_used_again(self, server: LoopbackKeyService) -> None:
        server.lie(http_answer(200))
        transport = Transport(timeout=SHORT, max_age=0.0)
        for _ in range(3):
            get(transport, server)
        transport.close()
        assert server.connections == 3

    def test_v17_idle_connections_that_the_server_closed_cause_no_error(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.keys["KCANARY-good"] = {}
        server.cut(after=None)
        for _ in range(100):
            answer = transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-good"}')
            assert answer.body == b'{"valid": true}'
        assert server.connections == 100

    @pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
    def test_v17_a_pooled_connection_that_turns_out_dead_is_replaced_once(
        self, server: LoopbackKeyService, transport: Transport, reset: bool
    ) -> None:
        server.behave(DiesOnReuse(reset=reset))
        assert [get(transport, server).body for _ in range(3)] == [b"fresh"] * 3
        # The second was asked twice: in vain, and on a connection of its own that is not kept.
        assert (server.calls, server.connections) == (4, 3)

    def test_v17_a_fresh_connection_that_dies_is_not_tried_again(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.cut(0)
        assert cause_of(lambda: get(transport, server)) == "reset"
        assert server.calls == 1

    def test_v17_nothing_is_repeated_once_a_byte_of_the_answer_came(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200))
        get(transport, server)
        server.lie(b"HTTP/1.1 2", close=True)
        assert cause_of(lambda: get(transport, server)) in {"reset", "content"}
        assert server.calls == 2

    def test_v14_nothing_is_repeated_after_a_timeout(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200))
        get(transport, server)
        server.hang()
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"
        assert server.calls == 2

    def test_v02_a_refused_connection_is_a_failure_until_it_is_not(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.refuse()
        assert cause_of(lambda: get(transport, server)) == "connect"
        server.heal()
        assert get(transport, server).status == 400

    def test_c03_64_threads_get_their_own_answers(self, server: LoopbackKeyService) -> None:
        server.behave(lambda call: call.send(http_answer(200, call.request.partition(b"\r\n\r\n")[2])))
        transport = Transport(timeout=10.0, max_idle=16)
        start = threading.Barrier(64)

        def ask(number: int) -> bool:
            start.wait()
            body = f"KCANARY-{number}".encode()
            return all(transport.exchange("POST", server.url, {}, body).body == body for _ in range(10))

        with ThreadPoolExecutor(64) as pool:
            assert all(pool.map(ask, range(64)))
        transport.close()

    def test_idle_connections_are_bounded_and_closed_by_close(self, server: LoopbackKeyService) -> None:
        together = threading.Barrier(8)

        def behave(call: LoopbackCall) -> None:
            together.wait(5)
            call.send(http_answer(200))

        server.behave(behave)
        transport = Transport(timeout=5.0, max_idle=2)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: get(transport, server), range(8)))
        assert server.connections == 8
        server.wait_for_connections(2)
        for _ in range(2):
            transport.close()
            server.wait_for_connections(0)
        # An open socket that is collected is a ResourceWarning, and warnings are errors here.
        gc.collect()

    def test_whenever_the_pool_is_used_every_dead_connection_is_closed(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        together = threading.Barrier(4)
        sockets: list[socket.socket] = []

        def behave(call: LoopbackCall) -> None:
            sockets.append(call._sock)
            if len(sockets) <= 4:
                together.wait(5)
            call.send(http_answer(200))

        server.behave(behave)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: get(transport, server), range(4)))
        for each in sockets:
            each.shutdown(socket.SHUT_WR)
        get(transport, server)
        server.wait_for_connections(1)
        assert server.connections == 5

    def test_closed_is_closed(self, server: LoopbackKeyService, transport: Transport) -> None:
        transport.close()
        assert cause_of(lambda: get(transport, server)) == "error"
        assert server.connections == 0


class DiesOnReuse:
    """Answers the first request of a connection, and closes on the second without a byte."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset
        self.seen: list[object] = []

    def __call__(self, call: LoopbackCall) -> None:
        if call.connection in self.seen:
            call.close(reset=self.reset)
        self.seen.append(call.connection)
        call.send(http_answer(200, b"fresh"))
