"""What all workers share is asked before the key service, where the verification runs, and never felt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from apikey_guard import Consumer, Credential, Guard, KeyServiceUnavailable, SettingsError, Verdict
from apikey_guard.core.level_two import SharedVerdict
from apikey_guard.testing import FakeKeyService, ManualClock
from tests.harness.guarded import settle
from tests.harness.shared import InMemory

GOOD, BAD = "KCANARY-good-0123456789", "KCANARY-bad-0123456789"


class Workers:
    """Two guards, as two workers have them: one clock, one level two, a key service each."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.shared = InMemory(self.clock)
        self.services = [self.service() for _ in range(2)]
        self.guards = [self.guard(service) for service in self.services]

    @staticmethod
    def service() -> FakeKeyService:
        return FakeKeyService({GOOD: Consumer(id="1", username="acme", scopes=frozenset({"read"}))})

    def guard(self, service: object, **settings: object) -> Guard:
        return Guard(key_service=service, shared_cache=self.shared, clock=self.clock, **settings)  # type: ignore[arg-type]  # a test's own

    def asks(self, worker: int, key: str = GOOD) -> bool:
        return allows(self.guards[worker], key)

    def calls(self) -> list[int]:
        return [service.calls for service in self.services]


def allows(guard: Guard, key: str = GOOD) -> bool:
    return guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": key}, "/").allowed


def allows_async(guard: Guard, key: str = GOOD) -> bool:
    environ: dict[str, object] = {"REQUEST_METHOD": "GET", "HTTP_APIKEY": key}
    return asyncio.run(guard.check_async(environ, "/")).allowed


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    for guard in made.guards:
        guard.close()


@pytest.mark.parametrize("key", [GOOD, BAD], ids=["good", "bad"])
@pytest.mark.parametrize("ask", [allows, allows_async], ids=["sync", "async"])
def test_what_one_worker_was_told_the_other_need_not_ask(
    workers: Workers, key: str, ask: Callable[[Guard, str], bool]
) -> None:
    first, second = workers.guards
    assert ask(first, key) is ask(second, key) is (key == GOOD)
    assert workers.calls() == [1, 0]


def test_an_async_hook_asks_it_too(workers: Workers) -> None:
    class Asked:
        calls = 0

        async def verify(self, credential: Credential) -> Verdict:
            self.calls += 1
            return Verdict(valid=True, consumer=Consumer(id="1"))

    services = [Asked(), Asked()]
    guards = [workers.guard(service) for service in services]
    assert [allows_async(guard) for guard in guards] == [True, True]
    assert [service.calls for service in services] == [1, 0]


def test_a_hit_never_asks_it(workers: Workers) -> None:
    assert workers.asks(0)
    asked = workers.shared.asked
    assert workers.asks(0)
    assert workers.shared.asked == asked


def test_v11_ages_add_up_to_one_ttl_and_no_more(workers: Workers) -> None:
    """The default: 60 seconds, and a refresh in the last fifth of them."""
    assert workers.asks(0)
    workers.clock.advance(40)
    workers.services[0].revoke(GOOD)
    workers.services[1].revoke(GOOD)
    assert workers.asks(1)
    assert workers.calls() == [1, 0]
    workers.clock.advance(20.001)
    assert not workers.asks(1)


@pytest.mark.parametrize("age", [48.0, 59.0], ids=["due for refresh", "nearly over"])
def test_what_is_due_for_refresh_counts_no_more(workers: Workers, age: float) -> None:
    assert workers.asks(0)
    workers.clock.advance(age)
    assert workers.asks(1)
    assert workers.calls() == [1, 1]


@pytest.mark.parametrize(
    ("ends_in", "age"), [(None, 59.9), (10, 9.9)], ids=["by its ttl", "as its credential ends soon"]
)
def test_a_refresh_is_not_answered_by_what_it_refreshes(
    workers: Workers, ends_in: float | None, age: float
) -> None:
    verifies = Counting(None if ends_in is None else workers.clock.time() + ends_in)
    guard = workers.guard(verifies)
    assert allows(guard)
    workers.clock.advance(age)
    assert allows(guard)
    settle(guard)
    assert verifies.calls == 2


class Counting:
    """A key service whose keys all end at one moment, and may live on when it is asked again."""

    def __init__(self, expires_at: float | None) -> None:
        self.expires_at = expires_at
        self.calls = 0

    def __call__(self, credential: Credential) -> Verdict:
        self.calls += 1
        return Verdict(valid=True, consumer=Consumer(id="1"), expires_at=self.expires_at)


@pytest.mark.parametrize("worker", [0, 1], ids=["where it was asked", "where it was shared"])
@pytest.mark.parametrize("age", [10.0, 30.0], ids=["just over", "long over"])
def test_v10_a_credential_that_has_ended_is_valid_nowhere(workers: Workers, worker: int, age: float) -> None:
    service = Counting(workers.clock.time() + 10)
    guards = [workers.guard(service), workers.guard(service)]
    assert allows(guards[0])
    workers.clock.advance(age)
    assert not allows(guards[worker])


def test_v10_one_that_was_prolonged_is_valid_again(workers: Workers) -> None:
    service = Counting(workers.clock.time() + 10)
    guards = [workers.guard(service), workers.guard(service)]
    assert allows(guards[0])
    workers.clock.advance(11)
    service.expires_at = workers.clock.time() + 10
    assert [allows(guard) for guard in guards] == [True, True]
    assert service.calls == 2


@pytest.mark.parametrize("key", [GOOD, BAD], ids=["good", "bad"])
def test_nothing_is_remembered_where_the_ttl_is_zero(workers: Workers, key: str) -> None:
    guard = workers.guard(workers.service(), cache_ttl=0, negative_ttl=0)
    allows(guard, key)
    assert not workers.shared.verdicts


def test_could_not_find_out_is_not_shared(workers: Workers) -> None:
    workers.services[0].fail(KeyServiceUnavailable("connect"))
    assert not workers.asks(0)
    assert not workers.shared.verdicts


def nonsense(worker: Workers, said: object) -> None:
    worker.shared.get = lambda fingerprint: said  # type: ignore[method-assign, assignment, return-value]  # a part that does not keep its word


NONSENSE = {
    "raises": lambda workers: setattr(workers.shared, "failure", OSError("down")),
    "raises a VerificationError": lambda workers: setattr(
        workers.shared, "failure", KeyServiceUnavailable("timeout")
    ),
    "a text": lambda workers: nonsense(workers, "valid"),
    "no verdict": lambda workers: nonsense(workers, SharedVerdict(object(), 0.0)),  # type: ignore[arg-type]  # as said
    "valid is no boolean": lambda workers: nonsense(workers, SharedVerdict(Verdict(valid=1), 0.0)),  # type: ignore[arg-type]  # as said
    "no age": lambda workers: nonsense(workers, SharedVerdict(Verdict(valid=True), "1")),  # type: ignore[arg-type]  # as said
    "age is no number": lambda workers: nonsense(workers, SharedVerdict(Verdict(valid=True), float("nan"))),
    "a name that is no header": lambda workers: nonsense(
        workers, SharedVerdict(Verdict(valid=True, consumer=Consumer(id="a\r\nb")), 0.0)
    ),
}


@pytest.mark.parametrize("breaks", NONSENSE.values(), ids=list(NONSENSE))
@pytest.mark.parametrize("key", [GOOD, BAD], ids=["good", "bad"])
def test_whatever_is_wrong_with_it_it_is_as_if_there_were_none(
    workers: Workers, breaks: Callable[[Workers], None], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    breaks(workers)
    assert workers.asks(0, key) is (key == GOOD)
    assert workers.calls() == [1, 0]
    assert key not in caplog.text
    said = [record.getMessage() for record in caplog.records if "shared_cache" in record.getMessage()]
    assert len(said) <= 1


def test_an_age_below_nothing_makes_no_verdict_younger_than_new(workers: Workers) -> None:
    nonsense(workers, SharedVerdict(Verdict(valid=True), -1_000.0))
    assert workers.asks(0, BAD)
    workers.clock.advance(60.001)
    nonsense(workers, None)
    assert not workers.asks(0, BAD)


def open_breaker(workers: Workers, worker: int) -> None:
    workers.services[worker].fail(KeyServiceUnavailable("connect"))
    for number in range(12):
        workers.asks(worker, f"KCANARY-made-up-{number}")
    assert workers.guards[worker].stats()["breaker_open"]


def test_v14_an_open_breaker_refuses_no_answer_that_is_shared(workers: Workers) -> None:
    open_breaker(workers, 1)
    assert workers.asks(0)
    assert workers.asks(1)
    assert workers.guards[1].stats()["breaker_open"], "a shared answer says nothing about the key service"
    calls = workers.calls()
    assert not workers.asks(1, "KCANARY-unknown")
    assert workers.calls() == calls, "what nobody shares is asked of nobody while it is open"


def test_v11_while_the_breaker_is_open_a_stale_verdict_serves(workers: Workers) -> None:
    assert workers.asks(1)
    workers.clock.advance(61)
    open_breaker(workers, 1)
    assert workers.asks(1)


REVOKE = {
    "key": lambda guard: guard.revoke(key=GOOD),
    "consumer": lambda guard: guard.revoke(consumer="acme"),
    "everything": lambda guard: guard.revoke(everything=True),
}


@pytest.mark.parametrize("revoke", REVOKE.values(), ids=list(REVOKE))
def test_v11_what_is_revoked_comes_back_from_nowhere(
    workers: Workers, revoke: Callable[[Guard], int]
) -> None:
    assert workers.asks(0)
    for service in workers.services:
        service.revoke(GOOD)
    assert revoke(workers.guards[0]) == 1
    assert not workers.asks(0)
    assert not workers.asks(1)


def test_v11_a_revocation_that_did_not_arrive_is_an_error(workers: Workers) -> None:
    assert workers.asks(0)
    workers.shared.failure = OSError("down")
    with pytest.raises(OSError, match="down"):
        workers.guards[0].revoke(key=GOOD)


def test_v11_an_answer_that_was_on_its_way_when_its_key_was_revoked_is_not_shared(workers: Workers) -> None:
    service = workers.services[0]
    service.hold()
    asking = threading.Thread(target=workers.asks, args=(0,))
    asking.start()
    service.wait_for_calls(1)
    workers.guards[0].revoke(key=GOOD)
    service.release()
    asking.join()
    settle(workers.guards[0])
    assert not workers.shared.verdicts


@pytest.mark.parametrize("given", [1, "redis://localhost", InMemory], ids=["number", "a text", "a class"])
def test_only_what_can_be_asked_is_taken(given: object) -> None:
    with pytest.raises(SettingsError, match="shared_cache"):
        Guard(key_service=FakeKeyService(), shared_cache=given)  # type: ignore[arg-type]  # as said
