"""The two tables of headers that mean something by who sends them (threats P-07, X-15)."""

from __future__ import annotations

import pytest

from apikey_guard.core.claims import CLAIMED, CLAIMS, NO_ORDERS, ORDERED, ORDERS, Group, Names
from apikey_guard.http1.parser import parse_head


@pytest.mark.parametrize("group", [*CLAIMS, *ORDERS], ids=lambda group: group.why[:30])
def test_every_group_says_why_and_its_names_are_written_as_they_are_compared(group: Group) -> None:
    assert group.why
    assert len(set(group.names)) == len(group.names)
    for name in group.names:
        assert name == name.lower()
        assert "_" not in name
        assert "*" not in name[:-1]
        # A beginning that is one short word would take headers along that are nobody's claim.
        assert not name.endswith("*") or len(name) > 3


def test_a_name_counts_whole_or_by_its_beginning() -> None:
    names = Names([Group("", ("x-a", "x-b-*", "x-c*"))], without=["x-b-kept"])
    found = [name for name in ("x-a", "x-a-", "x-b", "x-b-1", "x-b-kept", "x-c", "x-cd") if name in names]
    assert found == ["x-a", "x-b-1", "x-c", "x-cd"]


@pytest.mark.parametrize("name", sorted(name for group in ORDERS for name in group.names))
def test_p07_each_order_is_left_out_of_an_answer(name: str) -> None:
    full = name.replace("*", "1").title()
    block = f"HTTP/1.1 200 OK\r\n{full}: x\r\nA: 1\r\n\r\n".encode()
    assert parse_head(block).headers == [("A", "1")]


@pytest.mark.parametrize("name", sorted(NO_ORDERS))
def test_p07_what_orders_nothing_is_kept(name: str) -> None:
    assert name not in ORDERED
    assert parse_head(f"HTTP/1.1 200 OK\r\n{name}: no\r\n\r\n".encode()).headers == [(name, "no")]


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override", "via"])
def test_a_method_override_is_no_claim(name: str) -> None:
    assert name not in CLAIMED
