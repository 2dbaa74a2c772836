"""The names under which a request's environ says what was decided about it."""

from __future__ import annotations

from typing import Any, Final

Environ = dict[str, Any]  # of WSGI, or Django's request.META: holds objects of every kind

#: Who calls: a :class:`~apikey_guard.Consumer`, or None.
CONSUMER: Final = "apikey_guard.consumer"
#: What the guard has decided.
DECISION: Final = "apikey_guard.decision"
#: The name of the origin that an allowed request was sent to.
ORIGIN: Final = "apikey_guard.origin"
#: Why a request that was allowed got no answer from behind the guard, for what logs it.
UNANSWERED: Final = "apikey_guard.unanswered"
