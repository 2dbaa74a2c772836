"""Which origin a spelling of a path goes to, and that the stricter rule holds there (P-01)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apikey_guard import Consumer, Route
from tests.forwarding.gateway import GOOD, Gateway
from tests.harness.origin import Origin

WITH_SCOPE = Consumer(id="42", scopes=frozenset({"s"}))


@pytest.fixture
def other() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/v2/x", "other"),
        ("/V2/x", "origin"),
        ("//v2/x", "origin"),
        ("/v2;a/x", "origin"),
        ("//h/v2/x", "origin"),
        ("/%762/x", "other"),
        ("/v2", "other"),
        ("/V2/", "origin"),
    ],
)
@pytest.mark.parametrize("strict", ["v2", "default"])
def test_p01_a_spelling_goes_by_its_letters_under_the_stricter_rule(
    origin: Origin, other: Origin, target: str, goes_to: str, strict: str
) -> None:
    routes = [
        Route("/v2/*", origin=other.url, strip_prefix=True, scopes=["s"] if strict == "v2" else ()),
        Route("/*", scopes=["s"] if strict == "default" else ()),
    ]
    with Gateway(origin, routes=routes) as gateway:
        status = gateway.get(target).status
        # The route opens no more than its own spelling, and what it asks for holds for the others.
        assert status == (200 if strict == "default" and goes_to == "other" else 403)
        assert origin.connections == 0
        gateway.keys.add(GOOD, WITH_SCOPE)
        gateway.wsgi.guard.revoke(everything=True)
        assert gateway.get(target).status == 200
        assert len(origin.requests) == (goes_to == "origin")


@pytest.mark.parametrize(
    "target",
    [
        "/v2//h/admin/users",
        "/v2//admin/users",
        "/v2/ADMIN/users",
        "/v2/admin/users/",
        "/v2/admin;x/users",
        "/v2//h@x:1/admin/users",
    ],
)
def test_p01_behind_a_prefix_that_is_taken_off_a_path_is_read_like_any_other(
    origin: Origin, other: Origin, target: str
) -> None:
    routes = [
        Route("/v2/*", origin=other.url, strip_prefix=True),
        Route("/v2/admin/users", origin=other.url, strip_prefix=True, scopes=["s"]),
    ]
    with Gateway(origin, routes=routes) as gateway:
        assert gateway.get(target).status == 403
        assert gateway.get("/v2/x//y").status == 200
        assert origin.connections == 0


def test_p01_two_origins_by_case_have_one_rule(origin: Origin, other: Origin) -> None:
    routes = [Route("/v2/*", origin=other.url, scopes=["s"]), Route("/V2/*", access="public")]
    with Gateway(origin, routes=routes) as gateway:
        assert [gateway.get(target).status for target in ("/v2/x", "/V2/x")] == [403, 403]
        assert [gateway.get(target, key=None).status for target in ("/v2/x", "/V2/x")] == [401, 401]
        assert (origin.connections, other.connections) == (0, 0)


@pytest.mark.parametrize("host", ["api.example.", "api.example", "API.example:80"])
def test_p04_an_odd_host_goes_by_its_name_under_the_stricter_rule(
    origin: Origin, other: Origin, host: str
) -> None:
    routes = [Route("/*", hosts=["api.example"], origin=other.url, access="public")]
    with Gateway(origin, routes=routes) as gateway:
        odd = host.endswith(".")
        assert gateway.get("/x", key=None, extra={"HTTP_HOST": host}).status == (401 if odd else 200)
        assert gateway.get("/x", extra={"HTTP_HOST": host}).status == 200
        assert origin.connections == 0


def test_p05_an_override_goes_on_to_the_origin_of_the_method_itself(origin: Origin, other: Origin) -> None:
    routes = [
        Route("/x", methods=["GET"], access="public"),
        Route("/x", methods=["DELETE"], origin=other.url, scopes=["s"]),
    ]
    override = [("X-HTTP-Method-Override", "DELETE")]
    with Gateway(origin, routes=routes) as gateway:
        assert gateway.get("/x", key=None).status == 200
        assert gateway.get("/x", key=None, headers=override).status == 401
        assert gateway.get("/x", headers=override).status == 403
        gateway.keys.add(GOOD, WITH_SCOPE)
        gateway.wsgi.guard.revoke(everything=True)
        assert gateway.get("/x", headers=override).status == 200
        assert ("x-http-method-override", "DELETE") in [
            (name.lower(), value) for name, value in origin.requests[-1].headers
        ]
        assert other.connections == 0
