"""How long a verdict serves: fresh, due for refresh, stale, gone (words of RFC 9111).

Ages are measured on a monotonic clock. The wall clock is asked only about the moment at which
the key service says that a credential ends (threat V-10).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import overload

from apikey_guard.core.model import Consumer, Freshness, Verdict
from apikey_guard.core.sharing import Shared

# The share of a ttl in which a hit starts a background verification.
_REFRESH_SHARE = 0.2
# Entries share these few factors: a float of its own for each would cost 24 bytes a key.
_JITTER_STEPS = 16


@overload
def environ_text(value: str) -> str: ...
@overload
def environ_text(value: str | None) -> str | None: ...
def environ_text(value: str | None) -> str | None:
    """A header value as a CGI environment holds it: UTF-8 bytes, shown as latin-1 (PEP 3333)."""
    return value if value is None or value.isascii() else value.encode().decode("latin-1")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Remembered(Consumer):
    """A consumer as the cache keeps it: one flat object, so that 100,000 keys stay small.

    :param credential_id: the credential's name at the key service.
    :param refresh_at: monotonic seconds; before it, the verdict is simply fresh.
    :param lead: seconds from ``refresh_at`` to the end of freshness.
    :param grace: seconds from there in which it may serve while the key service is unavailable.
    :param expires_at: seconds since the epoch at which the credential itself ends, or None.
    :param ascii: whether all header values can go into an environ as they are.
    """

    credential_id: str | None = None
    refresh_at: float = 0.0
    lead: float = 0.0
    grace: float = 0.0
    expires_at: float | None = None
    ascii: bool = True

    def __repr__(self) -> str:
        # To whoever gets it, it is a consumer.
        return Consumer.__repr__(self).replace("Remembered", "Consumer", 1)

    def as_environ_text(self) -> Remembered:
        """The same with header values as a CGI environment holds them."""
        return replace(
            self,
            id=environ_text(self.id),
            username=environ_text(self.username),
            custom_id=environ_text(self.custom_id),
            credential_id=environ_text(self.credential_id),
        )

    def freshness(self, now: float, wall_time: float) -> Freshness | None:
        """How old this is; None where it may serve no more, whatever happens."""
        if self.expires_at is not None and wall_time >= self.expires_at:
            return None
        if now < self.refresh_at:
            return Freshness.FRESH
        age = now - self.refresh_at
        if age < self.lead:
            return Freshness.REFRESH
        return Freshness.STALE if age < self.lead + self.grace else None

    def postponed(self, until: float | None) -> Remembered:
        """The same, due for refresh no earlier than then, or None: not before it is stale anyway."""
        end = self.refresh_at + self.lead
        due = end if until is None else min(until, end)
        return replace(self, refresh_at=due, lead=end - due)


class Lifetimes:
    """What the settings say about ages, applied to verdicts.

    :param ttl: seconds for which a valid verdict serves.
    :param negative_ttl: seconds for which an invalid one does.
    :param stale_if_error: seconds beyond its ttl for which a valid verdict may serve while the
        key service is unavailable.
    """

    def __init__(self, *, ttl: float, negative_ttl: float, stale_if_error: float) -> None:
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.stale_if_error = stale_if_error
        self._leads = self._leads_of(ttl)
        self._shared = Shared()

    @staticmethod
    def _leads_of(ttl: float) -> tuple[float, ...]:
        return tuple(ttl * _REFRESH_SHARE * step / _JITTER_STEPS for step in range(1, _JITTER_STEPS + 1))

    def remember(self, verdict: Verdict, *, now: float, wall_time: float, chance: float) -> Remembered | None:
        """What the cache keeps of a valid verdict.

        The key service may shorten the ttl, never lengthen it.

        :param now: monotonic seconds.
        :param wall_time: seconds since the epoch.
        :param chance: a random number from 0 to below 1, which spreads the refreshes.
        :returns: None where the credential has ended, so that the verdict is invalid after all.
        :raises UnusableAnswer: its metadata cannot be kept.
        """
        consumer = verdict.consumer or Consumer()
        ttl, leads, grace = self.ttl, self._leads, self.stale_if_error if verdict.stale_allowed else 0.0
        limits = [] if verdict.ttl is None else [verdict.ttl]
        if verdict.expires_at is not None:
            if verdict.expires_at <= wall_time:
                return None
            limits.append(verdict.expires_at - wall_time)
        if limits and min(limits) < ttl:
            ttl = max(0.0, min(limits))
            leads = self._leads_of(ttl)
        lead = leads[int(chance * _JITTER_STEPS)]
        shared = self._shared
        id_, username = shared.text(consumer.id), shared.text(consumer.username)
        custom_id, name = shared.text(consumer.custom_id), shared.text(verdict.credential_id)
        return Remembered(
            id=id_,
            username=username,
            custom_id=custom_id,
            scopes=shared.scopes(consumer.scopes),
            metadata=shared.metadata(consumer.metadata),
            credential_id=name,
            refresh_at=now + ttl - lead,
            lead=lead,
            grace=grace,
            expires_at=verdict.expires_at,
            ascii=all(text is None or text.isascii() for text in (id_, username, custom_id, name)),
        )

    def seconds_of(self, verdict: Verdict, *, given_at: float) -> float:
        """How long a verdict serves from the moment it was given.

        :param given_at: that moment, in seconds since the epoch.
        """
        longest = self.ttl if verdict.valid else self.negative_ttl
        if verdict.ttl is not None:
            longest = min(longest, verdict.ttl)
        if verdict.valid and verdict.expires_at is not None:
            longest = min(longest, verdict.expires_at - given_at)
        return max(0.0, longest)

    def is_young(self, verdict: Verdict, age: float, *, wall_time: float) -> bool:
        """Whether a verdict of this age is not due for refresh, however late its refresh may be."""
        return age < self.seconds_of(verdict, given_at=wall_time - age) * (1 - _REFRESH_SHARE)

    def invalid_until(self, verdict: Verdict, *, now: float, chance: float) -> float:
        """The monotonic second until which an invalid verdict serves; hits never extend it."""
        ttl = self.negative_ttl if verdict.ttl is None else min(self.negative_ttl, verdict.ttl)
        return now + max(0.0, ttl) * (1 - 0.1 * chance)
