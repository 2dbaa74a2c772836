"""The remote key service over real sockets: what is asked, what is believed, what is logged."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from types import FrameType

import pytest

from apikey_guard.core.model import Consumer, Credential, Verdict
from apikey_guard.errors import KeyServiceUnavailable, RateLimited, SettingsError, VerificationError
from apikey_guard.keyservice import KeyService
from apikey_guard.keyservice.http import HttpKeyService
from apikey_guard.testing import LoopbackKeyService, ManualClock, http_answer, json_answer
from tests.harness.watch import find_canary

GOOD = Credential("KCANARY-good")
BAD = Credential("KCANARY-bad")
OURS = {"Authorization": "Bearer SCANARY-ours"}
SHORT = 0.3
SLACK = 0.3


@pytest.fixture
def server() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService({GOOD.value: {"consumer": {"id": "42"}}}) as service:
        yield service


@pytest.fixture
def service(server: LoopbackKeyService) -> Iterator[HttpKeyService]:
    with closing(HttpKeyService(server.url, headers=OURS, timeout=SHORT)) as made:
        yield made


def cause_of(service: KeyService, credential: Credential = GOOD) -> str:
    with pytest.raises(KeyServiceUnavailable) as caught:
        service.verify(credential)
    return caught.value.cause


class TestVerdicts:
    def test_valid_invalid_and_our_own_credentials(
        self, server: LoopbackKeyService, service: HttpKeyService
    ) -> None:
        assert service.verify(GOOD) == Verdict(valid=True, consumer=Consumer(id="42"))
        assert service.verify(BAD) == Verdict.invalid()
        assert all(b"Authorization: Bearer SCANARY-ours\r\n" in request for request in server.requests)

    @pytest.mark.parametrize(
        "key", ["..", ".", "../../admin", "%2e%2e", "a?valid=1", "a#b", "@evil", "//evil"]
    )
    @pytest.mark.parametrize("protocol", ["json", "status", "introspection", "unkey"])
    def test_v08_the_address_is_the_same_whatever_the_key_is(
        self, server: LoopbackKeyService, key: str, protocol: str
    ) -> None:
        server.status(500)
        with closing(HttpKeyService(server.url, protocol=protocol)) as service:
            cause_of(service, Credential(key))
        method = b"GET" if protocol == "status" else b"POST"
        assert server.requests[0].startswith(method + b" /verify HTTP/1.1\r\n")

    def test_the_credential_wins_over_a_header_of_the_same_name(self, server: LoopbackKeyService) -> None:
        server.status(200)
        ours = {"APIKEY": "SCANARY"}
        with closing(HttpKeyService(server.url, protocol="status", headers=ours)) as service:
            service.verify(GOOD)
        assert server.requests[0].lower().count(b"apikey:") == 1
        assert b"apikey: KCANARY-good\r\n" in server.requests[0]

    def test_v09_a_credential_ends_by_the_clock_that_was_given(self, server: LoopbackKeyService) -> None:
        clock = ManualClock(wall=1_800_000_000.0)
        server.keys[GOOD.value] = {"expires_at": "2027-01-15T08:00:01Z"}
        with closing(HttpKeyService(server.url, time_source=clock.time)) as service:
            assert service.verify(GOOD).valid
            clock.advance(1.0)
            assert not service.verify(GOOD).valid

    @pytest.mark.parametrize(
        ("protocol", "obeyed", "ttl"),
        [("json", None, None), ("json", True, 5.0), ("status", None, 5.0), ("status", False, None)],
    )
    def test_cache_control_is_obeyed_where_switched_on(
        self, server: LoopbackKeyService, protocol: str, obeyed: bool | None, ttl: float | None
    ) -> None:
        headers = (("Content-Type", "application/json"), ("Cache-Control", "max-age=5"))
        server.lie(http_answer(200, b'{"valid": true}', *headers))
        with closing(HttpKeyService(server.url, protocol=protocol, cache_control=obeyed)) as service:
            assert service.verify(GOOD).ttl == ttl

    @pytest.mark.parametrize("pause", [0.0, 0.005], ids=["in one segment", "apart"])
    def test_v01_good_and_bad_in_turn_50_times_on_one_connection(
        self, server: LoopbackKeyService, service: HttpKeyService, pause: float
    ) -> None:
        server.interim(103, pause=pause)
        verdicts = [service.verify(credential).valid for _ in range(50) for credential in (GOOD, BAD)]
        assert verdicts == [True, False] * 50
        assert server.connections == 1

    def test_v17_100_keys_while_each_connection_is_closed_unannounced(
        self, server: LoopbackKeyService, service: HttpKeyService
    ) -> None:
        server.cut(after=None)
        assert all(service.verify(GOOD).valid for _ in range(100))


FAULTS: list[tuple[str, Callable[[LoopbackKeyService], None], str]] = [
    ("refuses connections", lambda server: server.refuse(), "connect"),
    ("hangs", lambda server: server.hang(), "timeout"),
    ("drips a byte each 80 ms", lambda server: server.drip(0.08), "timeout"),
    ("drips the body", lambda server: server.drip(0.08, skip=-1), "timeout"),
    ("closes without a word", lambda server: server.cut(0), "reset"),
    ("closes inside the body", lambda server: server.cut(-1), "reset"),
    ("resets", lambda server: server.reset(), "reset"),
    ("redirects", lambda server: server.redirect("http://other.invalid/"), "redirect"),
    ("answers HTML 200", lambda server: server.html200(), "content"),
    ("answers 200 without a body", lambda server: server.status(200), "content"),
    ("repeats the key", lambda server: server.status(200, {"valid": GOOD.value}), "content"),
    ("refuses us", lambda server: server.status(401), "refused_us"),
    ("forbids us", lambda server: server.status(403, {"error": "no"}), "refused_us"),
    ("has an error", lambda server: server.status(500), "status"),
    ("is overloaded", lambda server: server.status(503, {"valid": False}), "status"),
    ("switches protocols", lambda server: server.interim(101), "interim"),
    ("answers too much", lambda server: server.lie(http_answer(200, b" " * 70_000)), "too_large"),
    ("speaks no HTTP", lambda server: server.lie(b"\x16\x03\x01\x02\x00\r\n", close=True), "content"),
]


class TestUnavailable:
    @pytest.mark.parametrize(
        ("break_it", "cause"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
    )
    def test_v02_each_fault_is_unavailable_in_time_and_over_when_it_is_over(
        self,
        server: LoopbackKeyService,
        service: HttpKeyService,
        break_it: Callable[[LoopbackKeyService], None],
        cause: str,
    ) -> None:
        break_it(server)
        for credential in (GOOD, BAD):
            start = time.monotonic()
            assert cause_of(service, credential) == cause
            assert time.monotonic() - start < SHORT + SLACK
        server.heal()
        assert service.verify(GOOD).valid
        assert not service.verify(BAD).valid

    def test_a_rate_limit_is_told_apart(self, server: LoopbackKeyService, service: HttpKeyService) -> None:
        server.status(429, {"reason": "rate_limited", "retry_after": 9})
        with pytest.raises(RateLimited) as caught:
            service.verify(GOOD)
        assert caught.value.retry_after == 9.0

    def test_v05_a_redirect_takes_neither_key_nor_credentials_elsewhere(
        self, server: LoopbackKeyService, service: HttpKeyService, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        with LoopbackKeyService() as elsewhere:
            server.redirect(f"http://localhost:{elsewhere.port}/a?key={GOOD.value}")
            assert cause_of(service) == "redirect"
            assert cause_of(service) == "redirect"
            assert elsewhere.connections == 0
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "to host localhost," in record.getMessage()

    @pytest.mark.parametrize(
        "target", ["http://a\tb/", "http://[", "http://\x9b31mred/", "/relative", "", "http://" + "a" * 300]
    )
    def test_k08_a_target_cannot_forge_a_log_line(
        self,
        server: LoopbackKeyService,
        service: HttpKeyService,
        caplog: pytest.LogCaptureFixture,
        target: str,
    ) -> None:
        caplog.set_level(logging.WARNING)
        server.redirect(target)
        assert cause_of(service) == "redirect"
        assert caplog.records[0].getMessage().isprintable()
        assert len(caplog.records[0].getMessage()) < 400

    def test_k08_an_answer_with_a_control_character_is_none(
        self, server: LoopbackKeyService, service: HttpKeyService, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.redirect("http://\x1b[31mred/")
        assert cause_of(service) == "content"
        assert caplog.records == []

    def test_v03_a_refusal_of_our_own_credentials_is_an_error_in_the_log_once(
        self, server: LoopbackKeyService, service: HttpKeyService, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        server.status(401)
        for _ in range(5):
            assert cause_of(service) == "refused_us"
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert "refuses our own credentials" in record.getMessage()


class TestSecrets:
    @pytest.mark.parametrize("break_it", [row[1] for row in FAULTS], ids=[row[0] for row in FAULTS])
    def test_k01_no_error_holds_a_key_or_our_credentials(
        self,
        server: LoopbackKeyService,
        service: HttpKeyService,
        break_it: Callable[[LoopbackKeyService], None],
    ) -> None:
        break_it(server)
        with pytest.raises(VerificationError) as caught:
            service.verify(GOOD)
        error = caught.value
        assert error.__cause__ is None
        assert error.__context__ is None
        texts = [str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))]
        texts += [repr(frame.f_locals) for frame in frames_of(error)]
        assert [find_canary(text) for text in texts] == [None] * len(texts)

    def test_k01_no_repr_holds_our_credentials(self, service: HttpKeyService) -> None:
        assert find_canary(repr(service)) is None
        assert "127.0.0.1" in repr(service)


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """The frames of the library that an error report would show with their local variables."""
    trace = error.__traceback__
    while trace is not None:
        if "apikey_guard" in trace.tb_frame.f_globals["__name__"]:
            yield trace.tb_frame
        trace = trace.tb_next


class TestProcesses:
    def test_no_socket_before_the_first_question(self, server: LoopbackKeyService) -> None:
        HttpKeyService(server.url).close()
        assert server.connections == 0

    def test_closing_twice_and_asking_then(self, server: LoopbackKeyService, service: HttpKeyService) -> None:
        assert service.verify(GOOD).valid
        service.close()
        service.close()
        server.wait_for_connections(0)
        assert cause_of(service) == "error"

    # The server's own threads stay behind in the parent, which serves both.
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_c01_a_forked_child_asks_on_connections_of_its_own(self, server: LoopbackKeyService) -> None:
        server.keys = {f"KCANARY-{number}": {"consumer": {"id": number}} for number in range(50)}
        with closing(HttpKeyService(server.url, timeout=5.0)) as service:
            assert service.verify(Credential("KCANARY-0")).valid
            children = [self.child(service) for _ in range(2)]
            assert ask_all(service)
            for child in children:
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 0
        assert server.connections == 3

    @staticmethod
    def child(service: HttpKeyService) -> int:
        pid = os.fork()
        if pid == 0:
            right = False
            try:
                right = ask_all(service)
            finally:
                os._exit(0 if right else 1)
        return pid


def ask_all(service: HttpKeyService) -> bool:
    """Whether each of 50 keys gets its own consumer."""
    for number in range(50):
        verdict = service.verify(Credential(f"KCANARY-{number}"))
        if verdict.consumer is None or verdict.consumer.id != str(number):
            return False
    return True


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("http://keys.example.com/verify", "https, unless allow_http"),
            ("https://who:SCANARY@keys.example.com/verify", "must not hold a password"),
            ("ftp://keys.example.com/", "must be like https://"),
            ("keys.internal", "must be like https://"),
            ("https:///verify", "must be like https://"),
            ("https://keys.example.com:99999/", "cannot be read"),
            ("https://[::1/", "cannot be read"),
        ],
    )
    def test_v13_a_url_that_cannot_be_used_is_refused_at_once(self, url: str, words: str) -> None:
        with pytest.raises(SettingsError, match=words) as caught:
            HttpKeyService(url)
        assert url not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["http://localhost/", "http://127.0.0.2:80/", "http://[::1]/", "https://keys.example.com"]
    )
    def test_v13_plain_http_is_for_this_machine(self, url: str) -> None:
        HttpKeyService(url).close()

    def test_v13_plain_http_elsewhere_may_be_allowed(self) -> None:
        HttpKeyService("http://keys.internal/verify", allow_http=True).close()

    def test_an_unknown_protocol_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="json, status, introspection, unkey"):
            HttpKeyService("https://keys.example.com", protocol="soap")

    def test_the_answer_of_a_plain_table(self, server: LoopbackKeyService) -> None:
        server.lie(json_answer({"data": {"valid": True, "code": "VALID", "keyId": "key_1"}}))
        with closing(HttpKeyService(server.url, protocol="unkey")) as service:
            assert service.verify(GOOD).credential_id == "key_1"
