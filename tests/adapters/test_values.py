"""Keys as people write them: in quotes, with blanks around them, with or without a scheme."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.conformance import Answer, Request, make_adapter
from tests.adapters.expectations import known_keys
from tests.harness import find_canary

PLAIN = "KCANARY-plain"
KEY = "KCANARY/c2VjcmV0==+x"  # what http.cookies puts in quotes
COOKIE = ["cookie:apikey"]
BEARER = ["authorization:Bearer"]
BARE = ["header:Authorization"]
BOTH = ["authorization:Bearer", "header:Authorization"]

ACCEPTED: dict[str, tuple[list[str], str, str]] = {
    "cookie": (COOKIE, "Cookie", f"apikey={KEY}"),
    "cookie-in-quotes": (COOKIE, "Cookie", f'apikey="{KEY}"'),
    "cookie-in-quotes-among-others": (COOKIE, "Cookie", f'a="1;2"; apikey="{KEY}" ; b="x\\"y"'),
    "cookie-octal": (COOKIE, "Cookie", 'apikey="KCANARY\\057c2VjcmV0==+x"'),
    "cookie-backslash": (COOKIE, "Cookie", 'apikey="KCANARY\\/c2VjcmV0\\=\\=+x"'),
    "cookie-blanks": (COOKIE, "Cookie", f"a=1 ;\tapikey = {KEY} ; b=2"),
    "cookie-blanks-and-quotes": (COOKIE, "Cookie", f'apikey =  "{KEY}"\t'),
    "scheme": (BEARER, "Authorization", f"Bearer {KEY}"),
    "scheme-two-spaces": (BEARER, "Authorization", f"Bearer  {KEY}"),
    "scheme-many-spaces": (BEARER, "Authorization", f"bEARER{' ' * 50}{KEY}"),
    "scheme-and-blanks-around": (BEARER, "Authorization", f" \tBearer {KEY}\t "),
    "header-and-blanks-around": (["header:apikey"], "apikey", f"\t {KEY} \t"),
    "header-and-a-blank-before": (["header:X-Api-Key"], "X-Api-Key", f" {KEY}"),
    "without-a-scheme": (BARE, "Authorization", KEY),
    "without-a-scheme-and-blanks": (BARE, "authorization", f"  {KEY}\t"),
    "both-ways-scheme": (BOTH, "Authorization", f"Bearer {KEY}"),
    "both-ways-bare": (BOTH, "Authorization", KEY),
}
REFUSED: dict[str, tuple[list[str], str, str]] = {
    "cookie-half-quoted": (COOKIE, "Cookie", f'apikey="{KEY}'),
    "cookie-quoted-twice": (COOKIE, "Cookie", f'apikey="\\"{KEY}\\""'),
    "cookie-single-quotes": (COOKIE, "Cookie", f"apikey='{KEY}'"),
    "cookie-twice": (COOKIE, "Cookie", f'apikey="{KEY}"; apikey="{PLAIN}"'),
    "cookie-empty-quotes": (COOKIE, "Cookie", 'apikey=""'),
    "header-in-quotes": (["header:apikey"], "apikey", f'"{KEY}"'),
    "header-no-break-space": (["header:apikey"], "apikey", f"\xa0{KEY}"),
    "scheme-and-tab": (BEARER, "Authorization", f"Bearer\t{KEY}"),
    "scheme-and-tab-behind-the-space": (BEARER, "Authorization", f"Bearer \t{KEY}"),
    "scheme-alone": (BEARER, "Authorization", "Bearer   "),
    "scheme-where-none-is-looked-for": (BARE, "Authorization", f"Bearer {KEY}"),
    "other-scheme": (BOTH, "Authorization", f"Basic {KEY}"),
    "two-words": (BARE, "Authorization", f"{KEY} {KEY}"),
    "joined": (BARE, "Authorization", f"{KEY},{KEY}"),
}


def sent(adapter: str, request: Request, **settings: Any) -> Answer:
    keys = known_keys()
    keys.add(KEY)
    behind = make_adapter(adapter, {"key_service": keys, **settings})
    try:
        return behind.call(request)
    finally:
        behind.close()


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("hide", ["replace", "remove"])
def test_a07_a_key_as_people_write_it_is_found_and_hidden(adapter: str, name: str, hide: str) -> None:
    locations, header, value = ACCEPTED[name]
    answer = sent(
        adapter, Request(headers=((header, value),)), key_locations=locations, hide_credentials=hide
    )
    assert answer.status == 200
    assert answer.seen is not None
    shown = "\n".join(answer.seen.texts)
    assert find_canary(shown) is None
    assert ("apikey-guard-standin-" in shown) is (hide == "replace")


@pytest.mark.parametrize("name", ACCEPTED)
def test_a02_one_key_in_two_spellings_is_one_key(adapter: str, name: str) -> None:
    locations, header, value = ACCEPTED[name]
    request = Request(query=f"k={KEY.replace('+', '%2B')}", headers=((header, value),))
    assert sent(adapter, request, key_locations=[*locations, "query:k"]).status == 200
    assert (
        sent(
            adapter,
            Request(query=f"k={PLAIN}", headers=request.headers),
            key_locations=[*locations, "query:k"],
        ).status
        == 401
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a07_what_is_not_quite_a_key_is_none(adapter: str, name: str) -> None:
    locations, header, value = REFUSED[name]
    answer = sent(adapter, Request(headers=((header, value),)), key_locations=locations)
    assert (answer.status, answer.seen) == (401, None)


@pytest.mark.parametrize("name", ["scheme-where-none-is-looked-for", "other-scheme"])
def test_a12_a_value_with_a_scheme_is_none_of_ours(adapter: str, name: str) -> None:
    """It belongs to the app: it goes on as it is, beside a key in another place too."""
    locations, header, _ = REFUSED[name]
    value = "Basic of-the-app" if name == "other-scheme" else "Bearer of-the-app"
    request = Request(headers=((header, value), ("apikey", KEY)))
    answer = sent(adapter, request, key_locations=[*locations, "header:apikey"])
    assert answer.seen is not None
    assert f"HTTP_AUTHORIZATION={value}" in answer.seen.texts


# As servers of HTTP/2 hand them on (RFC 9113, section 8.2.3); whether a key is found in them.
SPLIT = {
    "key-first": ([f"apikey={PLAIN}", "a=1", "b=2"], True),
    "key-last": (["a=1", "b=2", f"apikey={PLAIN}"], True),
    "key-between-commas": (["a=1,2", f"apikey={PLAIN}", "b=3,4"], True),
    "key-in-quotes": (["a=1", f'apikey="{KEY}"'], True),
    "one-of-two-in-a-header": (["a=1; b=2", f"c=3; apikey={PLAIN}"], True),
    "two-keys": ([f"apikey={PLAIN}", f'apikey="{KEY}"'], False),
    "a-comma-in-one-header": ([f"a=1,apikey={PLAIN}"], False),
}


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("hide", ["replace", "remove"])
def test_a07_cookies_in_several_headers_are_found_and_hidden_under_asgi(name: str, hide: str) -> None:
    pytest.importorskip("django")
    cookies, found = SPLIT[name]
    request = Request(headers=tuple(("Cookie", cookie) for cookie in cookies))
    answer = sent("django-async", request, key_locations=COOKIE, hide_credentials=hide)
    assert answer.status == (200 if found else 401)
    if found:
        assert answer.seen is not None
        assert find_canary("\n".join(answer.seen.texts)) is None
        # What Django makes of them: every cookie by itself, as from one header.
        others = [cookie for cookie in "; ".join(cookies).split("; ") if not cookie.startswith("apikey=")]
        shown = [text for text in answer.seen.texts if text.partition("=")[0] in ("a", "b", "c", "apikey")]
        assert [text for text in shown if not text.startswith("apikey=")] == others
        assert len(shown) == len(others) + (hide == "replace")


def test_a12_without_a_key_cookie_those_of_the_app_arrive_one_by_one() -> None:
    pytest.importorskip("django")
    request = Request(headers=(("Cookie", "a=1"), ("apikey", PLAIN), ("Cookie", "b=2")))
    answer = sent("django-async", request)
    assert answer.seen is not None
    assert {"a=1", "b=2"} < set(answer.seen.texts)
