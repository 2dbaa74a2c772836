"""An origin gets no stand-in, however late it is chosen, unless its own route says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

import pytest

from apikey_guard import Route
from apikey_guard.core.standin import BEGINNING
from tests.forwarding.gateway import GOOD, Gateway
from tests.harness.origin import Origin
from tests.harness.watch import find_canary

STANDIN = BEGINNING + sha256(GOOD.encode()).hexdigest()[:40]
LOCATIONS = ["header:apikey", "query:apikey", "authorization:Bearer", "cookie:apikey"]
SENT: Mapping[str, dict[str, Any]] = {
    "header": {"key": GOOD},
    "query": {"key": None, "target": f"/a/b?x=1&apikey={GOOD}"},
    "authorization": {"key": None, "headers": [("Authorization", f"Bearer {GOOD}")]},
    "cookie": {"key": None, "headers": [("Cookie", f"a=1; apikey={GOOD}")]},
}


def app(environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    shown = "\n".join(f"{key}={value}" for key, value in environ.items() if isinstance(value, str))
    return [shown.encode("latin-1")]


def settings_of(how: str, url: str, **more: Any) -> dict[str, Any]:
    """The settings by which a request for ``/a/b`` goes to an origin."""
    return {
        "everything": {"origin": url},
        "everything, replace set for all": {"origin": url, "hide_credentials": "replace"},
        "its route": {"app": app, "routes": [Route("/a/*", origin=url, **more)]},
        "its route, replace set for all": {
            "app": app,
            "hide_credentials": "replace",
            "routes": [Route("/a/*", origin=url, **more)],
        },
        "the hook": {
            "app": app,
            "choose_origin": lambda environ, _: "late" if environ["PATH_INFO"].startswith("/a/") else None,
            "origins": {"late": url},
            "routes": [Route("/a/*", **more)],
        },
    }[how]


HOWS = ["everything", "everything, replace set for all", "its route", "its route, replace set for all"]


@pytest.mark.parametrize("where", SENT)
@pytest.mark.parametrize("how", [*HOWS, "the hook"])
def test_an_origin_gets_neither_key_nor_stand_in(origin: Origin, how: str, where: str) -> None:
    with Gateway(key_locations=LOCATIONS, **settings_of(how, origin.url)) as gateway:
        sent = dict(SENT[where])
        assert gateway.get(sent.pop("target", "/a/b"), **sent).status == 200
    assert find_canary(origin.last.raw) is None
    assert BEGINNING.encode() not in origin.last.raw
    assert origin.last.target == ("/a/b?x=1" if where == "query" else "/a/b")


@pytest.mark.parametrize("where", SENT)
@pytest.mark.parametrize("how", ["its route", "the hook"])
def test_an_origin_gets_a_stand_in_where_its_route_says_so(origin: Origin, how: str, where: str) -> None:
    given = settings_of(how, origin.url, hide_credentials="replace")
    with Gateway(key_locations=LOCATIONS, **given) as gateway:
        sent = dict(SENT[where])
        assert gateway.get(sent.pop("target", "/a/b"), **sent).status == 200
    assert find_canary(origin.last.raw) is None
    assert STANDIN.encode() in origin.last.raw


@pytest.mark.parametrize("where", SENT)
@pytest.mark.parametrize("how", ["its route", "the hook"])
def test_the_app_beside_it_gets_a_stand_in(origin: Origin, how: str, where: str) -> None:
    with Gateway(key_locations=LOCATIONS, **settings_of(how, origin.url)) as gateway:
        sent = dict(SENT[where])
        answer = gateway.get(sent.pop("target", "/own").replace("/a/b", "/own"), **sent)
    assert STANDIN in answer.body.decode("latin-1")
    assert find_canary(answer.body) is None


def test_an_odd_path_that_an_origin_gets_shows_no_stand_in(origin: Origin) -> None:
    """It is decided by the strictest of its readings, but sent where its route goes."""
    routes = [Route("/a/*", origin=origin.url), Route("/open/*", access="public")]
    with Gateway(app=app, routes=routes) as gateway:
        assert gateway.get("/a//b").status == 200
        assert gateway.get("/a/b;c").status == 200
    for request in origin.requests:
        assert BEGINNING.encode() not in request.raw


def test_the_hook_that_chooses_and_the_answer_see_no_key(origin: Origin) -> None:
    seen: list[str] = []

    def choose(environ: Mapping[str, Any], _: object) -> str:
        seen.extend(value for value in environ.values() if isinstance(value, str))
        return "late"

    with Gateway(app=app, choose_origin=choose, origins={"late": origin.url}) as gateway:
        assert gateway.get("/a").status == 200
    assert STANDIN in seen
    assert GOOD not in seen
