"""A rejection as the exception that Flask knows how to handle."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.wrappers import Response

from apikey_guard.core.model import Deny, Reason, Rejection

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from werkzeug.wrappers.request import Request


class ApiKeyRejected(HTTPException):
    """The guard refused the request. Raised before any view, inside the request context.

    It is also an instance of Werkzeug's exception for its status, so ``errorhandler(401)``,
    ``errorhandler(ApiKeyRejected)`` and ``errorhandler(HTTPException)`` all see it; without a
    handler, the answer is the guard's own rejection, byte for byte.

    :ivar code: the status code.
    :ivar description: what the caller has to do, in one sentence that repeats nothing of the request.
    :ivar deny: the decision.
    :ivar rejection: the response that the guard made for it.
    """

    def __init__(self, deny: Deny, rejection: Rejection) -> None:
        super().__init__(description=rejection.detail or None)
        self.deny = deny
        self.rejection = rejection
        self.code = rejection.status

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """None, to whoever reads it again: a refusal holds for one request.

        Flask-Caching keeps what a view raises as it keeps answers, and asks the view where it finds None.
        """
        return type(None), ()

    @property
    def reason(self) -> Reason:
        """Why, as one stable word; callers are told less (``invalid`` and ``malformed`` look alike)."""
        return self.deny.reason

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,  # noqa: ARG002 - Werkzeug's signatures, here and below
        scope: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> list[tuple[str, str]]:
        """The headers of the rejection: the challenge among them, where there is one."""
        return list(self.rejection.headers)

    def get_body(
        self,
        environ: WSGIEnvironment | None = None,  # noqa: ARG002
        scope: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> str:
        """The body of the rejection."""
        return self.rejection.body.decode("utf-8", "replace")

    def get_response(
        self,
        environ: WSGIEnvironment | Request | None = None,  # noqa: ARG002
        scope: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> Response:
        """A new response with the bytes of the rejection, which a handler may change."""
        rejection = self.rejection
        return Response(rejection.body, rejection.status_line, rejection.headers)


def rejected(deny: Deny, rejection: Rejection) -> ApiKeyRejected:
    """The exception for a Deny, of the class that stands for the status of its rejection."""
    return _class_for(rejection.status)(deny, rejection)


@cache
def _class_for(status: int) -> type[ApiKeyRejected]:
    known = default_exceptions.get(status)
    if known is None:
        return ApiKeyRejected
    return type("ApiKeyRejected", (ApiKeyRejected, known), {"__module__": __name__})
