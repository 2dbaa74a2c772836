"""How a caller may present a key, and what is none (threats A)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from apikey_guard import (
    Route,
    SettingsError,
)
from tests.adapters.presented import (
    ALLOWED,
    AMBIGUOUS,
    EVERYWHERE,
    FORM,
    INVALID,
    JSON,
    MISSING,
    PLACES,
    asked,
    merged,
    present,
)
from tests.harness.guarded import BAD, GOOD, Guarded

# -- A-02 -----------------------------------------------------------------------------------------


PAIRS = [
    (one, other)
    for one in PLACES
    for other in [*PLACES, "json"]
    if one != other and (one, other) != ("form", "json")
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a02_two_different_keys_are_refused(one: str, other: str) -> None:
    with Guarded(key_locations=EVERYWHERE) as guarded:
        request = merged(present(one, GOOD), present(other, BAD))
        assert asked(guarded, **request) == AMBIGUOUS
        assert (guarded.keys.calls, guarded.app.calls) == (0, 0)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a02_one_key_in_two_places_is_one_key(one: str, other: str) -> None:
    with Guarded(key_locations=EVERYWHERE) as guarded:
        assert asked(guarded, **merged(present(one, GOOD), present(other, GOOD))) == ALLOWED


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a02_a_key_that_is_known_already_does_not_hide_a_second_one(one: str, other: str) -> None:
    with Guarded(key_locations=EVERYWHERE) as guarded:
        assert guarded.code() == ALLOWED
        assert asked(guarded, **merged(present(one, GOOD), present(other, BAD))) == AMBIGUOUS
        assert guarded.app.calls == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [(one, other) for one, other in PAIRS if PLACES.index(one) < ([*PLACES, "json"]).index(other)],
)
def test_a02_the_first_counts_where_that_is_wanted(one: str, other: str) -> None:
    with Guarded(key_locations=EVERYWHERE, key_conflict="first") as guarded:
        assert asked(guarded, **merged(present(one, GOOD), present(other, BAD))) == ALLOWED
        assert guarded.keys.asked == (GOOD,)
        assert asked(guarded, **merged(present(one, BAD), present(other, GOOD))) == INVALID


def test_a02_a_place_that_is_not_looked_at_cannot_conflict_but_is_cleaned() -> None:
    with Guarded(key_locations=["header:apikey"]) as guarded:
        assert asked(guarded, query=f"a=1&apikey={BAD}", headers=[("apikey", GOOD)]) == ALLOWED
        assert guarded.app.last.environ["QUERY_STRING"] == "a=1"


@pytest.mark.parametrize(
    ("body", "expected"), [(f"a={GOOD}&b={GOOD}", ALLOWED), (f"a={GOOD}&b={BAD}", AMBIGUOUS)]
)
def test_a02_two_fields_of_a_body_are_two_places(body: str, expected: tuple[int, str]) -> None:
    with Guarded(key_locations=["body:a", "body:b"]) as guarded:
        assert asked(guarded, method="POST", headers=[FORM], body=body.encode()) == expected


def test_a02_a_structured_member_matters_only_where_the_body_does() -> None:
    body = b'{"apikey": ["KCANARY-good"]}'
    request = merged(present("header", GOOD), {"method": "POST", "headers": [JSON], "body": body})
    with Guarded(key_locations=EVERYWHERE) as guarded:
        assert asked(guarded, **request) == AMBIGUOUS
    with Guarded(key_locations=EVERYWHERE, key_conflict="first") as guarded:
        assert asked(guarded, **request) == ALLOWED
        assert guarded.app.last.body == b"{}"


# -- A-03 -----------------------------------------------------------------------------------------

TWICE: dict[str, dict[str, Any]] = {
    "header, joined": {"headers": [("apikey", GOOD), ("apikey", BAD)]},
    "header, joined with a space": {"headers": [("apikey", f"{GOOD}, {BAD}")]},
    "header, the same twice": {"headers": [("apikey", GOOD), ("apikey", GOOD)]},
    "header, empty first": {"headers": [("apikey", f", {GOOD}")]},
    "header, with a space": {"headers": [("apikey", f"{GOOD} {BAD}")]},
    "authorization, joined": {"headers": [("Authorization", f"Bearer {GOOD},Bearer {GOOD}")]},
    "query": {"query": f"apikey={GOOD}&apikey={BAD}"},
    "query, the same twice": {"query": f"apikey={GOOD}&apikey={GOOD}"},
    "query, empty first": {"query": f"apikey=&apikey={GOOD}"},
    "query, without a value": {"query": f"apikey&apikey={GOOD}"},
    "query, encoded name": {"query": f"apikey={GOOD}&%61pi%6bey={BAD}"},
    "query, brackets": {"query": f"apikey[]={GOOD}"},
    "query, index": {"query": f"apikey[0]={GOOD}"},
    "query, encoded brackets": {"query": f"apikey%5B%5D={GOOD}"},
    "query, semicolon": {"query": f"a=1;apikey={GOOD}"},
    "query, semicolon inside": {"query": f"apikey={GOOD};apikey={BAD}"},
    "query, other case": {"query": f"ApiKey={GOOD}"},
    "query, encoded twice": {"query": f"%2561pikey={GOOD}"},
    "query, space around the name": {"query": f"+apikey={GOOD}&apikey+={GOOD}&%20apikey={GOOD}"},
    "cookie": {"headers": [("Cookie", f"apikey={GOOD}; apikey={BAD}")]},
    "cookie, two headers": {"headers": [("Cookie", f"apikey={GOOD}"), ("Cookie", f"apikey={BAD}")]},
    "cookie, odd white space": {"headers": [("Cookie", f"apikey={GOOD};\xa0apikey\x1f={BAD}")]},
    "form": {"method": "POST", "headers": [FORM], "body": f"apikey={GOOD}&apikey={BAD}".encode()},
    "form, brackets": {"method": "POST", "headers": [FORM], "body": f"apikey[]={GOOD}".encode()},
    "form, index": {"method": "POST", "headers": [FORM], "body": f"apikey[0]={GOOD}".encode()},
    "form, semicolon": {"method": "POST", "headers": [FORM], "body": f"a=1;apikey={GOOD}".encode()},
    "json": {
        "method": "POST",
        "headers": [JSON],
        "body": f'{{"apikey": "{GOOD}", "apikey": "{BAD}"}}'.encode(),
    },
    "json, escaped name": {
        "method": "POST",
        "headers": [JSON],
        "body": f'{{"apikey": "{GOOD}", "\\u0061pikey": "{BAD}"}}'.encode(),
    },
    "json, array": {"method": "POST", "headers": [JSON], "body": f'{{"apikey": ["{GOOD}"]}}'.encode()},
}


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("access", ["required", "optional"])
def test_a03_several_values_in_one_place_are_never_a_key(name: str, access: Any) -> None:
    """Never split, never the first, never the last; and what is not quite the name is not the name."""
    unlike = any(
        word in name for word in ("brackets", "index", "other case", "twice", "around", ", semicolon")
    )
    is_missing = unlike and "the same" not in name and "inside" not in name
    with Guarded(key_locations=EVERYWHERE, routes=[Route("/*", access=access)]) as guarded:
        guarded.app.hidden = False  # what is not the name is not hidden either
        status, reason = asked(guarded, **TWICE[name])
        if is_missing:
            assert (status, reason) == (MISSING if access == "required" else ALLOWED)
        else:
            assert (status, reason) in {INVALID, AMBIGUOUS}
        assert guarded.keys.calls == 0
        assert guarded.app.calls == (1 if is_missing and access == "optional" else 0)


# -- A-04 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [f"{GOOD},{BAD}", f"{BAD},{GOOD}", f"{GOOD}, {BAD}", f"{GOOD},{GOOD}"])
def test_a04_two_spellings_of_the_header_are_refused(value: str) -> None:
    with Guarded(key_locations=["header:X-Api-Key"]) as guarded:
        assert asked(guarded, extra={"HTTP_X_API_KEY": value}) == INVALID
        assert guarded.keys.calls == 0


def test_a04_a_key_header_with_an_underscore_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="must not contain '_'"):
        Guarded(key_locations=["header:X_Api_Key"])


# -- A-07 -----------------------------------------------------------------------------------------

EMPTY: dict[str, dict[str, Any]] = {
    "header": {"headers": [("apikey", "")]},
    "query": {"query": "apikey="},
    "query, without a sign": {"query": "a=1&apikey"},
    "scheme alone": {"headers": [("Authorization", "Bearer")]},
    "scheme and a space": {"headers": [("Authorization", "Bearer ")]},
    "cookie": {"headers": [("Cookie", "apikey=")]},
    "cookie, without a sign": {"headers": [("Cookie", "apikey")]},
    "form": {"method": "POST", "headers": [FORM], "body": b"apikey="},
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("access", ["required", "optional"])
def test_a07_an_empty_key_opens_nothing(name: str, access: Any) -> None:
    with Guarded(key_locations=EVERYWHERE, routes=[Route("/*", access=access)]) as guarded:
        assert asked(guarded, **EMPTY[name]) == MISSING
        assert (guarded.keys.calls, guarded.app.calls) == (0, 0)


@pytest.mark.parametrize("name", EMPTY)
def test_a07_an_empty_key_beside_a_good_one_is_a_conflict(name: str) -> None:
    other = present("query" if name == "header" else "header", GOOD)
    with Guarded(key_locations=EVERYWHERE) as guarded:
        assert asked(guarded, **merged(EMPTY[name], other)) == AMBIGUOUS
        assert guarded.keys.calls == 0


def test_a07_an_empty_first_place_unlocks_no_other() -> None:
    with Guarded(key_conflict="first") as guarded:
        assert asked(guarded, **merged(EMPTY["header"], present("query", GOOD))) == MISSING


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"Bearer {GOOD}", ALLOWED),
        (f"bearer {GOOD}", ALLOWED),
        (f"BEARER {GOOD}", ALLOWED),
        (f"Bearer  {GOOD}", ALLOWED),
        (f"Bearer {GOOD} ", ALLOWED),
        (f"Bearer     {GOOD}\t", ALLOWED),
        (f"Bearer \t{GOOD}", INVALID),
        (f"Bearer\t{GOOD}", MISSING),
        (f"Bearer{GOOD}", MISSING),
        (f"Basic {GOOD}", MISSING),
        (f" Bearer {GOOD}", ALLOWED),
        (f"Bearer:{GOOD}", MISSING),
        (GOOD, MISSING),
        (f"Basic x,Bearer {GOOD}", MISSING),
        (f"Bearer {GOOD[:-1]}", INVALID),
        (f"Bearer {GOOD}1", INVALID),
        (f'Bearer token="{GOOD}"', INVALID),
    ],
)
def test_a07_the_scheme_is_an_exact_word_and_spaces(value: str, expected: tuple[int, str]) -> None:
    with Guarded(key_locations=["authorization:Bearer"]) as guarded:
        assert asked(guarded, headers=[("Authorization", value)]) == expected
        assert guarded.app.calls == (expected == ALLOWED)


@pytest.mark.parametrize(
    ("value", "expected"), [(" ", MISSING), ("\t", MISSING), ("  \t ", MISSING), ("\xa0", INVALID)]
)
def test_a07_white_space_is_no_key(value: str, expected: tuple[int, str]) -> None:
    with Guarded() as guarded:
        assert asked(guarded, headers=[("apikey", value)]) == expected
        assert guarded.keys.calls == 0


# -- A-11 -----------------------------------------------------------------------------------------

NEARLY = {
    "upper case": GOOD.upper(),
    "with NUL": GOOD + "\x00",
    "with an escape": GOOD + "%00",
    "with a space inside": GOOD[:7] + " " + GOOD[7:],
    "with white space": GOOD + "\xa0",
    "with white space before": "\x0b" + GOOD,
    "full width": "\uff2b".encode().decode("latin-1") + GOOD[1:],
    "composed": (GOOD + "\xe9").encode().decode("latin-1"),
    "decomposed": (GOOD + "e\u0301").encode().decode("latin-1"),
    "latin-1": GOOD + "\xe9",
    "much longer": GOOD + "A" * 100_000,
    "one more": GOOD + "x",
    "one less": GOOD[:-1],
    "in base64": "S0NBTkFSWS1nb29k",
}


@pytest.mark.parametrize("name", NEARLY)
@pytest.mark.parametrize("secret", [None, b"SCANARY-0123456789"])
def test_a11_a_key_that_is_nearly_good_is_not_good(name: str, secret: bytes | None) -> None:
    with Guarded(fingerprint_secret=secret) as guarded:
        assert guarded.code() == ALLOWED
        for parts in (
            {"headers": [("apikey", NEARLY[name])]},
            {"query": "apikey=" + quote(NEARLY[name], encoding="latin-1")},
        ):
            assert asked(guarded, **parts) == INVALID
        assert guarded.app.calls == 1


def test_a11_where_a_key_stands_does_not_matter() -> None:
    with Guarded(key_locations=EVERYWHERE) as guarded:
        for where in [*PLACES, "json"]:
            assert asked(guarded, **present(where, GOOD)) == ALLOWED
        encoded = "".join(f"%{byte:02X}" for byte in GOOD.encode())
        assert asked(guarded, query=f"apikey={encoded}") == ALLOWED
        assert asked(guarded, query=f"apikey={quote(encoded)}") == INVALID
        # Decoded once, the last one is another key, asked about under its own name.
        assert guarded.keys.asked == (GOOD, encoded)


# -- A-12 -----------------------------------------------------------------------------------------

ELSEWHERE: dict[str, dict[str, Any]] = {
    "cookie": {"headers": [("Cookie", f"apikey={GOOD}")]},
    "bearer": {"headers": [("Authorization", f"Bearer {GOOD}")]},
    "basic": {"headers": [("Authorization", "Basic S0NBTkFSWS1nb29kOg==")]},
    "referer": {"headers": [("Referer", f"https://h.example/?apikey={GOOD}")]},
    "path": {"path": f"/apikey={GOOD}/{GOOD}"},
    "path parameter": {"path": f"/a;apikey={GOOD}"},
    "form": {"method": "POST", "headers": [FORM], "body": f"apikey={GOOD}".encode()},
    "json": {"method": "POST", "headers": [JSON], "body": f'{{"apikey": "{GOOD}"}}'.encode()},
    "another header": {"headers": [("X-Api-Key", GOOD), ("Api-Key", GOOD), ("apikey2", GOOD)]},
    "another parameter": {"query": f"api_key={GOOD}&key={GOOD}&apikey2={GOOD}&xapikey={GOOD}"},
    "a parameter's value": {"query": f"x=apikey={GOOD}&y=%26apikey={GOOD}"},
    "fragment": {"extra": {"RAW_URI": f"/#apikey={GOOD}"}},
    "raw target": {"extra": {"RAW_URI": f"/?apikey={GOOD}"}},
    "original uri": {"headers": [("X-Original-URI", f"/?apikey={GOOD}")]},
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a12_a_key_elsewhere_is_no_key(name: str) -> None:
    with Guarded() as guarded:
        parts = dict(ELSEWHERE[name])
        assert guarded.code(None, parts.pop("path", "/"), **parts) == MISSING
        assert (guarded.keys.calls, guarded.app.calls) == (0, 0)


# -- A-13 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"k\xc3\xa9", b"\xff", b"\xa0k", b"k\x85", b"\xed\xa0\x80", "\u20ac", "\ud800"]
)
@pytest.mark.parametrize("where", ["header", "query", "bearer", "cookie"])
def test_a13_what_is_not_ascii_is_malformed(value: bytes | str, where: str) -> None:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    extra = {
        "header": {"HTTP_APIKEY": text},
        "query": {"QUERY_STRING": f"apikey={text}"},
        "bearer": {"HTTP_AUTHORIZATION": f"Bearer {text}"},
        "cookie": {"HTTP_COOKIE": f"apikey=K{text}K"},
    }[where]
    with Guarded(key_locations=EVERYWHERE) as guarded:
        assert asked(guarded, extra=extra) == INVALID
        if where == "query" and isinstance(value, bytes):
            assert asked(guarded, query="apikey=" + quote(value)) == INVALID
        assert guarded.keys.calls == 0
