"""The guard at home in Flask.

::

    from apikey_guard.flask import ApiKeyGuard

    ApiKeyGuard(app)
"""

from apikey_guard.flask.answers import request_allowed, request_denied
from apikey_guard.flask.extension import ApiKeyGuard, current_consumer, current_decision
from apikey_guard.flask.rejected import ApiKeyRejected

__all__ = [
    "ApiKeyGuard",
    "ApiKeyRejected",
    "current_consumer",
    "current_decision",
    "request_allowed",
    "request_denied",
]
