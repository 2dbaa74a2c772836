"""A remembered key, no sockets: the bare app, hand-written checks, and the guard."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable

import cachetools

from apikey_guard import Consumer, Guard, GuardMiddleware, Route
from apikey_guard.testing import FakeKeyService
from tests.benchmarks.rounds import microseconds, table

KEY = "ag_4f9c2d7b81e04a63b5d8c1f7"
CONSUMER = Consumer(id="42", username="acme", scopes=frozenset({"read"}))

# As many keys as gunicorn gives a request of curl's, and a proxy's headers.
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/v1/items/42",
    "QUERY_STRING": "page=2&per_page=50",
    "RAW_URI": "/v1/items/42?page=2&per_page=50",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "gunicorn/27.0.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "51234",
    "CONTENT_TYPE": "application/json",
    "HTTP_HOST": "api.example.com",
    "HTTP_USER_AGENT": "curl/8.5.0",
    "HTTP_ACCEPT": "*/*",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_X_FORWARDED_FOR": "203.0.113.7",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_REQUEST_ID": "3f2a9c1e",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

TEN_ROUTES = (
    Route("/health", access="public"),
    Route("/docs/*", access="public"),
    *(Route(f"/v{number}/*") for number in range(1, 7)),
    Route("/v1/admin/*", scopes={"admin"}),
    Route("/v2/reports/*", scopes={"read"}),
)


def app(environ: dict, start_response: Callable) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def refuse(start_response: Callable) -> Iterable[bytes]:
    start_response("401 Unauthorized", [("Content-Type", "text/plain")])
    return [b"no"]


class Floor:
    """The least that a check can be: the key itself in a dict, with an expiry."""

    def __init__(self) -> None:
        self.known = {KEY: (time.monotonic() + 3600, {"id": "42"})}

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        entry = self.known.get(environ.get("HTTP_APIKEY"))
        if entry is None or entry[0] < time.monotonic():
            return refuse(start_response)
        return app(environ, start_response)


class HandWritten:
    """Hashes the key, looks it up in a locked TTLCache, and does nothing else."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known = cachetools.TTLCache(100_000, 3600)
        self.known[hashlib.sha256(KEY.encode()).digest()] = {"id": "42"}

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        key = environ.get("HTTP_APIKEY")
        if key is None:
            return refuse(start_response)
        fingerprint = hashlib.sha256(key.encode()).digest()
        with self.lock:
            consumer = self.known.get(fingerprint)
        if consumer is None:
            return refuse(start_response)
        return app(environ, start_response)


def guarded(*, sent: dict | None = None, **settings: object) -> GuardMiddleware:
    """A guard that remembers the key; hiding, identity headers and counters are on by default.

    :param sent: the request that makes it do so.
    """
    keys = FakeKeyService({KEY: CONSUMER})
    guard = Guard(key_service=keys, cache_ttl=3600, **settings)
    middleware = GuardMiddleware(app, guard=guard)
    middleware({**(sent or {**ENVIRON, "HTTP_APIKEY": KEY})}, lambda *_: None)
    return middleware


def refreshing() -> GuardMiddleware:
    """A guard whose every hit is due for refresh while the key service does not answer."""
    keys = FakeKeyService({KEY: CONSUMER})
    guard = Guard(key_service=keys, cache_ttl=3600)
    middleware = GuardMiddleware(app, guard=guard)
    middleware({**ENVIRON, "HTTP_APIKEY": KEY}, lambda *_: None)
    keys.hold()
    entry = next(iter(guard.verifier.cache.valid.values()))
    object.__setattr__(entry, "refresh_at", time.monotonic())
    object.__setattr__(entry, "lead", 3600.0)
    return middleware


def answer(status: str, headers: list) -> None:
    assert status.startswith("200"), status


def case(application: Callable, environ: dict) -> Callable[[], object]:
    return lambda: application(environ.copy(), answer)


def on_new_paths(application: Callable, environ: dict) -> Callable[[], object]:
    numbers = itertools.count()

    def call() -> object:
        request = environ.copy()
        request["PATH_INFO"] = f"/v1/items/{next(numbers)}"
        return application(request, answer)

    return call


def main() -> None:
    header = {**ENVIRON, "HTTP_APIKEY": KEY}
    query = {
        **ENVIRON,
        "QUERY_STRING": f"page=2&apikey={KEY}",
        "RAW_URI": f"/v1/items/42?page=2&apikey={KEY}",
    }
    encoded = {
        **query,
        "QUERY_STRING": f"q=a%20b&apikey={KEY}",
        "RAW_URI": f"/v1/items/42?q=a%20b&apikey={KEY}",
    }
    cookie = {**ENVIRON, "HTTP_COOKIE": f"theme=dark; apikey={KEY}; session=1f0c"}
    bearer = {**ENVIRON, "HTTP_AUTHORIZATION": f"Bearer {KEY}"}
    ten = guarded(routes=TEN_ROUTES)
    plain = guarded()
    cases = {
        "bare app": case(app, header),
        "floor": case(Floor(), header),
        "hand-written": case(HandWritten(), header),
        "guard, ten routes": case(ten, header),
        "guard, ten routes, every path new": on_new_paths(ten, header),
        "guard, no routes": case(plain, header),
        "guard, key in query": case(plain, query),
        "guard, key in query, another one encoded": case(plain, encoded),
        "guard, key in cookie": case(guarded(sent=cookie, key_locations=["cookie:apikey"]), cookie),
        "guard, key in Authorization": case(
            guarded(sent=bearer, key_locations=["authorization:Bearer"]), bearer
        ),
        "guard, key removed": case(guarded(hide_credentials="remove"), header),
        "guard, refresh running": case(refreshing(), header),
    }
    table(microseconds(cases, rounds=60, calls=2000), bare="bare app", against="hand-written")


if __name__ == "__main__":
    main()
