"""Decorators by which a view says what it needs; without one it needs a valid credential.

Each of them goes on a function view (plain or async, above or below other decorators), on a
class-based view (``@public class Status(View)``, or ``public(Status.as_view())`` in the URLconf),
and on a whole URLconf: ``path("status/", public(include("status.urls")))``.

A mark opens a view under every method, or the one method of a class that it stands on.
"""

from __future__ import annotations

from collections.abc import Callable

from apikey_guard.django.marks import Mark, Target, marked


def public(target: Target) -> Target:
    """A view that needs no credential and looks at none, so that it never waits for the key service.

    :param target: a view, a class-based view or a method of one, URL patterns, or what ``include()`` returns.
    """
    return marked(target, Mark("public"))


def optional(target: Target) -> Target:
    """A view that can be called without a credential; one that is sent must be valid.

    :param target: as in :func:`public`.
    """
    return marked(target, Mark("optional"))


def required(target: Target) -> Target:
    """A view that needs a valid credential, whatever a route, ``include()`` or ``DEFAULT_ACCESS`` says.

    For projects that guard some views only; anywhere else a view needs one unless it is opened. It
    holds on methods and below decorators that hide it, too.

    :param target: as in :func:`public`.
    """
    return marked(target, Mark("required"))


def require_scopes(*scopes: str) -> Callable[[Target], Target]:
    """A view whose consumer needs all of these scopes; others get 403.

    Scopes of a view and of the ``include()`` around it add up. On a view inside
    ``public(include(...))`` it makes that view need a credential again; without arguments, it
    does only that.

    :param scopes: all of them are needed.
    :raises TypeError: one of them is no text, as when the parentheses are forgotten.
    """
    if not all(isinstance(scope, str) for scope in scopes):
        raise TypeError("write @require_scopes('SCOPE') with the scopes, above the view")
    mark = Mark("required", frozenset(scopes))

    def decorate(target: Target) -> Target:
        return marked(target, mark)

    return decorate
