"""Not to be reached, overloaded by ourselves, an odd answer about one key, slow: kept apart (threats V)."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from apikey_guard import Consumer, Credential, KeyServiceUnavailable, RateLimited, Verdict
from apikey_guard.errors import Overloaded, UnusableAnswer
from apikey_guard.http1 import dial
from apikey_guard.testing import FakeKeyService, LoopbackKeyService, http_answer, json_answer
from apikey_guard.testing.loopback import LoopbackCall
from tests.harness.guarded import BAD, GOOD, Guarded, at_once, settle

UNAVAILABLE = (503, "key_service_unavailable")
OVERLOADED = (503, "overloaded")
INVALID = (401, "invalid_credential")
LIMITED = (429, "rate_limited")
ALLOWED = (200, "")
TTL_IS_OVER = 61

Fault = Callable[[LoopbackKeyService], None]
HTML = ("Content-Type", "text/html")
JSON = ("Content-Type", "application/json")


def answers(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Fault:
    return lambda service: service.lie(http_answer(status, body, *headers))


def says(document: object, status: int = 200) -> Fault:
    return lambda service: service.lie(json_answer(document, status))


# What tells of the key service itself: a verdict may serve stale, the breaker is told.
UNREACHABLE: dict[str, Fault] = {
    "refuses connections": LoopbackKeyService.refuse,
    "says nothing": LoopbackKeyService.hang,
    "cuts the connection": LoopbackKeyService.cut,
    "cuts the answer": lambda service: service.cut(30),
    "resets the connection": LoopbackKeyService.reset,
    "500": answers(500),
    "500 in JSON": says({"error": "x"}, 500),
    "500 that says invalid": says({"valid": False}, 500),
    "500 in JSON that says nothing of the kind": says({"valid": "?", "ttl": "?"}, 500),
    "500 in JSON that is a text": says("Internal Server Error", 500),
    "502 in a page that is called JSON": answers(502, b"<html>", JSON),
    "503": answers(503),
    "503 in JSON without a body": answers(503, b"", JSON),
    "redirects": answers(302, b"", ("Location", "/login")),
    "not modified": answers(304),
    "401 to ourselves": answers(401),
    "403 to ourselves in JSON": says({"message": "no"}, 403),
    "HTML": answers(200, b"<html>", HTML),
    "HTML with 404": answers(404, b"<html>", HTML),
    "no content": answers(204),
    "401 to ourselves in JSON without a body": answers(401, b"", JSON),
    "429 to ourselves": answers(429),
    "429 in JSON that is a text": says("Too Many Requests", 429),
    "408": says({}, 408),
    "about another key": says({"valid": True, "key_sha256": "0" * 64}),
    "not HTTP": lambda service: service.lie(b"SSH-2.0-x\r\n", close=True),
}
# What is that one key's own fault.
ODD: dict[str, Fault] = {
    "400": answers(400),
    "400 in HTML": answers(400, b"<html>", HTML),
    "422": says({"detail": "pattern"}, 422),
    "413": answers(413),
    "404 in JSON": says({"detail": "Not found"}, 404),
    "a name with a blank": says({"valid": True, "consumer": {"username": "Acme "}}),
    "a name that is a list": says({"valid": True, "consumer": {"id": [1]}}),
    "scopes that are a text": says({"valid": True, "scopes": "a b"}),
    "a date that is none": says({"valid": True, "expires_at": "soon"}),
    "valid is a text": says({"valid": "true"}),
    "valid is missing": says({"consumer": {}}),
    "valid, but with 404": says({"valid": True}, 404),
    "no object": says([True]),
    "a member twice": answers(200, b'{"valid": true, "valid": true}', JSON),
    "metadata without end": says({"valid": True, "metadata": json.loads('{"a":' * 60 + "1" + "}" * 60)}),
}


@pytest.fixture
def service() -> LoopbackKeyService:
    with LoopbackKeyService([GOOD]) as running:
        yield running  # type: ignore[misc]  # a generator


def guarded_by(service: LoopbackKeyService, **settings: object) -> Guarded:
    # Long for a machine that is busy with other tests, short for the one fault that takes all of it.
    return Guarded(validator_url=service.url, validator_timeout=1.5, **settings)


@pytest.mark.parametrize("fault", UNREACHABLE.values(), ids=UNREACHABLE)
def test_v02_only_where_it_is_not_reached_a_verdict_serves_stale(
    service: LoopbackKeyService, fault: Fault
) -> None:
    with guarded_by(service) as guarded:
        assert guarded.code() == ALLOWED
        fault(service)
        guarded.clock.advance(TTL_IS_OVER)
        assert [guarded.code() for _ in range(3)] == [ALLOWED] * 3
        assert guarded.code(BAD) == UNAVAILABLE


@pytest.mark.parametrize("fault", ODD.values(), ids=ODD)
def test_v02_an_odd_answer_about_a_key_is_that_keys_own_fault(
    service: LoopbackKeyService, fault: Fault
) -> None:
    with guarded_by(service) as guarded:
        assert guarded.code() == ALLOWED
        fault(service)
        guarded.clock.advance(TTL_IS_OVER)
        calls = service.calls
        assert [guarded.code() for _ in range(5)] == [UNAVAILABLE] * 5
        assert service.calls == calls + 1  # and is not asked about again at once
        service.heal()
        guarded.clock.advance(1.1)
        assert guarded.code() == ALLOWED


def known_lately(guarded: Guarded, service: LoopbackKeyService, number: int) -> list[str]:
    """So many keys that were valid a moment ago."""
    keys = [f"{GOOD}-{n}" for n in range(number)]
    service.keys.update({key: {} for key in keys})
    assert [guarded.code(key) for key in keys] == [ALLOWED] * number
    return keys


@pytest.mark.parametrize("fault", ODD.values(), ids=ODD)
def test_v14_an_odd_answer_opens_nothing_whose_ever_key_it_is_about(
    service: LoopbackKeyService, fault: Fault
) -> None:
    with guarded_by(service) as guarded:
        keys = known_lately(guarded, service, 20)
        fault(service)
        guarded.clock.advance(TTL_IS_OVER)
        for key in keys:
            assert guarded.code(key) == UNAVAILABLE
        assert not guarded.guard.stats()["breaker_open"]


MEANWHILE: dict[str, tuple[Callable[[Guarded], object], tuple[int, str]]] = {
    "nothing": (lambda guarded: None, ALLOWED),
    "its time ends": (lambda guarded: guarded.clock.advance(300), UNAVAILABLE),
    "the key itself ends": (lambda guarded: guarded.clock.advance(100), UNAVAILABLE),
    "it is revoked": (lambda guarded: guarded.guard.revoke(key=GOOD), UNAVAILABLE),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_v11_a_verdict_serves_stale_only_if_it_still_may_when_the_failure_comes(
    service: LoopbackKeyService, meanwhile: str
) -> None:
    happens, expected = MEANWHILE[meanwhile]
    with guarded_by(service) as guarded:
        if meanwhile == "the key itself ends":
            ends = datetime.fromtimestamp(guarded.clock.time() + 150, UTC)
            service.keys[GOOD] = {"expires_at": ends.isoformat()}
        assert guarded.code() == ALLOWED

        def fail(call: LoopbackCall) -> None:
            happens(guarded)
            call.close(reset=True)

        service.behave(fail)
        guarded.clock.advance(TTL_IS_OVER)
        assert guarded.code() == expected


AFTER_THE_KEY_WAS_SENT = {
    name: fault
    for name, fault in UNREACHABLE.items()
    if name not in {"refuses connections", "says nothing", "cuts the answer"}
}


@pytest.mark.parametrize("fault", AFTER_THE_KEY_WAS_SENT.values(), ids=AFTER_THE_KEY_WAS_SENT)
def test_v14_a_hundred_made_up_keys_never_open_the_breaker(service: LoopbackKeyService, fault: Fault) -> None:
    with guarded_by(service) as guarded:
        fault(service)
        for number in range(100):
            assert guarded.code(f"{BAD}-{number}") == UNAVAILABLE
        assert not guarded.guard.stats()["breaker_open"]
        service.heal()
        assert guarded.code() == ALLOWED


def test_v14_made_up_keys_on_which_it_hangs_never_open_the_breaker(service: LoopbackKeyService) -> None:
    with guarded_by(service) as guarded:
        service.hang()
        codes = at_once([lambda n=n: guarded.code(f"{BAD}-{n}") for n in range(16)])  # type: ignore[misc]  # bound early
        assert codes == [UNAVAILABLE] * 16
        assert not guarded.guard.stats()["breaker_open"]


@pytest.mark.parametrize("fault", UNREACHABLE.values(), ids=UNREACHABLE)
def test_d03_an_outage_that_keys_valid_lately_meet_opens_the_breaker(
    service: LoopbackKeyService, fault: Fault
) -> None:
    with guarded_by(service) as guarded:
        keys = known_lately(guarded, service, 12)
        fault(service)
        guarded.clock.advance(TTL_IS_OVER)
        assert at_once([lambda key=key: guarded.code(key) for key in keys]) == [ALLOWED] * 12  # type: ignore[misc]  # bound early
        assert guarded.guard.stats()["breaker_open"]
        calls = service.calls
        assert [guarded.code(key) for key in keys] == [ALLOWED] * 12
        assert service.calls == calls
        service.heal()
        guarded.clock.advance(1.6)
        guarded.code(keys[0])
        settle(guarded.guard)
        assert not guarded.guard.stats()["breaker_open"]


def test_v20_on_a_cold_start_nobody_is_asked_in_vain_for_long(service: LoopbackKeyService) -> None:
    """No key is known yet: that there is no connection is no caller's doing."""
    with guarded_by(service) as guarded:
        service.refuse()
        for number in range(10):
            assert guarded.code(f"{BAD}-{number}") == UNAVAILABLE
        assert guarded.guard.stats()["breaker_open"]
        service.heal()
        guarded.clock.advance(1.6)
        assert guarded.code() == ALLOWED
        assert not guarded.guard.stats()["breaker_open"]


def test_d11_where_no_descriptor_is_left_that_is_an_overload_of_our_own(
    service: LoopbackKeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers can hold all descriptors: with them nobody opens a breaker or keeps a revoked key alive."""

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with guarded_by(service) as guarded:
        keys = known_lately(guarded, service, 12)
        service.heal()
        guarded.clock.advance(TTL_IS_OVER)
        service.refuse()  # ends the connections that are kept
        with monkeypatch.context() as patch:
            patch.setattr(dial.socket, "socket", none_left)
            assert {guarded.code(key) for key in keys} == {OVERLOADED}
            assert {guarded.code(f"{BAD}-{number}") for number in range(12)} == {OVERLOADED}
        assert not guarded.guard.stats()["breaker_open"]


def test_v14_one_customers_key_on_which_it_stumbles_is_one_key(service: LoopbackKeyService) -> None:
    def stumble(call: LoopbackCall) -> None:
        call.send(http_answer(500) if GOOD.encode() in call.request else call.answer)

    with guarded_by(service, stale_if_error=0) as guarded:
        assert guarded.code() == ALLOWED
        service.behave(stumble)
        guarded.clock.advance(TTL_IS_OVER)
        for _ in range(50):
            assert guarded.code() == UNAVAILABLE
        assert not guarded.guard.stats()["breaker_open"]


# -- hooks -----------------------------------------------------------------------------------------

HOOKS: dict[str, tuple[object, tuple[int, str], tuple[int, str]]] = {
    # what it does: for a key never seen, for one whose verdict is stale
    "raises OSError": (OSError("down"), UNAVAILABLE, ALLOWED),
    "raises ValueError": (ValueError("x"), UNAVAILABLE, ALLOWED),
    "raises SystemExit": (SystemExit(), UNAVAILABLE, ALLOWED),
    "says unavailable": (KeyServiceUnavailable("connect"), UNAVAILABLE, ALLOWED),
    "says unusable": (UnusableAnswer("content"), UNAVAILABLE, UNAVAILABLE),
    "says overloaded": (Overloaded("no_slot"), OVERLOADED, OVERLOADED),
    "says rate limited": (RateLimited(7), LIMITED, LIMITED),
    "returns None": (None, UNAVAILABLE, UNAVAILABLE),
    "returns a dict": ({"valid": True}, UNAVAILABLE, UNAVAILABLE),
    "returns metadata that are none": (
        Verdict(valid=True, consumer=Consumer(metadata=[1])),  # type: ignore[arg-type]  # wrong on purpose
        UNAVAILABLE,
        UNAVAILABLE,
    ),
    "returns a ttl that is none": (Verdict(valid=True, ttl="9"), UNAVAILABLE, UNAVAILABLE),  # type: ignore[arg-type]  # the same
    "returns an end that is none": (Verdict(valid=True, expires_at=b"9"), UNAVAILABLE, UNAVAILABLE),  # type: ignore[arg-type]  # the same
    "returns what cannot be copied": (
        Verdict(valid=True, consumer=Consumer(metadata={"a": threading.Lock()})),
        UNAVAILABLE,
        UNAVAILABLE,
    ),
    "returns invalid": (Verdict.invalid(), INVALID, INVALID),
}


@pytest.mark.parametrize("in_pool", [False, True], ids=["in the caller's thread", "in the pool"])
@pytest.mark.parametrize(("does", "unseen", "stale"), HOOKS.values(), ids=HOOKS)
def test_v02_what_a_hook_does_is_classified_the_same(
    does: object, unseen: tuple[int, str], stale: tuple[int, str], in_pool: bool
) -> None:
    broken = False

    def key_service(credential: Credential) -> Verdict:
        if not broken:
            return Verdict(valid=True)
        if isinstance(does, BaseException):
            raise does
        return does  # type: ignore[return-value]  # wrong on purpose

    with Guarded(key_service=key_service, key_service_in_pool=in_pool) as guarded:
        assert guarded.code() == ALLOWED
        broken = True
        guarded.clock.advance(TTL_IS_OVER)
        assert guarded.code() == stale
        assert guarded.code(BAD) == unseen
        assert guarded.guard.stats()["verifications_under_way"] == 0


# -- a revoked key ends when the docs say ----------------------------------------------------------


def decided_async(guarded: Guarded) -> tuple[bool, str]:
    environ: dict[str, object] = {"REQUEST_METHOD": "GET", "HTTP_APIKEY": GOOD}
    decision = asyncio.run(guarded.guard.check_async(environ, "/"))
    return decision.allowed, str(getattr(decision, "freshness", ""))


def test_v11_on_an_event_loop_it_is_the_same() -> None:
    with (
        LoopbackKeyService([GOOD]) as service,
        Guarded(validator_url=service.url, validator_timeout=1) as guarded,
    ):
        assert decided_async(guarded) == (True, "miss")
        guarded.clock.advance(TTL_IS_OVER)
        service.hang()
        started = time.monotonic()
        assert decided_async(guarded) == (True, "stale")
        once = time.monotonic() - started
        assert 0.9 < once < 1 + 1.0  # promised: one deadline
        started = time.monotonic()
        assert decided_async(guarded) == (True, "stale")
        assert time.monotonic() - started < once
        settle(guarded.guard)  # the verification behind that fails as well, and is rested after
        service.keys.clear()
        service.slow(0.4)
        guarded.clock.advance(1.1)
        decided_async(guarded)  # at once, with a verification behind it
        settle(guarded.guard)
        assert decided_async(guarded)[0] is False


@pytest.mark.parametrize("cache_ttl", [60.0, 0.0], ids=["ttl", "no ttl"])
def test_v11_a_slow_answer_is_waited_for(cache_ttl: float) -> None:
    with (
        LoopbackKeyService([GOOD]) as service,
        Guarded(validator_url=service.url, cache_ttl=cache_ttl) as guarded,
    ):
        assert guarded.code() == ALLOWED
        service.keys.clear()
        service.slow(0.4)
        guarded.clock.advance(TTL_IS_OVER)
        assert guarded.code() == INVALID


def test_v11_a_full_queue_lets_nothing_serve_stale() -> None:
    """The one place is taken by a caller of our own making; the key service is up."""
    with Guarded(validator_max_concurrency=1, validator_timeout=0.3) as guarded:
        assert guarded.code() == ALLOWED
        guarded.clock.advance(TTL_IS_OVER)
        guarded.keys.revoke(GOOD)
        guarded.keys.hold()
        threading.Thread(target=guarded.code, args=(f"{BAD}-first",), daemon=True).start()
        guarded.keys.wait_for_calls(2)
        assert [guarded.code() for _ in range(2)] == [OVERLOADED] * 2
        guarded.keys.release()
        settle(guarded.guard)
        assert guarded.code() == INVALID


def test_v11_made_up_keys_do_not_keep_a_revoked_one_alive() -> None:
    with Guarded(validator_timeout=0.4) as guarded:
        assert guarded.code() == ALLOWED
        guarded.clock.advance(TTL_IS_OVER)
        guarded.keys.revoke(GOOD)
        guarded.keys.hold()
        flood = [
            threading.Thread(target=guarded.code, args=(f"{BAD}-{number}",), daemon=True)
            for number in range(100)
        ]
        for thread in flood:
            thread.start()
        guarded.keys.wait_for_calls(1 + 14)  # two of 16 slots are kept for keys that were valid lately
        decided: list[tuple[int, str]] = []
        asking = threading.Thread(target=lambda: decided.append(guarded.code()))
        asking.start()
        guarded.keys.wait_for_calls(1 + 14 + 1)
        guarded.keys.release()
        asking.join(10)
        assert decided == [INVALID]
        for thread in flood:
            thread.join(10)


def test_v11_behind_a_stale_answer_a_verification_runs_that_ends_it() -> None:
    with Guarded() as guarded:
        assert guarded.code() == ALLOWED
        guarded.clock.advance(TTL_IS_OVER)
        guarded.keys.fail()
        assert guarded.code() == ALLOWED  # it was asked, in vain
        guarded.keys.heal()
        guarded.keys.revoke(GOOD)
        guarded.clock.advance(1.1)
        assert guarded.code() == ALLOWED  # at once, with a verification behind it
        settle(guarded.guard)
        assert guarded.code() == INVALID


def test_a_service_that_hangs_costs_a_stale_key_one_deadline_once() -> None:
    with Guarded(validator_timeout=0.3) as guarded:
        assert guarded.code() == ALLOWED
        guarded.clock.advance(TTL_IS_OVER)
        guarded.keys.hold()
        started = time.monotonic()
        assert guarded.code() == ALLOWED
        once = time.monotonic() - started
        assert 0.29 <= once < 0.3 + 1.0  # promised: one deadline
        started = time.monotonic()
        for _ in range(20):
            assert guarded.code() == ALLOWED
        assert time.monotonic() - started < 20 * 0.3


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_slots_are_free_again_after_every_kind_of_end(concurrency: int) -> None:
    keys = FakeKeyService([GOOD])
    with Guarded(keys, validator_max_concurrency=concurrency) as guarded:
        for error in (
            KeyServiceUnavailable("timeout"),
            RateLimited(),
            UnusableAnswer("content"),
            OSError(),
            SystemExit(),
        ):
            keys.fail(error)  # type: ignore[arg-type]  # SystemExit is no Exception
            for number in range(3):
                guarded.code(f"{BAD}-{number}-{type(error).__name__}")
        keys.heal()
        assert guarded.code() == ALLOWED
        assert guarded.guard.stats()["verifications_under_way"] == 0
