"""What becomes of a request once it is decided: what its environ shows, and what is said of it."""

from __future__ import annotations

from apikey_guard.core.freshness import Remembered
from apikey_guard.core.headers import IdentityHeaders
from apikey_guard.core.model import Allow, Deny
from apikey_guard.core.rules import Rule
from apikey_guard.core.standin import BEGINNING, STANDIN_BYTES
from apikey_guard.environ import CONSUMER, DECISION, Environ
from apikey_guard.observe.decisions import Telling


class Admission:
    """Prepares the environ of decided requests: no credential, identity headers that are ours.

    :param identity: which identity headers there are.
    :param telling: is told of every decision.
    """

    def __init__(self, identity: IdentityHeaders, telling: Telling) -> None:
        self._identity = identity
        self._written, self._only_deleted = identity.written, identity.only_deleted
        self._telling = telling
        self._count_hit, self._watched = telling.count_hit, telling.hook is not None

    def admit(
        self, environ: Environ, rule: Rule, entry: Remembered, decision: Allow, key: str, fingerprint: bytes
    ) -> Allow:
        """Let the app see the consumer of a verified key, and the key's stand-in.

        :param key: the credential; "" where it is all of the rule's usual header, and nowhere else.
        """
        hiding, written = rule.hiding, self._written
        if key:
            hiding.exchange(environ, key, fingerprint)
        else:
            # As standin_of(), written out: this runs for every hit.
            environ[hiding.usual_key] = BEGINNING + fingerprint[:STANDIN_BYTES].hex()
        for forged in self._only_deleted:
            if forged in environ:
                del environ[forged]
        if written is not None:
            # Four fields written out, and here: a loop or a function of their own would cost as much again.
            id_key, username_key, custom_id_key, credential_id_key = written
            shown = entry if entry.ascii else entry.as_environ_text()
            if shown.id is not None:
                environ[id_key] = shown.id
            elif id_key in environ:
                del environ[id_key]
            if shown.username is not None:
                environ[username_key] = shown.username
            elif username_key in environ:
                del environ[username_key]
            if shown.custom_id is not None:
                environ[custom_id_key] = shown.custom_id
            elif custom_id_key in environ:
                del environ[custom_id_key]
            if shown.credential_id is not None:
                environ[credential_id_key] = shown.credential_id
            elif credential_id_key in environ:
                del environ[credential_id_key]
        environ[CONSUMER] = entry
        environ[DECISION] = decision
        # A callable that an object holds is called sooner by a name of its own.
        count_hit = self._count_hit
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
