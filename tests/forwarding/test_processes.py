"""Connections belong to one process, and its first requests may come at the same time (C-01, C-02)."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping

from apikey_guard.core.peers import Peers
from apikey_guard.core.table import RouteTable
from apikey_guard.forwarding import OriginAnswer, OriginClient, OriginRequest
from apikey_guard.forwarding.forwarder import Forwarder, Way
from apikey_guard.forwarding.outbound import Hop
from apikey_guard.http1.connection import Connection
from apikey_guard.http1.pool import Pool
from tests.harness.wire import PATIENCE_SECONDS


class Client:
    """Says 204 and knows whether it was let go of."""

    def __init__(self) -> None:
        self.abandoned = False

    def send(self, request: OriginRequest) -> OriginAnswer:
        return OriginAnswer(204, "", [], ())

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        self.abandoned = True


def forwarder(make_clients: Callable[[], Mapping[str, OriginClient]]) -> Forwarder:
    ways = RouteTable([], Way("api"))
    return Forwarder(ways, make_clients, Hop(peers=Peers([]), kept=[]), refuse=lambda *_: [])


def test_c01_two_first_requests_share_their_clients_and_abandon_none() -> None:
    made: list[Client] = []
    other_is_through = threading.Event()

    def make_clients() -> Mapping[str, OriginClient]:
        made.append(Client())
        if threading.current_thread() is slow:
            other_is_through.wait(PATIENCE_SECONDS)
        return {"api": made[-1]}

    class Clients(dict[int, Mapping[str, OriginClient]]):
        """Lets the slow thread find nothing, and then the other one make its clients."""

        def get(self, pid: int, default: object = None) -> object:  # type: ignore[override]  # as used
            found = super().get(pid, default)
            if threading.current_thread() is slow:
                looked.set()
                other_is_through.wait(PATIENCE_SECONDS)
            return found

    both = forwarder(make_clients)
    both._clients = Clients()
    looked = threading.Event()
    slow = threading.Thread(target=both._of_this_process)
    slow.start()
    assert looked.wait(PATIENCE_SECONDS)
    first = both._of_this_process()
    other_is_through.set()
    slow.join()
    assert both._of_this_process() is first
    assert not any(client.abandoned for client in first.values() if isinstance(client, Client))


def test_c01_what_a_parent_left_is_abandoned() -> None:
    left, own = Client(), Client()
    child = forwarder(lambda: {"api": own})
    child._clients = {os.getppid(): {"api": left}}
    assert child._of_this_process() == {"api": own}
    assert (left.abandoned, own.abandoned) == (True, False)
    assert list(child._clients) == [os.getpid()]


def test_c01_two_threads_may_abandon_the_same_connections() -> None:
    class Emptied(deque[Connection]):
        """Another thread has taken the last one just now."""

        def __len__(self) -> int:
            return 1

    pool = Pool(1, 1.0)
    pool._idle = Emptied()
    pool.abandon()
