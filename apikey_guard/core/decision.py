"""What a request means by what it presents, and what a verdict means for it."""

from __future__ import annotations

from typing import NamedTuple

from apikey_guard.core.extraction import Ambiguous
from apikey_guard.core.freshness import Remembered
from apikey_guard.core.model import Allow, Consumer, Credential, Decision, Deny, Freshness, Reason
from apikey_guard.core.rules import Rule
from apikey_guard.core.standin import is_standin
from apikey_guard.errors import Overloaded, RateLimited, UnusableAnswer, VerificationError

_OVERLOADED = frozenset({"queue_full", "no_slot", "no_thread", "no_descriptor"})


class Question(NamedTuple):
    """What must be asked before a request can be decided.

    :param rule: the rule that holds.
    :param credential: what the request presents.
    :param fingerprint: its SHA-256.
    :param stale: what is remembered of it and may serve if the key service is unavailable.
    :param peer: the network it comes from, where the key is not known; takes turns with others.
    """

    rule: Rule
    credential: Credential
    fingerprint: bytes
    stale: Remembered | None = None
    peer: str = ""


class Outcome(NamedTuple):
    """How a question ended: a consumer, or an invalid credential, or an error.

    :param entry: what is known of a valid credential.
    :param freshness: how old that is.
    :param error: why nothing is known.
    """

    entry: Remembered | None = None
    freshness: Freshness = Freshness.MISS
    error: VerificationError | None = None


def settle(rule: Rule, found: str | Ambiguous | None) -> Allow | Deny | str:
    """What a request means by what it presents: a decision, or the text to verify.

    :param found: what :meth:`Extractor.sift` and :meth:`Extractor.merge` made of it.
    """
    if isinstance(found, str) and found:
        if is_standin(found):
            # It was made for the app, and comes back from a link: whoever has it has no key.
            return Deny(Reason.INVALID_CREDENTIAL, route=rule.label)
        if rule.extractor.is_well_formed(found):
            return found
        return Deny(Reason.MALFORMED_CREDENTIAL, route=rule.label)
    if isinstance(found, Ambiguous):
        return Deny(Reason.AMBIGUOUS_CREDENTIAL, route=rule.label)
    if found is None and rule.access == "optional":
        return Allow(route=rule.label, anonymous=True, mode=rule.mode)
    # An empty credential is one that was presented: it opens no optional route.
    return rule.missing


def conclude(question: Question, outcome: Outcome) -> Decision:
    """What the outcome of a question means for the request that asked it."""
    rule, fingerprint = question.rule, question.fingerprint
    entry, error = outcome.entry, outcome.error
    if error is not None:
        return Deny(
            _reason_of(error),
            fingerprint,
            route=rule.label,
            retry_after=error.retry_after
            if isinstance(error, RateLimited | Overloaded | UnusableAnswer)
            else None,
        )
    if entry is None:
        return Deny(Reason.INVALID_CREDENTIAL, fingerprint, outcome.freshness, rule.label)
    if not rule.scopes <= entry.scopes:
        return lacking(rule.scopes, fingerprint, outcome.freshness, rule.label, entry)
    return Allow(entry, fingerprint, outcome.freshness, rule.label, mode=rule.mode)


def lacking(
    scopes: frozenset[str],
    fingerprint: bytes | None,
    freshness: Freshness,
    route: str | None,
    entry: Consumer | None,
) -> Deny:
    """The Deny for a valid credential that lacks a scope."""
    return Deny(Reason.INSUFFICIENT_SCOPE, fingerprint, freshness, route, scopes=scopes, consumer=entry)


def _reason_of(error: VerificationError) -> Reason:
    if isinstance(error, RateLimited):
        return Reason.RATE_LIMITED
    if isinstance(error, Overloaded) and error.cause in _OVERLOADED:
        return Reason.OVERLOADED
    return Reason.KEY_SERVICE_UNAVAILABLE
