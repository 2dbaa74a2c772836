"""The origin of the tests itself: it must see every byte, and notice every end."""

from __future__ import annotations

import socket

import pytest

from tests.harness import parse_response, raw_request
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked


def connect(origin: Origin) -> socket.socket:
    return socket.create_connection(origin.address, timeout=5)


@pytest.mark.parametrize(
    ("head", "framed", "body"),
    [
        (b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", b"", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"abc", b"abc"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"ab", b"c"), b"abc"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;x\r\na\r\n0\r\nT: 1\r\n\r\n", b"a"),
    ],
)
def test_a_request_is_kept_byte_for_byte(origin: Origin, head: bytes, framed: bytes, body: bytes) -> None:
    for _ in range(2):
        raw_request(origin.address, head + framed)
        assert (origin.last.raw, origin.last.body, origin.last.complete) == (head + framed, body, True)
    assert [request.connection for request in origin.requests] == [1, 2]


@pytest.mark.parametrize("length", ["Content-Length: 5", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("sent", [b"", b"4\r", b"4\r\na", b"abc"])
def test_a_request_that_is_cut_is_incomplete(origin: Origin, length: str, sent: bytes) -> None:
    with connect(origin) as sock:
        sock.sendall(f"POST / HTTP/1.1\r\n{length}\r\n\r\n".encode() + sent)
    origin.wait_for_requests(1)
    origin.wait_until_open(0)
    assert not origin.last.complete


def test_requests_one_after_the_other_and_what_they_are_answered(origin: Origin) -> None:
    request = b"GET /%d HTTP/1.1\r\n\r\n"
    with connect(origin) as sock:
        sock.sendall(request % 1 + request % 2)
        origin.wait_for_requests(2)
        received = b""
        while received.count(b"HTTP/1.1") < 2 or not received.endswith(b"/2"):
            received += sock.recv(1000)
    assert [request.target for request in origin.requests] == ["/1", "/2"]
    assert parse_response(received).body == b"/1"


def test_open_connections_are_counted_and_ends_are_noticed(origin: Origin) -> None:
    socks = [connect(origin) for _ in range(3)]
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    origin.wait_for_requests(3)
    assert origin.open == 3
    for left, sock in zip((2, 1, 0), socks, strict=True):
        sock.close()
        origin.wait_until_open(left)
    with connect(origin) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        origin.wait_for_requests(4)
        with pytest.raises(AssertionError, match="1 open connections"):
            origin.wait_until_open(0, timeout=0.05)


def test_it_says_whatever_it_is_told_and_breaks_off(origin: Origin) -> None:
    get = b"GET / HTTP/1.1\r\n\r\n"
    origin.says(b"HTTP/1.1 103 x\r\n\r\n", answer(b"ok"))
    assert raw_request(origin.address, get).startswith(b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\n")
    origin.says(answer(b"ok")[:-1], close=True)
    assert raw_request(origin.address, get) == answer(b"ok")[:-1]
    origin.behave(lambda exchange: exchange.close(reset=True))
    with connect(origin) as sock:
        sock.sendall(get)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    origin.says(answer(chunked(b"a"), CHUNKED, length=False))
    assert parse_response(raw_request(origin.address, get)).body == b"a"


def test_a_body_may_be_left_unread(origin: Origin) -> None:
    read: list[bytes] = []

    def early(exchange: Exchange) -> None:
        exchange.send(answer(b"no", status=b"413 Content Too Large"))
        while len(b"".join(read)) < 6:
            read.append(exchange.read())
        exchange.close()

    origin.behave(early, reads_body=False)
    with connect(origin) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413")
        sock.sendall(b"def")
        assert sock.recv(1000) == b""
    assert b"".join(read) == b"abcdef"


def test_it_refuses_and_comes_back_at_the_same_address(origin: Origin) -> None:
    with connect(origin) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        origin.wait_for_requests(1)
        origin.refuse()
        origin.wait_until_open(0)
        with pytest.raises(ConnectionRefusedError):
            connect(origin)
    origin.heal()
    assert parse_response(raw_request(origin.address, b"GET /b HTTP/1.1\r\n\r\n")).body == b"/b"
