"""Requests that no origin should see, whichever server lets them through (P-03, P-06, X-02)."""

from __future__ import annotations

from typing import Any

import pytest

from apikey_guard import Route
from tests.forwarding.gateway import Gateway, asking, outcome
from tests.harness import call
from tests.harness.origin import Origin

BAD = (400, "bad_request")


def test_x02_no_tunnel_is_asked_for(gateway: Gateway, origin: Origin) -> None:
    # After its 200 the connection would be the tunnel's, and yet be kept for the next caller.
    assert gateway.outcome("/tunnel", "CONNECT", lint=False) == BAD
    assert origin.requests == []


@pytest.mark.parametrize(
    "odd",
    [
        {"PATH_INFO": "/\u20ac"},
        {"PATH_INFO": "/\u20ac", "RAW_URI": "/\u20ac"},
        {"PATH_INFO": "/x", "RAW_URI": "/\u20ac"},
        {"QUERY_STRING": "\u20ac"},
    ],
    ids=str,
)
def test_p03_a_target_that_no_server_may_hand_over_is_no_fault_of_ours(
    gateway: Gateway, origin: Origin, odd: dict[str, Any]
) -> None:
    assert outcome(call(gateway.app, asking("/x", extra=odd), lint=False)) == BAD
    assert origin.requests == []


def test_p03_a_fragment_after_the_query_is_refused_as_before_it(gateway: Gateway, origin: Origin) -> None:
    # gunicorn takes the fragment off the query, but the target still shows it.
    odd = {"QUERY_STRING": "a=1", "RAW_URI": "/plain?a=1#b"}
    assert outcome(call(gateway.app, asking("/plain", extra=odd), lint=False)) == BAD
    assert origin.requests == []


@pytest.mark.parametrize(
    "target", ["/admin;a%2Fopen/x", "/admin;%2fopen/x", "/exact;%2Fx", "/admin;a%2F%6Fpen;b/x?q"]
)
@pytest.mark.parametrize("raw", ["RAW_URI", "REQUEST_URI"])
def test_p03_no_parameter_of_a_segment_hides_a_route_behind_an_encoded_slash(
    origin: Origin, target: str, raw: str
) -> None:
    # Who takes parameters off before it decodes, as Tomcat does, serves /admin/x or /exact.
    routes = [Route("/admin/*", scopes=["a"]), Route("/admin/open/*"), Route("/exact", scopes=["a"])]
    with Gateway(origin, routes=routes) as gateway:
        assert gateway.outcome(target, raw=raw) == BAD
        assert gateway.outcome("/admin/open/a;b%2Fc", raw=raw) == (200, "")
        assert origin.last.target == "/admin/open/a;b%2Fc"
        assert len(origin.requests) == 1
