"""Every front is a WSGI application that passes requests on to one origin; gunicorn calls :func:`build`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

KEY = "ag_4f9c2d7b81e04a63b5d8c1f7"
PIECE = 65536
ONE_KIB = b"k" * 1024

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def request_headers(environ: dict[str, Any]) -> dict[str, str]:
    """What the caller sent, without Host and what belongs to this hop: the least that a pass-through does."""
    headers = {}
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            header = name[5:].replace("_", "-").title()
            if header != "Host" and header.lower() not in HOP_BY_HOP:
                headers[header] = value
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["Content-Length"] = environ["CONTENT_LENGTH"]
    return headers


def target(environ: dict[str, Any]) -> str:
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else str(path)


def body_of(environ: dict[str, Any]) -> Any:
    return environ["wsgi.input"] if environ.get("CONTENT_LENGTH") else None


def static(_origin: str) -> Application:
    """No forwarding at all: what the server itself costs."""

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1024")])
        return [ONE_KIB]

    return application


def werkzeug(origin: str) -> Application:
    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.http_proxy import ProxyMiddleware

    # It wants a prefix; "/" is none to it.
    targets = {prefix: {"target": origin, "remove_prefix": False} for prefix in ("/files", "/stream")}
    return ProxyMiddleware(NotFound(), targets, chunk_size=PIECE)


def bare_requests(origin: str) -> Application:
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.mount("http://", HTTPAdapter(pool_maxsize=64))

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = session.request(
            environ["REQUEST_METHOD"],
            origin + target(environ),
            headers=request_headers(environ),
            data=body_of(environ),
            stream=True,
            allow_redirects=False,
        )
        return passed_on(answer.raw, start_response)

    return application


def bare_urllib3(origin: str) -> Application:
    import urllib3

    pool = urllib3.PoolManager(maxsize=64, retries=False)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = pool.request(
            environ["REQUEST_METHOD"],
            origin + target(environ),
            headers=request_headers(environ),
            body=body_of(environ),
            preload_content=False,
            decode_content=False,
            redirect=False,
        )
        return passed_on(answer, start_response)

    return application


def passed_on(answer: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
    headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
    start_response(f"{answer.status} {answer.reason}", headers)
    return pieces(answer)


def pieces(answer: Any) -> Iterator[bytes]:
    try:
        yield from answer.stream(PIECE, decode_content=False)
    finally:
        answer.release_conn()


def ours(origin: str) -> Application:
    """The guard as a gateway: a remembered key, hiding and identity headers on, as they are by default."""
    from apikey_guard import Consumer, GuardMiddleware
    from apikey_guard.testing import FakeKeyService

    consumer = Consumer(id="42", username="acme", scopes=frozenset({"read"}))
    return GuardMiddleware(origin=origin, key_service=FakeKeyService({KEY: consumer}), cache_ttl=3600)


# By the names that the tables show. nginx is none of these: it is a program of its own.
APPLICATIONS: dict[str, Callable[[str], Application]] = {
    "static": static,
    "werkzeug": werkzeug,
    "requests": bare_requests,
    "urllib3": bare_urllib3,
    "ours": ours,
}


def build(name: str, origin: str) -> Application:
    return APPLICATIONS[name](origin)
