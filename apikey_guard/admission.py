"""What becomes of a request once it is decided: what its environ shows, and what is said of it."""

from __future__ import annotations

from apikey_guard.core.decision import Rule
from apikey_guard.core.freshness import Remembered
from apikey_guard.core.headers import IdentityHeaders
from apikey_guard.core.model import Allow, Deny
from apikey_guard.core.standin import BEGINNING, STANDIN_BYTES
from apikey_guard.environ import CONSUMER, DECISION, Environ
from apikey_guard.observe.decisions import Telling


class Admission:
    """Prepares the environ of decided requests: no credential, identity headers that are ours.

    :param identity: writes the identity headers.
    :param telling: is told of every decision.
    """

    def __init__(self, identity: IdentityHeaders, telling: Telling) -> None:
        self._identity = identity
        self._set_identity = identity.set
        self._telling = telling
        self._count_hit, self._watched = telling.count_hit, telling.hook is not None

    def admit(
        self, environ: Environ, rule: Rule, entry: Remembered, decision: Allow, key: str, fingerprint: bytes
    ) -> Allow:
        """Let the app see the consumer of a verified key, and the key's stand-in.

        :param key: the credential; "" where it is all of the rule's usual header, and nowhere else.
        """
        hiding, set_identity, count_hit = rule.hiding, self._set_identity, self._count_hit
        if key:
            hiding.exchange(environ, key, fingerprint)
        else:
            # As standin_of(), written out: this runs for every hit.
            environ[hiding.usual_key] = BEGINNING + fingerprint[:STANDIN_BYTES].hex()
        set_identity(environ, entry)
        environ[CONSUMER] = entry
        environ[DECISION] = decision
        count_hit()
        if self._watched:
            self._telling.call_hook(decision, environ)
        return decision

    def admit_nobody(self, environ: Environ, rule: Rule, decision: Allow) -> Allow:
        """Let the app see that nobody in particular calls."""
        rule.hiding.hide(environ)
        if decision.anonymous:
            self._identity.set_anonymous(environ, rule.anonymous)
        else:
            self._identity.clear(environ)
        environ[CONSUMER] = None
        environ[DECISION] = decision
        self._telling.tell(decision, environ)
        return decision

    def refuse(self, environ: Environ, rule: Rule, deny: Deny, presented: str) -> None:
        """Take from the environ what an error page or an access log shall not see.

        :param presented: the credential that was found, or "".
        """
        rule.hiding.hide(environ, presented)
        self._identity.clear(environ)
        self._telling.tell(deny, environ)
