"""The seam: whatever sends a request and gives an answer can stand behind the forwarder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apikey_guard.core.model import Reason
from apikey_guard.core.peers import Peers
from apikey_guard.core.table import RouteTable
from apikey_guard.environ import ORIGIN
from apikey_guard.errors import OriginAborted, OriginBusy, OriginError, OriginFailed, OriginTimeout
from apikey_guard.forwarding import OriginAnswer, OriginRequest
from apikey_guard.forwarding.forwarder import Forwarder, Way
from apikey_guard.forwarding.headers import Hop
from tests.harness.wsgi import build_environ, call

PIECES = [b"one ", b"two ", b"three"]


class Streamed:
    """A body that comes piece by piece and counts how often it was closed."""

    def __init__(self, *, cut: bool = False) -> None:
        self.cut = cut
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from PIECES
        if self.cut:
            raise OriginAborted("told to")

    def close(self) -> None:
        self.closed += 1


class Remembering:
    """Answers from memory: no socket anywhere."""

    def __init__(self, answer: OriginAnswer | OriginError) -> None:
        self.answer = answer
        self.got: list[tuple[OriginRequest, bytes]] = []

    def send(self, request: OriginRequest) -> OriginAnswer:
        self.got.append((request, b"".join(request.body or ())))
        if isinstance(self.answer, OriginError):
            raise self.answer
        return self.answer

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def forwarder(client: Remembering, refused: list[Reason]) -> Forwarder:
    def refuse(reason, environ, start_response):  # type: ignore[no-untyped-def]  # as Refuse has it
        refused.append(reason)
        start_response("599 Refused", [("Content-Type", "text/plain")])
        return [b""]

    ways: RouteTable[Way] = RouteTable([], Way(origin="memory"))
    return Forwarder(ways, lambda: {"memory": client}, Hop(peers=Peers([]), kept=[]), refuse=refuse)


def aimed(forwarder: Forwarder, path: str, **parts: object) -> dict[str, object]:
    environ = build_environ(path, **parts)  # type: ignore[arg-type]  # as its callers give them
    assert forwarder.take_aim(environ, path) is None
    return environ


def test_a_request_goes_in_and_an_answer_comes_out() -> None:
    body = Streamed()
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
    client = Remembering(OriginAnswer(207, "Some of it", headers, body))
    subject = forwarder(client, [])
    environ = aimed(subject, "/a/b", method="POST", query="x=1", body=b"hello", headers=[("X-Mine", "1")])
    answer = call(subject, environ)
    assert (answer.status, answer.reason, answer.body) == (207, "Some of it", b"".join(PIECES))
    assert answer.all_headers("Set-Cookie") == ["a", "b"]
    assert body.closed == 1
    assert environ[ORIGIN] == "memory"
    ((request, sent),) = client.got
    assert (request.method, request.path, request.query, sent) == ("POST", "/a/b", "?x=1", b"hello")
    assert b"X-Mine: 1\r\n" in request.headers
    assert b"Content-Length: 5\r\n" in request.headers


def test_a_cut_comes_through_and_the_body_is_closed() -> None:
    body = Streamed(cut=True)
    subject = forwarder(Remembering(OriginAnswer(200, "", [("Content-Type", "text/plain")], body)), [])
    with pytest.raises(OriginAborted):
        call(subject, aimed(subject, "/"))
    assert body.closed == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OriginFailed("connect"), Reason.ORIGIN_FAILED),
        (OriginTimeout("timeout"), Reason.ORIGIN_TIMEOUT),
        (OriginBusy("busy"), Reason.ORIGIN_BUSY),
    ],
    ids=lambda value: str(value),
)
def test_each_error_has_its_reason(error: OriginError, reason: Reason) -> None:
    refused: list[Reason] = []
    subject = forwarder(Remembering(error), refused)
    assert call(subject, aimed(subject, "/")).status == 599
    assert refused == [reason]
