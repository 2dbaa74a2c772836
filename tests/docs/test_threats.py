"""Every threat that code, tests or docs cite is told in docs/threats.md, and what is told is cited."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.run_page import ROOT

PAGE = ROOT / "docs" / "threats.md"
TOLD = re.findall(r"^\| ([A-Z]-\d\d) \| \S.*\. \|$", PAGE.read_text("utf-8"), re.MULTILINE)

# ``V-11`` in prose, but not "A-17": what stands in quotes is a value. ``v02_v03_`` in the name of a test.
_IN_PROSE = re.compile(r"""(?<![\w-])(?<!(?<!")")[A-Z]-\d\d(?![\w"-])""")
_IN_A_NAME = re.compile(r"""(?:\btest_|")((?:[a-z]\d\d_)+)""")


def cited_in(text: str) -> set[str]:
    in_names = {
        f"{cited[0].upper()}-{cited[1:]}"
        for run in _IN_A_NAME.findall(text)
        for cited in run.strip("_").split("_")
    }
    return in_names | set(_IN_PROSE.findall(text))


CITED: dict[str, list[str]] = {}
for folder in ("apikey_guard", "tests", "docs"):
    for path in sorted((ROOT / folder).rglob("*")):
        other = path not in {PAGE, Path(__file__)} and "_build" not in path.parts
        if other and path.suffix in {".py", ".md", ".toml", ".js"}:
            for threat in cited_in(path.read_text("utf-8")):
                CITED.setdefault(threat, []).append(str(path.relative_to(ROOT)))


@pytest.mark.parametrize("threat", sorted(CITED))
def test_what_is_cited_is_told(threat: str) -> None:
    assert threat in TOLD, f"cited in {', '.join(CITED[threat])}"


def test_what_is_told_is_told_once_and_cited() -> None:
    assert len(TOLD) == len(set(TOLD))
    assert set(TOLD) - set(CITED) == set()


FOUND = {
    "# Whoever was first (threats A-03 and D-05).": {"A-03", "D-05"},
    '"""S-08: what requests does."""': {"S-08"},
    "def test_v02_v03_a_fault() -> None:": {"V-02", "V-03"},
    '  "c09_nobody_can_change_it",': {"C-09"},
    'custom_id = "A-17"': set(),
    "UTF-16, 2027-W02-5, c-7, test_2_of_3": set(),
}


@pytest.mark.parametrize(("text", "found"), FOUND.items())
def test_a_citation_is_known_by_its_form(text: str, found: set[str]) -> None:
    assert cited_in(text) == found
