"""The words of the house as types: credential, consumer, verdict, decision.

All values are immutable. Nothing here shows a credential in its ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

NO_METADATA: Mapping[str, object] = MappingProxyType({})
NO_SCOPES: frozenset[str] = frozenset()

Mode = Literal["enforce", "monitor", "off"]


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """An API key as presented in a request, with the place where it was found.

    :param value: the key itself; ``repr`` and ``str`` never show it.
    :param location: the configured location, for example ``header:apikey``.
    """

    value: str
    location: str = ""

    def __repr__(self) -> str:
        return f"Credential(value='***', location={self.location!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """Who a credential belongs to, as the key service said.

    :param id: stable identifier, sent on as ``X-Consumer-ID``.
    :param username: name, sent on as ``X-Consumer-Username``.
    :param custom_id: the key service's own identifier, sent on as ``X-Consumer-Custom-ID``.
    :param scopes: what the credential may be used for.
    :param metadata: whatever else the key service knows; never sent on.
    """

    id: str | None = None
    username: str | None = None
    custom_id: str | None = None
    scopes: frozenset[str] = NO_SCOPES
    metadata: Mapping[str, object] = field(default_factory=lambda: NO_METADATA, repr=False)

    def _fields(self) -> tuple[object, ...]:
        return (self.id, self.username, self.custom_id, self.scopes, dict(self.metadata))

    # Written out: the cache hands out a subclass, which must equal the consumer it was made of.
    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, Consumer) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.id, self.username, self.custom_id))

    # A read-only view cannot be pickled or copied, its content can.
    def __reduce__(self) -> tuple[object, ...]:
        return _consumer, (self.id, self.username, self.custom_id, self.scopes, dict(self.metadata))


def _consumer(
    id_: str | None,
    username: str | None,
    custom_id: str | None,
    scopes: frozenset[str],
    metadata: Mapping[str, object],
) -> Consumer:
    return Consumer(id_, username, custom_id, scopes, MappingProxyType(dict(metadata)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The key service's answer about one credential: true for every request, so cacheable.

    :param valid: whether the credential may be used at all.
    :param consumer: who it belongs to (a valid verdict only); scopes are the consumer's.
    :param credential_id: the name of the credential at the key service, never the key itself.
    :param ttl: seconds the service lets this verdict serve; None leaves it to the settings.
        It can only shorten what the settings say.
    :param expires_at: seconds since the epoch at which the credential itself ends, or None.
    :param stale_allowed: whether the verdict may serve beyond its ttl while the service is down.
    """

    valid: bool
    consumer: Consumer | None = None
    credential_id: str | None = None
    ttl: float | None = None
    expires_at: float | None = None
    stale_allowed: bool = True

    @classmethod
    def invalid(cls, *, ttl: float | None = None) -> Verdict:
        """A verdict that the credential is unknown, expired, revoked or disabled."""
        return cls(valid=False, ttl=ttl)


class Reason(StrEnum):
    """Why a request was not answered by the app or its origin. Stable: logs, hooks and tests rely on it."""

    PREFLIGHT = "preflight"  # no refusal: answered before the app
    MISSING_CREDENTIAL = "missing_credential"
    INVALID_CREDENTIAL = "invalid_credential"
    MALFORMED_CREDENTIAL = "malformed_credential"
    AMBIGUOUS_CREDENTIAL = "ambiguous_credential"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    RATE_LIMITED = "rate_limited"
    KEY_SERVICE_UNAVAILABLE = "key_service_unavailable"
    OVERLOADED = "overloaded"
    BODY_TOO_LARGE = "body_too_large"
    BAD_REQUEST = "bad_request"
    LENGTH_REQUIRED = "length_required"
    UPGRADE_UNSUPPORTED = "upgrade_unsupported"
    NO_ORIGIN = "no_origin"
    ORIGIN_FAILED = "origin_failed"
    ORIGIN_TIMEOUT = "origin_timeout"
    ORIGIN_BUSY = "origin_busy"
    INTERNAL_ERROR = "internal_error"


class Freshness(StrEnum):
    """How old the verdict was that decided a request (words of RFC 9111)."""

    NONE = "none"  # no verdict was needed
    MISS = "miss"  # the key service was asked for this request
    FRESH = "fresh"
    REFRESH = "refresh"  # fresh, and a background verification was due
    STALE = "stale"


class Allow(NamedTuple):
    """The request may go on. A tuple: one is made per request, and nothing immutable is cheaper.

    :param consumer: who calls; None on a public route, on a preflight that was handed on, and where
        an optional route was called without a credential.
    :param fingerprint: SHA-256 of the credential, or None where none was looked at.
    :param freshness: how old the verdict was.
    :param route: the name (else the path) of the route that matched, or None.
    :param anonymous: whether an optional route was called without a credential.
    :param mode: ``enforce``, or the mode that lets everything pass: then nobody is kept out by scopes either.
    """

    consumer: Consumer | None = None
    fingerprint: bytes | None = None
    freshness: Freshness = Freshness.NONE
    route: str | None = None
    anonymous: bool = False
    mode: Mode = "enforce"

    @property
    def allowed(self) -> bool:
        return True

    @property
    def enforced(self) -> bool:
        """Whether a rule has let this pass, and not the mode that it is watched in."""
        return self.mode == "enforce"

    @property
    def reason(self) -> None:
        return None


class Deny(NamedTuple):
    """The request ends here, answered by a rejection.

    :param reason: why.
    :param fingerprint: of the credential, where there was one to look at.
    :param freshness: how old the verdict was, where a verdict decided.
    :param route: the name (else the path) of the route that matched, or None.
    :param retry_after: seconds, for 429 and 503.
    :param scopes: the scopes that the route asks for, for ``insufficient_scope``.
    :param consumer: who called, where known (a valid credential without the scopes).
    """

    reason: Reason
    fingerprint: bytes | None = None
    freshness: Freshness = Freshness.NONE
    route: str | None = None
    retry_after: float | None = None
    scopes: frozenset[str] = NO_SCOPES
    consumer: Consumer | None = None

    @property
    def allowed(self) -> bool:
        return False


Decision = Allow | Deny


@dataclass(frozen=True, slots=True)
class Rejection:
    """The HTTP response made for a Deny.

    :param status: the status code.
    :param headers: in order, as they are sent; without ``Content-Length``.
    :param body: the bytes of the body.
    :param reason: the reason of the Deny that it was made for.
    :param detail: the sentence for the caller that the body holds, for error pages of the app's own.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason
    detail: str = ""

    PHRASES: ClassVar[Mapping[int, str]] = MappingProxyType(
        {
            204: "No Content",
            400: "Bad Request",
            401: "Unauthorized",
            403: "Forbidden",
            404: "Not Found",
            411: "Length Required",
            413: "Content Too Large",
            429: "Too Many Requests",
            500: "Internal Server Error",
            501: "Not Implemented",
            502: "Bad Gateway",
            503: "Service Unavailable",
            504: "Gateway Timeout",
        }
    )

    @property
    def status_line(self) -> str:
        """Code and phrase, as WSGI wants them."""
        return _STATUS_LINES.get(self.status) or f"{self.status} Error"


_STATUS_LINES: Mapping[int, str] = {
    status: f"{status} {phrase}" for status, phrase in Rejection.PHRASES.items()
}
