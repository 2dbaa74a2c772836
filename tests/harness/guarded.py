"""A guarded recorder with a key service in memory and a clock moved by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from apikey_guard import Guard, GuardMiddleware
from apikey_guard.testing import FakeKeyService, ManualClock
from tests.harness.recorder import Recorder
from tests.harness.wire import Response
from tests.harness.wsgi import build_environ, call

GOOD = "KCANARY-good"
BAD = "KCANARY-bad"


class Guarded:
    """One app behind one guard.

    :param keys: what answers; None is a key service that knows :data:`GOOD`.
    :param settings: of the guard.
    """

    def __init__(self, keys: FakeKeyService | None = None, **settings: Any) -> None:
        self.keys = FakeKeyService([GOOD]) if keys is None else keys
        self.clock = ManualClock()
        self.app = Recorder()
        if "validator_url" not in settings and "key_service" not in settings:
            settings["key_service"] = self.keys
        self.guard = Guard(clock=self.clock, **settings)
        self.wsgi = GuardMiddleware(self.app, guard=self.guard)

    def get(self, key: str | None = GOOD, path: str = "/", **parts: Any) -> Response:
        """The answer to one request with a key in the header ``apikey``."""
        headers = [*parts.pop("headers", ()), *([] if key is None else [("apikey", key)])]
        return call(self.wsgi, build_environ(path, headers=headers, **parts))

    def status(self, key: str | None = GOOD, path: str = "/", **parts: Any) -> int:
        return self.get(key, path, **parts).status

    def code(self, key: str | None = GOOD, path: str = "/", **parts: Any) -> tuple[int, str]:
        """Status and ``code`` of the problem; an empty code for what was allowed."""
        response = self.get(key, path, **parts)
        return response.status, "" if response.status == 200 else str(response.json()["code"])

    def __enter__(self) -> Guarded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keys.release()
        self.guard.close()


def at_once(calls: Iterable[Callable[[], Any]], *, timeout: float = 30.0) -> list[Any]:
    """What calls made at the same moment return, each in a thread of its own, in their order."""
    todo = list(calls)
    gate = threading.Barrier(len(todo))
    results: list[Any] = [None] * len(todo)

    def work(number: int) -> None:
        gate.wait(timeout)
        results[number] = todo[number]()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(todo))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), "a call did not end"
    return results


def settle(guard: Guard, *, timeout: float = 10.0) -> None:
    """Return as soon as no verification is under way."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while guard.stats()["verifications_under_way"]:
        assert time.monotonic() < deadline, "a verification did not end"
        pause.wait(0.002)
