"""50 requests at once with one new key, and 100 with a hundred: how many calls, how long."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from apikey_guard import Guard, GuardMiddleware
from apikey_guard.testing import LoopbackKeyService
from tests.benchmarks.wsgi_hit import ENVIRON, app

SERVICE_SECONDS = 0.2


def at_once(calls: list[Callable[[], str]]) -> tuple[Counter, float]:
    """The answers of calls made at the same moment, and the seconds until the last one."""
    answers: Counter = Counter()
    gate = threading.Barrier(len(calls) + 1)

    def work(call: Callable[[], str]) -> None:
        gate.wait()
        answers[call()] += 1

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return answers, time.perf_counter() - started


def request(application: Callable, key: str) -> Callable[[], str]:
    def call() -> str:
        statuses: list[str] = []
        list(
            application({**ENVIRON, "HTTP_APIKEY": key}, lambda status, headers: statuses.append(status[:3]))
        )
        return statuses[0]

    return call


def main() -> None:
    good = [f"good-{number}" for number in range(100)]
    with LoopbackKeyService(["first", *good]) as service:
        with Guard(validator_url=service.url) as guard:
            application = GuardMiddleware(app, guard=guard)
            # Loads the HTTP client, which no other verification of this process has to do again.
            _, seconds = at_once([request(application, "first")])
            print(f"the first verification of a process: {seconds * 1000:.0f} ms")
            before = service.calls
            service.slow(SERVICE_SECONDS)
            answers, seconds = at_once([request(application, good[0])] * 50)
            print(
                f"50 requests, one new key: {service.calls - before} call(s), {dict(answers)}, "
                f"all within {seconds / SERVICE_SECONDS:.2f} of the service's time (goal 1.25)"
            )
        service.status(500)
        before = service.calls
        with Guard(validator_url=service.url) as guard:
            answers, seconds = at_once([request(GuardMiddleware(app, guard=guard), "new")] * 50)
            calls = service.calls - before
            print(f"the same, service answers 500: {calls} call(s), {dict(answers)} in {seconds:.2f} s")
        service.heal()
        service.slow(0.1)
        with Guard(validator_url=service.url) as guard:
            application = GuardMiddleware(app, guard=guard)
            answers, seconds = at_once([request(application, key) for key in good])
            print(f"100 requests, 100 new keys, service takes 0.1 s: {dict(answers)} in {seconds:.2f} s")


if __name__ == "__main__":
    main()
