"""apikey_guard: the API gateway that lives inside the Python web app.

The names here are the public ones of every adapter; those of a framework are imported from its
own module, such as ``apikey_guard.flask``.
"""

from apikey_guard.core.level_two import SharedCache, SharedVerdict
from apikey_guard.core.model import Allow, Consumer, Credential, Decision, Deny, Reason, Rejection, Verdict
from apikey_guard.core.routing import Route
from apikey_guard.errors import (
    ApiKeyGuardError,
    KeyServiceUnavailable,
    RateLimited,
    SettingsError,
    VerificationError,
)
from apikey_guard.guard import Guard
from apikey_guard.keyservice import KeyService
from apikey_guard.settings import Settings, SettingsArgs, load_settings
from apikey_guard.wsgi import GuardMiddleware

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "ApiKeyGuardError",
    "Consumer",
    "Credential",
    "Decision",
    "Deny",
    "Guard",
    "GuardMiddleware",
    "KeyService",
    "KeyServiceUnavailable",
    "RateLimited",
    "Reason",
    "Rejection",
    "Route",
    "Settings",
    "SettingsArgs",
    "SettingsError",
    "SharedCache",
    "SharedVerdict",
    "Verdict",
    "VerificationError",
    "load_settings",
]
