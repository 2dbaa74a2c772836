"""A real key service that misbehaves: decided in time, nothing wrong remembered, right after it heals."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from apikey_guard.testing import LoopbackKeyService
from tests.harness.guarded import BAD, GOOD, Guarded

TIMEOUT = 0.5
UNAVAILABLE = (503, "key_service_unavailable")
ALLOWED = (200, "")
INVALID = (401, "invalid_credential")

Fault = Callable[[LoopbackKeyService], None]

FAULTS: dict[str, Fault] = {
    "down": LoopbackKeyService.refuse,
    "hangs": LoopbackKeyService.hang,
    "drips a byte each 80 ms": LoopbackKeyService.drip,
    "redirects": lambda service: service.redirect("http://127.0.0.1:9/elsewhere"),
    "answers HTML with 200": LoopbackKeyService.html200,
    "answers 401 to us": lambda service: service.status(401),
    "answers 403 to us": lambda service: service.status(403),
    "answers 500": lambda service: service.status(500),
    "cuts the connection": LoopbackKeyService.cut,
    "resets it": LoopbackKeyService.reset,
    "switches protocols": lambda service: service.lie(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_v02_v03_v06_a_fault_is_503_in_time_and_nothing_is_remembered(fault: Fault) -> None:
    with (
        LoopbackKeyService([GOOD]) as service,
        Guarded(validator_url=service.url, validator_timeout=TIMEOUT) as guarded,
    ):
        fault(service)
        for key in (GOOD, BAD):
            started = time.monotonic()
            assert guarded.code(key) == UNAVAILABLE
            assert (
                time.monotonic() - started < TIMEOUT + 0.3 + 0.7
            )  # promised: deadline plus 0.3; slow machines
        stats = guarded.guard.stats()
        assert (stats["cached_valid"], stats["cached_invalid"]) == (0, 0)
        service.heal()
        assert guarded.code(GOOD) == ALLOWED
        assert guarded.code(BAD) == INVALID


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_v02_a_known_key_is_served_through_every_fault(fault: Fault) -> None:
    with (
        LoopbackKeyService([GOOD]) as service,
        Guarded(validator_url=service.url, validator_timeout=TIMEOUT) as guarded,
    ):
        assert guarded.code() == ALLOWED
        fault(service)
        guarded.clock.advance(61)
        assert [guarded.code() for _ in range(3)] == [ALLOWED] * 3
        guarded.clock.advance(301)
        assert guarded.code() == UNAVAILABLE


def test_v01_an_interim_answer_never_becomes_another_keys_verdict() -> None:
    good, bad = [f"{GOOD}-{n}" for n in range(25)], [f"{BAD}-{n}" for n in range(25)]
    with LoopbackKeyService(good) as service, Guarded(validator_url=service.url) as guarded:
        service.interim(103, pause=0.01)
        for good_key, bad_key in zip(good, bad, strict=True):
            assert guarded.code(good_key) == ALLOWED
            assert guarded.code(bad_key) == INVALID


def test_d02_100_cold_keys_at_once_over_real_sockets() -> None:
    from tests.harness.guarded import at_once

    keys = [f"{GOOD}-{number}" for number in range(100)]
    with LoopbackKeyService(keys) as service, Guarded(validator_url=service.url) as guarded:
        service.slow(0.1)
        calls = [lambda key=key: guarded.code(key) for key in keys]  # type: ignore[misc]  # bound early
        assert at_once(calls) == [ALLOWED] * 100
