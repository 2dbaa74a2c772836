"""The table of the house in docs/design.md names every file there is."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from tests.docs.run_page import ROOT

NAMED = re.findall(
    r"`([^`]+)`", (ROOT / "docs" / "design.md").read_text("utf-8").partition("## One request")[0]
)
PACKAGE = ROOT / "apikey_guard"
WINGS = ["core", "settings", "verification", "keyservice", "http1", "forwarding", "observe", "diagnosis"]
FILES = [
    path.name + ("/" if path.is_dir() else "")
    for folder in [PACKAGE, *(PACKAGE / wing for wing in WINGS)]
    for path in sorted(folder.iterdir())
    if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists()
]


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_place_on_a_floor(name: str) -> None:
    assert any(fnmatch(name, pattern) for pattern in NAMED)


def test_no_floor_names_a_file_that_is_gone() -> None:
    files = [pattern for pattern in NAMED if pattern.endswith((".py", "/"))]
    assert {pattern for pattern in files if not any(fnmatch(name, pattern) for name in FILES)} == set()
