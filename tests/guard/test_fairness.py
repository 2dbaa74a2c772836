"""Callers with made-up keys, and others whose new keys are good (threats D)."""

from __future__ import annotations

import threading

import pytest

from apikey_guard import Credential, Guard
from apikey_guard.testing import FakeKeyService
from tests.harness.guarded import BAD, GOOD, Guarded

FLOOD, OTHER = "203.0.113.1", "198.51.100.7"
PROXY = "10.0.0.1"


class Flooded:
    """One place, which a made-up key holds, and three callers of ``flood`` who wait for it.

    :param flood: parts of the environ of those who flood.
    """

    def __init__(self, guarded: Guarded, flood: list[dict[str, str]]) -> None:
        self.guarded = guarded
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []
        guarded.keys.hold()
        for number, extra in enumerate(flood):
            self.send(f"{BAD}-{number}", extra)

    def send(self, key: str, extra: dict[str, str]) -> None:
        """Begin a request, and return as soon as it waits."""
        before = self.guarded.guard.stats()["verifications_under_way"]
        thread = threading.Thread(
            target=self.guarded.status, args=(key,), kwargs={"extra": extra}, daemon=True
        )
        thread.start()
        self._threads.append(thread)
        pause = threading.Event()
        while self.guarded.guard.stats()["verifications_under_way"] == before:
            pause.wait(0.001)

    def asked(self) -> list[str]:
        """The keys in the order in which they were asked about."""
        self.guarded.keys.release()
        for thread in self._threads:
            thread.join(10)
        return list(self.guarded.keys.asked)


def by_proxy(address: str, header: str = "HTTP_X_FORWARDED_FOR") -> dict[str, str]:
    return {"REMOTE_ADDR": PROXY, header: address}


TURNS = {
    "two peers": ({"REMOTE_ADDR": FLOOD}, {"REMOTE_ADDR": OTHER}, [], 1),
    "one peer": ({"REMOTE_ADDR": FLOOD}, {"REMOTE_ADDR": FLOOD}, [], 3),
    "no address": ({}, {}, [], 3),
    "no address and one": ({}, {"REMOTE_ADDR": OTHER}, [], 1),
    "one /64": ({"REMOTE_ADDR": "2001:db8:0:1::1"}, {"REMOTE_ADDR": "2001:db8:0:1:9::2"}, [], 3),
    "two /64": ({"REMOTE_ADDR": "2001:db8:0:1::1"}, {"REMOTE_ADDR": "2001:db8:0:2::1"}, [], 1),
    "behind a trusted proxy": (by_proxy(FLOOD), by_proxy(OTHER), [PROXY], 1),
    "behind one that nobody trusts": (by_proxy(FLOOD), by_proxy(OTHER), [], 3),
    "the same caller, other lies": (by_proxy(f"1.1.1.1, {FLOOD}"), by_proxy(f"2.2.2.2, {FLOOD}"), [PROXY], 3),
    "Forwarded": (
        by_proxy(f"for={FLOOD}", "HTTP_FORWARDED"),
        by_proxy(f"for={OTHER}", "HTTP_FORWARDED"),
        [PROXY],
        1,
    ),
}


@pytest.mark.parametrize(("flood", "good", "trusted", "waits"), TURNS.values(), ids=TURNS)
def test_d03_networks_take_turns(
    flood: dict[str, str], good: dict[str, str], trusted: list[str], waits: int
) -> None:
    with Guarded(validator_max_concurrency=1, validator_timeout=20, trusted_proxies=trusted) as guarded:
        flooded = Flooded(guarded, [flood] * 4)  # the first has the slot
        flooded.send(GOOD, good)
        assert flooded.asked().index(GOOD) == 1 + waits


def test_d03_keys_valid_lately_have_places_of_their_own() -> None:
    with Guarded(validator_timeout=20, stale_if_error=0) as guarded:
        assert guarded.status() == 200
        guarded.clock.advance(61)
        flooded = Flooded(guarded, [{"REMOTE_ADDR": FLOOD}] * 30)
        flooded.send(GOOD, {"REMOTE_ADDR": FLOOD})
        guarded.keys.wait_for_calls(1 + 14 + 1)
        assert guarded.keys.asked[-1] == GOOD
        flooded.asked()


def test_d02_on_a_cold_start_new_keys_have_every_place() -> None:
    with Guarded(FakeKeyService([]), validator_timeout=20) as guarded:
        flooded = Flooded(guarded, [{}] * 20)
        guarded.keys.wait_for_calls(16)
        assert flooded.asked()
        assert guarded.keys.most_in_flight == 16


def test_d09_a_thousand_who_wait_are_the_most() -> None:
    keys = FakeKeyService([GOOD])
    with Guard(key_service=keys, validator_max_concurrency=1, validator_timeout=20) as guard:
        join = guard.verifier._process.get().verifications.join
        keys.hold()
        for number in range(2000):
            join(number.to_bytes(32, "big"), Credential(f"{BAD}-{number}"), peer=FLOOD)
        assert guard.stats()["verifications_under_way"] <= 1 + 1024
        keys.release()
