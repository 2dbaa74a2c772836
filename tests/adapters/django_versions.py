"""``python -m tests.adapters.django_versions [VERSION ...]``: the Django tests under other versions.

Each version is installed into a directory of its own, before everything else on the path; all
other packages are those of the interpreter that runs this. Without arguments: every version that
is supported and that this interpreter can run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPORTED = ("4.2", "5.2", *(("6.0",) if sys.version_info >= (3, 12) else ()))


def run(version: str, directory: Path) -> int:
    """Run the Django tests under one version; returns pytest's exit status."""
    place = directory / version
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)]
    subprocess.run([*install, f"django~={version}.0"], check=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}
    found = [sys.executable, "-c", "import django; print('Django', django.__version__, flush=True)"]
    subprocess.run(found, check=True, env=env, cwd=ROOT)
    tests = [sys.executable, "-m", "pytest", "-q", "-k", "django or drf or readers", "tests/adapters"]
    tests.append("tests/core/test_body_readers.py")
    return subprocess.run(tests, check=False, env=env, cwd=ROOT).returncode


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        results = [run(version, Path(directory)) for version in sys.argv[1:] or SUPPORTED]
    return max(results)


if __name__ == "__main__":
    sys.exit(main())
