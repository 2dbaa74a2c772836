"""From which address a request is told to come, and by whom that is believed."""

from __future__ import annotations

import pytest

from apikey_guard.core.peers import Peers

CALLER, OTHER = "203.0.113.9", "198.51.100.1"
PEERS = Peers(["10.0.0.0/8", "::1", "2001:db8:1::/48"])
XFF, FWD, REAL = "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"


@pytest.mark.parametrize(
    ("peer", "said", "told"),
    [
        pytest.param(OTHER, {XFF: CALLER, FWD: f"for={CALLER}", REAL: CALLER}, OTHER, id="not-trusted"),
        pytest.param("", {XFF: CALLER}, "", id="no-address"),
        pytest.param("unix:", {XFF: CALLER}, "unix:", id="no-address-but-a-text"),
        pytest.param("10.0.0.1", {}, "10.0.0.1", id="says-nothing"),
        pytest.param("10.0.0.1", {XFF: CALLER}, CALLER, id="one-hop"),
        pytest.param("::ffff:10.0.0.1", {XFF: CALLER}, CALLER, id="peer-mapped"),
        pytest.param("::1%lo", {XFF: CALLER}, CALLER, id="peer-with-zone"),
        pytest.param("10.0.0.1", {XFF: f"{OTHER}, {CALLER}"}, CALLER, id="forged-in-front"),
        pytest.param("10.0.0.1", {XFF: f"{OTHER},{CALLER} , 10.9.9.9"}, CALLER, id="two-hops"),
        pytest.param("10.0.0.1", {XFF: "10.1.1.1, 10.2.2.2"}, "10.1.1.1", id="all-trusted"),
        pytest.param("10.0.0.1", {XFF: f"{CALLER}:4711"}, CALLER, id="with-port"),
        pytest.param("10.0.0.1", {XFF: "[2001:db8::7]:443"}, "2001:db8::7", id="six-with-port"),
        pytest.param("10.0.0.1", {XFF: "2001:DB8:0:0::7"}, "2001:db8::7", id="six-one-spelling"),
        pytest.param("10.0.0.1", {XFF: f"::ffff:{CALLER}"}, CALLER, id="mapped"),
        pytest.param("10.0.0.1", {XFF: f"{CALLER}, unknown"}, "10.0.0.1", id="unknown-hides-who-is-behind"),
        pytest.param("10.0.0.1", {XFF: f"{CALLER}, "}, "10.0.0.1", id="empty-at-the-end"),
        pytest.param("10.0.0.1", {XFF: f"{CALLER}, x, 10.3.3.3"}, "10.3.3.3", id="odd-behind-trusted"),
        pytest.param("10.0.0.1", {XFF: CALLER + ", 10.1.1.1" * 500}, "10.1.1.1", id="endless"),
        pytest.param("10.0.0.1", {FWD: f"for={CALLER}"}, CALLER, id="forwarded"),
        pytest.param("10.0.0.1", {FWD: f"for={OTHER}, For={CALLER};proto=https"}, CALLER, id="forwarded-two"),
        pytest.param("10.0.0.1", {FWD: f'for={CALLER}, for="[2001:db8:1::9]:1"'}, CALLER, id="forwarded-six"),
        pytest.param("10.0.0.1", {FWD: f'by="a,b;c";for={CALLER}'}, CALLER, id="forwarded-quoted"),
        pytest.param("10.0.0.1", {FWD: f"for={CALLER}, proto=https"}, "10.0.0.1", id="forwarded-without-for"),
        pytest.param("10.0.0.1", {FWD: f"for={CALLER}, for=_hidden"}, "10.0.0.1", id="forwarded-hidden"),
        pytest.param("10.0.0.1", {FWD: f'for={CALLER}, for="x'}, "10.0.0.1", id="forwarded-unreadable"),
        pytest.param("10.0.0.1", {FWD: " " * 9000 + "x"}, "10.0.0.1", id="forwarded-blanks"),
        pytest.param("10.0.0.1", {XFF: CALLER, FWD: f"for={OTHER}", REAL: OTHER}, CALLER, id="order"),
        pytest.param("10.0.0.1", {REAL: CALLER}, CALLER, id="real-ip"),
        pytest.param("10.0.0.1", {REAL: "nobody"}, "10.0.0.1", id="real-ip-odd"),
    ],
)
def test_the_address_that_a_request_is_told_to_come_from(peer: str, said: dict[str, str], told: str) -> None:
    assert PEERS.told({"REMOTE_ADDR": peer, **said}) == told


def test_without_an_address_at_all() -> None:
    assert PEERS.told({}) == ""
    assert PEERS.told({"REMOTE_ADDR": None}) == ""


def test_a_network_of_mapped_addresses_is_one_of_plain_ones() -> None:
    peers = Peers(["::ffff:192.168.0.0/112"])
    assert peers.trusts("192.168.7.7")
    assert peers.trusts("::ffff:192.168.7.7")
    assert not peers.trusts("192.169.0.1")
