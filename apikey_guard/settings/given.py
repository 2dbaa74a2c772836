"""Everything that can be set, as people write it: for editors to complete and type checkers to read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypedDict
from wsgiref.types import WSGIEnvironment

from apikey_guard.core.dialects import Dialect
from apikey_guard.core.extraction import Conflict
from apikey_guard.core.level_two import SharedCache
from apikey_guard.core.model import Consumer, Decision, Mode, Rejection
from apikey_guard.core.routing import Access, Route
from apikey_guard.forwarding import OriginClient
from apikey_guard.forwarding.spec import OriginSpec
from apikey_guard.keyservice import Hook
from apikey_guard.keyservice.protocols import KeyProtocol

_Path = str | os.PathLike[str]


class SettingsArgs(TypedDict, total=False):
    """The settings as keyword arguments; what each means is said by the field of that name in Settings."""

    validator_url: str | None
    validator_protocol: Literal["json", "status", "introspection", "unkey"] | KeyProtocol
    validator_headers: Mapping[str, str]
    validator_key_header: str
    validator_timeout: float
    validator_max_concurrency: int
    validator_ca: _Path | None
    validator_client_cert: _Path | Sequence[_Path] | None
    validator_proxy: str | None
    validator_cache_control: bool | None
    validator_allow_http: bool
    keys_file: _Path | None
    key_service: Hook | str | None
    key_service_in_pool: bool
    shared_cache: SharedCache | str | None
    key_locations: Sequence[str]
    key_pattern: str | None
    key_max_length: int
    key_conflict: Conflict
    body_max_bytes: int
    hide_credentials: Literal["replace", "remove"] | bool | None
    cache_ttl: float
    negative_ttl: float
    stale_if_error: float
    cache_max_entries: int
    negative_max_entries: int
    routes: Sequence[Route | Mapping[str, object]]
    default_access: Access
    mode: Mode
    allow_preflight: bool
    cors_origins: str | Sequence[str]
    dialect: Literal["standard"] | Dialect
    realm: str
    identity_headers: bool | Mapping[str, str]
    fingerprint_secret: bytes | str | None
    origin: str | Sequence[str] | None
    origins: Mapping[str, OriginSpec | OriginClient | str | Sequence[str] | Mapping[str, object]]
    preserve_host: bool
    origin_via: bool
    origin_connect_timeout: float
    origin_read_timeout: float
    origin_idle_timeout: float
    origin_max_connections: int
    trusted_proxies: Sequence[str]
    health_path: str | None
    config_file: _Path | None
    render_rejection: Callable[[Rejection, WSGIEnvironment], Rejection] | str | None
    on_decision: Callable[[Decision, WSGIEnvironment], None] | str | None
    choose_origin: Callable[[WSGIEnvironment, Consumer | None], str | None] | str | None
