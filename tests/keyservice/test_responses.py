"""The key service mocked with ``responses``, as people test what talks through ``requests``.

No setting knows of it: the library takes the place of the adapter of ``requests``, in every thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from django.test import Client, override_settings
from flask import Flask
from responses import matchers

from apikey_guard import Guard
from apikey_guard.core.model import Credential
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.flask import ApiKeyGuard, current_consumer
from apikey_guard.keyservice.http import HttpKeyService
from apikey_guard.testing import ManualClock
from tests.adapters import django_adapter  # noqa: F401 - it configures Django
from tests.adapters.presented import ALLOWED, INVALID, UNAVAILABLE
from tests.harness import build_environ
from tests.harness.guarded import GOOD, Guarded, at_once

URL = "https://keys.example.com/verify"
OURS = {"Authorization": "Bearer SCANARY-ours"}
KNOWN = {"valid": True, "consumer": {"id": "42", "username": "alice"}, "scopes": ["read"]}

Mock = responses.RequestsMock


@pytest.fixture
def mocked() -> Iterator[Mock]:
    with responses.RequestsMock() as mock:
        yield mock


def guarded(**settings: Any) -> Guarded:
    return Guarded(validator_url=URL, validator_headers=OURS, **settings)


def json_valid(mock: Mock) -> None:
    question = [matchers.json_params_matcher({"key": GOOD}), matchers.header_matcher(OURS)]
    mock.post(URL, json=KNOWN, match=question)


def json_invalid(mock: Mock) -> None:
    mock.post(URL, json={"valid": False}, status=404)


def status_valid(mock: Mock) -> None:
    mock.get(
        URL, headers={"X-Consumer-ID": "42"}, match=[matchers.header_matcher({"x-api-key": GOOD, **OURS})]
    )


def status_invalid(mock: Mock) -> None:
    mock.get(URL, status=401)


def introspection_valid(mock: Mock) -> None:
    question = [matchers.urlencoded_params_matcher({"token": GOOD}), matchers.header_matcher(OURS)]
    mock.post(URL, json={"active": True, "sub": "42", "scope": "read"}, match=question)


def introspection_invalid(mock: Mock) -> None:
    mock.post(URL, json={"active": False})


def unkey_valid(mock: Mock) -> None:
    mock.post(
        URL,
        json={"meta": {}, "data": {"valid": True, "code": "VALID", "identity": {"externalId": "42"}}},
        match=[
            matchers.json_params_matcher({"key": GOOD}, strict_match=False),
            matchers.header_matcher(OURS),
        ],
    )


def unkey_invalid(mock: Mock) -> None:
    mock.post(URL, json={"meta": {}, "data": {"valid": False, "code": "NOT_FOUND"}})


PROTOCOLS: dict[str, tuple[Callable[[Mock], None], Callable[[Mock], None]]] = {
    "json": (json_valid, json_invalid),
    "status": (status_valid, status_invalid),
    "introspection": (introspection_valid, introspection_invalid),
    "unkey": (unkey_valid, unkey_invalid),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_mocked_and_each_key_is_asked_about_once(protocol: str, mocked: Mock) -> None:
    valid, invalid = PROTOCOLS[protocol]
    with guarded(validator_protocol=protocol, validator_key_header="x-api-key") as guard:
        valid(mocked)
        for _ in range(3):
            assert guard.code() == ALLOWED
        assert len(mocked.calls) == 1
        assert guard.app.last.header("X-Consumer-ID") == "42"
        mocked.reset()
        invalid(mocked)
        for _ in range(3):
            assert guard.code("KCANARY-bad") == INVALID
        assert len(mocked.calls) == 1


FAILURES: dict[str, dict[str, Any]] = {
    "refused": {"body": requests.ConnectionError("KCANARY refused")},
    "a proxy's error": {"body": requests.exceptions.ProxyError()},
    "a time-out": {"body": requests.Timeout()},
    "a time-out of reading": {"body": requests.exceptions.ReadTimeout()},
    "TLS": {"body": requests.exceptions.SSLError()},
    "an error of the system": {"body": OSError(104, "reset")},
    "500": {"status": 500},
    "a redirect": {"status": 302, "headers": {"Location": "https://other.example/"}},
    "a page": {"body": "<html>", "content_type": "text/html"},
    "no JSON": {"body": '{"valid": tr', "content_type": "application/json"},
    "nothing": {"body": ""},
    "far too much": {
        "body": json.dumps({"valid": True, "a": "x" * 100_000}),
        "auto_calculate_content_length": True,
    },
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
def test_a_mocked_failure_is_a_503_and_nobody_gets_in(answer: dict[str, Any], mocked: Mock) -> None:
    mocked.add(responses.POST, URL, **answer)
    with guarded() as guard:
        assert guard.code() == UNAVAILABLE
        assert guard.app.calls == 0
        assert len(mocked.calls) >= 1


@pytest.mark.parametrize("answer", list(FAILURES.values())[:6], ids=list(FAILURES)[:6])
def test_the_text_of_a_mocked_error_goes_nowhere(answer: dict[str, Any], mocked: Mock) -> None:
    mocked.add(responses.POST, URL, **answer)
    service = HttpKeyService(URL)
    with pytest.raises(KeyServiceUnavailable) as caught:
        service.verify(Credential(GOOD))
    assert "KCANARY" not in repr(caught.value)
    assert caught.value.__context__ is None
    service.close()


def test_what_is_not_mocked_reaches_no_network() -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock, guarded() as guard:
        mock.post("https://keys.example.com/other", json=KNOWN)
        assert guard.code() == UNAVAILABLE
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock, guarded() as guard:
        mock.post(URL, json=KNOWN, match=[matchers.header_matcher({"Authorization": "Bearer another"})])
        assert guard.code() == UNAVAILABLE


def test_a_callback_sees_what_is_sent_and_says_what_is_answered(mocked: Mock) -> None:
    seen: list[requests.PreparedRequest] = []

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        seen.append(request)
        return 200, {"Cache-Control": "max-age=7"}, json.dumps({"valid": True, "ttl": 7})

    mocked.add_callback(responses.POST, URL, callback=answer, content_type="application/json")
    with guarded() as guard:
        assert guard.code() == ALLOWED
        guard.clock.advance(8)
        assert guard.code() == ALLOWED
    assert len(seen) == 2
    assert json.loads(seen[0].body or "") == {"key": GOOD}
    assert seen[0].headers["User-Agent"] == "apikey-guard"
    assert "Cookie" not in seen[0].headers


def test_answers_follow_one_another(mocked: Mock) -> None:
    mocked.post(URL, json={"valid": False})
    mocked.post(URL, json=KNOWN)
    mocked.post(URL, body=requests.ConnectionError())
    with guarded(negative_ttl=1, cache_ttl=10, stale_if_error=60) as guard:
        assert guard.code() == INVALID
        guard.clock.advance(2)
        assert guard.code() == ALLOWED
        guard.clock.advance(11)
        # Stale: the third answer was a failure.
        assert guard.code() == ALLOWED
    assert len(mocked.calls) == 3


def test_many_at_once_make_one_call(mocked: Mock) -> None:
    mocked.post(URL, json=KNOWN)
    with guarded() as guard:
        assert at_once([guard.code for _ in range(8)]) == [ALLOWED] * 8
    assert len(mocked.calls) == 1


@responses.activate
def test_the_decorator_and_an_event_loop() -> None:
    responses.post(URL, json=KNOWN)
    with Guard(validator_url=URL, clock=ManualClock()) as guard:

        async def twice() -> list[bool]:
            environs = [build_environ(headers=[("apikey", GOOD)]) for _ in range(2)]
            return [(await guard.check_async(environ, "/")).allowed for environ in environs]

        assert asyncio.run(twice()) == [True, True]
    responses.assert_call_count(URL, 1)


def test_behind_flask(mocked: Mock) -> None:
    mocked.post(URL, json=KNOWN)
    app = Flask(__name__)
    ApiKeyGuard(app, validator_url=URL)

    @app.get("/")
    def who() -> str:
        return str(current_consumer.username)

    client = app.test_client()
    assert [client.get("/", headers={"apikey": GOOD}).text for _ in range(2)] == ["alice", "alice"]
    assert len(mocked.calls) == 1


def test_behind_django(mocked: Mock) -> None:
    mocked.post(URL, json=KNOWN)
    with override_settings(APIKEY_GUARD={"VALIDATOR_URL": URL}):
        answers = [Client().get("/plain/", headers={"apikey": GOOD}).status_code for _ in range(2)]
    assert answers == [200, 200]
    assert len(mocked.calls) == 1
