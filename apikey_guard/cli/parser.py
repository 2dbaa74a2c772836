"""The arguments of every command, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn

from apikey_guard.cli import check, demo, keys, serve, verify
from apikey_guard.cli.arguments import Command

_DESCRIPTION: Final = (
    "API keys checked inside your web app, or before it: run a gateway, make keys, see it work."
)

_STATUS: Final = """\
exit status:
  0    done; for a question, the answer is yes
  1    the answer is no: check found problems, the key is not valid, the tour went wrong
  2    it could not be done: wrong usage, settings or key file that cannot be used, port taken
  3    verify only: the key service gave no verdict
  130  ended by Ctrl-C

Colours are used on a terminal only, and not where NO_COLOR is set. Where the output is piped,
tables become tab-separated lines.
"""


def parse(arguments: Sequence[str] | None) -> tuple[Command, argparse.Namespace]:
    """The command that is meant, and its options. Wrong usage ends the process with 2.

    :param arguments: what follows the command's name; None takes it from the command line.
    """
    parser = _make_parser()
    options, unknown = parser.parse_known_args(arguments)
    command: Parser = getattr(options, "parser", parser)
    if unknown:
        command.error(f"not understood: {', '.join(map(_named, unknown))}")
    run: Command | None = getattr(options, "run", None)
    if run is None:
        command.print_help()
        # Asked for nothing: the help is the answer, but not to what a script wanted.
        raise SystemExit(2)
    return run, options


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and points to the help instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n`{self.prog} --help` shows how it is used\n")


def _named(argument: str) -> str:
    # An option's name may be repeated; anything else may be a key.
    return (
        argument.partition("=")[0] if argument.startswith("--") else "one more argument (not repeated here)"
    )


def _make_parser() -> Parser:
    parser = Parser(
        prog="apikey-guard",
        description=_DESCRIPTION,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"apikey-guard {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for module in (demo, serve, check, verify, keys):
        module.add_to(commands)
    return parser


def _version() -> str:
    try:
        return version("apikey-guard")
    except PackageNotFoundError:
        return "(not installed)"
