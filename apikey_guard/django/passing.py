"""One request on its way through Django: let in, refused, and looked at again where it is acted on."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from apikey_guard.core.model import Allow, Consumer, Decision, Deny, Rejection
from apikey_guard.core.routing import Access
from apikey_guard.django.guards import GuardHolder
from apikey_guard.django.request import (
    GuardedRequest,
    body_is_read,
    clean_scope,
    forget_copies,
    hide_target,
    show_target,
)
from apikey_guard.django.responses import RejectionResponse
from apikey_guard.environ import CONSUMER, DECISION
from apikey_guard.guard import Guard
from apikey_guard.passage import Passage, Place
from apikey_guard.pending import Pending


def note(request: GuardedRequest, guard: Guard, decision: Allow, pending: Pending | None) -> None:
    """Keep what was decided, and where, for as long as the request lives.

    :param pending: counts where no key opened the way.
    """
    meta, inside = request.META, request.__dict__
    inside["consumer"] = decision.consumer
    if decision.consumer is not None:
        pending = None
    # The fields of a Passage, without the named tuple's own layer of Python.
    method, host = meta.get("REQUEST_METHOD"), meta.get("HTTP_HOST")
    inside["_apikey_guard"] = (guard, decision, pending, request.path_info, method, host)


def let_in(request: GuardedRequest, guard: Guard, decision: Allow, pending: Pending | None) -> None:
    """Let the view see the consumer, and nothing that was hidden.

    :param pending: as in :func:`note`.
    """
    note(request, guard, decision, pending)
    forget_copies(request)
    if "scope" in request.__dict__:
        hide_target(request)
        if decision.enforced:  # else it stays as it is
            _clean_scope(request)


def refuse(request: GuardedRequest, rejection: Rejection) -> RejectionResponse:
    """The answer to a refused request, which shows no credential to what reads it afterwards."""
    forget(request)
    return RejectionResponse(rejection, request.method)


def show(request: GuardedRequest, holder: GuardHolder) -> None:
    """Let the guard see all of an ASGI request."""
    if "scope" in request.__dict__:
        show_target(request)
        request._apikey_guard_headers = holder.scope_headers


def forget(request: GuardedRequest) -> None:
    """Let nobody see what was refused: error reports and access logs read the request after this."""
    forget_copies(request)
    if "scope" in request.__dict__:
        hide_target(request)
        _clean_scope(request)


def _clean_scope(request: GuardedRequest) -> None:
    names = request.__dict__.get("_apikey_guard_headers")
    if names is not None:
        clean_scope(request, names)


def place_of(request: HttpRequest) -> Place:
    """Where a request stands now, as Django acts on it."""
    meta = request.META
    host = meta.get("HTTP_HOST")
    if settings.USE_X_FORWARDED_HOST:
        host = meta.get("HTTP_X_FORWARDED_HOST", host)
    return Place(request.path_info, request.method or "", host)


def passage_of(request: HttpRequest) -> Passage | None:
    """How a request came in, or None where it did not pass the middleware."""
    passage = request.__dict__.get("_apikey_guard")
    return None if passage is None else Passage(*passage)


def again(request: GuardedRequest, passage: Passage, access: Access | None) -> Pending | None:
    """What must be decided before a view is called; None where all is as it was.

    :param access: the mark of the view, or None.
    """
    place = place_of(request)
    moved = place != (passage.path, passage.method, passage.host)
    return passage.again(request.META, place, access, moved=moved, body_is_read=body_is_read(request))


def settled(request: GuardedRequest, pending: Pending, decision: Decision) -> RejectionResponse | None:
    """What was decided anew takes the place of what was decided first; the answer, where it is refused."""
    if isinstance(decision, Deny):
        return refuse(request, pending.rejection())
    let_in(request, request._apikey_guard[0], decision, pending)
    return None


def asked_for(request: HttpRequest) -> Pending | None:
    """What must be settled before scopes can be looked at: the key of a request that needed none so far."""
    passage = passage_of(request)
    if passage is None:
        raise ImproperlyConfigured(
            "require_scopes needs 'apikey_guard.django.GuardMiddleware' in MIDDLEWARE: this request did not "
            "pass it"
        )
    pending = passage.pending
    if pending is None or not pending.may_be_marked:
        return None
    return pending.again(request.META, place_of(request), "required", body_is_read=body_is_read(request))


def lacking(request: HttpRequest, scopes: frozenset[str]) -> Deny | None:
    """The Deny where the consumer lacks one of these scopes, or nobody is known."""
    passage = passage_of(request)
    return None if passage is None else passage.guard.require(request.META, scopes, passage.decision)


def stand_for(request: GuardedRequest, pending: Pending) -> Allow | None:
    """The decision about a request that REST framework's ``force_authenticate`` stands for in a test.

    No request from outside can have these attributes.
    """
    inside = request.__dict__
    caller, credential = inside.get("_force_auth_user"), inside.get("_force_auth_token")
    if caller is None and credential is None:
        return None
    marked = pending.marked
    pending.relax("public")
    decision = pending.settle()
    # At the view its own mark is looked at, as ever.
    pending.marked = marked
    if isinstance(decision, Deny) or not pending.may_be_marked:
        return None
    if isinstance(credential, Consumer):
        decision = decision._replace(consumer=credential)
        request.META[CONSUMER], request.META[DECISION] = credential, decision
    return decision
