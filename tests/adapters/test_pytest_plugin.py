"""The pytest plugin as users meet it: loaded for every run, and quiet until a test asks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import requests

from tests.harness.servers import ROOT

PLUGIN = "apikey_guard.pytest_plugin"


def run_pytest(directory: Path, source: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", "."]
    return subprocess.run(
        command, cwd=directory, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"apikey_guard": PLUGIN}


def test_the_fixture_is_a_key_service_that_an_app_can_be_pointed_to(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "from apikey_guard import Guard\n"
        "def test_it(apikey_guard_service):\n"
        "    apikey_guard_service.keys['a-key'] = {'consumer': {'id': '42'}}\n"
        "    with Guard(validator_url=apikey_guard_service.url) as guard:\n"
        "        assert guard.check({'HTTP_APIKEY': 'a-key'}, '/').consumer.id == '42'\n"
        "        assert not guard.check({'HTTP_APIKEY': 'another'}, '/').allowed\n",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_loading_it_imports_no_framework_and_no_http_library() -> None:
    heavy = "{'flask', 'django', 'requests', 'urllib3', 'apikey_guard.testing'}"
    code = f"import sys, pytest, {PLUGIN}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_service_ends_with_its_test(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "from pathlib import Path\n"
        "def test_it(apikey_guard_service):\n"
        "    Path('url').write_text(apikey_guard_service.url)\n",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        requests.post((tmp_path / "url").read_text(), json={"key": "a-key"}, timeout=5)
    except requests.ConnectionError:
        return
    raise AssertionError("it still listens")
