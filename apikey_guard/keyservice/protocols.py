"""How a key service is asked, and what its answer means; no socket, no clock.

Four protocols, one rule: an answer is *valid* or *invalid* only where it says so in its protocol's
own words. Everything else is *unavailable*: it is never believed and never remembered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlencode

from apikey_guard.core.model import NO_METADATA, NO_SCOPES, Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable, RateLimited, UnusableAnswer
from apikey_guard.http1.parser import is_header, is_method
from apikey_guard.keyservice import fields
from apikey_guard.keyservice.fields import MAX_EPOCH_SECONDS, Headers, unusable

# A cache on the way must neither keep nor mix up what is said about keys: their URL is the same.
_COMMON: Final = {"Accept": "application/json", "Cache-Control": "no-store"}
_JSON: Final = {**_COMMON, "Content-Type": "application/json"}
_FORM: Final = {**_COMMON, "Content-Type": "application/x-www-form-urlencoded"}

_JSON_INVALID: Final = frozenset({200, 401, 403, 404, 410, 422})
_STATUS_INVALID: Final = frozenset({401, 403, 404})
_REFUSED_US: Final = frozenset({401, 403})
# Of the text that was sent: malformed, too long, not to be processed.
_ABOUT_THE_KEY: Final = frozenset({400, 413, 414, 422, 431})
# Of us, or of the moment.
_ABOUT_US: Final = frozenset({401, 403, 405, 406, 407, 408, 411, 415, 417, 421, 425, 426, 428, 429})
# FORBIDDEN and INSUFFICIENT_PERMISSIONS concern the key as such: no permissions are asked about.
_UNKEY_INVALID: Final = frozenset(
    {"NOT_FOUND", "DISABLED", "EXPIRED", "FORBIDDEN", "INSUFFICIENT_PERMISSIONS"}
)
_UNKEY_LIMITED: Final = frozenset({"RATE_LIMITED", "USAGE_EXCEEDED"})
# What RFC 7662 defines and we read ourselves, or that is of no use to an app.
_INTROSPECTION_READ: Final = frozenset(
    {"active", "scope", "client_id", "username", "sub", "jti", "exp", "nbf", "iat"}
)


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The request that asks about one credential. Its ``repr`` shows neither header nor body.

    It goes to ``validator_url``, with the ``validator_headers`` besides its own.
    """

    method: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def is_askable(request: object) -> bool:
    """Whether it is a request that can be sent as it is; it may come from a protocol of the app's own."""
    match request:
        case KeyRequest(method, Mapping() as headers, bytes()):
            return (
                is_method(method)
                and all(map(is_header, headers.items()))
                and not any(name.lower() == "content-length" for name in headers)
            )
    return False


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What came back for one credential.

    :param credential: the credential that was asked about.
    :param status: the final HTTP status.
    :param headers: in order and unmerged, decoded as latin-1.
    :param body: all of it.
    :param wall_time: seconds since the epoch, for credentials that end.
    """

    credential: Credential
    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    wall_time: float


@runtime_checkable
class KeyProtocol(Protocol):
    """How to ask, and how to understand; called from several threads at once."""

    def request(self, credential: Credential) -> KeyRequest:
        """The request that asks about this credential."""
        ...

    def verdict(self, answer: KeyAnswer) -> Verdict:
        """What the answer says about the credential; one that has ended is invalid.

        :raises KeyServiceUnavailable: for an answer that says neither valid nor invalid.
        :raises RateLimited: where the service says: not now.
        """
        ...


class JsonProtocol:
    """Ours: ``POST {"key": ...}``, and a JSON object answers.

    Every member of the answer but ``valid`` is optional, null is the same as absent, and unknown
    members are ignored. ``key_sha256``, where given, must be the SHA-256 of the key that was
    asked about, in hex: an answer about another key (a cache, a proxy out of step) is unusable.
    """

    def request(self, credential: Credential) -> KeyRequest:
        return KeyRequest("POST", _JSON, json.dumps({"key": credential.value}).encode())

    def verdict(self, answer: KeyAnswer) -> Verdict:
        status, headers = answer.status, answer.headers
        _no_redirect(status)
        if not fields.is_json(headers):
            raise _refused_us(status) or _other(status) or _not_json()
        document = _spoken(answer)
        _check_echo(document, answer.credential)
        if document.get("reason") == "rate_limited":
            raise RateLimited(fields.retry_after(document, headers))
        if "valid" not in document or status >= 500:
            raise _refused_us(status) or _other(status, in_json=True) or unusable("'valid' is missing")
        valid = fields.flag(document, "valid")
        ttl = fields.number(document, "ttl")
        if not valid:
            if status not in _JSON_INVALID:
                raise _unexpected(status, in_json=True)
            return Verdict.invalid(ttl=ttl)
        if status != 200:
            raise _unexpected(status, in_json=True)
        who = fields.table(document, "consumer")
        consumer = Consumer(
            id=fields.text(who, "id"),
            username=fields.text(who, "username"),
            custom_id=fields.text(who, "custom_id"),
            scopes=fields.scopes(document, "scopes"),
            metadata=fields.table(document, "metadata"),
        )
        return _unless_ended(
            Verdict(
                valid=True,
                consumer=consumer,
                credential_id=fields.text(document, "credential_id"),
                ttl=ttl,
                expires_at=fields.moment(document, "expires_at"),
            ),
            answer.wall_time,
        )


class StatusProtocol:
    """An endpoint as nginx ``auth_request``, Traefik and Envoy ask it: the status is the answer.

    A 2xx is valid, 401, 403 and 404 are invalid. The consumer is read from the headers that a
    gateway would set: ``X-Consumer-ID``, ``X-Consumer-Username``, ``X-Consumer-Custom-ID`` and
    ``X-Credential-Identifier``, where the answer has them.

    :param key_header: the request header that carries the credential.
    """

    def __init__(self, key_header: str = "apikey") -> None:
        self._key_header = key_header

    def request(self, credential: Credential) -> KeyRequest:
        value = credential.value
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise UnusableAnswer("error", "the credential cannot be sent in a header")
        return KeyRequest("GET", {**_COMMON, "Accept": "*/*", self._key_header: value})

    def verdict(self, answer: KeyAnswer) -> Verdict:
        _no_redirect(answer.status)
        if answer.status in _STATUS_INVALID:
            return Verdict.invalid()
        if not 200 <= answer.status < 300:
            raise _unexpected(answer.status)
        consumer = Consumer(
            id=_header_text(answer, "X-Consumer-ID"),
            username=_header_text(answer, "X-Consumer-Username"),
            custom_id=_header_text(answer, "X-Consumer-Custom-ID"),
        )
        name = _header_text(answer, "X-Credential-Identifier")
        return Verdict(valid=True, consumer=consumer, credential_id=name)


class IntrospectionProtocol:
    """RFC 7662: ``POST token=...``, and ``active`` is the answer.

    ``sub`` (else ``client_id``) becomes the consumer's ``id``, ``username`` its ``username``,
    ``client_id`` its ``custom_id``, ``scope`` its scopes, ``jti`` the credential's name; what the
    standard does not define, and ``aud``, ``iss`` and ``token_type``, is the metadata. What has
    ended (``exp``) or not begun (``nbf``) is invalid; no clock skew is allowed for.
    """

    def request(self, credential: Credential) -> KeyRequest:
        return KeyRequest("POST", _FORM, urlencode({"token": credential.value}).encode())

    def verdict(self, answer: KeyAnswer) -> Verdict:
        document = _document(answer)
        active = fields.flag(document, "active")
        if active is None:
            raise unusable("'active' is missing")
        if not active:
            return Verdict.invalid()
        begins = fields.number(document, "nbf", MAX_EPOCH_SECONDS)
        scope = document.get("scope")
        if scope is not None and not isinstance(scope, str):
            raise unusable("'scope' is not a text")
        client_id = fields.text(document, "client_id")
        extensions = {name: said for name, said in document.items() if name not in _INTROSPECTION_READ}
        consumer = Consumer(
            id=fields.text(document, "sub") or client_id,
            username=fields.text(document, "username"),
            custom_id=client_id,
            scopes=fields.scope_set(scope.split(), "scope") if scope else NO_SCOPES,
            metadata=MappingProxyType(extensions) if extensions else NO_METADATA,
        )
        verdict = Verdict(
            valid=True,
            consumer=consumer,
            credential_id=fields.text(document, "jti"),
            expires_at=fields.number(document, "exp", MAX_EPOCH_SECONDS),
        )
        if begins is not None and begins > answer.wall_time:
            return Verdict.invalid()
        return _unless_ended(verdict, answer.wall_time)


class UnkeyProtocol:
    """Unkey's ``/v2/keys.verifyKey``: ``data.code`` is the answer, at HTTP status 200.

    ``VALID`` is valid; ``NOT_FOUND``, ``DISABLED``, ``EXPIRED``, ``FORBIDDEN`` and
    ``INSUFFICIENT_PERMISSIONS`` are invalid; ``RATE_LIMITED`` and ``USAGE_EXCEEDED`` rate-limit; a
    code that is not known is unavailable. ``identity.externalId`` becomes the consumer's ``id``,
    ``identity.id`` its ``custom_id``, ``permissions`` its scopes, ``meta`` its metadata, ``keyId``
    the credential's name. Each check spends credits there, and a remembered verdict spends none.
    """

    def request(self, credential: Credential) -> KeyRequest:
        return KeyRequest("POST", _JSON, json.dumps({"key": credential.value}).encode())

    def verdict(self, answer: KeyAnswer) -> Verdict:
        data = fields.table(_document(answer), "data")
        valid = fields.flag(data, "valid")
        code = data.get("code")
        if valid is None or not isinstance(code, str) or valid != (code == "VALID"):
            raise unusable("'data.valid' and 'data.code' are missing, or differ")
        if code in _UNKEY_LIMITED:
            raise RateLimited
        if code in _UNKEY_INVALID:
            return Verdict.invalid()
        if not valid:
            raise unusable("'data.code' is not known")
        identity = fields.table(data, "identity")
        expires = fields.number(data, "expires", MAX_EPOCH_SECONDS * 1000)
        consumer = Consumer(
            id=fields.text(identity, "externalId"),
            custom_id=fields.text(identity, "id"),
            scopes=fields.scopes(data, "permissions"),
            metadata=fields.table(data, "meta"),
        )
        return _unless_ended(
            Verdict(
                valid=True,
                consumer=consumer,
                credential_id=fields.text(data, "keyId"),
                expires_at=None if expires is None else expires / 1000,
            ),
            answer.wall_time,
        )


# By the name in ``validator_protocol``; each is made with ``validator_key_header``.
PROTOCOLS: Final[Mapping[str, Callable[[str], KeyProtocol]]] = MappingProxyType(
    {
        "json": lambda _: JsonProtocol(),
        "status": StatusProtocol,
        "introspection": lambda _: IntrospectionProtocol(),
        "unkey": lambda _: UnkeyProtocol(),
    }
)


def _document(answer: KeyAnswer) -> Mapping[str, object]:
    """The JSON object of a protocol that answers with 200 and nothing else."""
    _no_redirect(answer.status)
    in_json = fields.is_json(answer.headers)
    error = _refused_us(answer.status) or _other(answer.status, in_json=in_json)
    if error is not None:
        raise error
    if not in_json:
        raise _not_json()
    return fields.json_object(answer.body)


def _spoken(answer: KeyAnswer) -> Mapping[str, object]:
    """The JSON object of an answer; where it is none, the status says what became of the question."""
    try:
        return fields.json_object(answer.body)
    except UnusableAnswer as error:
        raise _refused_us(answer.status) or _other(answer.status, in_json=True) or error from None


def _no_redirect(status: int) -> None:
    if 300 <= status < 400:
        raise KeyServiceUnavailable("redirect", f"status {status}; redirects are never followed")


def _refused_us(status: int) -> KeyServiceUnavailable | None:
    if status not in _REFUSED_US:
        return None
    return KeyServiceUnavailable("refused_us", f"status {status}: it refused our own credentials")


def _other(status: int, *, in_json: bool = False) -> KeyServiceUnavailable | None:
    return None if status == 200 else _unexpected(status, in_json=in_json)


def _unexpected(status: int, *, in_json: bool = False) -> KeyServiceUnavailable:
    """What a status means that the protocol has no verdict for.

    A server that answers 400 or the like in our own language speaks of what it was asked about;
    one that is broken, or another one that answers in its place, speaks of itself.
    """
    about_the_key = status in _ABOUT_THE_KEY or (in_json and status < 500 and status not in _ABOUT_US)
    return (UnusableAnswer if about_the_key else KeyServiceUnavailable)("status", f"status {status}")


def _not_json() -> KeyServiceUnavailable:
    return KeyServiceUnavailable("content", "its Content-Type is not JSON")


def _check_echo(document: Mapping[str, object], credential: Credential) -> None:
    echo = document.get("key_sha256")
    if echo is None:
        return
    asked = sha256(credential.value.encode("utf-8", "surrogatepass")).hexdigest()
    if not isinstance(echo, str) or not compare_digest(
        echo.lower().encode("utf-8", "replace"), asked.encode()
    ):
        raise KeyServiceUnavailable("content", "the answer is about another key ('key_sha256' differs)")


def _unless_ended(verdict: Verdict, wall_time: float) -> Verdict:
    """The verdict, or an invalid one where the credential has ended already."""
    ended = verdict.expires_at is not None and verdict.expires_at <= wall_time
    return Verdict.invalid() if ended else verdict


def _header_text(answer: KeyAnswer, name: str) -> str | None:
    found = fields.values(answer.headers, name)
    if not found or found == [""]:
        return None
    if len(found) > 1:
        raise unusable(f"the header {name} is there twice")
    try:
        return fields.sendable(found[0].encode("latin-1").decode("utf-8"), name)
    except UnicodeError:
        raise unusable(f"the header {name} is not UTF-8") from None
