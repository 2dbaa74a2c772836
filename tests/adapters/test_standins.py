"""What the app finds where a verified key was: a stand-in, never the key, and nothing for anybody else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

from apikey_guard import Route
from apikey_guard.core.standin import BEGINNING, SCHEME
from apikey_guard.testing import FakeKeyService
from tests.adapters.conformance import Answer, Request, make_adapter
from tests.adapters.expectations import BAD, GOOD, PLAIN, STANDIN, known_keys
from tests.harness import find_canary

LOCATIONS = ["header:apikey", "query:apikey", "authorization:Bearer", "cookie:apikey", "body:apikey"]
FORM = ("Content-Type", "application/x-www-form-urlencoded")
OF_PLAIN = BEGINNING + sha256(PLAIN.encode()).hexdigest()[:40]
# A text of the form that no key has: made up, cut short, or in other letters.
FORGED = {
    "of-a-valid-key": STANDIN,
    "of-no-key": BEGINNING + "0" * 40,
    "in-capitals": STANDIN.upper(),
    "too-short": STANDIN[:-1],
    "too-long": STANDIN + "0",
    "with-a-slash": STANDIN + "/",
    "with-the-end-of-a-sentence": STANDIN + ".",
    "nothing-but-the-beginning": BEGINNING,
}


def presenting(where: str, key: str, path: str = "/things") -> Request:
    """A request with a text in one place."""
    return {
        "header": Request(path, headers=(("apikey", key),)),
        "query": Request(path, query=f"a=1&apikey={quote(key)}&b=%20"),
        "authorization": Request(path, headers=(("Authorization", f"Bearer {key}"),)),
        "own-scheme": Request(path, headers=(("Authorization", f"{SCHEME} {key}"),)),
        "cookie": Request(path, headers=(("Cookie", f"a=1; apikey={key}; b=2"),)),
        "quoted-cookie": Request(path, headers=(("Cookie", f'a=1; apikey="{key}"; b=2'),)),
        "encoded-query": Request(path, query="apikey=" + "".join(f"%{ord(each):02x}" for each in key)),
        "form": Request(path, "POST", headers=(FORM,), body=f"a=1&apikey={quote(key)}".encode()),
        "json": Request(
            path,
            "POST",
            headers=(("Content-Type", "application/json"),),
            body=f'{{"apikey": "{key}"}}'.encode(),
        ),
    }[where]


SHOWN = {
    "header": ("HTTP_APIKEY", STANDIN),
    "query": ("QUERY_STRING", f"a=1&apikey={STANDIN}&b=%20"),
    "authorization": ("HTTP_AUTHORIZATION", f"{SCHEME} {STANDIN}"),
    "cookie": ("HTTP_COOKIE", f"a=1; apikey={STANDIN}; b=2"),
    "quoted-cookie": ("HTTP_COOKIE", f"a=1; apikey={STANDIN}; b=2"),
    "encoded-query": ("QUERY_STRING", f"apikey={STANDIN}"),
    "form": (None, None),
    "json": (None, None),
}
IN_PLACE = [where for where in SHOWN if SHOWN[where][0] is not None]


def both(*requests: Request) -> Request:
    """One request with what several present."""
    first, *others = requests
    for other in others:
        first = replace(
            first,
            method=max(first.method, other.method),
            query="&".join(filter(None, (first.query, other.query))),
            headers=(*first.headers, *other.headers),
            body=first.body or other.body,
        )
    return first


def sent(adapter: str, request: Request, keys: FakeKeyService | None = None, **settings: Any) -> Answer:
    """What comes of one request, and what the app saw of it."""
    given: Mapping[str, object] = {
        "key_service": keys or known_keys(),
        "key_locations": LOCATIONS,
        **settings,
    }
    behind = make_adapter(adapter, given)
    try:
        return behind.call(request)
    finally:
        behind.close()


def texts(answer: Answer) -> str:
    assert answer.seen is not None, answer
    return "\n".join((*answer.seen.texts, answer.seen.body.decode("latin-1")))


@pytest.mark.parametrize("where", SHOWN)
def test_a_verified_key_has_a_stand_in_in_its_place(adapter: str, where: str) -> None:
    answer = sent(adapter, presenting(where, GOOD))
    shown = texts(answer)
    assert find_canary(shown) is None
    place, value = SHOWN[where]
    assert (STANDIN in shown) is (place is not None)
    if place is not None:
        assert f"{place}={value}" in shown.splitlines()
        assert re.fullmatch("[A-Za-z0-9-]+", STANDIN)


@pytest.mark.parametrize("where", IN_PLACE)
def test_every_key_has_a_stand_in_of_its_own(adapter: str, where: str) -> None:
    shown = texts(sent(adapter, presenting(where, PLAIN)))
    assert OF_PLAIN in shown
    assert STANDIN not in shown


def test_all_copies_of_the_key_show_the_same_stand_in(adapter: str) -> None:
    copies = (("Referer", f"https://a.example/?apikey={GOOD}&x=1"), ("X-Original-URI", f"/p?apikey={GOOD}"))
    request = both(*(presenting(where, GOOD) for where in ("header", "query", "cookie")))
    shown = texts(sent(adapter, replace(request, headers=(*request.headers, *copies)))).splitlines()
    for line in (
        f"HTTP_APIKEY={STANDIN}",
        f"QUERY_STRING=a=1&apikey={STANDIN}&b=%20",
        f"HTTP_REFERER=https://a.example/?apikey={STANDIN}&x=1",
        f"HTTP_X_ORIGINAL_URI=/p?apikey={STANDIN}",
    ):
        assert line in shown


@pytest.mark.parametrize("where", SHOWN)
@pytest.mark.parametrize("how", ["remove", True])
def test_where_it_is_to_be_removed_nothing_stands_in_its_place(adapter: str, where: str, how: object) -> None:
    shown = texts(sent(adapter, presenting(where, GOOD), hide_credentials=how))
    assert find_canary(shown) is None
    assert BEGINNING not in shown


def test_a_route_says_what_holds_for_it(adapter: str) -> None:
    routes = [Route("/things", hide_credentials="remove"), Route("/shown", hide_credentials=False)]
    assert BEGINNING not in texts(sent(adapter, presenting("header", GOOD), routes=routes))
    assert GOOD in texts(sent(adapter, presenting("header", GOOD, "/shown"), routes=routes))
    assert STANDIN in texts(sent(adapter, presenting("header", GOOD, "/else"), routes=routes))


@pytest.mark.parametrize("key", ["KCANARY%41BC", "KCANARY+BC"], ids=["percent", "plus"])
def test_a_second_key_that_is_written_like_the_first_has_no_stand_in(adapter: str, key: str) -> None:
    # In a query these characters mean others: it is another key, which nobody has verified.
    request = both(presenting("header", key), Request(query=f"a=1&apikey={key}&b=2"))
    assert sent(adapter, request, FakeKeyService([key])).status == 401
    shown = texts(sent(adapter, request, FakeKeyService([key]), key_conflict="first"))
    assert "QUERY_STRING=a=1&b=2" in shown.splitlines()
    assert find_canary(shown) is None
    alone = texts(sent(adapter, presenting("query", key), FakeKeyService([key])))
    assert f"apikey={BEGINNING}" in alone


@pytest.mark.parametrize("where", [*SHOWN, "own-scheme"])
@pytest.mark.parametrize("text", [GOOD, BAD, STANDIN])
@pytest.mark.parametrize("access", ["public", "preflight"])
def test_what_a_request_presents_that_needs_no_key_is_removed(
    adapter: str, where: str, text: str, access: str
) -> None:
    request = presenting(where, text)
    settings: dict[str, Any] = {"routes": [Route("/*", access="public")]}
    if access == "preflight":
        settings = {"allow_preflight": True}
        asked = (("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"))
        request = replace(request, method="OPTIONS", headers=(*request.headers, *asked))
    answer = sent(adapter, request, **settings)
    if where in {"form", "json"}:
        return  # nobody reads the body of a request that needs no key
    shown = texts(answer)
    assert find_canary(shown) is None
    assert BEGINNING.lower() not in shown.lower()


@pytest.mark.parametrize("where", IN_PLACE)
def test_a_second_key_that_first_passed_over_is_removed(adapter: str, where: str) -> None:
    other = "query" if where == "header" else "header"
    locations = sorted(LOCATIONS, key=lambda each: where.split("-")[-1] not in each)
    request = both(presenting(where, GOOD), presenting(other, PLAIN))
    shown = texts(sent(adapter, request, key_conflict="first", key_locations=locations))
    assert find_canary(shown) is None
    assert STANDIN in shown
    assert OF_PLAIN not in shown


@pytest.mark.parametrize("where", [*SHOWN, "own-scheme"])
@pytest.mark.parametrize("text", FORGED)
@pytest.mark.parametrize("access", ["required", "optional"])
def test_a_stand_in_alone_is_a_bad_key(adapter: str, where: str, text: str, access: Any) -> None:
    keys = known_keys()
    answer = sent(adapter, presenting(where, FORGED[text]), keys, routes=[Route("/*", access=access)])
    assert (answer.status, answer.seen) == (401, None)
    assert b'"invalid_credential"' in answer.body
    assert keys.calls == 0


@pytest.mark.parametrize("where", [*SHOWN, "own-scheme"])
@pytest.mark.parametrize("conflict", ["reject", "first"])
@pytest.mark.parametrize("text", ["of-a-valid-key", "of-no-key", "in-capitals", "with-a-slash"])
def test_a_stand_in_beside_a_key_is_taken_off(adapter: str, where: str, conflict: str, text: str) -> None:
    """Links of the app's own pages bring it back."""
    keys = known_keys()
    other = "header" if where not in {"header", "form", "json"} else "query"
    request = both(presenting(where, FORGED[text]), presenting(other, PLAIN))
    for locations in (LOCATIONS, LOCATIONS[::-1]):
        answer = sent(adapter, request, keys, key_conflict=conflict, key_locations=locations)
        shown = texts(answer)
        assert find_canary(shown) is None
        assert FORGED[text] not in shown
        assert OF_PLAIN in shown
    assert set(keys.asked) == {PLAIN}


TWICE = {
    "query": Request(query=f"apikey={STANDIN}&page=2&apikey={PLAIN}"),
    "query, key first": Request(query=f"apikey={PLAIN}&page=2&apikey={STANDIN}"),
    "cookie": Request(headers=(("Cookie", f"apikey={STANDIN}; apikey={PLAIN}"),)),
    "cookie, quoted": Request(headers=(("Cookie", f'apikey="{STANDIN}"; apikey="{PLAIN}"'),)),
    "form": Request("/things", "POST", headers=(FORM,), body=f"apikey={STANDIN}&apikey={PLAIN}".encode()),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_stand_in_beside_a_key_in_the_same_place_is_taken_off(adapter: str, name: str) -> None:
    answer = sent(adapter, TWICE[name])
    shown = texts(answer)
    assert STANDIN not in shown
    assert (OF_PLAIN in shown) is (name != "form")
    assert find_canary(shown) is None


@pytest.mark.parametrize("mode", ["monitor", "off"])
@pytest.mark.parametrize("where", SHOWN)
def test_monitor_and_off_change_nothing(adapter: str, mode: str, where: str) -> None:
    request = both(presenting(where, GOOD), presenting("cookie", STANDIN))
    keys = known_keys()
    answer = sent(adapter, request, keys, mode=mode)
    assert answer.seen is not None
    assert STANDIN in texts(answer)
    assert answer.seen.query == request.query
    assert answer.seen.body == request.body
    assert STANDIN not in keys.asked


@pytest.mark.parametrize("secret", [None, b"SCANARY-0123456789"])
def test_a_secret_makes_other_stand_ins(adapter: str, secret: bytes | None) -> None:
    shown = texts(sent(adapter, presenting("header", GOOD), fingerprint_secret=secret))
    assert (STANDIN in shown) is (secret is None)
    assert BEGINNING in shown


OTHER_PLACES = {
    "header": Request("/things", headers=(("X-Key", STANDIN),)),
    "query": Request("/things", query=f"x=1&k={STANDIN}"),
    "cookie": Request("/things", headers=(("Cookie", f"a=1; c={STANDIN}"),)),
    "authorization": Request("/things", headers=(("Authorization", f"{SCHEME} {STANDIN}"),)),
    "authorization-as-a-key": Request("/things", headers=(("Authorization", f"Bearer {STANDIN}"),)),
    "header-in-quotes": Request("/things", headers=(("X-Key", f'"{STANDIN}"'),)),
    "header-twice": Request("/things", headers=(("X-Key", STANDIN), ("X-Key", STANDIN))),
    "query-with-blanks": Request("/things", query=f"x=1&k=+{STANDIN}%20"),
    "cookie-in-quotes-with-blanks": Request("/things", headers=(("Cookie", f'a=1; c=" {STANDIN}"'),)),
    **{
        f"authorization-{name}": Request("/things", headers=(("Authorization", value),))
        for name, value in {
            "of-another-scheme": f"Token {STANDIN}",
            "without-a-scheme": STANDIN,
            "behind-a-tab": f"Bearer\t{STANDIN}",
            "as-a-parameter": f'Token token="{STANDIN}"',
        }.items()
    },
}


@pytest.mark.parametrize("where", OTHER_PLACES)
@pytest.mark.parametrize("access", ["required", "public"])
@pytest.mark.parametrize("hide", [None, "remove", False])
def test_a_stand_in_where_another_route_would_look_is_taken_off(
    adapter: str, where: str, access: Any, hide: Any
) -> None:
    """The app may look there everywhere: a stand-in that it finds is always that of a verified caller."""
    others = ["header:X-Key", "query:k", "cookie:c", "authorization:Bearer"]
    routes = [
        Route("/things", access=access, hide_credentials=hide, key_locations=["header:apikey"]),
        Route("/other", key_locations=others),
    ]
    request = both(OTHER_PLACES[where], presenting("header", PLAIN))
    shown = texts(sent(adapter, request, routes=routes))
    assert STANDIN not in shown
    assert (OF_PLAIN in shown) is (access == "required" and hide is None)
    # What is no stand-in is the app's own there.
    plain = replace(OTHER_PLACES[where], headers=(("X-Key", "app"), ("Authorization", "Bearer app")))
    shown = texts(sent(adapter, both(plain, presenting("header", PLAIN)), routes=routes))
    assert "HTTP_X_KEY=app" in shown
    assert "HTTP_AUTHORIZATION=Bearer app" in shown


@pytest.mark.parametrize("value", ["KCANARY-plain", "x", ""])
def test_the_scheme_of_stand_ins_opens_nothing(adapter: str, value: str) -> None:
    keys = known_keys()
    request = Request(headers=(("Authorization", f"{SCHEME} {value}"),))
    for locations in (["authorization:Bearer"], ["header:Authorization"], LOCATIONS):
        assert sent(adapter, request, keys, key_locations=locations).status == 401
    assert keys.calls == 0
