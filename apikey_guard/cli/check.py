"""``apikey-guard check``: what is set, whether it can work, and how long a revoked key lives."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Final

from apikey_guard.cli.arguments import Commands, ReadSettings, add_command, add_settings, read_settings
from apikey_guard.cli.console import Console, shortened
from apikey_guard.diagnosis.everything import diagnosed
from apikey_guard.diagnosis.findings import Finding, Level
from apikey_guard.diagnosis.settings import worst_ages
from apikey_guard.diagnosis.words import printable
from apikey_guard.errors import SettingsError
from apikey_guard.settings import SETTING_NAMES

_PROBLEMS: Final = 1
_NAME_WIDTH: Final = 27
_VALUE_WIDTH: Final = 44


def add_to(commands: Commands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "check",
        _check,
        summary="check the settings, the key service and the origins",
        description="Prints every setting with where it came from, secrets masked; asks the key service "
        "about a made-up key; connects to the origins. Exit status: 0 fine (warnings are), 1 problems.",
        examples="apikey-guard check --config guard.toml\n"
        "apikey-guard check --set validator_url=http://127.0.0.1:8181/verify",
    )
    add_settings(parser)
    parser.add_argument("--offline", action="store_true", help="ask neither the key service nor the origins")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _check(options: argparse.Namespace, console: Console) -> int:
    try:
        read = read_settings(options)
    except SettingsError as error:
        findings = [Finding(Level.PROBLEM, problem.code, problem) for problem in error.problems]
        if options.json:
            console.say(json.dumps(_described(None, findings), indent=2))
        else:
            _say_findings(findings, console)
        return _PROBLEMS
    findings = list(_findings(read, console, offline=options.offline))
    if options.json:
        console.say(json.dumps(_described(read, findings), indent=2))
    else:
        _say_settings(read, console)
        _say_findings(findings, console)
    return _PROBLEMS if any(finding.level is Level.PROBLEM for finding in findings) else 0


def _findings(read: ReadSettings, console: Console, *, offline: bool) -> Iterator[Finding]:
    with console.waiting("asking the key service and the origins"):
        yield from [*diagnosed(read.settings, offline=offline)]
    for warning in read.warnings:
        yield Finding(Level.WARNING, "unknown_variable", warning)


def _say_settings(read: ReadSettings, console: Console) -> None:
    console.say(console.paint("settings", "title"))
    for name in SETTING_NAMES:
        value = shortened(printable(read.settings.shown(name)), _VALUE_WIDTH)
        source = read.source(name)
        line = f"  {name:<{_NAME_WIDTH}}{value:<{_VALUE_WIDTH + 2}}{printable(source)}"
        console.say(console.paint(line, "dim") if source == "default" else line)


def _say_findings(findings: list[Finding], console: Console) -> None:
    console.say(console.paint("findings", "title"))
    for finding in sorted(findings, key=lambda finding: finding.level):
        console.say(f"  {console.sign(finding.level.style)} {finding.text}")
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    console.say(f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}")


def _counted(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'s' * (number != 1)}"


def _described(read: ReadSettings | None, findings: list[Finding]) -> dict[str, object]:
    described: dict[str, object] = {
        "ok": not any(finding.level is Level.PROBLEM for finding in findings),
        "findings": [
            {"level": finding.level.name.lower(), "code": finding.code, "text": finding.text}
            for finding in findings
        ],
    }
    if read is not None:
        up, down = worst_ages(read.settings)
        described["revoked_key_works_seconds"] = {"key_service_up": up, "key_service_down": down}
        described["settings"] = {
            name: {"value": read.settings.shown(name), "source": read.source(name)} for name in SETTING_NAMES
        }
    return described
