"""Bodies of every kind through every adapter: what reaches an app holds no field of the key's name (K-02)."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from apikey_guard.testing import FakeKeyService
from tests.adapters import django_adapter  # noqa: F401 - it configures Django
from tests.adapters.conformance import ADAPTERS, Request, make_adapter
from tests.harness.body_maker import Maker
from tests.harness.body_readers import read_by_all

IN_BODY = {"key_locations": ["header:x-key", "body:apikey"], "body_max_bytes": 100_000}
SEEDS = 120


@pytest.mark.parametrize("kind", ["multipart", "json", "form"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_k02_a_field_of_the_keys_name_reaches_no_parser_of_the_app(adapter: str, kind: str) -> None:
    became: Counter[str] = Counter()
    keys = FakeKeyService(["KCANARY-1", "KCANARY-header"])
    behind = make_adapter(adapter, {"key_service": keys, **IN_BODY})
    try:
        for seed in range(SEEDS):
            content_type, body = getattr(Maker(seed), kind)()
            for headers in ((), (("X-Key", "KCANARY-header"),)):
                sent = (("Content-Type", content_type), *headers)
                answer = behind.call(Request(method="POST", headers=sent, body=body))
                if answer.seen is None:
                    became[json.loads(answer.body)["code"]] += 1
                    continue
                became["reached"] += 1
                assert headers or len(answer.seen.body) < len(body)
                for reader, fields in read_by_all(content_type, answer.seen.body):
                    names = [name for name, _ in fields or ()]
                    assert "apikey" not in names, (reader, content_type, body, answer.seen.body)
    finally:
        behind.close()
    assert {"reached", "missing_credential", "ambiguous_credential", "bad_request"} <= set(became), became
    assert "internal_error" not in became
