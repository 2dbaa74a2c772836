"""Bodies in chunks that are broken: each server says so in its own way, and the caller gets a 400 (X-02)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import pytest

from tests.forwarding.gateway import Gateway
from tests.forwarding.live import LiveGateway, request
from tests.harness.origin import Origin

# gunicorn's and cheroot's errors about chunks are neither OSErrors nor ValueErrors.
SERVERS = ("gunicorn-gthread", "gunicorn-sync", "waitress", "werkzeug", "gevent", "cheroot")
BROKEN = {
    "no size": b"zz\r\nhello\r\n0\r\n\r\n",
    "longer than its size": b"5\r\nhelloXX\r\n0\r\n\r\n",
    "the second has no size": b"10000\r\n" + b"a" * 65_536 + b"\r\nzz\r\n\r\n",
}
IN_THE_BODY = {"APIKEY_GUARD_KEY_LOCATIONS": "header:apikey,body:apikey"}


class BrokenStream(io.BytesIO):
    """A body whose server knows errors of its own."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise Exception("SCANARY-a server's own")

    # Of the two, whichever returns sooner is asked.
    read1 = read


@pytest.mark.parametrize("locations", [("header:apikey",), ("header:apikey", "body:apikey")])
def test_x02_a_body_that_cannot_be_read_is_no_fault_of_ours(
    origin: Origin, locations: tuple[str, ...]
) -> None:
    framing = {
        "wsgi.input": BrokenStream(),
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    with Gateway(origin, key_locations=locations) as gateway:
        assert gateway.outcome("/", "POST", extra=framing, lint=False) == (400, "bad_request")


@pytest.mark.parametrize("env", [{}, IN_THE_BODY], ids=["forwarded", "searched"])
@pytest.mark.parametrize("server", SERVERS)
def test_x02_broken_chunks_under_real_servers(
    server: str, env: Mapping[str, str], live: Callable[..., LiveGateway]
) -> None:
    gateway = live(server, env)
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/x-www-form-urlencoded")
    for name, body in BROKEN.items():
        answer = gateway.server.request(request("/", *lines, method="POST", body=body))
        assert answer.status == 400, f"{name}: {answer.status}"
    assert not any(received.complete for received in gateway.origin.requests)
