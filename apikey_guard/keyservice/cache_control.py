"""What ``Cache-Control`` of a key service's answer means for a verdict (RFC 9111, RFC 5861)."""

from __future__ import annotations

import re
from dataclasses import replace

from apikey_guard.core.model import Verdict
from apikey_guard.keyservice.fields import Headers, values

_SECONDS = re.compile(r"[0-9]{1,10}")


def cache_control_ttl(headers: Headers) -> tuple[float | None, bool]:
    """How long the answer may serve, and whether it may serve longer while the service is down.

    ``no-store`` and ``no-cache`` allow neither. ``max-age`` counts from when the answer was made,
    so ``Age`` is taken off. ``must-revalidate`` and ``stale-if-error=0`` forbid serving longer;
    how much longer is said by our own setting. ``s-maxage`` is for caches that several parties
    share, which this is not.

    :returns: seconds (None where the answer does not say), and whether stale is allowed.
    """
    directives = _directives(headers)
    if "no-store" in directives or "no-cache" in directives:
        return 0.0, False
    stale = "must-revalidate" not in directives and directives.get("stale-if-error") != "0"
    if "max-age" not in directives:
        return None, stale
    max_age = directives["max-age"]
    # Section 4.2.1: what cannot be read, or is said twice in two ways, is stale.
    if not _SECONDS.fullmatch(max_age):
        return 0.0, stale
    ages = values(headers, "Age")
    age = int(ages[0]) if ages and _SECONDS.fullmatch(ages[0].strip()) else 0
    return float(max(int(max_age) - age, 0)), stale


def _directives(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    # A comma inside quotes is split as well: no directive read here has one, and what is left of
    # another keeps its quote and so equals none of ours.
    for part in ",".join(values(headers, "Cache-Control")).split(","):
        name, _, said = part.strip().partition("=")
        lower, said = name.strip().lower(), said.strip().strip('"')
        found[lower] = said if found.get(lower, said) == said else ""
    return found


def shortened(verdict: Verdict, headers: Headers) -> Verdict:
    """The verdict, with what ``Cache-Control`` takes off it; it never adds anything."""
    ttl, stale = cache_control_ttl(headers)
    limits = [seconds for seconds in (verdict.ttl, ttl) if seconds is not None]
    return replace(
        verdict,
        ttl=min(limits, default=None),
        stale_allowed=verdict.stale_allowed and stale,
    )
