"""The way out through a proxy: what it is told, what it may do, and TLS within its TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackCall, LoopbackKeyService, http_answer
from tests.harness.exchanges import SHORT, Fits, cause_of
from tests.harness.tls import Authority, tunnel

OPENED = b"HTTP/1.1 200 Connection established\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.in_folder(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(authority: Authority) -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService(["KCANARY-good"], tls=authority.context("127.0.0.1", "localhost")) as service:
        yield service


def ask(server: LoopbackKeyService, *, proxy: str, ca: str, timeout: float = 2.0) -> bytes:
    transport = Transport(proxy=proxy, ca=ca, timeout=timeout)
    try:
        return transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-good"}').body
    finally:
        transport.close()


def test_a_tunnel_ends_at_the_server_itself(server: LoopbackKeyService, authority: Authority) -> None:
    server.url = server.url.replace("127.0.0.1", "localhost")
    with tunnel(server.port) as (proxy, asked):
        assert ask(server, proxy=proxy, ca=authority.file) == b'{"valid": true}'
    where = b"localhost:%d" % server.port
    assert asked == [b"CONNECT " + where + b" HTTP/1.1\r\nHost: " + where + b"\r\n\r\n"]


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "in TLS"])
def test_its_password_is_told_to_the_proxy_alone(
    server: LoopbackKeyService, authority: Authority, in_tls: bool
) -> None:
    with tunnel(server.port, tls=authority.context("127.0.0.1") if in_tls else None) as (proxy, asked):
        ask(server, proxy=proxy.replace("://", "://who:SCANARY@"), ca=authority.file)
    assert b"\r\nProxy-Authorization: Basic d2hvOlNDQU5BUlk=\r\n" in asked[0]
    assert b"proxy" not in server.requests[0].lower()


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "in TLS"])
def test_a_tunnel_is_used_again(server: LoopbackKeyService, authority: Authority, in_tls: bool) -> None:
    with tunnel(server.port, tls=authority.context("127.0.0.1") if in_tls else None) as (proxy, asked):
        transport = Transport(proxy=proxy, ca=authority.file)
        for _ in range(3):
            transport.exchange("POST", server.url, {}, b"{}")
        transport.close()
    assert (len(asked), server.calls) == (1, 3)


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n",
        OPENED + b"\r\nand more",
        OPENED,
        b"",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
    ],
    ids=["407", "302", "bytes of its own", "half a header", "nothing", "no HTTP"],
)
def test_a_proxy_that_opens_no_tunnel_is_no_connection(
    server: LoopbackKeyService, authority: Authority, says: bytes
) -> None:
    with LoopbackKeyService() as proxy:
        proxy.lie(says, close=True)
        assert (
            cause_of(lambda: ask(server, proxy=f"http://127.0.0.1:{proxy.port}", ca=authority.file))
            == "connect"
        )
    assert server.connections == 0


def test_v06_a_proxy_that_says_nothing_ends_with_the_deadline(
    server: LoopbackKeyService, authority: Authority
) -> None:
    with LoopbackKeyService() as proxy, Fits(SHORT):
        proxy.hang()
        url = f"http://127.0.0.1:{proxy.port}"
        assert cause_of(lambda: ask(server, proxy=url, ca=authority.file, timeout=SHORT)) == "timeout"


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "in TLS"])
def test_v13_a_certificate_that_nobody_trusts_is_refused_within_a_tunnel(
    server: LoopbackKeyService, authority: Authority, tmp_path_factory: pytest.TempPathFactory, in_tls: bool
) -> None:
    another = Authority.in_folder(tmp_path_factory.mktemp("other"))
    with tunnel(server.port, tls=another.context("127.0.0.1") if in_tls else None) as (proxy, _):
        assert cause_of(lambda: ask(server, proxy=proxy, ca=another.file)) == "tls"
    assert server.calls == 0


def test_v13_so_is_that_of_the_proxy(server: LoopbackKeyService, authority: Authority) -> None:
    with tunnel(server.port, tls=authority.context("other.example")) as (proxy, asked):
        assert cause_of(lambda: ask(server, proxy=proxy, ca=authority.file)) == "tls"
        assert asked == []


def test_plain_http_through_the_tls_of_a_proxy(authority: Authority) -> None:
    with LoopbackKeyService(tls=authority.context("127.0.0.1")) as proxy:
        proxy.lie(http_answer(200, b"by proxy"))
        transport = Transport(proxy=f"https://127.0.0.1:{proxy.port}", ca=authority.file)
        assert transport.exchange("GET", "http://keys.invalid:8080/verify", {}).body == b"by proxy"
        transport.close()
    assert proxy.requests[0].startswith(
        b"GET http://keys.invalid:8080/verify HTTP/1.1\r\nHost: keys.invalid:8080\r\n"
    )


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 1_000_000])
def test_what_is_large_comes_through_tls_within_tls(
    server: LoopbackKeyService, authority: Authority, size: int
) -> None:
    def behave(call: LoopbackCall) -> None:
        call.send(
            http_answer(200, b"%d" % len(call.request.partition(b"\r\n\r\n")[2]) + b" " * min(size, 65_000))
        )

    server.behave(behave)
    with tunnel(server.port, tls=authority.context("127.0.0.1")) as (proxy, _):
        transport = Transport(proxy=proxy, ca=authority.file, timeout=10.0)
        for _ in range(3):
            answer = transport.exchange("POST", server.url, {}, b"x" * size)
            assert int(answer.body) == size
            assert len(answer.body) > min(size, 65_000)
        transport.close()


def test_v06_dripping_within_tls_within_tls_ends_with_the_deadline(
    server: LoopbackKeyService, authority: Authority
) -> None:
    server.drip(0.02)
    with tunnel(server.port, tls=authority.context("127.0.0.1")) as (proxy, _), Fits(SHORT):
        assert cause_of(lambda: ask(server, proxy=proxy, ca=authority.file, timeout=SHORT)) == "timeout"
