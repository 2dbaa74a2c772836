"""What is to come of a request: the vocabulary of the conformance cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from apikey_guard import Consumer, Route
from apikey_guard.testing import FakeKeyService
from tests.adapters.conformance import Request

GOOD: Final = "KCANARY-good"  # consumer 42, scope read
PLAIN: Final = "KCANARY-plain"  # consumer 7, who has nothing but an id
ACCENT: Final = "KCANARY-accent"  # consumer Zoë
BAD: Final = "KCANARY-bad"
# What the app finds in the place of the good key: written out, as users' caches and limits rely on it.
STANDIN: Final = "apikey-guard-standin-" + sha256(GOOD.encode()).hexdigest()[:40]


def known_keys() -> FakeKeyService:
    """The key service of every case."""
    keys = FakeKeyService()
    acme = Consumer(id="42", username="acme", custom_id="c/42", scopes=frozenset({"read"}))
    keys.add(GOOD, acme, credential_id="cred-7")
    keys.add(PLAIN, Consumer(id="7"))
    keys.add(ACCENT, Consumer(id="z", username="Zoë"))
    return keys


@dataclass(frozen=True)
class Refused:
    """The app is not reached; the answer has this status and, in a problem document, this code."""

    status: int
    code: str
    headers: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reached:
    """The app is reached, and sees this; None is not looked at.

    :ivar consumer: the id of who calls, None where nobody is known.
    :ivar identity: every identity header; None: those of a known consumer.
    """

    consumer: str | None = None
    identity: Mapping[str, str] | None = None
    query: str | None = None
    path: str | None = None
    body: bytes | None = None
    hidden: bool = True


@dataclass(frozen=True)
class Case:
    """One request under some settings.

    :ivar first: done to the key service before anything else.
    :ivar before: requests sent then, whatever comes of them.
    :ivar prepare: done to the key service after ``before``.
    :ivar asked: how often the key service was asked in all; None is not looked at.
    :ivar needs_target: whether it depends on a raw request target, which not every server shows.
    """

    id: str
    request: Request
    expect: Refused | Reached
    settings: Mapping[str, object] = field(default_factory=dict)
    first: Callable[[FakeKeyService], None] | None = None
    before: tuple[Request, ...] = ()
    prepare: Callable[[FakeKeyService], None] | None = None
    asked: int | None = None
    needs_target: bool = False


ACME = {
    "X-Consumer-ID": "42",
    "X-Consumer-Username": "acme",
    "X-Consumer-Custom-ID": "c/42",
    "X-Credential-Identifier": "cred-7",
}
BY_ID: Mapping[str, Mapping[str, str]] = {
    "42": ACME,
    "7": {"X-Consumer-ID": "7"},
    "z": {"X-Consumer-ID": "z", "X-Consumer-Username": "Zoë"},
}

MISSING = Refused(
    401, "missing_credential", {"WWW-Authenticate": ['Key realm="api"'], "Cache-Control": ["no-store"]}
)
INVALID = replace(MISSING, code="invalid_credential")
AMBIGUOUS = replace(MISSING, code="ambiguous_credential")
UNAVAILABLE = Refused(503, "key_service_unavailable", {"Retry-After": ["1"]})
BY_42 = Reached("42")
NOBODY = Reached(None, identity={})


def with_key(key: str = GOOD, path: str | bytes = "/things", **parts: Any) -> Request:
    """A request with a key in the header ``apikey``."""
    headers = (("apikey", key), *parts.pop("headers", ()))
    return Request(path, headers=headers, **parts)


def with_form(body: bytes, kind: str = "application/x-www-form-urlencoded") -> Request:
    return Request(method="POST", headers=(("Content-Type", kind),), body=body)


def failing(error: Exception) -> Callable[[FakeKeyService], None]:
    return lambda keys: keys.fail(error)


FORGED = (
    ("X-Consumer-ID", "admin"),
    ("x-consumer-username", "admin"),
    ("X_Consumer_Custom_ID", "admin"),
    ("X-Credential-Identifier", "admin"),
    ("X-Anonymous-Consumer", "false"),
)
PUBLIC = {"routes": [Route("/public/*", access="public"), Route("/health", access="public")]}
IN_BODY = {"key_locations": ["header:apikey", "body:apikey"], "body_max_bytes": 1024}
