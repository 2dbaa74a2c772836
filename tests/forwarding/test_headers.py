"""What goes on across the hop, what ends, and what is written anew (threats X-02, X-07, X-15, A-06)."""

from __future__ import annotations

from typing import Any

import pytest

from apikey_guard.core.peers import Peers
from apikey_guard.errors import BadRequest
from apikey_guard.forwarding.headers import Hop
from apikey_guard.forwarding.story import caller_host

PEER = "192.0.2.7"
REQUEST = {
    "REQUEST_METHOD": "GET",
    "REMOTE_ADDR": PEER,
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_PORT": "8080",
    "HTTP_HOST": "api.example:8080",
    "wsgi.url_scheme": "https",
}
WHERE_FROM = {
    "x-forwarded-for": PEER,
    "x-forwarded-proto": "https",
    "x-forwarded-host": "api.example:8080",
    "x-forwarded-port": "8080",
    "x-real-ip": PEER,
    "forwarded": f'for={PEER};host="api.example:8080";proto=https',
    "via": "1.1 apikey-guard",
}
KEPT = ("HTTP_X_CONSUMER_ID",)


def lines(given: dict[str, Any], *, trusted: tuple[str, ...] = (), prefix: str = "") -> list[tuple[str, str]]:
    """Names in lower case, and values."""
    block = Hop(peers=Peers(trusted), kept=KEPT).header_block({**REQUEST, **given}, prefix)
    assert block.endswith(b"\r\n")
    pairs = (line.partition(": ") for line in block.decode("latin-1").removesuffix("\r\n").split("\r\n"))
    return [(name.lower(), value) for name, _, value in pairs]


def sent(given: dict[str, Any], *, trusted: tuple[str, ...] = (), prefix: str = "") -> dict[str, str]:
    found = lines(given, trusted=trusted, prefix=prefix)
    assert len(dict(found)) == len(found), "a header stands there twice"
    return dict(found)


def carried(given: dict[str, Any]) -> dict[str, str]:
    """What is sent of the caller's own headers."""
    return {name: value for name, value in sent(given).items() if name not in WHERE_FROM}


def test_what_is_written_into_every_request() -> None:
    assert sent({}) == WHERE_FROM


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("HTTP_ACCEPT", "text/html, */*;q=0.1", "accept"),
        ("HTTP_AUTHORIZATION", "Bearer x", "authorization"),
        ("HTTP_COOKIE", "a=1; b=2", "cookie"),
        ("HTTP_X_EMPTY", "", "x-empty"),
        ("HTTP_X_BYTES", "\xc3\xa9\xff", "x-bytes"),
        ("HTTP_X_TAB", "a\tb", "x-tab"),
        ("HTTP_X.DOT", "1", "x.dot"),
        ("HTTP_X__TWO", "1", "x--two"),
        ("HTTP_2", "1", "2"),
        ("CONTENT_TYPE", "a/b; charset=x", "content-type"),
        ("HTTP_CONTENT_ENCODING", "gzip", "content-encoding"),
        ("HTTP_IF_NONE_MATCH", '"x"', "if-none-match"),
        ("HTTP_RANGE", "bytes=0-1", "range"),
    ],
)
def test_x05_a_header_goes_on_as_it_is(key: str, value: str, name: str) -> None:
    assert carried({key: value}) == {name: value}


@pytest.mark.parametrize(
    "key",
    [
        "HTTP_CONNECTION",
        "HTTP_KEEP_ALIVE",
        "HTTP_PROXY_CONNECTION",
        "HTTP_PROXY_AUTHENTICATE",
        "HTTP_PROXY_AUTHORIZATION",
        "HTTP_TE",
        "HTTP_TRAILER",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_UPGRADE",
        "HTTP_HTTP2_SETTINGS",
        "HTTP_EXPECT",
        "HTTP_PROXY",
        # Only ever there by an underscore that a server let pass.
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
    ],
)
def test_x07_a_header_that_ends_here(key: str) -> None:
    assert carried({key: "x"}) == {}


@pytest.mark.parametrize("trusted", [(), (PEER,)], ids=["any-peer", "trusted"])
@pytest.mark.parametrize(
    "key",
    [
        pytest.param("HTTP_X.CONSUMER.ID", id="identity"),
        pytest.param("HTTP_X_CONSUMER+ID", id="identity-half"),
        pytest.param("HTTP_X.FORWARDED.FOR", id="address"),
        pytest.param("HTTP_X.FORWARDED.USER", id="told-besides"),
        pytest.param("HTTP_X_FORWARDED_CLIENT.CERT", id="told-besides-half"),
        pytest.param("HTTP_X~ORIGINAL~URL", id="path"),
        pytest.param("HTTP_CLIENT!IP", id="claimed-address"),
        pytest.param("HTTP_X.HTTP.METHOD.OVERRIDE", id="method"),
        pytest.param("HTTP_CONTENT.LENGTH", id="framing"),
    ],
)
def test_x15_an_odd_character_for_a_dash_makes_no_header_of_ours(key: str, trusted: tuple[str, ...]) -> None:
    assert sent({key: "x"}, trusted=trusted).keys() == WHERE_FROM.keys()


@pytest.mark.parametrize(
    ("nominated", "left"),
    [
        ("close", {"x-a", "x-b", "x-consumer-id"}),
        ("X-A", {"x-b", "x-consumer-id"}),
        ("x-a , close,X_B", {"x-consumer-id"}),
        (", X-A", {"x-b", "x-consumer-id"}),
        ("X-A,X-A", {"x-b", "x-consumer-id"}),
        ("X-A;x", {"x-a", "x-b", "x-consumer-id"}),
        ("X-Consumer-ID, x_consumer_id", {"x-a", "x-b", "x-consumer-id"}),
        ("", {"x-a", "x-b", "x-consumer-id"}),
    ],
)
def test_a06_nominated_headers_end_here_and_ours_do_not(nominated: str, left: set[str]) -> None:
    given = {"HTTP_X_A": "1", "HTTP_X_B": "2", "HTTP_X_CONSUMER_ID": "42", "HTTP_CONNECTION": nominated}
    assert set(carried(given)) == left


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("HTTP_AUTHORIZATION", "Authorization"),
        ("CONTENT_TYPE", "Content-Type"),
        ("HTTP_CONTENT_ENCODING", "Content-Encoding"),
        ("HTTP_CONTENT_RANGE", "Content-Range"),
        ("HTTP_CONTENT_DISPOSITION", "content-disposition"),
    ],
)
def test_a06_what_the_message_is_and_who_sends_it_cannot_be_nominated(key: str, name: str) -> None:
    assert carried({key: "x", "HTTP_CONNECTION": f"close, {name}"}) == {name.lower(): "x"}


@pytest.mark.parametrize("name", [*WHERE_FROM, "host"])
def test_a06_what_we_write_cannot_be_nominated(name: str) -> None:
    assert sent({"HTTP_CONNECTION": name}) == WHERE_FROM


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\0", "\n", "a\r\n  folded"]
)
@pytest.mark.parametrize("key", ["HTTP_X_A", "CONTENT_TYPE", "HTTP_VIA", "REMOTE_ADDR"])
def test_x02_a_value_that_would_begin_another_header_is_refused(key: str, value: str) -> None:
    with pytest.raises(BadRequest):
        sent({key: value})


@pytest.mark.parametrize("key", ["HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED"])
def test_x15_also_from_a_trusted_peer(key: str) -> None:
    with pytest.raises(BadRequest):
        sent({key: 'for="_x\r\nX-Evil: 1"'}, trusted=(PEER,))


@pytest.mark.parametrize("key", ["HTTP_X A", "HTTP_X:", "HTTP_X\r\nY", "HTTP_", "HTTP_X\xe9", "HTTP_x"])
def test_x02_a_name_that_is_none_is_never_sent(key: str) -> None:
    try:
        found = lines({key: "1"})
    except BadRequest:
        return
    assert dict(found) == WHERE_FROM


def test_a05_another_spelling_of_a_name_is_never_sent_besides_it() -> None:
    given = {"HTTP_X_CONSUMER_ID": "42", "HTTP_X-CONSUMER_ID": "admin", "HTTP_X-Consumer-ID": "admin"}
    try:
        found = lines(given)
    except BadRequest:
        return
    assert [value for name, value in found if name == "x-consumer-id"] == ["42"]


# -- where from -----------------------------------------------------------------------------------

TOLD = {
    "HTTP_X_FORWARDED_FOR": "1.2.3.4",
    "HTTP_X_FORWARDED_PROTO": "wss",
    "HTTP_X_FORWARDED_HOST": "outside.example",
    "HTTP_X_FORWARDED_PORT": "444",
    "HTTP_X_FORWARDED_PREFIX": "/outer",
    "HTTP_X_FORWARDED_URI": "/elsewhere",
    "HTTP_X_REAL_IP": "1.2.3.4",
    "HTTP_FORWARDED": "for=1.2.3.4;proto=wss",
}


def test_x15_what_an_untrusted_peer_tells_is_dropped() -> None:
    assert sent(TOLD) == WHERE_FROM
    assert sent(TOLD, trusted=("10.0.0.0/8", "2001:db8::/32")) == WHERE_FROM


def test_x15_what_a_trusted_peer_tells_is_kept_or_added_to() -> None:
    assert sent(TOLD, trusted=("192.0.2.0/24",), prefix="/inner") == {
        "x-forwarded-for": f"1.2.3.4, {PEER}",
        "x-forwarded-proto": "wss",
        "x-forwarded-host": "outside.example",
        "x-forwarded-port": "444",
        "x-forwarded-prefix": "/outer/inner",
        "x-forwarded-uri": "/elsewhere",
        "x-real-ip": "1.2.3.4",
        "forwarded": f'for=1.2.3.4;proto=wss, for={PEER};host="outside.example:444";proto=wss',
        "via": "1.1 apikey-guard",
    }


def test_x15_where_a_trusted_peer_tells_nothing_it_is_the_caller() -> None:
    assert sent({}, trusted=(PEER,)) == WHERE_FROM


@pytest.mark.parametrize(
    ("network", "peer", "trusted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("0.0.0.0/0", "198.51.100.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "unix:", False),
        ("10.0.0.0/8", "10.1.2.3:443", False),
        ("10.0.0.0/8", "10.1.2.3, 1.2.3.4", False),
    ],
)
def test_x15_trust_is_by_the_network_of_the_peer(network: str, peer: str, trusted: bool) -> None:
    given = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_HOST": "outside.example"}
    assert (sent(given, trusted=(network,))["x-forwarded-host"] == "outside.example") is trusted


def test_x15_a_long_list_is_added_to() -> None:
    before = ", ".join(f"10.0.0.{number}" for number in range(100))
    found = sent({"HTTP_X_FORWARDED_FOR": before}, trusted=(PEER,))
    assert found["x-forwarded-for"] == f"{before}, {PEER}"


@pytest.mark.parametrize(
    ("peer", "node"),
    [
        ("2001:db8::1", '"[2001:db8::1]"'),
        ("fe80::1%eth0", '"[fe80::1]"'),
        ("", "unknown"),
    ],
)
def test_x15_a_peer_with_another_kind_of_address(peer: str, node: str) -> None:
    found = sent({"REMOTE_ADDR": peer})
    assert found["forwarded"].startswith(f"for={node};")
    assert "" not in found.values()


@pytest.mark.parametrize("trusted", [(), (PEER,)], ids=["untrusted", "trusted"])
def test_x15_the_prefix_stands_there_only_where_one_was_taken_off(trusted: tuple[str, ...]) -> None:
    assert "x-forwarded-prefix" not in sent({}, trusted=trusted)
    assert sent({}, trusted=trusted, prefix="/v2")["x-forwarded-prefix"] == "/v2"


@pytest.mark.parametrize(
    ("protocol", "before", "via"),
    [
        ("HTTP/1.1", None, "1.1 apikey-guard"),
        ("HTTP/1.0", None, "1.0 apikey-guard"),
        ("HTTP/1.1", "1.0 edge", "1.0 edge, 1.1 apikey-guard"),
    ],
)
def test_via_is_added_to(protocol: str, before: str | None, via: str) -> None:
    given = {"SERVER_PROTOCOL": protocol, **({} if before is None else {"HTTP_VIA": before})}
    assert sent(given)["via"] == via


@pytest.mark.parametrize(("before", "via"), [(None, None), ("1.0 edge", "1.0 edge")])
def test_via_can_be_left_as_it_is(before: str | None, via: str | None) -> None:
    hop = Hop(peers=Peers([]), kept=KEPT, via=False)
    block = hop.header_block({**REQUEST, **({} if before is None else {"HTTP_VIA": before})}, "")
    found = [line.partition(b": ")[2].decode() for line in block.split(b"\r\n") if line.startswith(b"Via")]
    assert found == ([] if via is None else [via])


HOSTS = [
    ("api.example", True),
    ("API.example:8443", True),
    ("localhost", True),
    ("127.0.0.1:80", True),
    ("[2001:db8::1]:443", True),
    ("a_b.example", True),
    ("api.example:", True),
    ("", False),
    ("a, b", False),
    ("a,b", False),
    ("who@api.example", False),
    ("api.example/x", False),
    ("api example", False),
    (" api.example", False),
    ("api.example\r\nX: y", False),
    ("api.example:80:80", False),
    ("api.example:x", False),
    ("api.example?x", False),
    ("api.example#x", False),
    ("[::1", False),
    ("caf\xc3\xa9.example", False),
    ('a"b', False),
]


@pytest.mark.parametrize(("host", "good"), HOSTS)
def test_x15_an_odd_host_is_none(host: str, good: bool) -> None:
    assert caller_host({"HTTP_HOST": host}) == (host if good else None)


@pytest.mark.parametrize("host", [host for host, good in HOSTS if not good])
def test_x15_an_odd_host_is_not_sent_on(host: str) -> None:
    found = sent({"HTTP_HOST": host})
    assert "x-forwarded-host" not in found
    assert found["forwarded"] == f"for={PEER};proto=https"


# -- the peer's address ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "node"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", '"[2001:db8::7]"'),
        ("fe80::1%eth0", '"[fe80::1]"'),
        ("::ffff:192.0.2.7", '"[::ffff:192.0.2.7]"'),
        ("", "unknown"),
        ("192.0.2.7;proto=https", "unknown"),
        ("192.0.2.7, for=10.0.0.1", "unknown"),
        ('::1]";proto=https;x="[::1', "unknown"),
        ("unix:/run/g.sock", "unknown"),
    ],
)
def test_x15_a_peer_says_nothing_but_its_address(peer: str, node: str) -> None:
    # What stands around the app may have written anything there.
    assert sent({"REMOTE_ADDR": peer})["forwarded"].partition(";host=")[0] == f"for={node}"


@pytest.mark.parametrize("network", ["10.0.0.0/8", "10.1.2.3", "::ffff:10.0.0.0/104"])
def test_x15_a_trusted_peer_is_trusted_on_a_socket_for_both_families(network: str) -> None:
    given = {"REMOTE_ADDR": "::ffff:10.1.2.3", "HTTP_X_FORWARDED_FOR": "198.51.100.9"}
    assert sent(given, trusted=(network,))["x-forwarded-for"] == "198.51.100.9, ::ffff:10.1.2.3"
    given["REMOTE_ADDR"] = "::ffff:192.0.2.7"
    assert sent(given, trusted=(network,))["x-forwarded-for"] == "::ffff:192.0.2.7"
