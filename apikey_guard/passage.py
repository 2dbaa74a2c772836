"""How a request came in, and where it stands by now: what was decided there is looked at again here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from apikey_guard.core.decision import lacking
from apikey_guard.core.model import NO_SCOPES, Allow
from apikey_guard.core.routing import Access
from apikey_guard.environ import Environ
from apikey_guard.observe.decisions import fault
from apikey_guard.pending import NOTHING_FOUND, Pending

if TYPE_CHECKING:
    from apikey_guard.guard import Guard


class Place(NamedTuple):
    """What a request asks for, as far as a decision depends on it.

    :param path: decoded, undecodable bytes as U+FFFD, without the mount.
    :param method: as it is acted on.
    :param host: the value of ``Host``, or what counts in its place.
    """

    path: str
    method: str
    host: str | None

    def seen_in(self, environ: Environ) -> Environ:
        """The environ as a request at this place would have it; to be read only."""
        if environ.get("REQUEST_METHOD") == self.method and environ.get("HTTP_HOST") == self.host:
            return environ
        seen = {**environ, "REQUEST_METHOD": self.method, "HTTP_HOST": self.host}
        if self.host is None:
            del seen["HTTP_HOST"]
        return seen


class Passage(NamedTuple):
    """How a request came in, kept by the adapter until the view is called.

    :param guard: that let it in.
    :param pending: what can be decided anew; None where a key opened the way.
    :param path: and ``method`` and ``host``: the place then, in the words of the framework.
    """

    guard: Guard
    decision: Allow
    pending: Pending | None
    path: str
    method: str | None
    host: str | None

    def again(
        self,
        environ: Environ,
        place: Place,
        access: Access | None,
        *,
        moved: bool,
        body_is_read: bool = False,
    ) -> Pending | None:
        """What must be decided before the view is called; None where all is as it was.

        :param place: where the request stands now.
        :param access: the mark of the view that is called, or None.
        :param moved: whether that is another place than at first.
        :param body_is_read: as in :meth:`Pending.again`.
        """
        pending = self.pending
        if pending is None:
            return self._with_key(environ, place) if moved else None
        if not moved and (access == pending.marked or not pending.may_be_marked):
            return None
        return pending.again(environ, place, access, body_is_read=body_is_read)

    def _with_key(self, environ: Environ, place: Place) -> Pending:
        """The same request at another place where a key opened the way: it holds, the rule's scopes count."""
        policy, decision = self.guard.policy, self.decision
        rules = policy.rules
        anew = Pending(self.guard, policy, environ, place.path, rules.default, NOTHING_FOUND, decision)
        try:
            anew.rule = rule = rules.rule(place.path, place.seen_in(environ))
            consumer = decision.consumer
            held = NO_SCOPES if consumer is None else consumer.scopes
            if rule.mode == "enforce" and not rule.scopes <= held:
                anew.said = lacking(
                    rule.scopes, decision.fingerprint, decision.freshness, rule.label, consumer
                )
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            anew.said = fault(error)
        return anew
