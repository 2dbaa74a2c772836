"""Values of settings for people to read, with every secret masked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

from apikey_guard.forwarding.spec import OriginSpec
from apikey_guard.settings.checks import MASK
from apikey_guard.settings.sources import HOOKS, PARTS


def shown(name: str, value: object) -> str:
    """The value of a setting, in the words of Python.

    Secrets are masked by their own types; a URL is shown without user, password and query, and a hook by
    its name.
    """
    if value is None:
        return "None"
    if name in {"validator_url", "validator_proxy"}:
        return repr(_masked_url(str(value)))
    if name in HOOKS or (name in PARTS and not isinstance(value, str)):
        return _named(value)
    if name == "origins" and isinstance(value, Mapping):
        origins = (f"{each!r}: {_origin(of)}" for each, of in value.items())
        return f"{{{', '.join(origins)}}}"
    return repr(dict(value) if isinstance(value, MappingProxyType) else value)


def _named(value: object) -> str:
    value = getattr(value, "__wrapped__", value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


def _origin(value: object) -> str:
    return repr(value) if isinstance(value, OriginSpec) else _named(value)


def _masked_url(url: str) -> str:
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    query = MASK if parts.query else ""
    return urlunsplit(parts._replace(netloc=f"{MASK}@{host}" if at else host, query=query))
