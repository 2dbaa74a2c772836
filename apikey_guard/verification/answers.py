"""What came of asking the key service: for those who wait, for the breaker, and for who asked himself."""

from __future__ import annotations

import logging
from collections.abc import Callable

from apikey_guard.core.freshness import Remembered
from apikey_guard.core.model import Verdict
from apikey_guard.errors import (
    KeyFileError,
    KeyServiceUnavailable,
    Overloaded,
    RateLimited,
    UnusableAnswer,
    VerificationError,
    tells_of_an_outage,
)
from apikey_guard.verification.breaker import Breaker
from apikey_guard.verification.slots import Answer, Verification

logger = logging.getLogger("apikey_guard")

# Where the exceptions come from that are thrown into greenlets: GreenletExit, Timeout and their like.
_GREENLETS = frozenset({"greenlet", "gevent", "eventlet"})


def answer_of(said: object, remember: Callable[[Verdict], Remembered | None], *, on_loop: bool) -> Answer:
    """What a key service's verdict means, or what it raised, or anything else that it gave.

    :param remember: keeps a verdict.
    :param on_loop: whether it was asked where its caller is, and may be ended with him.
    """
    if isinstance(said, Verdict):
        try:
            return remember(said)
        except UnusableAnswer as error:
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - values of a hook that are not what they should be
            logger.error("a verdict cannot be kept (%s): counted as unusable", type(error).__name__)
            return UnusableAnswer("content", type(error).__name__)
    if isinstance(said, VerificationError):
        # The traceback would keep the key service's frames, and the credential in them, alive.
        return said.with_traceback(None)
    if on_loop:
        from asyncio import CancelledError

        if isinstance(said, CancelledError | GeneratorExit):
            return Overloaded("closed")  # the caller's event loop ended: nobody's failure
    # The text of any other error may hold the credential.
    what = said if isinstance(said, KeyFileError) else f"the key service raised {type(said).__name__}"
    logger.error("%s: counted as unavailable", what)
    return KeyServiceUnavailable("error", type(said).__name__)


def tell_breaker(breaker: Breaker, verification: Verification, outcome: Answer) -> None:
    """Have the breaker know how the key service's answer speaks of it."""
    known = verification.known
    odd = isinstance(outcome, UnusableAnswer)
    if not isinstance(outcome, VerificationError) or isinstance(outcome, RateLimited) or (odd and known):
        breaker.succeeded(verification.fingerprint)
    elif odd or tells_of_an_outage(outcome):
        breaker.failed(verification.fingerprint, getattr(outcome, "cause", "error"), known=known)
    else:
        breaker.undecided(known=known)


def ends_its_caller(error: BaseException) -> bool:
    """Whether it was thrown into a caller from outside, and is not what the key service said."""
    if isinstance(error, Exception):
        return False
    # A time-out of a hook's own was closed on its way out, and its timer is gone.
    timer = getattr(error, "timer", error)
    if timer is None or type(timer).__module__ == "gevent.timeout":
        return False
    kinds = type(error).__mro__
    return KeyboardInterrupt in kinds or any(
        kind.__module__.partition(".")[0] in _GREENLETS for kind in kinds
    )
