"""What Flask answers where the guard lets a request no further, and the signals of what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blinker import Namespace

from apikey_guard.core.model import Deny, Reason, Rejection
from apikey_guard.flask.around import Refused
from apikey_guard.flask.rejected import rejected
from apikey_guard.policy import PREFLIGHT

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.routing import Rule

_signals = Namespace()

#: Sent in the request context with ``decision``, when a request goes on to its view.
request_allowed: Final = _signals.signal("request-allowed")
#: Sent in the request context with ``decision``, when a request is refused.
request_denied: Final = _signals.signal("request-denied")


def answer_to(app: Flask, refused: Refused, rule: Rule | None) -> Response:
    """The answer to what goes no further, which is never None.

    A refusal is what the app's error handlers make of it. A preflight is answered by Flask itself,
    which runs no function of the app, or by the guard.

    :raises ApiKeyRejected: the app wants to see such exceptions raised.
    """
    deny, rejection = refused
    if deny.reason is not Reason.PREFLIGHT:
        return _handled(app, deny, rejection)
    if deny is PREFLIGHT and rule is not None and answers_options(rule):
        return app.make_default_options_response()
    return app.response_class(rejection.body, rejection.status_line, rejection.headers)


def _handled(app: Flask, deny: Deny, rejection: Rejection) -> Response:
    if request_denied.receivers:
        request_denied.send(app, _async_wrapper=app.ensure_sync, decision=deny)
    error = rejected(deny, rejection)
    if app.trap_http_exception(error):
        raise error
    # As Flask does with what is raised, which then runs the exception as an app of its own to have
    # its response: that would cost as much as all else.
    answer = app.handle_user_exception(error)
    return app.make_response(error.get_response() if answer is error else answer)


def answers_options(rule: Rule | None) -> bool:
    """Whether Flask answers OPTIONS itself where this rule leads, without a function of the view."""
    return bool(getattr(rule, "provide_automatic_options", False))
