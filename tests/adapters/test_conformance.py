"""The same requests, the same answers: every adapter against every case, and against the WSGI middleware."""

from __future__ import annotations

import json
import os

import pytest

from apikey_guard.core.paths import is_canonical
from apikey_guard.environ import unicode_path
from tests.adapters.cases_bodies import BODIES
from tests.adapters.cases_credentials import CREDENTIALS, STATUS
from tests.adapters.cases_requests import PATHS, SECRETS, STRAIN
from tests.adapters.conformance import ADAPTERS, WITHOUT_TARGET, Answer, breaches, make_adapter, missing
from tests.adapters.expectations import BY_ID, Case, Reached, Refused, known_keys

CASES: list[Case] = [*STATUS, *CREDENTIALS, *PATHS, *SECRETS, *STRAIN, *BODIES]
PROBLEM = "application/problem+json"


def run(adapter: str, case: Case) -> Answer:
    """What an adapter makes of a case; judged by everything that holds for every answer."""
    keys = known_keys()
    behind = make_adapter(adapter, {"key_service": keys, **case.settings})
    try:
        if case.first is not None:
            case.first(keys)
        for request in case.before:
            behind.call(request)
        if case.prepare is not None:
            case.prepare(keys)
        answer = behind.call(case.request)
    finally:
        behind.close()
    hidden = not isinstance(case.expect, Reached) or case.expect.hidden
    assert not breaches(answer, hidden=hidden)
    if case.asked is not None:
        assert keys.calls == case.asked
    return answer


def check_refused(answer: Answer, expect: Refused, method: str) -> None:
    assert answer.seen is None
    assert answer.status == expect.status
    for name, values in expect.headers.items():
        assert answer.all_headers(name) == values
    if answer.all_headers("Content-Type") == [PROBLEM]:
        assert answer.all_headers("Cache-Control") == ["no-store"]
        assert answer.all_headers("X-Content-Type-Options") == ["nosniff"]
        assert len(answer.all_headers("WWW-Authenticate")) == 0 if expect.status != 401 else 1
        if method != "HEAD" and expect.code != "?":
            assert json.loads(answer.body)["code"] == expect.code
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.all_headers("Content-Length") == [str(len(answer.body))]


def check_reached(answer: Answer, expect: Reached) -> None:
    seen = answer.seen
    assert seen is not None, f"refused with {answer.status} {answer.body!r}"
    assert (None if seen.consumer is None else seen.consumer.id) == expect.consumer
    expected = expect.identity if expect.identity is not None else BY_ID[expect.consumer or ""]
    assert {name.lower(): value for name, value in seen.identity.items()} == {
        name.lower(): value for name, value in expected.items()
    }
    for name in ("query", "path", "body"):
        if getattr(expect, name) is not None:
            assert getattr(seen, name) == getattr(expect, name)


every_adapter = pytest.mark.parametrize("adapter", ADAPTERS, indirect=True)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@every_adapter
@every_case
def test_a_request_ends_as_the_contract_says(adapter: str, case: Case) -> None:
    if case.needs_target and adapter in WITHOUT_TARGET:
        pytest.skip(f"{adapter} never sees a raw request target")
    answer = run(adapter, case)
    if isinstance(case.expect, Refused):
        check_refused(answer, case.expect, case.request.method)
    else:
        check_reached(answer, case.expect)
        assert answer.seen is not None
        assert answer.seen.method.upper() == case.request.method


@pytest.mark.parametrize("adapter", [name for name in ADAPTERS if name != "wsgi"], indirect=True)
@every_case
def test_every_adapter_decides_as_the_wsgi_middleware_does(adapter: str, case: Case) -> None:
    if case.needs_target and adapter in WITHOUT_TARGET:
        pytest.skip(f"{adapter} never sees a raw request target")
    answer, reference = run(adapter, case), run("wsgi", case)
    if reference.seen is None or answer.seen is None:
        assert (answer.seen, answer.comparable()) == (reference.seen, reference.comparable())
        return
    assert answer.seen.identity == reference.seen.identity
    assert answer.seen.consumer == reference.seen.consumer
    assert answer.seen.query == reference.seen.query
    assert answer.seen.body == reference.seen.body
    path = case.request.environ()["PATH_INFO"]
    if is_canonical(unicode_path(path)):
        # Each framework has its own reading of odd paths; the decision was the same before it.
        assert answer.seen.path == reference.seen.path


def test_cases_are_many_and_have_names_of_their_own() -> None:
    assert len(CASES) >= 60
    assert len({case.id for case in CASES}) == len(CASES)
    assert {case.id[0] for case in CASES} >= {"a", "p", "k", "d", "s"}


@pytest.mark.skipif("CI" not in os.environ, reason="a machine of one's own may lack a framework")
def test_every_adapter_takes_part_where_it_counts() -> None:
    assert {name: missing(name) for name in ADAPTERS if missing(name)} == {}


def test_the_suite_notices_an_app_that_nobody_guards() -> None:
    """The judge can judge: what an unguarded app answers is refused by every check."""
    from tests.adapters.conformance import REACHED, Seen

    seen = Seen("GET", "/", "", {}, None, b"", ("QUERY_STRING=apikey=KCANARY",))
    assert breaches(Answer(200, (), REACHED, seen))
    assert breaches(Answer(200, (("X-Key", "KCANARY"),), REACHED, None))
    with pytest.raises(AssertionError):
        check_refused(Answer(200, (), REACHED, seen), Refused(401, "missing_credential"), "GET")
    with pytest.raises(AssertionError):
        check_reached(Answer(401, (), b"", None), Reached("42"))
