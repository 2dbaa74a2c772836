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

from apikey_guard.core.model import Allow, Decision, Deny
from apikey_guard.core.routing import Access
from apikey_guard.django.guards import GuardHolder, installed_holder
from apikey_guard.django.marks import access_of
from apikey_guard.django.passing import again, let_in, passage_of, refuse, settled, show, stand_for
from apikey_guard.django.request import DjangoBody, GuardedRequest
from apikey_guard.environ import DECISION
from apikey_guard.guard import Guard
from apikey_guard.passage import Passage
from apikey_guard.pending import Pending

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
        self.process_view: Callable[..., object] = self._process_view
        if self._is_async:
            markcoroutinefunction(self)
            # Django would run the plain one in a thread for every request.
            self.process_view = self._process_view_async
        elif settings.USE_X_FORWARDED_HOST:
            # Another host than the one that was decided about counts for Django.
            self.process_view = self._process_view_anew

    @property
    def guard(self) -> Guard:
        """The guard that decides."""
        return self._holder.guard

    def __call__(self, request: GuardedRequest) -> Response:
        if self._is_async:
            return self._respond(request)
        # A callable that an object holds is called sooner by a name of its own.
        holder, get_response = self._holder, self.get_response
        guard = holder.made or holder.guard
        meta, path, inside = request.META, request.path_info, request.__dict__
        if holder.reads_body or "scope" in inside:
            begun = self._begin(guard, request)
        else:
            begun = guard.begin(meta, path)
        if isinstance(begun, Allow):
            # As let_in(), written out for a request as the server gave it: this runs for every hit.
            if "scope" in inside or "GET" in inside or "headers" in inside or "COOKIES" in inside:
                let_in(request, guard, begun, None)
            else:
                inside["consumer"] = begun.consumer
                method, host = meta.get("REQUEST_METHOD"), meta.get("HTTP_HOST")
                inside["_apikey_guard"] = (guard, begun, None, path, method, host)
            return get_response(request)
        decision = self._marked(request, begun) or begun.settle()
        refused = self._settled(guard, request, begun, decision)
        return get_response(request) if refused is None else refused

    async def _respond(self, request: GuardedRequest) -> HttpResponseBase:
        holder = self._holder
        guard = holder.made or holder.guard
        begun = self._begin(guard, request)
        if isinstance(begun, Allow):
            let_in(request, guard, begun, None)
        else:
            decision = self._marked(request, begun) or await begun.settle_async()
            refused = self._settled(guard, request, begun, decision)
            if refused is not None:
                return refused
        return await cast("Awaitable[HttpResponseBase]", self.get_response(request))

    # -- before the decision -------------------------------------------------------------------

    def _begin(self, guard: Guard, request: GuardedRequest) -> Allow | Pending:
        """The guard's first step, with all that an ASGI request and a body location need."""
        show(request, self._holder)
        body = DjangoBody(request) if self._holder.reads_body else None
        return guard.begin(request.META, request.path_info, body)

    def _marked(self, request: GuardedRequest, pending: Pending) -> Allow | None:
        """Let the mark of the view count that the URL leads to; a decision where a test has one made."""
        if not pending.may_be_marked:
            return None
        pending.relax(_access(request))
        return stand_for(request, pending)

    def _settled(
        self, guard: Guard, request: GuardedRequest, pending: Pending, decision: Decision
    ) -> HttpResponseBase | None:
        if isinstance(decision, Deny):
            return refuse(request, pending.rejection())
        let_in(request, guard, decision, pending)
        return None

    # -- at the view ---------------------------------------------------------------------------

    def _process_view(
        self, request: GuardedRequest, view: object, _args: Sequence[object], _kwargs: Mapping[str, object]
    ) -> HttpResponseBase | None:
        """Refuse where Django calls another view than the one that a mark opened, or at another place.

        A middleware behind the guard may have chosen another URLconf since, or changed path or method.
        """
        # As _again(), but for the calls that a hit does not need.
        try:
            _, _, pending, path, method, host = request._apikey_guard
        except AttributeError:
            return self._process_view_anew(request, view)
        if (
            pending is None
            and request.path_info == path
            and request.method == method
            and request.META.get("HTTP_HOST") == host
        ):
            return None
        return self._process_view_anew(request, view)

    def _process_view_anew(
        self, request: GuardedRequest, view: object, *_: object
    ) -> HttpResponseBase | None:
        """As :meth:`_process_view`, for any request."""
        pending = self._again(request, view)
        return None if pending is None else settled(request, pending, pending.settle())

    async def _process_view_async(
        self, request: GuardedRequest, view: object, _args: Sequence[object], _kwargs: Mapping[str, object]
    ) -> HttpResponseBase | None:
        pending = self._again(request, view)
        return None if pending is None else settled(request, pending, await pending.settle_async())

    def _again(self, request: GuardedRequest, view: object) -> Pending | None:
        passage = passage_of(request)
        if passage is not None and passage.pending is None:
            return again(request, passage, None)  # a key opened the way: no mark changes that
        access = access_of(view, request.method)
        return self._come_around(request, access) if passage is None else again(request, passage, access)

    def _come_around(self, request: GuardedRequest, access: Access | None) -> Pending | None:
        """What must be decided about a request that a middleware behind the guard has made anew."""
        guard, meta = self._holder.guard, request.META
        decision = meta.get(DECISION)
        if isinstance(decision, Allow) and decision.enforced and decision.consumer is not None:
            let_in(request, guard, decision, None)
            passage = Passage(guard, decision, None, "", None, None)
            return again(request, passage, access)
        begun = self._begin(guard, request)
        if isinstance(begun, Allow):
            let_in(request, guard, begun, None)
            return None
        let_in(request, guard, Allow(mode="off"), None)
        begun.relax(access)
        return begun


def _access(request: GuardedRequest) -> Access | None:
    """What the view behind a request's URL says about itself; None where it says nothing."""
    urlconf = getattr(request, "urlconf", None)
    try:
        with _language(request.path_info, urlconf or settings.ROOT_URLCONF):
            view = resolve(request.path_info, urlconf).func
    except Resolver404:
        return None
    except Exception as error:  # noqa: BLE001 - of the project's converters; Django will meet it again
        logger.error("resolving a URL raised %s: taken as a view without a mark", type(error).__name__)
        return None
    return access_of(view, request.method)


def _language(path: str, urlconf: str) -> AbstractContextManager[object]:
    """The language of ``i18n_patterns``, which ``LocaleMiddleware`` chooses only later."""
    if not settings.USE_I18N:
        return nullcontext()
    used, default_has_prefix = is_language_prefix_patterns_used(urlconf)
    if not used:
        return nullcontext()
    language = get_language_from_path(path)
    if language is None and not default_has_prefix:
        # Whatever request this thread served before, and in which language.
        language = settings.LANGUAGE_CODE
    return nullcontext() if language is None else override(language)
