"""Who waits, and who is next (threats D)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from apikey_guard.verification.lanes import Lanes

PATIENCE = 2.0


@dataclass
class Caller:
    name: str
    deadline: float = PATIENCE


def lanes(most: int = 100) -> Lanes[Caller]:
    return Lanes(most=most, patience=PATIENCE)


def names(line: Lanes[Caller], *, now: float = 0.0, others: bool = True) -> list[str]:
    found: list[str] = []
    while (caller := line.take(now, others=others)) is not None:
        found.append(caller.name)
    return found


def put(
    line: Lanes[Caller], name: str, peer: str, *, known: bool = False, deadline: float = PATIENCE
) -> str | None:
    dropped = line.put(Caller(name, deadline), known=known, peer=peer)
    return None if dropped is None else dropped.name


def test_d03_networks_take_turns() -> None:
    line = lanes()
    for number in range(3):
        put(line, f"a{number}", "a")
    for number in range(2):
        put(line, f"b{number}", "b")
    put(line, "c0", "c")
    assert len(line) == 6
    assert names(line) == ["a0", "b0", "c0", "a1", "b1", "a2"]
    assert len(line) == 0


def test_keys_that_were_valid_lately_come_first() -> None:
    line = lanes()
    put(line, "unknown", "a")
    put(line, "known", "a", known=True)
    assert names(line) == ["known", "unknown"]


def test_others_may_have_to_wait_while_known_keys_do_not() -> None:
    line = lanes()
    put(line, "unknown", "a")
    put(line, "known", "b", known=True)
    assert names(line, others=False) == ["known"]
    assert names(line) == ["unknown"]


def test_d09_who_takes_most_of_the_room_makes_some() -> None:
    line = lanes(most=5)
    for number in range(4):
        put(line, f"a{number}", "a")
    put(line, "b0", "b")
    assert put(line, "c0", "c") == "a0"
    assert put(line, "a4", "a") == "a1"
    assert len(line) == 5
    assert names(line) == ["a2", "b0", "c0", "a3", "a4"]


def test_d09_many_networks_are_bounded_too() -> None:
    line = lanes(most=10)
    for number in range(1000):
        put(line, f"{number}", f"peer-{number}")
    assert len(line) == 10
    assert len(names(line)) == 10


def test_d09_the_lane_of_known_keys_is_bounded() -> None:
    line = lanes(most=2)
    assert [put(line, name, "", known=True) for name in "abc"] == [None, None, "c"]


@pytest.mark.parametrize(
    ("now", "first"),
    [
        pytest.param(0.0, "old", id="in-order"),
        pytest.param(1.8, "old", id="still-in-time"),
        pytest.param(1.95, "young", id="the-oldest-comes-too-late"),
        pytest.param(2.5, "old", id="the-oldest-is-given-up"),
    ],
)
def test_where_the_oldest_comes_too_late_the_youngest_is_next(now: float, first: str) -> None:
    line = lanes()
    put(line, "old", "", deadline=2.0)
    put(line, "young", "", deadline=3.9)
    assert names(line, now=now)[0] == first


def test_what_is_cleared_is_gone() -> None:
    line = lanes()
    put(line, "a", "a")
    put(line, "b", "b", known=True)
    assert {caller.name for caller in line.clear()} == {"a", "b"}
    assert len(line) == 0
    assert names(line) == []
    assert put(line, "c", "c") is None
    assert names(line) == ["c"]
