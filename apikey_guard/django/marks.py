"""Marks: what a view says about itself, written on the view, found by resolving its URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import Final, NamedTuple, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver

from apikey_guard.core.model import NO_SCOPES
from apikey_guard.core.routing import Access
from apikey_guard.django.request import GuardedRequest
from apikey_guard.django.responses import RejectionResponse
from apikey_guard.guard import CONSUMER

Target = TypeVar("Target")
View = Callable[..., object]

MARK: Final = "_apikey_guard_mark"


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
    """The mark on a view, or None."""
    mark = getattr(view, MARK, None)
    return mark if isinstance(mark, Mark) else None


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
        done = _marked_view(target, mark)
    else:
        raise TypeError(
            f"{mark.decorator} marks a view, a class-based view, a list of URL patterns or include(...), "
            f"not {type(target).__name__}"
        )
    return cast("Target", done)


def _holds_patterns(target: tuple[object, ...]) -> bool:
    return all(isinstance(pattern, URLPattern | URLResolver) for pattern in target)


def _marked_view(view: View, mark: Mark) -> View:
    own = mark_of(view)
    if own is not None and own.access != mark.access:
        raise ImproperlyConfigured(
            f"{getattr(view, '__qualname__', view)!s} is marked with {own.decorator} already; "
            f"leave out either that or {mark.decorator}"
        )
    scopes = mark.scopes
    if iscoroutinefunction(view):

        async def marked_view(*args: object, **kwargs: object) -> object:
            refusal = refused(_request_in(args), scopes) if scopes else None
            return await view(*args, **kwargs) if refusal is None else refusal

        wrapper: View = marked_view
    else:

        def marked_plain_view(*args: object, **kwargs: object) -> object:
            refusal = refused(_request_in(args), scopes) if scopes else None
            return view(*args, **kwargs) if refusal is None else refusal

        wrapper = marked_plain_view
    # Copies what other decorators wrote on the view, such as csrf_exempt.
    update_wrapper(wrapper, view)
    setattr(wrapper, MARK, mark if own is None else Mark(mark.access, mark.scopes | own.scopes))
    return wrapper


def _marked_class(view_class: type, mark: Mark) -> type:
    dispatch = getattr(view_class, "dispatch", None)
    if dispatch is None:
        raise TypeError(f"{mark.decorator} marks views; {view_class.__name__} has no dispatch()")
    # as_view() copies what is written on dispatch to the view that it makes.
    view_class.dispatch = _marked_view(dispatch, mark)  # type: ignore[attr-defined]  # as just looked up
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
        view = _marked_view(pattern.callback, mark)
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


def refused(request: HttpRequest, scopes: frozenset[str]) -> HttpResponseBase | None:
    """The response where the consumer lacks one of these scopes.

    :raises ImproperlyConfigured: the request never went through the middleware.
    """
    inside = cast("GuardedRequest", request).__dict__
    guard = inside.get("_apikey_guard")
    if guard is None:
        raise ImproperlyConfigured(
            "require_scopes needs 'apikey_guard.django.GuardMiddleware' in MIDDLEWARE: this request did not "
            "pass it"
        )
    if CONSUMER not in request.META:
        return None  # modes ``monitor`` and ``off`` refuse nothing
    deny = guard.require(request.META, scopes)
    if deny is None:
        return None
    return RejectionResponse(guard.reject(deny, request.META, request.path_info), request.method)
