"""``manage.py apikey_guard check|revoke|stats``."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apikey_guard.diagnosis.everything import diagnosed
from apikey_guard.diagnosis.findings import Level
from apikey_guard.django.guards import installed_guard, read_settings
from apikey_guard.errors import SettingsError
from apikey_guard.settings import SETTING_NAMES, Settings

_OWN_PROCESS = "This command is a process of its own: what the servers' processes remember, they keep."


class Command(BaseCommand):
    """Looks at the guard of this project's settings."""

    help = "Check the guard's settings, forget credentials, show counts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="check|revoke|stats")
        check = commands.add_parser("check", help="show the settings and ask about a made-up key")
        check.add_argument("--offline", action="store_true", help="do not ask the key service")
        revoke = commands.add_parser("revoke", help="forget credentials in this process")
        which = revoke.add_mutually_exclusive_group(required=True)
        # Never an argument: those stand in the shell's history and in the list of processes.
        which.add_argument("--key", action="store_true", help="ask for the key, without showing it")
        which.add_argument("--fingerprint", help="12 hex digits or more, as logs show them")
        which.add_argument("--consumer", help="id, username or custom_id")
        which.add_argument("--everything", action="store_true")
        commands.add_parser("stats", help="counts of this process")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            settings = read_settings()
        except SettingsError as error:
            raise CommandError(str(error)) from None
        if options["what"] == "check":
            self._check(settings, offline=options["offline"])
        elif options["what"] == "revoke":
            self._revoke(options)
        else:
            for name, value in installed_guard().stats().items():
                self.stdout.write(f"{name:<32}{value}")
            self.stdout.write(_OWN_PROCESS)

    def _check(self, settings: Settings, *, offline: bool) -> None:
        for name in SETTING_NAMES:
            self.stdout.write(f"{name:<27}{settings.shown(name):<46}{settings.sources[name]}")
        for finding in diagnosed(settings, offline=offline):
            if finding.level is Level.PROBLEM:
                raise CommandError(finding.text)
            self.stdout.write(str(finding))

    def _revoke(self, options: dict[str, Any]) -> None:
        guard = installed_guard()
        try:
            if options["key"]:
                count = guard.revoke(key=_key())
            elif options["everything"]:
                count = guard.revoke(everything=True)
            else:
                count = guard.revoke(fingerprint=options["fingerprint"], consumer=options["consumer"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{count} forgotten here. {_OWN_PROCESS}")
        self.stdout.write(f"Revoke at the key service: servers follow within {guard.settings.cache_ttl:g} s.")


def _key() -> str:
    """The key, typed unseen, or from standard input where that is no terminal."""
    if sys.stdin.isatty():
        return getpass.getpass("key: ")
    # Shells of Windows put a byte order mark before what they pipe.
    return sys.stdin.readline().removeprefix("\ufeff").strip()
