"""Requests that present a key, and how they were answered: for the tests named wsgi_a_."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.harness import Response
from tests.harness.guarded import Guarded

MISSING = (401, "missing_credential")
INVALID = (401, "invalid_credential")
AMBIGUOUS = (401, "ambiguous_credential")
UNAVAILABLE = (503, "key_service_unavailable")
FAULT = (500, "internal_error")
ALLOWED = (200, "")

FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")
EVERYWHERE = ["header:apikey", "query:apikey", "authorization:Bearer", "cookie:apikey", "body:apikey"]


def code(response: Response) -> tuple[int, str]:
    return response.status, "" if response.status == 200 else str(response.json()["code"])


def asked(guarded: Guarded, **parts: Any) -> tuple[int, str]:
    """Status and code of one request without a key of its own."""
    return guarded.code(None, **parts)


def present(where: str, key: str) -> dict[str, Any]:
    """One request's parts that present a key in one place."""
    parts: dict[str, dict[str, Any]] = {
        "header": {"headers": [("apikey", key)]},
        "query": {"query": f"apikey={quote(key)}"},
        "authorization": {"headers": [("Authorization", f"Bearer {key}")]},
        "cookie": {"headers": [("Cookie", f"a=b; apikey={key}")]},
        "form": {"method": "POST", "headers": [FORM], "body": f"apikey={quote(key)}".encode()},
        "json": {"method": "POST", "headers": [JSON], "body": f'{{"apikey": "{key}"}}'.encode()},
    }
    return parts[where]


def merged(*requests: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for parts in requests:
        whole = {**whole, **parts, "headers": [*whole.get("headers", ()), *parts.get("headers", ())]}
    return whole


PLACES = ["header", "query", "authorization", "cookie", "form"]
