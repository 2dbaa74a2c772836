"""How much is read, and what is not read as an answer at all."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackKeyService, http_answer
from tests.harness.exchanges import SHORT, cause_of, flood, get


@pytest.fixture
def server() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService() as service:
        yield service


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(timeout=SHORT)
    yield made
    made.close()


class TestSize:
    def test_v07_a_body_up_to_the_limit_is_read(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200, b"x" * 65_536))
        assert len(get(transport, server).body) == 65_536

    @pytest.mark.parametrize(
        "head",
        [
            b"Content-Length: 65537\r\n\r\n",
            b"Content-Length: 10000000000\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Connection: close\r\n\r\n",
        ],
        ids=["length, one too many", "length, 10 GB", "chunked, endless", "until closed, endless"],
    )
    def test_v07_a_body_beyond_the_limit_is_not_read(
        self, server: LoopbackKeyService, transport: Transport, head: bytes
    ) -> None:
        sent = flood(server, b"HTTP/1.1 200 OK\r\n" + head, b"2000\r\n" + b"x" * 8192 + b"\r\n")
        assert cause_of(lambda: get(transport, server)) == "too_large"
        assert sent() < 20_000_000

    def test_v07_the_body_of_a_redirect_is_not_read(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        head = b"HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 10000000000\r\n\r\n"
        sent = flood(server, head, b"x" * 8192)
        assert get(transport, server).status == 302
        assert sent() < 20_000_000

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 99 + b"X-Long: " + b"y" * 65_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n",
            b"HTTP/1.1 103 E\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        ],
        ids=["bytes", "lines", "status line", "interim"],
    )
    def test_v07_a_header_beyond_all_measure_is_a_failure(
        self, server: LoopbackKeyService, transport: Transport, head: bytes
    ) -> None:
        server.lie(head)
        assert cause_of(lambda: get(transport, server)) in {"too_large", "content"}

    @pytest.mark.parametrize(
        ("start", "then", "cause"),
        [
            (b"-1\r\n", b"x" * 65_536, "content"),
            (b"-5\r\n", b"x" * 65_536, "content"),
            (b"0\r\n", b"X: " + b"y" * 8000 + b"\r\n", "too_large"),
            (b"", b"1;" + b"y" * 8000 + b"\r\nx\r\n", "too_large"),
        ],
        ids=["chunk of -1", "chunk of -5", "endless trailer", "huge chunk extensions"],
    )
    def test_v07_chunks_cannot_fill_the_memory(
        self, server: LoopbackKeyService, start: bytes, then: bytes, cause: str
    ) -> None:
        sent = flood(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + start, then)
        transport = Transport(timeout=5.0)
        tracemalloc.start()
        try:
            assert cause_of(lambda: get(transport, server)) == cause
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            transport.close()
        assert peak < 10_000_000
        assert sent() < 20_000_000

    @pytest.mark.parametrize("coding", ["gzip", "br", "identity", "gzip, gzip, gzip, gzip"])
    def test_v07_a_coded_body_is_a_failure(
        self, server: LoopbackKeyService, transport: Transport, coding: str
    ) -> None:
        server.lie(http_answer(200, b"\x1f\x8b", ("Content-Encoding", coding)))
        assert cause_of(lambda: get(transport, server)) == "content"


class TestFraming:
    @pytest.mark.parametrize(
        "head",
        [
            "Content-Length: 2\r\nTransfer-Encoding: chunked",
            "Content-Length: 2\r\nContent-Length: 2",
            "Content-Length: 2\r\nContent-Length: 3",
            "Content-Length: 2, 2",
            "Content-Length: -2",
            "Content-Length: +2",
            "Content-Length: 0x2",
            "Content-Length: ",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "No colon here\r\nContent-Length: 2",
            " folded: first\r\nContent-Length: 2",
        ],
    )
    def test_x02_an_answer_whose_end_is_in_doubt_is_refused(
        self, server: LoopbackKeyService, transport: Transport, head: str
    ) -> None:
        server.lie(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\nhi".encode(), close=True)
        assert cause_of(lambda: get(transport, server)) == "content"

    @pytest.mark.parametrize(
        "raw",
        [
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 099 Low\r\n\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"\x00" * 100 + b"\r\n",
        ],
        ids=["1.0 with chunks", "2.0", "no status", "status 099", "ssh", "binary"],
    )
    def test_v04_what_is_not_http_is_refused(
        self, server: LoopbackKeyService, transport: Transport, raw: bytes
    ) -> None:
        server.lie(raw, close=True)
        assert cause_of(lambda: get(transport, server)) == "content"

    @pytest.mark.parametrize(
        "raw",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        ],
        ids=["length", "inside a chunk", "between chunks"],
    )
    def test_x03_a_cut_body_is_a_failure(
        self, server: LoopbackKeyService, transport: Transport, raw: bytes
    ) -> None:
        server.lie(raw, close=True)
        assert cause_of(lambda: get(transport, server)) == "reset"

    def test_headers_keep_their_order_and_their_repetition(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200, b"", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))
        answer = get(transport, server)
        assert answer.headers == (("Content-Length", "0"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))

    def test_slices_of_one_byte_are_put_together(self, server: LoopbackKeyService) -> None:
        server.keys["KCANARY-good"] = {}
        server.drip(0.0)
        transport = Transport(timeout=5.0)
        answer = transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-good"}')
        transport.close()
        assert answer.body == b'{"valid": true}'
