"""Every code block of README.md and docs/ does what the page says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import Block, PageError, read_page
from tests.docs.run_page import ROOT
from tests.harness import find_canary

PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [
        ROOT / "README.md",
        *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
    ]
}

# One each, for something that needs a machine or a network that a test has not.
NOT_RUN_AT_MOST = 3


def run_page(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.run_page", str(path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_every_block_of_a_page_holds(path: Path) -> None:
    blocks = read_page(path)
    if not blocks:
        return
    if shutil.which("curl") is None and any("$ curl " in block.source for block in blocks):
        pytest.skip("curl is not installed")
    done = run_page(path)
    assert done.returncode == 0, done.stderr
    assert find_canary(done.stdout + done.stderr) is None


def test_nearly_nothing_is_left_out() -> None:
    left_out = [
        f"{name}, line {block.line}: {block.action}"
        for name, path in PAGES.items()
        for block in read_page(path)
        if block.action.startswith("not run")
    ]
    assert len(left_out) <= NOT_RUN_AT_MOST, "\n".join(left_out)


# The mechanism itself

GOOD = """
```python
guarded = GuardMiddleware(app, validator_url="https://keys.example.com/verify")
print(get(guarded).status)
```

<!-- test: output -->
```text
401
```

<!-- test: then
assert get(guarded, headers=[("apikey", "my-key")]).body == b"hello acme\\n"
assert get(guarded, query="apikey=other").status == 401
-->

<!-- test: raises SettingsError -->
```python
GuardMiddleware(app, validator_ulr="https://keys.example.com/verify")
```

```console
$ echo one; echo two
one
...
```

```toml
validator_url = "https://keys.example.com/verify"
```

- in a list

  ```json
  {"key": "..."}
  ```

<!-- test: file names.txt -->
```text
alice
```

```bash
grep -q alice names.txt
```

```pycon
>>> 1 + 1
2
```

<!-- test: elsewhere .ci/run -->
```console
rm -rf /nothing
```

<!-- test: stays -->
```console
$ bash -c 'trap "exit 0" TERM; echo on; while :; do sleep 0.1; done'
on
```
"""

START = "<!-- test: first\nfrom apikey_guard import GuardMiddleware\n-->\n"


def test_a_good_page_holds(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(START + GOOD)
    assert len(read_page(page)) == 13
    done = run_page(page)
    assert done.returncode == 0, done.stderr


BAD = {
    "python": "```python\nassert 1 == 2\n```",
    "hidden python": "```python\nx = 1\n```\n<!-- test: then\nassert x == 2\n-->",
    "raises nothing": "<!-- test: raises ValueError -->\n```python\nx = 1\n```",
    "raises another": "<!-- test: raises ValueError -->\n```python\nint([])\n```",
    "output": "```python\nprint(1)\n```\n<!-- test: output -->\n```text\n2\n```",
    "command": "```bash\nfalse\n```",
    "output of a command": "```console\n$ echo 1\n2\n```",
    "settings": '```toml\nvalidator_ulr = "https://keys.example.com"\n```',
    "key file": "<!-- test: key file -->\n```toml\n[[keyz]]\n```",
    "json": "```json\n{valid: true}\n```",
    "doctest": "```pycon\n>>> 1 + 1\n3\n```",
    "elsewhere": "<!-- test: elsewhere tests/no_such_file.py -->\n```bash\ntrue\n```",
    "what stays shows another beginning": "<!-- test: stays -->\n```console\n$ printf two\none\n```",
    "what stays ends": "<!-- test: stays -->\n```console\n$ printf one\none\n```\n```bash\nsleep 1\n```",
    "unknown comment": "<!-- test: skip -->\n```bash\ntrue\n```",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_page_that_does_not_hold_is_found_with_its_line(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    done = run_page(page)
    assert done.returncode != 0
    assert f"{page}, line " in done.stderr


UNTESTABLE = {
    "no language": "```\nx\n```",
    "an unknown language": "```yaml\nx: 1\n```",
    "never closed": "```python\nx = 1",
    "a comment before nothing": "<!-- test: output -->\n\nwords",
    "a comment with lines": "<!-- test: output\nx\n-->",
    "no reason": "<!-- test: not run -->\n```text\nx\n```",
}


@pytest.mark.parametrize("text", UNTESTABLE.values(), ids=UNTESTABLE)
def test_a_block_that_would_be_skipped_silently_is_an_error(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=r"page\.md, line "):
        read_page(page)


def test_directives_of_the_documentation_are_no_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```{toctree}\nx\n```\n\n```{code-block} python\n:caption: y\n\nx = 1\n```\n")
    assert read_page(page) == [Block(8, "python", "x = 1")]
