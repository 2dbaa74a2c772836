"""Every promise of docs/security.md has tests, and they are there."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence

import pytest

from tests.docs.run_page import ROOT

PROMISES: Mapping[str, Mapping[str, Sequence[str]]] = tomllib.loads(
    (ROOT / "tests" / "docs" / "promises.toml").read_text("utf-8")
)


def promised() -> list[str]:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    section = page.partition("## What is promised\n")[2].partition("\n## ")[0]
    items = re.findall(r"^\* (.*)$", section, re.MULTILINE)
    found = [re.match(r"\*\*(.+?)\*\*", item) for item in items]
    assert all(found), "an item of the promises without words in bold"
    return [match[1] for match in found if match]


def test_each_promise_is_there_and_nothing_else() -> None:
    assert [*promised(), "How long a revoked key may live"] == list(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_are_there(promise: str) -> None:
    for name, tests in PROMISES[promise].items():
        tree = ast.parse((ROOT / "tests" / name).read_text("utf-8"))
        there = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        missing = {f"test_{test}" for test in tests} - there
        assert not missing, (name, missing)
