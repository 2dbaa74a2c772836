"""Refusals from memory are made by a short way: what they say is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import flask
import pytest
from werkzeug.exceptions import HTTPException

from apikey_guard import Consumer, Deny, Reason, Route
from apikey_guard.core.extraction import Location
from apikey_guard.core.hiding import Hide, Hiding
from apikey_guard.core.model import Freshness
from apikey_guard.flask import ApiKeyRejected
from apikey_guard.testing import FakeKeyService
from tests.adapters.flask_site import Site
from tests.harness import build_environ
from tests.harness.guarded import BAD, GOOD, Guarded

PLACES: dict[str, dict[str, Any]] = {
    "header": {"headers": [("apikey", BAD)]},
    "query": {"query": f"a=1&apikey={BAD}"},
    "authorization": {"headers": [("Authorization", f"Bearer {BAD}")]},
    "cookie": {"headers": [("Cookie", f"a=1; key={BAD}")]},
}
LOCATIONS = ["header:apikey", "query:apikey", "authorization:Bearer", "cookie:key"]
places = pytest.mark.parametrize("parts", PLACES.values(), ids=PLACES)


def decided(guarded: Guarded, path: str, parts: dict[str, Any]) -> Deny:
    environ = build_environ(path, **parts)
    decision = guarded.guard.check(environ, path)
    assert isinstance(decision, Deny)
    rejection = guarded.guard.reject(decision, environ, path)
    assert not any(BAD in value for value in environ.values() if isinstance(value, str))
    assert (rejection.status, rejection.reason) == (401, Reason.INVALID_CREDENTIAL)
    return decision


@places
@pytest.mark.parametrize("routes", [(), [Route("/things", scopes=["read"])]], ids=["none", "scoped"])
def test_a_remembered_bad_key_is_refused_as_at_first(parts: dict[str, Any], routes: list[Route]) -> None:
    with Guarded(routes=routes, key_locations=LOCATIONS) as guarded:
        first = decided(guarded, "/things", parts)
        assert first.freshness is Freshness.MISS
        again = decided(guarded, "/things", parts)
        assert again == first._replace(freshness=Freshness.FRESH)
        assert guarded.keys.calls == 1
        stats = guarded.guard.stats()
        assert (stats["denied"], stats["denied_invalid_credential"]) == (2, 2)


@places
def test_a_remembered_bad_key_is_asked_about_again_in_time(parts: dict[str, Any]) -> None:
    with Guarded(key_locations=LOCATIONS, negative_ttl=5.0) as guarded:
        decided(guarded, "/things", parts)
        guarded.clock.advance(3.9)
        decided(guarded, "/things", parts)
        assert guarded.keys.calls == 1
        guarded.clock.advance(2.1)
        decided(guarded, "/things", parts)
        assert guarded.keys.calls == 2
        guarded.guard.revoke(key=BAD)
        guarded.keys.add(BAD)
        environ = build_environ("/things", **parts)
        assert guarded.guard.check(environ, "/things").allowed


@pytest.mark.parametrize(
    ("held", "needed", "lacks"),
    [({"read"}, {"write"}, True), ({"read"}, {"read", "write"}, True), ({"read"}, {"read"}, False)],
    ids=["another", "one of two", "none"],
)
def test_a_key_lacks_what_it_lacked_at_first(held: set[str], needed: set[str], lacks: bool) -> None:
    keys = FakeKeyService({GOOD: Consumer(id="42", scopes=frozenset(held))})
    with Guarded(keys, routes=[Route("/things", scopes=needed)]) as guarded:
        decisions = []
        for _ in range(2):
            environ = build_environ("/things", headers=[("apikey", GOOD)])
            decisions.append(guarded.guard.check(environ, "/things"))
        first, again = decisions
        assert again == first._replace(freshness=Freshness.FRESH)
        if lacks:
            assert isinstance(first, Deny)
            assert (first.reason, first.scopes) == (Reason.INSUFFICIENT_SCOPE, frozenset(needed))
            assert first.consumer == Consumer(id="42", scopes=frozenset(held))


def test_without_a_key_each_route_is_named() -> None:
    routes = [Route("/a", name="first"), Route("/b/*")]
    with Guarded(routes=routes) as guarded:
        for path, label in (("/a", "first"), ("/b/c", "/b/*"), ("/c", None), ("//a", "first")):
            for _ in range(2):
                decision = guarded.guard.check(build_environ(path), path)
                assert decision.reason is Reason.MISSING_CREDENTIAL
                assert decision.route in {label, None}


def test_what_a_hook_makes_of_a_rejection_stays_with_its_request() -> None:
    def render(rejection: Any, environ: Any) -> Any:
        told = ("X-Request-ID", environ["HTTP_X_REQUEST_ID"])
        return replace(rejection, headers=(*rejection.headers, told))

    with Guarded(render_rejection=render) as guarded:
        for number in ("1", "2"):
            response = guarded.get(None, headers=[("X-Request-ID", number)])
            assert response.all_headers("X-Request-ID") == [number]


def test_a_log_line_names_the_key_by_its_fingerprint_alone(caplog: pytest.LogCaptureFixture) -> None:
    with Guarded() as guarded, caplog.at_level("INFO", "apikey_guard"):
        guarded.get(BAD)
        guarded.get(BAD)
        lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].startswith("denied: invalid_credential (route -, key ")


@pytest.mark.parametrize(
    "query",
    [
        f"apikey={BAD}",
        f"page=2&apikey={BAD}",
        f"apikey={BAD}&page=2",
        f"page=2&apikey={BAD}&per_page=50",
        f"page=2&apikey={BAD}&",
        f"&apikey={BAD}",
        f"apikey={BAD}&&",
        f"next=/x?apikey={BAD}&apikey={BAD}",
        f"my_apikey={BAD}&apikey={BAD}",
        f"apikey={BAD}&apikey2={BAD}",
        f"apikey={BAD}&x=%61",
        f"apikey={BAD}1&x={BAD}",
        f"page=2&x={BAD}",
        "page=2",
        "",
    ],
)
@pytest.mark.parametrize("hide", ["replace", "remove", False])
def test_what_is_known_to_be_presented_is_removed_as_if_it_were_not(query: str, hide: Hide) -> None:
    hiding = Hiding([Location("header", "apikey"), Location("query", "apikey")], hide)
    target = f"/things?{query}"
    headers = [("Referer", f"https://a.example{target}"), ("X-Forwarded-Uri", target), ("X-Query", query)]
    environ = build_environ("/things", query=query, headers=headers, extra={"RAW_URI": target})
    quick = environ.copy()
    hiding.hide(environ)
    hiding.hide(quick, BAD)
    assert quick == environ
    if hide and "2=" not in query and f"{BAD}1" not in query:
        assert f"apikey={BAD}" not in environ["QUERY_STRING"].replace("my_apikey", "")


# -- Flask: what error handlers make of it ----------------------------------------------------------


def handles(answer: Any) -> Any:
    def handler(error: Exception) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


async def later(error: Exception) -> tuple[str, int]:
    return "later", 418


@pytest.mark.parametrize(
    ("of", "handler", "status", "body"),
    [
        pytest.param(401, handles(("mine", 418)), 418, "mine", id="by status"),
        pytest.param(ApiKeyRejected, handles(("mine", 418)), 418, "mine", id="by class"),
        pytest.param(HTTPException, lambda error: error, 401, None, id="given back"),
        pytest.param(HTTPException, lambda error: error.get_response(), 401, None, id="its response"),
        pytest.param(Exception, handles(({"error": 1}, 402)), 402, None, id="of everything"),
        pytest.param(401, later, 418, "later", id="async"),
        pytest.param(401, handles(None), 500, None, id="nothing"),
        pytest.param(401, handles(RuntimeError("KCANARY")), 500, None, id="fails"),
        pytest.param(403, handles(("mine", 418)), 401, None, id="of another status"),
    ],
)
@pytest.mark.parametrize("path", ["/orders", "/nowhere", "/shop/orders"])
def test_flask_error_handlers_see_refusals_and_views_nothing(
    path: str, of: Any, handler: Any, status: int, body: str | None
) -> None:
    site = Site()
    site.app.testing = False
    site.app.logger.disabled = True
    site.app.add_url_rule("/orders", view_func=site.view("orders"))
    blueprint = flask.Blueprint("shop", __name__, url_prefix="/shop")
    blueprint.add_url_rule("/orders", view_func=site.view("shop"))
    site.app.register_blueprint(blueprint)
    site.app.before_request(lambda: site.called.append("before"))
    site.app.register_error_handler(of, handler)
    response = site.app.test_client().get(path)
    assert response.status_code == status
    if body is not None:
        assert response.text == body
    if status == 401:
        assert response.headers["WWW-Authenticate"] == 'Key realm="api"'
        assert response.json["code"] == "missing_credential"
    assert site.called == []


def test_flask_blueprints_have_their_own_error_handlers() -> None:
    site = Site()
    blueprint = flask.Blueprint("shop", __name__, url_prefix="/shop")
    blueprint.add_url_rule("/orders", view_func=site.view("shop"))
    blueprint.register_error_handler(401, handles(("shop", 418)))
    site.app.register_blueprint(blueprint)
    site.app.register_error_handler(401, handles(("app", 419)))
    assert (site.status("/shop/orders"), site.status("/orders")) == (418, 419)


def test_flask_raises_where_the_app_wants_it() -> None:
    site = Site()
    site.app.config["TRAP_HTTP_EXCEPTIONS"] = True
    site.app.add_url_rule("/orders", view_func=site.view("orders"))
    with pytest.raises(ApiKeyRejected):
        site.app.test_client().get("/orders")
    assert site.called == []
