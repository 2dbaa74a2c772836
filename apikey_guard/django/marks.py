"""Marks: what a view says about itself, written on the view, found by resolving its URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import update_wrapper
from inspect import getattr_static
from types import FunctionType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver

from apikey_guard.core.decision import Question
from apikey_guard.core.model import NO_SCOPES, Decision
from apikey_guard.core.routing import Access
from apikey_guard.django.passing import asked_for, lacking, refuse, settled
from apikey_guard.django.request import GuardedRequest

if TYPE_CHECKING:
    from apikey_guard.pending import Pending

Target = TypeVar("Target")
View = Callable[..., object]

MARK: Final = "_apikey_guard_mark"
#: On classes of REST framework that ask for a key.
ASKS: Final = "_apikey_guard_asks"


class Mark(NamedTuple):
    """What a view says about itself.

    :param access: ``required``, ``optional`` or ``public``.
    :param scopes: what the consumer needs, with ``required`` only.
    """

    access: Access
    scopes: frozenset[str] = NO_SCOPES

    @property
    def decorator(self) -> str:
        """The decorator that writes this mark."""
        return "require_scopes" if self.access == "required" else self.access


def mark_of(view: object) -> Mark | None:
    """The mark on a view, or None: what a base class opens, a class does not open by that."""
    mark = _written_on(view)
    if mark is None or mark.access == "required":
        return mark
    # Django's own name for the class of a view, and that of REST framework's viewsets.
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return None if isinstance(kind, type) and _is_inherited(mark, kind, "dispatch") else mark


def asks_for_a_key(view: object) -> bool:
    """Whether a view can be seen to need a key: by a mark, its own or a method's, or by its permissions."""
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    # Looked up without running what a class computes when its attributes are read.
    names = dir(kind) if isinstance(kind, type) else ()
    found = [getattr_static(kind, name, None) for name in names]
    # By their types: asking what a lazy object is an instance of would make it.
    methods = [each for each in found if type(each) is FunctionType]
    marks = [mark_of(view), *map(_written_on, methods)]
    # The permissions of a viewset's action are REST framework's to keep, on the method.
    kept = [kind, *(getattr(method, "kwargs", None) for method in methods)]
    return any(mark is not None and mark.access == "required" for mark in marks) or any(
        _ask(_classes(holder, which))
        for holder in kept
        for which in ("permission_classes", "authentication_classes")
    )


def _classes(holder: object, which: str) -> Iterable[object]:
    found = holder.get(which) if isinstance(holder, Mapping) else getattr(holder, which, None)
    return found if isinstance(found, Iterable) else ()


def _ask(classes: Iterable[object]) -> bool:
    """Whether one of these asks for a key; REST framework combines two by ``|`` and ``&``."""
    for each in classes:
        pair = getattr(each, "op1_class", None), getattr(each, "op2_class", None)
        if getattr(each, ASKS, False) or (pair[1] is not None and _ask(pair)):
            return True
    return False


def access_of(view: object, method: str | None) -> Access | None:
    """What a view says about its access, or None; what the method of its class says goes first.

    A method opens nothing that its view asks a key for.

    :param method: of the request, in capitals.
    """
    kind, actions = (
        getattr(view, "view_class", None) or getattr(view, "cls", None),
        getattr(view, "actions", None),
    )
    mark = mark_of(view)
    if not isinstance(kind, type):
        return None if mark is None else mark.access
    # Django answers HEAD with the method for GET where there is no other.
    for name in ("head", "get") if method == "HEAD" else ((method or "").lower(),):
        called = actions.get(name, "") if isinstance(actions, Mapping) else name
        handler = getattr_static(kind, called, None)
        if handler is not None:
            own = _written_on(handler)
            if own is None or own.access == "required":
                mark = own or mark
            elif (mark is None or mark.access != "required") and not _is_inherited(own, kind, called):
                mark = own
            break
    return None if mark is None else mark.access


def _written_on(target: object) -> Mark | None:
    mark = getattr(target, MARK, None)
    return mark if isinstance(mark, Mark) else None


def _is_inherited(mark: Mark, kind: type, name: str) -> bool:
    """Whether a mark was written on the method of a base class, and copied from there since.

    Decorators of the class itself may stand around what they inherit, with the same mark on them.
    """
    owners = [base for base in kind.__mro__ if _written_on(base.__dict__.get(name)) is mark]
    return bool(owners) and owners[-1] is not kind


def marked(target: Target, mark: Mark) -> Target:
    """A marked copy of a view, of a URL pattern, or of everything that ``include()`` found.

    A class is changed in place, as decorators of classes do. A view or pattern is not: the same
    view under another URL keeps its own mark, or none.

    :raises ImproperlyConfigured: the view says the contrary about itself.
    :raises TypeError: this is nothing that can be marked.
    """
    done: object
    if isinstance(target, type):
        done = _marked_class(target, mark)
    elif isinstance(target, URLPattern | URLResolver):
        done = _marked_pattern(target, mark)
    elif isinstance(target, list) or (isinstance(target, tuple) and _holds_patterns(target)):
        done = [_marked_pattern(pattern, mark) for pattern in target]
    elif isinstance(target, tuple):
        done = _marked_include(target, mark)
    elif callable(target):
        done = _marked_view(target, mark, mark_of(target))
    else:
        raise TypeError(
            f"{mark.decorator} marks a view, a class-based view, a list of URL patterns or include(...), "
            f"not {type(target).__name__}"
        )
    return cast("Target", done)


def _holds_patterns(target: tuple[object, ...]) -> bool:
    return all(isinstance(pattern, URLPattern | URLResolver) for pattern in target)


def _marked_view(view: View, mark: Mark, own: Mark | None) -> View:
    """A view with a mark on it, which looks itself at what a mark asks for: not every mark can be seen.

    :param own: the mark that it has already.
    """
    if own is not None and own.access != mark.access:
        raise ImproperlyConfigured(
            f"{getattr(view, '__qualname__', view)!s} is marked with {own.decorator} already; "
            f"leave out either that or {mark.decorator}"
        )
    wrapper: View
    if mark.access != "required":
        wrapper = _unchanged(view)
    elif iscoroutinefunction(view):
        wrapper = _checked_async(view, mark.scopes)
    else:
        wrapper = _checked(view, mark.scopes)
    # Copies what other decorators wrote on the view, such as csrf_exempt.
    update_wrapper(wrapper, view)
    setattr(wrapper, MARK, Mark(mark.access, mark.scopes | (NO_SCOPES if own is None else own.scopes)))
    return wrapper


def _unchanged(view: View) -> View:
    """A function of its own to carry a mark, as the view under another URL keeps its own."""
    if iscoroutinefunction(view):

        async def marked_async_view(*args: object, **kwargs: object) -> object:
            return await cast("Awaitable[object]", view(*args, **kwargs))

        return marked_async_view

    def marked_view(*args: object, **kwargs: object) -> object:
        return view(*args, **kwargs)

    return marked_view


def _checked(view: View, scopes: frozenset[str]) -> View:
    """A view that looks itself at the key: where it stands, its mark may not be seen by its URL."""

    def marked_view(*args: object, **kwargs: object) -> object:
        request = _request_in(args)
        pending = asked_for(request)
        if pending is not None and isinstance(pending.said, Question) and _in_event_loop():
            return _called_later(request, pending, scopes, lambda: view(*args, **kwargs))
        refusal = _refusal(request, scopes, pending, None if pending is None else pending.settle())
        return view(*args, **kwargs) if refusal is None else refusal

    return marked_view


def _checked_async(view: View, scopes: frozenset[str]) -> View:
    async def marked_async_view(*args: object, **kwargs: object) -> object:
        request = _request_in(args)
        pending = asked_for(request)
        decision = None if pending is None else await pending.settle_async()
        refusal = _refusal(request, scopes, pending, decision)
        return await cast("Awaitable[object]", view(*args, **kwargs)) if refusal is None else refusal

    return marked_async_view


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _called_later(
    request: HttpRequest, pending: Pending, scopes: frozenset[str], call: Callable[[], object]
) -> object:
    """What a plain function returns that runs on the event loop, as a class's with async methods does."""
    refusal = _refusal(request, scopes, pending, await pending.settle_async())
    if refusal is not None:
        return refusal
    answer = call()
    return await answer if isinstance(answer, Awaitable) else answer


def _marked_class(view_class: type, mark: Mark) -> type:
    dispatch = getattr(view_class, "dispatch", None)
    if dispatch is None:
        raise TypeError(f"{mark.decorator} marks views; {view_class.__name__} has no dispatch()")
    own = _written_on(dispatch)
    if own is not None and own.access != "required" and _is_inherited(own, view_class, "dispatch"):
        own = None
    # as_view() copies what is written on dispatch to the view that it makes.
    view_class.dispatch = _marked_view(dispatch, mark, own)  # type: ignore[attr-defined]  # as just looked up
    return view_class


def _marked_include(target: tuple[object, ...], mark: Mark) -> tuple[object, ...]:
    """What ``include()`` returned: patterns (or the module that has them), app name, namespace."""
    urlconf, *names = target
    patterns = getattr(urlconf, "urlpatterns", urlconf)
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise TypeError(f"{mark.decorator} marks what include(...) returns, or a list of URL patterns")
    return ([_marked_pattern(pattern, mark) for pattern in patterns], *names)


def _marked_pattern(pattern: object, mark: Mark) -> URLPattern | URLResolver:
    if isinstance(pattern, URLPattern):
        own = mark_of(pattern.callback)
        # What a view says about itself is nearer to it than what is said about many.
        if own is not None and own.access != mark.access:
            return pattern
        view = _marked_view(pattern.callback, mark, own)
        return URLPattern(pattern.pattern, view, pattern.default_args, pattern.name)
    if isinstance(pattern, URLResolver):
        below: Sequence[object] = pattern.url_patterns
        return URLResolver(
            pattern.pattern,
            [_marked_pattern(one, mark) for one in below],
            pattern.default_kwargs,
            pattern.app_name,
            pattern.namespace,
        )
    raise TypeError(f"{mark.decorator} marks URL patterns, not {type(pattern).__name__}")


def _request_in(args: Sequence[object]) -> HttpRequest:
    """The request among the arguments of a view or of a method; REST framework wraps it."""
    for value in args[:2]:
        request = getattr(value, "_request", value)
        if isinstance(request, HttpRequest):
            return request
    raise TypeError("require_scopes is for views: their first argument is the request")


def _refusal(
    request: HttpRequest, scopes: frozenset[str], pending: Pending | None, decision: Decision | None
) -> HttpResponseBase | None:
    """The response where no valid key was sent, or its consumer lacks one of these scopes.

    :param pending: what had to be decided first, and ``decision``: how it was.
    """
    guarded = cast("GuardedRequest", request)
    if pending is not None and decision is not None:
        refusal = settled(guarded, pending, decision)
        if refusal is not None:
            return refusal
    deny = lacking(request, scopes)
    if deny is None:
        return None
    guard = guarded._apikey_guard[0]
    return refuse(guarded, guard.reject(deny, guarded.META, guarded.path_info))
