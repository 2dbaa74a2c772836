"""A remembered key in a small JSON body, no sockets: ``json.loads`` and a hand-written check, and the guard.

The hand-written check only reads the body; the guard also cuts the key out of it. The app reads the
body in neither case.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from apikey_guard import GuardMiddleware
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds, table
from tests.benchmarks.wsgi_hit import CONSUMER, ENVIRON, KEY, HandWritten, answer, app, guarded

BODIES = {
    "small": {"apikey": KEY, "amount": 12.5, "note": "hello"},
    "small, key last": {"amount": 12.5, "note": "café", "apikey": KEY},
    "1 KiB": {"apikey": KEY, "items": [{"id": n, "name": f"item {n}", "price": n * 1.5} for n in range(20)]},
}


class JsonAndHandWritten:
    """Parses the body, takes the key from it, puts the body back, and checks the key."""

    def __init__(self) -> None:
        self.check = HandWritten()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_APIKEY"] = json.loads(body)["apikey"]
        return self.check(environ, start_response)


def case(application: Callable[..., Any], body: bytes) -> Callable[[], object]:
    request = {**ENVIRON, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body))}

    def call() -> object:
        environ = request.copy()
        environ["wsgi.input"] = io.BytesIO(body)
        return application(environ, answer)

    return call


def main() -> None:
    by_hand = JsonAndHandWritten()
    for name, members in BODIES.items():
        body = json.dumps(members, ensure_ascii=False).encode()
        kept = json.dumps({key: value for key, value in members.items() if key != "apikey"}).encode()
        print(f"\n{name}: {len(body)} bytes")
        cases = {
            "bare app": case(app, body),
            "json.loads, hand-written": case(by_hand, body),
            "guard, key in the body": case(_in_body(body), body),
            "guard, key in a header, body searched": _with_header(kept),
        }
        table(microseconds(cases, rounds=40, calls=1000), bare="bare app", against="json.loads, hand-written")


def _in_body(body: bytes) -> Callable[..., Any]:
    middleware = GuardMiddleware(
        app, key_service=FakeKeyService({KEY: CONSUMER}), cache_ttl=3600, key_locations=["body:apikey"]
    )
    case(middleware, body)()
    return middleware


def _with_header(body: bytes) -> Callable[[], object]:
    middleware = guarded(key_locations=["header:apikey", "body:apikey"])
    return case(lambda environ, start: middleware({**environ, "HTTP_APIKEY": KEY}, start), body)


if __name__ == "__main__":
    main()
