"""The middleware: every request is decided before Django looks for a view.

It translates: what a request may do is the guard's to say. On a hit no URL is resolved. On a miss
or a refusal it is resolved once, to find the view's own mark, before the key service is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.translation import get_language_from_path, override

from apikey_guard.core.decision import Question
from apikey_guard.core.model import Allow, Decision, Deny
from apikey_guard.core.routing import Access
from apikey_guard.django.guards import GuardHolder, installed_holder
from apikey_guard.django.marks import mark_of
from apikey_guard.django.request import (
    DjangoBody,
    GuardedRequest,
    clean_scope,
    forget_copies,
    hide_target,
    show_target,
)
from apikey_guard.django.responses import RejectionResponse
from apikey_guard.guard import CONSUMER, Guard

logger = logging.getLogger("apikey_guard")

Response = HttpResponseBase | Awaitable[HttpResponseBase]


class GuardMiddleware:
    """Lets a request through to the view, or answers it; for WSGI and for ASGI.

    Place it after ``SecurityMiddleware`` and ``CorsMiddleware`` (so that refusals carry CORS
    headers) and before everything else: sessions, authentication, whatever reads the body or
    chooses ``request.urlconf``.

    The view finds who calls in ``request.consumer``.

    :param get_response: the next layer; Django passes it.
    :param guard: a guard made elsewhere; None uses that of Django's settings.
    :raises SettingsError: lists everything that is wrong with the settings, so that a server with
        wrong ones does not start.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[GuardedRequest], Response], *, guard: Guard | None = None
    ) -> None:
        self.get_response = get_response
        installed = installed_holder() if guard is None else None
        self._holder = installed or GuardHolder(guard)
        _ = self._holder.guard
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        # Django would run the plain one in a thread for every request.
        self.process_view = self._process_view_async if self._is_async else self._process_view

    @property
    def guard(self) -> Guard:
        """The guard that decides."""
        return self._holder.guard

    def __call__(self, request: GuardedRequest) -> Response:
        if self._is_async:
            return self._respond(request)
        holder = self._holder
        guard = holder.made or holder.guard
        inside = request.__dict__
        if holder.reads_body or "scope" in inside:
            decision = self._begin(guard, request)
        else:
            decision = guard.begin(request.META, request.path_info)
        if decision.__class__ is not Allow:
            decision = self._look_up(guard, request, decision)
            if isinstance(decision, Question):
                decision = guard.conclude(decision, guard.ask(decision), request.META)
            if isinstance(decision, Deny):
                return self._reject(guard, request, decision)
        self._prepare(guard, request, decision)
        return self.get_response(request)

    async def _respond(self, request: GuardedRequest) -> HttpResponseBase:
        holder = self._holder
        guard = holder.made or holder.guard
        decision = self._begin(guard, request)
        if decision.__class__ is not Allow:
            decision = self._look_up(guard, request, decision)
            if isinstance(decision, Question):
                decision = guard.conclude(decision, await guard.ask_async(decision), request.META)
            if isinstance(decision, Deny):
                return self._reject(guard, request, decision)
        self._prepare(guard, request, decision)
        return await cast("Awaitable[HttpResponseBase]", self.get_response(request))

    # -- before the decision -------------------------------------------------------------------

    def _begin(self, guard: Guard, request: GuardedRequest) -> Decision | Question:
        """The guard's first step, with all that an ASGI request and a body location need."""
        if "scope" in request.__dict__:
            show_target(request)
        body = DjangoBody(request) if self._holder.reads_body else None
        return guard.begin(request.META, request.path_info, body)

    def _look_up(
        self, guard: Guard, request: GuardedRequest, pending: Decision | Question
    ) -> Decision | Question:
        """What the guard said, after the mark of the view that the URL leads to."""
        access = _access(request)
        if access == "required":
            return pending
        relaxed = guard.relax(request.META, request.path_info, pending, access)
        if isinstance(relaxed, Allow):
            request._apikey_guard_relaxed = access, pending
        return relaxed

    # -- after the decision --------------------------------------------------------------------

    def _prepare(self, guard: Guard, request: GuardedRequest, decision: Allow) -> None:
        """Let the view see the consumer, and nothing that was hidden."""
        request.consumer = decision.consumer
        request._apikey_guard = guard
        inside = request.__dict__
        if "headers" in inside or "GET" in inside or "COOKIES" in inside:
            forget_copies(request)
        if "scope" in inside:
            hide_target(request)
            # Modes ``monitor`` and ``off`` leave the request as it is.
            if CONSUMER in request.META:
                clean_scope(request, self._holder.scope_headers)

    def _reject(self, guard: Guard, request: GuardedRequest, deny: Deny) -> RejectionResponse:
        rejection = guard.reject(deny, request.META, request.path_info)
        # Error reports and access logs read the request after this.
        forget_copies(request)
        if "scope" in request.__dict__:
            hide_target(request)
            clean_scope(request, self._holder.scope_headers)
        return RejectionResponse(rejection, request.method)

    # -- at the view ---------------------------------------------------------------------------

    def _process_view(
        self, request: GuardedRequest, view: object, _args: Sequence[object], _kwargs: Mapping[str, object]
    ) -> HttpResponseBase | None:
        """Refuse where a mark opened the way to one view and Django now calls another.

        A middleware behind the guard may have chosen another URLconf since.
        """
        pending = self._unmarked(request, view)
        if pending is None:
            return None
        guard = request._apikey_guard
        if isinstance(pending, Question):
            pending = guard.conclude(pending, guard.ask(pending), request.META)
        return self._settle(guard, request, pending)

    async def _process_view_async(
        self, request: GuardedRequest, view: object, _args: Sequence[object], _kwargs: Mapping[str, object]
    ) -> HttpResponseBase | None:
        pending = self._unmarked(request, view)
        if pending is None:
            return None
        guard = request._apikey_guard
        if isinstance(pending, Question):
            pending = guard.conclude(pending, await guard.ask_async(pending), request.META)
        return self._settle(guard, request, pending)

    def _unmarked(self, request: GuardedRequest, view: object) -> Decision | Question | None:
        """What the guard had said before a mark that this view does not have."""
        relaxed = request.__dict__.get("_apikey_guard_relaxed")
        if relaxed is None:
            return None
        access, pending = relaxed
        mark = mark_of(view)
        same = mark is not None and mark.access == access
        return None if same else pending

    def _settle(self, guard: Guard, request: GuardedRequest, decision: Decision) -> HttpResponseBase | None:
        if isinstance(decision, Deny):
            return self._reject(guard, request, decision)
        self._prepare(guard, request, decision)
        return None


def _access(request: GuardedRequest) -> Access:
    """What the view behind a request's URL says about itself; ``required`` where it says nothing."""
    urlconf = getattr(request, "urlconf", None)
    try:
        with _language(request.path_info, urlconf or settings.ROOT_URLCONF):
            view = resolve(request.path_info, urlconf).func
    except Resolver404:
        return "required"
    except Exception as error:  # noqa: BLE001 - of the project's converters; Django will meet it again
        logger.error("resolving a URL raised %s: taken as a view without a mark", type(error).__name__)
        return "required"
    mark = mark_of(view)
    return "required" if mark is None else mark.access


def _language(path: str, urlconf: str) -> AbstractContextManager[object]:
    """The language of ``i18n_patterns``, which ``LocaleMiddleware`` chooses only later."""
    if not settings.USE_I18N or not is_language_prefix_patterns_used(urlconf)[0]:
        return nullcontext()
    language = get_language_from_path(path)
    return nullcontext() if language is None else override(language)
