"""Django REST framework: an authentication class and a scope permission.

Both work behind :class:`apikey_guard.django.GuardMiddleware`. Alone, without the middleware, they
need ``apikey_guard.django`` in ``INSTALLED_APPS``; then a view is as protected as its permission
classes say, as always in REST framework: authentication alone lets anonymous callers pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication  # type: ignore[import-untyped]  # no stubs
from rest_framework.exceptions import APIException, AuthenticationFailed, PermissionDenied  # type: ignore[import-untyped]  # no stubs
from rest_framework.permissions import BasePermission  # type: ignore[import-untyped]  # no stubs
from rest_framework.request import Request  # type: ignore[import-untyped]  # no stubs

from apikey_guard.core.dialects.standard import challenges, whole_seconds
from apikey_guard.core.extraction import Location
from apikey_guard.core.model import Allow, Consumer, Deny, Reason, Rejection
from apikey_guard.django.guards import installed_guard, installed_holder, own_setting
from apikey_guard.django.passing import asked_for, forget, lacking, let_in, note, passage_of, place_of, show
from apikey_guard.django.request import DjangoBody, GuardedRequest, body_is_read
from apikey_guard.environ import CONSUMER, DECISION
from apikey_guard.guard import Guard
from apikey_guard.pending import Pending

if TYPE_CHECKING:
    # It imports the project's default classes, of which these here may be some.
    from rest_framework.views import APIView  # type: ignore[import-untyped]  # no stubs


class ConsumerUser:
    """Stands in ``request.user`` for a consumer where the project names no hook of its own.

    :param consumer: who calls.
    :param pk: stable per consumer; ``id`` is this, and ``pk`` has a word before it, as throttles count by
        it and would take a user of Django's with the same number for the same caller.
    """

    is_authenticated: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False
    is_active: ClassVar[bool] = True
    is_staff: ClassVar[bool] = False
    is_superuser: ClassVar[bool] = False

    def __init__(self, consumer: Consumer, pk: str) -> None:
        self.consumer = consumer
        self.id, self.pk = pk, f"consumer:{pk}"
        self.username = consumer.username or pk

    def get_username(self) -> str:
        return self.username

    def has_perm(self, perm: str, obj: object = None) -> bool:  # noqa: ARG002 - Django's signature
        """Permissions of Django's own are not the consumer's."""
        return False

    def has_perms(self, perm_list: Collection[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def __str__(self) -> str:
        return self.username


class _Refused(APIException):  # type: ignore[misc]  # untyped base
    """A Deny, for the project's own exception handler."""

    def __init__(self, rejection: Rejection, wait: float | None) -> None:
        super().__init__(rejection.detail or None, rejection.reason.value)
        self.status_code = rejection.status
        if wait is not None:
            self.wait = wait


class ApiKeyAuthentication(BaseAuthentication):  # type: ignore[misc]  # untyped base
    """``request.auth`` is the consumer; ``request.user`` is what the project makes of it.

    Override :meth:`user`, or set ``APIKEY_GUARD["USER_FROM_CONSUMER"]`` to a function from
    consumer to user.
    """

    def authenticate(self, request: Request) -> tuple[object, Consumer] | None:
        """User and consumer, or None where no credential was presented.

        :raises AuthenticationFailed: the credential is not valid (alone only).
        :raises APIException: 403, 413, 429, 5xx as the guard says (alone only).
        """
        inner = cast("GuardedRequest", request._request)
        pending = self._undecided(inner)
        if pending is not None:
            self._decide(inner, pending)
        consumer = inner.META.get(CONSUMER)
        return (self.user(consumer, inner), consumer) if isinstance(consumer, Consumer) else None

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        settings = _guard_of(request._request).settings
        locations = [Location.parse(name) for name in settings.key_locations]
        return ", ".join(challenges(locations, settings.realm))

    def user(self, consumer: Consumer, request: HttpRequest) -> object:
        """What ``request.user`` is for a consumer.

        :param consumer: who calls.
        :param request: Django's request.
        """
        hook = own_setting("user_from_consumer")
        if hook is not None:
            return cast("Callable[[Consumer], object]", hook)(consumer)
        fingerprint = getattr(request.META.get(DECISION), "fingerprint", None) or b""
        pk = consumer.id or consumer.username or consumer.custom_id or fingerprint.hex()
        return ConsumerUser(consumer, pk)

    def _undecided(self, request: GuardedRequest) -> Pending | None:
        """What is not decided yet about the key of a request; None where all is."""
        passage, meta = passage_of(request), request.META
        if passage is not None:
            pending = passage.pending
            # Where the default is to need no key, this class asks about the one that was sent.
            if pending is None or not pending.may_be_marked or not pending.is_by_default:
                return None
            return pending.again(meta, place_of(request), "optional", body_is_read=body_is_read(request))
        if DECISION in meta:
            return None
        guard, holder = installed_guard(), installed_holder()
        if holder is not None:
            show(request, holder)
        body = DjangoBody(request) if holder is not None and holder.reads_body else None
        begun = guard.begin(meta, request.path_info, body)
        if isinstance(begun, Allow):
            let_in(request, guard, begun, None)
            return None
        if begun.said.__class__ is Deny and begun.said.reason is Reason.PREFLIGHT:
            # What REST framework answers is the project's: it says itself who may read it.
            begun.relax("public")
        # Nothing presented is for the other authenticators and the permissions to judge.
        elif begun.rule.access == "required" or begun.is_by_default:
            begun.relax("optional")
        note(request, guard, Allow(), begun)
        return begun

    def _decide(self, request: GuardedRequest, pending: Pending) -> None:
        guard = request._apikey_guard[0]
        decision = pending.settle()
        if isinstance(decision, Deny):
            raise _error_for(request, decision, pending.rejection())
        let_in(request, guard, decision, pending)


def _error_for(request: GuardedRequest, deny: Deny, rejection: Rejection) -> APIException:
    """The exception by which REST framework refuses what the guard does."""
    forget(request)
    if rejection.status in {204, 401}:
        return AuthenticationFailed(rejection.detail or None, rejection.reason.value)
    retry = rejection.status in {429, 503}
    return _Refused(rejection, whole_seconds(deny.retry_after) if retry else None)


class HasScopes(BasePermission):  # type: ignore[misc]  # untyped base
    """The consumer has all scopes that the view asks for.

    The view names them (``required_scopes = ["invoices:read"]``), or the permission does:
    ``permission_classes = [HasScopes.of("invoices:read")]``. Among the project's
    ``DEFAULT_PERMISSION_CLASSES`` it asks a view that names none for a valid key.

    The scopes are those of ``request.auth`` where that is a consumer, so ``force_authenticate``
    with a consumer as its ``token`` counts; else those of the consumer that the guard knows.
    """

    scopes: ClassVar[frozenset[str]] = frozenset()
    _apikey_guard_asks: ClassVar[bool] = True

    @classmethod
    def of(cls, *scopes: str) -> type[HasScopes]:
        """A permission class for these scopes."""
        if not scopes or not all(isinstance(scope, str) for scope in scopes):
            raise TypeError("name the scopes as texts: HasScopes.of('invoices:read')")
        return type("HasScopes", (cls,), {"scopes": frozenset(scopes)})

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on.

        :raises PermissionDenied: the consumer lacks a scope, and no other permission is combined with this.
        :raises ImproperlyConfigured: a view with permissions of its own names no scope.
        """
        named = getattr(view, "required_scopes", None)
        scopes = self.scopes | frozenset([named] if isinstance(named, str) else named or ())
        if not scopes and named is None and _chosen_by(view):
            raise ImproperlyConfigured(f"{type(view).__name__} has HasScopes, but names no required_scopes")
        inner = request._request
        caller = request.auth  # authentication comes first, whoever asks
        if isinstance(caller, Consumer) and caller is not inner.META.get(CONSUMER):
            return caller.scopes.issuperset(scopes)
        if passage_of(inner) is None:
            return False
        guard = _guard_of(inner)
        pending = asked_for(inner)
        decision = None if pending is None else pending.settle()
        if isinstance(decision, Allow):
            let_in(inner, guard, decision, pending)
        deny = decision if isinstance(decision, Deny) else lacking(inner, scopes)
        if deny is None:
            return True
        if deny.reason is Reason.INSUFFICIENT_SCOPE:
            # The browsable API also asks whether another method would be allowed, for its forms: what
            # was decided about this request stays.
            kept = {key: inner.META[key] for key in (CONSUMER, DECISION)}
            self.message = guard.reject(deny, inner.META, inner.path_info).detail or None
            self.code = deny.reason.value
            inner.META.update(kept)
            if _stands_alone(self, view):
                raise PermissionDenied(self.message, self.code)
            # Another permission beside it may allow the request: ``HasScopes.of("w") | ReadOnly``.
            return False
        if deny.reason is not Reason.MISSING_CREDENTIAL:
            raise _error_for(inner, deny, guard.reject(deny, inner.META, inner.path_info))
        return False


def _stands_alone(permission: HasScopes, view: APIView) -> bool:
    """Whether a view names this permission itself, and no combination of several."""
    return type(permission) in getattr(view, "permission_classes", ())


def _chosen_by(view: APIView) -> bool:
    """Whether a view says itself which permissions it has, and does not take the project's."""
    from rest_framework.views import APIView

    default: object = APIView.permission_classes
    return getattr(view, "permission_classes", default) is not default


def _guard_of(request: HttpRequest) -> Guard:
    passage = passage_of(request)
    return installed_guard() if passage is None else passage.guard
