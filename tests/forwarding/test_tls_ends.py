"""Over TLS an end that was not announced is a cut, and no poll shows what is decrypted (X-01, X-03)."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from apikey_guard.errors import OriginAborted
from tests.forwarding.gateway import Gateway
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def origin(authority: trustme.CA) -> Iterator[Origin]:
    """In the place of the one that speaks plain words."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Origin(tls=context) as made:
        yield made


@pytest.fixture
def gateway(authority: trustme.CA, origin: Origin) -> Iterator[Gateway]:
    with authority.cert_pem.tempfile() as ca_file:
        target = {"targets": [origin.url], "ca": ca_file}
        with Gateway("secure", origins={"secure": target}) as made:
            yield made


def test_x03_a_body_to_the_end_of_the_connection_may_have_been_cut(gateway: Gateway, origin: Origin) -> None:
    origin.says(answer(b"half", length=False), close=True)
    with gateway.opened() as opened:
        assert next(opened) == b"half"
        with pytest.raises(OriginAborted):
            next(opened)


def test_x03_an_end_that_was_announced_is_one(gateway: Gateway, origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(answer(b"whole", length=False))
        assert isinstance(exchange._sock, ssl.SSLSocket)
        exchange._sock.unwrap()
        exchange.close()

    origin.behave(behave)
    assert gateway.get("/").body == b"whole"


@pytest.mark.parametrize(
    "data",
    [answer(b"whole"), answer(b"", CHUNKED, length=False) + chunked(b"whole")],
    ids=["length", "chunks"],
)
def test_x03_what_says_itself_where_it_ends_needs_no_announcement(
    gateway: Gateway, origin: Origin, data: bytes
) -> None:
    origin.says(data, close=True)
    for _ in range(3):
        assert gateway.get("/").body == b"whole"


# An origin is read 65,536 bytes at a time, TLS decrypts 16,384 at a time.
@pytest.mark.parametrize("size", [0, 100, 8_192, 16_000, 16_384, 65_536, 100_000])
@pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("way", ["at once", "apart", "later"])
def test_x01_what_comes_after_an_answer_is_nobodys(
    gateway: Gateway, origin: Origin, size: int, chunks: bool, way: str
) -> None:
    body = b"x" * size
    mine = answer(chunked(body) if size else b"0\r\n\r\n", CHUNKED, length=False) if chunks else answer(body)
    read, sent = threading.Event(), threading.Event()

    def behave(exchange: Exchange) -> None:
        if exchange.request.target == "/b":
            exchange.send(answer(b"b"))
            return
        exchange.send(mine + answer(b"of a") if way == "at once" else mine)
        if way == "later":
            read.wait(5)
        if way != "at once":
            exchange.send(answer(b"of a"))
        sent.set()

    origin.behave(behave)
    assert gateway.get("/a").body == body
    read.set()
    assert sent.wait(5)
    assert gateway.get("/b", "POST").body == b"b"
    assert origin.connections == 2
