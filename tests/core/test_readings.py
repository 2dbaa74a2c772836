"""The readings of a path are closed: whatever a server does with it, in whatever order, is among them."""

from __future__ import annotations

import posixpath
import random
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

import pytest

from apikey_guard import Route
from apikey_guard.core.table import RouteTable


def resolved(path: str) -> str:
    """RFC 3986, section 5.2.4, where an empty segment is one like any other."""
    found: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        if segment == "..":
            del found[max(1, len(found) - 1) :]
        elif segment != ".":
            found.append(segment)
        if segment in {".", ".."} and number == len(segments) - 1:
            found.append("")
    return "/".join(found) or "/"


def after(pattern: str) -> Callable[[str], str]:
    return lambda path: re.sub(rf"\A{pattern}", "", path) or "/"


def until(mark: str) -> Callable[[str], str]:
    return lambda path: path.partition(mark)[0]


STEPS: Mapping[str, Callable[[str], str]] = {
    "leading slashes dropped": lambda path: "/" + path.lstrip("/"),
    "slashes merged": lambda path: re.sub("/+", "/", path),
    "dots resolved": resolved,
    "dots resolved, slashes merged": posixpath.normpath,
    "parameters cut": lambda path: re.sub(";[^/]*", "", path),
    "everything cut at a semicolon": until(";"),
    "decoded once more": unquote,
    "controls removed": lambda path: re.sub(r"[\x00-\x1f\x7f]", "", path),
    "an authority as urlsplit reads it": after("//[^/?#]*"),
    "an authority as URL reads it": after(r"[/\\]{2,}[^/\\?#]*"),
    "a backslash as slash": lambda path: path.replace("\\", "/"),
    "ended at a question mark": until("?"),
    "ended at a fragment": until("#"),
    "ended at a NUL": until("\x00"),
    "the last slash dropped": lambda path: path.rstrip("/") or "/",
    "letter case ignored": str.lower,
    "blanks at the end dropped": lambda path: path.rstrip(" "),
}
PIECES: Final = (
    *("/", "//", "admin", "Admin", "users", "open", ".", "..", ";", ";a", "%2e", "%2f", "%2F"),
    *("%3b", "%25", "%5c", "\\", "?", "#", "\x00", "\t", " ", "%2500", "%09"),
)
ROUTES: Final = [
    Route(f"/{name}{below}")
    for name in ("admin", "admin/users", "open", "open/users", "users", "users/admin")
    for below in ("", "/*")
]
TABLE: Final = RouteTable([(route.path, route) for route in ROUTES], Route("/*"))


def reached(path: str, *, steps: int) -> dict[str, tuple[str, ...]]:
    """Every path that so many steps lead to, and by which of them."""
    found: dict[str, tuple[str, ...]] = {path: ()}
    latest = [path]
    for _ in range(steps):
        before, latest = latest, []
        for one in before:
            for name, step in STEPS.items():
                other = step(one)
                if other not in found and other[:1] == "/":
                    found[other] = (*found[one], name)
                    latest.append(other)
    return found


@pytest.mark.parametrize("sent", [True, False], ids=["target known", "path alone"])
def test_p01_whatever_steps_a_server_takes_it_ends_at_one_of_the_readings(sent: bool) -> None:
    chance = random.Random(7)
    unread = 0
    for _ in range(200):
        target = "/" + "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))
        path = unquote(target) if sent else target
        leaves = TABLE.readings(path, *([target] if sent else []), sent=sent)
        if leaves is None:
            unread += 1
            continue
        for start in {target, path}:
            for other, names in reached(start, steps=3).items():
                assert TABLE.literal(other) in leaves, (start, names, other)
    assert unread < 10


@pytest.mark.parametrize("name", STEPS)
def test_every_step_changes_some_path(name: str) -> None:
    """A step that does nothing would prove nothing."""
    paths = ("//a", "/a//b", "/a/../b", "/a;b", "/%41", "/a\x00", "/\\a", "/a?b", "/a#b", "/a/", "/A", "/a ")
    assert any(STEPS[name](path) != path for path in paths)
