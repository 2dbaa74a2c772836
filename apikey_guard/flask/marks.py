"""Marks on views: what a view says about itself, found again however it was registered.

A mark is an attribute of the object that was decorated, so it does not matter on which side of
``@app.route`` the decorator stands (threat A-16). What asks for a key looks when it is called, too:
a decorator in between may hide the mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from types import FunctionType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from flask import current_app, has_request_context, request
from werkzeug.exceptions import HTTPException

from apikey_guard.core.model import NO_SCOPES
from apikey_guard.core.routing import Access

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

    from apikey_guard.environ import Environ

Target = TypeVar("Target")

#: Where an app holds what stands before it.
ENTRANCE: Final = "apikey_guard.entrance"
_ATTRIBUTE: Final = "_apikey_guard_mark"
#: The method of a view class that Flask calls.
CALLED: Final = "dispatch_request"
# Decorators around one view that are looked through; more are a loop.
_DEPTH: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What one view, class or blueprint asks for.

    :param access: as in :class:`~apikey_guard.core.routing.Route`.
    :param scopes: all of them are needed; only where access is ``required``.
    :param finished: whether it was put on a finished view of a class, and not by the class's ``decorators``.
    """

    access: Access = "required"
    scopes: frozenset[str] = NO_SCOPES
    finished: bool = False


UNMARKED: Final = Mark()


def put(target: object, mark: Mark) -> Mark:
    """Put a mark on a view function, a view class, one of its methods, or a blueprint.

    :returns: the mark that the object now carries; scopes of several marks add up.
    :raises TypeError: the object carries a mark that says the opposite, or cannot carry one.
    """
    if isinstance(target, type) and not hasattr(target, CALLED):
        raise TypeError(f"{name_of(target)} is no view class of Flask's; mark its methods instead")
    holder = getattr(target, "__func__", target)
    before = _own(holder)
    if before is not None and before.access != mark.access:
        raise TypeError(
            f"{name_of(target)} is marked as {_said(before)} and as {_said(mark)}; keep one of the two"
        )
    scopes = mark.scopes if before is None else before.scopes | mark.scopes
    mark = Mark(mark.access, scopes, hasattr(holder, "view_class"))
    try:
        setattr(holder, _ATTRIBUTE, mark)
    except AttributeError:
        raise TypeError(
            f"{name_of(target)} cannot be marked; mark a view function, a view class or a blueprint"
        ) from None
    return mark


def checked(target: Target, scopes: frozenset[str]) -> Target:
    """What was marked, such that it looks itself at the key: the mark on it may be out of sight.

    A class looks where Flask calls it, and is changed in place; a blueprint is always in sight. Called
    outside of a request it is the plain function; in one of an app without a guard it is an error.

    :param target: what was marked.
    :param scopes: all of them are needed.
    """
    if isinstance(target, staticmethod | classmethod):
        return cast("Target", type(target)(checked(target.__func__, scopes)))
    if isinstance(target, type):
        setattr(target, CALLED, _looking(getattr(target, CALLED), _look_at_class))
        return target
    return cast("Target", _looking(target, lambda *_: _insist(scopes))) if callable(target) else target


def _looking(view: Callable[..., object], look: Callable[..., None]) -> Callable[..., object]:
    """A function that looks first, with the same arguments by position."""
    if iscoroutinefunction(view):

        @wraps(view)
        async def checked_async_view(*args: object, **kwargs: object) -> object:
            look(*args)
            return await view(*args, **kwargs)

        return checked_async_view

    @wraps(view)
    def checked_view(*args: object, **kwargs: object) -> object:
        look(*args)
        return view(*args, **kwargs)

    return checked_view


def _insist(scopes: frozenset[str]) -> None:
    if has_request_context():
        entrance = current_app.extensions.get(ENTRANCE)
        if entrance is None:
            raise RuntimeError(
                f"the app {current_app.name!r} has no guard, but this view asks for a key; "
                "write ApiKeyGuard(app) or init_app(app)"
            )
        entrance.insist(scopes)


def _look_at_class(called: object, *_: object) -> None:
    """Look at what a view class asks for, where the view that Flask has found does not show the class."""
    if not has_request_context():
        return
    kind, view = type(called), current_app.view_functions.get(request.endpoint or "")
    if getattr(view, "view_class", None) is kind and ENTRANCE in current_app.extensions:
        return
    mark = _nearest((*_present(_handler_mark(kind, request.method)), *_class_marks(kind)))
    if mark.access == "required":
        _insist(mark.scopes)


def name_of(target: object) -> str:
    """How messages call a marked object."""
    return str(getattr(target, "__qualname__", None) or getattr(target, "name", None) or type(target))


def _said(mark: Mark) -> str:
    return mark.access if mark.access != "required" else "in need of a key"


def _own(target: object) -> Mark | None:
    """The mark of this very object: a class does not have its base's."""
    mark = getattr(target, "__dict__", {}).get(_ATTRIBUTE)
    return mark if isinstance(mark, Mark) else None


def is_required(function: object) -> bool:
    """Whether a function that is no view, such as one before the request, asks for a key."""
    mark = _own(function)
    return mark is not None and mark.access == "required"


class Views:
    """The marks of one app's views.

    :param app: asked anew each time, as views may be exchanged in its ``view_functions``.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._functions = app.view_functions
        self._blueprints = app.blueprints

    def matched(self, environ: Environ) -> Rule | None:
        """The rule by which Flask will find the view for a request; None where there is none to ask."""
        app = self._app
        try:
            # Read and thrown away: the request that the app sees is built when nothing is left to hide.
            adapter = app.create_url_adapter(app.request_class(environ, populate_request=False))
            if adapter is None:
                return None
            try:
                return adapter.match(return_rule=True)[0]
            except RuntimeError:
                # A converter of the app's own that looks for the context in which Flask asks it.
                with app.app_context(), suppress(HTTPException):
                    return adapter.match(return_rule=True)[0]
        except HTTPException:
            pass  # 404, 405, a redirect, a host that is not trusted: no view to ask
        except Exception:  # noqa: BLE001, S110 - the app's own converters; Flask will meet the same error
            pass
        return None

    def scopes(self, endpoint: str, method: str | None) -> frozenset[str]:
        """The scopes that a request needs which the guard has allowed. Asked for every request."""
        view = self._functions.get(endpoint)
        # Most views are plain functions of the app, which a look at their attributes can tell.
        if "." not in endpoint and isinstance(view, FunctionType):
            attributes = view.__dict__
            if _ATTRIBUTE not in attributes and "view_class" not in attributes and _within(view) is None:
                return NO_SCOPES
        return self.mark(endpoint, method).scopes

    def access(self, endpoint: str, method: str) -> Access | None:
        """What a view, its class or its blueprints say about its access; None where they say nothing.

        :param method: in capitals, as Flask acts on it.
        """
        mark = self.mark(endpoint, method)
        return None if mark is UNMARKED else mark.access

    def mark(self, endpoint: str, method: str | None) -> Mark:
        """What holds for an endpoint: its nearest mark decides, and the scopes of those around add up.

        :param endpoint: as in ``app.view_functions``.
        :param method: of the request, for the methods of a class.
        """
        return _nearest(self.marks(endpoint, method))

    def marks(self, endpoint: str, method: str | None) -> Iterator[Mark]:
        """All marks of an endpoint, the nearest first: method, view function, class, blueprints."""
        view = self._functions.get(endpoint)
        if view is not None:
            kind = getattr(view, "view_class", None)
            if kind is not None:
                yield from _present(_handler_mark(kind, method))
            yield from _present(_view_mark(view, kind))
            if kind is not None:
                yield from _class_marks(kind)
        if "." in endpoint:
            name = endpoint
            while name := name.rpartition(".")[0]:
                yield from _present(_own(self._blueprints.get(name)))


def _nearest(marks: Iterable[Mark]) -> Mark:
    found = UNMARKED
    for mark in marks:
        if mark.access != "required":
            # Something further out is public: it says nothing about what is marked within.
            return mark if found is UNMARKED else found
        found = mark if found is UNMARKED else Mark("required", found.scopes | mark.scopes)
    return found


def _present(mark: Mark | None) -> Iterator[Mark]:
    if mark is not None:
        yield mark


def _view_mark(view: object, kind: type | None) -> Mark | None:
    """The mark of a view function; one that only a base's ``decorators`` put there opens nothing."""
    mark = getattr(view, _ATTRIBUTE, None) or _within(view)
    if kind is None or mark is None or mark.access == "required" or "decorators" in kind.__dict__:
        return mark if isinstance(mark, Mark) else None
    return mark if mark.finished else None


def _within(view: object) -> Mark | None:
    """What a view asks for inside of its decorators: some extensions register one around what they return.

    What opens a view counts on the outside alone.
    """
    for _ in range(_DEPTH):
        view = getattr(view, "__wrapped__", None)
        if view is None:
            break
        mark = getattr(view, _ATTRIBUTE, None)
        if isinstance(mark, Mark) and mark.access == "required":
            return mark
    return None


def _handler_mark(kind: type, method: str | None) -> Mark | None:
    """The mark of the method that Flask will call for a request."""
    name = "" if method is None else method.lower()
    if method == "HEAD" and not hasattr(kind, name):
        name = "get"
    marks = (_method_mark(kind, each) for each in (name, CALLED))
    return next((mark for mark in marks if mark is not None), None)


def _method_mark(kind: type, name: str) -> Mark | None:
    """The mark of a method; one that opens it holds for the class that it was written in alone.

    Decorators may stand around what a class inherits, with the same mark on them.
    """
    mark = getattr(getattr(kind, name, None), _ATTRIBUTE, None)
    if not isinstance(mark, Mark) or mark.access == "required":
        return mark
    owners = [base for base in kind.__mro__ if getattr(base.__dict__.get(name), _ATTRIBUTE, None) is mark]
    return mark if owners and owners[-1] is kind else None


def _class_marks(kind: type) -> Iterator[Mark]:
    """The class's own mark, and what its bases need: being public is not inherited."""
    yield from _present(_own(kind))
    for base in kind.__mro__[1:]:
        mark = _own(base)
        if mark is not None and mark.access == "required":
            yield mark
