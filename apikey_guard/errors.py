"""Every exception that apikey_guard raises.

::

    ApiKeyGuardError
    ├── SettingsError            what was written in the settings cannot be used
    ├── KeyFileError             the key file cannot be read or written
    ├── VerificationError        the key service was asked, or should have been
    │   ├── KeyServiceUnavailable    it could not be found out: neither valid nor invalid
    │   │   ├── UnusableAnswer           it answered, but about this one credential nothing usable
    │   │   └── SlowAnswer               it may still answer, but this caller waits no longer
    │   ├── RateLimited              the key service says: this key, but not now
    │   └── Overloaded               not asked: no slot, or the breaker is open
    ├── TransportError           an exchange with another server failed (parts translate it)
    ├── OriginError              a request was allowed, but its origin gave no answer
    │   ├── OriginFailed             refused, cut, unresolvable, or not HTTP that can be relied on
    │   ├── OriginTimeout            it could not be connected to, or did not answer, in time
    │   └── OriginBusy               as many requests as it may have are under way, or no descriptor is left
    ├── OriginAborted            its answer ended in the middle; the caller must see that too
    ├── CallerGone               nobody waits for the answer any more
    ├── PartFailed               a part of the app's own gave what cannot be used; answered with 500
    └── BadRequest               the request cannot be read
        ├── BodyTooLarge             the body that must be searched exceeds ``body_max_bytes``
        └── LengthRequired           its body has an end that this server does not mark

No message ever holds a credential or a secret; texts of other programs (the key service, the
operating system) are not repeated in them either.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence


class ApiKeyGuardError(Exception):
    """The root of all exceptions of this library."""


class Problem(str):
    """A sentence about what cannot be used, with a word for programs.

    :param code: stays as it is when the sentence is written anew.
    """

    code: str

    def __new__(cls, sentence: str, code: str = "wrong_value") -> Problem:
        problem = super().__new__(cls, sentence)
        problem.code = code
        return problem


class SettingsError(ApiKeyGuardError):
    """The settings cannot be used; ``problems`` lists every one that was found.

    :param problems: one sentence each: what is wrong, where, what to write instead.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(each if isinstance(each, Problem) else Problem(each) for each in problems)
        super().__init__(
            "apikey_guard cannot start:\n" + "\n".join(f"  - {problem}" for problem in self.problems)
        )


class KeyFileError(ApiKeyGuardError):
    """The key file cannot be read or written; the message says which line and why."""


class VerificationError(ApiKeyGuardError):
    """A verification ended without a verdict. Nothing is ever cached for one."""


class KeyServiceUnavailable(VerificationError):
    """The key service could not be reached, or what it said has nothing to do with the credential.

    Only this, and not what is derived from it, tells that the key service itself is unavailable:
    then a verdict may serve stale, and the breaker is told.

    :param cause: one stable word for logs and metrics: ``timeout``, ``connect``, ``tls``,
        ``dns``, ``reset``, ``redirect``, ``status``, ``content``, ``too_large``,
        ``interim``, ``refused_us`` (it refused our own credentials) or ``error``.
    :param detail: what an operator needs to know, without any credential.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(f"{cause}: {detail}" if detail else cause)


class UnusableAnswer(KeyServiceUnavailable):
    """The key service answered, but about this one credential it said nothing that can be used.

    The credential's own fault: it says nothing about the key service and about other credentials.

    :param retry_after: seconds for which the credential is not asked about again.
    """

    def __init__(self, cause: str, detail: str = "", *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(cause, detail)


class SlowAnswer(KeyServiceUnavailable):
    """The key service has not answered yet, and has not had its whole deadline either."""

    def __init__(self) -> None:
        super().__init__("timeout", "no answer yet")


class RateLimited(VerificationError):
    """The key service says that this credential may not be used now.

    :param retry_after: seconds until it may be used again, or None where it did not say.
    """

    def __init__(self, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__("the key service rate-limits this credential")


class Overloaded(VerificationError):
    """The key service was not asked: there was no slot in time, or the breaker is open.

    :param cause: ``queue_full`` (too many wait), ``no_slot`` (none became free in time),
        ``no_thread`` or ``no_descriptor`` (the system gives none), ``closed`` or ``breaker_open``.
    :param retry_after: seconds until it is worth trying again, or None where nobody knows.
    """

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        self.cause = cause
        self.retry_after = retry_after
        super().__init__(cause)


def tells_of_an_outage(error: BaseException | None) -> bool:
    """Whether a verification ended so because the key service itself is unavailable."""
    return isinstance(error, KeyServiceUnavailable) and not isinstance(error, UnusableAnswer | SlowAnswer)


class TransportError(ApiKeyGuardError):
    """An exchange with another server gave no answer that can be used.

    :param cause: one of the words of :class:`KeyServiceUnavailable`.
    :param detail: what an operator needs to know, without any credential.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(f"{cause}: {detail}" if detail else cause)


class OriginError(ApiKeyGuardError):
    """An origin gave no answer; nothing has been sent to the caller yet.

    :param cause: one of the words of :class:`KeyServiceUnavailable`.
    :param detail: what an operator needs to know; never sent to a caller.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(f"{cause}: {detail}" if detail else cause)


class OriginFailed(OriginError):
    """The origin refused, broke off or answered what cannot be relied on; answered with 502."""


class OriginTimeout(OriginError):
    """The origin took too long to be connected to or to begin its answer; answered with 504."""


class OriginBusy(OriginError):
    """No connection to it became free in time, or nothing is left to make one with; answered with 503."""


class OriginAborted(ApiKeyGuardError, ConnectionResetError):
    """An origin broke off in the middle of its answer.

    Raised out of the iterable, so that the server aborts too and the caller never takes a part for
    the whole. It is a reset connection for servers, which do not write those down as faults.
    """

    def __init__(self, detail: str) -> None:
        # With an errno, by which servers tell a lost connection from a fault.
        super().__init__(errno.ECONNRESET, f"the origin's answer was cut: {detail}")


class CallerGone(ApiKeyGuardError, ConnectionResetError):
    """The caller has closed its connection; servers see a reset one."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the caller has gone")


class PartFailed(ApiKeyGuardError):
    """A part that the settings name gave what cannot be used; answered with 500."""


class BadRequest(ApiKeyGuardError):
    """The request cannot be read; answered with 400."""


class BodyTooLarge(BadRequest):
    """The body that must be searched for a credential is too large; answered with 413."""


class LengthRequired(BadRequest):
    """The body comes in chunks, and this server does not mark its end; answered with 411."""


class UpgradeUnsupported(BadRequest):
    """The caller wants to speak another protocol on its connection; answered with 501."""
