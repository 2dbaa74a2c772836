"""What origins are told about where a request came from is one story (threat X-15)."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request

from apikey_guard.core.peers import Peers
from apikey_guard.forwarding.story import Story, seen, told

PROXY = "192.0.2.7"
# The proxy speaks plain http to a high port of ours; neither is anything that its caller asked for.
SOCKET = {"REMOTE_ADDR": PROXY, "wsgi.url_scheme": "http", "SERVER_PORT": "18000"}


def key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def story(headers: dict[str, str], *, trusted: bool = True, **socket: Any) -> Story:
    environ = {**SOCKET, **socket, **{key(name): value for name, value in headers.items()}}
    return told(environ, Peers([PROXY]), "") if trusted else seen(environ, "")


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        ("api.example", "http", "80"),
        ("api.example", "https", "443"),
        ("api.example:", "https", "443"),
        ("api.example:8443", "https", "8443"),
        ("127.0.0.1:18000", "http", "18000"),
        ("[2001:db8::1]", "http", "80"),
        ("[2001:db8::1]:8080", "http", "8080"),
        (None, "http", "18000"),
        ("a, b", "http", "18000"),
    ],
)
def test_of_a_peer_that_is_not_trusted_the_port_is_that_of_the_host(
    host: str | None, scheme: str, port: str
) -> None:
    headers = {
        "X-Forwarded-Port": "1",
        "X-Forwarded-Proto": "wss",
        **({} if host is None else {"Host": host}),
    }
    found = story(headers, trusted=False, **{"wsgi.url_scheme": scheme})
    assert (found.scheme, found.port) == (scheme, port)


FOR, PROTO, HOST = (
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "a.example"),
)
THE_SAME = 'for=203.0.113.9;host="a.example";proto=https'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([FOR, PROTO, HOST], ("https", "a.example", "443"), id="the usual three lines"),
        pytest.param(
            [FOR, PROTO, HOST, ("X-Forwarded-Port", "443")], ("https", "a.example", "443"), id="all four"
        ),
        pytest.param([FOR, PROTO, ("Host", "a.example")], ("https", "a.example", "443"), id="Host kept"),
        pytest.param(
            [FOR, PROTO, ("Host", "a.example:8443")], ("https", "a.example:8443", "8443"), id="its port"
        ),
        pytest.param([FOR, HOST], ("http", "a.example", "80"), id="no scheme told"),
        pytest.param(
            [FOR, HOST, ("X-Forwarded-Port", "443")], ("https", "a.example", "443"), id="scheme by port"
        ),
        pytest.param(
            [FOR, HOST, ("X-Forwarded-Ssl", "on")], ("https", "a.example", "443"), id="X-Forwarded-Ssl"
        ),
        pytest.param([FOR, HOST, ("X-Forwarded-Ssl", "off")], ("http", "a.example", "80"), id="off"),
        pytest.param(
            [FOR, HOST, ("X-Forwarded-Scheme", "https")], ("https", "a.example", "443"), id="-Scheme"
        ),
        pytest.param(
            [FOR, HOST, ("Front-End-Https", "On")], ("https", "a.example", "443"), id="Front-End-Https"
        ),
        pytest.param([("Forwarded", THE_SAME)], ("https", "a.example", "443"), id="Forwarded alone"),
        pytest.param([("Forwarded", THE_SAME), HOST], ("https", "a.example", "443"), id="Forwarded and one"),
        pytest.param(
            [("Forwarded", "for=203.0.113.9;proto=https"), ("Host", "a.example")],
            ("https", "a.example", "443"),
            id="Forwarded without host",
        ),
        pytest.param(
            [FOR, PROTO, ("X-Forwarded-Host", "[2001:db8::1]:9")],
            ("https", "[2001:db8::1]:9", "9"),
            id="IPv6",
        ),
        pytest.param([FOR, ("X-Forwarded-Proto", "wss"), HOST], ("wss", "a.example", "443"), id="wss"),
        pytest.param(
            [FOR, PROTO, ("X-Forwarded-Host", "evil.example, a.example:81")],
            ("https", "evil.example, a.example:81", "81"),
            id="a list: what the peer added",
        ),
        pytest.param([FOR], ("http", "", ""), id="no host at all"),
        pytest.param([FOR, PROTO], ("https", "", "443"), id="a scheme and no host"),
        pytest.param(
            [FOR, PROTO, ("X-Forwarded-Host", "a b")], ("https", "a b", "443"), id="a host that is none"
        ),
    ],
)
def test_what_a_trusted_peer_says_is_completed_from_what_it_says(
    headers: list[tuple[str, str]], expected: tuple[str, str, str]
) -> None:
    found = story(dict(headers))
    assert (found.scheme, found.host, found.port) == expected
    assert found.caller == "203.0.113.9"
    assert found.addresses == f"203.0.113.9, {PROXY}"
    # Whichever of its elements a program takes, Forwarded says the same.
    last = found.forwarded.split(", ")[-1]
    assert last.startswith(f"for={PROXY};")
    assert last.endswith(f"proto={found.scheme}")
    assert found.forwarded.startswith("for=203.0.113.9;")
    assert "18000" not in str(found)


@pytest.mark.parametrize(
    ("headers", "addresses", "caller", "forwarded"),
    [
        pytest.param(
            {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=1.1.1.1;host=evil.example;proto=http"},
            "203.0.113.9",
            "203.0.113.9",
            "for=203.0.113.9;proto=http",
            id="another address in Forwarded",
        ),
        pytest.param(
            {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "1.1.1.1"},
            "203.0.113.9",
            "203.0.113.9",
            "for=203.0.113.9;proto=http",
            id="another address in X-Real-IP",
        ),
        pytest.param(
            {"X-Forwarded-For": "1.1.1.1, 203.0.113.9"},
            "1.1.1.1, 203.0.113.9",
            "203.0.113.9",
            "for=1.1.1.1;proto=http, for=203.0.113.9",
            id="what the caller said itself is not the caller",
        ),
        pytest.param(
            {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"},
            "203.0.113.9, 192.0.2.7",
            "203.0.113.9",
            "for=203.0.113.9;proto=http, for=192.0.2.7",
            id="two trusted ones",
        ),
        pytest.param(
            {"X-Real-IP": "203.0.113.9"},
            "203.0.113.9",
            "203.0.113.9",
            "for=203.0.113.9;proto=http",
            id="X-Real-IP alone",
        ),
        pytest.param(
            {"Forwarded": 'for="[2001:db8::9]:4711"'},
            "2001:db8::9",
            "2001:db8::9",
            'for="[2001:db8::9]:4711"',
            id="IPv6 with a port",
        ),
        pytest.param(
            {"X-Forwarded-For": "203.0.113.9:4711"},
            "203.0.113.9:4711",
            "203.0.113.9",
            "for=203.0.113.9;proto=http",
            id="a port behind the address",
        ),
        pytest.param(
            {"Forwarded": "for=_hidden, for=unknown"},
            "_hidden, unknown",
            PROXY,
            "for=_hidden, for=unknown",
            id="names for addresses",
        ),
        pytest.param(
            {"X-Forwarded-For": "203.0.113.9", "Forwarded": "nonsense = ; ="},
            "203.0.113.9",
            "203.0.113.9",
            "for=203.0.113.9;proto=http",
            id="a Forwarded that cannot be read",
        ),
        pytest.param(
            {
                "X-Forwarded-For": "203.0.113.9",
                "X-Forwarded-Proto": "https",
                "Forwarded": "for=203.0.113.9;proto=http",
            },
            "203.0.113.9",
            "203.0.113.9",
            "for=203.0.113.9;proto=https",
            id="another scheme in Forwarded",
        ),
        pytest.param(
            {"X-Forwarded-Host": "a.example", "Forwarded": "for=203.0.113.9;host=evil.example"},
            "203.0.113.9",
            "203.0.113.9",
            'for=203.0.113.9;host="a.example";proto=http',
            id="another host in Forwarded",
        ),
        pytest.param(
            {
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "a.example",
                "Forwarded": 'for=203.0.113.9;host="a.example:8443"',
            },
            "203.0.113.9",
            "203.0.113.9",
            'for=203.0.113.9;host="a.example";proto=https',
            id="another port in Forwarded",
        ),
        pytest.param(
            {
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Port": "8443",
                "Forwarded": "for=203.0.113.9;host=a.example",
            },
            "203.0.113.9",
            "203.0.113.9",
            'for=203.0.113.9;host="a.example:8443";proto=https',
            id="no port in Forwarded and one beside it",
        ),
    ],
)
def test_what_contradicts_is_told_anew(
    headers: dict[str, str], addresses: str, caller: str, forwarded: str
) -> None:
    found = story(headers)
    assert found.addresses == f"{addresses}, {PROXY}"
    assert found.caller == caller
    before, _, last = found.forwarded.rpartition(", ")
    assert before == forwarded
    assert last.startswith(f"for={PROXY};")
    assert "evil" not in found.forwarded


def test_a_port_that_stands_apart_is_in_forwarded_too() -> None:
    found = story({**dict([FOR, PROTO, HOST]), "X-Forwarded-Port": "8443"})
    assert found.forwarded == (
        f'for=203.0.113.9;host="a.example:8443";proto=https, for={PROXY};host="a.example:8443";proto=https'
    )


def test_a_trusted_peer_that_tells_nothing_is_the_caller() -> None:
    for headers in ({}, {"Host": "a.example:81"}):
        assert story(headers) == story(headers, trusted=False)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("port", [None, "443"])
def test_a_program_behind_writes_the_links_that_the_caller_can_follow(count: int, port: str | None) -> None:
    given = dict([FOR, PROTO, HOST, *([] if port is None else [("X-Forwarded-Port", port)])])
    found = story(given)
    environ = {
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "origin.internal",
        "SERVER_PORT": "9000",
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_X_FORWARDED_FOR": found.addresses,
        "HTTP_X_FORWARDED_PROTO": found.scheme,
        "HTTP_X_FORWARDED_HOST": found.host,
        "HTTP_X_FORWARDED_PORT": found.port,
    }
    links: list[tuple[str, str | None]] = []

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        request = Request(environ)
        links.append((request.host_url, request.remote_addr))
        return []

    list(ProxyFix(app, x_for=count, x_host=1, x_port=1)(environ, lambda *_: bytes))  # type: ignore[arg-type, return-value]  # as a server calls it
    assert links == [("https://a.example/", [PROXY, "203.0.113.9"][count - 1])]


EDGE = "192.0.2.50"
FIRST, SECOND = "for=203.0.113.9;host=a.example;proto=https", f"for={EDGE};host=inner;proto=http"


@pytest.mark.parametrize(
    ("forwarded", "trusted", "expected"),
    [
        pytest.param(f"{FIRST}, {SECOND}", True, ("203.0.113.9", "https", "a.example", "443"), id="trusted"),
        pytest.param(f"{FIRST}, {SECOND}", False, (EDGE, "http", "inner", "80"), id="not trusted"),
        pytest.param(
            f"for=203.0.113.9, {SECOND}", True, ("203.0.113.9", "http", "inner", "80"), id="nothing more said"
        ),
        pytest.param(
            f"for=9.9.9.9;host=evil.example;proto=wss, {FIRST}, {SECOND}",
            True,
            ("203.0.113.9", "https", "a.example", "443"),
            id="begun by the caller",
        ),
    ],
)
def test_behind_several_hops_the_story_is_that_of_the_caller(
    forwarded: str, trusted: bool, expected: tuple[str, str, str, str]
) -> None:
    environ = {**SOCKET, "HTTP_HOST": "gateway:18000", "HTTP_FORWARDED": forwarded}
    found = told(environ, Peers([PROXY, EDGE] if trusted else [PROXY]), "")
    assert (found.caller, found.scheme, found.host, found.port) == expected
    assert found.forwarded.startswith(forwarded)
