"""The origins that settings name, and whether they can be reached from here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from apikey_guard.cli.findings import Finding, Level
from apikey_guard.connecting import connect
from apikey_guard.core.origin import OriginSpec, OriginTarget
from apikey_guard.errors import TransportError
from apikey_guard.settings import Settings
from apikey_guard.settings_origins import spec_of
from apikey_guard.tls import tls_context


def origins_of(settings: Settings) -> Mapping[str, OriginSpec]:
    """Every origin of the settings by its name: those of `origins`, and those that are written as URLs."""
    named = dict(settings.origins)
    for given in (settings.origin, *(route.origin for route in settings.routes)):
        if given is not None:
            spec = spec_of(given, settings.origins)
            if spec not in named.values():
                named[spec.name] = spec
    return named


def about_origins(settings: Settings) -> Iterator[Finding]:
    """Whether each target can be connected to, within the time that a request would have."""
    for name, spec in origins_of(settings).items():
        seconds = spec.connect_timeout or settings.origin_connect_timeout
        troubles = [(target, _trouble(target, seconds, spec.ca)) for target in spec.targets]
        # With one that answers, requests are served.
        worst = Level.WARNING if any(trouble is None for _, trouble in troubles) else Level.PROBLEM
        for target, trouble in troubles:
            where = f"origin {target}" if name == str(target) else f"origin {name}: {target}"
            if trouble is None:
                yield Finding(Level.GOOD, f"{where} can be connected to")
            else:
                yield Finding(worst, f"{where} {trouble}")


def _trouble(target: OriginTarget, seconds: float, ca: str | None) -> str | None:
    """What keeps from connecting, as the end of a sentence; None where nothing does."""
    end = time.monotonic() + seconds

    def remaining() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise TransportError("timeout")
        return left

    try:
        with connect(target.host, target.port, remaining) as connection:
            if target.scheme == "https":
                tls_context(ca).wrap_socket(connection, server_hostname=target.host).close()
    except (TransportError, OSError, ValueError) as error:
        # Whatever else goes wrong on a connection that stands is TLS.
        cause = error.cause if isinstance(error, TransportError) else "tls"
        return {
            "dns": "has a host name that cannot be resolved",
            "connect": "cannot be connected to: is it running, is the port right?",
            "timeout": f"cannot be connected to within {seconds:g} s (origin_connect_timeout)",
        }.get(cause, "fails in TLS: is its certificate right for that name (ca)?")
    return None
