"""What each protocol of a key service makes of an answer, for tables of answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.keyservice.protocols import PROTOCOLS, KeyAnswer

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
KEY = "KCANARY-asked"
JSON = (("Content-Type", "application/json"),)


def verdict_of(
    protocol: str,
    document: object,
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = JSON,
    now: float = NOW,
) -> Verdict:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return PROTOCOLS[protocol]("apikey").verdict(KeyAnswer(Credential(KEY), status, headers, body, now))


def cause_of(call: Callable[[], object]) -> str:
    with pytest.raises(KeyServiceUnavailable) as caught:
        call()
    assert "KCANARY" not in str(caught.value)
    return caught.value.cause
