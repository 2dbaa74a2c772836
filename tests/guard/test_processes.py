"""Threads, forks, greenlets of others, and the WSGI protocol itself (threats C)."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from apikey_guard import Consumer, Credential, GuardMiddleware, Route, Verdict
from apikey_guard.testing import FakeKeyService
from tests.harness.guarded import BAD, GOOD, Guarded, at_once
from tests.harness.recorder import Recorder
from tests.harness.wsgi import build_environ, call

ALLOWED = (200, "")
PATH = "/"


def in_child(work: Callable[[], bool], *, timeout: float = 20.0) -> Callable[[], bool]:
    """Fork; the returned function waits for the child and says whether ``work`` was true there."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 3)
        finally:
            os._exit(4)

    def joined() -> bool:
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            pause.wait(0.005)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise AssertionError("the child hangs")

    return joined


def decided(guarded: Guarded, key: str) -> bool:
    decision = guarded.guard.check(build_environ(headers=[("apikey", key)]), PATH)
    return decision.allowed


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_c01_children_of_a_warm_parent_decide_for_themselves() -> None:
    keys = FakeKeyService([f"{GOOD}-{number}" for number in range(200)])
    with Guarded(keys) as guarded:
        assert decided(guarded, f"{GOOD}-0")

        def work() -> bool:
            # FakeKeyService's own lock is free here: nothing was under way when the fork happened.
            good = all(decided(guarded, f"{GOOD}-{number}") for number in range(200))
            bad = any(decided(guarded, f"{BAD}-{number}") for number in range(200))
            return good and not bad

        children = [in_child(work) for _ in range(4)]
        assert [joined() for joined in children] == [True] * 4
        assert decided(guarded, f"{GOOD}-1")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_c02_locks_held_during_a_fork_do_not_stay_locked() -> None:
    verdict = Verdict(valid=True)
    with Guarded(key_service=lambda credential: verdict) as guarded:
        stop = threading.Event()

        def hammer(name: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                decided(guarded, f"{GOOD}-{name}-{number}")

        threads = [threading.Thread(target=hammer, args=(name,), daemon=True) for name in range(3)]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(25):
                assert in_child(lambda key=f"{GOOD}-child-{round_}": decided(guarded, key))()  # type: ignore[misc]  # bound early
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_c02_a_verification_under_way_in_the_parent_does_not_hold_up_the_child() -> None:
    release = threading.Event()
    parent = os.getpid()

    def key_service(credential: Credential) -> Verdict:
        if os.getpid() == parent:
            release.wait(20)
        return Verdict(valid=True)

    with Guarded(key_service=key_service) as guarded:
        waiting = threading.Thread(target=decided, args=(guarded, GOOD))
        waiting.start()
        pause = threading.Event()
        while not guarded.guard.stats()["verifications_under_way"]:
            pause.wait(0.002)
        assert in_child(lambda: decided(guarded, GOOD))()
        release.set()
        waiting.join(10)


def test_c02_without_a_fork_hook_the_process_id_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    with Guarded() as guarded:
        guarded.status()
        assert guarded.guard.stats()["verifications"] == 1
        # As a child of uWSGI finds it: what there is, is another process's, and no hook ran.
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert guarded.status(f"{BAD}-1") == 401
        assert guarded.guard.stats()["verifications"] == 1
        monkeypatch.undo()
        assert guarded.guard.stats()["verifications"] == 0


def test_c01_construction_makes_no_thread_and_opens_nothing() -> None:
    # In a process of its own: in this one, threads and files of other tests come and go.
    program = """
        import os, threading
        from apikey_guard import GuardMiddleware

        def held():
            # The directory that is being listed has a number of its own, which is free again afterwards.
            return threading.enumerate(), sorted(os.listdir("/proc/self/fd"))

        before = held()
        app = GuardMiddleware(lambda environ, start_response: [], validator_url="https://keys.example.com/verify")
        assert held() == before, (before, held())
        app.guard.close()
        assert held() == before, (before, held())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_c03_64_threads_get_their_own_consumers() -> None:
    def key_service(credential: Credential) -> Verdict:
        return Verdict(valid=True, consumer=Consumer(id=f"id-{credential.value[-5:]}"))

    with Guarded(key_service=key_service, cache_ttl=0, stale_if_error=0) as guarded:

        def many(number: int) -> bool:
            for round_ in range(20):
                environ = build_environ(headers=[("apikey", f"{GOOD}-{number:02}-{round_:02}")])
                guarded.guard.check(environ, PATH)
                if environ["HTTP_X_CONSUMER_ID"] != f"id-{number:02}-{round_:02}":
                    return False
            return True

        assert all(at_once([lambda number=number: many(number) for number in range(64)]))  # type: ignore[misc]  # bound early


def test_c05_nothing_of_a_request_is_left_for_the_next_on_its_thread() -> None:
    with Guarded(routes=[Route("/open", access="public"), Route("/either", access="optional")]) as guarded:
        guarded.status()
        for path in ("/open", "/either"):
            guarded.status(None, path)
            assert guarded.app.seen[-1].environ["apikey_guard.consumer"] is None
            assert guarded.app.seen[-1].header("X-Consumer-ID") is None


def test_c05_planted_environ_keys_do_not_survive() -> None:
    with Guarded(routes=[Route("/open", access="public")]) as guarded:
        extra = {"apikey_guard.consumer": Consumer(id="planted")}
        call(guarded.wsgi, build_environ("/open", extra=extra))
        assert guarded.app.seen[-1].environ["apikey_guard.consumer"] is None


# -- C-06: the WSGI protocol -----------------------------------------------------------------------


def test_c06_the_apps_iterable_is_returned_untouched() -> None:
    answer = [b"one", b"", b"two"]

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return answer

    middleware = GuardMiddleware(app, key_service=FakeKeyService([GOOD]))
    with middleware.guard:
        environ = build_environ(headers=[("apikey", GOOD)])
        assert middleware(environ, lambda status, headers, exc_info=None: lambda data: None) is answer


def test_c06_the_write_callable_works() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
        return [b"and returned"]

    middleware = GuardMiddleware(app, key_service=FakeKeyService([GOOD]))
    with middleware.guard:
        assert call(middleware, build_environ(headers=[("apikey", GOOD)])).body == b"written and returned"


@pytest.mark.parametrize("raise_after", [0, 1])
def test_c06_the_apps_own_exceptions_pass_untouched(raise_after: int) -> None:
    error = RuntimeError("the app's own")
    with Guarded() as guarded:
        guarded.app.raises, guarded.app.raise_after = error, raise_after
        with pytest.raises(RuntimeError) as caught:
            guarded.get()
        assert caught.value is error


def test_c06_close_is_called_once_by_the_server_alone() -> None:
    with Guarded() as guarded:
        guarded.get()
        assert guarded.app.closed == 1


def test_c06_head_gets_the_headers_of_a_rejection_without_its_body() -> None:
    with Guarded() as guarded:
        full, head = guarded.get(None), guarded.get(None, method="HEAD")
    assert head.body == b""
    assert head.headers == full.headers
    assert (head.status, int(head.header("Content-Length") or 0)) == (401, len(full.body))


def test_c06_werkzeugs_lint_finds_nothing() -> None:
    from werkzeug.middleware.lint import LintMiddleware
    from werkzeug.test import Client

    with Guarded() as guarded:
        client = Client(LintMiddleware(guarded.wsgi))
        assert client.get("/").status_code == 401
        assert client.get("/", headers={"apikey": GOOD}).status_code == 200


# -- async -----------------------------------------------------------------------------------------


def test_c07_a_cancelled_caller_takes_nothing_away_from_the_others() -> None:
    async def story(guarded: Guarded) -> list[bool]:
        def ask() -> Any:
            return guarded.guard.check_async(build_environ(headers=[("apikey", GOOD)]), PATH)

        guarded.keys.hold()
        first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
        await asyncio.to_thread(guarded.keys.wait_for_calls, 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        guarded.keys.release()
        return [(await second).allowed, (await ask()).allowed]

    with Guarded() as guarded:
        assert asyncio.run(story(guarded)) == [True, True]
        assert guarded.keys.calls == 1


def test_async_callers_do_not_block_the_loop_and_share_one_call() -> None:
    async def story(guarded: Guarded) -> list[bool]:
        guarded.keys.hold()
        tasks = [
            asyncio.create_task(guarded.guard.check_async(build_environ(headers=[("apikey", GOOD)]), PATH))
            for _ in range(50)
        ]
        await asyncio.to_thread(guarded.keys.wait_for_calls, 1)
        guarded.keys.release()
        return [decision.allowed for decision in await asyncio.gather(*tasks)]

    with Guarded() as guarded:
        assert asyncio.run(story(guarded)) == [True] * 50
        assert guarded.keys.calls == 1


def test_async_the_deadline_holds_and_no_exception_is_left_unread() -> None:
    async def story(guarded: Guarded) -> Any:
        guarded.keys.hold()
        return await guarded.guard.check_async(build_environ(headers=[("apikey", GOOD)]), PATH)

    with Guarded(validator_timeout=0.2) as guarded:
        started = time.monotonic()
        decision = asyncio.run(story(guarded))
        assert time.monotonic() - started < 0.2 + 0.3 + 2  # promised: deadline plus 0.3; slow machines
        assert decision.reason == "key_service_unavailable"


# -- C-08, C-09, C-10 ------------------------------------------------------------------------------


def test_c08_a_process_ends_without_a_word() -> None:
    program = """
        from apikey_guard import Guard
        from apikey_guard.testing import LoopbackKeyService
        with LoopbackKeyService(["good-and-of-20-characters"]) as service:
            guard = Guard(validator_url=service.url)
            environ = {"REQUEST_METHOD": "GET", "QUERY_STRING": "apikey=good-and-of-20-characters"}
            assert guard.check(environ, "/").allowed
            guard.close()
            guard.close()
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_c08_a_hanging_verification_does_not_keep_a_process_alive() -> None:
    program = """
        import threading
        from apikey_guard import Guard
        guard = Guard(key_service=lambda credential: threading.Event().wait(60),
            key_service_in_pool=True, validator_timeout=0.1)
        guard.check({"REQUEST_METHOD": "GET", "QUERY_STRING": "apikey=good"}, "/")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=20, capture_output=True)
    assert done.returncode == 0


def test_c08_a_closed_guard_serves_what_it_knows_and_refuses_the_rest() -> None:
    with Guarded() as guarded:
        guarded.status()
        guarded.guard.close()
        assert guarded.code() == ALLOWED
        assert guarded.status(f"{GOOD}-new") == 503


@pytest.mark.parametrize(
    "value",
    [
        Consumer(id="1", scopes=frozenset({"a"})),
        Credential("KCANARY-secret", "header:apikey"),
        Verdict(valid=True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_c09_values_are_frozen(value: object) -> None:
    with pytest.raises((AttributeError, TypeError)):
        value.id = value.value = value.valid = "changed"  # type: ignore[attr-defined]  # refused, whatever it is
    assert "KCANARY" not in repr(value)


def test_c09_what_the_cache_hands_out_cannot_be_changed_by_an_app() -> None:
    with Guarded() as guarded:
        guarded.status()
        consumer: Any = guarded.app.seen[-1].environ["apikey_guard.consumer"]
        with pytest.raises(AttributeError):
            consumer.username = "admin"
        with pytest.raises(TypeError):
            consumer.metadata["role"] = "admin"


def test_c10_bounds_hold_under_64_threads() -> None:
    verdict = Verdict(valid=True)
    with Guarded(key_service=lambda credential: verdict, cache_max_entries=100) as guarded:
        store, cache = guarded.guard.verifier.store, guarded.guard.verifier.cache

        def work(name: int) -> int:
            largest = 0
            for number in range(500):
                store(f"{name}-{number}".encode().ljust(32), verdict)
                largest = max(largest, len(cache.valid))
            return largest

        assert max(at_once([lambda name=name: work(name) for name in range(64)])) <= 100 + 64  # type: ignore[misc]  # bound early
        assert len(cache.valid) <= 100


def test_counts_are_exact_under_threads() -> None:
    with Guarded() as guarded:
        guarded.status()

        def work() -> None:
            for _ in range(300):
                guarded.guard.check(build_environ(headers=[("apikey", GOOD)]), PATH)

        at_once([work] * 16)
        assert guarded.guard.stats()["allowed"] == 1 + 16 * 300


def test_k06_no_key_stays_in_memory() -> None:
    import gc

    key = "KCANARY-" + "remembered-nowhere"
    with Guarded(FakeKeyService([])) as guarded:
        guarded.guard.settings.key_service._asked = _Forgetful()  # type: ignore[union-attr]  # the fake itself remembers keys
        environ = build_environ(headers=[("apikey", key)])
        guarded.guard.check(environ, PATH)
        del environ
        gc.collect()
        held = [o for o in gc.get_objects() if type(o) in (dict, list, tuple, set) and _holds(o, key)]
        held = [o for o in held if o is not held and "key" not in (o if isinstance(o, dict) else {})]
        assert not held


class _Forgetful(list[str]):
    def append(self, item: str) -> None:
        super().append("")


def _holds(container: Any, key: str) -> bool:
    values = container.values() if isinstance(container, dict) else container
    return any(type(value) is str and value == key for value in values)


def test_pickled_consumers_stay_consumers() -> None:
    consumer = Consumer(id="1", username="acme", scopes=frozenset({"read"}))
    assert pickle.loads(pickle.dumps(consumer)) == consumer


def test_recorder_is_reached_only_after_an_allow() -> None:
    # The watch itself: an app behind nothing must be found out.
    app = Recorder()
    with pytest.raises(AssertionError):
        call(app, build_environ())
    from tests.harness.watch import BREACHES

    assert BREACHES.take()
