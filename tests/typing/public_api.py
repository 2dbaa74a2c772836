"""Read by mypy, run by nobody: the public names, used as the documentation tells people to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_type
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from apikey_guard import (
    Allow,
    Consumer,
    Credential,
    Decision,
    Deny,
    GuardMiddleware,
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

assert_type(load_settings(validator_url="https://keys.example.com/verify"), Settings)
