"""Whether the origins of the settings can be reached from here."""

from __future__ import annotations

from collections.abc import Iterator

from apikey_guard.diagnosis.findings import Finding, Level
from apikey_guard.errors import TransportError
from apikey_guard.forwarding.spec import OriginTarget
from apikey_guard.http1.dial import connect, counting_down, secured
from apikey_guard.http1.tls import tls_context
from apikey_guard.settings import Settings, all_origins


def about_origins(settings: Settings) -> Iterator[Finding]:
    """Whether each target can be connected to, within the time that a request would have."""
    for name, spec in all_origins(settings).specs.items():
        seconds = spec.connect_timeout or settings.origin_connect_timeout
        troubles = [(target, _trouble(target, seconds, spec.ca)) for target in spec.targets]
        # With one that answers, requests are served.
        worst = Level.WARNING if any(trouble is None for _, trouble in troubles) else Level.PROBLEM
        for target, trouble in troubles:
            where = f"origin {target}" if name == str(target) else f"origin {name}: {target}"
            if trouble is None:
                yield Finding(Level.GOOD, "origin", f"{where} can be connected to")
            else:
                yield Finding(worst, "origin_unreachable", f"{where} {trouble}")


def _trouble(target: OriginTarget, seconds: float, ca: str | None) -> str | None:
    """What keeps from connecting, as the end of a sentence; None where nothing does."""
    try:
        with connect(target.host, target.port, counting_down(seconds)) as connection:
            if target.scheme == "https":
                secured(connection, tls_context(ca), target.host).close()
    except TransportError as error:
        return {
            "dns": "has a host name that cannot be resolved",
            "connect": "cannot be connected to: is it running, is the port right?",
            "timeout": f"cannot be connected to within {seconds:g} s (origin_connect_timeout)",
        }.get(error.cause, "fails in TLS: is its certificate right for that name (ca)?")
    return None
