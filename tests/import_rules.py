"""The rules of the house about imports, as a checker that reads source text.

Arrows run one way: adapters -> guard -> parts -> core. Every module has its place in
:data:`PLACES`; one that has none is a complaint too, so that nobody adds a module without saying
where it stands. ``tests/docs/test_design.py`` compares them with the table of docs/design.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = "apikey_guard"

# As in the table of docs/design.md, from below: lower ones know nothing of higher ones.
FLOORS = ("errors", "core", "ground", "parts", "guard", "diagnosis", "adapters")
ERRORS, CORE, GROUND, PART, GUARD, DIAGNOSIS, ADAPTER = range(len(FLOORS))

# By module or package, the longest match counts. The root package gathers the public names.
PLACES: Mapping[str, int] = {
    "apikey_guard": ADAPTER,
    "apikey_guard.__main__": ADAPTER,
    "apikey_guard.errors": ERRORS,
    "apikey_guard.core": CORE,
    # Pure, though they stand with the I/O that they are for.
    "apikey_guard.forwarding": CORE,
    "apikey_guard.http1.parser": CORE,
    # What parts stand on: the clock, names in an environ, and the ways in and out.
    "apikey_guard.clock": GROUND,
    "apikey_guard.environ": GROUND,
    "apikey_guard.http1": GROUND,
    "apikey_guard.process": GROUND,
    "apikey_guard.bodies": PART,
    "apikey_guard.forwarding.forwarder": PART,
    "apikey_guard.forwarding.given": PART,
    "apikey_guard.forwarding.request_body": PART,
    "apikey_guard.forwarding.targets": PART,
    "apikey_guard.keyservice": PART,
    "apikey_guard.observe": PART,
    "apikey_guard.verification.memory": PART,
    "apikey_guard.admission": GUARD,
    "apikey_guard.assembly": GUARD,
    "apikey_guard.guard": GUARD,
    "apikey_guard.openapi": GUARD,
    "apikey_guard.passage": GUARD,
    "apikey_guard.pending": GUARD,
    "apikey_guard.policy": GUARD,
    "apikey_guard.rejections": GUARD,
    "apikey_guard.settings": GUARD,
    "apikey_guard.verification": GUARD,
    "apikey_guard.diagnosis": DIAGNOSIS,
    "apikey_guard.cli": ADAPTER,
    "apikey_guard.django": ADAPTER,
    "apikey_guard.flask": ADAPTER,
    "apikey_guard.gateway": ADAPTER,
    "apikey_guard.pytest_plugin": ADAPTER,
    "apikey_guard.testing": ADAPTER,
    "apikey_guard.wsgi": ADAPTER,
}

# No adapter knows another one, but what is built around it.
AROUND: Mapping[str, frozenset[str]] = {
    "apikey_guard.__main__": frozenset({"apikey_guard.cli"}),
    "apikey_guard.cli": frozenset({"apikey_guard.gateway", "apikey_guard.wsgi"}),
    # The extension's ``as_consumer`` is that of the tests.
    "apikey_guard.flask": frozenset({"apikey_guard.testing"}),
    "apikey_guard.gateway": frozenset({"apikey_guard.wsgi"}),
    "apikey_guard.pytest_plugin": frozenset({"apikey_guard.testing"}),
}

# Pure: no socket, clock, lock, thread, file, environment, randomness, log.
PURE_STANDARD_LIBRARY = frozenset(
    [
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "encodings.aliases",
        "enum",
        "errno",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
    ]
)

# Who may know a framework.
FRAMEWORKS: Mapping[str, frozenset[str]] = {
    "flask": frozenset({"apikey_guard.flask"}),
    "blinker": frozenset({"apikey_guard.flask"}),
    "django": frozenset({"apikey_guard.django"}),
    "rest_framework": frozenset({"apikey_guard.django"}),
    "drf_spectacular": frozenset({"apikey_guard.openapi", "apikey_guard.django"}),
    "gunicorn": frozenset({"apikey_guard.cli.worker", "apikey_guard.cli.workers"}),
    "pytest": frozenset({"apikey_guard.pytest_plugin"}),
}

# Who may know sockets, and the libraries made of them.
NETWORK = frozenset({"requests", "urllib3", "http.client", "http.server", "socket", "socketserver", "ssl"})

_SHARED = frozenset({"deque", "defaultdict", "dict", "list", "set", "bytearray", "count", "local", "Thread"})
_SHARED_METHODS = frozenset({"Lock", "RLock", "Condition", "Event", "Semaphore", "WeakSet", "Session"})


class Import(NamedTuple):
    """One imported module, with the line that names it."""

    name: str
    line: int


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every module that a source imports, wherever it does: at the top, in functions, for types."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                kept = parents[: len(parents) - node.level + (1 if is_package else 0)]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                # ``from package import module`` names a module, other names do not.
                yield Import(f"{base}.{alias.name}", node.lineno)


def place_of(module: str) -> int | None:
    """The rank of a module of ours, or None where it has no place."""
    name = module
    while "." in name:
        if name in PLACES:
            return PLACES[name]
        name = name.rpartition(".")[0]
    return PLACES[PACKAGE] if module == PACKAGE else None


def part_of(module: str) -> str:
    """The name of the part that a module belongs to: ``apikey_guard.keyservice`` for all of its files."""
    return ".".join(module.split(".")[:2])


def _within(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def complaints_about(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Everything in a module that breaks a rule, one sentence each."""
    place = place_of(module)
    if place is None:
        yield f"{module}: has no place in the house yet; add it to PLACES in tests/import_rules.py"
        return
    for found in imports_of(source, module, is_package=is_package):
        where = f"{module}, line {found.line}"
        if found.name == PACKAGE or found.name.startswith(f"{PACKAGE}."):
            yield from _own(where, module, place, found.name)
        elif place <= CORE and not _is_pure(found.name):
            yield f"{where}: core is pure and must not import {found.name}"
        else:
            yield from _foreign(where, module, place, found.name)
    if place <= CORE:
        yield from _asks_the_clock(source, module)
    yield from _shared_state(source, module)


def _own(where: str, module: str, place: int, name: str) -> Iterator[str]:
    theirs = place_of(name)
    if theirs is None or (name == PACKAGE and module != PACKAGE):
        yield f"{where}: import {name} from the module that defines it, not from the root package"
    elif theirs > place:
        yield f"{where}: the arrow to {name} points up; adapters -> guard -> parts -> core"
    elif theirs == place == PART and part_of(name) != part_of(module):
        yield f"{where}: a part knows no other part but the transport, and {name} is one"
    elif theirs == place == ADAPTER and not _is_around(module, name):
        yield f"{where}: an adapter knows no other one, and {name} is one"
    elif place <= CORE and theirs not in (ERRORS, CORE):
        yield f"{where}: core knows nobody, and {name} is not core"


def _is_around(module: str, name: str) -> bool:
    mine, theirs = part_of(module), part_of(name)
    return module == PACKAGE or mine == theirs or theirs in AROUND.get(mine, ())


def _foreign(where: str, module: str, place: int, name: str) -> Iterator[str]:
    for framework, knowing in FRAMEWORKS.items():
        if _within(name, frozenset({framework})) and not _within(module, knowing):
            yield f"{where}: only adapters know frameworks, and only their own; {name} is not for this module"
    if place == GUARD and _within(name, NETWORK):
        yield f"{where}: only parts know sockets; {name} is one"


def _is_pure(name: str) -> bool:
    return _within(name, PURE_STANDARD_LIBRARY)


def _asks_the_clock(source: str, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"now", "utcnow", "today"}
        ):
            yield f"{module}, line {node.lineno}: core has no clock, and asks one here"


def _shared_state(source: str, module: str) -> Iterator[str]:
    """Complaints about values that could change and belong to the module, not to a guard."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"{module}, line {node.lineno}: a module has no state; 'global {node.names[0]}'"
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names != ["__all__"] and not _is_table(statement) and _can_change(statement.value):
            yield f"{module}, line {statement.lineno}: a module has no state; {', '.join(names)} could change"


def _is_table(statement: ast.Assign | ast.AnnAssign) -> bool:
    """Whether a value is a constant: read-only by its type, or final and filled where it stands."""
    if isinstance(statement, ast.Assign):
        return False
    annotation = ast.unparse(statement.annotation).removeprefix("Final[")
    filled = isinstance(statement.value, ast.Dict) and bool(statement.value.keys)
    return annotation.startswith(("Mapping[", "Sequence[", "Collection[")) or (
        annotation.startswith("Final") and filled
    )


def _can_change(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp):
        return True
    if not isinstance(value, ast.Call):
        return False
    name = value.func.attr if isinstance(value.func, ast.Attribute) else ast.unparse(value.func)
    return name in _SHARED | _SHARED_METHODS


def modules(root: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, source and "is a package" of every module under the package's directory."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if is_package else parts), path.read_text("utf-8"), is_package
