"""Forwarding under gunicorn's threads: ours, what people write by hand, and nginx, side by side.

``python -m tests.benchmarks forwarding [--quick] [--only NAMES]``
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.benchmarks.forwarding import fronts as known
from tests.benchmarks.forwarding import measure, report
from tests.benchmarks.forwarding.origin import KINDS
from tests.benchmarks.forwarding.processes import DidNotStart, Program, running

SIZES = {"1k": 1024, "1m": 2**20, "100m": 100 * 2**20}
STREAMS = "streams"
CASES = (*SIZES, STREAMS)


@dataclass(frozen=True)
class Plan:
    """How long it may take: a turn of a front, and how many turns."""

    seconds: float
    rounds: int
    downloads: int
    streams: int


DEFAULT = Plan(seconds=1.0, rounds=6, downloads=4, streams=5)
QUICK = Plan(seconds=0.5, rounds=2, downloads=1, streams=1)


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    if not Path("/proc/self/stat").exists():
        print("not measured: this counts CPU and memory by /proc")
        return
    plan = QUICK if options.quick else DEFAULT
    names = [name for name in known.FRONTS if name in options.only] or list(known.FRONTS)
    cases = [case for case in CASES if case in options.only] or list(CASES)
    lines: list[report.Line] = []
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="forwarding-") as directory:
        workshop = Path(directory)
        make_files(workshop / "site", cases)
        if set(cases) & set(SIZES):
            lines += sized(names, cases, plan, workshop)
        if STREAMS in cases:
            lines += streamed(names, plan, workshop)
    report.budget(lines)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    choices = (*CASES, *known.FRONTS)

    def listed(text: str) -> set[str]:
        given = set(text.split(","))
        if unknown := given - set(choices):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(choices)}")
        return given

    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks forwarding")
    parser.add_argument("--quick", action="store_true", help="half a minute in all; the ratios are rougher")
    parser.add_argument(
        "--only", type=listed, default=set(), metavar="NAMES", help=f"with commas, of {', '.join(choices)}"
    )
    return parser.parse_args(arguments)


def make_files(site: Path, cases: Sequence[str]) -> None:
    """What the origin has: what the cases ask for, and what the fronts are warmed with."""
    files = site / "files"
    files.mkdir(parents=True)
    for name in {"1k", "1m", *cases} & set(SIZES):
        (files / name).write_bytes(b"k" * SIZES[name])


def sized(names: Sequence[str], cases: Sequence[str], plan: Plan, workshop: Path) -> list[report.Line]:
    """Answers of three sizes, from files."""
    lines = []
    with started(names, known.start_origin(workshop / "site", workshop), workshop) as fronts:
        measure.warm(fronts)
        static = fronts.pop(report.STATIC, None)
        if "100m" in cases:
            lines += report.large(measure.downloads(fronts, "/files/100m", rounds=plan.downloads))
        if "1m" in cases:
            rates = measure.rates(fronts, "/files/1m", callers=4, seconds=plan.seconds, rounds=plan.rounds)
            lines += report.middle(rates)
        if "1k" in cases:
            if static is not None:  # it knows one answer
                fronts = {report.STATIC: static} | fronts
            rates = measure.rates(fronts, "/files/1k", callers=8, seconds=plan.seconds, rounds=plan.rounds)
            lines += report.small(rates)
    return lines


def streamed(names: Sequence[str], plan: Plan, workshop: Path) -> list[report.Line]:
    """Answers that take a second, event by event."""
    lines = []
    origin = known.start_raw_origin(workshop / "site")
    with started([name for name in names if name != report.STATIC], origin, workshop) as fronts:
        measure.warm(fronts)
        ports = {"the origin itself": origin.port} | {name: front.port for name, front in fronts.items()}
        for kind in KINDS:
            lines += report.streamed(kind, measure.stream_readings(ports, kind, rounds=plan.streams))
    return lines


@contextlib.contextmanager
def started(names: Sequence[str], origin: Program, workshop: Path) -> Iterator[dict[str, Program]]:
    """The fronts that can be measured here, all answering; none of them is left afterwards."""
    missing = known.missing()
    programs = [origin]
    with running(programs):
        origin.wait_until_it_answers()
        for name in names:
            if name in missing:
                print(f"{name}: left out: {missing[name]}")
            else:
                programs.append(known.start_front(name, origin.port, workshop))
        fronts = {}
        for front in programs[1:]:
            try:
                front.wait_until_it_answers()
                fronts[front.name] = front
            except DidNotStart as error:
                print(f"{front.name}: left out: did not start: {error}")
        yield fronts


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the benchmark as Ctrl-C does: by way of what stops the fronts."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit("ended by a signal")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
