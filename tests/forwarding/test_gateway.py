"""``create_app``: settings, the health endpoint, and the access log, called as a server calls them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from apikey_guard import Consumer, Route, SettingsError, load_settings
from apikey_guard.errors import CallerGone, OriginAborted
from apikey_guard.forwarding import OriginAnswer, OriginRequest
from apikey_guard.gateway import Gateway as GatewayApp
from apikey_guard.gateway import create_app
from apikey_guard.testing import FakeKeyService, LoopbackKeyService
from tests.conftest import StartServer
from tests.forwarding.gateway import ALICE, GOOD, Opened, asking
from tests.forwarding.live import ALL_SERVERS, request
from tests.harness import LiveServer, Response, call, raw_request
from tests.harness.origin import CHUNKED, Exchange, Origin, answer, chunked
from tests.harness.wire import PATIENCE_SECONDS

ACCESS = "apikey_guard.access"
# In this order.
WORDS = [
    *["peer", "method", "path", "status", "ms", "bytes"],
    *["route", "origin", "consumer", "fingerprint", "cache", "reason", "end"],
]


@pytest.fixture
def keys() -> FakeKeyService:
    return FakeKeyService({GOOD: ALICE})


@pytest.fixture
def make(origin: Origin, keys: FakeKeyService) -> Iterator[Callable[..., GatewayApp]]:
    """``make(**settings)`` -> a gateway before the fixture ``origin``."""
    made: list[GatewayApp] = []

    def make_one(**settings: Any) -> GatewayApp:
        app = create_app(**{"key_service": keys, "origin": origin.url, **settings})
        made.append(app)
        return app

    yield make_one
    for app in made:
        app.close()


class Own:
    """An origin that is an object, and does what it is told to."""

    def __init__(self, send: Callable[[OriginRequest], OriginAnswer]) -> None:
        self.send = send

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class Lines:
    """The access log of a test."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def all(self) -> list[dict[str, str]]:
        """Every line as words."""
        found = []
        for record in self._caplog.records:
            if record.name == ACCESS:
                line = record.getMessage()
                assert line.isascii(), line
                assert line.isprintable(), line
                assert record.levelno == logging.INFO
                pairs = [word.split("=") for word in line.split(" ")]
                assert [name for name, _ in pairs] == WORDS, line
                found.append({name: value for name, value in pairs})  # noqa: C416 - two values each, or it fails
        return found

    def one(self) -> dict[str, str]:
        """The only line."""
        (line,) = self.all()
        return line


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO, ACCESS)
    return Lines(caplog)


def get(app: GatewayApp, target: str = "/", method: str = "GET", **parts: Any) -> Response:
    return call(app, asking(target, method, **parts))


# -- settings ----------------------------------------------------------------------------------


def test_settings_come_from_the_environment(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'origin = "{origin.url}"\nvalidator_url = "http://127.0.0.1:9/"\nhealth_path = "/live"\n'
    )
    monkeypatch.setenv("APIKEY_GUARD_CONFIG_FILE", str(file))
    monkeypatch.setenv("APIKEY_GUARD_REALM", "ours")
    monkeypatch.setenv("APIKEY_GUARD_CACHE_TTL", "7")
    app = create_app(cache_ttl=8)
    settings = app.guard.settings
    assert (settings.realm, settings.cache_ttl, settings.health_path) == ("ours", 8, "/live")
    assert get(app, "/live").status == 200
    app.close()


MISSING_ORIGIN = {
    "nothing": {},
    "origins that nothing goes to": {"origins": {"api": "http://127.0.0.1:9"}},
    "a route without one": {"routes": [{"path": "/a"}]},
}


@pytest.mark.parametrize("given", MISSING_ORIGIN.values(), ids=MISSING_ORIGIN)
def test_a_gateway_needs_an_origin_and_says_so_with_all_the_rest(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as alone:
        create_app(key_service=FakeKeyService({}), **given)
    assert [problem.partition(":")[0] for problem in alone.value.problems] == ["origin"]
    with pytest.raises(SettingsError) as all_of_them:
        create_app(cache_tll=3, **given)
    problems = [problem.partition(":")[0] for problem in all_of_them.value.problems]
    assert problems == ["cache_tll", "validator_url", "origin"]


WRONG_BUT_GIVEN = {
    "a wrong one": {"origin": "ftp://127.0.0.1"},
    "in a route": {"routes": [{"path": "/a", "origin": "ftp://127.0.0.1"}]},
    "in a route object": {"routes": [Route("/a", origin="http://127.0.0.1:9")], "cache_ttl": "x"},
    "in a file that is not there": {"config_file": "nowhere.toml"},
}


@pytest.mark.parametrize("given", WRONG_BUT_GIVEN.values(), ids=WRONG_BUT_GIVEN)
def test_an_origin_that_is_wrong_is_not_called_missing_too(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as error:
        create_app(key_service=FakeKeyService({}), **given)
    assert not any("needs somewhere" in problem for problem in error.value.problems)


def test_complete_settings_need_an_origin_as_well() -> None:
    with pytest.raises(SettingsError, match="origin"):
        create_app(load_settings(key_service=FakeKeyService({})))


# -- health ------------------------------------------------------------------------------------


def test_health_asks_nobody(origin: Origin, make: Callable[..., GatewayApp], lines: Lines) -> None:
    app = make(key_service=_never)
    origin.refuse()
    for method, body in (("GET", b"ok\n"), ("HEAD", b"")):
        answered = get(app, "/healthz", method, key=None)
        assert (answered.status, answered.body) == (200, body)
        assert answered.header("Content-Type") == "text/plain"
        assert answered.header("Content-Length") == "3"
        assert answered.header("Cache-Control") == "no-store"
    assert lines.all() == []  # every few seconds, from every machine: nobody reads them


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/healthz/x"), ("GET", "/Healthz")],
)
def test_only_the_exact_path_is_health(make: Callable[..., GatewayApp], method: str, target: str) -> None:
    assert get(make(), target, method, key=None).status == 401


def test_health_can_be_elsewhere_or_off(make: Callable[..., GatewayApp], origin: Origin) -> None:
    elsewhere = make(health_path="/-/live")
    assert get(elsewhere, "/-/live", key=None).body == b"ok\n"
    assert get(elsewhere, "/healthz").body == b"/healthz"
    assert get(make(health_path=None), "/healthz").body == b"/healthz"


def _never(_credential: object) -> None:
    raise AssertionError("the key service was asked")


# -- under real servers ------------------------------------------------------------------------


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_under_real_servers_each_request_has_its_line(
    server: str, origin: Origin, start_server: StartServer
) -> None:
    with LoopbackKeyService({GOOD: {"consumer": {"username": "alice"}}}) as keys:
        env = {"APIKEY_GUARD_ORIGIN": origin.url, "APIKEY_GUARD_VALIDATOR_URL": keys.url}
        live = start_server(server, "tests.forwarding.created_app:app", env=env, ready="/healthz")
        assert live.request(request("/healthz", key=None)).body == b"ok\n"
        live.request(request("/none", key=None))
        live.request(request(f"/query?apikey={GOOD}", key=None))
        live.request(request("/head", method="HEAD"))
        origin.says(b"HTTP/1.1 204 No Content\r\n\r\n")
        live.request(request("/empty"))
        origin.says(answer(chunked(b"one", b"two"), CHUNKED, length=False))
        live.request(request("/chunks"))
        origin.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfive.", close=True)
        raw_request(live.address, request("/cut"), until_closed=True)
        found = _lines_in(live, 6)
    # In any order: a line is written when its answer has ended, which the caller sees a moment before.
    words = {(line["path"], line["status"], line["bytes"], line["consumer"], line["end"]) for line in found}
    assert words == {
        ("/none", "401", "176", "-", "complete"),
        ("/query", "200", "6", "alice", "complete"),
        ("/head", "200", "0", "alice", "complete"),
        ("/empty", "204", "0", "alice", "complete"),
        ("/chunks", "200", "6", "alice", "complete"),
        ("/cut", "200", "5", "alice", "aborted"),
    }


def _lines_in(live: LiveServer, count: int) -> list[dict[str, str]]:
    """The access log in a server's output, which may come a moment after the answer."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = re.findall(f"^{ACCESS} (peer=.*)$", live.log.read_text(), re.MULTILINE)
        if len(found) >= count or time.monotonic() > end:
            return [dict(word.split("=", 1) for word in line.split(" ")) for line in found]
        time.sleep(0.02)


# -- the access log ----------------------------------------------------------------------------


def test_a_line_for_an_allowed_request(make: Callable[..., GatewayApp], origin: Origin, lines: Lines) -> None:
    app = make(origin=None, origins={"api": origin.url}, routes=[Route("/v2/*", origin="api", name="second")])
    assert get(app, f"/v2/orders?apikey={GOOD}&page=2", key=None).status == 200
    line = lines.one()
    assert float(line.pop("ms")) > 0
    assert re.fullmatch("[0-9a-f]{12}", line.pop("fingerprint"))
    assert line == {
        "peer": "192.0.2.7",
        "method": "GET",
        "path": "/v2/orders",
        "status": "200",
        "bytes": str(len("/v2/orders?page=2")),
        "route": "second",
        "origin": "api",
        "consumer": "alice",
        "cache": "miss",
        "reason": "-",
        "end": "complete",
    }
    get(app, "/v2/orders")
    assert [line["cache"] for line in lines.all()] == ["miss", "fresh"]


def test_a_line_for_a_refused_request(make: Callable[..., GatewayApp], lines: Lines) -> None:
    app = make(routes=[Route("/admin/*", scopes=("admin",))])
    get(app, "/a", key=None)
    get(app, "/a", key="KCANARY-bad")
    get(app, "/admin/a")
    get(app, "/a/../b")
    found = [(line["status"], line["reason"], line["consumer"], line["origin"]) for line in lines.all()]
    assert found == [
        ("401", "missing_credential", "-", "-"),
        ("401", "invalid_credential", "-", "-"),
        ("403", "insufficient_scope", "alice", "-"),
        ("400", "bad_request", "-", "-"),
    ]
    assert [line["fingerprint"] == "-" for line in lines.all()] == [True, False, False, True]


def test_a_line_for_an_origin_that_gives_no_answer(
    make: Callable[..., GatewayApp], origin: Origin, lines: Lines
) -> None:
    origin.refuse()
    assert get(make(), "/a").status == 502
    line = lines.one()
    assert (line["status"], line["reason"], line["consumer"]) == ("502", "origin_failed", "alice")
    assert line["origin"] == origin.url
    assert line["end"] == "complete"


def test_monitor_says_what_would_have_been(make: Callable[..., GatewayApp], lines: Lines) -> None:
    assert get(make(mode="monitor"), "/a", key=None).status == 200
    assert lines.one()["reason"] == "missing_credential"
    assert get(make(mode="off"), "/a", key=None).status == 200
    assert lines.all()[1]["reason"] == "-"


PATHS = {
    "a space": ("/a%20b", "/a%20b"),
    "a quote": ("/a%22b'c", "/a%22b%27c"),
    "an equals sign": ("/a=b", "/a%3Db"),
    "not ASCII": ("/caf%C3%A9", "/caf%C3%A9"),
    "no UTF-8": ("/%FF", "/%FF"),
    "a percent sign": ("/100%25", "/100%25"),
    "a line break, refused": ("/a%0d%0apeer=1", "/a%0D%0Apeer%3D1"),
    "an escape of a terminal": ("/%1b[31m", "/%1B%5B31m"),
    "long": ("/" + "x" * 5_000, "/" + "x" * 255 + "..."),
    "long, and grows": ("/" + "%20" * 300, "/" + "%20" * 85 + "..."),
}


@pytest.mark.parametrize(("target", "shown"), PATHS.values(), ids=PATHS)
def test_a_path_is_one_word(make: Callable[..., GatewayApp], lines: Lines, target: str, shown: str) -> None:
    get(make(), target)
    assert lines.one()["path"] == shown


def test_names_are_one_word_each(origin: Origin, make: Callable[..., GatewayApp], lines: Lines) -> None:
    known = FakeKeyService({GOOD: Consumer(username='Café "Acme" = 1')})
    get(make(key_service=known, routes=[Route("/*", name="all of it", origin=origin.url)]))
    line = lines.one()
    assert line["consumer"] == "Caf%C3%A9%20%22Acme%22%20%3D%201"
    assert line["route"] == "all%20of%20it"


def test_a_consumer_without_a_username_is_its_id(make: Callable[..., GatewayApp], lines: Lines) -> None:
    get(make(key_service=FakeKeyService({GOOD: Consumer(id="42")})))
    assert lines.one()["consumer"] == "42"


def test_pieces_pass_as_they_come(make: Callable[..., GatewayApp], origin: Origin, lines: Lines) -> None:
    def events(exchange: Exchange) -> None:
        exchange.send(answer(b"", CHUNKED, length=False) + b"3\r\none\r\n")
        go_on.wait(10)
        exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    go_on = Event()
    origin.behave(events)
    opened = Opened(make(), asking("/"))
    assert next(opened) == b"one"
    assert lines.all() == []
    go_on.set()
    assert list(opened) == [b"two"]
    opened.close()
    assert (lines.one()["bytes"], lines.one()["end"]) == ("6", "complete")


def test_a_caller_that_leaves_is_an_abort(
    make: Callable[..., GatewayApp], origin: Origin, lines: Lines
) -> None:
    origin.says(answer(chunked(b"one", b"two"), CHUNKED, length=False))
    opened = Opened(make(), asking("/"))
    next(opened)
    opened.close()
    opened.close()
    assert (lines.one()["status"], lines.one()["end"]) == ("200", "aborted")


def test_an_origin_that_breaks_off_is_an_abort(
    make: Callable[..., GatewayApp], origin: Origin, lines: Lines
) -> None:
    origin.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfive.", close=True)
    opened = Opened(make(), asking("/"))
    with pytest.raises(OriginAborted):
        list(opened)
    opened.close()
    line = lines.one()
    assert (line["status"], line["bytes"], line["end"]) == ("200", "5", "aborted")


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_is_complete(
    make: Callable[..., GatewayApp], origin: Origin, lines: Lines, status: bytes
) -> None:
    origin.says(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n", close=True)
    # A server that asks for no piece of an answer to HEAD.
    opened = Opened(make(), asking("/", "HEAD"))
    opened.close()
    assert lines.one()["end"] == "complete"


def test_a_request_that_is_never_answered_has_its_line(make: Callable[..., GatewayApp], lines: Lines) -> None:
    def gone(_: OriginRequest) -> OriginAnswer:
        raise CallerGone

    app = make(origin="own", origins={"own": Own(gone)})
    with pytest.raises(CallerGone):
        app(asking("/a"), lambda *_: bytes)
    line = lines.one()
    assert (line["status"], line["end"], line["consumer"]) == ("-", "aborted", "alice")


def test_where_nobody_reads_the_log_nothing_stands_around_the_answer(
    make: Callable[..., GatewayApp], caplog: pytest.LogCaptureFixture
) -> None:
    pieces = (b"as it is",)
    answered = OriginAnswer(200, "OK", [("Content-Type", "text/plain")], pieces)
    app = make(origin="own", origins={"own": Own(lambda _: answered)})
    get(app)
    caplog.set_level(logging.WARNING, ACCESS)
    assert app(asking("/a"), lambda *_: bytes) is pieces


def test_what_close_raises_is_the_servers_to_see_and_the_line_is_written(
    make: Callable[..., GatewayApp], lines: Lines
) -> None:
    class Breaks:
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            raise RuntimeError("broken")

    app = make(origin="own", origins={"own": Own(lambda _: OriginAnswer(200, "OK", [], Breaks()))})
    opened = Opened(app, asking("/a"))
    with pytest.raises(RuntimeError, match="broken"):
        opened.close()
    with suppress(RuntimeError):
        opened.close()
    assert lines.one()["end"] == "aborted"
