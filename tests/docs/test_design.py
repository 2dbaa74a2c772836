"""The tables of docs/design.md name every file there is, on the floor where the import rules put it."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from tests.docs.run_page import ROOT
from tests.import_rules import FLOORS, PACKAGE, PLACES

TABLES = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## One request")[0]
NAMED = re.findall(r"`([^`]+)`", TABLES)
WINGS = ["core", "settings", "verification", "keyservice", "http1", "forwarding", "observe", "diagnosis"]
FOLDERS = [ROOT / PACKAGE, *(ROOT / PACKAGE / wing for wing in WINGS)]
FILES = [
    str(path.relative_to(ROOT / PACKAGE)) + ("/" if path.is_dir() else "")
    for folder in FOLDERS
    for path in sorted(folder.iterdir())
    if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists()
]


def names(pattern: str, file: str) -> bool:
    """Whether what a table writes is that file: with its wing, or by its last name alone."""
    last = re.sub(r"^.*/(?=.)", "", file)
    return fnmatch(file, pattern) or fnmatch(last, pattern)


@pytest.mark.parametrize("file", FILES)
def test_each_file_has_its_place_on_a_floor(file: str) -> None:
    assert any(names(pattern, file) for pattern in NAMED)


def test_no_floor_names_a_file_that_is_gone() -> None:
    patterns = [pattern for pattern in NAMED if pattern.endswith((".py", "/")) and "tests" not in pattern]
    assert [pattern for pattern in patterns if not any(names(pattern, file) for file in FILES)] == []


def test_the_floors_are_the_ranks_of_the_import_rules() -> None:
    rows = re.findall(r"^\| (\w+) \| (.*?) \|", TABLES.partition("| wing |")[0], re.MULTILINE)[1:]
    assert tuple(floor for floor, _ in reversed(rows)) == FLOORS
    drawn = {
        ".".join([PACKAGE, *file.rstrip("/").removesuffix(".py").split("/")]): floor
        for floor, files in rows
        for file in re.findall(r"`([^`]+)`", files)
    }
    assert drawn == {module: FLOORS[rank] for module, rank in PLACES.items() if module != PACKAGE}
