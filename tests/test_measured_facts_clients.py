"""S-08: what requests, urllib3, http.client, json and re do, measured again on what is installed.

The guard's way out is built around these facts. A test that fails here means that a library has
changed: see whether the guard still needs what it does about it, then change the test. None of
them tests the guard.
"""

from __future__ import annotations

import hmac
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import LocationParseError

from tests.harness import RawServer, raw_server

Handle = Callable[[RawServer, socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        # Proxies and netrc of whoever runs the tests are not the point, except where they are.
        session.trust_env = False
        yield session


def answering(*answers: bytes) -> Handle:
    """Read a request before each answer, then close."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        for answer in answers:
            if not server.read_request(connection):
                return
            connection.sendall(answer)

    return handle


def always(answer: bytes) -> Handle:
    """The same answer to every request on a connection."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        while server.read_request(connection):
            connection.sendall(answer)

    return handle


def first_line(server: RawServer) -> bytes:
    return server.requests[0].partition(b"\r\n")[0]


# Interim answers (V-01, X-01)


def late_answers(status: int) -> Handle:
    """An interim answer at once; the final one only after the next request has come."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        asked = server.read_request(connection).split()[1]
        while asked:
            connection.sendall(f"HTTP/1.1 {status} Interim\r\n\r\n".encode())
            words = server.read_request(connection).split()
            body = b"private for " + asked
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            asked = words[1] if words else b""

    return handle


@pytest.mark.parametrize("request_headers", [{}, {"Connection": "close"}], ids=["plain", "asking to close"])
@pytest.mark.parametrize("status", [101, 102, 103, 199])
def test_v01_interim_answers_other_than_100_give_the_next_caller_the_previous_answer(
    session: requests.Session, status: int, request_headers: dict[str, str]
) -> None:
    with raw_server(late_answers(status)) as server:
        alice = session.get(f"{server.url}/alice", headers=request_headers, timeout=5)
        bob = session.get(f"{server.url}/bob", headers=request_headers, timeout=5)
    assert (alice.status_code, alice.content) == (status, b"")
    assert (bob.status_code, bob.content) == (200, b"private for /alice")
    assert server.connections == 1


def test_v01_100_continue_is_read_past(session: requests.Session) -> None:
    with raw_server(always(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as server:
        assert session.get(server.url, timeout=5).content == b"ok"


# Processes (C-01)

FORK = """
import os, sys, warnings
import requests

warnings.simplefilter("ignore", DeprecationWarning)
session = requests.Session()
session.trust_env = False
session.get(sys.argv[1] + "/before", timeout=5)
child = os.fork()
if child == 0:
    session.get(sys.argv[1] + "/child", timeout=5)
    os._exit(0)
os.waitpid(child, 0)
session.get(sys.argv[1] + "/parent", timeout=5)
"""


def test_c01_a_session_opened_before_a_fork_is_one_connection_for_both() -> None:
    with raw_server(always(OK)) as server:
        subprocess.run([sys.executable, "-c", FORK, server.url], check=True, timeout=30)
        assert [request.split()[1] for request in server.requests] == [b"/before", b"/child", b"/parent"]
        assert server.connections == 1


# What is sent (V-08, P-03, D-05)

SENT = {
    "key ..": (f"/v1/keys/{quote('..', safe='')}", b"GET /v1/ HTTP/1.1"),
    "key .": (f"/v1/keys/{quote('.', safe='')}", b"GET /v1/keys/ HTTP/1.1"),
    "encoded dots": ("/a/%2e%2e/b", b"GET /a/../b HTTP/1.1"),
    "dots": ("/a/../b", b"GET /b HTTP/1.1"),
    "tilde": ("/%7E", b"GET /~ HTTP/1.1"),
    "a bad escape": ("/%zz", b"GET /%25zz HTTP/1.1"),
    "a backslash": ("/a\\b", b"GET /a%5Cb HTTP/1.1"),
    "an encoded slash": ("/a%2Fb", b"GET /a%2Fb HTTP/1.1"),
    "an encoded letter": ("/a%41", b"GET /aA HTTP/1.1"),
}


@pytest.mark.parametrize(("path", "line"), SENT.values(), ids=SENT)
def test_p03_v08_paths_change_on_their_way_out(session: requests.Session, path: str, line: bytes) -> None:
    with raw_server(always(OK)) as server:
        session.get(server.url + path, timeout=5)
    assert first_line(server) == line


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb", " a", "\xa0a"], ids=repr)
def test_d05_some_header_values_are_refused(session: requests.Session, value: str) -> None:
    with raw_server(always(OK)) as server:
        with pytest.raises(requests.exceptions.InvalidHeader):
            session.get(server.url, headers={"X-Key": value}, timeout=5)
        assert server.requests == []


@pytest.mark.parametrize("value", ["a\0b", "a ", "a\xa0"], ids=repr)
def test_d05_others_are_sent_as_they_are(session: requests.Session, value: str) -> None:
    with raw_server(always(OK)) as server:
        session.get(server.url, headers={"X-Key": value}, timeout=5)
    assert b"X-Key: " + value.encode("latin-1") + b"\r\n" in server.requests[0]


def test_x02_an_iterator_with_a_length_is_sent_with_both_framings(session: requests.Session) -> None:
    with raw_server(always(OK)) as server:
        session.post(server.url, data=iter([b"abc"]), headers={"Content-Length": "3"}, timeout=5)
    assert b"Content-Length: 3\r\n" in server.requests[0]
    assert b"Transfer-Encoding: chunked\r\n" in server.requests[0]


# Time (V-06)


def dripping(still: bytes, dripped: bytes) -> Handle:
    def handle(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(still)
        server.drip(connection, dripped, every=0.02)

    return handle


DRIPS = {
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", b"twelve bytes"),
    "headers": dripping(b"HTTP/1.1 200 OK\r\n", b"A: twelve b\r\n\r\n"),
}


@pytest.mark.parametrize("handle", DRIPS.values(), ids=DRIPS)
def test_v06_a_timeout_is_per_read_and_dripping_outlives_it(
    session: requests.Session, handle: Handle
) -> None:
    # Twelve pauses of 0.02 s and more are longer than 0.2 s, and no single one is.
    with raw_server(handle) as server:
        response = session.get(server.url, timeout=0.2)
    assert response.status_code == 200
    assert (response.headers.get("A"), response.content) in [(None, b"twelve bytes"), ("twelve b", b"")]


# Redirects, cookies, netrc (V-05, X-05)


def test_v05_a_redirect_takes_own_headers_to_the_other_host(session: requests.Session) -> None:
    with raw_server(always(OK)) as other:
        there = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        with raw_server(always(there.encode())) as server:
            session.get(server.url, headers={"Authorization": "Bearer 1", "X-Service-Token": "2"}, timeout=5)
        assert b"Authorization" in server.requests[0]
        assert b"Authorization" not in other.requests[0]
        assert b"X-Service-Token: 2" in other.requests[0]


def test_x05_a_session_sends_on_the_cookies_of_the_previous_answer(session: requests.Session) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=alice\r\nContent-Length: 0\r\n\r\n"
    with raw_server(always(answer)) as server:
        session.get(server.url, timeout=5)
        session.get(server.url, timeout=5)
    assert b"Cookie: sid=alice" in server.requests[1]


def test_x05_netrc_replaces_an_authorization_that_was_given(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "*")
    with raw_server(always(OK)) as server:
        session.trust_env = True
        session.get(server.url, headers={"Authorization": "Bearer given"}, timeout=5)
        session.trust_env = False
        session.get(server.url, headers={"Authorization": "Bearer given"}, timeout=5)
    assert b"Authorization: Basic" in server.requests[0]
    assert b"Authorization: Bearer given" in server.requests[1]


def test_x09_cookies_are_folded_into_one_header_but_not_in_the_raw_answer(
    session: requests.Session,
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    with raw_server(always(answer)) as server:
        response = session.get(server.url, timeout=5)
    assert response.headers["Set-Cookie"] == "a=1, b=2"
    assert response.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]


# What is raised


def get_long_label(session: requests.Session, server: RawServer) -> None:
    session.get(f"http://{'a' * 64}.example/", timeout=5)


def get_empty_label(session: requests.Session, server: RawServer) -> None:
    session.get("http://a..example/", timeout=5)


def get_with_header(session: requests.Session, server: RawServer) -> None:
    session.get(server.url, headers={"X-Key": "\u2713"}, timeout=5)


def get_redirect(session: requests.Session, server: RawServer) -> None:
    session.get(f"{server.url}/redirect", timeout=5)


def get_deep(session: requests.Session, server: RawServer) -> None:
    session.get(f"{server.url}/deep", timeout=5).json()


def get_long_number(session: requests.Session, server: RawServer) -> None:
    session.get(f"{server.url}/long", timeout=5).json()


STRANGE_BODIES = {b"/deep": b"[" * 100_000, b"/long": b'{"ttl":' + b"1" * 5000 + b"}"}


def strange(server: RawServer, connection: socket.socket) -> None:
    while request := server.read_request(connection):
        path = request.split()[1]
        if path == b"/redirect":
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\nContent-Length: 0\r\n\r\n")
            continue
        body = STRANGE_BODIES[path]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


RAISED = {
    "a long host label": (get_long_label, LocationParseError),
    "an empty host label": (get_empty_label, LocationParseError),
    "a header beyond latin-1": (get_with_header, UnicodeEncodeError),
    "a bad redirect target": (get_redirect, ValueError),
    "deep JSON": (get_deep, RecursionError),
    "a number of 5000 digits": (get_long_number, ValueError),
}


@pytest.mark.parametrize(("act", "error"), RAISED.values(), ids=RAISED)
def test_a01_not_everything_that_is_raised_is_a_request_exception(
    session: requests.Session,
    act: Callable[[requests.Session, RawServer], None],
    error: type[Exception],
) -> None:
    with raw_server(strange) as server, pytest.raises(error) as raised:
        act(session, server)
    assert not isinstance(raised.value, requests.RequestException)


def test_a01_request_exceptions_are_os_errors() -> None:
    # A server takes an OSError from an app for a caller who has left, and answers nothing.
    assert issubclass(requests.RequestException, OSError)


# Framing of what is received


def test_x02_different_lengths_are_refused(session: requests.Session) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"
    with raw_server(answering(answer)) as server, pytest.raises(requests.exceptions.InvalidHeader):
        session.get(server.url, timeout=5)


ACCEPTED = {
    "both framings": b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\nok",
    "bare line feeds": b"A: b\nContent-Length: 2\n\nok",
}


@pytest.mark.parametrize("rest", ACCEPTED.values(), ids=ACCEPTED)
def test_x02_odd_framing_is_accepted(session: requests.Session, rest: bytes) -> None:
    with raw_server(answering(b"HTTP/1.1 200 OK\r\n" + rest)) as server:
        assert session.get(server.url, timeout=5).content == b"ok"


def test_x08_a_carriage_return_in_a_value_starts_a_new_header(session: requests.Session) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: sid=evil\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answering(answer)) as server:
        response = session.get(server.url, timeout=5)
    assert (response.headers["X"], response.headers["Set-Cookie"]) == ("a", "sid=evil")


CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


def read_all(response: requests.Response) -> None:
    response.raw.read()


def read_pieces(response: requests.Response) -> None:
    while response.raw.read1(64):
        pass


def read_stream(response: requests.Response) -> None:
    for _ in response.raw.stream(64):
        pass


def read_content(response: requests.Response) -> None:
    for _ in response.iter_content(64):
        pass


@pytest.mark.parametrize("read", [read_all, read_pieces, read_stream, read_content])
@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
def test_x03_an_answer_that_is_cut_raises_however_it_is_read(
    session: requests.Session, answer: bytes, read: Callable[[requests.Response], None]
) -> None:
    with raw_server(answering(answer)) as server:
        response = session.get(server.url, stream=True, timeout=5)
        with pytest.raises(Exception, match=r"IncompleteRead|InvalidChunkLength|prematurely"):
            read(response)
        response.close()


def test_x10_iter_content_decodes_and_the_raw_stream_does_not(session: requests.Session) -> None:
    import gzip

    packed = gzip.compress(b"x" * 100)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    with raw_server(always(answer % (len(packed), packed))) as server:
        with session.get(server.url, stream=True, timeout=5) as response:
            assert b"".join(response.iter_content(64)) == b"x" * 100
        with session.get(server.url, stream=True, timeout=5) as response:
            assert response.raw.read(decode_content=False) == packed


# Python itself (V-04, D-05, A-09, A-11)

READ_AS = {
    "the last of duplicate members": ('{"valid": false, "valid": true}', {"valid": True}),
    "a number beyond all": ("1e999", float("inf")),
    "a list": ("[1]", [1]),
    "a text": ('"true"', "true"),
    "null": ("null", None),
}


@pytest.mark.parametrize(("text", "value"), READ_AS.values(), ids=READ_AS)
def test_v04_json_takes_more_than_an_answer_may_be(text: str, value: object) -> None:
    assert json.loads(text) == value


def test_v04_json_takes_nan() -> None:
    value = json.loads("NaN")
    assert value != value


def test_d05_a_dollar_lets_a_final_line_feed_pass() -> None:
    assert re.match(r"^[A-Za-z0-9]+$", "abc\n")
    assert not re.fullmatch(r"[A-Za-z0-9]+", "abc\n")


def test_a11_strip_takes_away_more_than_spaces() -> None:
    assert "\x1ck\x85\xa0".strip() == "k"


def test_a09_compare_digest_refuses_text_beyond_ascii() -> None:
    with pytest.raises(TypeError):
        hmac.compare_digest("k\xe9", "k\xe9")
    assert hmac.compare_digest("k\xe9".encode(), "k\xe9".encode())


def test_x05_a_cookie_policy_that_allows_no_domain_stops_the_jar(session: requests.Session) -> None:
    from http.cookiejar import DefaultCookiePolicy

    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("http://", HTTPAdapter(pool_maxsize=1))
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=alice\r\nContent-Length: 0\r\n\r\n"
    with raw_server(always(answer)) as server:
        session.get(server.url, timeout=5)
        session.get(server.url, headers={"Cookie": "own=1"}, timeout=5)
    assert b"Cookie: own=1\r\n" in server.requests[1]
