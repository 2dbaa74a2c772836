"""The fronts take turns, so that a noisy moment of the machine hits them all; ratios are per round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.benchmarks.forwarding import streams
from tests.benchmarks.forwarding.load import BadAnswer, Load, ask
from tests.benchmarks.forwarding.processes import Program

Fronts = dict[str, Program]


@dataclass
class Rate:
    """One front in all its rounds.

    :ivar idle: bytes of memory before the first round.
    :ivar peak: the most that it ever had in one of the rounds.
    """

    loads: list[Load] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    idle: int = 0
    peak: int = 0

    def add_turn(self, front: Program, path: str, *, callers: int, seconds: float = 0.0) -> None:
        now = front.forget_peak()
        self.idle = self.idle or now
        before = front.cpu_seconds()
        load = ask(front.port, path, callers=callers, seconds=seconds)
        self.cpu.append(front.cpu_seconds() - before)
        self.loads.append(load)
        self.peak = max(self.peak, front.peak())

    @property
    def over_idle(self) -> float:
        """MiB. Of all rounds together: what the first leaves behind is part of it."""
        return (self.peak - self.idle) / 2**20

    @property
    def per_second(self) -> float:
        return statistics.median(load.per_second for load in self.loads)

    @property
    def mib_per_second(self) -> float:
        return statistics.median(load.mib_per_second for load in self.loads)

    @property
    def cpu_microseconds(self) -> float:
        """Own CPU of a request. Over all rounds: the counters of the system are coarse."""
        return sum(self.cpu) / sum(load.requests for load in self.loads) * 1e6

    def percentile(self, hundredth: int) -> float:
        milliseconds = [taken for load in self.loads for taken in load.milliseconds]
        return statistics.quantiles(milliseconds, n=100, method="inclusive")[hundredth - 1]

    def ratio(self, other: Rate) -> float:
        pairs = zip(self.loads, other.loads, strict=False)
        return statistics.median(mine.per_second / its.per_second for mine, its in pairs)


def turns(fronts: Fronts, rounds: int, action: Callable[[str, Program], None]) -> None:
    """Every front in every round, there and back; one that fails is left out from there on, and said."""
    for number in range(rounds):
        for name in list(fronts)[:: -1 if number % 2 else 1]:
            try:
                action(name, fronts[name])
            except (BadAnswer, OSError) as error:
                print(f"{name}: left out: {str(error) or type(error).__name__}")
                del fronts[name]


def rates(fronts: Fronts, path: str, *, callers: int, seconds: float, rounds: int) -> dict[str, Rate]:
    """How fast each front answers, and what that costs it."""
    results = {name: Rate() for name in fronts}

    def one(name: str, front: Program) -> None:
        results[name].add_turn(front, path, callers=callers, seconds=seconds)

    turns(fronts, rounds, one)
    return {name: results[name] for name in fronts}


@dataclass
class Download:
    """One front with large bodies: to one caller, and to four at once."""

    one: Rate = field(default_factory=Rate)
    four: Rate = field(default_factory=Rate)

    @property
    def cpu_milliseconds(self) -> float:
        """Own CPU of one body, of all that were sent."""
        bodies = sum(load.requests for load in (*self.one.loads, *self.four.loads))
        return sum((*self.one.cpu, *self.four.cpu)) / bodies * 1e3


def downloads(fronts: Fronts, path: str, *, rounds: int) -> dict[str, Download]:
    """Large bodies, from fronts that have sent no other: one that grew before would not grow again."""
    results = {name: Download() for name in fronts}

    def one(name: str, front: Program) -> None:
        results[name].one.add_turn(front, path, callers=1)

    def four(name: str, front: Program) -> None:
        results[name].four.idle = results[name].one.idle
        results[name].four.add_turn(front, path, callers=4)

    turns(fronts, rounds, one)
    turns(fronts, rounds, four)
    return {name: results[name] for name in fronts}


def warm(fronts: Fronts) -> None:
    """Every thread has run and every connection to the origin has been used."""

    def one(name: str, front: Program) -> None:
        ask(front.port, "/files/1k", callers=8, seconds=0.3)

    turns(fronts, 1, one)


def stream_readings(ports: Mapping[str, int], kind: str, *, rounds: int) -> dict[str, streams.Reading]:
    """The middle reading of every front."""
    readings = [streams.read_all(ports, kind) for _ in range(rounds)]
    return {name: streams.median([reading[name] for reading in readings]) for name in ports}
