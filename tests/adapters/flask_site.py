"""A Flask app with one guard, and what its views were called for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask

from apikey_guard import Consumer
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService

GOOD, WRITER, BAD = "KCANARY-good", "KCANARY-writer", "KCANARY-bad"


def known_keys() -> FakeKeyService:
    keys = FakeKeyService({GOOD: Consumer(id="42", username="acme")})
    keys.add(WRITER, Consumer(id="7", scopes=frozenset({"read", "write"})))
    return keys


class Site:
    """An app with one guard, and what its views were called for."""

    def __init__(self, **settings: Any) -> None:
        self.keys = known_keys()
        self.app = flask.Flask(__name__)
        self.app.testing = True
        self.guard = ApiKeyGuard(self.app, **{"key_service": self.keys, **settings})
        self.called: list[str] = []

    def view(self, name: str) -> Callable[..., str]:
        def view(**values: object) -> str:
            self.called.append(name)
            return name

        view.__name__ = name
        return view

    def status(self, path: str, key: str | None = None, method: str = "GET", **parts: Any) -> int:
        headers = {**parts.pop("headers", {}), **({} if key is None else {"apikey": key})}
        return self.app.test_client().open(path, method=method, headers=headers, **parts).status_code
