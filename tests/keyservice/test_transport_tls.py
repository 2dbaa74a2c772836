"""TLS on the way out: what is verified, with what, and that a deadline holds here too."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from apikey_guard.errors import TransportError
from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackCall, LoopbackKeyService, http_answer
from tests.harness.tls import Authority, tunnel

SHORT = 0.3
SLACK = 0.3


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.in_folder(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(authority: Authority) -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService(["KCANARY-good"], tls=authority.context("127.0.0.1", "localhost")) as service:
        yield service


def ask(server: LoopbackKeyService, **settings: object) -> bytes:
    transport = Transport(**{"timeout": 2.0, **settings})  # type: ignore[arg-type]  # a table of settings
    try:
        return transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-good"}').body
    finally:
        transport.close()


def cause_of(call: Callable[[], object]) -> str:
    with pytest.raises(TransportError) as caught:
        call()
    assert caught.value.__context__ is None
    return caught.value.cause


class TestVerification:
    def test_v13_a_certificate_of_the_given_authority_is_accepted(
        self, server: LoopbackKeyService, authority: Authority
    ) -> None:
        assert ask(server, ca=authority.file) == b'{"valid": true}'

    def test_v13_the_authority_may_be_in_a_directory(
        self, server: LoopbackKeyService, authority: Authority, tmp_path: Path
    ) -> None:
        # Only that a directory is read as one: its files have names made by openssl rehash.
        assert cause_of(lambda: ask(server, ca=str(tmp_path))) == "tls"

    def test_v13_a_certificate_that_nobody_trusts_is_refused_and_nothing_sent(
        self, server: LoopbackKeyService
    ) -> None:
        assert cause_of(lambda: ask(server)) == "tls"
        assert server.calls == 0

    def test_v13_a_certificate_for_another_host_is_refused(self, authority: Authority) -> None:
        with LoopbackKeyService(tls=authority.context("other.example")) as server:
            assert cause_of(lambda: ask(server, ca=authority.file)) == "tls"
            assert server.calls == 0

    def test_v13_an_old_tls_version_is_refused(self, authority: Authority) -> None:
        context = authority.context("127.0.0.1")
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with LoopbackKeyService(tls=context) as server:
            assert cause_of(lambda: ask(server, ca=authority.file)) in {"tls", "reset"}

    def test_v13_authorities_of_the_environment_are_not_obeyed(
        self, server: LoopbackKeyService, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, authority.file)
        assert cause_of(lambda: ask(server)) == "tls"

    def test_a_file_of_authorities_that_is_not_there_is_said(self, server: LoopbackKeyService) -> None:
        with pytest.raises(TransportError, match="file of authorities cannot be read"):
            ask(server, ca="/nowhere/ca.pem")

    def test_a_client_certificate_is_shown_where_one_is_given(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        context = authority.context("127.0.0.1")
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        ours = authority.ca.issue_cert("us@example.com")
        both, certificate, key = (str(tmp_path / name) for name in ("both.pem", "cert.pem", "key.pem"))
        ours.private_key_and_cert_chain_pem.write_to_path(both)
        ours.cert_chain_pems[0].write_to_path(certificate)
        ours.private_key_pem.write_to_path(key)
        with LoopbackKeyService(["KCANARY-good"], tls=context) as server:
            for given in (both, (certificate, key)):
                assert ask(server, ca=authority.file, client_cert=given) == b'{"valid": true}'
            assert cause_of(lambda: ask(server, ca=authority.file)) in {"tls", "reset"}
        with pytest.raises(TransportError, match="client certificate cannot be read"):
            ask(server, ca=authority.file, client_cert="/nowhere/us.pem")


BROKEN_TLS = {
    "plain text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "a record of nobody": b"\x17\x03\x03\x00\x20" + b"x" * 32,
}


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"], ids=["before", "amid"]
)
@pytest.mark.parametrize("sent", BROKEN_TLS.values(), ids=list(BROKEN_TLS))
def test_v14_tls_that_breaks_after_the_question_is_a_cut_answer_and_no_missing_connection(
    authority: Authority, sent: bytes, begun: bytes
) -> None:
    """What a key brings about says nothing about the way to the key service (threat V-14)."""

    def break_tls() -> None:
        plain, _ = listener.accept()
        with authority.context("127.0.0.1").wrap_socket(plain, server_side=True) as wrapped:
            received = b""
            while b"\r\n\r\n{" not in received:
                received += wrapped.recv(65_536)
            if begun:
                wrapped.sendall(begun)
            with socket.socket(fileno=wrapped.detach()) as bare, suppress(OSError):
                # Whoever has read enough is gone already.
                bare.sendall(sent)
                bare.shutdown(socket.SHUT_WR)
                while bare.recv(65_536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        breaking = threading.Thread(target=break_tls)
        breaking.start()
        transport = Transport(ca=authority.file)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert cause_of(lambda: transport.exchange("POST", url, {}, b"{}").body) == "reset"
        transport.close()
        breaking.join()


class TestDeadline:
    @pytest.mark.parametrize("skip", [0, -1], ids=["header", "body"])
    def test_v06_dripping_ends_with_the_deadline(
        self, server: LoopbackKeyService, authority: Authority, skip: int
    ) -> None:
        server.drip(0.02, skip=skip)
        start = time.monotonic()
        assert cause_of(lambda: ask(server, ca=authority.file, timeout=SHORT)) == "timeout"
        assert time.monotonic() - start < SHORT + SLACK

    def test_v06_a_handshake_that_nobody_answers_ends_with_the_deadline(self, authority: Authority) -> None:
        # It speaks no TLS, and waits for the end of what it takes for a request.
        with LoopbackKeyService() as server:
            server.url = server.url.replace("http:", "https:")
            start = time.monotonic()
            assert cause_of(lambda: ask(server, ca=authority.file, timeout=SHORT)) == "timeout"
            assert time.monotonic() - start < SHORT + SLACK


class TestConnections:
    def test_an_end_of_the_answer_that_tls_does_not_announce_is_one(
        self, server: LoopbackKeyService, authority: Authority
    ) -> None:
        # As servers of HTTP/1.0 made with the standard library end it.
        server.lie(b'HTTP/1.0 200 OK\r\n\r\n{"valid": true}', close=True)
        assert ask(server, ca=authority.file) == b'{"valid": true}'

    def test_a_connection_is_used_again(self, server: LoopbackKeyService, authority: Authority) -> None:
        transport = Transport(ca=authority.file)
        for _ in range(5):
            transport.exchange("POST", server.url, {}, b"{}")
        transport.close()
        assert server.connections == 1

    def test_v01_interim_answers_are_read_past(
        self, server: LoopbackKeyService, authority: Authority
    ) -> None:
        server.interim(103, pause=0.01)
        transport = Transport(ca=authority.file)
        bodies = {transport.exchange("POST", server.url, {}, b'{"key": "x"}').body for _ in range(5)}
        transport.close()
        assert bodies == {b'{"valid": false}'}
        assert server.connections == 1

    def test_v17_a_pooled_connection_that_turns_out_dead_is_replaced_once(
        self, server: LoopbackKeyService, authority: Authority
    ) -> None:
        seen: set[int] = set()

        def behave(call: LoopbackCall) -> None:
            if call.connection in seen:
                call.close()
            seen.add(call.connection)
            call.send(http_answer(200, b"fresh"))

        server.behave(behave)
        transport = Transport(ca=authority.file)
        assert [transport.exchange("GET", server.url, {}).body for _ in range(3)] == [b"fresh"] * 3
        transport.close()


OF_SOMEBODY_ELSE = http_answer(200, b"of somebody else")


def answered(body: bytes, *, size: int, chunks: bool) -> bytes:
    """An answer of that many bytes on the wire, as near as its framing allows, filled up with blanks."""
    if chunks:
        head, tail = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"\r\n0\r\n\r\n"
        body = body.ljust(size - len(head) - len(tail) - len(b"1f00\r\n"))
        return head + b"%x\r\n" % len(body) + body + tail
    body = body.ljust(size - len(http_answer(200, b"x" * size)) + size)
    return http_answer(200, body)


class TestAnswersOfOthers:
    """X-01, V-18: what lies behind an answer, decrypted or not, is never the answer to the next question."""

    # Read 8,192 bytes at a time, from records of 16,384 at most.
    @pytest.mark.parametrize("size", [100, 4_000, 8_191, 8_192, 8_193, 12_000, 16_200, 24_576])
    @pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunks"])
    @pytest.mark.parametrize("way", ["one record", "two records", "later"])
    def test_surplus_closes_the_connection(
        self, server: LoopbackKeyService, authority: Authority, size: int, chunks: bool, way: str
    ) -> None:
        first = answered(b"mine", size=size, chunks=chunks)
        read, sent = threading.Event(), threading.Event()

        def behave(call: LoopbackCall) -> None:
            if call.connection > 1:
                call.send(http_answer(200, b"mine"))
            elif way == "one record":
                call.send(first + OF_SOMEBODY_ELSE)
            else:
                call.send(first)
                if way == "later":
                    read.wait(5)
                call.send(OF_SOMEBODY_ELSE)
            sent.set()

        server.behave(behave)
        transport = Transport(ca=authority.file)
        assert transport.exchange("POST", server.url, {}, b"{}").body.rstrip() == b"mine"
        read.set()
        assert sent.wait(5)
        assert transport.exchange("POST", server.url, {}, b"{}").body == b"mine"
        transport.close()
        assert server.connections == 2

    def test_surplus_within_the_tls_of_a_proxy(
        self, server: LoopbackKeyService, authority: Authority
    ) -> None:
        first = answered(b"mine", size=8_192, chunks=False)
        server.behave(
            lambda call: call.send(
                first + OF_SOMEBODY_ELSE if call.connection == 1 else http_answer(200, b"mine")
            )
        )
        with tunnel(server.port, tls=authority.context("127.0.0.1")) as (proxy, _):
            transport = Transport(ca=authority.file, proxy=proxy)
            bodies = [transport.exchange("POST", server.url, {}, b"{}").body.rstrip() for _ in range(2)]
            transport.close()
        assert bodies == [b"mine", b"mine"]
