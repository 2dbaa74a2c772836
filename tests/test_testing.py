"""The public fakes keep what they promise, or every test that stands on them proves nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable, RateLimited
from apikey_guard.keyservice import KeyService
from apikey_guard.keyservice.http import HttpKeyService
from apikey_guard.testing import FakeKeyService, LoopbackKeyService, ManualClock

GOOD = "KCANARY-good"
BAD = "KCANARY-bad"
ACME = Consumer(id="42", username="acme")


class TestManualClock:
    def test_stands_still_until_moved(self) -> None:
        clock: Clock = ManualClock(wall=100.0, monotonic=5.0)
        assert (clock.time(), clock.monotonic()) == (100.0, 5.0)
        assert (clock.time(), clock.monotonic()) == (100.0, 5.0)

    def test_advance_moves_both_sides(self) -> None:
        clock = ManualClock(wall=100.0, monotonic=5.0)
        clock.advance(2.5)
        assert (clock.time(), clock.monotonic()) == (102.5, 7.5)

    def test_v10_the_sides_move_separately(self) -> None:
        clock = ManualClock(wall=100.0, monotonic=5.0)
        clock.set_wall(-3500.0)
        clock.advance_monotonic(1.0)
        assert (clock.time(), clock.monotonic()) == (-3500.0, 6.0)

    @pytest.mark.parametrize("move", ["advance", "advance_monotonic"])
    def test_the_monotonic_side_never_goes_back(self, move: str) -> None:
        clock = ManualClock()
        with pytest.raises(ValueError, match="does not go back"):
            getattr(clock, move)(-1.0)

    def test_the_system_clock_has_the_same_two_sides(self) -> None:
        assert SYSTEM_CLOCK.monotonic() <= SYSTEM_CLOCK.monotonic()
        assert SYSTEM_CLOCK.time() > 1_700_000_000


class TestFakeKeyService:
    def test_knows_the_keys_it_was_given(self) -> None:
        service: KeyService = FakeKeyService({GOOD: ACME})
        assert service.verify(Credential(GOOD)) == Verdict(valid=True, consumer=ACME)
        assert service.verify(Credential(BAD)) == Verdict.invalid()

    def test_counts_and_names_what_was_asked(self) -> None:
        service = FakeKeyService([GOOD])
        service.verify(Credential(GOOD))
        service.verify(Credential(BAD))
        assert service.calls == 2
        assert service.asked == (GOOD, BAD)

    def test_add_revoke_and_answer_change_what_it_says(self) -> None:
        service = FakeKeyService()
        service.add(GOOD, ACME, ttl=30.0, expires_at=9.0, credential_id="c-7")
        assert service.verify(Credential(GOOD)) == Verdict(
            valid=True, consumer=ACME, ttl=30.0, expires_at=9.0, credential_id="c-7"
        )
        service.revoke(GOOD)
        service.revoke(GOOD)
        assert not service.verify(Credential(GOOD)).valid
        service.answer(BAD, Verdict.invalid(ttl=1.0))
        assert service.verify(Credential(BAD)).ttl == 1.0

    def test_fails_until_healed(self) -> None:
        service = FakeKeyService([GOOD])
        service.fail()
        with pytest.raises(KeyServiceUnavailable):
            service.verify(Credential(GOOD))
        service.fail(RateLimited(7.0))
        with pytest.raises(RateLimited):
            service.verify(Credential(GOOD))
        service.heal()
        assert service.verify(Credential(GOOD)).valid

    def test_holds_verifications_in_flight_and_answers_as_of_their_arrival(self) -> None:
        service = FakeKeyService([GOOD])
        service.hold()
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(service.verify, Credential(GOOD)) for _ in range(3)]
            service.wait_for_calls(3)
            assert not any(future.done() for future in futures)
            service.revoke(GOOD)
            service.release()
            assert all(future.result(timeout=5).valid for future in futures)
        assert service.most_in_flight == 3
        assert not service.verify(Credential(GOOD)).valid

    def test_wait_for_calls_says_what_is_missing(self) -> None:
        with pytest.raises(AssertionError, match="0 calls"):
            FakeKeyService().wait_for_calls(1, timeout=0.01)

    def test_shows_no_key(self) -> None:
        service = FakeKeyService([GOOD])
        service.verify(Credential(BAD))
        assert "KCANARY" not in repr(service)

    def test_close_is_remembered_and_may_be_repeated(self) -> None:
        service = FakeKeyService()
        service.close()
        service.close()
        assert service.closed


class TestLoopbackKeyService:
    def test_speaks_protocol_json_over_real_sockets(self) -> None:
        with LoopbackKeyService({GOOD: {"consumer": {"id": "42"}}}) as server:
            assert verify(server, GOOD) == Verdict(valid=True, consumer=Consumer(id="42"))
            assert verify(server, BAD) == Verdict.invalid()
            assert server.calls == 2
            assert server.requests[0].endswith(b'{"key": "KCANARY-good"}')

    def test_keys_may_be_changed_while_it_runs(self) -> None:
        with LoopbackKeyService([GOOD]) as server:
            del server.keys[GOOD]
            assert not verify(server, GOOD).valid

    def test_slow_answers_are_right_ones(self) -> None:
        with LoopbackKeyService([GOOD]) as server:
            server.slow(0.01)
            assert verify(server, GOOD).valid

    def test_healing_ends_a_hang_at_once(self) -> None:
        with LoopbackKeyService([GOOD]) as server, ThreadPoolExecutor(1) as pool:
            server.hang()
            asked = pool.submit(verify, server, GOOD)
            server.wait_for_calls(1)
            server.heal()
            assert isinstance(asked.exception(timeout=5), KeyServiceUnavailable)
            assert verify(server, GOOD).valid

    def test_refuses_and_heals_on_the_same_port(self) -> None:
        with LoopbackKeyService([GOOD]) as server:
            for _ in range(3):
                server.refuse()
                with pytest.raises(KeyServiceUnavailable, match="connect"):
                    verify(server, GOOD)
                server.heal()
                assert verify(server, GOOD).valid

    def test_wait_for_calls_says_what_is_missing(self) -> None:
        with LoopbackKeyService() as server, pytest.raises(AssertionError, match="0 calls"):
            server.wait_for_calls(1, timeout=0.01)

    def test_closing_ends_every_thread_and_may_be_repeated(self) -> None:
        others = set(threading.enumerate())
        server = LoopbackKeyService([GOOD])
        service = HttpKeyService(server.url)
        service.verify(Credential(GOOD))
        server.close()
        server.close()
        service.close()
        left = set(threading.enumerate()) - others
        assert not any(thread.name == "loopback-key-service" for thread in left)

    def test_shows_no_key(self) -> None:
        with LoopbackKeyService([GOOD]) as server:
            assert "KCANARY" not in repr(server)


def verify(server: LoopbackKeyService, key: str) -> Verdict:
    """The verdict that the library's own part gets from it."""
    with closing(HttpKeyService(server.url)) as service:
        return service.verify(Credential(key))
