"""Copies of a key that came in the query: found wherever they are, and nothing else is touched (K-02)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.datastructures import MultiDict

from apikey_guard import Guard, GuardMiddleware, Route
from apikey_guard.core.model import Deny
from apikey_guard.core.standin import BEGINNING
from apikey_guard.testing import FakeKeyService
from tests.adapters.conformance import Request, make_adapter
from tests.adapters.expectations import BAD, GOOD, STANDIN, known_keys
from tests.harness import build_environ, call, find_canary

K, S = f"apikey={GOOD}", f"apikey={STANDIN}"
ENCODED = quote(f"/x?{K}", safe="")
# Where what follows the key is lost with it.
ANY = "any"

# What stands in a header, and what the app finds there.
COPIES = {
    "envoy": ("X-Envoy-Original-Path", f"/a?x=1&{K}&y=2", f"/a?x=1&{S}&y=2"),
    "of-no-known-name": ("X-Whatever", f"/a?{K}", f"/a?{S}"),
    "absolute": ("X-Url", f"https://h.example:8443/a/b?{K}#top", f"https://h.example:8443/a/b?{S}#top"),
    "fragment": ("X-Url", f"https://h.example/a#{K}", f"https://h.example/a#{S}"),
    "query-alone": ("X-Query", f"a=1&{K}", f"a=1&{S}"),
    "query-with-a-slash": ("X-Query", f"next=/a&{K}", f"next=/a&{S}"),
    "link": (
        "Link",
        f'</a?{K}&page=2>; rel="next", </a?{K}>; rel="first"',
        f'</a?{S}&page=2>; rel="next", </a?{S}>; rel="first"',
    ),
    "list": ("X-Urls", f"https://a.example/?{K}, https://b.example/?{K}", None),
    "list-without-a-space": ("X-Urls", f"https://a.example/?{K},https://b.example/?{K}", None),
    "header-sent-twice": ("X-Forwarded-Uri", f"/a?{K},/b?{K}", f"/a?{S},/b?{S}"),
    "header-sent-twice-and-encoded": ("X-Forwarded-Uri", f"/a?n={ENCODED},/b?n={ENCODED}", None),
    "as-a-parameter-of-a-fragment": ("X-Url", f"https://a.example/#n={ENCODED}", None),
    "as-a-parameter-in-brackets": ("X-Text", f"(https://a.example/?n=1&m={ENCODED})", ANY),
    "in-a-cookie-as-a-parameter-encoded": (
        "Cookie",
        f"last={quote(f'https://a.example/in?next={ENCODED}', safe='')}; b=2",
        None,
    ),
    "in-quotes": ("X-Digest", f'a="b", uri="/a?{K}", c', f'a="b", uri="/a?{S}", c'),
    "as-a-parameter-encoded": ("Referer", f"https://a.example/in?next={ENCODED}&z=%20", None),
    "as-a-parameter-plain": ("Referer", f"https://a.example/in?next=/x?{K}", None),
    "as-a-parameter-encoded-twice": ("Referer", f"https://a.example/in?next={quote(ENCODED)}", None),
    # As Django's redirect to the login page writes it.
    "as-a-parameter-encoded-but-for-slashes": (
        "Referer",
        f"https://a.example/in?next={quote(f'/x?{K}')}",
        None,
    ),
    "as-a-parameter-alone": ("X-Next", f"next={quote(f'/x?{K}')}", None),
    "encoded-as-a-whole": ("X-Url", quote(f"https://a.example/?{K}", safe=""), None),
    "name-encoded": ("X-Url", f"/a?%61pi%6Bey={GOOD}", f"/a?%61pi%6Bey={STANDIN}"),
    "in-a-cookie-without-blanks": (
        "Cookie",
        f"a=1;last={ENCODED};b=2",
        f"a=1;last={ENCODED.replace(GOOD, STANDIN)};b=2",
    ),
    "in-a-list-of-pairs": ("X-Query", f"a=1,{K},b=2", f"a=1,{S},b=2"),
    "in-a-cookie": ("Cookie", f"last=/a?{K}; b=2", f"last=/a?{S}; b=2"),
}
UNTOUCHED = {
    "another-name": "/a?xapikey=acme&apikeys=acme&apikey[]=acme",
    "in-a-path": "/apikey=acme/acme&apikey=acme/b?x=acme",
    "in-a-path-parameter": "/a;apikey=acme/b,apikey=acme",
    "encoded-in-a-path": "/a%3Fapikey%3Dacme&b",
    "encoded-in-a-path-of-a-url": "https://a.example/a%3Fapikey%3Dacme",
    "in-a-host": "https://acme.example/apikey=acme?x=1",
    "a-word": "acme, acme; acme=acme",
    "inside-a-value": "/a?x=xapikey=acme",
    "percent": "100% of acme%2Facme",
    "not-utf-8": "/a?x=%ff%fe&y=\xe9",
}


def seen(adapter: str, request: Request, **settings: Any) -> list[str]:
    behind = make_adapter(adapter, {"key_service": known_keys(), **settings})
    try:
        answer = behind.call(request)
    finally:
        behind.close()
    assert find_canary(repr(answer)) is None
    assert answer.seen is not None, answer
    texts = [*answer.seen.texts]
    assert find_canary("\n".join(texts)) is None, [text for text in texts if find_canary(text)]
    return texts


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("hide", ["replace", "remove"])
def test_k02_every_copy_of_a_query_is_found(adapter: str, name: str, hide: str) -> None:
    header, sent, shown = COPIES[name]
    texts = seen(adapter, Request(query=f"{K}&a=1", headers=((header, sent),)), hide_credentials=hide)
    key = f"HTTP_{header.upper().replace('-', '_')}="
    line = next((text for text in texts if text.startswith(key)), None)
    assert line is not None
    if shown is ANY:
        return  # that the key is not there is seen() to say
    if hide == "replace":
        assert line == key + (sent.replace(GOOD, STANDIN) if shown is None else shown)
    assert (BEGINNING in line) is (hide == "replace")


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("access", ["public", "refused"])
def test_k02_a_copy_is_removed_where_no_key_was_verified(adapter: str, name: str, access: str) -> None:
    header, sent, _ = COPIES[name]
    told: list[str] = []

    def watch(_decision: object, environ: dict[str, Any]) -> None:
        told.extend(f"{key}={value}" for key, value in environ.items() if isinstance(value, str))

    request = Request(query=f"a=1&apikey={BAD}", headers=((header, sent.replace(GOOD, BAD)),))
    settings: dict[str, Any] = {"key_service": known_keys(), "on_decision": watch}
    if access == "public":
        settings["routes"] = [Route("/*", access="public")]
    behind = make_adapter(adapter, settings)
    try:
        answer = behind.call(request)
    finally:
        behind.close()
    assert answer.status == (200 if access == "public" else 401)
    assert told
    assert find_canary("\n".join(told)) is None, [text for text in told if find_canary(text)]


@pytest.mark.parametrize("separator", [", ", ",", " "], ids=["list", "joined", "words"])
@pytest.mark.parametrize("url", ["https://a.example/p", "/p"], ids=["absolute", "path"])
@pytest.mark.parametrize("hide", ["replace", "remove"])
@pytest.mark.parametrize("query", [K, f"a=1&{K}", f"{K}&n={ENCODED}"], ids=["alone", "last", "nested"])
def test_k02_a_text_that_ends_in_the_whole_query_may_hold_it_before(
    adapter: str, query: str, hide: str, url: str, separator: str
) -> None:
    text = f"{url}?{query}{separator}{url}?{query}"
    texts = seen(adapter, Request(query=query, headers=(("X-Urls", text),)), hide_credentials=hide)
    shown = next(text for text in texts if text.startswith("HTTP_X_URLS="))
    assert shown.count(BEGINNING) == (text.count(GOOD) if hide == "replace" else 0)
    assert shown.count(f"{url}") == 2


@pytest.mark.parametrize("name", UNTOUCHED)
def test_k02_a_key_that_is_a_word_changes_nothing_else(adapter: str, name: str) -> None:
    keys = FakeKeyService(["acme"])
    texts = seen(
        adapter, Request(query="apikey=acme", headers=(("X-Text", UNTOUCHED[name]),)), key_service=keys
    )
    assert f"HTTP_X_TEXT={UNTOUCHED[name]}" in texts


def environ_of(**extra: object) -> dict[str, Any]:
    return build_environ("/acme/apikey=acme", query="a=1&apikey=acme", extra=extra)


@pytest.mark.parametrize("hide", ["replace", "remove"])
def test_k02_method_path_host_and_framing_are_never_changed(hide: str) -> None:
    odd = "?apikey=acme"
    environ = environ_of(
        SCRIPT_NAME=f"/m{odd}",
        HTTP_HOST=f"acme.example{odd}",
        CONTENT_TYPE=f"multipart/form-data; boundary=x{odd}",
        HTTP_TRANSFER_ENCODING=odd,
        SERVER_NAME="acme",
        RAW_URI="/acme/apikey=acme?a=1&apikey=acme",
    )
    before = dict(environ)
    with Guard(key_service=FakeKeyService(["acme"]), hide_credentials=hide) as guard:
        assert guard.check(environ, "/acme/apikey=acme").allowed
    for key in (
        "SCRIPT_NAME",
        "HTTP_HOST",
        "CONTENT_TYPE",
        "HTTP_TRANSFER_ENCODING",
        "SERVER_NAME",
        "PATH_INFO",
    ):
        assert environ[key] == before[key]
    assert environ["RAW_URI"].startswith("/acme/apikey=acme?a=1")
    assert "acme" not in environ["RAW_URI"].partition("?")[2]


@pytest.mark.parametrize(
    "extra",
    [
        {"REDIRECT_QUERY_STRING": f"a=1&{K}"},
        {"REDIRECT_QUERY_STRING": K},
        {"REDIRECT_URL": f"/x?{K}"},
        {"REDIRECT_REDIRECT_QUERY_STRING": f"b=2&{K}"},
        {"REQUEST_URI": f"/x?a=1&{K}"},
        {"UNENCODED_URL": f"/x?{K}"},
        {"some.bytes": f"/x?{K}".encode()},
        {"webob._parsed_query_vars": ({"apikey": GOOD}, K)},
        {"some.array": bytearray(f"/x?{K}".encode())},
        {"some.pairs": [("a", "1"), ("apikey", GOOD)]},
        {"some.texts": [f"/x?{K}", "/y"], "more.texts": {"urls": (f"/x?{K}", f"/y?{K}")}},
        {"some.parsed": MultiDict([("apikey", GOOD)])},
        {"some.urls": {f"/x?{K}"}},
        {"platform.event": {"rawQueryString": K, "parameters": {"apikey": GOOD}, "all": {"apikey": [GOOD]}}},
        {"HTTP_REFERER": f"http://h/?{K}", "HTTP_X_ORIGINAL_URI": f"/?{K}"},
    ],
    ids=lambda extra: "+".join(extra),
)
def test_k02_copies_that_servers_leave(extra: dict[str, object]) -> None:
    environ = build_environ("/x", query=f"a=1&{K}", extra=extra)
    with Guard(key_service=known_keys()) as guard:
        for _ in range(2):
            again = environ | deepcopy(extra)
            assert guard.check(again, "/x").allowed
            assert find_canary(repr({key: again.get(key) for key in extra})) is None


@pytest.mark.parametrize("key", ["a+b/c==", "a&b=c", "50%#x", "(a)'b'", "<k>", "a?b"])
def test_k02_a_key_that_must_be_encoded_is_found_as_sent_and_decoded(key: str) -> None:
    encoded = quote(key, safe="")
    extra = {
        "RAW_URI": f"/x?a=1&apikey={encoded}",
        "HTTP_AS_SENT": f"https://h/x?apikey={encoded}&b=2",
        "HTTP_DECODED": f"https://h/x?a=1&apikey={key}",
        "HTTP_DECODED_QUERY": f"apikey={key}",
        "HTTP_DECODED_INSIDE": "/in?next=" + quote(f"/x?apikey={key}", safe=""),
        "HTTP_LOWER": f"https://h/x?apikey={encoded.lower()}",
    }
    environ = build_environ("/x", query=f"a=1&apikey={encoded}", extra=extra)
    with Guard(key_service=FakeKeyService([key])) as guard:
        assert guard.check(environ, "/x").allowed
    for name in ("QUERY_STRING", *extra):
        assert key not in environ[name], name
        assert encoded not in environ[name], name
        assert environ[name].count(BEGINNING) == 1, name


@pytest.mark.parametrize(
    ("pair", "key"),
    [
        ("apikey=q?x%23y", "q?x#y"),
        ("apikey=q?x%2By", "q?x+y"),
        ("apikey=<q>%26y", "<q>&y"),
        ("%61pikey=q?x", "q?x"),
        ("%61pikey=q?x%23y", "q?x#y"),
    ],
)
def test_k02_a_key_that_is_written_half_encoded_is_found_as_it_was_sent(pair: str, key: str) -> None:
    inside = quote(f"/x?{pair}", safe="")
    extra: dict[str, Any] = {
        "HTTP_X_TEXT": f"GET https://h/x?a=1&{pair} HTTP/1.1",
        "HTTP_X_INSIDE": f"https://h/in?next={inside}&b=2",
        "a.event": {"raw": f"a=1&{pair}", "list": [pair, ("target", f"/x?{pair}#z")]},
        "a.bytes": f"{pair}&a=1".encode(),
    }
    environ = build_environ("/x", query=f"a=1&{pair}", extra=extra)
    with Guard(key_service=FakeKeyService([key])) as guard:
        assert guard.check(environ, "/x").allowed
    for name in ("QUERY_STRING", *extra):
        shown = repr(environ[name])
        # Not even a part of it.
        assert "q" not in shown, name
        assert shown.count(BEGINNING) == (3 if name == "a.event" else 1), name


def test_k02_an_object_in_the_environ_keeps_what_is_no_part_of_the_request() -> None:
    event: dict[str, Any] = {"rawQueryString": f"a=1&{K}", "apikey": "of-the-app", "help": "/x?apikey=yours"}
    environ = build_environ("/x", query=f"a=1&{K}", extra={"platform.event": event})
    event["of"] = environ
    event["itself"] = event
    with Guard(key_service=known_keys()) as guard:
        assert guard.check(environ, "/x").allowed
    assert environ["platform.event"] is event
    assert event["of"] is environ
    assert event["itself"] is event
    assert event["rawQueryString"] == f"a=1&{S}"
    assert (event["apikey"], event["help"]) == ("of-the-app", "/x?apikey=yours")


@pytest.mark.parametrize("handed_on", [lambda environ: environ, dict], ids=["as-it-is", "as-a-copy"])
def test_k02_requests_that_were_built_before_the_guard_are_built_anew(
    handed_on: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    from werkzeug.wrappers import Request as Built

    shown = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        built = environ.get("werkzeug.request") or Built(environ)
        shown.append(f"{built.url} {built.args} {built.query_string!r}")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    guarded = GuardMiddleware(app, key_service=known_keys())

    def outside(environ: dict[str, Any], start_response: Any) -> Any:
        assert Built(environ).args["apikey"] == GOOD
        return guarded(handed_on(environ), start_response)

    for _ in range(2):
        assert call(outside, build_environ("/x", query=K), lint=False).status == 200
    assert find_canary("\n".join(shown)) is None
    guarded.close()


def test_k02_a_key_in_a_header_costs_no_search_but_of_what_a_browser_sends() -> None:
    headers = [("apikey", GOOD), ("Referer", f"https://h.example/?{K}")]
    environ = build_environ("/x", headers=headers)
    with Guard(key_service=known_keys()) as guard:
        assert guard.check(environ, "/x").allowed
    assert environ["HTTP_REFERER"] == f"https://h.example/?{S}"


@pytest.mark.parametrize("key", [GOOD, BAD])
def test_k02_rest_framework_alone_cleans_the_scope_of_an_asgi_server(key: str) -> None:
    """The server's access log is written from the scope, after the answer."""
    pytest.importorskip("rest_framework")
    from django.core.handlers.asgi import ASGIHandler
    from django.test.utils import override_settings

    from tests.adapters import django_adapter

    project = django_adapter._Project(django_adapter.rest_view)
    request = Request(
        query=f"a=1&apikey={key}",
        headers=(
            ("Referer", f"https://h/?apikey={key}"),
            ("X_Odd", f"/?apikey={key}"),
            ("X-Any", f"/?apikey={key}"),
        ),
    )
    scope = django_adapter.scope_of(request.environ(), request)
    state = object()
    # As ASGI middleware and platforms for functions leave it there.
    scope["original_url"] = f"https://h/x?apikey={key}"
    scope["request_line"] = f"GET /x?apikey={key} HTTP/1.1".encode()
    scope["aws.event"] = {"rawQueryString": f"apikey={key}", "parameters": {"apikey": key}}
    scope["state"] = {"kept": state}
    sent: list[dict[str, object]] = []
    with override_settings(
        APIKEY_GUARD={"KEY_SERVICE": known_keys()},
        ROOT_URLCONF=project,
        MIDDLEWARE=[],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
    ):
        asyncio.run(django_adapter._ask(ASGIHandler(), scope, request.environ(), sent))
    assert sent[0]["status"] == (200 if key == GOOD else 401)
    assert find_canary(repr(scope)) is None
    assert str(scope["query_string"]).startswith("b'a=1")
    assert scope["state"] == {"kept": state}
    assert (BEGINNING in repr(scope["query_string"])) is (key == GOOD)


@pytest.mark.parametrize("odd", ["%", "%3", "%25", "%252525", "%3D%", "%%333D"])
def test_odd_texts_in_which_nothing_can_be_are_read_twice_at_most(odd: str) -> None:
    """Whoever has no key may send half a MiB of headers: it must not cost seconds (D-07)."""
    guard = Guard(key_service=known_keys(), key_locations=["query:apikey"])
    text = odd * (6000 // len(odd))
    environ = build_environ("/x", query=f"apikey={BAD}&a=1", extra={"HTTP_X_ODD": text})
    assert isinstance(guard.check(dict(environ), "/x"), Deny)  # from here on all is made that is made once
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        refusal = guard.check(environ, "/x")
        guard.reject(refusal, environ, "/x")
    finally:
        sys.setprofile(None)
    assert environ["HTTP_X_ODD"] == text
    assert calls < 2 * len(text)
