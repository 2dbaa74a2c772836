"""The harness itself: the watch must go off, and the servers must really run."""

from __future__ import annotations

import base64
import logging
import socket

import pytest

from apikey_guard.core.model import Allow, Consumer, Deny, Reason
from tests.conftest import StartServer
from tests.harness import (
    SERVERS,
    RawServer,
    Recorder,
    build_environ,
    call,
    find_canary,
    is_complete,
    parse_response,
    raw_request,
    raw_server,
)
from tests.harness.watch import BREACHES, watched_logs

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    "text",
    [
        "key=KCANARY-1",
        "secret SCANARY",
        "%4bCANARY %4b%43%41NARY",
        b"KCANARY".hex(),
        *(base64.b64encode(b"x" * shift + b"KCANARY-1").decode() for shift in range(3)),
        *(base64.b64encode(b"x" * shift + b"SCANARY-1").decode() for shift in range(3)),
    ],
)
def test_a_canary_is_found_in_every_form(text: str) -> None:
    assert find_canary(text)
    assert find_canary(text.encode())


def test_text_without_a_canary_is_left_alone() -> None:
    assert find_canary("a canary is a bird, 4b434142, S0NBTA==") is None


@pytest.mark.shows_canary("logs", reason="the watch must go off")
def test_the_log_watch_sees_arguments_extras_and_tracebacks() -> None:
    log = logging.getLogger("urllib3.connectionpool")
    with watched_logs() as leaks:
        log.debug("GET %s", "/?apikey=KCANARY-1")
        log.info("sent", extra={"sent_headers": {"apikey": "KCANARY-2"}})
        try:
            raise ValueError("KCANARY-3")
        except ValueError:
            log.exception("failed")
        log.debug("nothing to see")
    assert len(leaks) == 3


ALICE = Consumer(id="1", username="alice")
CROOKED = {
    "no decision": ({}, "without an Allow"),
    "denied": ({"apikey_guard.decision": Deny(Reason.INVALID_CREDENTIAL)}, "without an Allow"),
    "key in the query": (
        {"apikey_guard.decision": Allow(ALICE), "QUERY_STRING": "apikey=KCANARY"},
        "shown a key in ['QUERY_STRING']",
    ),
    "secret": ({"apikey_guard.decision": Allow(ALICE), "HTTP_X": "SCANARY"}, "secret"),
    "another id": (
        {"apikey_guard.decision": Allow(ALICE), "HTTP_X_CONSUMER_ID": "2"},
        "the app was shown HTTP_X_CONSUMER_ID='2'",
    ),
    "joined ids": (
        {"apikey_guard.decision": Allow(ALICE), "HTTP_X_CONSUMER_ID": "1,2"},
        "the app was shown HTTP_X_CONSUMER_ID='1,2'",
    ),
    "id without a consumer": (
        {"apikey_guard.decision": Allow(), "HTTP_X_CONSUMER_ID": "1"},
        "without a consumer",
    ),
    "another spelling": (
        {"apikey_guard.decision": Allow(ALICE), "HTTP_X-CONSUMER_ID": "1"},
        "another spelling",
    ),
}


@pytest.mark.parametrize(("extra", "complaint"), CROOKED.values(), ids=CROOKED)
def test_the_recorder_notes_a_breach_and_raises(extra: dict[str, object], complaint: str) -> None:
    with pytest.raises(AssertionError, match="the app was"):
        call(Recorder(), build_environ(extra=extra), lint=False)
    assert complaint in " ".join(BREACHES.take())


def test_the_recorder_lets_a_rightful_request_pass() -> None:
    app = Recorder(chunks=[b"a", b"b"])
    environ = build_environ(
        "/café",
        "POST",
        query="x=1",
        headers=[("X-Consumer-Username", "alice"), ("X", "1"), ("X", "2")],
        body=b"abc",
        extra={"apikey_guard.decision": Allow(ALICE)},
    )
    response = call(app, environ)
    assert (response.status, response.body, app.calls, app.closed) == (200, b"ab", 1, 1)
    assert app.last.body == b"abc"
    assert app.last.environ["PATH_INFO"] == "/caf\xc3\xa9"
    assert app.last.header("x") == "1,2"


def test_a_canary_in_an_answer_fails_the_call() -> None:
    app = Recorder(behind="nothing", chunks=[b"your key KCANARY-1"])
    with pytest.raises(AssertionError, match="a canary is in the answer"):
        call(app, build_environ())
    assert call(app, build_environ(), may_echo=True).status == 200


def test_the_recorder_raises_where_it_is_told_to() -> None:
    app = Recorder(behind="nothing", raises=KeyError("x"), raise_after=1, chunks=[b"a", b"b"])
    with pytest.raises(KeyError):
        call(app, build_environ())
    assert app.closed == 1


CUT = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
    (b"HTTP/1.1 103 Early Hints\r\n\r\n", False),
    (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
]


@pytest.mark.parametrize(("data", "complete"), CUT)
def test_an_answer_is_complete_when_its_framing_says_so(data: bytes, complete: bool) -> None:
    assert is_complete(data) is complete


def test_exact_bytes_travel_both_ways() -> None:
    answer = b"HTTP/1.1 299 Odd\r\nX: 1\r\nx: 2\r\nTransfer-Encoding: chunked\r\n\r\n2;e\r\nab\r\n0\r\n\r\n"

    def handle(server: RawServer, connection: socket.socket) -> None:
        assert server.read_request(connection) == b"GET  odd\r\nContent-Length: 2\r\n\r\n\r\n"
        connection.sendall(answer)

    with raw_server(handle) as server:
        received = raw_request(server.address, b"GET  odd\r\nContent-Length: 2\r\n\r\n\r\n")
    assert received == answer
    response = parse_response(received)
    assert (response.status, response.reason, response.body) == (299, "Odd", b"ab")
    assert response.all_headers("X") == ["1", "2"]
    assert server.connections == 1


@pytest.mark.parametrize("name", SERVERS)
def test_every_live_server_reaches_the_app_and_ends(name: str, shared_server: StartServer) -> None:
    server = shared_server(name, "tests.live.bare:app")
    server.forget()
    response = server.get("/a/b?c=d", {"X-Key": "e"})
    assert response.status == 200
    (seen,) = server.seen()
    assert (seen.environ["PATH_INFO"], seen.environ["QUERY_STRING"], seen.header("x-key")) == (
        "/a/b",
        "c=d",
        "e",
    )


def test_a_server_that_cannot_start_says_why(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        start_server("wsgiref", "tests.live.no_such_module:app")


WATCHED = {
    "log": 'import logging; logging.getLogger("urllib3").debug("%s", "K" + "CANARY")',
    "stdout": 'print("K" + "CANARY")',
    "stderr": 'import sys; print("S" + "CANARY", file=sys.stderr)',
    "breach": 'from tests.harness.watch import BREACHES; BREACHES.add("told")',
}


@pytest.mark.shows_canary("logs", "stdout", "stderr", reason="the watch must go off")
@pytest.mark.parametrize("statement", WATCHED.values(), ids=WATCHED)
def test_the_watch_fails_a_test_that_asserts_nothing_wrong(statement: str, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from tests.conftest import pytest_configure, pytest_runtest_makereport, watch\n")
    pytester.makepyfile(
        f"""
        import pytest

        def test_leaks():
            {statement}

        @pytest.mark.shows_canary("logs", "stdout", "stderr", reason="told to")
        def test_says_so():
            {statement}

        def test_calm():
            pass
        """
    )
    outcome = pytester.runpytest_inprocess("-p", "no:randomly").parseoutcomes()
    bad = outcome.get("failed", 0) + outcome.get("errors", 0)
    assert bad == (2 if "BREACHES" in statement else 1)
