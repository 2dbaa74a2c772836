"""S-07: what servers do with odd requests, measured again on the versions that are installed.

A test that fails here means that a server has changed: read docs/security.md and the guard's
assumptions anew, then change the table.
"""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.harness import SERVERS, LiveServer, Response, parse_response, raw_request
from tests.live.server_facts import ANSWERS, Answer, Fact, facts

BARE = "tests.live.bare:app"
FACTS = dict(facts())


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, shared_server: StartServer) -> LiveServer:
    running = shared_server(request.param, BARE)
    running.forget()
    return running


def column(server: LiveServer) -> str:
    """The name in the tables: gunicorn's worker classes share one."""
    return server.name.partition("-")[0]


def shown(server: LiveServer, response: Response, fact: Fact) -> object:
    """The status where the app was not reached, else what it saw under the keys of the fact."""
    seen = server.seen()
    if not seen:
        return response.status
    assert len(seen) == 1, "one request was taken for several"
    values = [
        seen[0].body.decode("latin-1") if key == "body" else seen[0].environ.get(key) for key in fact.shows
    ]
    return values[0] if len(values) == 1 else tuple(values)


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
def test_s07_what_the_app_is_shown(server: LiveServer, fact: Fact) -> None:
    response = server.request(fact.request)
    assert shown(server, response, fact) == fact.on(column(server))


def what_became_of(answer: bytes) -> str:
    """One word for how an answer arrived."""
    response = parse_response(answer)
    length, coding = response.header("Content-Length"), response.header("Transfer-Encoding")
    if response.status == 500:
        return "500"
    if response.header("X-Split") is not None:
        return "split"
    if response.body.startswith(b"first part"):
        return "looks complete" if coding is None else "ended" if b"\r\n0\r\n" in answer else "cut"
    return "both" if length and coding else "length"


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_s07_what_the_caller_gets_for_a_wrong_answer(server: LiveServer, answer: Answer) -> None:
    request = f"GET {answer.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    received = raw_request(server.address, request.encode(), until_closed=True)
    assert what_became_of(received) == answer.on(column(server))


def test_s07_gunicorn_joins_spellings_where_it_is_told_to(start_server: StartServer) -> None:
    server = start_server("gunicorn-sync", BARE, env={"GUNICORN_CMD_ARGS": "--header-map dangerous"})
    assert server.get("/", {"X_Consumer_Id": "evil"}).json()["HTTP_X_CONSUMER_ID"] == "evil"
    both = server.get("/", {"X-Api-Key": "good", "X_Api_Key": "evil"})
    assert both.json()["HTTP_X_API_KEY"] == "good,evil"
