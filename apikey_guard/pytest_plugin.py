"""The pytest plugin: fixtures for tests of apps that stand behind the guard.

Every pytest run loads it, so it imports no framework and no HTTP library: those are imported when a
test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from apikey_guard.testing import LoopbackKeyService


@pytest.fixture
def apikey_guard_service() -> Iterator[LoopbackKeyService]:
    """A key service on 127.0.0.1, which knows no key until the test adds one.

    ::

        def test_orders(apikey_guard_service):
            apikey_guard_service.keys["a-key"] = {"consumer": {"id": "42"}}
            app = create_app(APIKEY_GUARD_VALIDATOR_URL=apikey_guard_service.url)

    It can be told to fail, to hang or to lie; see :class:`apikey_guard.testing.LoopbackKeyService`.
    """
    from apikey_guard.testing import LoopbackKeyService

    with LoopbackKeyService() as service:
        yield service
