"""Whatever the body: what is cut is the field, all of it, and nothing else.

The judges are parsers that share nothing with ours: ``urllib.parse``, ``json`` and Werkzeug's.
"""

from __future__ import annotations

import json
from io import BytesIO
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser

from apikey_guard.core.body import FORM, JSON, MAX_FIELDS, MULTIPART, NOTHING, cut, find
from apikey_guard.core.body.field import collect
from apikey_guard.core.body.media import media_of
from apikey_guard.core.body.members import json_items
from apikey_guard.errors import BadRequest, BodyTooLarge

quick = settings(max_examples=100, deadline=None)

# Names near the wanted one make collisions likely.
names = st.sampled_from(
    ["k", "K", "k[]", "k[0]", " k", "kk", "", "a", "é", "k\x00", '"', "\\k", "%6b"]
) | st.text(max_size=3)
wanted_names = st.sampled_from(["k", "api_key", "k[]", "é", 'k"', "a b"])

# --- forms ---------------------------------------------------------------------------------------

encoded = st.builds(
    lambda text, how: how(text),
    names | wanted_names | st.text(max_size=6),
    st.sampled_from([quote, quote_plus, lambda text: "".join(f"%{byte:02x}" for byte in text.encode()), str]),
).map(lambda text: text.replace("&", "%26").encode())
form_bodies = st.lists(
    st.builds(
        lambda name, sign, value: name + sign + value, encoded, st.sampled_from([b"=", b"", b";"]), encoded
    )
    | st.binary(max_size=6)
).map(b"&".join)


def parsed_form(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")


@quick
@given(form_bodies, wanted_names)
def test_a_form_less_its_field_is_the_form_less_its_field(body: bytes, name: str) -> None:
    found, rest = find(FORM, body, name), cut(FORM, body, name)
    as_latin_1 = name.encode().decode("latin-1")
    before = parsed_form(body)
    assert parsed_form(rest) == [pair for pair in before if pair[0] != as_latin_1]
    assert list(found.values) == [
        value.encode("latin-1").decode("utf-8", "replace") for key, value in before if key == as_latin_1
    ]
    assert find(FORM, rest, name) == NOTHING
    assert len(rest) < len(body) if found.spans else rest is body


# --- JSON ----------------------------------------------------------------------------------------

space = st.text(" \t\r\n", max_size=2)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | wanted_names, inner, max_size=3),
    max_leaves=8,
)


def escaped(text: str) -> str:
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'


members = st.tuples(
    names | wanted_names,
    json_values,
    st.sampled_from([json.dumps, lambda text: json.dumps(text, ensure_ascii=False), escaped]),
    st.sampled_from([json.dumps, lambda value: json.dumps(value, indent=2, ensure_ascii=False)]),
    st.tuples(space, space, space, space),
)


@st.composite
def json_objects(draw: st.DrawFn) -> bytes:
    texts = [
        s1 + write_name(name) + s2 + ":" + s3 + write(value) + s4
        for name, value, write_name, write, (s1, s2, s3, s4) in draw(st.lists(members, max_size=6))
    ]
    return (draw(space) + "{" + (",".join(texts) or draw(space)) + "}" + draw(space)).encode()


def parsed_json(body: bytes) -> list[tuple[str, object]]:
    class Pairs(list[tuple[str, object]]):
        """An object with its repetitions, distinct from an array."""

    parsed = json.loads(body, object_pairs_hook=Pairs)
    assert isinstance(parsed, Pairs)
    return parsed


@quick
@given(json_objects(), wanted_names)
def test_a_json_object_less_its_member_is_the_object_less_its_member(body: bytes, name: str) -> None:
    found, rest = find(JSON, body, name), cut(JSON, body, name)
    assert collect(json_items(media_of(JSON), body, name, None)) == found
    before = parsed_json(body)
    assert repr(parsed_json(rest)) == repr([pair for pair in before if pair[0] != name])
    copies = [value for key, value in before if key == name]
    assert [value for value in found.values if value] == [v for v in copies if v and isinstance(v, str)]
    assert found.ambiguous == (len(copies) > 1 or any(isinstance(value, list) for value in copies))
    assert find(JSON, rest, name) == NOTHING
    assert len(rest) < len(body) if found.spans else rest is body


@quick
@given(
    st.text('{}[]:,"\\ktrue0-1.e \n', max_size=30).map(str.encode)
    | st.builds(
        lambda body, at, junk: body[:at] + junk + body[at:], json_objects(), st.integers(0, 60), st.binary()
    )
)
def test_what_we_take_for_json_the_standard_library_takes_for_json(body: bytes) -> None:
    if find(JSON, body, "k") != NOTHING:
        # Control characters, which a reader may allow.
        read = json.JSONDecoder(strict=False).decode
        assert "k" in read(body.decode(json.detect_encoding(body), "surrogatepass"))
        rest = cut(JSON, body, "k")
        read(rest.decode(json.detect_encoding(rest), "surrogatepass"))


# --- multipart -----------------------------------------------------------------------------------

contents = (
    st.binary(max_size=12)
    | st.sampled_from(
        [
            b"",
            b"\r\n",
            b"\n",
            b"--",
            b"--X",
            b" -XX\r\n",
            b"\r\n-XXX\r\n",
            b"\r\n--X",
            b"\r\n\r\n",
            b"x\r",
        ]
    )
).filter(lambda content: b"--XX" not in content)
field_names = st.sampled_from(["k", "K", "k[]", "a", "é", "api_key", "a b", "%6b"])
dispositions = st.tuples(
    field_names,
    st.sampled_from(
        ['form-data; name="{}"', 'form-data;  x=y; NAME="{}"', 'form-data; name="{}"; filename="f.txt"']
    ),
    st.sampled_from(["", "Content-Type: text/plain; charset=utf-8\r\n", "X-a: 1\r\nX-b: 2\r\n"]),
)
multipart_bodies = st.builds(
    lambda preamble, parts, epilogue: (
        preamble
        + b"".join(
            b"--XX\r\n"
            + f"Content-Disposition: {template.format(name)}\r\n{headers}\r\n".encode()
            + content
            + b"\r\n"
            for (name, template, headers), content in parts
        )
        + b"--XX--"
        + epilogue
    ),
    st.sampled_from([b"", b"\r\n", b"hello\r\n", b"\r\n\r\n"]),
    st.lists(st.tuples(dispositions, contents), max_size=5),
    st.sampled_from([b"", b"\r\n", b"\r\nend", b" \r\n"]),
)
CONTENT_TYPE = MULTIPART + "; boundary=XX"


def parsed_multipart(body: bytes) -> tuple[list[tuple[str, str]], list[tuple[str, bytes]]]:
    parser = FormDataParser(stream_factory=lambda *_, **__: BytesIO(), silent=False)
    _, form, files = parser.parse(BytesIO(body), MULTIPART, len(body), {"boundary": "XX"})
    return list(form.items(multi=True)), [(name, part.read()) for name, part in files.items(multi=True)]


@quick
@given(multipart_bodies, st.sampled_from(["k", "api_key", "é"]))
def test_a_multipart_body_less_its_part_is_the_body_less_its_part(body: bytes, name: str) -> None:
    found, rest = find(CONTENT_TYPE, body, name), cut(CONTENT_TYPE, body, name)
    fields, files = parsed_multipart(body)
    fields_left, files_left = parsed_multipart(rest)
    assert fields_left == [pair for pair in fields if pair[0] != name]
    assert files_left == files
    assert list(found.values) == [value for key, value in fields if key == name]
    assert find(CONTENT_TYPE, rest, name) == NOTHING
    assert len(rest) < len(body) if found.spans else rest is body


# --- anything ------------------------------------------------------------------------------------


@quick
@given(
    st.none()
    | st.text(max_size=40)
    | st.builds("{}{}".format, st.sampled_from([FORM, JSON, MULTIPART, CONTENT_TYPE]), st.text(max_size=20)),
    st.binary(max_size=200) | form_bodies | json_objects() | multipart_bodies,
    names,
)
def test_d04_nothing_raises_whatever_the_content_type_and_the_body(
    content_type: str | None, body: bytes, name: str
) -> None:
    try:
        found = find(content_type, body, name)
    except BadRequest:
        return
    rest = cut(content_type, body, name)
    assert find(content_type, rest, name) == NOTHING
    assert (rest is body) == (not found.spans)


@quick
@given(st.integers(1, 3 * MAX_FIELDS), st.sampled_from([b"&", b"&k=1", b"&%6B"]))
def test_d04_the_cap_counts_fields_whatever_they_are(count: int, field: bytes) -> None:
    body = field * count
    if count >= MAX_FIELDS:
        with pytest.raises(BodyTooLarge):
            find(FORM, body, "k")
    else:
        find(FORM, body, "k")
