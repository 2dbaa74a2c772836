"""A guard has one clock, and whatever works for it goes by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import flask
import pytest

from apikey_guard import Guard, GuardMiddleware, Route
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService, ManualClock
from tests.forwarding.gateway import ALICE, GOOD, asking
from tests.harness import call
from tests.harness.origin import Origin

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def around_wsgi(guard: Guard) -> WSGIApplication:
    return GuardMiddleware(guard=guard)


def around_flask(guard: Guard) -> WSGIApplication:
    app = flask.Flask("site")
    ApiKeyGuard().init_app(app, guard=guard)
    return app.wsgi_app


@pytest.mark.parametrize("around", [around_wsgi, around_flask])
def test_what_forwards_for_a_guard_that_was_made_elsewhere_has_its_clock(
    origin: Origin, around: Callable[[Guard], WSGIApplication]
) -> None:
    clock, keys = ManualClock(), FakeKeyService({GOOD: ALICE})
    with (
        Origin() as second,
        Guard(key_service=keys, clock=clock, routes=[Route("/*", origin=[origin.url, second.url])]) as guard,
    ):
        app = around(guard)
        origin.refuse()
        for _ in range(2):
            assert call(app, asking("/")).status == 200
        origin.heal()
        clock.advance(11)
        for _ in range(2):
            assert call(app, asking("/")).status == 200
        assert len(origin.requests) == 1
