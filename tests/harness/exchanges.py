"""Exchanges over the hardened way out, and how tests of it judge failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from apikey_guard.errors import TransportError
from apikey_guard.keyservice.transport import Answer, Transport
from apikey_guard.testing import LoopbackCall, LoopbackKeyService

SHORT = 0.3
# What a deadline may be exceeded by, here and in the promise to callers.
SLACK = 0.3


def get(transport: Transport, server: LoopbackKeyService) -> Answer:
    return transport.exchange("GET", server.url, {})


def cause_of(call: Callable[[], object]) -> str:
    with pytest.raises(TransportError) as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value.cause


class Fits:
    """An upper bound that was promised: the deadline and its slack."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds + SLACK

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.start <= self.limit


def flood(server: LoopbackKeyService, head: bytes, piece: bytes) -> Callable[[], int]:
    """Send a head and then the same piece for as long as it is taken; returns how much was."""
    sent = 0
    ended = threading.Event()

    def behave(call: LoopbackCall) -> None:
        nonlocal sent
        try:
            call.send(head)
            while sent < 1_000_000_000:
                call.send(piece)
                sent += len(piece)
        finally:
            ended.set()

    def total() -> int:
        assert ended.wait(5)
        return sent

    server.behave(behave)
    return total
