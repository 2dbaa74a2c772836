"""``python -m tests.lowest_versions [ARGUMENT ...]``: the tests under the lowest versions that are supported.

What is installed for users (dependencies, and the extras for frameworks and servers) is installed in
the lowest versions into a directory of its own, before everything else on the path; what only the
tests need is that of the interpreter that runs this. How much of the code was run is measured
meanwhile, in this process alone: what servers and commands run in theirs is not counted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOR_USERS = ("flask", "django", "drf", "openapi", "serve")

# The pages, and what random targets are to other routers and origins, is the same under all versions.
MOST = ("--ignore=tests/docs", "--ignore=tests/differential", "tests")

# Percent of lines and branches; what only runs in processes of their own is the rest.
COVERED = 85


def lowest() -> Iterator[str]:
    """Each requirement of a user, pinned to its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(one for extra in FOR_USERS for one in extras[extra])]:
        name, _, bound = requirement.partition(">=")
        assert re.fullmatch(r"[\d.]+", bound), f"{requirement!r} has no lower bound, or more than that"
        yield f"{name}=={bound}"


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        pinned = sorted(set(lowest()))
        print(*pinned, flush=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", directory, *pinned]
        subprocess.run(install, check=True)
        data = f"--data-file={directory}/.coverage"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([directory, str(ROOT)])}

        def coverage(*arguments: str) -> int:
            command = [sys.executable, "-m", "coverage", *arguments]
            return subprocess.run(command, check=False, env=env, cwd=ROOT).returncode

        failed = coverage("run", data, "-m", "pytest", "-q", *(sys.argv[1:] or MOST))
        least = [] if sys.argv[1:] else [f"--fail-under={COVERED}"]
        return coverage("report", data, *least) or failed


if __name__ == "__main__":
    sys.exit(main())
