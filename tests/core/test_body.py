"""What is found in a body, what is cut out of it, and what it costs, case by case."""

from __future__ import annotations

import contextlib
import encodings
import json
import pkgutil
import time

import pytest

from apikey_guard.core import body as bodies
from apikey_guard.core.body import MAX_FIELDS, cut, find, media, searchable
from apikey_guard.errors import BadRequest, BodyTooLarge
from tests.harness.multipart import A_PART, FILE_PART, KEY, KEY_PART, MULTIPART, multipart, part

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, False),
        ("", False),
        (FORM, True),
        ("Application/X-WWW-Form-Urlencoded ; charset=utf-8", True),
        (JSON, True),
        ("application/json;charset=latin-1;charset=utf-8", True),
        ("\tapplication/JSON", True),
        (MULTIPART, True),
        ("multipart/form-data", True),
        ("multipart/mixed; boundary=XX", False),
        ("text/plain", False),
        ("application/json, text/plain", False),
        ("application/jsonp", False),
        ("application/problem+json", True),
        ("Application/VND.api+JSON; x=y", True),
        ("text/json", False),
        ("image/svg+json", False),
        (" application/json\x0b", True),
        ("application/json=x; y", True),
        ("application/*", True),
        ("*/*", True),
        ("text/*", False),
        (";", False),
        ("\x00\xff", False),
    ],
)
def test_searchable_looks_at_what_some_parser_reads_in_any_case(
    content_type: str | None, expected: bool
) -> None:
    assert searchable(content_type) is expected


@pytest.mark.parametrize(
    ("body", "values", "rest"),
    [
        pytest.param(b"k=%(key)b", [KEY], b"", id="alone"),
        pytest.param(b"k=%(key)b&a=1", [KEY], b"a=1", id="first"),
        pytest.param(b"a=1&k=%(key)b&b=2", [KEY], b"a=1&b=2", id="between"),
        pytest.param(b"a=1&k=%(key)b", [KEY], b"a=1", id="last"),
        pytest.param(b"&k=%(key)b&", [KEY], b"&", id="between-empty-fields"),
        pytest.param(b"b=%%20&a=+&k=%(key)b&a=%%7e&b", [KEY], b"b=%20&a=+&a=%7e&b", id="rest-byte-for-byte"),
        pytest.param(b"%%6B=%(key)b&a=1", [KEY], b"a=1", id="name-percent-encoded"),
        pytest.param(b"k=KCANARY%%2d1", [KEY], b"", id="value-percent-encoded-once"),
        pytest.param(b"k=KCANARY%%252d1", ["KCANARY%2d1"], b"", id="value-percent-encoded-twice"),
        pytest.param(b"k=a+b", ["a b"], b"", id="plus-is-a-space"),
        pytest.param(b"k=a=b", ["a=b"], b"", id="second-equals-sign-is-value"),
        pytest.param(b"k=", [""], b"", id="empty"),
        pytest.param(b"k", [""], b"", id="no-equals-sign"),
        pytest.param(b"k=a\x00\r\n", ["a\x00\r\n"], b"", id="nothing-is-trimmed"),
        pytest.param(b"k=a%%ff", ["a\ufffd"], b"", id="not-utf-8"),
        pytest.param(b"k=a%%ED%%A0%%80", ["a\ufffd\ufffd\ufffd"], b"", id="lone-surrogate"),
        pytest.param(b"k=a%%zz%%", ["a%zz%"], b"", id="broken-escape-stays"),
    ],
)
def test_a_form_field_is_found_and_cut_with_one_ampersand(
    body: bytes, values: list[str], rest: bytes
) -> None:
    body = body % {b"key": KEY.encode()}
    found = find(FORM, body, "k")
    assert list(found.values) == values
    assert not found.ambiguous
    assert cut(FORM, body, "k") == rest


@pytest.mark.parametrize(
    ("content_type", "body", "rest"),
    [
        (FORM, b"k=a&k=a", b""),
        (FORM, b"k=a&x=1&%6b=b&y=2&k", b"x=1&y=2"),
        (MULTIPART, multipart(KEY_PART, A_PART, KEY_PART), multipart(A_PART)),
        (MULTIPART, multipart(KEY_PART, KEY_PART), multipart()),
        (JSON, b'{"k":"a","k":"a"}', b"{}"),
        (JSON, b'{"k":"a", "x":1, "k":"b", "\\u006b":"c", "y":2}', b'{"x":1, "y":2}'),
        (JSON, b'{"k":1,"k":"a","y":2}', b'{"y":2}'),
        (JSON, b'{"k":1,"k":2}', b"{}"),
        (JSON, b'{"k":["a"], "y":2}', b'{"y":2}'),
        (JSON, b'{"k":{}, "y":2}', b'{"y":2}'),
    ],
    ids=[
        "form-equal", "form-different", "multipart-apart", "multipart-adjoining", "json-equal",
        "json-different", "json-number-and-string", "json-numbers", "json-array", "json-object",
    ],
)  # fmt: skip
def test_a03_repeated_fields_are_ambiguous_even_if_equal(content_type: str, body: bytes, rest: bytes) -> None:
    found = find(content_type, body, "k")
    assert found.ambiguous
    assert cut(content_type, body, "k") == rest


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(FORM, b"k[]=KCANARY&k%5B%5D=KCANARY&k[0]=KCANARY&K=KCANARY", id="form-names"),
        pytest.param(FORM, b"a=1;k=KCANARY", id="form-semicolon"),
        pytest.param(FORM, b"a=k=KCANARY& k=KCANARY&%256b=KCANARY", id="form-look-alikes"),
        pytest.param(FORM, b"=KCANARY&&", id="form-empty-name"),
        pytest.param(JSON, b'{"k[]":"KCANARY","K":"KCANARY"," k":"KCANARY"}', id="json-names"),
        pytest.param(JSON, b'{"a":{"k":"KCANARY"},"b":[{"k":"KCANARY"}],"c":"k"}', id="json-deeper"),
        pytest.param(JSON, b'[{"k":"KCANARY"}]', id="json-array"),
        pytest.param(JSON, b'"k"', id="json-scalar"),
        pytest.param(MULTIPART, multipart(part('name="k[]"'), part('name="K"')), id="multipart-names"),
        pytest.param(
            MULTIPART, multipart(part('name="%6B"'), part('name="k k"')), id="multipart-look-alikes"
        ),
        pytest.param(MULTIPART, multipart(FILE_PART), id="multipart-file"),
        pytest.param(
            MULTIPART, multipart(part("name=\"k\"; filename*=utf-8''f")), id="multipart-file-rfc2231"
        ),
        pytest.param(MULTIPART, multipart(b"--XX\r\n\r\nx\r\n"), id="multipart-part-without-headers"),
        pytest.param("text/plain", b"k=KCANARY", id="other-media-type"),
        pytest.param(None, b"k=KCANARY", id="no-media-type"),
        pytest.param("multipart/mixed; boundary=XX", multipart(KEY_PART), id="multipart-mixed"),
        pytest.param(FORM, b"", id="no-body"),
    ],
)
def test_a12_what_is_not_exactly_the_field_is_left_alone(content_type: str | None, body: bytes) -> None:
    assert find(content_type, body, "k") == bodies.NOTHING
    assert cut(content_type, body, "k") is body


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        pytest.param(b'{"k":"KCANARY-1"}', b"{}", id="alone"),
        pytest.param(b' { "k" : "KCANARY-1" } \n', b" {  } \n", id="alone-with-space"),
        pytest.param(b'{"k": "KCANARY-1", "a": 1}', b'{"a": 1}', id="first"),
        pytest.param(b'{"a": 1, "k": "KCANARY-1"}', b'{"a": 1}', id="last"),
        pytest.param(
            b'{\n  "a": [1, {"k": 2}],\n  "k": "KCANARY-1",\n  "b": "\\u00e9\\/"\n}',
            b'{\n  "a": [1, {"k": 2}],\n  "b": "\\u00e9\\/"\n}',
            id="indented",
        ),
        pytest.param(b'{"\\u006B":"\\u004bCANARY-1","a":1e400}', b'{"a":1e400}', id="escapes"),
        pytest.param(b'\xef\xbb\xbf{"k":"KCANARY-1"}', b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param('{"é":"é","k":"KCANARY-1"}'.encode(), '{"é":"é"}'.encode(), id="utf-8"),
        pytest.param(
            b'{"a":[],"b":{},"c":[[[]],{"d":[{}]}],"k":"KCANARY-1","e":-0.5E+3,"f":null,"g":true,"h":false}',
            b'{"a":[],"b":{},"c":[[[]],{"d":[{}]}],"e":-0.5E+3,"f":null,"g":true,"h":false}',
            id="values-of-every-type",
        ),
    ],
)
def test_a_json_member_is_found_and_cut_with_one_comma(body: bytes, rest: bytes) -> None:
    found = find(JSON, body, "k")
    assert found.values == (KEY,)
    assert not found.ambiguous
    assert cut(JSON, body, "k") == rest


@pytest.mark.parametrize("value", ["1", "1.5", "true", "false", "null"])
def test_a_json_scalar_that_is_no_string_is_no_credential_but_is_cut(value: str) -> None:
    body = f'{{"k":{value},"a":1}}'.encode()
    found = find(JSON, body, "k")
    assert found.values == ()
    assert not found.ambiguous
    assert cut(JSON, body, "k") == b'{"a":1}'


def test_a11_a_lone_surrogate_in_json_never_becomes_a_character_of_a_key() -> None:
    (value,) = find(JSON, b'{"k":"KCANARY\\ud800"}', "k").values
    assert value == "KCANARY\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        b'{"k":"KCANARY"', b'{"k":"KCANARY"}}', b'{"k":"KCANARY"} {}', b'{"k":"KCANARY",}',
        b'{,"k":"KCANARY"}',
        b'{"k" "KCANARY"}', b'{"k"::"KCANARY"}', b'{k:"KCANARY"}', b"{'k':'KCANARY'}",
        b'{"k":"KCANARY" "a":1}',
        b'{"k":"KCANARY","a":nan}', b'{"k":"KCANARY","a":+Infinity}', b'{"k":"KCANARY","a":01}',
        b'{"k":"KCANARY","a":1.}', b'{"k":"KCANARY","a":.5}', b'{"k":"KCANARY","a":+1}',
        b'{"k":"KCANARY","a":1e}',
        b'{"k":"KCANARY","a":[1,]}', b'{"k":"KCANARY","a":[,1]}', b'{"k":"KCANARY","a":[1 2]}',
        b'{"k":"KCANARY","a":[1}}', b'{"k":"KCANARY","a":{"b":1]}', b'{"k":"KCANARY","a":{"b"}}',
        b'{"k":"KCANARY","a":{"b":1,}}', b'{"k":"KCANARY","a":{1:1}}', b'{"k":"KCANARY","a":[}',
        b'{"k":"KCANARY","a":{]}', b'{"k":"KCANARY","a":}', b'{"k":"KCANARY","a"}', b'{"k":"KCANARY",1}',
        b'{"k":"KCANARY\\x41"}', b'{"k":"KCANARY\\u12g4"}',
        b'{"k":"KCANARY\xff"}', b'{"k":"KCANARY","a":"\xc3"}',
        b'\xff{"k":"KCANARY"}',
        b'{"k":"KCANARY"}\x0c', b'\xa0{"k":"KCANARY"}', b'{"k":"KCANARY"/**/}', b"{", b"}", b"",
        b"\xef\xbb\xbf",
        '{"k":"KCANARY"}'.encode("utf-16")[:-1], '{"k":"KCANARY"}'.encode("utf-7")[1:], b"k=KCANARY",
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_is_left_alone(body: bytes) -> None:
    assert find(JSON, body, "k") == bodies.NOTHING
    assert cut(JSON, body, "k") is body


TEXTS_OF_JSON = {
    "plain": '{"k":"KCANARY-1","a":1}',
    "not-a-number": '{"a":NaN,"k":"KCANARY-1","b":[-Infinity,Infinity]}',
    "a-long-integer": '{"a":' + "9" * 5000 + ',"k":"KCANARY-1"}',
    "not-ascii": '{"é":"\U0001f600","k":"KCANARY-1","\u2028":"é"}',
    "lone-surrogates": '{"a":"\ud800","k":"KCANARY-1"}',
    "control-characters": '{"a":"\x01\n\x00","k":"KCANARY-1"}',
}
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("text", TEXTS_OF_JSON.values(), ids=TEXTS_OF_JSON)
def test_a13_json_is_read_as_the_standard_library_reads_bytes(text: str, codec: str) -> None:
    body = text.encode(codec, "surrogatepass")
    read = json.JSONDecoder(strict=False, parse_int=str).decode
    found = find(JSON, body, "k")
    assert found.values == (KEY,)
    rest = found.without(body)
    assert rest.startswith(body[:2])
    left = read(rest.decode(json.detect_encoding(rest), "surrogatepass"))
    expected = {name: value for name, value in read(text).items() if name != "k"}
    assert repr(left) == repr(expected)


def test_a13_a_declared_charset_of_single_bytes_is_a_reading_too() -> None:
    body = b'{"a":"caf\xe9","k":"KCANARY-1"}'
    assert find(JSON, body, "k") == bodies.NOTHING
    for charset in ("latin-1", "ISO-8859-1", '"windows-1252"', "iso8859_15"):
        assert cut(f"application/json; charset={charset}", body, "k") == b'{"a":"caf\xe9"}'


@pytest.mark.parametrize(
    "parameters",
    [
        "; charset=utf-7", "; charset=cp037", "; charset=shift_jis", "; charset=hex", "; charset=rot13",
        "; charset=unicode_escape", '; charset="UTF-7"', "; charset*=utf-8''utf-7", "; charset*0=utf-7",
        "; charset=utf-8; charset=utf-7", "; charset =utf-7", "=x; charset=utf-8",
    ],
)  # fmt: skip
@pytest.mark.parametrize("media", [FORM, JSON, MULTIPART])
def test_a13_a_charset_that_hides_names_is_refused(media: str, parameters: str) -> None:
    media, _, boundary = media.partition(";")
    with pytest.raises(BadRequest):
        find(media + parameters + (f";{boundary}" if boundary else ""), b"+AGs=KCANARY", "k")
    assert find(media + parameters, b"", "k") == bodies.NOTHING


@pytest.mark.parametrize(
    "charset", ["utf-8", "UTF8", '"utf-8"', "us-ascii", "", '""', "none-such", "utf8mb4"]
)
def test_a_charset_that_says_nothing_new_changes_nothing(charset: str) -> None:
    assert cut(f"{FORM}; charset={charset}", b"k=KCANARY&a=1", "k") == b"a=1"
    assert cut(f"{JSON};charset={charset}", b'{"k":"KCANARY"}', "k") == b"{}"
    assert (
        cut(f"multipart/form-data; charset={charset}; boundary=XX", multipart(KEY_PART), "k") == multipart()
    )


def test_every_codec_of_python_is_known() -> None:
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"aliases"}
    unknown = {name for name in modules - {"utf_8", "ascii", "utf_8_sig"} if media._sort_of(name) == "utf-8"}
    assert not unknown


@pytest.mark.parametrize(
    "content_type",
    ["application/*", "*/json", "*/*", "application/*; charset=utf-8", "multipart/*; boundary=XX"],
)
def test_a13_a_wildcard_is_no_media_type(content_type: str) -> None:
    with pytest.raises(BadRequest):
        find(content_type, b'{"k":"KCANARY"}', "k")


@pytest.mark.parametrize(
    ("content_type", "fields"),
    [
        (FORM, lambda count: b"&".join([b"k=1"] + [b"a=1"] * (count - 1))),
        (FORM, lambda count: b"&" * (count - 1)),
        (MULTIPART, lambda count: multipart(KEY_PART, *[A_PART] * (count - 1))),
        (JSON, lambda count: json.dumps({f"k{i}": i for i in range(count)}).encode()),
        (JSON, lambda count: b"{" + b'"a":1,' * (count - 1) + b'"k":"1"}'),
    ],
    ids=["form", "form-empty-fields", "multipart", "json", "json-repeated"],
)
def test_d04_a_thousand_fields_are_searched_and_one_more_is_too_large(content_type, fields) -> None:
    find(content_type, fields(MAX_FIELDS), "k")
    for search in (find, cut):
        with pytest.raises(BodyTooLarge, match="more than 1000"):
            search(content_type, fields(MAX_FIELDS + 1), "k")


BIG = 200_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"a=" + b"%" * BIG),
        (FORM, b"%6" * BIG),
        (FORM, b"k=" + b"%6b" * BIG),
        (FORM, b"k" * BIG),
        (JSON, b"[" * BIG),
        (JSON, b'{"a":' * BIG),
        (JSON, b'{"a":' + b"[" * BIG),
        (JSON, b'{"k":' + b"[" * BIG + b"]" * BIG + b"}"),
        (JSON, b'{"a":' * BIG + b"1" + b"}" * BIG),
        (JSON, b'{"a":"' + b"\\\\" * BIG),
        (JSON, b'{"a":' + b"1" * BIG + b"}"),
        (JSON, b'{"a":' + b" " * BIG),
        (JSON, b'{"k":"1"}' + b" " * BIG + b"x"),
        (MULTIPART, b"--XX" + b" " * BIG),
        (MULTIPART, b"\r\n--XX " * BIG),
        (MULTIPART, b"\r" * BIG + b"--XX--"),
        (MULTIPART, b"--XX\r\n" + b"\r" * BIG + b"\n--XX--"),
        (MULTIPART, multipart(part('name="k"', headers="X: " + " \r\n" * BIG))),
        (MULTIPART, multipart(part('name="k"' + " " * BIG))),
        (MULTIPART, multipart(part('name="k"' + ';a="\\"' * (BIG // 10)))),
        (MULTIPART, multipart(part("name*0=k" + "; name*0=k" * (BIG // 10)))),
        ("multipart/form-data; boundary=-----", b"-" * BIG + b"\r\n" + b"-------" * BIG),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_d04_hostile_bodies_take_linear_time_and_no_recursion(content_type: str, body: bytes) -> None:
    started = time.perf_counter()
    with contextlib.suppress(BadRequest):
        bodies.cut(content_type, body, "k")
    # Generous: the slowest takes less than a second here, a quadratic one would take minutes.
    assert time.perf_counter() - started < 10


def test_no_value_shows_in_a_repr() -> None:
    assert "KCANARY" not in repr(find(FORM, b"k=KCANARY&k=KCANARY", "k"))
