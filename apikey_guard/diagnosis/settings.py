"""What may be wrong with settings that are valid: secrets readable by others, keys in URLs, no cache."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from apikey_guard.assembly import hiding_of, open_by_default
from apikey_guard.core.routing import routes_alike
from apikey_guard.diagnosis.findings import Finding, Level
from apikey_guard.settings import Settings
from apikey_guard.settings.checks import is_loopback

_SECRETS: Final = ("validator_headers", "fingerprint_secret", "validator_proxy")


def about_configuration(settings: Settings) -> Iterator[Finding]:
    """What the settings mean and allow, and who can read the files that they name."""
    yield _about_revocation(settings)
    yield from about_settings(settings)
    yield from about_files(settings)


def about_settings(settings: Settings) -> Iterator[Finding]:
    """What the settings allow that their owner may not have meant; nothing but them is looked at."""
    locations = {
        *settings.key_locations,
        *(name for route in settings.routes for name in route.key_locations or ()),
    }
    if any(name.startswith("query:") for name in locations):
        yield _warning(
            "key_in_query",
            "key_locations: keys in the query end up in access logs, browser histories and Referer headers; "
            "leave out query: as soon as no caller needs it",
        )
    url = urlsplit(settings.validator_url or "")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield _warning(
            "plain_http", f"validator_url: keys travel in the clear to {url.hostname}; write https://"
        )
    yield from _about_modes(settings)
    opened = open_by_default(settings)
    if opened is not None:
        yield _warning("open_by_default", opened)
    if settings.allow_preflight:
        yield _warning(
            "allow_preflight",
            "allow_preflight: an OPTIONS with Origin and Access-Control-Request-Method needs no key to reach "
            "every view, app and origin that needs no scopes, also those that answer every method alike",
        )
    yield from _about_hiding(settings)
    if settings.cache_ttl == 0 or settings.cache_max_entries == 0:
        yield _warning(
            "nothing_remembered",
            "cache_ttl, cache_max_entries: nothing is remembered, every request asks the key service",
        )
    if settings.validator_cache_control and settings.validator_protocol != "status":
        yield _warning(
            "cache_control",
            "validator_cache_control: most frameworks send no-store with every answer, "
            "which switches the cache off",
        )
    yield from (_warning("routes_alike", sentence) for sentence in routes_alike(settings.routes))
    used = {settings.origin, *(route.origin for route in settings.routes)}
    unused = [name for name in settings.origins if name not in used]
    if unused and settings.choose_origin is None:
        yield _warning("origin_unused", f"origins: nothing is sent to {', '.join(unused)}")
    if any(ip_network(network, strict=False).prefixlen == 0 for network in settings.trusted_proxies):
        yield _warning(
            "everybody_trusted",
            "trusted_proxies: everybody may say from which address and host a request comes",
        )


def _about_modes(settings: Settings) -> Iterator[Finding]:
    if settings.mode != "enforce":
        yield _warning("not_enforced", f"mode: {settings.mode} lets requests without a valid key pass")
        return
    where = sorted({route.path for route in settings.routes if route.mode not in {None, "enforce"}})
    if where:
        sentence = f"routes: under {', '.join(where)} the mode lets requests without a valid key pass"
        yield Finding(Level.WARNING, "not_enforced", sentence, tuple(where))


def _about_hiding(settings: Settings) -> Iterator[Finding]:
    """What becomes of the key, for all requests and for the routes that differ."""
    for where, hide in hiding_of(settings).items():
        if hide is False:
            sentence = (
                f"hide_credentials, {where}: false: what answers, its logs and its reports see the keys"
            )
            yield _warning("keys_visible", sentence)
        else:
            yield Finding(Level.GOOD, "keys_hidden", f"hide_credentials, {where}: {hide}")


def worst_ages(settings: Settings) -> tuple[float, float]:
    """How many seconds a revoked key may work: while the key service is up, and while it is down."""
    return settings.cache_ttl, settings.cache_ttl + settings.stale_if_error


def _about_revocation(settings: Settings) -> Finding:
    """How long a revoked key may work."""
    up, down = worst_ages(settings)
    longer = f", {down:g} s while the key service is down" if down > up else ""
    sentence = f"a revoked key works for {up:g} s at most{longer} (cache_ttl, stale_if_error)"
    return Finding(Level.GOOD, "revocation", sentence)


def nothing_asks(settings: Settings) -> bool:
    """Whether a key is needed nowhere, unless a mark of the app's own views asks for one."""
    return settings.default_access != "required" and all(
        route.access != "required" for route in settings.routes
    )


def about_files(settings: Settings) -> Iterator[Finding]:
    """Files with secrets in them that others than their owner can read."""
    if settings.keys_file is not None and (mode := _mode(settings.keys_file)) & 0o077:
        yield _warning(
            "keys_file_readable",
            f"keys_file: {settings.keys_file} may be read or written by others than its owner "
            f"(mode {mode:03o}): chmod 600",
        )
    path = settings.config_file
    in_file = [name for name in _SECRETS if settings.sources[name].startswith("file ")]
    if path is not None and in_file and (mode := _mode(path)) & 0o007:
        yield _warning(
            "config_file_readable",
            f"config_file: {path} holds {' and '.join(in_file)} and may be read by everybody "
            f"(mode {mode:03o}): chmod 640",
        )
    certificate = settings.validator_client_cert
    private = certificate if isinstance(certificate, str) or certificate is None else certificate[1]
    if private is not None and (mode := _mode(private)) & 0o007:
        yield _warning(
            "private_key_readable",
            f"validator_client_cert: {private} may be read by everybody (mode {mode:03o}): chmod 640",
        )


def _warning(code: str, text: str) -> Finding:
    return Finding(Level.WARNING, code, text)


def _mode(path: str) -> int:
    """The permissions of a file; 0 where there is none, or none that mean anything."""
    if os.name != "posix":
        return 0
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0
