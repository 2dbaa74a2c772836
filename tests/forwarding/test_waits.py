"""Every wait has an end, whatever keeps coming meanwhile (D-10, X-12, X-20)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trustme

from apikey_guard.errors import CallerGone, OriginTimeout
from apikey_guard.http1.connection import PIECE_BYTES, Connection
from apikey_guard.http1.parser import MAX_HEAD_BYTES
from tests.forwarding.gateway import Gateway
from tests.harness.origin import Exchange, Origin, answer
from tests.harness.wire import PATIENCE_SECONDS

SHORT = 0.3


class Endless:
    """A body of which there is always more."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        self.read_bytes += size
        return b"x" * size


UPLOAD = {"CONTENT_LENGTH": str(1 << 40)}


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints", b"104 Upload Resumption Supported"])
def test_x12_no_interim_answer_cuts_an_upload(origin: Origin, status: bytes) -> None:
    size = 4_000_000

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 %b\r\nLink: </a>\r\n\r\n" % status)
        read = 0
        while read < size:
            piece = exchange.read()
            if not piece:
                return
            read += len(piece)
        exchange.send(answer(b"whole"))

    origin.behave(behave, reads_body=False)
    with Gateway(origin, origin_read_timeout=PATIENCE_SECONDS) as gateway:
        assert gateway.get("/", "POST", body=b"x" * size).body == b"whole"


def test_x12_an_interim_answer_without_an_end_is_not_taken_in_for_ever(origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\n")

        def talk() -> None:
            with suppress(OSError):  # the other side leaves
                while True:
                    exchange.send(b"Link: </%b>\r\n" % (b"a" * 1_000))

        talking = threading.Thread(target=talk)
        talking.start()
        while exchange.read():
            pass
        talking.join()

    origin.behave(behave, reads_body=False)
    body = Endless()
    with Gateway(origin, origin_read_timeout=PATIENCE_SECONDS) as gateway:
        extra = {**UPLOAD, "wsgi.input": body}
        assert gateway.outcome("/", "POST", extra=extra, lint=False) == (502, "origin_failed")
    assert body.read_bytes < 100 * (MAX_HEAD_BYTES + PIECE_BYTES)


def test_x20_interim_answers_do_not_make_up_for_an_upload_that_nobody_takes(origin: Origin) -> None:
    def behave(exchange: Exchange) -> None:
        while True:
            exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            exchange.pause(SHORT / 4)

    origin.behave(behave, reads_body=False)
    with Gateway(origin, origin_read_timeout=SHORT) as gateway:
        extra = {**UPLOAD, "wsgi.input": Endless()}
        started = time.monotonic()
        assert gateway.outcome("/", "POST", extra=extra, lint=False) == (504, "origin_timeout")
        assert time.monotonic() - started < SHORT * 6


@pytest.fixture
def secure() -> Iterator[tuple[Connection, ssl.MemoryBIO, ssl.SSLObject, socket.socket]]:
    """A connection over TLS, and the other side of it, whose records can be sent in parts."""
    authority = trustme.CA()
    server, caller = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(caller)
    here, there = socket.socketpair()
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaker = server.wrap_bio(coming, going, server_side=True)

    def shake_hands() -> None:
        while True:
            try:
                speaker.do_handshake()
            except ssl.SSLWantReadError:
                there.sendall(going.read())
                coming.write(there.recv(PIECE_BYTES))
            else:
                there.sendall(going.read())
                return

    shaking = threading.Thread(target=shake_hands)
    shaking.start()
    wrapped = caller.wrap_socket(here, server_hostname="127.0.0.1")
    shaking.join()
    with there:
        connection = Connection(wrapped, SHORT)
        yield connection, going, speaker, there
        connection.close()


def test_x20_a_record_of_tls_in_many_parts_is_no_end_of_waiting(
    secure: tuple[Connection, ssl.MemoryBIO, ssl.SSLObject, socket.socket],
) -> None:
    connection, going, speaker, there = secure
    speaker.write(answer(b"x" * 5_000))
    record = going.read()
    stop = threading.Event()

    def drip() -> None:
        for byte in record:
            if stop.wait(SHORT / 4):
                return
            there.sendall(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    started = time.monotonic()
    with pytest.raises(OriginTimeout):
        connection.read_head()
    assert time.monotonic() - started < SHORT * 4
    stop.set()
    dripping.join()


def test_x04_a_caller_whose_connection_was_closed_here_is_gone() -> None:
    here, there = socket.socketpair()
    caller, _other = socket.socketpair()
    connection = Connection(here, PATIENCE_SECONDS)
    with there, _other:
        connection.watch(caller.fileno())
        caller.close()
        with pytest.raises(CallerGone):
            connection.receive()
        connection.close()
