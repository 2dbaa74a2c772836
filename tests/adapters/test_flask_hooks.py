"""Keys in the app's own database: a hook runs where the app's own code can (Flask)."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

import pytest

pytest.importorskip("flask")

from flask import Flask, current_app, g, has_request_context

from apikey_guard import Consumer, Credential, Verdict
from apikey_guard.flask import ApiKeyGuard, current_consumer


def look_up(credential: Credential) -> Verdict:
    """As with Flask-SQLAlchemy: the app's own engine, a session that belongs to the context."""
    assert not has_request_context()
    rows = {**current_app.config["ROWS"], **g.get("not_committed", {})}
    g.setdefault("sessions", []).append(credential.value)
    owner = rows.get(credential.value)
    return (
        Verdict.invalid() if owner is None else Verdict(valid=True, consumer=Consumer(id="1", username=owner))
    )


async def look_up_async(credential: Credential) -> Verdict:
    return look_up(credential)


class Service:
    def verify(self, credential: Credential) -> Verdict:
        return look_up(credential)


def an_app(**given: object) -> Flask:
    app = Flask("shop")
    app.config["ROWS"] = {"k-1": "acme"}
    app.config["CLOSED"] = []

    @app.teardown_appcontext
    def close(_: object) -> None:
        app.config["CLOSED"] += g.pop("sessions", [])

    app.add_url_rule("/", view_func=lambda: (current_consumer and current_consumer.username) or "")
    ApiKeyGuard(app, **given)
    return app


WAYS = {
    "plain": {"key_service": look_up},
    "async": {"key_service": look_up_async},
    "an object": {"key_service": Service()},
    "in the pool": {"key_service": look_up, "key_service_in_pool": True},
    "nothing is remembered": {"key_service": look_up, "cache_ttl": 0},
}


@pytest.mark.parametrize("given", WAYS.values(), ids=WAYS)
def test_a_hook_finds_an_application_context(given: dict[str, object]) -> None:
    app = an_app(**given)
    caller = app.test_client()
    assert caller.get("/", headers={"apikey": "k-1"}).text == "acme"
    assert caller.get("/", headers={"apikey": "k-2"}).status_code == 401
    assert app.config["CLOSED"] == ["k-1", "k-2"]


def test_in_monitor_it_finds_one_and_on_decision_is_told_of_what_came_of_it() -> None:
    seen: SimpleQueue[bool] = SimpleQueue()
    app = an_app(
        key_service=look_up, mode="monitor", on_decision=lambda decision, _: seen.put(decision.allowed)
    )
    assert app.test_client().get("/", headers={"apikey": "k-1"}).status_code == 200
    assert seen.get(timeout=10)


@pytest.mark.parametrize("hook", [look_up, Service()], ids=["plain", "an object"])
def test_one_that_is_there_is_used(hook: Callable[[Credential], Verdict]) -> None:
    app = an_app(key_service=hook)
    with app.app_context():
        g.not_committed = {"k-3": "a test"}
        assert app.test_client().get("/", headers={"apikey": "k-3"}).text == "a test"


def test_that_of_another_app_is_not() -> None:
    app = an_app(key_service=look_up)
    with Flask("another").app_context():
        assert app.test_client().get("/", headers={"apikey": "k-1"}).text == "acme"


@pytest.mark.parametrize(
    ("hook", "name"), [(look_up, "look_up"), (Service(), "Service")], ids=["plain", "an object"]
)
def test_it_is_shown_by_its_own_name(hook: Callable[[Credential], Verdict], name: str) -> None:
    app = an_app(key_service=hook)
    shown = app.test_cli_runner().invoke(args=["apikey-guard", "check", "--offline"]).output
    assert f"key_service = {__name__}:{name}  (keyword)" in shown
