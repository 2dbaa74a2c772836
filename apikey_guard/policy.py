"""All that the settings mean for one request, as one value: a guard holds one, and so does a Pending."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from apikey_guard.admission import Admission
from apikey_guard.bodies import RequestBody, with_body
from apikey_guard.core.cors import Cors, is_preflight
from apikey_guard.core.extraction import Ambiguous
from apikey_guard.core.model import Allow, Deny, Reason, Rejection
from apikey_guard.core.peers import Peers
from apikey_guard.core.rules import Rule, Rules
from apikey_guard.environ import CONSUMER, DECISION, UNANSWERED, Environ
from apikey_guard.errors import BadRequest, BodyTooLarge
from apikey_guard.observe.decisions import Telling, fault
from apikey_guard.rejections import Rejections

if TYPE_CHECKING:
    from apikey_guard.verification.memory import MemoryCache

#: What is said of a preflight that is answered before the app.
PREFLIGHT: Final = Deny(Reason.PREFLIGHT)

Fingerprint = Callable[[str], bytes]
_sha256 = hashlib.sha256
# What is no UTF-8 is no key.
_OF_NO_KEY: Final = b""


def fingerprinting(secret: bytes | None) -> Fingerprint:
    """SHA-256 of a credential's bytes, or HMAC-SHA-256 where there is a secret, which no ``repr`` shows."""

    def keyed(text: str) -> bytes:
        try:
            return hmac.digest(secret or b"", text.encode(), "sha256")
        except UnicodeEncodeError:
            return _OF_NO_KEY

    return _plain if secret is None else keyed


def _plain(text: str) -> bytes:
    try:
        return _sha256(text.encode()).digest()
    except UnicodeEncodeError:
        return _OF_NO_KEY


@dataclass(frozen=True, slots=True, repr=False)
class Policy:
    """What one guard's settings mean for one request. It is never changed: others take its place.

    :param rules: which rule holds.
    :param admission: what the app sees of who calls.
    :param telling: who is told of decisions.
    :param rejections: how refusals look.
    :param cors: what lets pages of other origins read them; None lets none.
    :param peers: whose word counts about where a request comes from.
    :param fingerprint: of a credential.
    :param weak_length: characters below which whoever reads a stand-in can test guesses of the key.
    :param max_length: characters of a credential.
    :param body_max_bytes: of a body in which a credential is looked for.
    :param memory: what is remembered of credentials.
    """

    rules: Rules
    admission: Admission
    telling: Telling
    rejections: Rejections
    cors: Cors | None
    peers: Peers
    fingerprint: Fingerprint
    weak_length: int
    max_length: int
    body_max_bytes: int
    memory: MemoryCache

    def without_credential(self, rule: Rule, environ: Environ, path: str) -> Allow | Deny | None:
        """The decision about a request whose credential does not matter, or None."""
        if rule.access == "public" or self.rules.hands_on(path, environ):
            return Allow(route=rule.label, mode=rule.mode)
        return Deny(Reason.PREFLIGHT, route=rule.label) if self.answers(environ) else None

    def answers(self, environ: Environ) -> bool:
        """Whether the guard itself answers this request: a preflight for a page of a named origin."""
        return self.cors is not None and is_preflight(environ) and self.cors.names(environ)

    def read_body(
        self, rule: Rule, found: str | Ambiguous | None, body: RequestBody
    ) -> str | Ambiguous | Deny | None:
        """What a request presents, its body included, where the rule looks there.

        :param found: what it presents outside of its body.
        """
        hides = rule.hiding.hides
        try:
            return with_body(rule.extractor, found, body, limit=self.body_max_bytes, hides=hides)
        except BodyTooLarge:
            return Deny(Reason.BODY_TOO_LARGE, route=rule.label)
        except BadRequest:
            return Deny(Reason.BAD_REQUEST, route=rule.label)

    def rule_of(self, environ: Environ, path: str) -> Rule:
        """The rule of a request that is answered whether it was decided about or not."""
        try:
            return self.rules.plain_rules.get(path) or self.rules.rule(path, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
            return self.rules.default

    def reject(
        self, deny: Deny, environ: Environ, rule: Rule, *, presented: str = "", readable: bool = True
    ) -> Rejection:
        """As :meth:`apikey_guard.Guard.reject`, where the rule is known.

        :param presented: the credential that was found, or "".
        """
        environ[CONSUMER] = None
        environ[DECISION] = deny
        try:
            self.admission.refuse(environ, rule, deny, presented)
            rejection = self.rejections.make(deny, rule, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
            rejection = self.rules.default.wording.of_fault()
        return self.rejections.readable(rejection, environ) if readable and self.cors else rejection

    def unanswered(self, reason: Reason, environ: Environ, rule: Rule) -> Rejection:
        """As :meth:`apikey_guard.Guard.unanswered`, where the rule is known."""
        environ[UNANSWERED] = reason
        try:
            self.telling.tell_unanswered(reason)
            rejection = self.rejections.make(Deny(reason), rule, environ)
        except Exception as error:  # noqa: BLE001 - the guard's own edge
            fault(error)
            rejection = self.rules.default.wording.of_fault()
        return self.rejections.readable(rejection, environ)
