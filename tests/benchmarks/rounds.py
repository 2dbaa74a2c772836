"""Interleaved rounds: the cases take turns, so that a noisy moment of the machine hits them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

# The interpreter adapts itself to what ran last, and unlearns it only after some fifty calls: a server runs
# one of the cases, and never the others in between.
_UNTIMED = 64


def microseconds(cases: Mapping[str, Callable[[], object]], *, rounds: int, calls: int) -> dict[str, float]:
    """What one call of each case takes, in the better rounds: their lower quartile.

    Whatever else the machine does only ever makes a round longer.

    :param cases: name to a function that does one request.
    :param rounds: how often the cases take turns.
    :param calls: how often a case is called in one turn.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, case in cases.items():
                for _ in range(_UNTIMED):
                    case()
                started = time.perf_counter()
                for _ in range(calls):
                    case()
                times[name].append((time.perf_counter() - started) / calls * 1e6)
    finally:
        gc.enable()
    return {name: statistics.quantiles(taken, n=4)[0] for name, taken in times.items()}


def table(times: Mapping[str, float], *, bare: str, against: str) -> None:
    """Print time, what is added to the bare case, and that as a ratio to what another case adds."""
    unit = times[against] - times[bare]
    width = max(map(len, times))
    print(f"{'case':{width}}  {'us/request':>10}  {'added us':>8}  ratio of what {against!r} adds")
    for name, taken in times.items():
        added = taken - times[bare]
        ratio = "" if name == bare else f"{added / unit:5.2f}"
        print(f"{name:{width}}  {taken:10.2f}  {added:8.2f}  {ratio}")
