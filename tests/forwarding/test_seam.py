"""The seam: whatever sends a request and gives an answer can stand behind the forwarder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from apikey_guard.assembly import make_rules
from apikey_guard.core.model import Reason
from apikey_guard.core.peers import Peers
from apikey_guard.environ import ORIGIN
from apikey_guard.errors import OriginAborted, OriginBusy, OriginError, OriginFailed, OriginTimeout
from apikey_guard.forwarding import OriginAnswer, OriginRequest
from apikey_guard.forwarding.forwarder import Aim, Forwarder
from apikey_guard.forwarding.headers import Hop
from apikey_guard.settings import load_settings
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


RULES = make_rules(
    load_settings(
        key_service=lambda _: None, origin="memory", origins={"memory": "http://127.0.0.1:1"}, environ={}
    )
)


def forwarding(client: Remembering, refused: list[Reason]) -> WSGIApplication:
    """Aims and sends, with nothing in between."""
    forwarder = Forwarder(lambda: {"memory": client}, Hop(peers=Peers([]), kept=[]))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        aim = forwarder.aim(environ, environ["PATH_INFO"], RULES)
        assert isinstance(aim, Aim)
        answer = forwarder.send(aim, environ, start_response)
        if not isinstance(answer, Reason):
            assert answer is not None
            return answer
        refused.append(answer)
        start_response("599 Refused", [("Content-Type", "text/plain")])
        return [b""]

    return app


def test_a_request_goes_in_and_an_answer_comes_out() -> None:
    body = Streamed()
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
    client = Remembering(OriginAnswer(207, "Some of it", headers, body))
    environ = build_environ("/a/b", method="POST", query="x=1", body=b"hello", headers=[("X-Mine", "1")])
    answer = call(forwarding(client, []), environ)
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
    client = Remembering(OriginAnswer(200, "", [("Content-Type", "text/plain")], body))
    with pytest.raises(OriginAborted):
        call(forwarding(client, []), build_environ("/"))
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
    assert call(forwarding(Remembering(error), refused), build_environ("/")).status == 599
    assert refused == [reason]
