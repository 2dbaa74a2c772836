"""``apikey-guard demo``: the guard at work on this machine, to be called with curl."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Final

from apikey_guard.cli.arguments import Commands, add_command, port
from apikey_guard.cli.console import Console, shortened
from apikey_guard.cli.demo.stage import Seen, Stage
from apikey_guard.cli.demo.tour import tour
from apikey_guard.core.model import Allow
from apikey_guard.diagnosis.words import milliseconds, printable

# Short, so that a revocation shows while one watches.
_CACHE_TTL: Final = 10.0

_LINE: Final = "{:8}  {:6}  {:16}  {:6}  {:24}  {:8}  {:12}  {:7}  {:>8}  {:>5}"
_HEADING: Final = (
    "time",
    "method",
    "path",
    "status",
    "decision",
    "consumer",
    "key",
    "cache",
    "took",
    "calls",
)


def add_to(commands: Commands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "demo",
        _demo,
        summary="see the guard at work: a key service, a guarded app and a gateway on this machine",
        description="Prints addresses, keys and curl lines, then one line per decision until Ctrl-C. "
        "With --tour it calls by itself and ends; exit status 0 if every answer is as it should be.",
        examples="apikey-guard demo --tour\napikey-guard demo --port 8080",
    )
    parser.add_argument("--tour", action="store_true", help="play the whole story and end")
    parser.add_argument(
        "--port", type=port, default=0, help="port of the guarded app (default: any free one)"
    )


def _demo(options: argparse.Namespace, console: Console) -> int:
    return tour(console, port=options.port) if options.tour else _live(console, port=options.port)


def _live(console: Console, *, port: int) -> int:
    lock, unread = threading.Lock(), threading.Event()

    def watch(seen: Seen) -> None:
        try:
            with lock:
                console.say(_line(seen, console))
        except BrokenPipeError:
            unread.set()

    with Stage(watch, port=port, cache_ttl=_CACHE_TTL) as stage:
        _introduce(stage, console)
        unread.wait()
    raise BrokenPipeError


def _introduce(stage: Stage, console: Console) -> None:
    url, gateway, acme, globex = stage.server.url, stage.gateway.url, stage.keys["acme"], stage.keys["globex"]
    title = console.paint
    console.say(f"{title('guarded app', 'title')}   {url}")
    console.say(f"{title('gateway', 'title')}       {gateway}")
    console.say(f"{title('key service', 'title')}   {stage.validator_url}")
    console.say(f"{title('key file', 'title')}      {stage.keys_file}")
    console.say()
    console.say(title("two keys", "title"))
    console.say(f"  acme    {acme}   scope read")
    console.say(f"  globex  {globex}   scopes admin, read")
    console.say()
    console.say(title("try", "title"))
    for line in (
        f"curl -i {url}/hello",
        f"curl -i {url}/health",
        f"curl -i -H 'apikey: {acme}' {url}/hello",
        f"curl -i '{url}/hello?apikey={acme}&page=2'",
        f"curl -i -d 'apikey={acme}&note=hi' {url}/hello",
        f"curl -i -H 'apikey: {acme}' {url}/admin/report",
        f"curl -i -H 'apikey: {globex}' {url}/admin/report",
        f"curl -i -H 'apikey: {acme}' '{gateway}/v2/reports/may?page=2'",
        f"apikey-guard keys revoke acme --file {stage.keys_file}",
    ):
        console.say(f"  {line}")
    console.say()
    console.say(
        f"{title('decisions', 'title')}   remembered for {_CACHE_TTL:g} s; calls counts those to the key "
        "service; Ctrl-C ends"
    )
    console.say(console.paint(_LINE.format(*_HEADING), "dim"))


def _line(seen: Seen, console: Console) -> str:
    decision, nothing = seen.decision, console.nothing
    outcome = consumer = fingerprint = cache = nothing
    if decision is not None:
        outcome = "allowed" if seen.reason is None else seen.reason.value
        if decision.consumer is not None and decision.consumer.username is not None:
            consumer = printable(decision.consumer.username)
        if decision.fingerprint is not None:
            fingerprint = decision.fingerprint.hex()[:12]
        cache = nothing if decision.freshness == "none" else decision.freshness.value
    line = _LINE.format(
        time.strftime("%H:%M:%S"),
        shortened(printable(seen.method), 6),
        shortened(printable(seen.path), 16),
        str(seen.status),
        outcome,
        consumer,
        fingerprint,
        cache,
        milliseconds(seen.seconds),
        str(seen.calls),
    )
    return console.paint(line, "good" if isinstance(decision, Allow) and seen.reason is None else "bad")
