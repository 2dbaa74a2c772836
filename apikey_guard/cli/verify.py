"""``apikey-guard verify``: what the key service says about one key."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from apikey_guard.assembly import make_rules
from apikey_guard.cli.arguments import Commands, add_command, add_settings, line_from_stdin, read_settings
from apikey_guard.cli.console import Console
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.diagnosis.key_service import Asked, ask, fingerprint_of
from apikey_guard.diagnosis.words import milliseconds, printable
from apikey_guard.settings import Settings

_VALID, _INVALID, _UNUSABLE, _UNAVAILABLE = range(4)
_STYLES: Final = ("good", "bad", "", "warn")
_DAY: Final = 86_400


class _Result(NamedTuple):
    """What is known of a key.

    :param word: ``valid``, ``invalid``, ``malformed``, ``rate limited`` or ``unavailable``.
    :param status: the exit status.
    """

    word: str
    status: int
    asked: Asked
    fingerprint: str


def add_to(commands: Commands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "verify",
        _verify,
        summary="ask the key service about one key",
        description="Exit status: 0 valid, 1 not valid, 3 no verdict. The key is never printed.",
        examples="apikey-guard verify --set validator_url=https://keys.example.com/verify\n"
        "pass show acme/api-key | apikey-guard verify - --config guard.toml",
    )
    parser.add_argument(
        "key",
        nargs="?",
        metavar="KEY",
        help="the key; - reads it from standard input; without it, it is asked for unseen. "
        "A key that is written here stays in the history of the shell",
    )
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _verify(options: argparse.Namespace, console: Console) -> int:
    read = read_settings(options)
    for warning in read.warnings:
        console.warn(warning)
    key = _key(options.key)
    if not key:
        console.fail("no key was given; `apikey-guard verify -` reads it from standard input")
        return _UNUSABLE
    result = _result(read.settings, key, console)
    if options.json:
        console.say(json.dumps(_described(result)))
        return result.status
    console.say(f"{console.paint(result.word.ljust(12), _STYLES[result.status])}  {_how(result.asked)}")
    for name, value in _lines(result, read.settings):
        console.say(f"{name:<12}  {value}")
    return result.status


def _key(given: str | None) -> str:
    if given == "-":
        return line_from_stdin()
    if given is None and sys.stdin.isatty():
        return getpass.getpass("key (not shown): ")
    return given or ""


def _result(settings: Settings, key: str, console: Console) -> _Result:
    fingerprint = fingerprint_of(settings, key)
    if not make_rules(settings).default.extractor.is_well_formed(key):
        # As the guard does: nobody is asked about what cannot be a key.
        trouble = "was not asked: no key looks like this (key_pattern, key_max_length, visible ASCII)"
        return _Result("malformed", _INVALID, Asked(None, trouble, "malformed", 0.0), fingerprint)
    with console.waiting("asking the key service"):
        asked = ask(settings, Credential(key, "command line"))
    if asked.verdict is None:
        word = "rate limited" if asked.cause == "rate_limited" else "unavailable"
        return _Result(word, _UNAVAILABLE, asked, fingerprint)
    if asked.verdict.valid:
        return _Result("valid", _VALID, asked, fingerprint)
    return _Result("invalid", _INVALID, asked, fingerprint)


def _how(asked: Asked) -> str:
    if asked.verdict is None:
        return f"the key service {asked.trouble}"
    return f"the key service answered in {milliseconds(asked.seconds)}"


def _lines(result: _Result, settings: Settings) -> Iterator[tuple[str, str]]:
    verdict = result.asked.verdict
    if verdict is not None and verdict.valid:
        consumer = verdict.consumer
        if consumer is not None:
            names = ("id", "username", "custom_id")
            known = [(name, getattr(consumer, name)) for name in names]
            yield (
                "consumer",
                ", ".join(f"{name} {printable(text)}" for name, text in known if text) or "unnamed",
            )
        if verdict.credential_id is not None:
            yield "credential", printable(verdict.credential_id)
        scopes = consumer.scopes if consumer else ()
        yield "scopes", ", ".join(map(printable, sorted(scopes))) or "none"
        yield "ttl", _ttl(verdict, settings)
        yield "expires", "never" if verdict.expires_at is None else _until(verdict.expires_at)
    yield "fingerprint", result.fingerprint


def _ttl(verdict: Verdict, settings: Settings) -> str:
    if verdict.ttl is not None and verdict.ttl < settings.cache_ttl:
        return f"{verdict.ttl:g} s, as the key service says"
    return f"{settings.cache_ttl:g} s, as cache_ttl says"


def _until(moment: float) -> str:
    days = (moment - time.time()) / _DAY
    left = f"in {days:.0f} days" if days >= 2 else f"in {days * 24:.1f} hours"
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC, {left}"


def _described(result: _Result) -> dict[str, object]:
    verdict, trouble = result.asked.verdict, result.asked.cause
    described: dict[str, object] = {
        "verdict": result.word.replace(" ", "_"),
        "cause": trouble,
        "milliseconds": round(result.asked.seconds * 1000, 1),
        "fingerprint": result.fingerprint,
    }
    if verdict is not None and verdict.valid:
        consumer = verdict.consumer
        described |= {
            "consumer": consumer
            and {"id": consumer.id, "username": consumer.username, "custom_id": consumer.custom_id},
            "credential_id": verdict.credential_id,
            "scopes": sorted(consumer.scopes) if consumer else [],
            "ttl": verdict.ttl,
            "expires_at": verdict.expires_at,
        }
    return described
