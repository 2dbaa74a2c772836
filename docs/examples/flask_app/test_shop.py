"""How the shop is tested: with a key service that knows one key, and as a consumer without any."""

import pytest
from shop import create_app, guard


@pytest.fixture
def client(apikey_guard_service):
    apikey_guard_service.keys["a-key"] = {"consumer": {"username": "acme"}}
    return create_app(APIKEY_GUARD_VALIDATOR_URL=apikey_guard_service.url).test_client()


def test_orders_need_a_key(client):
    assert client.get("/orders").status_code == 401
    assert client.get("/orders", headers={"apikey": "a-key"}).json == {"orders_of": "acme"}


def test_reports_need_a_scope(client):
    with guard.as_consumer("acme"):
        assert client.get("/report").status_code == 403
    with guard.as_consumer("acme", scopes=["reports"]):
        assert client.get("/report").json == {"report_for": "acme"}


def test_the_health_check_needs_nothing(client):
    assert client.get("/health").status_code == 200
