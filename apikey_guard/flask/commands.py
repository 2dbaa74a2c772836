"""``flask apikey-guard``: the commands of one app."""

from __future__ import annotations

from collections.abc import Iterator

import click
from flask import Flask
from flask.cli import AppGroup

from apikey_guard.assembly import key_cookies
from apikey_guard.diagnosis.findings import Level
from apikey_guard.diagnosis.settings import nothing_asks
from apikey_guard.flask.marks import Views, is_required
from apikey_guard.guard import Guard
from apikey_guard.settings import SETTING_NAMES, Settings


def make_commands(app: Flask, guard: Guard) -> AppGroup:
    """The group of commands that ``init_app`` registers.

    :param app: whose views are shown.
    :param guard: of the app.
    """
    group = AppGroup("apikey-guard", help="API keys: settings, open views, what is remembered.")

    @group.command("check")
    @click.option("--offline", is_flag=True, help="Do not ask the key service.")
    def check(*, offline: bool) -> None:
        """Show what is set and which views need no key or scopes, and ask about a made-up key."""
        _check(app, guard, offline=offline)

    @group.command("revoke")
    @click.option("--key", is_flag=True, help="Ask for the key, without showing it.")
    @click.option("--fingerprint", metavar="HEX", help="Its fingerprint, as logs show it.")
    @click.option("--consumer", metavar="NAME", help="All keys of the consumer with this id or name.")
    @click.option("--everything", is_flag=True, help="All there is.")
    def revoke(*, key: bool, fingerprint: str | None, consumer: str | None, everything: bool) -> None:
        """Forget what is remembered of a key, so that the key service is asked again.

        It reaches the memory of this process only: running workers go on until their cache_ttl ends.
        """
        if [key, fingerprint is not None, consumer is not None, everything].count(True) != 1:
            raise click.UsageError("give exactly one of --key, --fingerprint, --consumer, --everything")
        # Never an argument: those stand in the shell's history and in the list of processes.
        text = click.prompt("key", hide_input=True) if key else None
        try:
            count = guard.revoke(key=text, fingerprint=fingerprint, consumer=consumer, everything=everything)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        click.echo(
            f"forgotten in this process: {count}; running workers know revoked keys for another "
            f"{guard.settings.cache_ttl:g} s at most"
        )

    @group.command("stats")
    def stats() -> None:
        """Print what this process has decided and remembers."""
        for name, value in guard.stats().items():
            click.echo(f"{name} {value}")

    return group


def _check(app: Flask, guard: Guard, *, offline: bool) -> None:
    settings = guard.settings
    click.echo("settings")
    for name in SETTING_NAMES:
        if settings.sources[name] != "default":
            click.echo(f"  {name} = {settings.shown(name)}  ({settings.sources[name]})")
    click.echo("routes and views that are not simply protected")
    lines = [
        *_default(app, guard),
        *_routes(guard),
        *_cookies(app, settings),
        *_views(app, guard),
    ]
    for line in lines or ["none: everything needs a valid key"]:
        click.echo(f"  {line}")
    # Imported here: an app that starts needs none of it.
    from apikey_guard.diagnosis.everything import diagnosed

    problems = []
    for finding in diagnosed(settings, offline=offline):
        if finding.level is Level.PROBLEM:
            problems.append(finding.text)
        else:
            click.echo(str(finding))
    if problems:
        raise click.ClickException("\n".join(problems))


def _routes(guard: Guard) -> Iterator[str]:
    settings = guard.settings
    if settings.mode != "enforce":
        yield f"everything, unless a route enforces: nothing is refused (mode {settings.mode})"
    for route in settings.routes:
        mode = route.mode or settings.mode
        if route.access != "required" or route.scopes or mode != "enforce":
            methods = ",".join(sorted(route.methods or ())) or "every method"
            said = _said(route.access, frozenset(route.scopes))
            yield f"route {route.path} ({methods}): {said}{'' if mode == 'enforce' else f', mode {mode}'}"


def _default(app: Flask, guard: Guard) -> Iterator[str]:
    access = guard.settings.default_access
    if access == "required":
        return
    yield f"everything else, 404s, static files and new views too: {access} (default_access)"
    views = Views(app)
    asking = any(
        views.access(rule.endpoint, method) == "required"
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    ) or any(is_required(each) for functions in app.before_request_funcs.values() for each in functions)
    if not asking and nothing_asks(guard.settings):
        yield "nothing is guarded: no view has guard.required or require_scopes, and no route is required"


def _cookies(app: Flask, settings: Settings) -> Iterator[str]:
    if app.config["SESSION_COOKIE_NAME"] in key_cookies(settings):
        yield (
            "the cookie of the session holds a key (key_locations): Flask would find a stand-in in it; "
            "give one of them another name (SESSION_COOKIE_NAME)"
        )


def _views(app: Flask, guard: Guard) -> Iterator[str]:
    opt_out = guard.settings.default_access == "required"
    views = Views(app)
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        said: dict[str, list[str]] = {}
        for method in sorted(rule.methods or ()):
            mark = views.mark(rule.endpoint, method)
            asks = not opt_out and views.access(rule.endpoint, method) == "required"
            if mark.access != "required" or mark.scopes or asks:
                said.setdefault(_said(mark.access, mark.scopes), []).append(method)
        for text, methods in said.items():
            yield f"view {rule.endpoint} at {rule.rule} ({','.join(methods)}): {text}"


def _said(access: str, scopes: frozenset[str]) -> str:
    return f"needs {', '.join(sorted(scopes))}" if scopes else access
