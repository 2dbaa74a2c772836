"""What is found in a multipart body and cut out of it, and what is refused, case by case."""

from __future__ import annotations

import pytest

from apikey_guard.core import body as bodies
from apikey_guard.core.body import cut, find
from apikey_guard.errors import BadRequest
from tests.harness.multipart import A_PART, FILE_PART, KEY, KEY_PART, MULTIPART, multipart, part

ESCAPED_FILES = {
    "file-with-escaped-quotes": r'name="f"; filename="quo\"te\".txt"',
    "file-with-escaped-backslashes": r'name="f"; filename="C:\\d\\f.txt"',
    "file-of-that-name-called-a-quote": r'name="k"; filename="\""',
    "another-name-within-escaped-quotes": r'filename="\\a\\\"; name=\"k\""; name="f"',
    "other-parameter-with-escaped-quotes": r'name="f"; x="\"; name=k; \""',
}


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        pytest.param(multipart(KEY_PART), b"--XX--\r\n", id="alone"),
        pytest.param(multipart(KEY_PART, A_PART), multipart(A_PART), id="first"),
        pytest.param(multipart(A_PART, KEY_PART), multipart(A_PART), id="last"),
        pytest.param(multipart(FILE_PART, KEY_PART), multipart(FILE_PART), id="file-of-that-name-stays"),
        pytest.param(
            b"pre\r\n\r\n" + multipart(KEY_PART) + b"post\r\n",
            b"pre\r\n\r\n" + multipart() + b"post\r\n",
            id="preamble-and-epilogue-stay",
        ),
        pytest.param(KEY_PART[:-2], b"", id="not-closed"),
        pytest.param(
            multipart(part(' name="k"; filename=""', KEY.encode()), A_PART),
            multipart(A_PART),
            id="no-filename",
        ),
        pytest.param(multipart(part('name=" k  "', KEY.encode())), multipart(), id="space-around-the-name"),
        pytest.param(
            multipart(part('name="f"; filename="C:\\100%;\'é.txt"'), KEY_PART),
            multipart(part('name="f"; filename="C:\\100%;\'é.txt"')),
            id="a-file-of-windows",
        ),
        *(
            pytest.param(multipart(part(named), KEY_PART), multipart(part(named)), id=case)
            for case, named in ESCAPED_FILES.items()
        ),
        pytest.param(
            b"--XX \t\r\n" + KEY_PART[6:] + b"--XX\t\r\n" + A_PART[6:] + b"--XX-- \r\n",
            b"--XX\t\r\n" + A_PART[6:] + b"--XX-- \r\n",
            id="transport-padding",
        ),
        pytest.param(
            multipart(KEY_PART, A_PART).replace(b"\r", b""), multipart(A_PART).replace(b"\r", b""), id="lf"
        ),
        pytest.param(multipart(A_PART, KEY_PART)[:-2], multipart(A_PART)[:-2], id="no-last-line-break"),
        pytest.param(
            multipart(part("name=k", KEY.encode()), A_PART), multipart(A_PART), id="name-not-quoted"
        ),
        pytest.param(
            multipart(part('name="k"', KEY.encode(), headers="X: é\xa0\r\nno colon\r\n")),
            multipart(),
            id="odd-headers",
        ),
        pytest.param(
            multipart(KEY_PART).replace(b"Content-Disposition", b"CONTENT-disposition"),
            multipart(),
            id="header-case",
        ),
    ],
)
def test_a_part_is_found_and_cut_with_its_boundary_line(body: bytes, rest: bytes) -> None:
    found = find(MULTIPART, body, "k")
    assert found.values == (KEY,)
    assert not found.ambiguous
    assert cut(MULTIPART, body, "k") == rest


def test_an_empty_part_holds_an_empty_value() -> None:
    assert find(MULTIPART, multipart(part('name="k"', b"")), "k").values == ("",)


def test_nothing_of_a_part_is_trimmed() -> None:
    assert find(MULTIPART, multipart(part('name="k"', b" a\r\n\r\n")), "k").values == (" a\r\n\r\n",)


def test_what_follows_the_last_delimiter_is_the_last_part_where_nothing_closes() -> None:
    # As Django reads it, to the last byte.
    assert find(MULTIPART, A_PART + KEY_PART, "k").values == (KEY + "\r\n",)
    assert cut(MULTIPART, A_PART + KEY_PART, "k") == A_PART[:-2]
    assert cut(MULTIPART, A_PART + KEY_PART + KEY_PART[:-2], "k") == A_PART[:-2]
    assert cut(MULTIPART, KEY_PART + A_PART, "k") == A_PART


ODD_PARTS = {
    "delimiter-twice": multipart(b"--XX\r\n" + KEY_PART),
    "two-dispositions": multipart(part('name="a"\r\nContent-Disposition: form-data; name="k"')),
    "other-boundary": multipart(KEY_PART).replace(b"--XX", b"--YY"),
    "not-at-line-start": multipart(KEY_PART).replace(b"--XX", b" --XX"),
    "all-after-the-close": b"--XX--\r\n" + multipart(KEY_PART),
    "longer-boundary-inside": multipart(part('name="a"', b"\r\n--XXX\r\n"), KEY_PART),
    "boundary-in-a-value": multipart(part('name="a"', b"x--XX"), KEY_PART),
    "header-folded": multipart(part('\r\n name="k"', KEY.encode())),
    "header-name-with-space": multipart(KEY_PART).replace(b"Disposition:", b"Disposition :"),
    "line-break-shared": b'--XX\r\nContent-Disposition: form-data; name="k"\r\n\r\n--XX--',
    "headers-not-ended": b"--XX\r\nContent-Disposition: form-data; name=k\r\n--XX--\r\n",
    "in-the-preamble": b"Content-Disposition: form-data; name=k\r\n\r\n1\r\n" + multipart(A_PART),
    "in-the-epilogue": multipart(A_PART) + b"Content-Disposition: form-data; name=k\r\n\r\n1",
    "without-a-boundary": b"Content-Disposition: form-data; name=k\r\n\r\n1",
    "close-cut-off": multipart(KEY_PART)[:-4],
    "mixed-line-ends": multipart(KEY_PART).replace(b"\r\n\r\n", b"\n\n"),
    "carriage-returns": multipart(KEY_PART).replace(b"\n", b""),
    "name-extended": multipart(part("name*=utf-8''%6b")),
    "name-continued": multipart(part("name*0=x; name*1=y")),
    "name-twice": multipart(part('name="a"; name="k"')),
    "name-escaped": multipart(part('name="\\k"')),
    "name-half-quoted": multipart(part('name="k')),
    "name-in-angle-brackets": multipart(part("name=<k>")),
    "spaces-around-the-equals-sign": multipart(part('name = "k"')),
    "filename-that-ends-in-a-backslash": multipart(part('name="k"; filename="C:\\"')),
    "filename-that-ends-in-escaped-backslashes": multipart(part(r'filename="\\"; name="k"')),
    "nested-boundary-that-begins-alike": multipart(part('name="a"', b"--XXY\r\n--XXY--"), KEY_PART),
    "filename-extended-to-nothing": multipart(part("name=k; filename*=utf-8''")),
    "base64": multipart(part("name=k", b"SzE=", headers="Content-Transfer-Encoding: BASE64\r\n")),
    "header-not-utf-8": multipart(part("name=k")).replace(b"\r\n\r\n", b"\r\nX: \xff\r\n\r\n"),
}


@pytest.mark.parametrize("body", ODD_PARTS.values(), ids=ODD_PARTS)
def test_a13_a_body_that_parsers_read_in_two_ways_is_refused_if_our_name_may_be_in_it(body: bytes) -> None:
    with pytest.raises(BadRequest):
        find(MULTIPART, body, "k")
    if b"name*" not in body:
        assert cut(MULTIPART, body, "absent") is body


@pytest.mark.parametrize(
    "body",
    [b"", b"--XX", b"x=KCANARY", A_PART[:30], multipart(KEY_PART).replace(b"\r", b"")[:-7]],
    ids=["empty", "boundary-only", "a-form", "cut-off", "line-feeds-not-closed"],
)
def test_a_body_that_is_not_multipart_is_left_alone(body: bytes) -> None:
    assert find(MULTIPART, body, "k") == bodies.NOTHING
    assert cut(MULTIPART, body, "k") is body


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data", "multipart/form-data; x=y", "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""', "multipart/form-data" + "; b" * 30_000,
    ],
)  # fmt: skip
def test_d04_without_a_boundary_there_is_nothing_to_find(content_type: str) -> None:
    for body in (multipart(KEY_PART), b"\r\r\r\r", b"--\r\n"):
        assert cut(content_type, body, "k") is body


@pytest.mark.parametrize(
    "parameters",
    [
        'boundary="', 'boundary="\r\r\r"', 'boundary=" "', "boundary=é", "boundary*=XX",
        "boundary*=utf-99''XX%FF", "boundary*0=X; boundary*1=X", "boundary=XX; boundary=YY", "boundary = XX",
        "boundary=<XX>", "boundary=X:X", 'boundary="X\\X"', "boundary=" + "X" * 100_000, ";;;boundary=XX",
        'x="a\\"; boundary=XX', "charset=\x00; boundary=XX; charset=utf-7",
    ],
)  # fmt: skip
def test_a13_an_odd_boundary_is_refused_if_our_name_may_be_in_the_body(parameters: str) -> None:
    with pytest.raises(BadRequest):
        find(f"multipart/form-data; {parameters}", multipart(KEY_PART), "k")


def test_a_boundary_may_be_quoted_and_hold_anything_visible() -> None:
    content_type = 'multipart/form-data; charset=utf-8; boundary="a \'b:c)?"; charset=x'
    body = multipart(KEY_PART).replace(b"--XX", b"--a 'b:c)?")
    assert find(content_type, body, "k").values == (KEY,)
