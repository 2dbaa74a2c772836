"""``app``: a gateway whose settings stand in the environment, for live servers."""

from __future__ import annotations

import logging

from apikey_guard import GuardMiddleware

# To stderr, so that the server's log can be searched for canaries.
logging.basicConfig(level=logging.DEBUG)

app = GuardMiddleware()
