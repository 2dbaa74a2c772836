"""An Allow says what it is: that the rule let it pass, or the mode, which refuses nothing."""

from __future__ import annotations

from queue import Queue
from typing import Any

import flask
import pytest

from apikey_guard import Allow, Consumer, Decision, Deny, Reason, Route
from apikey_guard.flask import ApiKeyGuard, request_allowed, request_denied
from apikey_guard.testing import FakeKeyService
from tests.harness import build_environ
from tests.harness.guarded import BAD, GOOD, Guarded

READER = Consumer(id="42", username="acme", scopes=frozenset({"read"}))
ROUTES = [
    Route("/enforced/open", access="public"),
    Route("/enforced/either", access="optional"),
    Route("/watched/*", mode="monitor"),
    Route("/watched/open", mode="monitor", access="public"),
    Route("/watched/either", mode="monitor", access="optional"),
    Route("/watched/scoped", mode="monitor", scopes=["write"]),
    Route("/off/*", mode="off"),
]


def asked(key: str | None, path: str) -> dict[str, Any]:
    return build_environ(path, headers=[] if key is None else [("apikey", key)])


@pytest.mark.parametrize("path", ["/enforced/x", "/enforced/open", "/enforced/either"])
@pytest.mark.parametrize("times", [1, 2], ids=["at first", "remembered"])
def test_what_a_rule_lets_pass_is_enforced(path: str, times: int) -> None:
    with Guarded(FakeKeyService({GOOD: READER}), routes=ROUTES) as guarded:
        for _ in range(times):
            environ = asked(GOOD, path)
            decision = guarded.guard.check(environ)
        assert isinstance(decision, Allow)
        assert (decision.mode, decision.enforced) == ("enforce", True)
        assert environ["apikey_guard.decision"] is decision


@pytest.mark.parametrize(
    "path", ["/watched/x", "/watched/open", "/watched/either", "/watched/scoped", "/off/x"]
)
@pytest.mark.parametrize("key", [None, GOOD, BAD], ids=["none", "good", "bad"])
@pytest.mark.parametrize("times", [1, 2], ids=["at first", "remembered"])
def test_what_a_mode_lets_pass_says_so(path: str, key: str | None, times: int) -> None:
    mode = "off" if path.startswith("/off") else "monitor"
    told: Queue[Decision] = Queue()
    with Guarded(
        FakeKeyService({GOOD: READER}), routes=ROUTES, on_decision=lambda decision, _: told.put(decision)
    ) as guarded:
        for _ in range(times):
            environ = asked(key, path)
            decision = guarded.guard.check(environ)
            seen = told.get(timeout=10) if mode == "monitor" else None
            assert seen is None or not isinstance(seen, Allow) or seen.mode == mode
        assert isinstance(decision, Allow)
        assert (decision.mode, decision.enforced, decision.consumer) == (mode, False, None)
        assert guarded.guard.require(environ, ["write"], decision) is None
        assert "apikey_guard.consumer" not in environ
        assert told.empty()


def test_scopes_are_missing_only_where_something_is_enforced() -> None:
    with Guarded(FakeKeyService({GOOD: READER}), routes=ROUTES) as guarded:
        lacking = {}
        for path in ("/enforced/x", "/enforced/open", "/watched/x", "/watched/scoped", "/off/x"):
            environ = asked(GOOD, path)
            decision = guarded.guard.check(environ)
            deny = guarded.guard.require(environ, ["write"], decision)
            lacking[path] = None if deny is None else deny.reason
        assert lacking == {
            "/enforced/x": Reason.INSUFFICIENT_SCOPE,
            "/enforced/open": Reason.MISSING_CREDENTIAL,
            "/watched/x": None,
            "/watched/scoped": None,
            "/off/x": None,
        }


def test_flask_says_that_a_request_was_allowed_only_where_a_rule_did() -> None:
    app = flask.Flask("site")
    guard = ApiKeyGuard(app, key_service=FakeKeyService({GOOD: READER}), routes=ROUTES)
    app.add_url_rule("/<path:path>", "view", lambda path: path)
    app.add_url_rule(
        "/watched/marked", "marked", guard.require_scopes("write")(lambda: "marked"), strict_slashes=False
    )
    allowed: list[Allow] = []
    denied: list[Deny] = []

    def hear_allowed(_: Any, decision: Allow) -> None:
        allowed.append(decision)

    def hear_denied(_: Any, decision: Deny) -> None:
        denied.append(decision)

    caller = app.test_client()
    with request_allowed.connected_to(hear_allowed), request_denied.connected_to(hear_denied):
        for path in ("/enforced/x", "/enforced/open", "/watched/x", "/watched/marked", "/off/x"):
            assert [caller.get(path, headers={"apikey": GOOD}).status_code for _ in range(2)] == [200, 200]
        assert caller.get("/enforced/x").status_code == 401
    assert [decision.route for decision in allowed] == [None, None, *["/enforced/open"] * 2]
    assert [decision.reason for decision in denied] == [Reason.MISSING_CREDENTIAL]
