"""``app``: a guarded recorder; the key service is the one of ``APIKEY_GUARD_VALIDATOR_URL``."""

from __future__ import annotations

from apikey_guard import GuardMiddleware, Route
from tests.harness.recorder import LiveRecorder

app = GuardMiddleware(
    LiveRecorder(),
    key_locations=["header:apikey", "query:apikey", "body:apikey"],
    routes=[Route("/open", access="public")],
)
