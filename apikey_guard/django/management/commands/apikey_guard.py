"""``manage.py apikey_guard check|revoke|stats``."""

from __future__ import annotations

import secrets
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apikey_guard.assembly import make_key_service
from apikey_guard.clock import SYSTEM_CLOCK
from apikey_guard.core.model import Credential
from apikey_guard.django.guards import installed_guard, read_settings
from apikey_guard.errors import KeyFileError, SettingsError, VerificationError
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
        which.add_argument("--stdin", action="store_true", help="the key, from standard input")
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
        up, down = settings.cache_ttl, settings.cache_ttl + settings.stale_if_error
        self.stdout.write(
            f"a revoked key works for {up:g} s at most, {down:g} s while the key service is down"
        )
        if not offline:
            self._ask(settings)

    def _ask(self, settings: Settings) -> None:
        """Ask about a key that nobody can have."""
        made_up = Credential(f"check_{secrets.token_urlsafe(32)}", "command line")
        service = None
        try:
            service = make_key_service(settings, SYSTEM_CLOCK)
            verdict = service.verify(made_up)
        except (VerificationError, KeyFileError) as error:
            raise CommandError(f"the key service gives no verdict: {error}") from None
        finally:
            if service is not None:
                service.close()
        if verdict.valid:
            raise CommandError("the key service says that a made-up key is valid: it lets all in")
        self.stdout.write("the key service answers: a made-up key is invalid, as it should be")

    def _revoke(self, options: dict[str, Any]) -> None:
        guard = installed_guard()
        try:
            if options["stdin"]:
                count = guard.revoke(key=sys.stdin.readline().strip())
            elif options["everything"]:
                count = guard.revoke(everything=True)
            else:
                count = guard.revoke(fingerprint=options["fingerprint"], consumer=options["consumer"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{count} forgotten here. {_OWN_PROCESS}")
        self.stdout.write(f"Revoke at the key service: servers follow within {guard.settings.cache_ttl:g} s.")
