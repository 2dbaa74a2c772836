"""What a reader of a stream sees: when each event arrives, against when the origin sent it."""

from __future__ import annotations

import itertools
import re
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.benchmarks.forwarding.load import connect, request_bytes
from tests.benchmarks.forwarding.origin import EVENTS, SECONDS_APART

EVENT = re.compile(rb"(\d{15})\n")
# Events that a front held back come together; those that it passed on come 100 ms apart.
TOGETHER = SECONDS_APART / 5
PATIENCE = 3 * EVENTS * SECONDS_APART


@dataclass
class Reading:
    """One stream, read to its end."""

    first_byte: float
    worst_lag: float
    arrivals: int
    events: int


def read(port: int, kind: str) -> Reading:
    """Milliseconds to the first byte of the body, and the longest that an event was on its way."""
    with connect(port) as connection:
        connection.settimeout(PATIENCE)
        asked = time.monotonic()
        connection.sendall(request_bytes(port, f"/stream/{kind}"))
        text, seen = b"", 0
        times: list[float] = []
        lags: list[float] = []
        while seen < EVENTS:
            piece = connection.recv(65536)
            now = time.monotonic()
            if not piece:
                break
            text += piece
            events = EVENT.findall(text)
            if len(events) > seen:
                times.append(now)
                lags += [now * 1000 - int(sent) / 1000 for sent in events[seen:]]
                seen = len(events)
    if not seen:
        raise ValueError("no event arrived")
    apart = sum(later - earlier > TOGETHER for earlier, later in itertools.pairwise(times))
    return Reading((times[0] - asked) * 1000, max(lags), apart + 1, seen)


def read_all(ports: Mapping[str, int], kind: str) -> dict[str, Reading]:
    """One stream of every front at once, begun so far apart that no two events fall together."""
    readings: dict[str, Reading] = {}

    def work(name: str, port: int, delay: float) -> None:
        time.sleep(delay)
        try:
            readings[name] = read(port, kind)
        except (OSError, ValueError):
            readings[name] = Reading(float("nan"), float("nan"), 0, 0)

    threads = [
        threading.Thread(target=work, args=(name, port, SECONDS_APART * number / len(ports)), daemon=True)
        for number, (name, port) in enumerate(ports.items())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return readings


def median(readings: list[Reading]) -> Reading:
    """The middle of several readings, each figure for itself; of the arrivals the fewest."""
    return Reading(
        statistics.median(reading.first_byte for reading in readings),
        statistics.median(reading.worst_lag for reading in readings),
        min(reading.arrivals for reading in readings),
        min(reading.events for reading in readings),
    )
