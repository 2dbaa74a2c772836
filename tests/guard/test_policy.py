"""What the settings mean for a request is one value: it may be exchanged while requests run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from apikey_guard import Allow, Consumer, Deny, Guard, Reason, Rejection, Route
from apikey_guard.passage import Place
from apikey_guard.pending import Pending
from apikey_guard.policy import Policy
from apikey_guard.settings import Settings
from apikey_guard.testing import FakeKeyService
from tests.harness import build_environ
from tests.harness.guarded import BAD, GOOD, Guarded, at_once

READER = Consumer(id="42", username="acme", scopes=frozenset({"read"}))


def other(guarded: Guarded, **changed: Any) -> Policy:
    """The policy of the same settings, but for some."""
    settings: Settings = replace(guarded.guard.settings, **changed)
    return guarded.guard.policy_of(settings)


def asked(key: str | None = GOOD, path: str = "/", **parts: Any) -> dict[str, Any]:
    return build_environ(path, headers=[] if key is None else [("apikey", key)], **parts)


def begun(guarded: Guarded, environ: dict[str, Any]) -> Pending:
    pending = guarded.guard.begin(environ, environ["PATH_INFO"])
    assert isinstance(pending, Pending)
    return pending


CHANGED: dict[str, dict[str, Any]] = {
    "a scope": {"routes": [Route("/*", scopes=["write"])]},
    "another secret": {"fingerprint_secret": b"s" * 32},
    "a bound": {"key_max_length": 8},
    "no identity headers": {"identity_headers": False},
    "other locations": {"key_locations": ["query:k"]},
    "what becomes of the key": {"hide_credentials": False},
    "nothing enforced": {"mode": "off"},
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_a_pending_is_settled_by_the_policy_that_it_began_with(changed: dict[str, Any]) -> None:
    plain, swapped = asked(), asked()
    with Guarded(FakeKeyService({GOOD: READER})) as first, Guarded(FakeKeyService({GOOD: READER})) as second:
        expected = first.guard.check(plain, "/")
        pending = begun(second, swapped)
        second.guard.policy = other(second, **changed)
        assert pending.settle() == expected
        assert swapped == {**plain, **{key: swapped[key] for key in plain if key.startswith("wsgi.")}}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_what_begins_later_goes_by_the_other_policy(changed: dict[str, Any]) -> None:
    with Guarded(FakeKeyService({GOOD: READER})) as guarded:
        before = asked()
        assert guarded.guard.check(before, "/").allowed
        old, guarded.guard.policy = guarded.guard.policy, other(guarded, **changed)
        with Guarded(FakeKeyService({GOOD: READER}), **changed) as fresh:
            seen, expected = asked(), asked()
            decision, fresh_decision = guarded.guard.check(seen, "/"), fresh.guard.check(expected, "/")
            assert (decision.allowed, decision.fingerprint) == (
                fresh_decision.allowed,
                fresh_decision.fingerprint,
            )
            assert {key: seen[key] for key in seen if key.startswith("HTTP_")} == {
                key: expected[key] for key in expected if key.startswith("HTTP_")
            }
        guarded.guard.policy = old
        assert guarded.guard.check(asked(), "/").freshness == "fresh"


def test_a_pending_looks_again_and_is_refused_by_the_policy_that_it_began_with() -> None:
    def named(name: str) -> Callable[[Rejection, Any], Rejection]:
        return lambda rejection, _: replace(rejection, headers=(("X-By", name),))

    routes = [Route("/open", access="public"), Route("/shut", name="old")]
    with Guarded(routes=routes, render_rejection=named("old")) as guarded:
        environ = asked(None, "/open")
        pending = begun(guarded, environ)
        new = [Route("/*", access="public", name="new")]
        guarded.guard.policy = other(guarded, routes=new, render_rejection=named("new"))
        assert pending.settle() == Allow(route="/open")
        again = pending.again(environ, Place("/shut", "GET", "testserver"), None)
        assert again.settle() == Deny(Reason.MISSING_CREDENTIAL, route="old")
        assert again.rejection().headers == (("X-By", "old"),)
        refused = begun(guarded, asked(None, "/shut"))
        assert refused.settle() == Allow(route="new")


def test_a_waiting_request_ends_by_the_policy_that_it_began_with() -> None:
    with Guarded(FakeKeyService({GOOD: READER})) as guarded:
        guarded.keys.hold()
        waiting = threading.Thread(target=lambda: ended.append(guarded.guard.check(asked(), "/")))
        ended: list[Any] = []
        waiting.start()
        guarded.keys.wait_for_calls(1)
        guarded.guard.policy = other(guarded, routes=[Route("/*", scopes=["write"])])
        guarded.keys.release()
        waiting.join(10)
        assert [decision.allowed for decision in ended] == [True]
        assert guarded.guard.check(asked(), "/").reason is Reason.INSUFFICIENT_SCOPE


def test_policies_that_are_exchanged_all_the_time_are_never_mixed() -> None:
    with Guarded(FakeKeyService({GOOD: READER}), routes=[Route("/*", name="a")]) as guarded:
        assert guarded.guard.check(asked(), "/").allowed
        names = {"id": "X-B", "username": "X-B-Name", "custom_id": "X-C", "credential_id": "X-D"}
        policies = [
            guarded.guard.policy,
            other(guarded, routes=[Route("/*", name="b")], identity_headers=names),
        ]

        def requests() -> set[tuple[str | None, bool, bool]]:
            seen = set()
            for _ in range(2000):
                environ = asked()
                decision = guarded.guard.check(environ, "/")
                seen.add((decision.route, "HTTP_X_CONSUMER_ID" in environ, "HTTP_X_B" in environ))
            return seen

        def swaps() -> set[tuple[str | None, bool, bool]]:
            for number in range(4000):
                guarded.guard.policy = policies[number % 2]
            return set()

        seen = set().union(*at_once([swaps, requests, requests, swaps]))
        assert seen <= {("a", True, False), ("b", False, True)}
        assert guarded.guard.stats()["allowed"] == 4001


def test_counts_and_what_is_remembered_outlive_a_policy() -> None:
    with Guarded() as guarded:
        assert [guarded.status(), guarded.status(BAD)] == [200, 401]
        guarded.guard.policy = other(guarded, realm="another")
        assert [guarded.status(), guarded.status(BAD)] == [200, 401]
        stats = guarded.guard.stats()
        assert (stats["allowed"], stats["denied"], guarded.keys.calls) == (2, 2, 2)


# -- one request, one path --------------------------------------------------------------------------

ROUTES = [Route("/public", access="public"), Route("/caf\u00e9", access="public")]


@pytest.mark.parametrize(
    ("named", "path", "reason"),
    [
        pytest.param("/admin", "/public", Reason.INTERNAL_ERROR, id="another one"),
        pytest.param("/public", "/admin", Reason.INTERNAL_ERROR, id="another one that needs a key"),
        pytest.param("", "/public", Reason.INTERNAL_ERROR, id="an empty one"),
        pytest.param("/public", None, None, id="left out"),
        pytest.param("/admin", None, Reason.MISSING_CREDENTIAL, id="left out where a key is needed"),
        pytest.param("/public", "/public", None, id="the same"),
        pytest.param(None, "/public", None, id="the only one"),
        pytest.param(None, None, Reason.MISSING_CREDENTIAL, id="none at all"),
        pytest.param("/caf\u00c3\u00a9", None, None, id="bytes of WSGI"),
        pytest.param("/caf\u00c3\u00a9", "/caf\u00e9", None, id="bytes of WSGI, the same"),
        pytest.param("/caf\u00e9", "/caf\u00e9", None, id="text of Django, the same"),
        pytest.param("/caf\u00e9", "/public", Reason.INTERNAL_ERROR, id="text of Django, another one"),
    ],
)
def test_a_path_that_contradicts_the_environ_opens_nothing(
    named: str | None, path: str | None, reason: Reason | None, caplog: pytest.LogCaptureFixture
) -> None:
    with Guarded(routes=ROUTES) as guarded:
        environ = (
            {"REQUEST_METHOD": "GET"} if named is None else {"REQUEST_METHOD": "GET", "PATH_INFO": named}
        )
        with caplog.at_level("ERROR", "apikey_guard"):
            decision = guarded.guard.check(environ, path)
        assert decision.reason is reason
        assert bool(caplog.records) == (reason is Reason.INTERNAL_ERROR)


def test_a_refusal_needs_no_path_either() -> None:
    with Guarded(routes=[Route("/x", realm="of-x")]) as guarded:
        environ = asked(None, "/x")
        rejection = guarded.guard.reject(guarded.guard.check(environ), environ)
        assert 'realm="of-x"' in dict(rejection.headers)["WWW-Authenticate"]


# -- what a pending shows -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", [GOOD, BAD, GOOD + "\u00e9"], ids=["valid", "unknown", "malformed"])
@pytest.mark.parametrize("access", ["required", "optional", "public"])
def test_a_pending_shows_its_credential_nowhere(key: str, access: Any) -> None:
    with Guarded(routes=[Route("/*", access=access)]) as guarded:
        environ = asked(key)
        pending = begun(guarded, environ)
        shown = [pending, pending.said, pending._found, guarded.guard.policy, guarded.guard]
        assert all("KCANARY" not in repr(each) for each in shown)
        assert sum("KCANARY" in str(value) for value in environ.values()) == 1
        pending.settle()
        if isinstance(pending.said, Deny):
            pending.rejection()
        assert all("KCANARY" not in str(value) for value in environ.values())
        assert all("KCANARY" not in repr(each) for each in shown)


def test_a_policy_shows_no_secret() -> None:
    secret = b"SCANARY" * 5
    with Guard(key_service=FakeKeyService(), fingerprint_secret=secret) as guard:
        policy = guard.policy
        assert "SCANARY" not in repr(policy) + repr(policy.fingerprint) + repr(guard)
