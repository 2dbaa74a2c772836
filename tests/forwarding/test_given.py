"""An origin that the app itself speaks to: what it may give, and what is a 5xx of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apikey_guard import GuardMiddleware, Route, SettingsError, load_settings
from apikey_guard.errors import BadRequest, OriginBusy, OriginFailed, OriginTimeout
from apikey_guard.forwarding import OriginAnswer, OriginRequest
from apikey_guard.testing import FakeKeyService
from tests.harness.wire import Response
from tests.harness.wsgi import build_environ, call

KEY = "KCANARY-of-a-caller"
PLAIN = [("Content-Type", "text/plain")]


class Own:
    """An object that gives what it is told to."""

    def __init__(self, given: Callable[[OriginRequest], Any]) -> None:
        self.given = given
        self.calls = 0
        self.ended: list[str] = []

    def send(self, request: OriginRequest) -> OriginAnswer:
        self.calls += 1
        answer: OriginAnswer = self.given(request)
        return answer

    def close(self) -> None:
        self.ended.append("closed")

    def abandon(self) -> None:
        self.ended.append("abandoned")


class Body:
    """A body that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"a"

    def close(self) -> None:
        self.closed += 1


def ask(own: object, key: str | None = KEY, **settings: Any) -> Response:
    given = {"key_service": FakeKeyService([KEY]), "origins": {"own": own}, "origin": "own", **settings}
    headers = [] if key is None else [("apikey", key)]
    middleware = GuardMiddleware(**given)
    try:
        return call(middleware, build_environ("/a/b", query="x=1", headers=headers))
    finally:
        middleware.close()


def raises(error: Exception) -> Callable[[OriginRequest], Any]:
    def give(request: OriginRequest) -> Any:
        raise error

    return give


def answers(*parts: Any) -> Callable[[OriginRequest], Any]:
    return lambda request: OriginAnswer(*parts)


UNSENDABLE: dict[str, Callable[[OriginRequest], Any]] = {
    "raises": raises(LookupError(KEY)),
    "recursion": raises(RecursionError(KEY)),
    "nothing": lambda request: None,
    "true": lambda request: True,
    "a tuple": lambda request: (200, "OK", PLAIN, [b"a"]),
    "the class": lambda request: OriginAnswer,
    "status 100": answers(100, "", PLAIN, [b"a"]),
    "status 600": answers(600, "", PLAIN, [b"a"]),
    "status as text": answers("200", "OK", PLAIN, [b"a"]),
    "status true": answers(True, "OK", PLAIN, [b"a"]),
    "a phrase of two lines": answers(200, "OK\r\nSet-Cookie: a", PLAIN, [b"a"]),
    "no phrase": answers(200, None, PLAIN, [b"a"]),
    "a value of two lines": answers(200, "OK", [("X-A", "b\r\nSet-Cookie: c")], [b"a"]),
    "a name of two lines": answers(200, "OK", [("X-A: b\r\nX-B", "c")], [b"a"]),
    "bytes in headers": answers(200, "OK", [(b"X-A", b"b")], [b"a"]),
    "a mapping": answers(200, "OK", {"X-A": "b"}, [b"a"]),
    "about the connection": answers(200, "OK", [("Transfer-Encoding", "chunked")], [b"a"]),
    "no headers": answers(200, "OK", None, [b"a"]),
    "a body of text": answers(200, "OK", PLAIN, "a"),
    "a body of bytes": answers(200, "OK", PLAIN, b"a"),
    "no body": answers(200, "OK", PLAIN, None),
}


@pytest.mark.parametrize("given", UNSENDABLE.values(), ids=UNSENDABLE)
def test_a01_what_cannot_be_sent_on_is_a_500_of_ours(
    given: Callable[[OriginRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(Own(given))
    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert "forwarding failed with" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OriginFailed("connect"), 502),
        (OriginTimeout("timeout"), 504),
        (OriginBusy("busy"), 503),
        (BadRequest("cut"), 400),
    ],
    ids=str,
)
def test_what_it_raises_of_ours_is_answered_as_of_an_origin(error: Exception, status: int) -> None:
    assert ask(Own(raises(error))).status == status


def test_it_gets_the_request_and_gives_the_answer() -> None:
    def give(request: OriginRequest) -> OriginAnswer:
        told = {
            "target": f"{request.method} {request.path}{request.query}",
            "lines": request.headers.decode(),
        }
        return OriginAnswer(
            207, "", (*PLAIN, ("Set-Cookie", "a"), ("Set-Cookie", "b")), [json.dumps(told).encode()]
        )

    own = Own(give)
    answer = ask(own)
    told = answer.json()
    assert (answer.status, answer.reason, answer.all_headers("Set-Cookie")) == (
        207,
        "Multi Status",
        ["a", "b"],
    )
    assert told["target"] == "GET /a/b?x=1"
    assert KEY not in str(told)
    assert own.ended == ["closed"]


@pytest.mark.parametrize("status", [99, 200], ids=["unusable", "sent"])
def test_its_body_is_closed_once(status: int) -> None:
    body = Body()
    ask(Own(answers(status, "", PLAIN, body)))
    assert body.closed == 1


def test_a01_a_refused_request_never_comes_to_it() -> None:
    own = Own(answers(200, "OK", PLAIN, [b"a"]))
    assert ask(own, None).status == 401
    assert ask(own, "KCANARY-bad").status == 401
    assert own.calls == 0


def test_one_that_cannot_be_closed_keeps_nothing_else_open(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Own):
        def close(self) -> None:
            raise OSError(KEY)

    other = Own(answers(200, "OK", PLAIN, [b"a"]))
    assert ask(other, origins={"broken": Broken(other.given), "own": other}).status == 200
    assert other.ended == ["closed"]
    assert "failed with OSError while it was closed" in caplog.text


def test_a_route_names_it_and_urls_stand_beside_it() -> None:
    own = Own(answers(200, "OK", PLAIN, [b"own"]))
    routes = [Route("/a/*", origin="own")]
    given = {"origins": {"own": own, "far": "http://127.0.0.1:9"}, "origin": "far", "routes": routes}
    assert ask(own, **given).body == b"own"
    settings = load_settings(key_service=FakeKeyService(), environ={}, **given)
    assert f"'own': {__name__}:Own" in settings.shown("origins")


def test_what_choose_origin_must_not_give_is_a_500_of_ours() -> None:
    own = Own(answers(200, "OK", PLAIN, [b"own"]))
    for chosen in ("other", 1, [], own):
        assert ask(own, choose_origin=lambda environ, consumer, chosen=chosen: chosen).status == 500
    assert own.calls == 0


@pytest.mark.parametrize(
    "entry", [Own, object(), 1, lambda request: None], ids=["class", "object", "number", "function"]
)
def test_what_cannot_send_is_a_problem_of_the_settings(entry: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(key_service=FakeKeyService(), origins={"own": entry}, origin="own", environ={})  # type: ignore[dict-item]  # wrong on purpose
    (problem,) = caught.value.problems
    assert problem.startswith("origins: own: ")
