"""``apikey-guard demo --tour``: the whole story, played and checked over real sockets."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from apikey_guard.cli.console import Console
from apikey_guard.cli.demo.stage import Arrived, Seen, Stage
from apikey_guard.core.model import Allow, Freshness, Reason
from apikey_guard.diagnosis.words import milliseconds, printable

# Short, so that a verdict ages while one watches; long enough for a slow machine to find it fresh.
_CACHE_TTL: Final = 1.0

# A condition that has not come about by then never will.
_PATIENCE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_AT_ONCE: Final = 20

_REMEMBERED: Final = frozenset({Freshness.FRESH, Freshness.REFRESH})
_NOT_LOOKED_AT: Final = frozenset({Freshness.NONE})
_ASKED: Final = frozenset({Freshness.MISS})
_STALE: Final = frozenset({Freshness.STALE})

_LINE: Final = "{:20}  {:26}  {:6}  {:24}  {:6}  {:>8}  {:>5}"
_HEADING: Final = ("request", "key", "status", "decision", "cache", "took", "calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request of the tour.

    :param key: what it presents, in words.
    :param forwarded: whether it is for the gateway, not for the guarded app.
    """

    key: str
    path: str = "/hello"
    forwarded: bool = False
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    query: str = field(default="", repr=False)
    body: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What its line must show.

    :param reason: None for an allowed request.
    :param cache: the cache states that may be.
    :param calls: how many more calls the key service must have had; None for any number.
    """

    status: int = 200
    reason: Reason | None = None
    cache: frozenset[Freshness] = frozenset(Freshness)
    calls: int | None = 0


def tour(console: Console, *, port: int) -> int:
    """Play the story.

    :param port: of the guarded app; 0 takes a free one.
    :returns: the exit status: 0 if every line is as it should be, else 1.
    """
    seen: list[Seen] = []
    stage = Stage(seen.append, port=port, cache_ttl=_CACHE_TTL)
    started = time.monotonic()
    with stage:
        story = _Story(stage, seen, console)
        story.play()
    seconds = time.monotonic() - started
    console.say()
    if story.wrong:
        console.say(console.paint(f"{story.wrong} of {story.lines} lines are not as they should be", "bad"))
        return 1
    console.say(console.paint(f"all {story.lines} lines are as they should be ({seconds:.1f} s)", "good"))
    return 0


class _Story:
    """Calls the guarded app and compares what comes with what should."""

    def __init__(self, stage: Stage, seen: list[Seen], console: Console) -> None:
        self._stage, self._seen, self._console = stage, seen, console
        self._calls = 0
        self.lines = self.wrong = 0

    def play(self) -> None:
        """All chapters."""
        stage, console = self._stage, self._console
        console.say(f"guarded app  {stage.server.url}")
        console.say(f"gateway      {stage.gateway.url}")
        console.say(f"key service  {stage.validator_url}")
        console.say(f"a verdict is remembered for {_CACHE_TTL:g} s; calls counts those to the key service")
        console.say()
        margin = " " * (console.sign_width + 1)
        console.say(console.paint(margin + _LINE.format(*_HEADING), "dim"))
        for chapter in (
            self._refused,
            self._from_memory,
            self._at_once,
            self._revoked,
            self._stopped,
            self._back,
            self._what_the_app_saw,
            self._forwarded,
            self._origin_down,
            self._what_the_origins_saw,
        ):
            chapter()

    # -- chapters ------------------------------------------------------------------------------

    def _refused(self) -> None:
        self._title("No key or a bad one: refused, the app is never reached")
        bad = {"apikey": "ag_nobody-has-this-key"}
        missing = _Expected(status=401, reason=Reason.MISSING_CREDENTIAL, cache=_NOT_LOOKED_AT)
        self._line(_Call(key="none"), missing)
        invalid = Reason.INVALID_CREDENTIAL
        unknown = _Call(key="unknown, header", headers=bad)
        self._line(unknown, _Expected(status=401, reason=invalid, cache=_ASKED, calls=1))
        again = _Call(key="unknown, once more", headers=bad)
        self._line(again, _Expected(status=401, reason=invalid, cache=_REMEMBERED))
        two = _Call(key="two different ones", headers=bad, query=f"apikey={self._stage.keys['acme']}")
        self._line(two, _Expected(status=401, reason=Reason.AMBIGUOUS_CREDENTIAL, cache=_NOT_LOOKED_AT))
        self._line(_Call(key="none, public route", path="/health"), _Expected(cache=_NOT_LOOKED_AT))

    def _from_memory(self) -> None:
        self._title("A good key, wherever it is sent: asked once, then answered from memory")
        key = self._stage.keys["acme"]
        header = {"apikey": key}
        remembered = _Expected(cache=_REMEMBERED)
        self._line(_Call(key="acme, header", headers=header), _Expected(cache=_ASKED, calls=1))
        self._line(_Call(key="acme, header", headers=header), remembered)
        self._line(_Call(key="acme, query", query=f"page=2&apikey={key}"), remembered)
        self._line(_Call(key="acme, form body", method="POST", body=f"apikey={key}&note=hi"), remembered)
        lacking = _Expected(status=403, reason=Reason.INSUFFICIENT_SCOPE, cache=_REMEMBERED)
        self._line(_Call(key="acme, without the scope", path="/admin/report", headers=header), lacking)

    def _at_once(self) -> None:
        self._title(f"{_AT_ONCE} requests at once with a new key: the key service is asked once")
        call = _Call(key="globex, header", path="/admin/report", headers=self._header("globex"))
        before = len(self._seen)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            statuses = list(pool.map(self._send, [call] * _AT_ONCE))
        found = self._seen[before:]
        worst = max(found, key=lambda one: (one.status, one.seconds))
        self._compare(call, max(statuses), worst, _Expected(calls=1), times=len(found))

    def _revoked(self) -> None:
        self._title("A key is revoked: it ends when the remembered verdict does")
        self._line(
            _Call(key="initech, header", headers=self._header("initech")), _Expected(cache=_ASKED, calls=1)
        )
        self._stage.revoke("initech")
        revoked = _Call(key="initech, revoked just now", headers=self._header("initech"))
        self._line(revoked, _Expected(cache=_REMEMBERED))
        refused = _Expected(status=401, reason=Reason.INVALID_CREDENTIAL, calls=None)
        later = _Call(key="initech, a moment later", headers=self._header("initech"))
        self._line_when(later, lambda one: one.status != 200, refused)

    def _stopped(self) -> None:
        self._title("The key service is stopped: known keys go on, unknown ones have to wait")
        known = _Call(key="acme, known", headers=self._header("acme"))
        self._line(_Call(key="acme, still there", headers=known.headers), _Expected(calls=None))
        self._stage.stop_key_service()
        self._line_when(known, lambda one: _cache(one) in _STALE, _Expected(cache=_STALE))
        unknown = _Call(key="hooli, unknown", headers=self._header("hooli"))
        self._line(unknown, _Expected(status=503, reason=Reason.KEY_SERVICE_UNAVAILABLE))

    def _back(self) -> None:
        self._title("The key service is back: nothing wrong was remembered")
        self._stage.start_key_service()
        known = _Call(key="acme, known", headers=self._header("acme"))
        unknown = _Call(key="hooli, no more unknown", headers=self._header("hooli"))
        self._line(unknown, _Expected(cache=_ASKED, calls=1))
        self._line_when(
            known, lambda one: _cache(one) in _REMEMBERED, _Expected(cache=_REMEMBERED, calls=None)
        )

    def _what_the_app_saw(self) -> None:
        self._title("What the app saw")
        allowed = sum(isinstance(one.decision, Allow) for one in self._seen)
        reached, leaked = self._stage.reached, self._stage.leaked
        self._sentence(reached == allowed, f"it was reached {reached} times, by {allowed} allowed requests")
        self._sentence(
            leaked == 0, f"a key was in {leaked or 'none'} of those requests: not in URL, headers or body"
        )

    def _forwarded(self) -> None:
        self._title("A gateway: valid requests go on to their origins, as they were sent but for the key")
        key = self._stage.keys["acme"]
        missing = _Expected(status=401, reason=Reason.MISSING_CREDENTIAL, cache=_NOT_LOOKED_AT)
        self._line(_Call(key="none", path="/orders", forwarded=True), missing)
        call = _Call(
            key="acme, query", path="/orders/7%2F8", query=f"q=a+b&apikey={key}&q=%7E", forwarded=True
        )
        self._line(call, _Expected(cache=_ASKED, calls=1))
        self._arrived(Arrived("api", "GET", "/orders/7%2F8?q=a+b&q=%7E", "acme", ""))
        call = _Call(
            key="acme, header",
            path="/v2/reports/may",
            method="POST",
            headers={"apikey": key},
            body="note=hi",
            forwarded=True,
        )
        self._line(call, _Expected(cache=_REMEMBERED))
        self._arrived(Arrived("reports", "POST", "/may", "acme", "note=hi"))

    def _origin_down(self) -> None:
        self._title("An origin is stopped: its route says so, the others go on")
        self._stage.stop_origin("reports")
        headers = self._header("globex")
        report = _Call(key="globex, header", path="/v2/reports/may", headers=headers, forwarded=True)
        down = _Expected(status=502, reason=Reason.ORIGIN_FAILED, cache=_ASKED, calls=1)
        self._line(report, down)
        self._line(
            _Call(key="globex, header", path="/orders", headers=headers, forwarded=True),
            _Expected(cache=_REMEMBERED),
        )
        self._stage.start_origin("reports")
        back = _Call(key="globex, origin is back", path="/v2/reports/may", headers=headers, forwarded=True)
        self._line(back, _Expected(cache=_REMEMBERED))

    def _what_the_origins_saw(self) -> None:
        self._title("What the origins saw")
        arrived, leaked = len(self._stage.arrived), self._stage.leaked
        self._sentence(arrived == 4, f"they were reached {arrived} times, by 4 allowed requests")
        self._sentence(leaked == 0, f"a key was in {leaked or 'none'} of those requests, too")

    # -- lines ---------------------------------------------------------------------------------

    def _header(self, username: str) -> Mapping[str, str]:
        return {"apikey": self._stage.keys[username]}

    def _title(self, text: str) -> None:
        console = self._console
        console.say()
        console.say(console.paint(text, "title"))

    def _sentence(self, right: bool, text: str) -> None:
        self.lines += 1
        self.wrong += not right
        self._console.say(f"{self._console.sign('good' if right else 'bad')} {text}")

    def _arrived(self, expected: Arrived) -> None:
        """What the origin got for the line before."""
        arrived = self._stage.arrived[-1] if self._stage.arrived else None
        if arrived is None:
            self._sentence(False, "  no origin got it")
            return
        body = f", body {printable(arrived.body)}" if arrived.body else ""
        self._sentence(
            arrived == expected,
            f"  {arrived.origin} got {printable(f'{arrived.method} {arrived.target}')}{body}, "
            f"X-Consumer-Username: {printable(arrived.username or self._console.nothing)}",
        )

    def _line(self, call: _Call, expected: _Expected) -> None:
        status = self._send(call)
        self._compare(call, status, self._seen[-1] if status else None, expected)

    def _line_when(self, call: _Call, condition: Callable[[Seen], bool], expected: _Expected) -> None:
        """The line of the first request for which the condition holds; the last one, if it never does."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        with self._console.waiting("waiting for the remembered verdict to grow old"):
            while True:
                status = self._send(call)
                if not status or condition(self._seen[-1]) or time.monotonic() > give_up:
                    break
                time.sleep(_POLL_SECONDS)
        self._compare(call, status, self._seen[-1] if status else None, expected)

    def _send(self, call: _Call) -> int:
        """The status of the answer, read from the socket; 0 where none came."""
        server = self._stage.gateway if call.forwarded else self._stage.server
        connection = http.client.HTTPConnection(server.host, server.port, timeout=_PATIENCE_SECONDS)
        headers = dict(call.headers)
        if call.body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(
                call.method, f"{call.path}?{call.query}" if call.query else call.path, call.body, headers
            )
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def _compare(
        self, call: _Call, status: int, seen: Seen | None, expected: _Expected, *, times: int = 1
    ) -> None:
        calls, self._calls = self._stage.calls - self._calls, self._stage.calls
        right = (
            seen is not None
            and status == expected.status
            and seen.reason is expected.reason
            and _cache(seen) in expected.cache
            and calls == (calls if expected.calls is None else expected.calls)
        )
        request = f"{call.method} {call.path}"
        shown = _LINE.format(
            f"{times} x {call.path}" if times > 1 else request,
            call.key,
            str(status or "none"),
            _outcome(seen),
            self._console.nothing if _cache(seen) in _NOT_LOOKED_AT else _cache(seen).value,
            milliseconds(seen.seconds) if seen else "",
            self._stage.calls,
        )
        self._sentence(right, shown)
        if not right:
            self._console.say(self._console.paint(f"  expected: {_described(expected)}", "bad"))


def _cache(seen: Seen | None) -> Freshness:
    return Freshness.NONE if seen is None or seen.decision is None else seen.decision.freshness


def _outcome(seen: Seen | None) -> str:
    if seen is None:
        return "no answer"
    if seen.reason is not None:
        return seen.reason.value
    return "none" if seen.decision is None else "allowed"


def _described(expected: _Expected) -> str:
    cache = "any" if len(expected.cache) == len(Freshness) else " or ".join(sorted(expected.cache))
    calls = "any number of" if expected.calls is None else expected.calls
    return f"{expected.status} {expected.reason or 'allowed'}, cache {cache}, {calls} more calls"
