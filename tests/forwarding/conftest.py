"""Gateways in this process, and gateways under real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from apikey_guard.testing import LoopbackKeyService
from tests.conftest import StartServer
from tests.forwarding.gateway import ALICE, GOOD, Gateway
from tests.forwarding.live import LiveGateway
from tests.harness.origin import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def gateway(origin: Origin) -> Iterator[Gateway]:
    """A gateway before the fixture ``origin``, with the settings' defaults."""
    with Gateway(origin) as made:
        yield made


@pytest.fixture(scope="session")
def _live_parties() -> Iterator[tuple[Origin, LoopbackKeyService]]:
    consumer = {"id": ALICE.id, "username": ALICE.username, "custom_id": ALICE.custom_id}
    with ExitStack() as stack:
        origin = stack.enter_context(Origin())
        keys = stack.enter_context(LoopbackKeyService({GOOD: {"consumer": consumer}}))
        yield origin, keys


@pytest.fixture
def live(
    _live_parties: tuple[Origin, LoopbackKeyService], shared_server: StartServer
) -> Callable[..., LiveGateway]:
    """``live(server, **settings)`` -> the gateway under that server; one process for the same settings."""
    origin, keys = _live_parties
    origin.forget()
    # What earlier tests have left in the pools of the servers would be counted as open.
    origin.drop_idle()

    def start(name: str, env: Mapping[str, str] | None = None) -> LiveGateway:
        # The server reads its settings as any other does: from the environment.
        given = {
            "APIKEY_GUARD_ORIGIN": origin.url,
            "APIKEY_GUARD_VALIDATOR_URL": keys.url,
            "APIKEY_GUARD_VALIDATOR_HEADERS": '{"Authorization": "Bearer SCANARY-ours"}',
            **(env or {}),
        }
        server = shared_server(name, "tests.forwarding.gateway_app:app", env=given)
        return LiveGateway(server, origin)

    return start
