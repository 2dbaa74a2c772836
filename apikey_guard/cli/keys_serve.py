"""``apikey-guard keys serve``: a key file as a real key service."""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING, Final

from apikey_guard.cli.arguments import Commands, add_command, port
from apikey_guard.cli.console import Console, shortened
from apikey_guard.cli.serving import Server, watched
from apikey_guard.diagnosis.words import milliseconds, printable
from apikey_guard.keyservice.keyfile.serve import create_app
from apikey_guard.settings.checks import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Not one that Flask, Django or Kong take by themselves.
_DEFAULT_PORT: Final = 8181


def add_to(commands: Commands[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command; returns its parser, for the options of the key file."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        summary="serve the key file as a key service over HTTP",
        description="Speaks protocol json at POST /verify, until Ctrl-C. It has no TLS: for development.",
        examples="apikey-guard keys serve --port 8181",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=_DEFAULT_PORT,
        help="port to listen on, 0 for any free one (default: %(default)s)",
    )
    return parser


def _serve(options: argparse.Namespace, console: Console) -> int:
    logging.getLogger("apikey_guard").addHandler(_Warnings(console))
    app = create_app(options.file)
    if not is_loopback(options.host):
        console.warn(f"keys travel in the clear to {options.host}: use this on a private network only")

    def tell(environ: WSGIEnvironment, status: int, seconds: float) -> None:
        # The key is in the body, which is not shown.
        what = f"{environ['REQUEST_METHOD']} {shortened(printable(environ['PATH_INFO']), 40)}"
        console.hint(f"{time.strftime('%H:%M:%S')}  {what}  {status}  {milliseconds(seconds)}")

    with Server(watched(app, tell), host=options.host, port=options.port) as server:
        console.say(f"{server.url}/verify")
        console.hint(f"answers for the keys in {options.file}; Ctrl-C ends it")
        server.wait()
    return 0


class _Warnings(logging.Handler):
    """Shows what the key file's reader complains about."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(printable(record.getMessage()))
