"""apikey_guard: the API gateway that lives inside the Python web app.

The names here are the public ones of every adapter; those of a framework are imported from its
own module, such as ``apikey_guard.flask``.
"""

from apikey_guard.bodies import RequestBody
from apikey_guard.clock import Clock
from apikey_guard.core.dialects import Dialect
from apikey_guard.core.extraction import Location
from apikey_guard.core.level_two import SharedCache, SharedVerdict
from apikey_guard.core.model import (
    Allow,
    Consumer,
    Credential,
    Decision,
    Deny,
    Freshness,
    Reason,
    Rejection,
    Verdict,
)
from apikey_guard.core.routing import Route
from apikey_guard.core.rules import Rule
from apikey_guard.errors import (
    ApiKeyGuardError,
    BadRequest,
    BodyTooLarge,
    CallerGone,
    KeyFileError,
    KeyServiceUnavailable,
    LengthRequired,
    OriginAborted,
    OriginBusy,
    OriginError,
    OriginFailed,
    OriginTimeout,
    Overloaded,
    PartFailed,
    Problem,
    RateLimited,
    SettingsError,
    SlowAnswer,
    TransportError,
    UnusableAnswer,
    UpgradeUnsupported,
    VerificationError,
)
from apikey_guard.forwarding import OriginAnswer, OriginBody, OriginClient, OriginRequest
from apikey_guard.forwarding.spec import OriginSpec, OriginTarget
from apikey_guard.guard import Guard
from apikey_guard.keyservice import KeyService
from apikey_guard.keyservice.protocols import KeyAnswer, KeyProtocol, KeyRequest
from apikey_guard.passage import Place
from apikey_guard.pending import Pending
from apikey_guard.policy import Policy
from apikey_guard.settings import Settings, SettingsArgs, load_settings
from apikey_guard.wsgi import GuardMiddleware

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "ApiKeyGuardError",
    "BadRequest",
    "BodyTooLarge",
    "CallerGone",
    "Clock",
    "Consumer",
    "Credential",
    "Decision",
    "Deny",
    "Dialect",
    "Freshness",
    "Guard",
    "GuardMiddleware",
    "KeyAnswer",
    "KeyFileError",
    "KeyProtocol",
    "KeyRequest",
    "KeyService",
    "KeyServiceUnavailable",
    "LengthRequired",
    "Location",
    "OriginAborted",
    "OriginAnswer",
    "OriginBody",
    "OriginBusy",
    "OriginClient",
    "OriginError",
    "OriginFailed",
    "OriginRequest",
    "OriginSpec",
    "OriginTarget",
    "OriginTimeout",
    "Overloaded",
    "PartFailed",
    "Pending",
    "Place",
    "Policy",
    "Problem",
    "RateLimited",
    "Reason",
    "Rejection",
    "RequestBody",
    "Route",
    "Rule",
    "Settings",
    "SettingsArgs",
    "SettingsError",
    "SharedCache",
    "SharedVerdict",
    "SlowAnswer",
    "TransportError",
    "UnusableAnswer",
    "UpgradeUnsupported",
    "Verdict",
    "VerificationError",
    "load_settings",
]
