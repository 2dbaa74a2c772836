"""``apikey-guard serve``: a gateway of the settings, on gunicorn."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from apikey_guard.cli.arguments import (
    Commands,
    add_command,
    add_set,
    port,
    read_settings,
)
from apikey_guard.cli.console import Console
from apikey_guard.cli.serving import listen, url_of
from apikey_guard.core.routing import Route
from apikey_guard.diagnosis.words import printable
from apikey_guard.errors import ApiKeyGuardError
from apikey_guard.gateway import Gateway, gateway_settings
from apikey_guard.keyservice.keyfile.service import FileKeyService
from apikey_guard.observe.access_log import access_logger
from apikey_guard.settings import Settings, all_origins

if TYPE_CHECKING:
    from apikey_guard.cli.workers import Workers

_DEFAULT_BIND: Final = ("127.0.0.1", 8000)
# A process computes on one core at a time and remembers keys on its own, so one for each core, and on a
# large machine not so many that each new key is asked for dozens of times.
_MOST_WORKERS: Final = 8
_MOST_THREADS: Final = 512
# Longer than a phone takes to change its network, shorter than most who wait for a thread would.
_CALLER_SECONDS: Final = 30
_BACKLOG: Final = 2_048
_UNUSABLE: Final = 2
_LABEL_WIDTH: Final = 13


def add_to(commands: Commands[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        summary="run a gateway: valid requests go on to their origins",
        description="Settings come from FILE, else from the environment. Needs the extra serve (gunicorn). "
        "SIGTERM lets requests end, Ctrl-C does not wait, SIGHUP reads the settings again.",
        examples="apikey-guard serve gateway.toml --bind 0.0.0.0:8000\n"
        "APIKEY_GUARD_ORIGIN=https://api.internal APIKEY_GUARD_KEYS_FILE=keys.toml apikey-guard serve",
    )
    parser.add_argument("config", nargs="?", metavar="FILE", help="settings file (TOML)")
    add_set(parser)
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        type=_address,
        default=_DEFAULT_BIND,
        help="address to listen on (default: 127.0.0.1:8000); 0.0.0.0:8000 is every IPv4 address, "
        "port 0 any free one",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_number,
        help=f"processes (default: one for each core, {_MOST_WORKERS} at most)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_number,
        help="requests at once in each process (default: twice origin_max_connections, so that an origin "
        "that hangs takes no more than half)",
    )
    parser.add_argument(
        "--caller-timeout",
        metavar="SECONDS",
        type=_number,
        default=_CALLER_SECONDS,
        help="for the header of a request, for each pause in its body and for each in which its caller does "
        f"not read (default: {_CALLER_SECONDS})",
    )
    parser.add_argument("--no-access-log", action="store_true", help="write no line for each request")


def _serve(options: argparse.Namespace, console: Console) -> int:
    read = read_settings(options, load=gateway_settings)
    for warning in read.warnings:
        console.warn(warning)
    settings = read.settings
    # What is wrong is said now, not by each worker.
    Gateway(settings).close()
    try:
        from apikey_guard.cli.workers import Workers
    except ImportError:
        raise ApiKeyGuardError("serve needs gunicorn: pip install 'apikey-guard[serve]'") from None
    if settings.keys_file is not None:
        FileKeyService(settings.keys_file).close()
    workers = options.workers or min(_cores(), _MOST_WORKERS)
    threads = options.threads or min(2 * settings.origin_max_connections, _MOST_THREADS)
    host, number = options.bind
    listening = listen(host, number, backlog=_BACKLOG, option="--bind")
    url = url_of(host, listening.getsockname()[1])
    _introduce(settings, console, url=url, size=f"{_counted(workers, 'worker')} of {threads} threads")
    _write_logs(access=not options.no_access_log)

    def read_again() -> Settings:
        return read_settings(options, load=gateway_settings).settings

    # gunicorn closes the descriptor when it is done with it.
    descriptor = listening.detach()
    return _run(
        Workers(
            settings,
            read_again,
            descriptor=descriptor,
            workers=workers,
            threads=threads,
            caller_timeout=options.caller_timeout,
        )
    )


def _run(workers: Workers) -> int:
    """Serve until a signal comes.

    :returns: the exit status; workers are forked in here, and theirs is gunicorn's to know.
    """
    parent = os.getpid()
    try:
        workers.run()
    except SystemExit as end:
        if os.getpid() != parent:
            raise
        return _UNUSABLE if end.code else 0
    return 0


# -- what is said at the start -----------------------------------------------------------------


def _introduce(settings: Settings, console: Console, *, url: str, size: str) -> None:
    lines = [
        ("gateway", f"{url} ({size})"),
        ("key service", _key_service(settings)),
        *_origins(settings),
        *_routes(settings),
    ]
    if settings.health_path is not None:
        lines.insert(1, ("health", f"{url}{settings.health_path}"))
    before = ""
    for label, text in lines:
        shown = "" if label == before else label
        console.say(f"{console.paint(shown.ljust(_LABEL_WIDTH), 'title')}{printable(text)}")
        before = label


def _key_service(settings: Settings) -> str:
    name = next(
        name for name in ("validator_url", "keys_file", "key_service") if getattr(settings, name) is not None
    )
    shown, protocol = (settings.shown(each).strip("'") for each in (name, "validator_protocol"))
    return f"{shown} ({protocol})" if name == "validator_url" else shown


def _origins(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, spec in all_origins(settings).specs.items():
        targets = ", ".join(f"{target}{target.path}" for target in spec.targets)
        yield "origins", targets if name == targets else f"{name}  {targets}"
    for name in all_origins(settings).given:
        yield "origins", f"{name}  an object of the app's own"


def _routes(settings: Settings) -> Iterator[tuple[str, str]]:
    rows = [
        (
            " ".join([*(route.hosts or ()), *_methods(route), route.path]),
            _needs(route, settings),
            _goes_to(route, settings),
        )
        for route in settings.routes
    ]
    rest = Route("/*", access=settings.default_access)
    rows.append(("everything else", _needs(rest, settings), _goes_to(rest, settings)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for what, access, origin in rows:
        yield "routes", f"{what:<{widths[0]}}  {access:<{widths[1]}}  {origin}"


def _needs(route: Route, settings: Settings) -> str:
    mode = route.mode or settings.mode
    words = [route.access, *([] if mode == "enforce" else [f"mode {mode}"])]
    return ", ".join([*words, f"scopes {' '.join(sorted(route.scopes))}"] if route.scopes else words)


def _methods(route: Route) -> list[str]:
    methods = set(route.methods or ())
    return sorted(methods - {"HEAD"} if "GET" in methods else methods)


def _goes_to(route: Route, settings: Settings) -> str:
    origin = settings.origin if route.origin is None else route.origin
    if settings.choose_origin is not None:
        otherwise = "404" if origin is None else _named(origin)
        return f"as choose_origin says, else {otherwise}"
    if origin is None:
        return "404"
    without = f" without {route.path.removesuffix('/*')}" if route.strip_prefix else ""
    return f"to {_named(origin)}{without}"


def _named(origin: str | Sequence[str]) -> str:
    return origin if isinstance(origin, str) else ", ".join(origin)


# -- what is written while it runs -------------------------------------------------------------


def _write_logs(*, access: bool) -> None:
    """Access log to standard output, everything else to standard error."""
    # Where nobody reads it any more, a traceback for each request would help nobody.
    logging.raiseExceptions = False
    rest = logging.StreamHandler(sys.stderr)
    # As gunicorn writes its own lines, which stand between these.
    rest.setFormatter(
        logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S %z")
    )
    # Each refusal and each failure to forward is in the access log.
    rest.setLevel(logging.WARNING)
    logging.getLogger("apikey_guard").addHandler(rest)
    access_logger.propagate = False
    if access:
        lines = logging.StreamHandler(sys.stdout)
        lines.setFormatter(_Timed("time=%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S"))
        access_logger.addHandler(lines)
        access_logger.setLevel(logging.INFO)


class _Timed(logging.Formatter):
    """Writes times in UTC: logs of several machines are read together."""

    converter = staticmethod(time.gmtime)


# -- options -----------------------------------------------------------------------------------


def _address(text: str) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or not host or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        raise argparse.ArgumentTypeError("must be HOST:PORT, like 0.0.0.0:8000 or [::1]:8000")
    return host.strip("[]"), port(number)


def _number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if not number:
        raise argparse.ArgumentTypeError("must be a number from 1 to 9999")
    return number


def _cores() -> int:
    """How many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
