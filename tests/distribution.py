"""``python -m tests.distribution``: builds what would be uploaded, and looks at what is in it.

The source distribution must hold the docs, the tests and the changelog; the wheel, which is built from
it, the package alone; and the page of a package index must have no link or picture that leads nowhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What changes neither the package nor what is known about it, and what git does not keep.
LEFT_OUT = {".gitignore"}


def problems(dist: Path) -> list[str]:
    """What is wrong with the distributions in a directory."""
    (source,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    kept = set(listed.stdout.splitlines()) - LEFT_OUT
    with tarfile.open(source) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    with zipfile.ZipFile(wheel) as installed:
        modules = {name for name in installed.namelist() if ".dist-info/" not in name}
        (about,) = (name for name in installed.namelist() if name.endswith(".dist-info/METADATA"))
        page = Parser().parsestr(installed.read(about).decode())
    ours = {name for name in kept if name.startswith("apikey_guard/")}
    return [
        *(f"not in {source.name}: {name}" for name in sorted(kept - packed)),
        *(f"in {source.name}, but not in the repository: {name}" for name in sorted(not_ours(packed - kept))),
        *(f"not in {wheel.name}: {name}" for name in sorted(ours - modules)),
        *(f"too much in {wheel.name}: {name}" for name in sorted(modules - ours)),
        *problems_of_page(page),
    ]


def not_ours(names: set[str]) -> set[str]:
    """The names without what setuptools itself writes."""
    return {name for name in names if name != "PKG-INFO" and ".egg-info/" not in name}


def problems_of_page(page: Message) -> list[str]:
    """What of the metadata a package index would show wrong."""
    text = str(page.get_payload())
    lost = re.findall(r"\]\((?!https?:|#)[^)]*\)", text)
    found = [f"a link of the package page leads nowhere: {link}" for link in lost]
    if page["Description-Content-Type"] != "text/markdown" or "## Try it" not in text:
        found.append("the package page is not the README")
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        build = [sys.executable, "-m", "build", "--outdir", directory, str(ROOT)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        found = problems(Path(directory))
        names = sorted(path.name for path in Path(directory).iterdir())
    print(*(found or [f"as they should be: {', '.join(names)}"]), sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
