"""What is said of decisions: they are counted, refusals are logged, and a hook may watch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from apikey_guard.core.model import Decision, Deny, Reason
from apikey_guard.core.standin import STRONG_LENGTH
from apikey_guard.errors import PartFailed
from apikey_guard.observe.counters import Counters

logger = logging.getLogger("apikey_guard")
_is_logged = logger.isEnabledFor

Hook = Callable[[Decision, dict[str, Any]], None]


class Telling:
    """Tells of one guard's decisions.

    :param hook: called with each decision; what it raises changes nothing.
    :param counters: count them.
    """

    def __init__(self, hook: Hook | None, counters: Counters) -> None:
        self.hook = hook
        self._warned = False
        self._counters = counters
        self.count_hit, self._count_denied = self._counters.hit, self._counters.denied

    def tell(self, decision: Decision, environ: dict[str, Any]) -> None:
        """Count a decision, log it if it is a Deny, and call the hook.

        :param environ: of its request, which may have ended by now.
        """
        if isinstance(decision, Deny):
            self._count_denied[decision.reason]()
            if _is_logged(logging.INFO):
                _log(decision)
        else:
            self._counters.allowed()
        self.call_hook(decision, environ)

    def call_hook(self, decision: Decision, environ: dict[str, Any]) -> None:
        """Let the hook watch, where there is one."""
        if self.hook is None:
            return
        try:
            self.hook(decision, environ)
        except Exception as error:  # noqa: BLE001 - the hook only watches; what it raises changes nothing
            logger.error("the hook on_decision raised %s", type(error).__name__)

    def warn_of_weak_key(self) -> None:
        """Say, once, that there is a key which whoever reads its stand-in or its fingerprint may guess."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "a valid key has fewer than %d characters: who reads its stand-in can test guesses of it; "
                "set fingerprint_secret",
                STRONG_LENGTH,
            )

    def tell_unanswered(self, reason: Reason) -> None:
        """Count a request that was allowed and that no origin answered."""
        self._counters.count_unanswered(reason)


def _log(deny: Deny) -> None:
    if deny.reason is not Reason.PREFLIGHT:
        shown = deny.fingerprint.hex()[:12] if deny.fingerprint else "-"
        logger.info("denied: %s (route %s, key %s)", deny.reason, deny.route or "-", shown)


def fault(error: Exception) -> Deny:
    """An unexpected exception is a 500 made by the guard. No text of it is logged that may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "?" if trace is None else f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
    what = str(error) if isinstance(error, PartFailed) else f"{type(error).__name__} at {where}"
    logger.error("the guard failed with %s: answered with 500", what)
    return Deny(Reason.INTERNAL_ERROR)
