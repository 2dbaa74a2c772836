"""A slot in a pool becomes free again, however the request ends that had it (X-19)."""

from __future__ import annotations

import queue
import socket
import threading
import time

import pytest

from apikey_guard.errors import OriginBusy
from apikey_guard.http1.connection import Connection
from apikey_guard.http1.pool import Pool
from tests.harness.wire import PATIENCE_SECONDS


class Ended(BaseException):
    """As gevent's ``Timeout`` and ``GreenletExit``: it may come wherever a socket is looked at."""


class EndedHere(Connection):
    @property
    def is_clean(self) -> bool:
        raise Ended


def test_x19_who_is_ended_while_taking_a_connection_leaves_its_place() -> None:
    here, there = socket.socketpair()
    there.settimeout(PATIENCE_SECONDS)
    pool = Pool(1, 0.01)
    assert pool.take() is None
    pool.give_back(EndedHere(here, 1.0))
    with there:
        with pytest.raises(Ended):
            pool.take()
        assert there.recv(1) == b""
    assert pool.take() is None


def test_x19_who_waits_comes_before_who_came_later() -> None:
    pool = Pool(1, PATIENCE_SECONDS)
    assert pool.take() is None
    events: list[str] = []

    def wait_for_it() -> None:
        events.append("waits")
        pool.take()
        events.append("first")
        pool.let_go()

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    while not events or waits_nowhere(pool):
        time.sleep(0.001)
    # The same thread frees its slot and wants one again, as under load each thread does.
    pool.let_go()
    pool.take()
    events.append("second")
    waiting.join()
    assert events == ["waits", "first", "second"]


def test_x19_nobody_starves_where_there_are_more_requests_than_slots() -> None:
    pool = Pool(2, 1.0)
    end = time.monotonic() + 1.5
    served = [0] * 6

    def ask(number: int) -> None:
        while time.monotonic() < end:
            assert pool.take() is None
            served[number] += 1
            time.sleep(0.001)
            pool.let_go()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(served))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(served) > max(served) / 3


def test_x19_who_gives_up_leaves_the_queue() -> None:
    pool = Pool(1, 0.01)
    assert pool.take() is None
    with pytest.raises(OriginBusy):
        pool.take()
    pool.let_go()
    assert pool.take() is None


def test_x19_who_is_ended_while_waiting_hands_its_place_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1, PATIENCE_SECONDS)
    assert pool.take() is None

    class EndsAfterwards(queue.SimpleQueue[Connection | None]):
        """It was handed a slot just before it is ended."""

        def get(self, block: bool = True, timeout: float | None = None) -> Connection | None:
            if timeout is None:
                return super().get(block)
            pool.let_go()
            raise Ended

    monkeypatch.setattr(queue, "SimpleQueue", EndsAfterwards)
    with pytest.raises(Ended):
        pool.take()
    assert pool.take() is None


def waits_nowhere(pool: Pool) -> bool:
    return not pool._waiting
