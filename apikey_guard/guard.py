"""The guard: one per app. It holds what the settings mean and what is remembered, and decides about requests.

A request goes through :meth:`Guard.check`, which is two steps in one: :meth:`Guard.begin` ends in
an Allow for a key that is remembered, or in a :class:`~apikey_guard.pending.Pending`, which an
adapter may still tell the mark of a view before it is settled.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Unpack

from apikey_guard.assembly import make_policy
from apikey_guard.bodies import RequestBody, WsgiBody
from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.cors import is_preflight
from apikey_guard.core.decision import lacking
from apikey_guard.core.model import (
    NO_SCOPES,
    Allow,
    Decision,
    Deny,
    Freshness,
    Reason,
    Rejection,
)
from apikey_guard.core.rules import Rule
from apikey_guard.environ import DECISION, Environ, is_path_of, path_of
from apikey_guard.observe.counters import Counters
from apikey_guard.observe.decisions import fault
from apikey_guard.openapi import security_schemes
from apikey_guard.pending import NOTHING_FOUND, Found, Pending, weighed, without_credential
from apikey_guard.policy import PREFLIGHT, Policy
from apikey_guard.settings import Settings, SettingsArgs, load_settings
from apikey_guard.verification import Verifier

logger = logging.getLogger("apikey_guard")

# Looked up once: an enum member costs more than everything else in its line.
_FRESH = Freshness.FRESH
_INVALID, _LACKING = Reason.INVALID_CREDENTIAL, Reason.INSUFFICIENT_SCOPE
_new_tuple = tuple.__new__


class Guard:
    """Decides about requests by one app's settings.

    :param settings: complete settings; None loads them from ``given``, the environment and the
        TOML file.
    :param clock: for ages and dates, of whatever works for this guard; tests move one by hand.
    :param given: settings as keyword arguments.
    :raises SettingsError: lists everything that is wrong with the settings.
    :ivar policy: what the settings mean for one request. Another one may be put in its place at any
        time: it holds for the requests that begin then.

    Construction reads settings and does nothing else: sockets, threads and locks are made on
    first use in the process that uses them.
    """

    def __init__(
        self, settings: Settings | None = None, *, clock: Clock = SYSTEM_CLOCK, **given: Unpack[SettingsArgs]
    ) -> None:
        self.settings = settings = load_settings(**given) if settings is None else settings
        self.clock = clock
        self._monotonic, self._time = clock.monotonic, clock.time
        self.verifier = Verifier(settings, clock)
        self._counters = Counters()
        self.policy = self.policy_of(settings)

    def policy_of(self, settings: Settings) -> Policy:
        """What settings mean for one request to this guard, with what it remembers and has counted."""
        return make_policy(settings, self.verifier.cache, self._counters)

    # -- one request ---------------------------------------------------------------------------

    def check(self, environ: Environ, path: str | None = None, body: RequestBody | None = None) -> Decision:
        """Decide about a request and, if it may go on, prepare it for the app.

        On an Allow, forged identity headers are deleted and ours are set, the credential is
        hidden, and ``apikey_guard.consumer`` and ``apikey_guard.decision`` are put on the
        environ. A Deny is to be answered with :meth:`reject`; the app must not be called.

        :param environ: a WSGI environ or Django's ``request.META``; changed in place.
        :param path: the path that the app routes on, decoded, undecodable bytes as U+FFFD; None is that
            of a WSGI environ. One that contradicts the environ is an error, and so a 500.
        :param body: where the body is read; None reads ``wsgi.input``.
        :returns: a decision; no exception leaves this method but those that end a process.
        """
        begun = self._begin_at(environ, path, body)
        return begun.settle() if isinstance(begun, Pending) else begun

    async def check_async(
        self, environ: Environ, path: str | None = None, body: RequestBody | None = None
    ) -> Decision:
        """As :meth:`check`, without blocking the event loop while the key service is asked."""
        begun = self._begin_at(environ, path, body)
        return await begun.settle_async() if isinstance(begun, Pending) else begun

    def _begin_at(self, environ: Environ, path: str | None, body: RequestBody | None) -> Allow | Pending:
        if path is None:
            path = path_of(environ)
        elif not is_path_of(environ, path):
            logger.error("check() was given another path than that of the environ: answered with 500")
            policy = self.policy
            deny = Deny(Reason.INTERNAL_ERROR)
            return Pending(self, policy, environ, path, policy.rules.default, NOTHING_FOUND, deny)
        return self.begin(environ, path, body)

    # Written twice for speed, here and in what it calls: the rule out of a memo of paths (20 to 43 % of a
    # hit), the age of an entry as in Remembered.freshness (13 %), the key in its one header, tuples without
    # their own layer of Python, a callable that an object holds by a name of its own, stand-in and identity
    # headers. tests/guard/test_shortcuts.py holds it all to the plain way.
    def begin(
        self,
        environ: Environ,
        path: str,
        body: RequestBody | None = None,
        policy: Policy | None = None,
        rule: Rule | None = None,
    ) -> Allow | Pending:
        """The first step: an Allow for a key that is remembered; what else it is, is still to be settled.

        :param path: as for :meth:`check`; an adapter knows on which one its framework routes.
        :param policy: and ``rule``: where the request was matched before.
        """
        policy = policy or self.policy
        rules = policy.rules
        try:
            rule = rule or rules.plain_rules.get(path) or rules.rule(path, environ)
            if not rule.plain or environ.get("REQUEST_METHOD") == "OPTIONS":
                pending = without_credential(self, policy, environ, path, rule, body)
                if pending is not None:
                    return pending
            hiding = rule.hiding
            found, query = environ.get(hiding.usual_key), environ.get("QUERY_STRING")
            # The key in its header and nowhere else: no loop is begun over places where it may be.
            usual = (
                found is not None
                and not (query and (hiding.usual_name in query or "%" in query))
                and "HTTP_REFERER" not in environ
            )
            if not usual:
                found = rule.extractor.find(environ)
                if rule.extractor.body_names:
                    outside = rule.extractor.sift(environ, found)
                    found = policy.read_body(rule, outside, body or WsgiBody(environ))
                    if isinstance(found, Deny):
                        presented = Found(outside, body=body)
                        return Pending(self, policy, environ, path, rule, presented, found)
            if found.__class__ is str and len(found) <= policy.max_length:
                # What is remembered was well-formed when it was verified, so it need not be vetted.
                fingerprint = policy.fingerprint(found)
                entry = policy.memory.valid.get(fingerprint)
                monotonic = self._monotonic
                if entry is None:
                    until = policy.memory.invalid.get(fingerprint)
                    if until is not None and monotonic() < until:
                        deny = (_INVALID, fingerprint, _FRESH, rule.label, None, NO_SCOPES, None)
                        return self._refused(policy, environ, path, rule, found, body, deny)
                elif monotonic() < entry.refresh_at and (
                    entry.expires_at is None or self._time() < entry.expires_at
                ):
                    if rule.scopes and not rule.scopes <= entry.scopes:
                        lacks = (_LACKING, fingerprint, _FRESH, rule.label, None, rule.scopes, entry)
                        return self._refused(policy, environ, path, rule, found, body, lacks)
                    decision = _new_tuple(Allow, (entry, fingerprint, _FRESH, rule.label, False, "enforce"))
                    key = "" if usual else found
                    return policy.admission.admit(environ, rule, entry, decision, key, fingerprint)
            return weighed(self, policy, environ, path, rule, found, body)
        except Exception as error:  # noqa: BLE001 - the guard's own edge: a fault is a 500, never a pass
            return Pending(self, policy, environ, path, rule or rules.default, NOTHING_FOUND, fault(error))

    def _refused(
        self,
        policy: Policy,
        environ: Environ,
        path: str,
        rule: Rule,
        key: str,
        body: RequestBody | None,
        fields: tuple[object, ...],
    ) -> Pending:
        """What memory refuses, by the fields of its Deny: refusals are to be cheap."""
        found = _new_tuple(Found, (key, "", False, body))
        return Pending(self, policy, environ, path, rule, found, _new_tuple(Deny, fields))

    def require(
        self, environ: Environ, scopes: Collection[str], decision: Decision | None = None
    ) -> Deny | None:
        """The Deny for a request that was allowed but whose credential lacks one of these scopes.

        Where nothing is enforced, nothing is lacking.

        :param environ: of a request that :meth:`check` allowed.
        :param scopes: all of them are needed; an anonymous request has none.
        :param decision: what it said; None is what the environ has.
        """
        decision = environ.get(DECISION) if decision is None else decision
        consumer = decision.consumer if isinstance(decision, Allow) else None
        if isinstance(decision, Allow) and not decision.enforced:
            return None
        if decision is None or consumer is None:
            return PREFLIGHT if self.policy.answers(environ) else Deny(Reason.MISSING_CREDENTIAL)
        if consumer.scopes.issuperset(scopes):
            return None
        return lacking(frozenset(scopes), decision.fingerprint, decision.freshness, decision.route, consumer)

    @staticmethod
    def is_preflight(environ: Environ) -> bool:
        """Whether this is a CORS preflight, which the framework may answer itself without a key.

        The adapter then calls :meth:`reject` with :data:`PREFLIGHT`, and no function of a view.
        """
        return is_preflight(environ)

    def reject(
        self, deny: Deny, environ: Environ, path: str | None = None, *, readable: bool = True
    ) -> Rejection:
        """The response for a Deny: the same bytes from every adapter. Counts and logs it.

        What runs after it (an error page, an access log) sees no credential and no forged
        identity header either: both are removed from the environ, which holds the Deny instead.

        :param path: as in :meth:`check`.
        :param readable: whether pages of the ``cors_origins`` may read it by the rejection's own headers;
            an adapter behind which others may add such headers adds ``policy.cors`` last instead.
        """
        policy = self.policy
        rule = policy.rule_of(environ, path_of(environ) if path is None else path)
        return policy.reject(deny, environ, rule, readable=readable)

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
            return self.verifier.revoke_one(self.policy.fingerprint(key))
        if fingerprint is not None:
            return self.verifier.revoke_prefix(fingerprint)
        if consumer is not None:
            return self.verifier.revoke_consumer(consumer)
        return self.verifier.revoke_all()

    def stats(self) -> Mapping[str, int | bool]:
        """What this process has decided and remembers, as numbers with stable names."""
        return {**self._counters.read(), **self.verifier.stats()}

    def openapi_security_scheme(self) -> dict[str, dict[str, str]]:
        """How keys are sent, as ``components.securitySchemes`` of an OpenAPI 3 document."""
        return security_schemes(self.settings)

    def close(self) -> None:
        """Let go of threads and sockets; what is not remembered is then refused. May be called twice."""
        self.verifier.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
