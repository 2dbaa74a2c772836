"""apikey_guard in Django: middleware, decorators, system checks and commands.

::

    MIDDLEWARE = ["apikey_guard.django.GuardMiddleware", ...]
    INSTALLED_APPS = ["apikey_guard.django", ...]  # optional: checks and commands
    APIKEY_GUARD = {"VALIDATOR_URL": "https://keys.example.com/verify"}
"""

from apikey_guard.django.decorators import optional, public, require_scopes, required
from apikey_guard.django.middleware import GuardMiddleware
from apikey_guard.django.request import GuardedRequest
from apikey_guard.django.responses import RejectionResponse

__all__ = [
    "GuardMiddleware",
    "GuardedRequest",
    "RejectionResponse",
    "optional",
    "public",
    "require_scopes",
    "required",
]
