"""One frozen value with everything that can be set, and where each value came from.

:class:`Settings` is complete and checked, or it does not exist: every problem is listed in one
:class:`~apikey_guard.errors.SettingsError`. Importing this package reads nothing; the
environment and the file are read when :func:`load_settings` is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Unpack, cast

from apikey_guard.errors import SettingsError
from apikey_guard.settings.fields import DEFAULTS, SETTING_NAMES, Settings
from apikey_guard.settings.given import SettingsArgs
from apikey_guard.settings.origins import Origins
from apikey_guard.settings.rules import checked
from apikey_guard.settings.sources import UNSET, find

__all__ = ["DEFAULTS", "SETTING_NAMES", "UNSET", "Settings", "SettingsArgs", "all_origins", "load_settings"]


def all_origins(settings: Settings) -> Origins:
    """The `origins`, and those that `origin` and the routes write as URLs."""
    return Origins(settings.origins, [settings.origin, *(route.origin for route in settings.routes)])


def load_settings(
    *,
    framework: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    **given: Unpack[SettingsArgs],
) -> Settings:
    """The settings that hold: keyword over framework config over environment over file over default.

    A value counts when it was given, not when it is true: ``0``, ``False`` and an empty list win
    over what stands below them. :data:`UNSET` is not given.

    :param framework: a framework's own configuration, names in either case, without prefix.
    :param environ: where ``APIKEY_GUARD_*`` is read from; None is the process's environment, now.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists every problem of every source.
    """
    found = find(DEFAULTS, given, framework, os.environ if environ is None else environ)
    values = {**DEFAULTS, **found.values}
    good, problems = checked(values, found.sources, complete=found.complete)
    if found.problems or problems:
        raise SettingsError([*found.problems, *problems])
    sources = {name: found.sources.get(name, "default") for name in SETTING_NAMES}
    # Every value has passed its check, which is what the type checker cannot see.
    return Settings(**cast("dict[str, Any]", good), sources=sources)
