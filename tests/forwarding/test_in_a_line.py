"""Aim, decide, send: a forwarded request is matched once, and keeps its policy to the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apikey_guard import Consumer, GuardMiddleware, Route, Verdict, load_settings
from apikey_guard.core.rules import Rule
from apikey_guard.errors import OriginFailed
from apikey_guard.forwarding import OriginAnswer, OriginRequest
from tests.harness.wsgi import build_environ, call

ALICE = Verdict(valid=True, consumer=Consumer(id="alice"))
KEY = ("apikey", "KCANARY-of-alice")


class Own:
    """An origin that is an object, answers with its name, and remembers what it got."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.got: list[OriginRequest] = []

    def send(self, request: OriginRequest) -> OriginAnswer:
        self.got.append(request)
        if self.fails:
            raise OriginFailed("refused")
        return OriginAnswer(200, "OK", [("Content-Type", "text/plain")], (self.name.encode(),))

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def says_who(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the app"]


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
@pytest.mark.parametrize("access", ["required", "optional", "public"])
def test_a_forwarded_request_is_matched_once(
    monkeypatch: pytest.MonkeyPatch, access: Any, *, fails: bool
) -> None:
    origin = Own("one", fails=fails)
    routes = [Route("/a/*", access=access), Route("/a/b/*", methods=["POST"], scopes=["x"])]
    middleware = GuardMiddleware(
        key_service=lambda _: ALICE, origin="one", origins={"one": origin}, routes=routes
    )
    rules = middleware.guard.policy.rules
    match, matched = rules.rule, []

    def counted(path: str, environ: dict[str, Any]) -> Rule:
        matched.append(path)
        return match(path, environ)

    monkeypatch.setattr(rules, "rule", counted)
    # By its method, and so never by memory.
    assert call(middleware, build_environ("/a/b/1", headers=[KEY])).status == (502 if fails else 200)
    assert matched == ["/a/b/1"]


def test_the_aim_leaves_nothing_in_the_environ() -> None:
    origin, seen = Own("one"), []

    def choose(environ: dict[str, Any], consumer: Consumer | None) -> str | None:
        seen.append({key for key in environ if key.startswith("apikey_guard.")})
        return None

    middleware = GuardMiddleware(
        says_who,
        key_service=lambda _: ALICE,
        origins={"one": origin},
        routes=[Route("/a/*", origin="one")],
        choose_origin=choose,
    )
    for path in ("/a/1", "/b"):
        environ = build_environ(path, headers=[KEY])
        call(middleware, environ)
        seen.append({key for key in environ if key.startswith("apikey_guard.")} - {"apikey_guard.origin"})
    assert seen == [{"apikey_guard.consumer", "apikey_guard.decision"}] * 4


def test_another_policy_sends_the_next_request_another_way_and_not_the_one_under_way() -> None:
    one, two = Own("one"), Own("two")
    given: dict[str, Any] = {"origins": {"one": one, "two": two}}

    def exchanging(_: str) -> Verdict:
        middleware.guard.policy = middleware.guard.policy_of(after)
        return ALICE

    before = load_settings(**given, key_service=exchanging, routes=[Route("/a/*", origin="one")])
    after = load_settings(
        **given,
        key_service=exchanging,
        routes=[Route("/a/*", origin="two", strip_prefix=True)],
    )
    middleware = GuardMiddleware(says_who, settings=before)
    first = call(middleware, build_environ("/a/1", headers=[KEY]))
    assert (first.status, first.body) == (200, b"one")
    second = call(middleware, build_environ("/a/2", headers=[KEY]))
    assert second.body == b"two"
    assert [request.path for request in one.got + two.got] == ["/a/1", "/2"]
