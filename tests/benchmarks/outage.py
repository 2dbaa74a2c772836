"""A known key whose ttl is over, and a key service that hangs: how long a caller waits."""

from __future__ import annotations

import time

from apikey_guard import Guard, GuardMiddleware
from apikey_guard.testing import LoopbackKeyService, ManualClock
from tests.benchmarks.storm import request
from tests.benchmarks.wsgi_hit import app


def main() -> None:
    clock = ManualClock()
    with LoopbackKeyService(["good"]) as service, Guard(validator_url=service.url, clock=clock) as guard:
        call = request(GuardMiddleware(app, guard=guard), "good")
        call()
        clock.advance(61)
        service.hang()
        for number in range(1, 5):
            started = time.perf_counter()
            status = call()
            print(f"request {number}: {status} after {(time.perf_counter() - started) * 1000:.1f} ms")
        print("goal: one deadline (2 s) once, then under 20 ms")


if __name__ == "__main__":
    main()
