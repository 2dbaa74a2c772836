"""The responses that the guard makes itself, in the words of a rule's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from apikey_guard.core.cors import Cors
from apikey_guard.core.dialects.wording import sendable
from apikey_guard.core.model import Deny, Reason, Rejection
from apikey_guard.core.rules import Rule
from apikey_guard.environ import Environ
from apikey_guard.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


class Rejections:
    """Makes rejections by one guard's settings.

    :param settings: the dialect where a rule says nothing, and the hook.
    :param cors: what lets pages of other origins read them; None lets none.
    """

    def __init__(self, settings: Settings, cors: Cors | None = None) -> None:
        self._render = settings.render_rejection
        self._cors = cors

    def make(self, deny: Deny, rule: Rule, environ: Environ) -> Rejection:
        """The response for a Deny, as the hook wants it.

        :raises PartFailed: the dialect or the hook gives none that can be sent.
        """
        rejection = rule.wording.reject(deny)
        if self._render is None or deny.reason is Reason.PREFLIGHT:
            return rejection
        return sendable(self._render(rejection, environ), "the hook render_rejection")

    def readable(self, rejection: Rejection, environ: Environ) -> Rejection:
        """The same response for pages of other origins, too, unless the hook has said who may read it."""
        if self._cors is None:
            return rejection
        headers, preflight = rejection.headers, rejection.reason is Reason.PREFLIGHT
        added = self._cors.added(environ, headers, preflight=preflight)
        return replace(rejection, headers=(*headers, *added))


def respond(rejection: Rejection, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a rejection, in WSGI."""
    headers = list(rejection.headers)
    if rejection.status != 204:  # which has no length (RFC 9110, section 8.6)
        headers.append(("Content-Length", str(len(rejection.body))))
    start_response(rejection.status_line, headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [rejection.body]
