"""Which parts the settings ask for, made in the process that uses them."""

from __future__ import annotations

from collections.abc import Mapping

from apikey_guard.clock import Clock
from apikey_guard.core.decision import Defaults, Policy
from apikey_guard.core.headers import IDENTITY_HEADERS, IdentityHeaders
from apikey_guard.keyservice import CalledKeyService, KeyService
from apikey_guard.settings import Settings


def make_key_service(settings: Settings, clock: Clock) -> KeyService:
    """The key service of the settings: their own object or function, the key file, or the URL.

    Imported here and not above: an HTTP client pulls in ``ssl``, and a server such as gevent's
    must be able to patch that first (threat C-04).
    """
    given = settings.key_service
    if given is not None:
        return CalledKeyService(given)
    if settings.keys_file is not None:
        from apikey_guard.keyservice.file import FileKeyService

        return FileKeyService(settings.keys_file, clock=clock)
    from apikey_guard.keyservice.http import HttpKeyService

    if settings.validator_url is None:
        raise AssertionError("settings name no key service")
    return HttpKeyService(
        settings.validator_url,
        protocol=settings.validator_protocol,
        headers=settings.validator_headers,
        key_header=settings.validator_key_header,
        timeout=settings.validator_timeout,
        ca=settings.validator_ca,
        client_cert=settings.validator_client_cert,
        proxy=settings.validator_proxy,
        cache_control=settings.validator_cache_control,
        allow_http=settings.validator_allow_http,
        max_connections=settings.validator_max_concurrency,
        time_source=clock.time,
    )


def make_policy(settings: Settings) -> Policy:
    """The routes and what holds where they say nothing."""
    defaults = Defaults(
        key_locations=settings.key_locations,
        key_conflict=settings.key_conflict,
        key_pattern=settings.key_pattern,
        key_max_length=settings.key_max_length,
        hide_credentials=settings.hide_credentials,
        mode=settings.mode,
        allow_preflight=settings.allow_preflight,
        dialect=settings.dialect,
        realm=settings.realm,
    )
    return Policy(settings.routes, defaults)


def make_identity_headers(settings: Settings) -> IdentityHeaders:
    """Kong's names, other names, or none; forged ones are deleted in any case."""
    names: bool | Mapping[str, str] = settings.identity_headers
    if isinstance(names, bool):
        return IdentityHeaders(IDENTITY_HEADERS if names else None)
    return IdentityHeaders({**IDENTITY_HEADERS, **names})
