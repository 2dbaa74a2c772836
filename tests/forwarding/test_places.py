"""A place in a pool becomes free again, however the request ends that had it (X-19)."""

from __future__ import annotations

import socket

import pytest

from apikey_guard.origins.connection import Connection
from apikey_guard.origins.pool import Pool
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
