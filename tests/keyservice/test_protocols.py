"""What each protocol asks; and `status`, `introspection` and `unkey`: what their answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable, RateLimited, tells_of_an_outage
from apikey_guard.keyservice.protocols import PROTOCOLS
from tests.harness.answers import JSON, KEY, NOW, cause_of, verdict_of


class TestRequests:
    @pytest.mark.parametrize(
        ("protocol", "method", "header", "body"),
        [
            ("json", "POST", ("Content-Type", "application/json"), b'{"key": "KCANARY-asked"}'),
            ("unkey", "POST", ("Content-Type", "application/json"), b'{"key": "KCANARY-asked"}'),
            (
                "introspection",
                "POST",
                ("Content-Type", "application/x-www-form-urlencoded"),
                b"token=KCANARY-asked",
            ),
            ("status", "GET", ("X-Key", "KCANARY-asked"), b""),
        ],
    )
    def test_how_each_protocol_asks(
        self, protocol: str, method: str, header: tuple[str, str], body: bytes
    ) -> None:
        request = PROTOCOLS[protocol]("X-Key").request(Credential(KEY))
        assert (request.method, request.body) == (method, body)
        assert header in request.headers.items()
        assert request.headers["Cache-Control"] == "no-store"
        assert "KCANARY" not in repr(request)

    @pytest.mark.parametrize("key", ['"', "\\", "&token=x", "é", "\ud800", "a\r\nb", "\x00", "../.."])
    def test_v08_no_key_breaks_out_of_the_body(self, key: str) -> None:
        for protocol in ("json", "unkey"):
            assert json.loads(PROTOCOLS[protocol]("").request(Credential(key)).body) == {"key": key}

    def test_v08_no_key_adds_a_form_field(self) -> None:
        body = PROTOCOLS["introspection"]("").request(Credential("a&active=true#%2B+")).body
        assert body == b"token=a%26active%3Dtrue%23%252B%2B"

    @pytest.mark.parametrize("key", ["a\r\nX: y", "a\x00", "é", " a", "a ", "\u2028"])
    def test_d05_what_is_no_header_value_is_not_sent_as_one(self, key: str) -> None:
        assert cause_of(lambda: PROTOCOLS["status"]("apikey").request(Credential(key))) == "error"


class TestStatus:
    @pytest.mark.parametrize("status", range(200, 600))
    def test_v03_the_status_is_the_answer(self, status: int) -> None:
        if status < 300:
            assert verdict_of("status", b"anything", status=status, headers=()) == Verdict(
                valid=True, consumer=Consumer()
            )
        elif status in {401, 403, 404}:
            assert verdict_of("status", b"", status=status) == Verdict.invalid()
        else:
            expected = "redirect" if status < 400 else "status"
            assert cause_of(lambda: verdict_of("status", b"", status=status)) == expected

    def test_the_consumer_is_read_from_the_headers_of_a_gateway(self) -> None:
        headers = (
            ("x-consumer-id", "42"),
            ("X-Consumer-Username", "Ã¼nal"),
            ("X-Consumer-Custom-ID", ""),
            ("X-Credential-Identifier", "c-7"),
        )
        assert verdict_of("status", b"", headers=headers) == Verdict(
            valid=True, consumer=Consumer(id="42", username="ünal"), credential_id="c-7"
        )

    @pytest.mark.parametrize(
        "headers",
        [
            (("X-Consumer-ID", "1"), ("X-Consumer-ID", "2")),
            (("X-Consumer-ID", "\xff"),),
            (("X-Consumer-ID", "a\x00"),),
            (("X-Consumer-Username", "x" * 257),),
            (("X-Credential-Identifier", "a\x7f"),),
        ],
        ids=["twice", "not utf-8", "nul", "long", "delete"],
    )
    def test_v04_a_header_that_cannot_be_passed_on_makes_the_answer_unusable(
        self, headers: tuple[tuple[str, str], ...]
    ) -> None:
        assert cause_of(lambda: verdict_of("status", b"", headers=headers)) == "content"


class TestIntrospection:
    def test_everything_that_can_be_said(self) -> None:
        assert verdict_of(
            "introspection",
            {
                "active": True,
                "sub": "u-1",
                "client_id": "app",
                "username": "acme",
                "scope": "read write",
                "jti": "t-9",
                "exp": NOW + 60,
                "nbf": NOW,
                "iat": NOW - 60,
                "aud": "https://api.example.com",
                "plan": "gold",
            },
        ) == Verdict(
            valid=True,
            consumer=Consumer(
                id="u-1",
                username="acme",
                custom_id="app",
                scopes=frozenset({"read", "write"}),
                metadata={"aud": "https://api.example.com", "plan": "gold"},
            ),
            credential_id="t-9",
            expires_at=NOW + 60,
        )

    def test_without_a_subject_the_client_calls(self) -> None:
        consumer = verdict_of("introspection", {"active": True, "client_id": "app"}).consumer
        assert consumer == Consumer(id="app", custom_id="app")

    @pytest.mark.parametrize(
        "document",
        [
            {"active": False},
            {"active": False, "exp": "odd"},
            {"active": True, "exp": NOW},
            {"active": True, "exp": 1},
            {"active": True, "nbf": NOW + 1},
        ],
        ids=str,
    )
    def test_what_is_not_active_now_is_invalid(self, document: dict[str, object]) -> None:
        assert verdict_of("introspection", document) == Verdict.invalid()

    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"valid": True},
            {"active": "true"},
            {"active": 1},
            {"active": None},
            [],
            {"active": True, "exp": "2027-01-15T08:00:10Z"},
            {"active": True, "exp": True},
            {"active": True, "exp": -1},
            {"active": True, "exp": (NOW + 60) * 1000},
            {"active": True, "nbf": "now"},
            {"active": True, "scope": ["read"]},
            {"active": True, "sub": "a\r\nb"},
            {"active": True, "username": ["a"]},
        ],
        ids=str,
    )
    def test_v04_odd_answers_are_unusable(self, document: object) -> None:
        assert cause_of(lambda: verdict_of("introspection", document)) == "content"

    @pytest.mark.parametrize(
        ("status", "cause"),
        [
            (401, "refused_us"),
            (403, "refused_us"),
            (400, "status"),
            (404, "status"),
            (302, "redirect"),
            (201, "status"),
            (429, "status"),
            (503, "status"),
        ],
    )
    @pytest.mark.parametrize("active", [True, False])
    def test_v03_only_200_answers(self, status: int, cause: str, active: bool) -> None:
        assert cause_of(lambda: verdict_of("introspection", {"active": active}, status=status)) == cause


class TestUnkey:
    def test_everything_that_can_be_said(self) -> None:
        assert verdict_of(
            "unkey",
            {
                "meta": {"requestId": "req_1"},
                "data": {
                    "valid": True,
                    "code": "VALID",
                    "keyId": "key_1",
                    "name": "a key",
                    "meta": {"plan": "gold"},
                    "expires": (NOW + 60) * 1000,
                    "credits": 5,
                    "enabled": True,
                    "permissions": ["read"],
                    "roles": ["admin"],
                    "identity": {"id": "id_1", "externalId": "acme"},
                },
            },
        ) == Verdict(
            valid=True,
            consumer=Consumer(
                id="acme", custom_id="id_1", scopes=frozenset({"read"}), metadata={"plan": "gold"}
            ),
            credential_id="key_1",
            expires_at=NOW + 60,
        )

    @pytest.mark.parametrize(
        "code", ["NOT_FOUND", "DISABLED", "EXPIRED", "FORBIDDEN", "INSUFFICIENT_PERMISSIONS"]
    )
    def test_codes_that_are_invalid(self, code: str) -> None:
        assert verdict_of("unkey", {"data": {"valid": False, "code": code}}) == Verdict.invalid()

    @pytest.mark.parametrize("code", ["RATE_LIMITED", "USAGE_EXCEEDED"])
    def test_codes_that_rate_limit(self, code: str) -> None:
        with pytest.raises(RateLimited):
            verdict_of("unkey", {"data": {"valid": False, "code": code}})

    def test_a_key_that_has_ended_is_invalid(self) -> None:
        data = {"valid": True, "code": "VALID", "expires": NOW * 1000}
        assert verdict_of("unkey", {"data": data}) == Verdict.invalid()

    @pytest.mark.parametrize(
        "data",
        [
            None,
            [],
            {},
            {"valid": True},
            {"code": "VALID"},
            {"valid": False, "code": "VALID"},
            {"valid": True, "code": "NOT_FOUND"},
            {"valid": True, "code": "RATE_LIMITED"},
            {"valid": False, "code": "NEW_CODE"},
            {"valid": "true", "code": "VALID"},
            {"valid": True, "code": ["VALID"]},
            {"valid": True, "code": "VALID", "expires": "soon"},
            {"valid": True, "code": "VALID", "permissions": "read"},
            {"valid": True, "code": "VALID", "identity": {"externalId": "a\nb"}},
        ],
        ids=str,
    )
    def test_v04_odd_answers_are_unusable(self, data: object) -> None:
        assert cause_of(lambda: verdict_of("unkey", {"data": data})) == "content"

    @pytest.mark.parametrize(
        ("status", "cause"),
        [(400, "status"), (401, "refused_us"), (403, "refused_us"), (429, "status"), (500, "status")],
    )
    def test_v03_only_200_answers(self, status: int, cause: str) -> None:
        document = {"data": {"valid": True, "code": "VALID"}}
        assert cause_of(lambda: verdict_of("unkey", document, status=status)) == cause


YES: dict[str, object] = {
    "json": {"valid": True},
    "status": {},
    "introspection": {"active": True},
    "unkey": {"data": {"valid": True, "code": "VALID"}},
}
SAYING: dict[str, Callable[[str], object]] = {
    "nothing": lambda _: b"",
    "an error": lambda _: {"error": "slow down"},
    "a verdict": lambda protocol: YES[protocol],
}


@pytest.mark.parametrize(
    "headers", [JSON, (), (*JSON, ("Retry-After", "30"))], ids=["JSON", "none", "with an end"]
)
@pytest.mark.parametrize("saying", SAYING.values(), ids=SAYING)
@pytest.mark.parametrize("protocol", YES)
def test_v03_a_429_means_us_and_not_the_key(
    protocol: str, saying: Callable[[str], object], headers: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(KeyServiceUnavailable) as caught:
        verdict_of(protocol, saying(protocol), status=429, headers=headers)
    assert caught.value.cause == "status"
    assert tells_of_an_outage(caught.value)
