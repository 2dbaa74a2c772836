"""The guard: one per app. It owns the settings and the parts, and decides about requests.

A request goes through :meth:`Guard.check`, which is two steps in one: :meth:`Guard.begin` ends in
an Allow for a key that is remembered, or in a :class:`~apikey_guard.pending.Pending`, which an
adapter may still tell the mark of a view before it is settled.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Unpack

from apikey_guard.admission import Admission
from apikey_guard.assembly import make_cors, make_identity_headers, make_rules
from apikey_guard.bodies import RequestBody, WsgiBody, with_body
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core import body as body_fields
from apikey_guard.core.cors import is_preflight
from apikey_guard.core.decision import Outcome, Question, conclude, lacking, settle
from apikey_guard.core.extraction import Ambiguous, Location
from apikey_guard.core.model import (
    NO_SCOPES,
    Allow,
    Consumer,
    Credential,
    Decision,
    Deny,
    Freshness,
    Reason,
    Rejection,
)
from apikey_guard.core.peers import Peers, network_of
from apikey_guard.core.rules import Rule
from apikey_guard.core.standin import STRONG_LENGTH
from apikey_guard.environ import CONSUMER, DECISION, UNANSWERED, Environ
from apikey_guard.errors import BadRequest, BodyTooLarge, KeyServiceUnavailable
from apikey_guard.observe.decisions import Telling, fault
from apikey_guard.openapi import security_schemes
from apikey_guard.pending import NOTHING_FOUND, Found, Pending
from apikey_guard.rejections import Rejections
from apikey_guard.settings import Settings, SettingsArgs, load_settings
from apikey_guard.verification import Verifier

#: What is said of a preflight that is answered before the app.
PREFLIGHT: Final = Deny(Reason.PREFLIGHT)

PASSED = Allow()
# Looked up once: an enum member costs more than everything else in its line.
_FRESH = Freshness.FRESH
_INVALID, _LACKING = Reason.INVALID_CREDENTIAL, Reason.INSUFFICIENT_SCOPE
_new_tuple = tuple.__new__
_sha256 = hashlib.sha256


class Guard:
    """Decides about requests by one app's settings.

    :param settings: complete settings; None loads them from ``given``, the environment and the
        TOML file.
    :param clock: for ages and dates, of whatever works for this guard; tests move one by hand.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong with the settings.

    Construction reads settings and does nothing else: sockets, threads and locks are made on
    first use in the process that uses them.
    """

    def __init__(
        self, settings: Settings | None = None, *, clock: Clock = SYSTEM_CLOCK, **given: Unpack[SettingsArgs]
    ) -> None:
        self.settings = settings = load_settings(**given) if settings is None else settings
        self.clock = clock
        self._monotonic, self._time = clock.monotonic, clock.time
        self._rules = make_rules(settings)
        self._rule, self._plain_rules = self._rules.rule, self._rules.plain_rules
        #: What lets pages of other origins read the guard's answers, or None.
        self.cors = make_cors(settings)
        self._verifier = Verifier(settings, clock)
        self._valid, self._invalid = self._verifier.cache.valid, self._verifier.cache.invalid
        self._max_length = settings.key_max_length
        self._secret = settings.fingerprint_secret
        self._peers = Peers(settings.trusted_proxies)
        self._rejections = Rejections(settings, self.cors)
        self._telling = Telling(settings.on_decision)
        self._admission = Admission(make_identity_headers(settings), self._telling)
        self._admit = self._admission.admit

    # -- one request ---------------------------------------------------------------------------

    def check(self, environ: Environ, path: str, body: RequestBody | None = None) -> Decision:
        """Decide about a request and, if it may go on, prepare it for the app.

        On an Allow, forged identity headers are deleted and ours are set, the credential is
        hidden, and ``apikey_guard.consumer`` and ``apikey_guard.decision`` are put on the
        environ. A Deny is to be answered with :meth:`reject`; the app must not be called.

        :param environ: a WSGI environ or Django's ``request.META``; changed in place.
        :param path: the path that the app routes on, decoded, undecodable bytes as U+FFFD.
        :param body: where the body is read; None reads ``wsgi.input``.
        :returns: a decision; no exception leaves this method but those that end a process.
        """
        begun = self.begin(environ, path, body)
        return begun.settle() if isinstance(begun, Pending) else begun

    async def check_async(self, environ: Environ, path: str, body: RequestBody | None = None) -> Decision:
        """As :meth:`check`, without blocking the event loop while the key service is asked."""
        begun = self.begin(environ, path, body)
        return await begun.settle_async() if isinstance(begun, Pending) else begun

    def begin(self, environ: Environ, path: str, body: RequestBody | None = None) -> Allow | Pending:
        """The first step: an Allow for a key that is remembered; what else it is, is still to be settled."""
        rule = self._rules.default
        try:
            rule = self._plain_rules.get(path) or self._rule(path, environ)
            if not rule.plain or environ.get("REQUEST_METHOD") == "OPTIONS":
                decision = self._without_credential(rule, environ, path)
                if decision is not None:
                    return Pending(self, environ, path, rule, self._find(rule, environ, body), decision)
            hiding = rule.hiding
            found, query = environ.get(hiding.usual_key), environ.get("QUERY_STRING")
            # The key in its header and nowhere else: no loop is begun over places where it may be.
            usual = (
                found is not None
                and not (query and (hiding.usual_name in query or "%" in query))
                and "HTTP_REFERER" not in environ
            )
            if not usual:
                extractor = rule.extractor
                found = extractor.find(environ)
                if extractor.body_names:
                    elsewhere = extractor.sift(environ, found)
                    in_body = self._with_body(rule, elsewhere, body or WsgiBody(environ))
                    if isinstance(in_body, Deny):
                        return Pending(self, environ, path, rule, Found(elsewhere, body=body), in_body)
                    found = in_body
            if found.__class__ is str and len(found) <= self._max_length:
                # What is remembered was well-formed when it was verified, so it need not be vetted.
                try:
                    fingerprint = (
                        _sha256(found.encode()).digest() if self._secret is None else self._fingerprint(found)
                    )
                except UnicodeEncodeError:
                    fingerprint = b""  # of no key
                entry = self._valid.get(fingerprint)
                # A callable that an object holds is called sooner by a name of its own.
                monotonic, admit = self._monotonic, self._admit
                if entry is None:
                    until = self._invalid.get(fingerprint)
                    if until is not None and monotonic() < until:
                        deny = (_INVALID, fingerprint, _FRESH, rule.label, None, NO_SCOPES, None)
                        return self._refused(environ, path, rule, found, body, deny)
                elif monotonic() < entry.refresh_at and (
                    entry.expires_at is None or self._time() < entry.expires_at
                ):
                    if rule.scopes and not rule.scopes <= entry.scopes:
                        lacks = (_LACKING, fingerprint, _FRESH, rule.label, None, rule.scopes, entry)
                        return self._refused(environ, path, rule, found, body, lacks)
                    # As Allow(...), without the named tuple's own layer of Python.
                    decision = _new_tuple(Allow, (entry, fingerprint, _FRESH, rule.label, False))
                    return admit(environ, rule, entry, decision, "" if usual else found, fingerprint)
            extractor = rule.extractor
            if found is None and rule.plain and not extractor.body_names:
                return Pending(self, environ, path, rule, NOTHING_FOUND, rule.missing)
            if not extractor.body_names:
                found = extractor.sift(environ, found)
            presented = Found(found, in_body=bool(extractor.body_names), body=body)
            said = self._weigh(rule, presented, environ)
            if isinstance(said, Allow) and said.consumer is not None:
                return said
            return Pending(self, environ, path, rule, presented, said)
        except Exception as error:  # noqa: BLE001 - the guard's own edge: a fault is a 500, never a pass
            return Pending(self, environ, path, rule, Found(), fault(error))

    def ask(self, question: Question) -> Outcome:
        """The second step: the answer, from the key service or from what is remembered."""
        try:
            return self._verifier.ask(question)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            return _unanswered(error)

    async def ask_async(self, question: Question) -> Outcome:
        """As :meth:`ask`; a caller that is cancelled takes nothing away from the others."""
        try:
            return await self._verifier.ask_async(question)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            return _unanswered(error)

    def conclude(self, question: Question, outcome: Outcome, environ: Environ) -> Decision:
        """The third step: what the answer means; an Allow prepares the request for the app."""
        try:
            return self._conclude(question, outcome, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            return fault(error)

    def require(self, environ: Environ, scopes: Collection[str]) -> Deny | None:
        """The Deny for a request that was allowed but whose credential lacks one of these scopes.

        :param environ: of a request that :meth:`check` allowed.
        :param scopes: all of them are needed; an anonymous request has none.
        """
        decision, consumer = environ.get(DECISION), environ.get(CONSUMER)
        if not isinstance(decision, Allow) or not isinstance(consumer, Consumer):
            return PREFLIGHT if self._answers(environ) else Deny(Reason.MISSING_CREDENTIAL)
        if consumer.scopes.issuperset(scopes):
            return None
        return lacking(frozenset(scopes), decision.fingerprint, decision.freshness, decision.route, consumer)

    @staticmethod
    def is_preflight(environ: Environ) -> bool:
        """Whether this is a CORS preflight, which the framework may answer itself without a key.

        The adapter then calls :meth:`reject` with :data:`PREFLIGHT`, and no function of a view.
        """
        return is_preflight(environ)

    def reject(self, deny: Deny, environ: Environ, path: str, *, readable: bool = True) -> Rejection:
        """The response for a Deny: the same bytes from every adapter. Counts and logs it.

        What runs after it (an error page, an access log) sees no credential and no forged
        identity header either: both are removed from the environ, which holds the Deny instead.

        :param path: as in :meth:`check`.
        :param readable: whether pages of the ``cors_origins`` may read it by the rejection's own headers;
            an adapter behind which others may add such headers adds :attr:`cors` last instead.
        """
        rule = self._rules.default
        try:
            rule = self._plain_rules.get(path) or self._rule(path, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
        return self._reject(deny, environ, rule, readable=readable)

    def _reject(
        self, deny: Deny, environ: Environ, rule: Rule, *, presented: str = "", readable: bool = True
    ) -> Rejection:
        environ[CONSUMER] = None
        environ[DECISION] = deny
        try:
            self._admission.refuse(environ, rule, deny, presented)
            rejection = self._rejections.make(deny, rule, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
            rejection = self._rules.default.wording.of_fault()
        return self._rejections.readable(rejection, environ) if readable and self.cors else rejection

    def unanswered(self, reason: Reason, environ: Environ, path: str) -> Rejection:
        """The response for a request that was allowed, but which nothing behind the guard answers.

        :param reason: why an origin gave no answer.
        :param path: as in :meth:`check`.
        """
        environ[UNANSWERED] = reason
        try:
            self._telling.tell_unanswered(reason)
            rejection = self._rejections.make(Deny(reason), self._rule(path, environ), environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
            rejection = self._rules.default.wording.of_fault()
        return self._rejections.readable(rejection, environ)

    # -- the first step ------------------------------------------------------------------------

    def _refused(
        self,
        environ: Environ,
        path: str,
        rule: Rule,
        key: str,
        body: RequestBody | None,
        fields: tuple[object, ...],
    ) -> Pending:
        """What memory refuses, by the fields of its Deny: refusals are to be cheap."""
        found = _new_tuple(Found, (key, "", False, body))
        return Pending(self, environ, path, rule, found, _new_tuple(Deny, fields))

    def _fingerprint(self, text: str) -> bytes:
        """SHA-256 of a credential's bytes, or HMAC-SHA-256 where a secret is set."""
        if self._secret is None:
            return _sha256(text.encode()).digest()
        return hmac.digest(self._secret, text.encode(), "sha256")

    def _weigh(self, rule: Rule, found: Found, environ: Environ) -> Decision | Question:
        """What a request means by what it presents, as far as memory tells; a known key is admitted."""
        settled = settle(rule, found.value)
        if not isinstance(settled, str):
            return settled
        question, outcome = self._known(rule, settled, environ, found.location)
        return question if outcome is None else self._conclude(question, outcome, environ)

    def _known(
        self, rule: Rule, text: str, environ: Environ, location: str = ""
    ) -> tuple[Question, Outcome | None]:
        """The question about a credential, with its outcome where the cache knows one."""
        credential = Credential(text, location or rule.extractor.location_of(environ, text))
        fingerprint = self._fingerprint(text)
        entry = self._valid.get(fingerprint)
        if entry is not None and entry.freshness(self._monotonic(), self._time()) is _FRESH:
            return Question(rule, credential, fingerprint), Outcome(entry, _FRESH)
        question, outcome = self._verifier.known(Question(rule, credential, fingerprint))
        if outcome is None:
            question = question._replace(peer=network_of(self._peers.told(environ)))
        return question, outcome

    def _find(self, rule: Rule, environ: Environ, body: RequestBody | None) -> Found:
        """What a request presents whose credential does not matter here, but may further in."""
        extractor = rule.extractor
        value = extractor.sift(environ, extractor.find(environ))
        location = extractor.location_of(environ, value) if isinstance(value, str) else ""
        return Found(value, location, body=body)

    def _with_body_of(self, rule: Rule, found: Found, environ: Environ) -> Found | Deny:
        """What a request presents, its body included where the rule looks there and nobody has yet."""
        if found.in_body or not rule.extractor.body_names:
            return found
        value = self._with_body(rule, found.value, found.body or WsgiBody(environ))
        return value if isinstance(value, Deny) else found._replace(value=value, in_body=True)

    def _with_body(
        self, rule: Rule, found: str | Ambiguous | None, body: RequestBody
    ) -> str | Ambiguous | Deny | None:
        limit = self.settings.body_max_bytes
        try:
            return with_body(rule.extractor, found, body, limit=limit, hides=rule.hiding.hides)
        except BodyTooLarge:
            return Deny(Reason.BODY_TOO_LARGE, route=rule.label)
        except BadRequest:
            return Deny(Reason.BAD_REQUEST, route=rule.label)

    def _without_credential(self, rule: Rule, environ: Environ, path: str) -> Decision | None:
        """The decision about a request whose credential does not matter, or None."""
        if rule.mode == "off":
            return PASSED
        decision: Allow | Deny | None = None
        if rule.access == "public" or self._rules.hands_on(path, environ):
            decision = Allow(route=rule.label)
        elif self._answers(environ):
            decision = Deny(Reason.PREFLIGHT, route=rule.label)
        if rule.mode == "monitor":
            return self._observe(rule, environ, decision)
        return decision

    def _answers(self, environ: Environ) -> bool:
        """Whether the guard itself answers this request: a preflight for a page of a named origin."""
        return self.cors is not None and is_preflight(environ) and self.cors.names(environ)

    def _observe(self, rule: Rule, environ: Environ, decision: Decision | None) -> Allow:
        """Mode ``monitor``: decide, count and log, but change nothing, wait for nothing, let pass.

        :param decision: where the credential does not matter.
        """
        if decision is None:
            settled = settle(rule, rule.extractor.sift(environ, rule.extractor.find(environ)))
            decision = None if isinstance(settled, str) else settled
            if isinstance(settled, str):
                question, outcome = self._known(rule, settled, environ)
                decision = None if outcome is None else conclude(question, outcome)
                if outcome is None:
                    # The request goes on meanwhile, and may change what is its own.
                    shown = {**environ} if self._telling.hook else {}
                    self._verifier.ask_later(question, partial(self._observe_outcome, shown))
            elif rule.extractor.body_names and body_fields.searchable(environ.get("CONTENT_TYPE")):
                decision = None  # the credential may be in the body, which is not read here
        environ[DECISION] = decision
        if decision is not None:
            self._telling.tell(decision, environ)
        return PASSED

    def _observe_outcome(self, environ: Environ, question: Question, outcome: Outcome) -> None:
        environ[DECISION] = decision = conclude(question, outcome)
        self._telling.tell(decision, environ)

    # -- the third step ------------------------------------------------------------------------

    def _conclude(self, question: Question, outcome: Outcome, environ: Environ) -> Decision:
        decision = conclude(question, outcome)
        if isinstance(decision, Deny) or outcome.entry is None:
            return decision
        key = question.credential.value
        if len(key) < STRONG_LENGTH and self._secret is None and question.rule.hiding.replaces:
            self._telling.warn_of_weak_key()
        before, hiding = environ.get(DECISION), question.rule.hiding
        self._admit(environ, question.rule, outcome.entry, decision, key, question.fingerprint)
        if isinstance(before, Allow) and before.consumer is None:
            # It was let in without a key, which was removed then; by now the key counts after all.
            hiding.put(environ, Location.parse(question.credential.location), question.fingerprint)
        return decision

    def _end(self, environ: Environ, rule: Rule, said: Decision) -> Decision:
        """The end of a pending request: whoever is let in without a key gets the request prepared now."""
        if isinstance(said, Deny) or said.consumer is not None or said is PASSED:
            return said
        try:
            return self._admission.admit_nobody(environ, rule, said)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            return fault(error)

    # -- the keeper's side ---------------------------------------------------------------------

    def revoke(
        self,
        *,
        key: str | None = None,
        fingerprint: str | None = None,
        consumer: str | None = None,
        everything: bool = False,
    ) -> int:
        """Forget what is remembered in this process; the next request asks the key service.

        Exactly one of the arguments is given.

        :param key: the credential itself.
        :param fingerprint: hex digits of it, as logs show them: 12 at least.
        :param consumer: id, username or custom_id; all credentials of that consumer.
        :param everything: all there is.
        :returns: how many valid credentials were forgotten.
        :raises ValueError: none or several of the arguments are given, or too few hex digits.
        """
        given = [key is not None, fingerprint is not None, consumer is not None, everything]
        if sum(given) != 1:
            raise ValueError("give exactly one of key, fingerprint, consumer, everything")
        if key is not None:
            return self._verifier.revoke_one(self._fingerprint(key))
        if fingerprint is not None:
            return self._verifier.revoke_prefix(fingerprint)
        if consumer is not None:
            return self._verifier.revoke_consumer(consumer)
        return self._verifier.revoke_all()

    def stats(self) -> Mapping[str, int | bool]:
        """What this process has decided and remembers, as numbers with stable names."""
        return {**self._telling.read(), **self._verifier.stats()}

    def openapi_security_scheme(self) -> dict[str, dict[str, str]]:
        """How keys are sent, as ``components.securitySchemes`` of an OpenAPI 3 document."""
        return security_schemes(self.settings)

    def close(self) -> None:
        """Let go of threads and sockets; what is not remembered is then refused. May be called twice."""
        self._verifier.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unanswered(error: Exception) -> Outcome:
    fault(error)
    return Outcome(error=KeyServiceUnavailable("error"))
