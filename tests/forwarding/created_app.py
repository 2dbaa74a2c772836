"""``app``: what ``create_app`` makes of the environment, with its access log on, for live servers."""

from __future__ import annotations

import logging

from apikey_guard.gateway import create_app

# To stderr, so that the server's log can be read and searched for canaries.
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")

app = create_app()
