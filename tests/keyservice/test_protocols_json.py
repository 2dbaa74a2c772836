"""Protocol `json`: valid, invalid, rate-limited or unusable, and nothing in between."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikey_guard.core.model import Consumer, Verdict
from apikey_guard.errors import KeyServiceUnavailable, RateLimited
from tests.harness.answers import JSON, KEY, NOW, cause_of, verdict_of

DEEP = '{"a":' * 20_000 + "1" + "}" * 20_000


class TestJson:
    def test_everything_that_can_be_said(self) -> None:
        assert verdict_of(
            "json",
            {
                "valid": True,
                "consumer": {"id": "42", "username": "acme", "custom_id": "ü-7"},
                "credential_id": "c-7",
                "scopes": ["read", "write", "read"],
                "metadata": {"plan": "gold", "limits": [1, 2]},
                "ttl": 30,
                "expires_at": "2027-01-15T08:00:01Z",
                "unknown": {"is": "ignored"},
            },
        ) == Verdict(
            valid=True,
            consumer=Consumer(
                id="42",
                username="acme",
                custom_id="ü-7",
                scopes=frozenset({"read", "write"}),
                metadata={"plan": "gold", "limits": [1, 2]},
            ),
            credential_id="c-7",
            ttl=30.0,
            expires_at=NOW + 1,
        )

    def test_everything_but_valid_is_optional_and_null_is_absent(self) -> None:
        nothing = Verdict(valid=True, consumer=Consumer())
        optional = ("consumer", "credential_id", "scopes", "metadata", "ttl", "expires_at", "reason")
        assert verdict_of("json", {"valid": True}) == nothing
        assert verdict_of("json", {"valid": True, **dict.fromkeys(optional)}) == nothing
        assert verdict_of(
            "json", {"valid": True, "consumer": {"id": None, "username": "", "custom_id": 0}}
        ).consumer == Consumer(custom_id="0")

    def test_c09_metadata_cannot_be_changed(self) -> None:
        consumer = verdict_of("json", {"valid": True, "metadata": {"plan": "gold"}}).consumer
        assert consumer is not None
        with pytest.raises(TypeError):
            consumer.metadata["plan"] = "free"  # type: ignore[index]  # that it cannot be is the test

    @pytest.mark.parametrize("status", range(200, 600))
    def test_v03_status_and_valid_together_decide(self, status: int) -> None:
        if status == 200:
            assert verdict_of("json", {"valid": True}, status=status).valid
        else:
            expected = "redirect" if status < 400 and status >= 300 else "status"
            assert cause_of(lambda: verdict_of("json", {"valid": True}, status=status)) == expected
        if status in {200, 401, 403, 404, 410, 422}:
            assert not verdict_of("json", {"valid": False}, status=status).valid
        else:
            expected = "redirect" if 300 <= status < 400 else "status"
            assert cause_of(lambda: verdict_of("json", {"valid": False}, status=status)) == expected

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": "no"}'], ids=repr)
    @pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 429, 500, 503])
    def test_v03_without_valid_nothing_is_known(self, status: int, body: bytes) -> None:
        causes = {200: {"content"}, 401: {"refused_us", "content"}, 403: {"refused_us", "content"}}
        for headers in (JSON, (("Content-Type", "text/html"),), ()):
            cause = cause_of(partial(verdict_of, "json", body, status=status, headers=headers))
            assert cause in causes.get(status, {"status", "content"})

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize(
        ("body", "kind"),
        [(b'{"error": "bad token"}', "application/json"), (b"<html>", "text/html"), (b"", "text/plain")],
        ids=["json", "html", "empty"],
    )
    def test_v03_a_service_that_refuses_us_is_told_apart(self, status: int, body: bytes, kind: str) -> None:
        headers = (("Content-Type", kind),)
        assert cause_of(lambda: verdict_of("json", body, status=status, headers=headers)) == "refused_us"

    @pytest.mark.parametrize(
        "kind",
        [
            "application/json",
            "application/json; charset=utf-8",
            'application/JSON;charset="UTF-8"',
            "application/json;odata.metadata=none;charset=utf-8",
            "application/problem+json",
        ],
    )
    def test_v03_content_types_that_are_json(self, kind: str) -> None:
        assert verdict_of("json", {"valid": True}, headers=(("content-type", kind),)).valid

    @pytest.mark.parametrize(
        "kinds",
        [
            (),
            ("",),
            ("text/html",),
            ("text/json",),
            ("application/jsonp",),
            ("application/json; charset=utf-16",),
            ("application/json, text/html",),
            ("application/json", "application/json"),
        ],
        ids=repr,
    )
    def test_v03_content_types_that_are_not_json(self, kinds: tuple[str, ...]) -> None:
        headers = tuple(("Content-Type", kind) for kind in kinds)
        with pytest.raises(KeyServiceUnavailable) as raised:
            verdict_of("json", {"valid": True}, headers=headers)
        assert (raised.value.cause, raised.value.detail) == ("content", "its Content-Type is not JSON")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"null",
            b"true",
            b"1",
            b'"valid"',
            b"[]",
            b'[{"valid": true}]',
            b'{"valid": true',
            b'{"valid": true}garbage',
            b'{"valid": true}{"valid": true}',
            b")]}'\n" + b'{"valid": true}',
            b'\xef\xbb\xbf{"valid": true}',
            '{"valid": true}'.encode("utf-16"),
            '{"valid": true}'.encode("utf-32"),
            b'{"valid": true, "x": "\xff"}',
            b"{'valid': true}",
            b'{"valid": true,}',
            b'{"valid": true /* yes */}',
            b'{"valid": True}',
            b'{"valid": "true"}',
            b'{"valid": 1}',
            b'{"valid": 1.0}',
            b'{"valid": 0}',
            b'{"valid": null}',
            b'{"valid": []}',
            b'{"valid": {}}',
            b'{"valid": "false"}',
            b'{"Valid": true}',
            b'{"VALID": true}',
            b'{"valid": false, "valid": true}',
            b'{"valid": true, "valid": true}',
            b'{"valid": true, "consumer": {"id": "1", "id": "2"}}',
            b'{"valid": true, "\\u0076alid": true}',
            b'{"valid": true, "x": NaN}',
            b'{"valid": true, "x": Infinity}',
            b'{"valid": true, "x": -Infinity}',
            b'{"valid": true, "x": 1e999}',
            b'{"valid": true, "x": ' + b"9" * 5000 + b"}",
            b'{"valid": true, "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            DEEP.encode(),
            b'{"valid": NaN}',
        ],
        ids=lambda body: repr(body[:40]),
    )
    def test_v04_odd_json_is_never_believed(self, body: bytes) -> None:
        assert cause_of(lambda: verdict_of("json", body)) == "content"

    @pytest.mark.parametrize(
        "members",
        [
            {"consumer": "acme"},
            {"consumer": ["acme"]},
            {"consumer": {"id": "a\r\nX: y"}},
            {"consumer": {"id": "a\ny"}},
            {"consumer": {"id": "a\x00"}},
            {"consumer": {"id": "a\x7f"}},
            {"consumer": {"id": "a\x85b"}},
            {"consumer": {"id": "a\u2028b"}},
            {"consumer": {"id": "\ud800"}},
            {"consumer": {"id": " a"}},
            {"consumer": {"id": "a "}},
            {"consumer": {"id": ["a"]}},
            {"consumer": {"id": {"a": 1}}},
            {"consumer": {"id": True}},
            {"consumer": {"id": False}},
            {"consumer": {"id": 1.5}},
            {"consumer": {"id": 2**64}},
            {"consumer": {"id": "x" * 257}},
            {"consumer": {"username": "a\tb"}},
            {"consumer": {"custom_id": "a\x1bb"}},
            {"credential_id": "a\r\n"},
            {"credential_id": []},
            {"scopes": "read write"},
            {"scopes": {"read": True}},
            {"scopes": ["read write"]},
            {"scopes": [""]},
            {"scopes": [1]},
            {"scopes": [None]},
            {"scopes": ["read\n"]},
            {"scopes": ["x" * 257]},
            {"metadata": []},
            {"metadata": "gold"},
            {"ttl": "30"},
            {"ttl": -1},
            {"ttl": True},
            {"ttl": [30]},
            {"ttl": 10**400},
            {"expires_at": NOW + 60},
            {"expires_at": ""},
            {"expires_at": True},
        ],
        ids=lambda members: ascii(members)[:60],
    )
    def test_v04_a_field_of_the_wrong_kind_makes_the_answer_unusable(
        self, members: dict[str, object]
    ) -> None:
        assert cause_of(lambda: verdict_of("json", {"valid": True, **members})) == "content"

    @pytest.mark.parametrize("number", [0, 7, -1, 2**63, 2**64 - 1])
    def test_v04_a_whole_number_is_taken_as_its_digits(self, number: int) -> None:
        verdict = verdict_of("json", {"valid": True, "consumer": {"id": number}, "credential_id": number})
        assert verdict.consumer == Consumer(id=str(number))
        assert verdict.credential_id == str(number)

    @given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
    def test_v04_any_bytes_are_unusable_or_say_valid_themselves(self, body: bytes) -> None:
        try:
            verdict = verdict_of("json", body)
        except (KeyServiceUnavailable, RateLimited):
            return
        assert json.loads(body)["valid"] is verdict.valid

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["valid", "consumer", "id", "scopes", "ttl", "expires_at", "reason"]),
                    inner,
                )
            ),
            max_leaves=10,
        )
    )
    def test_v04_any_document_is_unusable_or_says_valid_itself(self, document: object) -> None:
        try:
            verdict = verdict_of("json", document)
        except (KeyServiceUnavailable, RateLimited):
            return
        assert isinstance(document, dict)
        assert document["valid"] in {True, verdict.valid}
        assert document["valid"] is True or not verdict.valid


class TestEcho:
    digest = sha256(KEY.encode()).hexdigest()

    @pytest.mark.parametrize("valid", [True, False])
    @pytest.mark.parametrize("echo", [digest, digest.upper(), None])
    def test_v18_an_answer_about_this_key_is_believed(self, valid: bool, echo: str | None) -> None:
        assert verdict_of("json", {"valid": valid, "key_sha256": echo}).valid is valid

    @pytest.mark.parametrize("valid", [True, False])
    @pytest.mark.parametrize(
        "echo", [sha256(b"KCANARY-other").hexdigest(), "", digest[:-1], digest + "0", 1, [], True, "é\ud800"]
    )
    def test_v18_an_answer_about_another_key_is_unusable(self, valid: bool, echo: object) -> None:
        assert cause_of(lambda: verdict_of("json", {"valid": valid, "key_sha256": echo})) == "content"
