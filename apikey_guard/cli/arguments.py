"""What several commands share: how one is declared, and where settings are read from."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, Unpack, cast

from apikey_guard.cli.console import Console
from apikey_guard.errors import SettingsError
from apikey_guard.settings import DEFAULTS, Settings, SettingsArgs, load_settings
from apikey_guard.settings.sources import from_text

Command = Callable[[argparse.Namespace, Console], int]
Commands = argparse._SubParsersAction  # the only name that the type has


class Load(Protocol):
    """Loads settings."""

    def __call__(self, **given: Unpack[SettingsArgs]) -> Settings: ...


# The formatter that keeps line breaks of the examples keeps those of the description too.
_HELP_WIDTH: Final = 80
_LOWEST_PORT, _HIGHEST_PORT = 0, 65_535
_SHOWN_SOURCES: Final = {"keyword": "--set"}


class ReadSettings(NamedTuple):
    """Settings as a command found them.

    :param settings: complete and checked.
    :param warnings: what was found beside them, such as unknown variables of the environment.
    """

    settings: Settings
    warnings: tuple[str, ...]

    def source(self, name: str) -> str:
        """Where a setting came from, in the words of the command line."""
        source = self.settings.sources[name]
        if source == "keyword" and name == "config_file":
            return "--config"
        return _SHOWN_SOURCES.get(source, source)


def add_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    run: Command,
    *,
    summary: str,
    description: str = "",
    examples: str,
) -> argparse.ArgumentParser:
    """Declare a command; its help ends with examples that can be copied."""
    indented = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {description}".strip(), _HELP_WIDTH),
        epilog=f"example:\n{indented}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`read_settings` reads."""
    parser.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    add_set(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """The option for single settings."""
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one setting, written as in the environment; wins over environment and file; repeatable",
    )


def read_settings(options: argparse.Namespace, *, load: Load = load_settings) -> ReadSettings:
    """The settings that hold: ``--set`` over environment over file over default.

    :param load: makes them of what ``--set`` and ``--config`` give.
    :raises SettingsError: lists every problem.
    """
    given: dict[str, object] = {} if options.config is None else {"config_file": options.config}
    problems = []
    for text in options.set:
        name, equals, value = text.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals:
            # Not repeated: somebody may have left the name away and kept the secret.
            problems.append("--set: write NAME=VALUE, like --set cache_ttl=30")
        else:
            given[name] = from_text(name, value, DEFAULTS[name]) if name in DEFAULTS else value
    if problems:
        raise SettingsError(problems)
    # Hooks are named as module:name, of modules that lie where the app is started. At the end of
    # the path, so that no file there passes for a module of Python's own.
    sys.path.append(os.getcwd())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = load(**cast("SettingsArgs", given))
    return ReadSettings(settings, tuple(str(warning.message) for warning in caught))


def port(text: str) -> int:
    """A port number; 0 takes a free one."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not _LOWEST_PORT <= number <= _HIGHEST_PORT:
        raise argparse.ArgumentTypeError("must be a port number from 0 (any free one) to 65535")
    return number


def line_from_stdin() -> str:
    """The first line of standard input, without its line break."""
    # Shells of Windows put a byte order mark before what they pipe.
    return sys.stdin.readline().removeprefix("\ufeff").rstrip("\r\n")
