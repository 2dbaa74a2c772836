"""Where values come from: keyword arguments, framework config, the environment, a TOML file.

Nothing here knows what a value must be; it only finds it, reads text as what the setting
holds, and remembers the place. A value counts as given when it is there: ``0``, ``False``,
``""`` and ``[]`` are given, :data:`UNSET` is not.
"""

from __future__ import annotations

import codecs
import importlib
import json
import os
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from apikey_guard.errors import Problem

PREFIX: Final = "APIKEY_GUARD_"
HOOKS: Final = frozenset({"key_service", "shared_cache", "render_rejection", "on_decision", "choose_origin"})
# A word, or an object of the app's own; as a text, it is named as a hook is.
PARTS: Final = frozenset({"dialect", "validator_protocol"})
# Settings without a default that hold one text or several.
_TEXT_OR_LIST: Final = frozenset({"validator_client_cert", "origin"})
# Settings without a default that can be true or false.
_TEXT_OR_BOOLEAN: Final = frozenset({"validator_cache_control", "hide_credentials"})


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


#: Stands for "not given" where None is a value.
UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that was given but could not be read."""

    why: str


@dataclass(slots=True)
class Found:
    """What the sources gave: the winning values, where each came from, and what was wrong.

    :param complete: False where a source could not be read, so that something may be missing.
    """

    values: dict[str, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    complete: bool = True

    def add(self, name: str, value: object, source: str) -> None:
        """Take a value, unless a source of higher rank gave one before."""
        if name not in self.values:
            self.values[name] = value
            self.sources[name] = source


def closest(name: str, known: Collection[str]) -> str:
    """``; did you mean ...?`` with the known name that is most like this one, or nothing."""
    match = _closest(name, known)
    return f"; did you mean {match}?" if match else ""


def _closest(name: str, known: Collection[str]) -> str | None:
    import difflib  # only where something is wrong

    return next(iter(difflib.get_close_matches(name.lower(), known, n=1)), None)


def find(
    defaults: Mapping[str, object],
    given: Mapping[str, object],
    framework: Mapping[str, object] | None,
    environ: Mapping[str, str],
) -> Found:
    """Every value that was given, by rank: keyword, framework config, environment, file.

    :param defaults: what holds where nothing is given, for every setting.
    :param given: keyword arguments.
    :param framework: names in either case, without prefix.
    :param environ: the environment; only names with the prefix are looked at.
    """
    found = Found()
    names = defaults.keys()
    _from_mapping(found, names, given, "keyword")
    _from_mapping(found, names, _lower_case(framework or {}, found.problems), "framework config")
    _from_environment(found, defaults, environ)
    path = found.values.get("config_file")
    if path is not None:
        found.complete = False
        # Anything else is no path, which the check of the setting says.
        if isinstance(path, str | os.PathLike) and str(path).isprintable() and str(path):
            _from_file(found, names, Path(path))
    for name in (HOOKS | PARTS) & found.values.keys():
        value = found.values[name]
        if isinstance(value, str) and (name in HOOKS or ":" in value):
            found.values[name] = _resolved(value)
    return found


def _lower_case(mapping: Mapping[str, object], problems: list[str]) -> dict[str, object]:
    lowered: dict[str, object] = {}
    for name, value in mapping.items():
        if str(name).lower() in lowered:
            problems.append(f"{str(name).lower()} (framework config): is there twice, in two spellings")
        lowered[str(name).lower()] = value
    return lowered


def _from_mapping(found: Found, names: Collection[str], mapping: Mapping[str, object], source: str) -> None:
    for name, value in mapping.items():
        if value is UNSET:
            continue
        if name in names:
            found.add(name, value, source)
        else:
            found.problems.append(_unknown(name, names, source))


def _unknown(name: object, names: Collection[str], source: str) -> Problem:
    hint = closest(str(name).upper().removeprefix(PREFIX), names)
    where = "" if source == "keyword" else f" ({source})"
    return Problem(f"{name}{where}: there is no such setting{hint}", "unknown_setting")


def _from_environment(found: Found, defaults: Mapping[str, object], environ: Mapping[str, str]) -> None:
    unknown = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in defaults and variable.isupper():
            value = from_text(name, environ[variable], defaults[name])
            found.add(name, value, f"environment {variable}")
        else:
            match = _closest(name, defaults)
            unknown.append(f"{variable} (did you mean {PREFIX}{match.upper()}?)" if match else variable)
    if unknown:
        # A warning only: Kubernetes sets APIKEY_GUARD_PORT for any service called apikey-guard.
        warnings.warn(
            f"not settings of apikey_guard, so not obeyed: {', '.join(unknown)}", UserWarning, stacklevel=4
        )


def _from_file(found: Found, names: Collection[str], path: Path) -> None:
    import tomllib  # only where there is a file

    source = f"file {path}"
    try:
        # With the byte order mark that editors of Windows write, or without.
        text = path.read_text("utf-8-sig")
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found.problems.append(f"{source}: is not TOML: {error}")
    except UnicodeDecodeError as error:
        utf_16 = error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        found.problems.append(f"{source}: is not UTF-8 text{' but UTF-16: save it anew' if utf_16 else ''}")
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        found.problems.append(f"{source}: is not TOML that can be read")
    except FileNotFoundError:
        found.problems.append(f"{source}: does not exist")
    except OSError as error:
        found.problems.append(f"{source}: cannot be read ({type(error).__name__})")
    else:
        for name, value in table.items():
            where = source + _line(text, name)
            if name == "config_file":
                found.problems.append(f"config_file ({where}): a file cannot name another one")
            elif name in names:
                found.add(name, value, where)
            else:
                found.problems.append(_unknown(name, names, where))
        found.complete = True


def _line(text: str, name: str) -> str:
    """``, line N`` of the first place that sets a top-level name in TOML, or nothing."""
    spelling = re.compile(rf"""\s*(?:\[\[?\s*)?["']?{re.escape(name)}["']?\s*[=\].]""")
    for number, line in enumerate(text.splitlines(), start=1):
        if spelling.match(line):
            return f", line {number}"
    return ""


def _resolved(dotted: str) -> object:
    """The object that ``package.module:name`` names; other errors of that module are its own."""
    module, colon, name = dotted.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return Unreadable(f"{dotted[:60]!r} is not of the form 'package.module:name'")
    try:
        value: object = importlib.import_module(module)
    except ImportError as error:
        return Unreadable(f"{dotted!r} cannot be imported ({type(error).__name__}: {error})")
    for attribute in name.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError:
            return Unreadable(f"module {module!r} has no {name!r}")
    return value


def _boolean(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def from_text(name: str, text: str, default: object) -> object:
    """What the text of an environment variable says; text that cannot be read as more stays text.

    :param name: the setting.
    :param default: its default, which tells what it holds. Only a setting that can hold a list
        or a table is read as JSON: a pattern may start with a bracket, too.
    """
    if not text:
        return _no_value(default)
    structured = isinstance(default, tuple | Mapping | bool) or name in _TEXT_OR_LIST
    if structured and text[0] in "[{":
        return _json(text)
    if isinstance(default, bool) or name in _TEXT_OR_BOOLEAN:
        return _boolean(text)
    if isinstance(default, int | float):
        return _number(text)
    if isinstance(default, tuple) or (name in _TEXT_OR_LIST and "," in text):
        return [entry.strip() for entry in text.split(",")]
    return text


def _no_value(default: object) -> object:
    # `NAME=` is how compose files and charts write "no value".
    if default is None:
        return None
    if isinstance(default, tuple):
        return []
    return {} if isinstance(default, Mapping) else ""


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return Unreadable(f"is not JSON (line {error.lineno}, column {error.colno})")
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        return Unreadable("is not JSON that can be read")
