"""Every type that a public signature names, and every exception, is exported from the root package."""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from importlib import import_module

import pytest

import apikey_guard
from apikey_guard import errors

MODULES = (
    "apikey_guard",
    "apikey_guard.clock",
    "apikey_guard.flask",
    "apikey_guard.gateway",
    "apikey_guard.openapi",
)

# Made by a guard, and by nobody else: only these of their members are public.
MADE_BY_US: dict[str, frozenset[str]] = {
    "Pending": frozenset(
        {"again", "is_by_default", "may_be_marked", "rejection", "relax", "settle", "settle_async"}
    ),
    "Policy": frozenset(),
    "Rule": frozenset(),
}


def is_ours(named: type | types.FunctionType) -> bool:
    return named.__module__.partition(".")[0] == "apikey_guard"


def names_in(annotation: str) -> Iterator[str]:
    """The dotted names that an annotation is made of."""
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id


def imported_in(module: types.ModuleType) -> dict[str, str]:
    """What each name that a module imports stands for, those for type checkers alone included."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("apikey_guard"):
            found |= {alias.asname or alias.name: f"{node.module}:{alias.name}" for alias in node.names}
    return found


def meant(annotation: object, where: str) -> Iterator[type]:
    """The classes of ours that an annotation names, whatever aliases stand for them."""
    if isinstance(annotation, typing.ForwardRef):  # as a NamedTuple keeps them
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        module = sys.modules[where]
        imported = imported_in(module)
        for name in names_in(annotation):
            if name in imported:
                source, _, last = imported[name].partition(":")
                yield from meant(getattr(import_module(source), last), source)
            elif hasattr(module, name):
                yield from meant(getattr(module, name), where)
    elif isinstance(annotation, type):
        if is_ours(annotation):
            yield annotation
    else:
        for part in typing.get_args(annotation):
            yield from meant(part, where)


def signatures(named: object) -> Iterator[tuple[str, object]]:
    """Each annotation of a public class or function, with the module that it is written in."""
    if inspect.isfunction(named):
        if not is_ours(named):  # written by dataclasses and named tuples
            return
        for annotation in named.__annotations__.values():
            yield named.__module__, annotation
    elif isinstance(named, type):
        for kind in named.__mro__:
            if not is_ours(kind):
                continue
            for name, annotation in inspect.get_annotations(kind).items():
                if is_public(named, name):
                    yield kind.__module__, annotation
            for name, member in vars(kind).items():
                function = (
                    member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                )
                if is_public(named, name) and inspect.isfunction(function):
                    yield from signatures(function)


def is_public(kind: type, name: str) -> bool:
    of_ours = MADE_BY_US.get(kind.__name__)
    if of_ours is not None:
        return name in of_ours
    return not name.startswith("_") or name in {"__init__", "__call__", "__new__"}


def public(module: str) -> dict[str, object]:
    found = import_module(module)
    if hasattr(found, "__all__"):
        return {name: getattr(found, name) for name in found.__all__}
    here = {name: value for name, value in vars(found).items() if getattr(value, "__module__", "") == module}
    return {name: value for name, value in here.items() if not name.startswith("_")}


def wanted() -> dict[str, str]:
    """Each class that has to be exported, by what names it."""
    found: dict[str, str] = {}
    waiting = [(module, name, named) for module in MODULES for name, named in public(module).items()]
    seen = set()
    while waiting:
        module, name, named = waiting.pop()
        if id(named) in seen:
            continue
        seen.add(id(named))
        for where, annotation in signatures(named):
            for kind in meant(annotation, where):
                found.setdefault(f"{kind.__module__}:{kind.__qualname__}", f"{module}:{name}")
                waiting.append((kind.__module__, kind.__qualname__, kind))
    return found


EXPORTED = {named for module in MODULES for named in public(module).values() if isinstance(named, type)}
WANTED = wanted()


@pytest.mark.parametrize("kind", WANTED)
def test_a_type_that_a_signature_names_is_exported(kind: str) -> None:
    module, _, name = kind.partition(":")
    assert getattr(import_module(module), name) in EXPORTED, f"{WANTED[kind]} names it"


ERRORS = [
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
]


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_is_exported(name: str) -> None:
    assert name in apikey_guard.__all__


def test_the_names_stand_in_order() -> None:
    assert apikey_guard.__all__ == sorted(apikey_guard.__all__)
    assert all(hasattr(apikey_guard, name) for name in apikey_guard.__all__)
