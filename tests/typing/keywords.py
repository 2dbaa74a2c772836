"""Read by type checkers, run by nobody: every adapter knows the settings by name and by type.

A wrong line that nobody refused would make its own ``type: ignore`` the error.
"""

from __future__ import annotations

from flask import Flask

from apikey_guard import Guard, GuardMiddleware, load_settings
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.gateway import create_app
from tests.typing.public_api import plain_app

URL = "https://keys.example.com/verify"
app = Flask(__name__)

Guard(validator_url=URL, cache_ttl=30, key_locations=["header:apikey"], hide_credentials="remove")
GuardMiddleware(
    plain_app, validator_url=URL, mode="monitor", routes=[{"path": "/health", "access": "public"}]
)
ApiKeyGuard(app, validator_url=URL, trusted_proxies=["10.0.0.0/8"], identity_headers={"id": "X-Our-ID"})
ApiKeyGuard().init_app(app, validator_url=URL, cors_origins="*", fingerprint_secret=b"0" * 16)
create_app(keys_file="keys.toml", origin=["https://a.internal", "https://b.internal"], origin_via=False)
load_settings(environ={}, key_service="app.keys:verify")

Guard(validator_url=URL, dialect="kong")  # type: ignore[arg-type]
Guard(validator_url=URL, dialect=object())  # type: ignore[arg-type]
Guard(validator_url=URL, validator_protocol="jsn")  # type: ignore[arg-type]
create_app(keys_file="keys.toml", origins={"own": object()}, origin="own")  # type: ignore[dict-item]

Guard(validator_urll=URL)  # type: ignore[call-arg]
GuardMiddleware(plain_app, validator_urll=URL)  # type: ignore[call-arg]
ApiKeyGuard(app, validator_urll=URL)  # type: ignore[call-arg]
ApiKeyGuard().init_app(app, validator_urll=URL)  # type: ignore[call-arg]
create_app(validator_urll=URL)  # type: ignore[call-arg]
load_settings(validator_urll=URL)  # type: ignore[call-arg]

Guard(validator_url=URL, cache_ttl="30")  # type: ignore[arg-type]
GuardMiddleware(plain_app, validator_url=URL, mode="monitr")  # type: ignore[arg-type]
ApiKeyGuard(app, validator_url=URL, routes="/health")  # type: ignore[arg-type]
create_app(validator_url=URL, allow_preflight="no")  # type: ignore[arg-type]
