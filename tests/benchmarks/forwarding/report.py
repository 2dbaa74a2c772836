"""The tables: ratios next to the figures, and what ours comes to next to its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.benchmarks.forwarding.apps import APPLICATIONS
from tests.benchmarks.forwarding.fronts import NGINX
from tests.benchmarks.forwarding.measure import Download, Rate
from tests.benchmarks.forwarding.streams import Reading

URLLIB3 = "urllib3"
STATIC = "static"
OURS = "ours"
MIB = 2**20

# Of the budget: what, the goal, what was measured.
Line = tuple[str, str, float]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for first, *others in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip(), flush=True)


def to(rates: Mapping[str, Rate], name: str, other: str) -> float:
    """The ratio of two fronts' requests per second; not a number where one of them was not measured."""
    if name in rates and other in rates:
        return rates[name].ratio(rates[other])
    return math.nan


def added(rates: Mapping[str, Rate], name: str) -> float:
    """Own CPU of a request, in microseconds, over what the server itself takes; nginx has another."""
    if name in rates and STATIC in rates and name in APPLICATIONS and name != STATIC:
        return rates[name].cpu_microseconds - rates[STATIC].cpu_microseconds
    return math.nan


def number(value: float, form: str = ".2f") -> str:
    return "" if math.isnan(value) else format(value, form)


def small(rates: Mapping[str, Rate]) -> list[Line]:
    header = (
        *("front", "req/s", "/ urllib3", "/ nginx", "p50 ms", "p99 ms", "own CPU us", "added us"),
        "added / urllib3's",
    )
    rows = []
    for name, rate in rates.items():
        rows.append(
            (
                *_common(rates, name),
                f"{rate.cpu_microseconds:.0f}",
                number(added(rates, name), ".0f"),
                number(added(rates, name) / added(rates, URLLIB3)),
            )
        )
    table("GET 1 KiB, 8 connections", header, rows)
    return [
        ("1 KiB: added CPU, of bare urllib3's", "<= 0.50", added(rates, OURS) / added(rates, URLLIB3)),
        ("1 KiB: requests/s, of bare urllib3's", ">= 1.25", to(rates, OURS, URLLIB3)),
    ]


def middle(rates: Mapping[str, Rate]) -> list[Line]:
    header = ("front", "req/s", "/ urllib3", "/ nginx", "p50 ms", "p99 ms", "own CPU us", "MiB over idle")
    rows = [
        (*_common(rates, name), f"{rate.cpu_microseconds:.0f}", f"{rate.over_idle:+.1f}")
        for name, rate in rates.items()
    ]
    table("GET 1 MiB, 4 connections", header, rows)
    return [
        ("1 MiB: requests/s, of nginx's", ">= 0.80", to(rates, OURS, NGINX)),
        ("1 MiB: requests/s, of bare urllib3's", ">= 1.00", to(rates, OURS, URLLIB3)),
        (
            "1 MiB, four at once: MiB over idle",
            "<= 2.00",
            rates[OURS].over_idle if OURS in rates else math.nan,
        ),
    ]


def _common(rates: Mapping[str, Rate], name: str) -> tuple[str, ...]:
    rate = rates[name]
    return (
        name,
        f"{rate.per_second:.0f}",
        number(to(rates, name, URLLIB3)),
        number(to(rates, name, NGINX)),
        f"{rate.percentile(50):.2f}",
        f"{rate.percentile(99):.2f}",
    )


def large(results: Mapping[str, Download]) -> list[Line]:
    one = {name: result.one for name, result in results.items()}
    four = {name: result.four for name, result in results.items()}
    header = (
        *("front", "MiB/s", "/ urllib3", "/ nginx", "four: MiB/s", "/ nginx", "own CPU ms", "idle MiB"),
        *("one: over idle", "four: over idle"),
    )
    rows = [
        (
            name,
            f"{result.one.mib_per_second:.0f}",
            number(to(one, name, URLLIB3)),
            number(to(one, name, NGINX)),
            f"{result.four.mib_per_second:.0f}",
            number(to(four, name, NGINX)),
            f"{result.cpu_milliseconds:.0f}",
            f"{result.one.idle / MIB:.0f}",
            f"{result.one.over_idle:+.1f}",
            f"{result.four.over_idle:+.1f}",
        )
        for name, result in results.items()
    ]
    table("GET 100 MiB, one caller, and four at once", header, rows)
    lines = [
        ("100 MiB: MiB/s, of nginx's", ">= 0.90", to(one, OURS, NGINX)),
        ("100 MiB: MiB/s, of bare urllib3's", ">= 1.00", to(one, OURS, URLLIB3)),
    ]
    if OURS in results:
        mine = results[OURS]
        lines += [
            ("100 MiB, one caller: MiB over idle", "<= 1.00", mine.one.over_idle),
            ("100 MiB, four at once: MiB over idle", "<= 2.00", mine.four.over_idle),
        ]
    return lines


def streamed(kind: str, readings: Mapping[str, Reading]) -> list[Line]:
    header = ("front", "first byte ms", "slowest event ms", "separate arrivals")
    rows = [
        (
            name,
            number(reading.first_byte, ".1f"),
            number(reading.worst_lag, ".1f"),
            f"{reading.arrivals} of {reading.events}",
        )
        for name, reading in readings.items()
    ]
    table(f"10 events 100 ms apart, {kind}", header, rows)
    if OURS not in readings:
        return []
    return [
        (f"stream, {kind}: ms to the first byte", "<= 3.00", readings[OURS].first_byte),
        (f"stream, {kind}: ms, slowest event", "<= 3.00", readings[OURS].worst_lag),
    ]


def budget(lines: Sequence[Line]) -> None:
    """What ours came to, line by line, next to its goal; nothing is asserted."""
    rows = [(what, goal, f"{value:.2f}") for what, goal, value in lines if not math.isnan(value)]
    if rows:
        table("Ours next to its budget", ("", "goal", "measured"), rows)
