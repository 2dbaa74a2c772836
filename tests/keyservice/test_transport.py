"""The way out, judged by what raw sockets see and by what comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from apikey_guard.errors import TransportError
from apikey_guard.keyservice.transport import Transport
from apikey_guard.testing import LoopbackCall, LoopbackKeyService, http_answer
from tests.harness.exchanges import SHORT, Fits, cause_of, get


@pytest.fixture
def server() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService() as service:
        yield service


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(timeout=SHORT)
    yield made
    made.close()


class TestWhatIsSent:
    def test_exactly_what_was_given_and_nothing_of_its_own_accord(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200, b"hi"))
        transport.exchange("POST", server.url + "?a=1", {"X-One": "1"}, b"body")
        assert server.requests == [
            b"POST /verify?a=1 HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"User-Agent: apikey-guard\r\n"
            b"Accept-Encoding: identity\r\n"
            b"X-One: 1\r\n"
            b"Content-Length: 4\r\n"
            b"\r\n"
            b"body" % server.port
        ]

    def test_x05_a_cookie_is_never_sent_again(self, server: LoopbackKeyService, transport: Transport) -> None:
        server.lie(http_answer(200, b"", ("Set-Cookie", "who=alice; Path=/")))
        get(transport, server)
        get(transport, server)
        assert not any(b"cookie" in request.lower() for request in server.requests)

    def test_v13_proxy_netrc_and_authorities_of_the_environment_are_not_obeyed(
        self,
        server: LoopbackKeyService,
        transport: Transport,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login trap password SCANARY-netrc\n")
        netrc.chmod(0o600)
        server.lie(http_answer(200))
        with LoopbackKeyService() as trap:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, trap.url)
            monkeypatch.setenv("NETRC", str(netrc))
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(netrc))
            transport.exchange("GET", server.url, {"Authorization": "Bearer ours"})
            assert trap.connections == 0
        assert b"Authorization: Bearer ours" in server.requests[0]
        assert b"Basic" not in server.requests[0]

    def test_an_explicit_proxy_is_used(self, server: LoopbackKeyService) -> None:
        server.lie(http_answer(200, b"by proxy"))
        transport = Transport(timeout=SHORT, proxy=f"http://who:SCANARY@127.0.0.1:{server.port}")
        answer = transport.exchange("GET", "http://keys.invalid/verify", {})
        transport.close()
        assert answer.body == b"by proxy"
        assert server.requests[0].startswith(b"GET http://keys.invalid/verify HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic d2hvOlNDQU5BUlk=" in server.requests[0]


class TestInterimAnswers:
    @pytest.mark.parametrize("pause", [0.0, 0.01], ids=["in one segment", "apart"])
    @pytest.mark.parametrize(
        "statuses",
        [(100,), (102,), (103,), (199,), (103, 103), (100, 103)],
        ids=lambda s: "+".join(map(str, s)),
    )
    def test_v01_interim_answers_are_read_past(
        self, server: LoopbackKeyService, transport: Transport, statuses: tuple[int, ...], pause: float
    ) -> None:
        server.keys["KCANARY-good"] = {}
        server.interim(*statuses, pause=pause)
        for _ in range(3):
            good = transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-good"}')
            bad = transport.exchange("POST", server.url, {}, b'{"key": "KCANARY-bad"}')
            assert (good.status, good.body) == (200, b'{"valid": true}')
            assert (bad.status, bad.body) == (200, b'{"valid": false}')
        assert server.connections == 1

    def test_v01_switching_protocols_is_a_failure_and_destroys_the_connection(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.interim(101)
        assert cause_of(lambda: get(transport, server)) == "interim"
        server.lie(http_answer(200))
        assert get(transport, server).status == 200
        assert server.connections == 2

    def test_v01_endless_interim_answers_are_a_failure(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.interim(*[103] * 50)
        assert cause_of(lambda: get(transport, server)) == "interim"

    def test_v01_an_interim_answer_and_then_silence_ends_with_the_deadline(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.interim(103, pause=30.0)
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"

    def test_v01_lines_that_end_otherwise_are_no_answer_and_not_waited_for(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")
        assert cause_of(lambda: get(transport, server)) == "content"

    def test_v01_an_interim_answer_and_then_the_end_is_a_failure(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n", close=True)
        assert cause_of(lambda: get(transport, server)) == "reset"

    def test_measured_requests_itself_takes_an_interim_answer_for_the_final_one(
        self, server: LoopbackKeyService
    ) -> None:
        # The reason for all of this; when it turns red, the standard library has changed.
        server.interim(103, pause=0.05)
        with requests.Session() as session:
            first = session.post(server.url, json={"key": "KCANARY-bad"}, timeout=2)
            first.close()
        assert first.status_code == 103

    def test_v18_an_answer_too_many_is_never_the_next_ones(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(http_answer(200, b"yours") + http_answer(200, b"nobody's"))
        assert [get(transport, server).body for _ in range(4)] == [b"yours"] * 4
        assert server.connections == 4


class TestDeadline:
    @pytest.mark.parametrize("skip", [0, 20, -1], ids=["status line", "header", "body"])
    def test_v06_dripping_ends_with_the_deadline(
        self, server: LoopbackKeyService, transport: Transport, skip: int
    ) -> None:
        server.drip(0.02, skip=skip)
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"

    def test_v06_dripping_chunks_end_with_the_deadline(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        def behave(call: LoopbackCall) -> None:
            call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(500):
                call.wait(0.02)
                call.send(b"1\r\nx\r\n")

        server.behave(behave)
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"

    def test_v06_silence_ends_with_the_deadline_and_the_connection_with_it(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.hang()
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"
        server.heal()
        server.lie(http_answer(200))
        assert get(transport, server).status == 200
        assert server.connections == 2

    def test_v06_a_header_and_then_silence_ends_with_the_deadline(
        self, server: LoopbackKeyService, transport: Transport
    ) -> None:
        server.lie(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        with Fits(SHORT):
            assert cause_of(lambda: get(transport, server)) == "timeout"

    def test_v06_a_request_that_nobody_reads_ends_with_the_deadline(self, transport: Transport) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, Fits(SHORT):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            assert cause_of(lambda: transport.exchange("POST", url, {}, b"x" * 20_000_000)) == "timeout"

    def test_v06_a_full_backlog_ends_with_the_deadline(
        self, transport: Transport, drops_packets: tuple[str, int]
    ) -> None:
        with Fits(SHORT):
            url = "http://{}:{}/".format(*drops_packets)
            assert cause_of(lambda: transport.exchange("GET", url, {})) == "timeout"

    def test_v06_addresses_that_drop_packets_leave_time_for_the_one_that_answers(
        self,
        server: LoopbackKeyService,
        monkeypatch: pytest.MonkeyPatch,
        drops_packets: tuple[str, int],
    ) -> None:
        server.lie(http_answer(200, b"third"))
        addresses = [drops_packets, drops_packets, ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        transport = Transport(timeout=0.6)
        with Fits(0.6):
            assert transport.exchange("GET", "http://keys.invalid/", {}).body == b"third"
        transport.close()

    def test_v06_slow_name_resolution_is_counted(
        self, server: LoopbackKeyService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # It cannot be interrupted: the exchange ends when it returns, and asks nobody then.
        real = socket.getaddrinfo
        resolver = threading.Event()

        def slow(*args: object, **kwargs: object) -> object:
            resolver.wait(0.2)
            return real(*args, **kwargs)  # type: ignore[arg-type]  # whatever it was called with

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        transport = Transport(timeout=0.1)
        assert cause_of(lambda: get(transport, server)) == "timeout"
        transport.close()
        assert server.calls == 0


class TestRedirects:
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
    def test_v05_a_redirect_is_an_answer_and_never_followed(
        self, server: LoopbackKeyService, transport: Transport, status: int
    ) -> None:
        with LoopbackKeyService() as elsewhere:
            server.redirect(elsewhere.url, status)
            answer = transport.exchange("GET", server.url, {"X-Service": "SCANARY"})
            assert elsewhere.connections == 0
        assert answer.status == status
        assert ("Location", elsewhere.url) in answer.headers

    @pytest.mark.parametrize("target", ["http://[", "//", "ftp://x", "http://" + "a" * 70 + ".com"])
    def test_v05_a_target_that_makes_no_sense_does_no_harm(
        self, server: LoopbackKeyService, transport: Transport, target: str
    ) -> None:
        server.redirect(target)
        assert get(transport, server).status == 302


class TestFaultsThatAreNoRequestException:
    @pytest.mark.parametrize(
        ("url", "headers", "cause"),
        [
            ("http://keys.invalid/", {}, "dns"),
            ("http://" + "a" * 70 + ".example/", {}, "dns"),
            ("http://a..example/", {}, "error"),
            ("http://127.0.0.1:99999/", {}, "error"),
            ("gopher://127.0.0.1/", {}, "error"),
            ("http://127.0.0.1:1/", {"X-Key": "KCANARY\u20ac"}, "error"),
            ("http://127.0.0.1:1/", {"X-Key": "KCANARY\r\nX: y"}, "error"),
        ],
        ids=["unknown name", "long label", "empty label", "port", "scheme", "not latin-1", "line break"],
    )
    def test_a01_each_becomes_one_error_without_any_value(
        self, transport: Transport, url: str, headers: dict[str, str], cause: str
    ) -> None:
        with pytest.raises(TransportError) as caught:
            transport.exchange("GET", url, headers)
        assert caught.value.cause in {cause, "connect", "dns"}
        assert "KCANARY" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.fixture
def drops_packets() -> Iterator[tuple[str, int]]:
    """An address where a connection is neither accepted nor refused: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        yield host, port
        for sock in waiting:
            sock.close()
