"""Many routes, and paths that must be read with care: what building, finding and reading costs."""

from __future__ import annotations

import time
from collections.abc import Callable

from apikey_guard import Route
from tests.benchmarks.rounds import microseconds
from tests.benchmarks.wsgi_hit import ENVIRON, KEY, case, guarded, on_new_paths

PATHS = {
    "plain": "/v1/items/42",
    "another letter case": "/v1/Items/42",
    "a slash at the end": "/v1/items/42/",
    "an odd character": "/v1/items/a;b",
    "encoded twice, dots, slashes": "/v1//items/./%2e%2e/a;b?c",
    "8 KiB of dots": "/." * 4096,
    "8 KiB of escapes": "/" + "%2525" * 1638,
    "8 KiB of everything": "/%252e;\\x?%23.." * 512,
}


def many(count: int) -> list[Route]:
    """Routes of an API with that many resources, every third with a scope of its own."""
    return [
        Route(f"/v{n % 7}/things{n}/*", scopes=[f"s{n % 50}"] if n % 3 == 0 else ()) for n in range(count)
    ]


def main() -> None:
    header = {**ENVIRON, "HTTP_APIKEY": KEY}
    cases: dict[str, Callable[[], object]] = {}
    for count in (10, 100, 1_000, 10_000):
        started = time.perf_counter()
        application = guarded(routes=many(count))
        print(f"{count:6} routes: built in {(time.perf_counter() - started) * 1000:7.1f} ms")
        cases[f"hit, {count} routes"] = case(application, header)
        cases[f"hit, {count} routes, every path new"] = on_new_paths(application, header)
    rule = application.guard.policy.rules.rule
    for name, path in PATHS.items():
        cases[f"rule of a path: {name}"] = lambda path=path: rule(path, {})
    for name, taken in microseconds(cases, rounds=20, calls=100).items():
        print(f"{name:45} {taken:9.2f} us")
    print("goals: 10,000 routes in 300 ms; hits flat; no path costs more than a few milliseconds")


if __name__ == "__main__":
    main()
