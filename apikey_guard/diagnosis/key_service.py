"""One question to the key service of the settings, with the answer in clear words.

Whoever shows it says the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from apikey_guard.assembly import make_key_service
from apikey_guard.clock import SYSTEM_CLOCK
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.diagnosis.findings import Finding, Level
from apikey_guard.diagnosis.words import milliseconds, printable
from apikey_guard.errors import KeyFileError, KeyServiceUnavailable, RateLimited, VerificationError
from apikey_guard.settings import Settings

_CAUSES: Final[Mapping[str, str]] = {
    "timeout": "gave no answer in time (validator_timeout)",
    "connect": "cannot be connected to: is it running, is the port right?",
    "tls": "failed in TLS: is its certificate right for that name (validator_ca)?",
    "dns": "has a host name that cannot be resolved",
    "reset": "cut the connection",
    "redirect": "answered with a redirect, which is never followed: write the final address",
    "status": "answered with a status that is neither yes nor no",
    "content": "gave an answer that validator_protocol does not know",
    "too_large": "gave an answer that is too large",
    "interim": "sent too many interim answers",
    "refused_us": "refused our own credentials (validator_headers)",
    "error": "failed",
}


class Asked(NamedTuple):
    """How a question ended.

    :param verdict: None where there was none.
    :param trouble: what happened instead, as a sentence that continues "the key service ...".
    :param cause: one word for it, for programs.
    :param seconds: how long it took.
    """

    verdict: Verdict | None
    trouble: str
    cause: str | None
    seconds: float


def about_key_service(settings: Settings) -> Finding:
    """What the key service says about a key that nobody can have."""
    try:
        asked = ask(settings, Credential(f"check_{secrets.token_urlsafe(32)}", "command line"))
    except KeyFileError as error:
        return Finding(Level.PROBLEM, "key_file", str(error))
    took, verdict = milliseconds(asked.seconds), asked.verdict
    if verdict is None:
        level = Level.WARNING if asked.cause == "rate_limited" else Level.PROBLEM
        return Finding(level, f"key_service_{asked.cause}", f"the key service {asked.trouble}, after {took}")
    if verdict.valid:
        sentence = "the key service calls a made-up key valid: it would let everybody in"
        return Finding(Level.PROBLEM, "key_service_open", sentence)
    if settings.obeys_cache_control and verdict.ttl is not None and verdict.ttl < 1:
        return Finding(
            Level.WARNING,
            "cache_control",
            "validator_cache_control: the key service forbids to remember its answers (Cache-Control), "
            "so every request will ask it",
        )
    sentence = f"the key service answers in {took}: a made-up key is invalid, as it must be"
    return Finding(Level.GOOD, "key_service", sentence)


def ask(settings: Settings, credential: Credential) -> Asked:
    """Ask about one credential, without any cache.

    :raises KeyFileError: where the settings name a key file that cannot be used.
    """
    service = make_key_service(settings, SYSTEM_CLOCK)
    verdict, trouble, cause = None, "", None
    started = time.perf_counter()
    try:
        verdict = service.verify(credential)
    except VerificationError as error:
        trouble, cause = _explained(error)
    except Exception as error:  # noqa: BLE001 - a function of the app's own; its text may hold the key
        trouble, cause = f"failed: it raised {type(error).__name__}", "error"
    seconds = time.perf_counter() - started
    service.close()
    return Asked(verdict, trouble, cause, seconds)


def _explained(error: VerificationError) -> tuple[str, str]:
    if isinstance(error, RateLimited):
        when = "" if error.retry_after is None else f"; again in {error.retry_after:g} s"
        return f"answered that this key may not be used now{when}", "rate_limited"
    if isinstance(error, KeyServiceUnavailable):
        detail = f" ({printable(error.detail)})" if error.detail else ""
        return _CAUSES.get(error.cause, _CAUSES["error"]) + detail, error.cause
    return _CAUSES["error"], "error"


def fingerprint_of(settings: Settings, key: str) -> str:
    """The fingerprint of a key, as logs show it under these settings."""
    data, secret = key.encode("utf-8", "surrogatepass"), settings.fingerprint_secret
    digest = hashlib.sha256(data).digest() if secret is None else hmac.digest(secret, data, "sha256")
    return digest.hex()[:12]
