"""All findings in one go, for whoever shows them all."""

from __future__ import annotations

from collections.abc import Iterator

from apikey_guard.diagnosis.findings import Finding
from apikey_guard.diagnosis.key_service import about_key_service
from apikey_guard.diagnosis.origins import about_origins
from apikey_guard.diagnosis.settings import about_configuration
from apikey_guard.settings import Settings


def diagnosed(settings: Settings, *, offline: bool = False) -> Iterator[Finding]:
    """All there is to say about settings, what takes time at the end.

    :param offline: neither the key service nor an origin is asked.
    """
    yield from about_configuration(settings)
    if not offline:
        yield about_key_service(settings)
        yield from about_origins(settings)
