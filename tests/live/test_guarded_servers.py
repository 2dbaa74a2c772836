"""The guard under every server, over real sockets: the same decisions, whatever the server is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from apikey_guard.core.standin import standin_of
from apikey_guard.testing import LoopbackKeyService
from tests.conftest import StartServer
from tests.harness import SERVERS, LiveServer, raw_request
from tests.harness.guarded import BAD, GOOD

GUARDED = "tests.live.guarded:app"
MANY = 40


@pytest.fixture(scope="module")
def service() -> Iterator[LoopbackKeyService]:
    known: dict[str, dict[str, object]] = {f"{GOOD}-{number}": {} for number in range(MANY)}
    with LoopbackKeyService({GOOD: {"consumer": {"id": "42", "username": "acme"}}, **known}) as running:
        yield running


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, shared_server: StartServer, service: LoopbackKeyService
) -> LiveServer:
    running = shared_server(request.param, GUARDED, env={"APIKEY_GUARD_VALIDATOR_URL": service.url})
    running.forget()
    return running


def sent(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """The bytes of a request on a connection that is closed after it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: api.example.com", "Connection: close", *headers]
    if body:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


REFUSED = {
    "no key": sent("GET", "/things"),
    "a bad key": sent("GET", "/things", f"apikey: {BAD}"),
    "a bad key in the query": sent("GET", f"/things?apikey={BAD}"),
    "an empty key": sent("GET", "/things", "apikey:"),
    "two different keys": sent("GET", f"/things?apikey={GOOD}", f"apikey: {BAD}"),
    "a key twice in the query": sent("GET", f"/things?apikey={GOOD}&apikey={GOOD}"),
    "HEAD": sent("HEAD", "/things"),
    "OPTIONS that is no preflight": sent("OPTIONS", "/things", "Origin: https://a.example"),
    "a form without a key": sent("POST", "/things", body=b"a=1"),
    "dots behind a public path": sent("GET", "/open/../things"),
    "encoded dots behind a public path": sent("GET", "/open/%2e%2e/things"),
    "a parameter on a public path": sent("GET", "/open;x"),
    "a slash before a public path": sent("GET", "//things/../open/../x"),
    "two keys in lines of their own": sent("GET", "/things", f"apikey: {GOOD}", f"apikey: {BAD}"),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_refused_before_the_app(server: LiveServer, request_: bytes) -> None:
    response = server.request(request_)
    # Some servers refuse odd requests by themselves; nobody's app sees them.
    assert response.status in {400, 401}
    assert server.seen() == []


def test_a_refusal_is_whole(server: LiveServer) -> None:
    response = server.request(REFUSED["no key"])
    assert (response.status, response.json()["code"]) == (401, "missing_credential")
    assert response.all_headers("WWW-Authenticate") == ['Key realm="api"']
    assert response.all_headers("Cache-Control") == ["no-store"]
    assert response.all_headers("Content-Length") == [str(len(response.body))]
    assert server.request(REFUSED["HEAD"]).body == b""


ALLOWED = {
    "in a header": sent("GET", "/things?page=2", f"apikey: {GOOD}"),
    "in a header in capitals": sent("GET", "/things?page=2", f"APIKEY: {GOOD}"),
    "in the query": sent("GET", f"/things?apikey={GOOD}&page=2"),
    "in the query, encoded": sent("GET", f"/things?page=2&api%6Bey={GOOD.replace('-', '%2D')}"),
    "in a form": sent("POST", "/things?page=2", body=f"apikey={GOOD}".encode()),
}


STANDIN = standin_of(sha256(GOOD.encode()).digest())
SHOWN = {
    "in the query": f"apikey={STANDIN}&page=2",
    "in the query, encoded": f"page=2&api%6Bey={STANDIN}",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_key_is_found_and_gone(server: LiveServer, name: str) -> None:
    # The recorder itself fails the test where a key is left in anything that it is shown.
    assert server.request(ALLOWED[name]).status == 200
    seen = server.seen()
    assert [(one.environ["QUERY_STRING"], one.body) for one in seen] == [(SHOWN.get(name, "page=2"), b"")]
    assert (seen[0].header("X-Consumer-ID"), seen[0].header("X-Consumer-Username")) == ("42", "acme")


def test_a_form_keeps_its_other_fields(server: LiveServer) -> None:
    body = f"a=%20+&apikey={GOOD}&b=2".encode()
    assert server.request(sent("POST", "/things", body=body)).status == 200
    seen = server.seen()
    assert [(one.body, one.environ["CONTENT_LENGTH"]) for one in seen] == [(b"a=%20+&b=2", "10")]


@pytest.mark.parametrize("target", ["/things", "/open"], ids=["guarded", "public"])
@pytest.mark.parametrize("name", ["X-Consumer-ID", "x_consumer_id", "X-CONSUMER_ID", "X-Anonymous-Consumer"])
def test_forged_identity_never_arrives(server: LiveServer, name: str, target: str) -> None:
    key = [] if target == "/open" else [f"apikey: {GOOD}"]
    assert server.request(sent("GET", target, f"{name}: evil", f"{name}: evil", *key)).status == 200
    seen = server.seen()
    assert len(seen) == 1
    assert "evil" not in "".join(map(str, seen[0].environ.values()))


def test_the_body_of_a_refused_request_is_no_request(server: LiveServer) -> None:
    inner = sent("GET", "/inner", f"apikey: {GOOD}")
    head = f"POST /things HTTP/1.1\r\nHost: a\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
    # The last request is there to be waited for: what was taken for one before it has been answered then.
    received = raw_request(server.address, head + inner + sent("GET", "/open"), until_closed=True)
    assert b" 401 " in received.partition(b"\r\n")[0]
    assert {one.environ["PATH_INFO"] for one in server.seen()} <= {"/open"}


def test_c01_many_keys_at_once_are_decided_each_for_itself(server: LiveServer) -> None:
    keys = [f"{kind}-{number}" for number in range(MANY) for kind in (GOOD, BAD)]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda key: server.get("/things", {"apikey": key}).status, keys))
    assert statuses == [200, 401] * MANY


def test_v02_while_the_key_service_is_down_503_and_right_again_after(
    server: LiveServer, service: LoopbackKeyService
) -> None:
    unknown = f"{BAD}-while-down"
    service.refuse()
    try:
        response = server.get("/things", {"apikey": unknown})
        assert (response.status, response.json()["code"]) == (503, "key_service_unavailable")
        assert int(response.header("Retry-After") or 0) >= 1
    finally:
        service.heal()
    assert server.get("/things", {"apikey": unknown}).status == 401
    assert server.seen() == []
