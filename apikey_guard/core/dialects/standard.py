"""Our own dialect: problem details (RFC 9457), and what each reason is as a status.

The caller is told what to do, never what was sent: no credential, no text of the key service
and no exception text is ever repeated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from apikey_guard.core.extraction import Location
from apikey_guard.core.model import Deny, Reason, Rejection

STATUS: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.PREFLIGHT: 204,
        Reason.MISSING_CREDENTIAL: 401,
        Reason.INVALID_CREDENTIAL: 401,
        Reason.MALFORMED_CREDENTIAL: 401,
        Reason.AMBIGUOUS_CREDENTIAL: 401,
        Reason.INSUFFICIENT_SCOPE: 403,
        Reason.RATE_LIMITED: 429,
        Reason.KEY_SERVICE_UNAVAILABLE: 503,
        Reason.OVERLOADED: 503,
        Reason.BODY_TOO_LARGE: 413,
        Reason.BAD_REQUEST: 400,
        Reason.LENGTH_REQUIRED: 411,
        Reason.UPGRADE_UNSUPPORTED: 501,
        Reason.NO_ORIGIN: 404,
        Reason.ORIGIN_FAILED: 502,
        Reason.ORIGIN_TIMEOUT: 504,
        Reason.ORIGIN_BUSY: 503,
        Reason.INTERNAL_ERROR: 500,
    }
)

_DETAILS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.INVALID_CREDENTIAL: "The key is not valid.",
        Reason.AMBIGUOUS_CREDENTIAL: "The request presents more than one key. Send exactly one.",
        Reason.INSUFFICIENT_SCOPE: "The key is valid but may not be used for this.",
        Reason.RATE_LIMITED: "The key has been used too often. Try again later.",
        Reason.KEY_SERVICE_UNAVAILABLE: "The key cannot be checked at the moment. Try again later.",
        Reason.OVERLOADED: "The key cannot be checked at the moment. Try again later.",
        Reason.BODY_TOO_LARGE: "The body is too large to look for a key in it.",
        Reason.BAD_REQUEST: "The request cannot be read.",
        Reason.LENGTH_REQUIRED: "Send the body with a Content-Length.",
        Reason.UPGRADE_UNSUPPORTED: "The connection cannot be upgraded to another protocol here.",
        Reason.NO_ORIGIN: "Nothing is served here.",
        Reason.ORIGIN_FAILED: "The service behind gave no usable answer.",
        Reason.ORIGIN_TIMEOUT: "The service behind did not answer in time.",
        Reason.ORIGIN_BUSY: "The service behind is busy. Try again later.",
        Reason.INTERNAL_ERROR: "The request cannot be checked because of a fault on this side.",
    }
)

# Seconds told to a caller where nothing better is known.
_RETRY_AFTER = 1


class StandardDialect:
    """Problem details (RFC 9457) with a stable ``code``, and a challenge on every 401."""

    def reject(self, deny: Deny, *, locations: Sequence[Location], realm: str) -> Rejection:
        status = STATUS[deny.reason]
        reason = deny.reason
        # The caller cannot tell a malformed key from an unknown one; logs can.
        code = Reason.INVALID_CREDENTIAL if reason is Reason.MALFORMED_CREDENTIAL else reason
        detail = where_to_send(locations) if code is Reason.MISSING_CREDENTIAL else _DETAILS[code]
        title = Rejection.PHRASES[status]
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code.value,
        }
        headers = [("Content-Type", "application/problem+json"), ("X-Content-Type-Options", "nosniff")]
        headers.append(("Cache-Control", "no-store"))
        if status == 401:
            headers += [("WWW-Authenticate", challenge) for challenge in challenges(locations, realm)]
        if status in {429, 503}:
            headers.append(("Retry-After", str(whole_seconds(deny.retry_after))))
        body = json.dumps(problem).encode() + b"\n"
        return Rejection(status=status, headers=tuple(headers), body=body, reason=reason, detail=detail)


def whole_seconds(retry_after: float | None) -> int:
    """Seconds for ``Retry-After`` (RFC 9110, section 10.2.3): whole, and at least one."""
    if retry_after is None or not math.isfinite(retry_after):
        return _RETRY_AFTER
    return max(1, math.ceil(retry_after))


def challenges(locations: Sequence[Location], realm: str) -> list[str]:
    """The challenges of a 401 (RFC 9110, section 11.6.1): ``Key``, and each scheme looked at."""
    schemes = [location.name for location in locations if location.kind == "authorization"]
    return [f'{scheme} realm="{realm}"' for scheme in ("Key", *schemes)]


_PLACES: Mapping[str, str] = MappingProxyType(
    {
        "header": "the header `{}`",
        "query": "the query parameter `{}`",
        "authorization": "the header `Authorization` with the scheme `{}`",
        "cookie": "the cookie `{}`",
        "body": "the body field `{}`",
    }
)


def where_to_send(locations: Sequence[Location]) -> str:
    """One sentence that names the configured places."""
    places = [_PLACES[location.kind].format(location.name) for location in locations]
    listed = places[0] if len(places) == 1 else ", ".join(places[:-1]) + " or " + places[-1]
    return f"Send the key in {listed}."
