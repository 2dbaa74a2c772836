"""The tables of docs/settings.md and docs/answers.md say what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from apikey_guard.core.dialects.standard import STATUS
from apikey_guard.settings import DEFAULTS, SETTING_NAMES, Settings
from tests.docs.run_page import ROOT

DOCS = ROOT / "docs"


def settings_table() -> str:
    """The table as it has to be; ``python -m tests.docs.test_tables`` prints it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name in SETTING_NAMES:
        default = DEFAULTS[name]
        written = dict(default) if isinstance(default, Mapping) else default
        shown = "none" if default is None else f"`{json.dumps(written)}`"
        meaning = Settings.__dataclass_fields__[name].metadata["help"]
        rows.append(f"| `{name}` | {shown} | {meaning} |")
    return "\n".join(rows)


def test_the_settings_table_is_the_settings() -> None:
    assert settings_table() in (DOCS / "settings.md").read_text("utf-8"), (
        f"it should be:\n\n{settings_table()}"
    )


def test_the_status_table_has_every_reason_with_its_status() -> None:
    table = (DOCS / "answers.md").read_text("utf-8")
    found = {}
    for row in re.findall(r"^\| (`.*?) \| (\d+) \|", table, re.MULTILINE):
        found.update(dict.fromkeys(re.findall(r"`(\w+)`", row[0]), int(row[1])))
    assert found == {reason.value: status for reason, status in STATUS.items()}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 150
    pages = {path.name for path in DOCS.glob("*.md")} - {"index.md", "changelog.md", "releasing.md"}
    assert pages - set(re.findall(r"\(docs/([\w-]+\.md)\)", readme)) == set()


if __name__ == "__main__":
    print(settings_table())
