"""Read by mypy, run by nobody: the public names, used as the documentation tells people to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_type
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from apikey_guard import (
    Allow,
    Consumer,
    Credential,
    Decision,
    Deny,
    Dialect,
    Guard,
    GuardMiddleware,
    KeyAnswer,
    KeyProtocol,
    KeyRequest,
    Location,
    OriginAnswer,
    OriginClient,
    OriginRequest,
    Pending,
    Reason,
    Rejection,
    Route,
    Settings,
    Verdict,
    load_settings,
)
from apikey_guard.gateway import create_app


def plain_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    consumer = environ["apikey_guard.consumer"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(consumer).encode()]


def from_our_database(credential: Credential) -> Verdict:
    assert_type(credential.value, str)
    if credential.value == "":
        return Verdict.invalid(ttl=5)
    return Verdict(valid=True, consumer=Consumer(id="42", username="acme"), ttl=30)


def count(decision: Decision, environ: Mapping[str, object]) -> None:
    assert_type(decision.allowed, bool)
    if isinstance(decision, Deny):
        assert_type(decision.reason, Reason)
        assert_type(decision.retry_after, float | None)
    else:
        assert_type(decision, Allow)
        assert_type(decision.consumer, Consumer | None)


def our_words(rejection: Rejection, environ: Mapping[str, object]) -> Rejection:
    assert_type(rejection.status, int)
    return rejection


guarded: WSGIApplication = GuardMiddleware(
    plain_app,
    validator_url="https://keys.example.com/verify",
    routes=[Route("/health", access="public"), Route("/admin/*", scopes=("admin",), methods=("GET",))],
    on_decision=count,
    render_rejection=our_words,
)
gateway: WSGIApplication = create_app(
    validator_url="https://keys.example.com/verify",
    origins={"api": "https://api.internal", "reports": ["https://r1.internal", "https://r2.internal"]},
    origin="api",
    routes=[Route("/v2/reports/*", origin="reports", strip_prefix=True)],
    choose_origin=lambda environ, consumer: "reports" if consumer and "beta" in consumer.scopes else None,
)
gateway_of_settings: WSGIApplication = create_app(
    load_settings(keys_file="keys.toml", origin="https://api.internal")
)
own_keys: WSGIApplication = GuardMiddleware(plain_app, key_service=from_our_database)


class OwnProtocol:
    def request(self, credential: Credential) -> KeyRequest:
        return KeyRequest("GET", {"X-Key": credential.value})

    def verdict(self, answer: KeyAnswer) -> Verdict:
        assert_type(answer.body, bytes)
        return Verdict(valid=answer.status == 200)


class OwnWords:
    def reject(self, deny: Deny, *, locations: Sequence[Location], realm: str) -> Rejection:
        return Rejection(401, (("Content-Type", "text/plain"),), realm.encode(), deny.reason)


class OwnOrigin:
    def send(self, request: OriginRequest) -> OriginAnswer:
        assert_type(request.headers, bytes)
        return OriginAnswer(200, "OK", [("Content-Type", "text/plain")], [request.path.encode()])

    def close(self) -> None: ...

    def abandon(self) -> None: ...


protocol: KeyProtocol = OwnProtocol()
words: Dialect = OwnWords()
own_origin: OriginClient = OwnOrigin()
own_parts: WSGIApplication = create_app(
    validator_url="https://keys.example.com/verify",
    validator_protocol=protocol,
    dialect=words,
    origins={"own": own_origin},
    routes=[Route("/*", origin="own", dialect=OwnWords())],
)


def adapted(guard: Guard, environ: dict[str, Any]) -> Rejection | None:
    begun = guard.begin(environ, "/")
    if isinstance(begun, Pending):
        begun.relax("optional")
        if isinstance(begun.settle(), Deny):
            return begun.rejection()
    else:
        assert_type(begun, Allow)
    return None


assert_type(load_settings(validator_url="https://keys.example.com/verify"), Settings)
