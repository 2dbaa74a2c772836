"""The key file over HTTP: protocol ``json`` as a caller sees it."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client, TestResponse

from apikey_guard.core.model import Credential
from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile.serve import MAX_BODY_BYTES, create_app
from apikey_guard.keyservice.keyfile.service import FileKeyService
from apikey_guard.keyservice.protocols import JsonProtocol, KeyAnswer
from apikey_guard.testing import ManualClock

KEY = "KCANARY-good"
PLAIN = "KCANARY-plain"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"""
[[keys]]
id = "c-7"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
consumer = {{ id = "42", username = "acmé" }}
scopes = ["write", "read"]
metadata = {{ plan = "gold", since = 2026-01-01 }}
expires = 2027-01-01T00:00:00Z

[[keys]]
id = "c-8"
sha256 = "{hashlib.sha256(PLAIN.encode()).hexdigest()}"
"""
    )
    return path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=datetime(2026, 11, 23, tzinfo=UTC).timestamp())


@pytest.fixture
def client(path: Path, clock: ManualClock) -> Client:
    return Client(create_app(path, clock=clock))


def verify(client: Client, key: object) -> TestResponse:
    return client.post("/verify", json={"key": key})


def test_a_valid_key_is_answered_with_all_that_is_known(client: Client) -> None:
    response = verify(client, KEY)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == {
        "valid": True,
        "consumer": {"id": "42", "username": "acmé", "custom_id": None},
        "credential_id": "c-7",
        "scopes": ["read", "write"],
        "metadata": {"plan": "gold", "since": "2026-01-01"},
        "expires_at": "2027-01-01T00:00:00Z",
        "key_sha256": hashlib.sha256(KEY.encode()).hexdigest(),
    }


@pytest.mark.parametrize("key", [KEY, PLAIN, "KCANARY-unknown"])
def test_over_http_a_file_means_what_it_means_read_directly(
    client: Client, path: Path, clock: ManualClock, key: str
) -> None:
    request = JsonProtocol().request(Credential(key))
    response = client.post("/verify", data=request.body, headers=dict(request.headers))
    answer = KeyAnswer(
        Credential(key), response.status_code, response.headers.to_wsgi_list(), response.data, clock.time()
    )
    assert JsonProtocol().verdict(answer) == FileKeyService(path, clock=clock).verify(Credential(key))


def test_a_key_without_more_is_valid_without_more(client: Client) -> None:
    assert verify(client, PLAIN).json == {
        "valid": True,
        "consumer": {"id": None, "username": None, "custom_id": None},
        "credential_id": "c-8",
        "scopes": [],
        "metadata": {},
        "key_sha256": hashlib.sha256(PLAIN.encode()).hexdigest(),
    }


def test_a09_unknown_and_expired_are_answered_alike(client: Client, clock: ManualClock) -> None:
    unknown = verify(client, KEY + "-unknown")
    clock.set_wall(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    expired = verify(client, KEY)
    assert (unknown.status_code, len(unknown.data)) == (expired.status_code, len(expired.data))
    for response in (unknown, expired):
        assert {**response.json, "key_sha256": ""} == {"valid": False, "key_sha256": ""}


def test_a_revocation_is_answered_within_a_second(client: Client, path: Path, clock: ManualClock) -> None:
    assert verify(client, PLAIN).json["valid"]
    path.write_text(path.read_text() + "revoked = true\n")
    clock.advance(1)
    assert verify(client, PLAIN).json["valid"] is False


@pytest.mark.parametrize(
    "body",
    [
        b"", b"KCANARY", b"[]", b'"KCANARY"', b"{}", b'{"key": 1}', b'{"key": null}', b'{"key": ["KCANARY"]}',
        b'{"key": "KCANARY-good", "key": "KCANARY-other"}', b'{"Key": "KCANARY-good"}',
        b'{"key": "KCANARY\xff"}',
        b'{"key": "KCANARY-good"', b"key=KCANARY-good", b"[" * MAX_BODY_BYTES,
        b"{" + b'"a":1,' * 1500 + b'"key":"KCANARY-good"}',
    ],
    ids=lambda body: ascii(body[:30]),
)  # fmt: skip
def test_v04_what_is_not_one_key_is_refused(client: Client, body: bytes) -> None:
    response = client.post("/verify", data=body, content_type="application/json")
    assert response.status_code == 400
    assert set(response.json) == {"error"}
    assert "KCANARY" not in response.text


def test_other_members_and_media_types_do_not_matter(client: Client) -> None:
    response = client.post(
        "/verify", data=json.dumps({"ip": "1.2.3.4", "key": PLAIN}), content_type="text/plain"
    )
    assert response.json["valid"] is True


@pytest.mark.parametrize(
    "key", ["", "KCANARY\x00", "KCANARY" * 1000, "\ud800", "ké"], ids=lambda key: ascii(key)[:20]
)
def test_odd_keys_are_merely_invalid(client: Client, key: str) -> None:
    assert verify(client, key).json["valid"] is False


def test_d04_a_large_body_is_refused(client: Client) -> None:
    response = client.post("/verify", data=b'{"key": "' + b"K" * MAX_BODY_BYTES + b'"}')
    assert response.status_code == 413
    assert set(response.json) == {"error"}


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/health", 200, None),
        ("HEAD", "/health", 200, None),
        ("POST", "/health", 405, "GET, HEAD"),
        ("GET", "/verify", 405, "POST"),
        ("OPTIONS", "/verify", 405, "POST"),
        ("POST", "/", 404, None),
        ("POST", "/verify/", 404, None),
        ("GET", "/verify/../health", 404, None),
        ("POST", "/KCANARY", 404, None),
    ],
)
def test_everything_else_is_refused_in_json(
    client: Client, method: str, target: str, status: int, allow: str | None
) -> None:
    response = client.open(target, method=method, query_string={"key": KEY})
    assert response.status_code == status
    assert response.headers.get("Allow") == allow
    assert response.headers["Content-Type"] == "application/json"
    assert "KCANARY" not in response.text


def test_no_key_is_ever_logged(client: Client, path: Path, clock: ManualClock, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    verify(client, KEY)
    verify(client, "KCANARY-unknown")
    path.write_text(f'[[keys]]\nid = "c-1"\nsha256 = "{KEY}"\n')
    clock.advance(1)
    assert verify(client, KEY).json["valid"] is True
    assert "line 3: sha256 must be" in caplog.text
    assert "KCANARY" not in caplog.text


def test_a_missing_file_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no key file"):
        create_app(tmp_path / "none.toml")


@pytest.fixture
def port(path: Path, clock: ManualClock) -> Iterator[int]:
    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002  # werkzeug's name
            pass

    server = make_server("127.0.0.1", 0, create_app(path, clock=clock), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_answers_on_a_real_socket(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"key": KEY}).encode()
    for data in (body, iter([body[:5], body[5:]])):  # with Content-Length, and chunked
        connection.request("POST", "/verify", data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        assert json.load(response)["credential_id"] == "c-7"
    connection.request("POST", "/verify", iter([b"x" * (MAX_BODY_BYTES + 1)]))
    assert connection.getresponse().status == 413
    connection.close()
