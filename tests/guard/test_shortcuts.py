"""What is written twice for speed says what the plain way says, field by field.

The shortcuts of a hit: its rule out of a memo of paths, its key without a loop over places, the age
of what is remembered looked at in place, its tuples made without their own layer of Python, its
stand-in and identity headers written out. The plain way below has none of them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apikey_guard import Allow, Decision, Deny, Guard, Route
from apikey_guard.core.decision import Outcome, Question, conclude
from apikey_guard.core.decision import settle as settle_text
from apikey_guard.core.extraction import environ_key
from apikey_guard.core.freshness import Remembered, environ_text
from apikey_guard.core.headers import IdentityHeaders
from apikey_guard.core.model import Credential, Freshness
from apikey_guard.environ import path_of
from apikey_guard.pending import Pending
from apikey_guard.testing import FakeKeyService, ManualClock
from tests.harness import build_environ
from tests.harness.guarded import BAD, GOOD

SECRET = b"s" * 32

ROUTES: dict[str, list[Route]] = {
    "none": [],
    "plain": [Route("/items/*", name="items"), Route("/items/new"), Route("/a/*"), Route("/b/*")],
    "scoped": [Route("/items/*", scopes=["read"]), Route("/items/new", scopes=["write"])],
    "open": [Route("/items/*", access="optional"), Route("/items/new", access="public"), Route("/b/c")],
    "by method": [Route("/items/*", methods=["GET"], scopes=["read"]), Route("/items/*", methods=["PUT"])],
    "by host": [Route("/items/*", hosts=["one.example"], scopes=["write"]), Route("/items/*", realm="r")],
    "by place": [Route("/items/*", key_locations=["query:k", "cookie:k"]), Route("/b/c", realm="r")],
}
LOCATIONS = [
    ["header:apikey", "query:apikey"],
    ["header:apikey"],
    ["authorization:Bearer", "header:apikey"],
    ["cookie:apikey", "query:apikey", "header:x-key"],
]
guards = st.fixed_dictionaries(
    {
        "routes": st.sampled_from(list(ROUTES.values())),
        "key_locations": st.sampled_from(LOCATIONS),
        "key_conflict": st.sampled_from(["reject", "first"]),
        "key_max_length": st.sampled_from([256, 256, 8]),
        "hide_credentials": st.sampled_from(["replace", "replace", "remove", False]),
        "identity_headers": st.sampled_from([True, True, False, {"id": "X-Who", "username": "X-Name"}]),
        "fingerprint_secret": st.sampled_from([None, None, SECRET]),
        "allow_preflight": st.booleans(),
    }
)

texts = st.sampled_from([None, "42", "acme", "J\u00f6rg", "\u20ac"])
entries = st.builds(
    Remembered,
    id=texts,
    username=texts,
    custom_id=texts,
    credential_id=texts,
    scopes=st.sampled_from([frozenset(), frozenset({"read"}), frozenset({"read", "write"})]),
    # The clock stands at 1000 and 1_800_000_000.
    refresh_at=st.sampled_from([1100.0, 1100.0, 1100.0, 1000.0, 999.0, 900.0]),
    lead=st.sampled_from([1.0, 50.0]),
    grace=st.sampled_from([0.0, 1000.0]),
    expires_at=st.sampled_from([None, None, 1_800_000_100.0, 1_800_000_000.0, 1_799_999_999.0]),
)

PATHS = [
    *("/items/1", "/items/2", "/items/new", "/items", "/items/", "/items/%", "/items//1", "/items/1/../new"),
    *("/ITEMS/1", "/a/1", "/b/c", "/b/c;x", "/", "", "/caf\u00e9/1"),
]
ODD_KEYS = [f"{GOOD} ", f'"{GOOD}"', "", "\ud800", "apikey-guard-standin-x", f"{GOOD}\u00e9"]
KEYS = st.sampled_from([GOOD, GOOD, GOOD, BAD]) | st.sampled_from(ODD_KEYS)
PLACES: list[Mapping[str, str]] = [
    {"HTTP_APIKEY": "{}"},
    {"HTTP_APIKEY": "{}"},
    {"QUERY_STRING": "apikey={}"},
    {"QUERY_STRING": "a=1&apikey={}&b=%20"},
    {"QUERY_STRING": "k={}"},
    {"HTTP_AUTHORIZATION": "Bearer {}"},
    {"HTTP_COOKIE": "a=1; apikey={}; k={}"},
    {"HTTP_X_KEY": "{}"},
    {"HTTP_APIKEY": "{}", "QUERY_STRING": "apikey={}"},
    {"HTTP_APIKEY": "{}", "QUERY_STRING": "apikey=another"},
    {"HTTP_APIKEY": "{}", "HTTP_REFERER": "https://a.example/?apikey={}"},
    {"HTTP_APIKEY": "{}", "QUERY_STRING": "page=2"},
    {"HTTP_APIKEY": "{}", "HTTP_COOKIE": "k={}"},
    {},
]
FORGED = {"HTTP_X_CONSUMER_ID": "1", "HTTP_X_ANONYMOUS_CONSUMER": "true", "HTTP_X_WHO": "2"}
METHODS = ["GET", "GET", "PUT", "OPTIONS"]
# Of every path in turn: what stands for a character in the target, so that both name the same path.
ENCODED = [None, None, "", "/", "e", "/1"]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    environ = build_environ(draw(st.sampled_from(PATHS)), draw(st.sampled_from(METHODS)))
    key, place = draw(KEYS), draw(st.sampled_from(PLACES))
    environ.update({name: text.replace("{}", key) for name, text in place.items()})
    if draw(st.booleans()):
        environ.update(FORGED)
    encoded = draw(st.sampled_from(ENCODED))
    if encoded is not None:
        path = environ["PATH_INFO"][1:].encode("latin-1")
        environ["RAW_URI"] = "/" + "".join(
            f"%{byte:02x}" if byte > 127 or byte == ord("%") or chr(byte) in encoded else chr(byte)
            for byte in path
        )
    environ["HTTP_HOST"] = draw(st.sampled_from(["one.example", "two.example"]))
    if environ["REQUEST_METHOD"] == "OPTIONS" and draw(st.booleans()):
        environ |= {"HTTP_ORIGIN": "https://a.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
    return environ


def plainly(guard: Guard, environ: dict[str, Any]) -> Decision | None:
    """What memory says of a request; None where the key service is to be asked. An Allow prepares it."""
    # Made anew, so that no path is remembered.
    policy, path = guard.policy_of(guard.settings), path_of(environ)
    rule = policy.rules.rule(path, environ)
    decided = policy.without_credential(rule, environ, path)
    if decided is not None:
        return decided
    extractor, secret = rule.extractor, guard.settings.fingerprint_secret
    text = settle_text(rule, extractor.sift(environ, extractor.find(environ)))
    if not isinstance(text, str):
        return text
    key = text.encode()
    fingerprint = hmac.digest(secret, key, "sha256") if secret else hashlib.sha256(key).digest()
    question = Question(rule, Credential(text), fingerprint)
    entry, now = guard.verifier.cache.valid.get(fingerprint), guard.clock.monotonic()
    if entry is None:
        until = guard.verifier.cache.invalid.get(fingerprint, now)
        return conclude(question, Outcome(freshness=Freshness.FRESH)) if now < until else None
    if entry.freshness(now, guard.clock.time()) is not Freshness.FRESH:
        return None
    decision = conclude(question, Outcome(entry, Freshness.FRESH))
    if isinstance(decision, Allow):
        rule.hiding.exchange(environ, text, fingerprint)
        names = guard.settings.identity_header_names
        IdentityHeaders(names).clear(environ)
        for field in ("id", "username", "custom_id", "credential_id"):
            value: str | None = getattr(entry, field)
            if names and value is not None:
                environ[environ_key(names[field])] = environ_text(value)
        environ["apikey_guard.consumer"], environ["apikey_guard.decision"] = entry, decision
    return decision


def same(one: Decision, other: Decision) -> None:
    """Field by field, those included that have a default."""
    assert type(one) is type(other)
    assert len(one) == len(other) == len(type(one)._fields)
    for name in type(one)._fields:
        assert getattr(one, name) == getattr(other, name), name


def compare(guard: Guard, environ: dict[str, Any]) -> None:
    plain = {**environ}
    expected, begun = plainly(guard, plain), guard.begin(environ, path_of(environ))
    said = begun.said if isinstance(begun, Pending) else begun
    if expected is None:
        # Due for refresh, stale or unknown: not a matter of the short ways.
        assert isinstance(said, Question) or said.freshness is not Freshness.FRESH
        return
    assert not isinstance(said, Question)
    same(said, expected)
    assert isinstance(begun, Allow) == (isinstance(expected, Allow) and expected.consumer is not None)
    assert environ == plain
    assert isinstance(said, Deny) or said.consumer is None or said is environ["apikey_guard.decision"]


@settings(max_examples=300, deadline=None)
@given(guards, entries, st.sampled_from([1000.0, 1001.0]), st.lists(requests(), min_size=1, max_size=4))
def test_a_short_way_says_what_the_plain_way_says(
    chosen: dict[str, Any], entry: Remembered, invalid_until: float, environs: list[dict[str, Any]]
) -> None:
    clock, keys = ManualClock(), FakeKeyService([GOOD])
    keys.fail()  # an answer would be remembered meanwhile
    with Guard(key_service=keys, clock=clock, **chosen) as guard:
        texts = (entry.id, entry.username, entry.custom_id, entry.credential_id)
        object.__setattr__(entry, "ascii", all(text is None or text.isascii() for text in texts))
        guard.verifier.cache.put_valid(guard.policy.fingerprint(GOOD), entry)
        guard.verifier.cache.put_invalid(guard.policy.fingerprint(BAD), invalid_until)
        for environ in environs:
            compare(guard, environ)
