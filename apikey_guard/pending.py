"""A request that was no hit: what was found in it, and what can still be decided about it.

What was decided at one place is decided anew at another one, and always about the credential that
was found the first time: by then the request shows it no more, or shows another one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from apikey_guard.bodies import RequestBody, WsgiBody
from apikey_guard.core.body import searchable
from apikey_guard.core.decision import Outcome, Question, conclude, settle
from apikey_guard.core.extraction import Ambiguous, Location
from apikey_guard.core.model import Allow, Credential, Decision, Deny, Freshness, Reason, Rejection
from apikey_guard.core.paths import keeps_its_segments
from apikey_guard.core.peers import network_of
from apikey_guard.core.routing import Access
from apikey_guard.core.rules import Rule
from apikey_guard.environ import DECISION, Environ
from apikey_guard.errors import KeyServiceUnavailable
from apikey_guard.observe.decisions import Telling, fault
from apikey_guard.policy import Policy

if TYPE_CHECKING:
    from apikey_guard.guard import Guard
    from apikey_guard.passage import Place


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

    @classmethod
    def outside_body(cls, rule: Rule, environ: Environ, body: RequestBody | None) -> Found:
        """What a request presents whose credential does not matter here, but may further in."""
        extractor = rule.extractor
        value = extractor.sift(environ, extractor.find(environ))
        location = extractor.location_of(environ, value) if isinstance(value, str) else ""
        return cls(value, location, body=body)

    def __repr__(self) -> str:
        return "Found('***')"


#: Of a request without a credential.
NOTHING_FOUND = Found()


class Pending:
    """A request that memory did not allow: undecided, refused, or let in without a key.

    Nothing of the request has been changed yet; :meth:`settle` ends it. It is kept for as long as
    the request lives, since a mark further in may ask for the key, and goes by one policy all that time.

    :ivar path: where it stands.
    :ivar rule: the rule that holds.
    :ivar said: what is known by now.
    :ivar marked: the mark of the app's own view that counts, or None.
    """

    __slots__ = ("_environ", "_found", "_guard", "_policy", "marked", "path", "rule", "said")

    def __init__(
        self,
        guard: Guard,
        policy: Policy,
        environ: Environ,
        path: str,
        rule: Rule,
        found: Found,
        said: Decision | Question,
    ) -> None:
        self._guard = guard
        self._policy = policy
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

    # -- what a mark says -------------------------------------------------------------------------

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
        policy, environ, rule, said = self._policy, self._environ, self.rule, self.said
        nobody = Allow(route=rule.label, anonymous=access == "optional")
        if access == "public":
            return nobody
        if rule.access == "required":
            # An empty credential is one that was presented, wherever it stood.
            opened = access == "optional" and said == rule.missing and self._found.value is None
            return nobody if opened else said
        if policy.rules.hands_on(self.path, environ):
            return said
        if policy.answers(environ):
            return Deny(Reason.PREFLIGHT, route=rule.label)
        denied = self._read_body()
        if denied is not None:
            return denied
        if self._found.value is None:
            return nobody if access == "optional" else rule.missing
        return self.weigh()

    # -- what memory says -------------------------------------------------------------------------

    def begin(self, seen: Environ) -> Decision | Question:
        """What the request means, as far as memory tells; a known key is admitted.

        :param seen: the environ as it is at this place.
        """
        rule = self.rule
        decision = None if rule.mode == "off" else self._policy.without_credential(rule, seen, self.path)
        if rule.mode == "monitor":
            self._observe(decision)
        if rule.mode != "enforce":
            return Allow(route=rule.label, mode=rule.mode)
        if decision is None:
            decision = self._read_body()
        return self.weigh() if decision is None else decision

    def weigh(self) -> Decision | Question:
        """What the request means by what it presents, as far as memory tells; a known key is admitted."""
        settled = settle(self.rule, self._found.value)
        if not isinstance(settled, str):
            return settled
        question, outcome = self._known(settled)
        return question if outcome is None else self._conclude(question, outcome)

    def _known(self, text: str) -> tuple[Question, Outcome | None]:
        """The question about a credential, with its outcome where that is remembered."""
        guard, policy, environ, rule = self._guard, self._policy, self._environ, self.rule
        location = self._found.location or rule.extractor.location_of(environ, text)
        question = Question(rule, Credential(text, location), policy.fingerprint(text))
        entry, clock = policy.memory.valid.get(question.fingerprint), guard.clock
        if entry is not None and entry.freshness(clock.monotonic(), clock.time()) is Freshness.FRESH:
            return question, Outcome(entry, Freshness.FRESH)
        question, outcome = guard.verifier.known(question)
        if outcome is None:
            question = question._replace(peer=network_of(policy.peers.told(environ)))
        return question, outcome

    def _read_body(self) -> Deny | None:
        """Look into the body, too, where the rule looks there and nobody has yet."""
        rule, found = self.rule, self._found
        if not found.in_body and rule.extractor.body_names:
            value = self._policy.read_body(rule, found.value, found.body or WsgiBody(self._environ))
            if isinstance(value, Deny):
                return value
            self._found = found._replace(value=value, in_body=True)
        return None

    def _observe(self, decision: Decision | None) -> None:
        """Mode ``monitor``: decide, count and log, but change nothing and wait for nothing.

        :param decision: where the credential does not matter.
        """
        environ, telling, extractor = self._environ, self._policy.telling, self.rule.extractor
        if decision is None:
            settled = settle(self.rule, self._found.value)
            decision = None if isinstance(settled, str) else settled
            if isinstance(settled, str):
                question, outcome = self._known(settled)
                decision = None if outcome is None else conclude(question, outcome)
                if outcome is None:
                    # The request goes on meanwhile, and may change what is its own.
                    shown = {**environ} if telling.hook else {}
                    self._guard.verifier.ask_later(question, partial(_tell, telling, shown))
            elif extractor.body_names and searchable(environ.get("CONTENT_TYPE")):
                decision = None  # the credential may be in the body, which is not read here
        environ[DECISION] = decision
        if decision is not None:
            telling.tell(decision, environ)

    # -- the end ----------------------------------------------------------------------------------

    def settle(self) -> Decision:
        """The decision; asks the key service if need be. An Allow has prepared the request for the app."""
        said = self.said
        if said.__class__ is Deny:
            return said  # as _end() would, but refusals are to be cheap
        if isinstance(said, Question):
            try:
                outcome = self._guard.verifier.ask(said)
            except Exception as error:  # noqa: BLE001 - the guard's own edge
                outcome = _unanswered(error)
            said = self._answered(said, outcome)
        return self._end(said)

    async def settle_async(self) -> Decision:
        """As :meth:`settle`, without blocking the event loop.

        A caller that is cancelled takes nothing away from the others.
        """
        said = self.said
        if isinstance(said, Question):
            try:
                outcome = await self._guard.verifier.ask_async(said)
            except Exception as error:  # noqa: BLE001 - the guard's own edge
                outcome = _unanswered(error)
            said = self._answered(said, outcome)
        return self._end(said)

    def _answered(self, question: Question, outcome: Outcome) -> Decision:
        try:
            return self._conclude(question, outcome)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            return fault(error)

    def _conclude(self, question: Question, outcome: Outcome) -> Decision:
        """What an answer means; an Allow prepares the request for the app."""
        decision = conclude(question, outcome)
        if isinstance(decision, Deny) or outcome.entry is None:
            return decision
        policy, environ, rule, hiding = self._policy, self._environ, self.rule, self.rule.hiding
        key, before = question.credential.value, environ.get(DECISION)
        if len(key) < policy.weak_length and hiding.replaces:
            policy.telling.warn_of_weak_key()
        policy.admission.admit(environ, rule, outcome.entry, decision, key, question.fingerprint)
        if isinstance(before, Allow) and before.consumer is None:
            # It was let in without a key, which was removed then; by now the key counts after all.
            hiding.put(environ, Location.parse(question.credential.location), question.fingerprint)
        return decision

    def _end(self, said: Decision) -> Decision:
        """Whoever is let in without a key gets the request prepared now."""
        if isinstance(said, Allow) and said.consumer is None and said.enforced:
            try:
                said = self._policy.admission.admit_nobody(self._environ, self.rule, said)
            except Exception as error:  # noqa: BLE001 - the guard's own edge
                said = fault(error)
        self.said = said
        return said

    def rejection(self, *, readable: bool = True) -> Rejection:
        """The response where it was settled by a Deny, as :meth:`Guard.reject` makes it.

        :param readable: as there.
        """
        said, value = self.said, self._found.value
        if not isinstance(said, Deny):
            raise AssertionError("only what was refused has a rejection")
        presented = value if isinstance(value, str) else ""
        return self._policy.reject(said, self._environ, self.rule, presented=presented, readable=readable)

    # -- later, further in ------------------------------------------------------------------------

    def again(
        self, environ: Environ, place: Place, access: Access | None, *, body_is_read: bool = False
    ) -> Pending:
        """The same request at another place, or before another view, with what it presented at first.

        :param environ: of the request by now.
        :param place: where it stands now.
        :param access: the mark of the view that is called now, or None.
        :param body_is_read: by the app, so that no key can be found in it any more.
        """
        found = self._found._replace(in_body=True) if body_is_read else self._found
        default = self._policy.rules.default
        anew = Pending(self._guard, self._policy, environ, place.path, default, found, default.missing)
        try:
            seen = place.seen_in(environ)
            anew.rule = self._policy.rules.rule(place.path, seen)
            anew.said = anew.begin(seen)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            anew.said = fault(error)
        anew.relax(access)
        return anew


def without_credential(
    guard: Guard, policy: Policy, environ: Environ, path: str, rule: Rule, body: RequestBody | None
) -> Pending | None:
    """A request that is decided whatever key it presents, which may count further in; else None."""
    decision = policy.without_credential(rule, environ, path)
    if decision is None and rule.mode == "enforce":
        return None
    found = Found.outside_body(rule, environ, body)
    pending = Pending(guard, policy, environ, path, rule, found, decision or rule.missing)
    if rule.mode != "enforce":
        pending.said = pending.begin(environ)
    return pending


def weighed(
    guard: Guard,
    policy: Policy,
    environ: Environ,
    path: str,
    rule: Rule,
    found: str | Ambiguous | None,
    body: RequestBody | None,
) -> Allow | Pending:
    """A request that depends on what it presents: an Allow where that is remembered after all.

    :param found: at a glance; where the rule looks into bodies, after the second look.
    """
    in_body = bool(rule.extractor.body_names)
    if found is None and rule.plain and not in_body:
        return Pending(guard, policy, environ, path, rule, NOTHING_FOUND, rule.missing)
    value = found if in_body else rule.extractor.sift(environ, found)
    presented = Found(value, in_body=in_body, body=body)
    pending = Pending(guard, policy, environ, path, rule, presented, rule.missing)
    pending.said = said = pending.weigh()
    return said if isinstance(said, Allow) and said.consumer is not None else pending


def _is_fault(said: Decision | Question) -> bool:
    return isinstance(said, Deny) and said.reason is Reason.INTERNAL_ERROR


def _tell(telling: Telling, environ: Environ, question: Question, outcome: Outcome) -> None:
    environ[DECISION] = decision = conclude(question, outcome)
    telling.tell(decision, environ)


def _unanswered(error: Exception) -> Outcome:
    fault(error)
    return Outcome(error=KeyServiceUnavailable("error"))
