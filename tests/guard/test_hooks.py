"""Where a hook is asked: by the caller who came first, on his event loop, or in the pool."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from apikey_guard import Consumer, Credential, Guard, Verdict
from apikey_guard.testing import ManualClock
from tests.harness.guarded import BAD, GOOD, at_once, settle

VALID = Verdict(valid=True, consumer=Consumer(id="1"))
Hook = Callable[[Credential], Any]


def environ(key: str = GOOD) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "HTTP_APIKEY": key}


class Seen:
    """Hooks that write down where they are asked."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.loops: list[object] = []

    def plain(self, credential: Credential) -> Verdict:
        self.threads.append(threading.current_thread())
        return VALID

    async def awaited(self, credential: Credential) -> Verdict:
        self.threads.append(threading.current_thread())
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return VALID

    @property
    def where(self) -> str:
        (thread,) = self.threads
        return "caller" if thread is threading.current_thread() else thread.name


class Both:
    """An object with a way of its own for event loops."""

    def __init__(self, seen: Seen) -> None:
        self.verify, self.verify_async = seen.plain, seen.awaited

    def close(self) -> None: ...


class WithCall:
    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    async def __call__(self, credential: Credential) -> Verdict:
        return await self._hook(credential)  # type: ignore[no-any-return]  # a verdict


HOOKS: dict[str, tuple[Callable[[Seen], Any], dict[str, Any], str, str]] = {
    # the hook, the settings, where a thread asks it, where an event loop does
    "plain": (lambda seen: seen.plain, {}, "caller", "apikey-guard"),
    "plain, in the pool": (
        lambda seen: seen.plain,
        {"key_service_in_pool": True},
        "apikey-guard",
        "apikey-guard",
    ),
    "async": (lambda seen: seen.awaited, {}, "apikey-guard-loop", "caller"),
    "async, partial": (lambda seen: functools.partial(seen.awaited), {}, "apikey-guard-loop", "caller"),
    "async, an object": (lambda seen: WithCall(seen.awaited), {}, "apikey-guard-loop", "caller"),
    "async, in the pool": (
        lambda seen: seen.awaited,
        {"key_service_in_pool": True},
        "apikey-guard-loop",
        "apikey-guard-loop",
    ),
    "both": (Both, {}, "caller", "caller"),
}


@pytest.mark.parametrize(("make", "settings", "in_thread", "on_loop"), HOOKS.values(), ids=HOOKS)
def test_where_a_hook_is_asked(
    make: Callable[[Seen], Any], settings: dict[str, Any], in_thread: str, on_loop: str
) -> None:
    for expected, ask in ((in_thread, check), (on_loop, check_on_a_loop)):
        seen = Seen()
        with Guard(key_service=make(seen), **settings) as guard:
            assert ask(guard)
            assert seen.where == expected
            assert guard.stats()["verifications_under_way"] == 0


def check(guard: Guard, key: str = GOOD) -> bool:
    return guard.check(environ(key), "/").allowed


def check_on_a_loop(guard: Guard, key: str = GOOD) -> bool:
    async def main() -> bool:
        return (await guard.check_async(environ(key), "/")).allowed

    return asyncio.run(main())


@pytest.mark.parametrize("mode", ["refresh", "monitor"])
def test_nobody_waits_for_a_hook_that_is_asked_in_the_background(mode: str) -> None:
    seen, clock = Seen(), ManualClock()
    with Guard(
        key_service=seen.plain, clock=clock, mode="monitor" if mode == "monitor" else "enforce"
    ) as guard:
        check(guard)
        if mode == "refresh":
            clock.advance(59.9)
            check(guard)
        settle(guard)
        assert seen.threads[-1].name == "apikey-guard"


def test_d02_one_call_for_a_key_though_many_callers_could_make_it() -> None:
    asked: list[str] = []
    gate = threading.Event()

    def hook(credential: Credential) -> Verdict:
        asked.append(threading.current_thread().name)
        gate.wait(10)
        return VALID

    with Guard(key_service=hook, validator_timeout=10) as guard:
        answers: list[bool] = []
        callers = threading.Thread(target=lambda: answers.extend(at_once([lambda: check(guard)] * 20)))
        callers.start()
        while not asked:
            time.sleep(0.001)
        gate.set()
        callers.join(20)
        assert answers == [True] * 20
        assert len(asked) == 1


def test_d03_no_more_at_once_than_there_are_slots() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def hook(credential: Credential) -> Verdict:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return VALID

    with Guard(key_service=hook, validator_max_concurrency=3, validator_timeout=10) as guard:
        keys = [f"{GOOD}-{number}" for number in range(20)]
        assert at_once([lambda key=key: check(guard, key) for key in keys]) == [True] * 20  # type: ignore[misc]  # bound early
        assert most <= 3


def test_d03_a_hook_that_hangs_holds_its_caller_and_others_wait_one_deadline() -> None:
    gate, begun = threading.Event(), threading.Event()

    def hook(credential: Credential) -> Verdict:
        begun.set()
        gate.wait(10)
        return VALID

    with Guard(key_service=hook, validator_timeout=0.2) as guard:
        first: list[bool] = []
        holder = threading.Thread(target=lambda: first.append(check(guard)))
        holder.start()
        begun.wait(10)
        started = time.monotonic()
        assert not check(guard)
        assert time.monotonic() - started < 0.2 + 1.0  # promised: one deadline
        gate.set()
        holder.join(10)
        assert first == [True]  # it came late, and is an answer all the same
        assert check(guard)


def test_d03_an_async_hook_that_hangs_is_cancelled_at_its_deadline() -> None:
    ended: list[str] = []

    async def hook(credential: Credential) -> Verdict:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return VALID

    async def main(guard: Guard) -> None:
        assert not (await guard.check_async(environ(), "/")).allowed
        await asyncio.sleep(0.1)

    with Guard(key_service=hook, validator_timeout=0.2) as guard:
        asyncio.run(main(guard))
        assert ended == ["cancelled"]
        assert guard.stats()["verifications_under_way"] == 0


def test_a_caller_who_is_cancelled_takes_nothing_away_from_the_others() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def hook(credential: Credential) -> Verdict:
            await gate.wait()
            return VALID

        with Guard(key_service=hook) as guard:
            first = asyncio.create_task(guard.check_async(environ(), "/"))
            await asyncio.sleep(0)
            second = asyncio.create_task(guard.check_async(environ(), "/"))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            gate.set()
            assert (await second).allowed

    asyncio.run(main())


def test_c07_a_loop_that_ends_under_a_hook_leaves_nothing_behind() -> None:
    async def hook(credential: Credential) -> Verdict:
        await asyncio.sleep(60)
        return VALID

    async def main(guard: Guard) -> None:
        task = asyncio.create_task(guard.check_async(environ(), "/"))
        await asyncio.sleep(0.01)
        assert not task.done()

    with Guard(key_service=hook, validator_max_concurrency=1) as guard:
        for _ in range(3):
            asyncio.run(main(guard))
            assert guard.stats()["verifications_under_way"] == 0


def test_c07_a_loop_that_ends_before_a_hook_began_leaves_its_place_to_others() -> None:
    async def hook(credential: Credential) -> Verdict:
        return VALID

    async def main(guard: Guard, key: str) -> None:
        # Ends, and the loop with it, before the caller is on his second step.
        caller = asyncio.create_task(guard.check_async(environ(key), "/"))
        assert not caller.done()

    with Guard(key_service=hook, validator_max_concurrency=1) as guard:
        for number in range(3):
            asyncio.run(main(guard, f"{GOOD}-{number}"))
        assert asyncio.run(guard.check_async(environ(), "/")).allowed
        settle(guard)


@pytest.mark.parametrize("way", ["thread", "loop"])
def test_c07_a_loop_that_is_closed_under_a_hook_leaves_its_place_to_others(way: str) -> None:
    hangs = True

    async def hook(credential: Credential) -> Verdict:
        if hangs:
            await asyncio.Event().wait()
        return VALID

    handed_in: list[dict[str, Any]] = []
    with Guard(key_service=hook, validator_max_concurrency=1) as guard:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: handed_in.append(context))
        caller = loop.create_task(guard.check_async(environ(f"{GOOD}-hangs"), "/"))
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0))
        caller.cancel()
        loop.run_until_complete(asyncio.wait([caller]))
        loop.close()  # nobody ends the task of the hook
        hangs = False
        if way == "thread":
            assert check(guard)
        else:
            assert asyncio.run(guard.check_async(environ(), "/")).allowed
        assert guard.stats()["verifications_under_way"] == 0
    # Python's own remark about such a loop: there is nothing else to be told.
    assert {context["message"] for context in handed_in} <= {"Task was destroyed but it is pending!"}


# -- what is counted is uncounted (threat C-07) ----------------------------------------------------


@pytest.mark.parametrize("failing", [1, 5])
def test_c07_where_no_thread_can_be_started_the_caller_is_told_and_nothing_is_counted(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = threading.Thread.start, [failing]

    def start(self: threading.Thread) -> None:
        if self.name == "apikey-guard" and left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        real(self)

    with Guard(key_service=lambda credential: VALID, key_service_in_pool=True) as guard:
        monkeypatch.setattr(threading.Thread, "start", start)
        for number in range(failing):
            decision = guard.check(environ(f"{BAD}-{number}"), "/")
            assert str(decision.reason) == "overloaded"
        stats = guard.stats()
        assert (stats["verification_threads"], stats["verifications_under_way"]) == (0, 0)
        assert check(guard)
        assert guard.stats()["verification_threads"] == 1


def test_c07_where_no_thread_can_be_started_a_hit_is_served() -> None:
    clock = ManualClock()
    with Guard(key_service=lambda credential: VALID, clock=clock) as guard:
        assert check(guard)
        clock.advance(59.9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse)
            assert check(guard)
            assert check(guard)
        assert guard.stats()["verifications_under_way"] == 0


def test_c07_where_no_thread_can_be_started_for_a_loop_the_caller_is_told() -> None:
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name == "apikey-guard-loop":
            raise RuntimeError("can't start new thread")
        real(self)

    with Guard(key_service=Seen().awaited) as guard:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert str(guard.check(environ(BAD), "/").reason) == "overloaded"
        assert check(guard)
        assert guard.stats()["verifications_under_way"] == 0


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit], ids=lambda e: e.__name__)
def test_c07_an_async_hook_that_is_ended_inside_does_not_end_the_loop_of_the_others(
    error: type[BaseException],
) -> None:
    async def hook(credential: Credential) -> Verdict:
        if credential.value.startswith(BAD):
            raise error
        return VALID

    with Guard(key_service=hook) as guard:
        for number in range(3):
            decision = guard.check(environ(f"{BAD}-{number}"), "/")
            assert str(decision.reason) == "key_service_unavailable"
            assert check(guard)
            guard.revoke(everything=True)


def _refuse(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("in_pool", [False, True], ids=["caller", "pool"])
@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError], ids=lambda e: e.__name__
)
def test_c07_a_hook_that_is_ended_inside_gives_its_place_back(
    error: type[BaseException], in_pool: bool
) -> None:
    broken = True

    def hook(credential: Credential) -> Verdict:
        if broken:
            raise error
        return VALID

    with Guard(key_service=hook, key_service_in_pool=in_pool, validator_max_concurrency=1) as guard:
        for number in range(3):
            with suppress(KeyboardInterrupt):  # it ends the caller, too, where it is raised in his thread
                assert not check(guard, f"{BAD}-{number}")
        settle(guard)
        broken = False
        assert check(guard)
        assert guard.stats()["verifications_under_way"] == 0


def test_c07_a_caller_who_is_ended_while_he_waits_for_a_place_leaves_it_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from concurrent.futures import Future

    class Ended(BaseException):
        pass

    real = Future.exception

    def ended(self: Future[Any], timeout: float | None = None) -> BaseException | None:
        monkeypatch.setattr(Future, "exception", real)
        raise Ended

    with Guard(key_service=lambda credential: VALID, validator_max_concurrency=1) as guard:
        monkeypatch.setattr(Future, "exception", ended)
        with pytest.raises(Ended):
            check(guard)
        settle(guard)
        assert check(guard)  # what he began was answered, by the pool
        assert check(guard, f"{GOOD}-2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_c02_a_fork_under_a_hook_leaves_the_child_all_its_slots() -> None:
    gate, begun = threading.Event(), threading.Event()
    parent = os.getpid()

    def hook(credential: Credential) -> Verdict:
        if os.getpid() == parent:
            begun.set()
            gate.wait(10)
        return VALID

    with Guard(key_service=hook, validator_max_concurrency=1) as guard:
        holder = threading.Thread(target=check, args=(guard,))
        holder.start()
        begun.wait(10)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                under_way = guard.stats()["verifications_under_way"]
                status = 0 if under_way == 0 and check(guard) and check(guard, f"{GOOD}-2") else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gate.set()
        holder.join(10)


def test_c10_what_another_thread_drops_is_a_miss_and_never_a_fault() -> None:
    stop, faults = threading.Event(), []
    with Guard(key_service=lambda credential: VALID, cache_max_entries=64) as guard:

        def drop() -> None:
            while not stop.is_set():
                guard.revoke(everything=True)
                guard.revoke(consumer="1")

        def read(number: int) -> None:
            for step in range(1500):
                decision = guard.check(environ(f"{GOOD}-{(number + step) % 100}"), "/")
                if not decision.allowed:
                    faults.append(decision.reason)

        dropping = threading.Thread(target=drop)
        dropping.start()
        at_once([lambda n=n: read(n) for n in range(4)], timeout=120)  # type: ignore[misc]  # bound early
        stop.set()
        dropping.join(10)
    assert faults == []


@pytest.mark.parametrize("where", ["scopes", "metadata", "nested"])
def test_c09_what_a_hook_still_holds_changes_nothing(where: str) -> None:
    scopes, plan = {"read"}, {"plan": "gold", "limits": [1]}
    verdict = Verdict(valid=True, consumer=Consumer(id="1", scopes=scopes, metadata=plan))  # type: ignore[arg-type]  # a set, as hooks give
    with Guard(key_service=lambda credential: verdict) as guard:
        assert check(guard)
        if where == "scopes":
            scopes.add("admin")
        elif where == "metadata":
            plan["plan"] = "platinum"
        else:
            plan["limits"].append(2)  # type: ignore[attr-defined]  # a list
        decision = guard.check(environ(), "/")
        assert decision.consumer == Consumer(
            id="1", scopes=frozenset({"read"}), metadata={"plan": "gold", "limits": [1]}
        )
