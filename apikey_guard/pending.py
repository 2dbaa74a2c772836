"""A request that was no hit: what was found in it, and what can still be decided about it.

What was decided at one place is decided anew at another one, and always about the credential that
was found the first time: by then the request shows it no more, or shows another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from apikey_guard.core.decision import Question, lacking
from apikey_guard.core.extraction import Ambiguous
from apikey_guard.core.model import NO_SCOPES, Allow, Decision, Deny, Reason, Rejection
from apikey_guard.core.paths import keeps_its_segments
from apikey_guard.core.routing import Access
from apikey_guard.core.rules import Rule
from apikey_guard.environ import Environ
from apikey_guard.observe.decisions import fault

if TYPE_CHECKING:
    from apikey_guard.bodies import RequestBody
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


class Found(NamedTuple):
    """What a request presented when it was looked at first.

    :param value: the credential, or that there were several, or None.
    :param location: the configured location, where that is known.
    :param in_body: whether ``value`` says what the body presents, too.
    :param body: where the body is read; None is ``wsgi.input``.
    """

    value: str | Ambiguous | None = None
    location: str = ""
    in_body: bool = False
    body: RequestBody | None = None

    def __repr__(self) -> str:
        return "Found('***')"


#: Of a request without a credential.
NOTHING_FOUND = Found()


class Pending:
    """A request that memory did not allow: undecided, refused, or let in without a key.

    Nothing of the request has been changed yet; :meth:`settle` ends it. It is kept for as long as
    the request lives, since a mark further in may ask for the key.

    :ivar rule: the rule that holds.
    :ivar said: what is known by now.
    :ivar marked: the mark of the app's own view that counts, or None.
    """

    __slots__ = ("_environ", "_found", "_guard", "marked", "path", "rule", "said")

    def __init__(
        self,
        guard: Guard,
        environ: Environ,
        path: str,
        rule: Rule,
        found: Found,
        said: Decision | Question,
    ) -> None:
        self._guard = guard
        self._environ = environ
        self._found = found
        self.path = path
        self.rule = rule
        self.said = said
        self.marked: Access | None = None

    def __repr__(self) -> str:
        return f"Pending(route={self.rule.label!r}, marked={self.marked!r})"

    @property
    def may_be_marked(self) -> bool:
        """Whether a view's mark can change anything: it cannot where nothing is enforced."""
        return self.rule.mode == "enforce"

    @property
    def is_by_default(self) -> bool:
        """Whether no route says anything about this request."""
        return self.rule.label is None

    def relax(self, access: Access | None) -> None:
        """Let the mark of the app's own view count, whatever the route says.

        A mark that asks for less counts only where the path has the same segments for everybody.

        :param access: the view's mark; None is a view without one.
        """
        self.marked = access
        said = self.said
        known = isinstance(said, Allow) and said.consumer is not None
        if access is None or known or not self.may_be_marked or _is_fault(said):
            return
        if access != "required" and not keeps_its_segments(self.path):
            return
        try:
            self.said = self._said_with(access)
        except Exception as error:  # noqa: BLE001 - the guard's own edge: a fault is a 500, never a pass
            self.said = fault(error)

    def _said_with(self, access: Access) -> Decision | Question:
        guard, environ, rule, said = self._guard, self._environ, self.rule, self.said
        nobody = Allow(route=rule.label, anonymous=access == "optional")
        if access == "public":
            return nobody
        missing = Deny(Reason.MISSING_CREDENTIAL, route=rule.label)
        if rule.access == "required":
            # An empty credential is one that was presented, wherever it stood.
            opened = access == "optional" and said == missing and self._found.value is None
            return nobody if opened else said
        if guard._rules.hands_on(self.path, environ):
            return said
        if guard._answers(environ):
            return Deny(Reason.PREFLIGHT, route=rule.label)
        found = guard._with_body_of(rule, self._found, environ)
        if isinstance(found, Deny):
            return found
        self._found = found
        if found.value is None:
            return nobody if access == "optional" else missing
        return guard._weigh(rule, found, environ)

    def settle(self) -> Decision:
        """The decision; asks the key service if need be. An Allow has prepared the request for the app."""
        said = self.said
        if said.__class__ is Deny:
            return said  # as _end() would, but refusals are to be cheap
        if isinstance(said, Question):
            said = self._guard.conclude(said, self._guard.ask(said), self._environ)
        return self._end(said)

    async def settle_async(self) -> Decision:
        """As :meth:`settle`, without blocking the event loop."""
        said = self.said
        if isinstance(said, Question):
            said = self._guard.conclude(said, await self._guard.ask_async(said), self._environ)
        return self._end(said)

    def _end(self, said: Decision) -> Decision:
        self.said = ended = self._guard._end(self._environ, self.rule, said)
        return ended

    def rejection(self, *, readable: bool = True) -> Rejection:
        """The response where it was settled by a Deny, as :meth:`Guard.reject` makes it.

        :param readable: as there.
        """
        said, value = self.said, self._found.value
        if not isinstance(said, Deny):
            raise AssertionError("only what was refused has a rejection")
        presented = value if isinstance(value, str) else ""
        return self._guard._reject(said, self._environ, self.rule, presented=presented, readable=readable)

    # -- later, further in -----------------------------------------------------------------------

    def again(self, place: Place, access: Access | None, *, body_is_read: bool = False) -> Pending:
        """The same request at another place, or before another view, with what it presented at first.

        :param place: where it stands now.
        :param access: the mark of the view that is called now, or None.
        :param body_is_read: by the app, so that no key can be found in it any more.
        """
        found = self._found._replace(in_body=True) if body_is_read else self._found
        anew = _resumed(self._guard, self._environ, place, found)
        anew.relax(access)
        return anew


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
            return _resumed_with_key(self.guard, environ, place, self.decision) if moved else None
        if not moved and (access == pending.marked or not pending.may_be_marked):
            return None
        return pending.again(place, access, body_is_read=body_is_read)


def _is_fault(said: Decision | Question) -> bool:
    return isinstance(said, Deny) and said.reason is Reason.INTERNAL_ERROR


def _resumed(guard: Guard, environ: Environ, place: Place, found: Found) -> Pending:
    """As :meth:`Guard.begin`, for a request that stands at another place, by what it presented at first."""
    rule = guard._rules.default
    try:
        seen = place.seen_in(environ)
        rule = guard._rule(place.path, seen)
        said: Decision | Question | None = guard._without_credential(rule, seen, place.path)
        if said is None:
            whole = guard._with_body_of(rule, found, environ)
            if isinstance(whole, Found):
                found = whole
            said = whole if isinstance(whole, Deny) else guard._weigh(rule, found, environ)
        return Pending(guard, environ, place.path, rule, found, said)
    except Exception as error:  # noqa: BLE001 - the guard's own edge
        return Pending(guard, environ, place.path, rule, Found(), fault(error))


def _resumed_with_key(guard: Guard, environ: Environ, place: Place, decision: Allow) -> Pending:
    """As :func:`_resumed`, where a key opened the way: it holds, and the rule's scopes are looked at anew."""
    rule = guard._rules.default
    said: Decision = decision
    try:
        rule = guard._rule(place.path, place.seen_in(environ))
        consumer = decision.consumer
        held = NO_SCOPES if consumer is None else consumer.scopes
        if rule.mode == "enforce" and not rule.scopes <= held:
            said = lacking(rule.scopes, decision.fingerprint, decision.freshness, rule.label, consumer)
    except Exception as error:  # noqa: BLE001 - the guard's own edge
        said = fault(error)
    return Pending(guard, environ, place.path, rule, Found(), said)
