"""What is remembered cannot be changed by whoever made it, and equal parts are one object (threat C-09)."""

from __future__ import annotations

import copy
import datetime
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from apikey_guard.core.sharing import Shared
from apikey_guard.errors import UnusableAnswer


def deep(levels: int) -> dict[str, object]:
    inside: dict[str, object] = {}
    for _ in range(levels):
        inside = {"a": inside}
    return inside


HELD: dict[str, Any] = {
    "dict": lambda: {"a": {"b": 1}},
    "list": lambda: {"a": [1, [2, 3]]},
    "list in dict in list": lambda: {"a": [{"b": [1]}]},
    "set": lambda: {"a": {1, 2}},
    "tuple with a list": lambda: {"a": (1, [2])},
    "bytearray": lambda: {"a": bytearray(b"x")},
    "an object": lambda: {"a": Plan("gold")},
    "a date": lambda: {"a": datetime.date(2026, 1, 1)},
}


class Plan:
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]  # it can change


def change(value: object) -> None:
    """Change everything in it that can be changed."""
    if isinstance(value, dict):
        for held in value.values():
            change(held)
        value["changed"] = True
    elif isinstance(value, list | tuple):
        for held in value:
            change(held)
        if isinstance(value, list):
            value.append("changed")
    elif isinstance(value, set):
        value.add("changed")
    elif isinstance(value, bytearray):
        value += b"changed"
    elif isinstance(value, Plan):
        value.name = "changed"


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_c09_what_is_kept_does_not_change_with_what_it_was_made_of(
    make: Callable[[], dict[str, object]],
) -> None:
    given = make()
    kept = Shared().metadata(given)
    change(given)
    expected = make()
    assert given != expected or "date" in str(given)
    assert json.dumps(dict(kept), default=plain) == json.dumps(expected, default=plain)


def plain(value: object) -> object:
    return (
        sorted(value)
        if isinstance(value, set | frozenset)
        else bytes(value).hex()
        if isinstance(value, bytes | bytearray)
        else vars(value)
        if isinstance(value, Plan)
        else str(value)
    )


CHANGES: dict[str, Callable[[Any], object]] = {
    "set an item": lambda kept: kept["dict"].__setitem__("x", 1),
    "delete an item": lambda kept: kept["dict"].__delitem__("x"),
    "update": lambda kept: kept["dict"].update(x=1),
    "setdefault": lambda kept: kept["dict"].setdefault("y", 1),
    "pop": lambda kept: kept["dict"].pop("x"),
    "popitem": lambda kept: kept["dict"].popitem(),
    "clear": lambda kept: kept["dict"].clear(),
    "or": lambda kept: kept["dict"].__ior__({"x": 1}),
    "append": lambda kept: kept["list"].append(1),
    "extend": lambda kept: kept["list"].extend([1]),
    "insert": lambda kept: kept["list"].insert(0, 1),
    "remove": lambda kept: kept["list"].remove(1),
    "pop of a list": lambda kept: kept["list"].pop(),
    "clear of a list": lambda kept: kept["list"].clear(),
    "sort": lambda kept: kept["list"].sort(),
    "reverse": lambda kept: kept["list"].reverse(),
    "set a place": lambda kept: kept["list"].__setitem__(0, 5),
    "delete a place": lambda kept: kept["list"].__delitem__(0),
    "add": lambda kept: kept["list"].__iadd__([1]),
    "times": lambda kept: kept["list"].__imul__(2),
    "at the top": lambda kept: kept.__setitem__("x", 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_c09_nobody_who_is_shown_it_can_change_it(change: Callable[[Any], object]) -> None:
    kept = Shared().metadata({"dict": {"x": 1}, "list": [1, 2]})
    with pytest.raises((TypeError, AttributeError)):
        change(kept)
    assert kept == {"dict": {"x": 1}, "list": [1, 2]}


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_can_be_changed(again: Callable[[Any], Any]) -> None:
    kept = Shared().metadata({"dict": {"x": 1}, "list": [1, 2]})
    inner, numbers = again(kept["dict"]), again(kept["list"])
    inner["y"] = 2
    numbers.append(3)
    assert (inner, numbers) == ({"x": 1, "y": 2}, [1, 2, 3])


def test_equal_parts_are_one_object() -> None:
    shared = Shared()
    assert shared.text("acme-" + str(1)) is shared.text("acme-" + str(1))
    assert shared.scopes({"a", "b"}) is shared.scopes(["b", "a"])
    made = [shared.metadata({"plan": "gold", "limits": [1, {"a": None}]}) for _ in range(2)]
    assert made[0] is made[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0.0, -0.0), ([1], (1,)), ("1", 1), ({"a": 1}, {"a": True}), (b"a", "a")],
    ids=repr,
)
def test_what_is_not_the_same_is_not_shared(one: object, other: object) -> None:
    shared = Shared()
    kept = [shared.metadata({"a": value})["a"] for value in (one, other)]
    assert [repr(value) for value in kept] == [repr(one), repr(other)]


def test_what_is_shared_is_bounded() -> None:
    shared = Shared()
    for number in range(20_000):
        shared.text(f"name-{number}")
    assert len(shared._known) <= 4096


@pytest.mark.parametrize(
    "metadata", [deep(100), {"a": (each for each in "ab")}], ids=["too deep", "cannot be copied"]
)
def test_what_cannot_be_kept_is_the_fault_of_that_answer(metadata: dict[str, object]) -> None:
    with pytest.raises(UnusableAnswer):
        Shared().metadata(metadata)
