"""Requests that count as allowed for a consumer of the test's own; public as ``apikey_guard.testing``."""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from apikey_guard.core.extraction import Extractor
from apikey_guard.core.freshness import Remembered
from apikey_guard.core.hiding import Hiding
from apikey_guard.core.model import Consumer
from apikey_guard.core.rules import Rule, Rules
from apikey_guard.guard import Guard
from apikey_guard.verification.memory import MemoryCache

# Bytes of what a stand-in presents: well-formed under every setting, no key that anybody has, and none
# that is warned of as weak.
_LENGTH: Final = 16


class _AlwaysPresent(Extractor):
    """Finds the same credential in every request, wherever the settings look for one."""

    def __init__(self, text: str, real: Extractor) -> None:
        super().__init__(real.locations, conflict="first", pattern=None, max_length=len(text))
        self._text = text
        # The body is left alone: nothing in it can matter.
        self.body_names = ()

    def find(self, environ: Mapping[str, object]) -> str:  # noqa: ARG002 - whatever the request holds
        return self._text

    def sift(self, environ: Mapping[str, object], found: object) -> str:  # noqa: ARG002 - as above
        return self._text


class _Placing(Hiding):
    """Lets the app find a stand-in where the request presents something, else in the first place.

    :param real: what the rule has.
    :param extractor: finds what the request presents.
    """

    def __init__(self, real: Hiding, extractor: Extractor) -> None:
        super().__init__(extractor.locations, real.hide_as)
        self._extractor = extractor

    def exchange(self, environ: MutableMapping[str, Any], key: str, fingerprint: bytes) -> None:
        extractor = self._extractor
        presented = extractor.sift(environ, extractor.find(environ))
        super().exchange(environ, presented if isinstance(presented, str) else key, fingerprint)
        first = next((each for each in extractor.locations if each.kind != "body"), None)
        if first is not None and not isinstance(presented, str):
            self.put(environ, first, fingerprint)


class _Ruling(Rules):
    """The rules of a guard, under each of which every request presents the same credential.

    :param real: of the guard.
    :param text: the credential.
    """

    def __init__(self, real: Rules, text: str) -> None:
        self._real, self._text = real, text
        self.default, self.hands_on = real.default, real.hands_on  # type: ignore[method-assign]  # decided as ever
        self.plain_rules = {}

    def rule(self, path: str, environ: Mapping[str, Any]) -> Rule:
        real = self._real.rule(path, environ)
        extractor = _AlwaysPresent(self._text, real.extractor)
        hiding = _Placing(real.hiding, real.extractor)
        plain = real.access == "required"
        return replace(real, mode="enforce", plain=plain, extractor=extractor, hiding=hiding)


@contextmanager
def as_consumer(
    guard: Guard, consumer: Consumer | str, *, scopes: Collection[str] = ()
) -> Iterator[Consumer]:
    """Every request counts as one with a valid key of this consumer, for as long as the block lasts.

    The key service is not asked. All else is as ever: identity headers are set, the app finds a
    stand-in where a key would be (another one for each block), routes and views
    that need scopes get them from this consumer or refuse, what is public stays public. It holds
    in every thread, whatever the guard's mode is; blocks may be nested, the innermost counts.

    ::

        with as_consumer(guard, "42", scopes=["read"]):
            assert client.get("/orders").status_code == 200

    :param guard: of the app under test.
    :param consumer: who calls; a text is the ``id`` of one.
    :param scopes: added to the consumer's own.
    """
    if isinstance(consumer, str):
        consumer = Consumer(id=consumer, username=consumer)
    entry = Remembered(
        id=consumer.id,
        username=consumer.username,
        custom_id=consumer.custom_id,
        scopes=consumer.scopes | frozenset(scopes),
        metadata=consumer.metadata,
        refresh_at=math.inf,
    )
    text = secrets.token_hex(_LENGTH)[: guard.settings.key_max_length]
    before = guard.policy
    memory = MemoryCache(max_entries=1, negative_max_entries=0)
    memory.put_valid(before.fingerprint(text), entry)
    # One value, which the guard looks at for every request: all the rest is the real thing.
    guard.policy = replace(before, rules=_Ruling(before.rules, text), memory=memory)
    try:
        yield entry
    finally:
        guard.policy = before
