"""What people put in of their own: hooks, and objects that do what a part of ours would do."""

from __future__ import annotations

import inspect
from collections.abc import Collection

from apikey_guard.settings.checks import Check, Wrong, one_of, shown


def hook(what: str) -> Check:
    """A plain callable."""

    def check(value: object) -> object:
        if not callable(value):
            raise Wrong(f"must be {what}, not {shown(value)}")
        _refuse_unusable(value, value)
        return value

    return check


def key_service(value: object) -> object:
    """A function from credential to verdict, or an object whose ``verify`` is one."""
    verify = getattr(value, "verify", None)
    if not callable(value) and not callable(verify):
        raise Wrong(f"must be a function credential -> Verdict, or have verify(), not {shown(value)}")
    refuse_class(value)
    return value


def part(protocol: type, what: str, names: Collection[str] = ()) -> Check:
    """An object of the app's own that has the methods of a protocol, or one of some names."""
    named = one_of(names, what)

    def check_value(value: object) -> object:
        if isinstance(value, protocol):
            refuse_class(value)
            return value
        if names:
            return named(value)
        raise Wrong(f"must be {what}, not {shown(value)}")

    return check_value


def _refuse_unusable(value: object, called: object) -> None:
    refuse_class(value)
    # What a coroutine function returns is no answer, and true.
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(type(called).__call__):
        raise Wrong("is async, but is called in a thread; give a plain function")


def refuse_class(value: object) -> None:
    """Refuse a class where an object of the app's own is to be."""
    if inspect.isclass(value):
        raise Wrong(f"is the class {value.__name__}; give an object made from it, or a function")
