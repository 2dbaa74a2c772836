"""Who may import whom, and what an import may do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_rules import AROUND, FRAMEWORKS, PLACES, complaints_about, modules

ROOT = Path(__file__).parents[1]
MODULES = {name: (source, is_package) for name, source, is_package in modules(ROOT)}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_the_rules(module: str) -> None:
    source, is_package = MODULES[module]
    assert list(complaints_about(source, module, is_package=is_package)) == []


def test_the_rules_name_no_module_that_is_not_there() -> None:
    assert {*PLACES, *frozenset().union(*FRAMEWORKS.values()), *AROUND} <= {*MODULES}


@pytest.mark.parametrize(("around", "inside"), [(a, b) for a, all_b in AROUND.items() for b in sorted(all_b)])
def test_what_may_be_imported_by_an_adapter_is_imported(around: str, inside: str) -> None:
    sources = [source for name, (source, _) in MODULES.items() if f"{name}.".startswith(f"{around}.")]
    assert any(f"from {inside}" in source for source in sources)


BAD = {
    "core reads the clock": ("apikey_guard.core.x", "import time", "core is pure"),
    "core logs": ("apikey_guard.core.x", "import logging", "core is pure"),
    "core in a function": ("apikey_guard.core.x", "def f():\n    import socket", "line 2: core is pure"),
    "core knows a server": ("apikey_guard.core.x", "from werkzeug.http import parse_date", "core is pure"),
    "core opens an address": ("apikey_guard.core.x", "from urllib import request", "core is pure"),
    "core asks datetime": (
        "apikey_guard.core.x",
        "from datetime import datetime\nx = datetime.now()",
        "core has no clock",
    ),
    "core knows a part": ("apikey_guard.core.x", "from apikey_guard.verification import memory", "points up"),
    "core knows the clock": ("apikey_guard.core.x", "from apikey_guard.clock import Clock", "points up"),
    "core, relative": ("apikey_guard.core.x", "from ..guard import Guard", "points up"),
    "a package, relative": ("apikey_guard.core", "from ..guard import Guard", "points up"),
    "for types only": (
        "apikey_guard.core.x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from apikey_guard.guard import Guard",
        "points up",
    ),
    "errors know nobody": ("apikey_guard.errors", "from apikey_guard.core.model import Deny", "points up"),
    "part to part": (
        "apikey_guard.verification.memory",
        "from apikey_guard.keyservice import KeyService",
        "no other part",
    ),
    "part to guard": ("apikey_guard.verification.memory", "import apikey_guard.guard", "points up"),
    "part to settings": ("apikey_guard.bodies", "from apikey_guard import settings", "points up"),
    "guard to adapter": (
        "apikey_guard.guard",
        "from apikey_guard.wsgi import GuardMiddleware",
        "points up",
    ),
    "adapter to adapter": (
        "apikey_guard.django.checks",
        "from apikey_guard.cli.console import Console",
        "an adapter knows no other one",
    ),
    "the root package": (
        "apikey_guard.wsgi",
        "from apikey_guard import Guard",
        "from the module that defines it",
    ),
    "guard and a framework": ("apikey_guard.guard", "import flask", "only adapters know frameworks"),
    "the wrong framework": (
        "apikey_guard.flask",
        "from django.conf import settings",
        "only adapters know frameworks",
    ),
    "guard and sockets": ("apikey_guard.guard", "from http import client", "only parts know sockets"),
    "no place": ("apikey_guard.novelty", "", "has no place"),
    "a cache in a module": ("apikey_guard.guard", "_cache = {}", "a module has no state"),
    "a lock in a module": ("apikey_guard.guard", "import threading\n_lock = threading.Lock()", "no state"),
    "a typed list in a module": ("apikey_guard.guard", "seen: list[str] = []", "a module has no state"),
    "a final cache": (
        "apikey_guard.guard",
        "from typing import Final\nCACHE: Final = {}",
        "a module has no state",
    ),
    "a global": ("apikey_guard.guard", "def f():\n    global guard\n    guard = 1", "'global guard'"),
}


@pytest.mark.parametrize(("module", "source", "complaint"), BAD.values(), ids=BAD)
def test_the_checker_sees_what_is_wrong(module: str, source: str, complaint: str) -> None:
    found = list(complaints_about(source, module, is_package=module == "apikey_guard.core"))
    assert len(found) == 1, found
    assert complaint in found[0]


GOOD = {
    "core": ("apikey_guard.core.x", "import re\nfrom urllib.parse import unquote"),
    "part": ("apikey_guard.keyservice.x", "from apikey_guard.keyservice.http import HttpKeyService"),
    "part on the ground": (
        "apikey_guard.forwarding.forwarder",
        "from apikey_guard.http1.dial import connect\nimport urllib3",
    ),
    "adapter": ("apikey_guard.flask", "import flask\nfrom apikey_guard.guard import Guard"),
    "adapter around another": ("apikey_guard.gateway", "from apikey_guard.wsgi import GuardMiddleware"),
    "constants": (
        "apikey_guard.guard",
        "from typing import Final\n__all__ = ['x']\nT: Mapping[str, int] = {'a': 1}\nF: Final = {'a': 1}",
    ),
}


@pytest.mark.parametrize(("module", "source"), GOOD.values(), ids=GOOD)
def test_the_checker_lets_the_rest_pass(module: str, source: str) -> None:
    assert list(complaints_about(source, module)) == []


LAZY = (
    *("flask", "django", "rest_framework", "werkzeug", "requests", "urllib3", "redis", "gevent", "gunicorn"),
    *("asyncio", "http.client", "selectors", "socket", "ssl", "subprocess"),
)


def _run(statements: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", statements],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CONSTRUCTED = (
    "apikey_guard.GuardMiddleware(lambda environ, start_response: [], validator_url='https://k.example/')"
)


@pytest.mark.parametrize("also", ["pass", CONSTRUCTED], ids=["imported", "constructed"])
def test_c04_loads_no_framework_and_nothing_that_gevent_must_patch_first(also: str) -> None:
    loaded = _run(f"import sys, apikey_guard; {also}; print(*sys.modules)").split()
    assert [name for name in LAZY if name in loaded] == []


IMPORT_AND_CONSTRUCT = """
import sys, threading
touched = []

def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.fork")):
        touched.append(event)
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so")):
        touched.append(f"open {arguments[0]}")

import importlib.metadata, encodings.idna
sys.addaudithook(watch)
import apikey_guard
imported, touched[:] = list(touched), []
apikey_guard.GuardMiddleware(lambda environ, start_response: [], validator_url="https://keys.example.com/v")
print(imported, touched, threading.active_count())
"""


def test_importing_and_constructing_touch_no_file_socket_or_thread() -> None:
    assert _run(IMPORT_AND_CONSTRUCT).strip() == "[] [] 1"
