"""What the guard makes of a body, compared with what Flask, Django and REST framework make of it.

The same bodies on every run; ``APIKEY_GUARD_FUZZ=50`` tries fifty times as many others.
"""

from __future__ import annotations

import os
from collections import Counter
from io import BytesIO
from typing import Any

import pytest
import requests
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from werkzeug.test import EnvironBuilder

from apikey_guard.core.body import NOTHING, BodyField, find
from apikey_guard.core.body.field import collect
from apikey_guard.core.body.media import media_of
from apikey_guard.core.body.members import json_items, plain_member
from apikey_guard.errors import BadRequest
from tests.adapters import django_adapter  # noqa: F401 - it configures Django
from tests.harness.body_maker import Made, Maker
from tests.harness.body_readers import Fields, read_by_all

NAME = "apikey"
ROUNDS = int(os.environ.get("APIKEY_GUARD_FUZZ", "1"))


def judge(content_type: str, body: bytes) -> str:
    """Whether the guard saw what they see; a word for what became of the body."""
    try:
        field = find(content_type, body, NAME, most=None)
    except BadRequest:
        return "refused"
    rest = field.without(body)
    shown = (content_type, body, rest)
    after = dict(read_by_all(content_type, rest))
    for reader, before in read_by_all(content_type, body):
        left = after[reader]
        assert not _copies(left), f"{reader} still finds the key: {shown}"
        for value in _copies(before):
            assert _seen(value, field), f"{reader} reads {value!r}, we {field.values}: {shown}"
        # Bytes that are no UTF-8 make a reader take the whole body for another encoding.
        if before and rest and (content_type.startswith("multipart") or _is_utf8(body)):
            # To Django, white space around a name is none of it: a field of such a name goes, too.
            multipart = content_type.lower().startswith("multipart")
            others = [pair for pair in before if (str(pair[0]).strip() if multipart else pair[0]) != NAME]
            assert repr(left or []) == repr(others), f"{reader} reads the rest differently: {shown}"
    return "found" if field != NOTHING else "nothing"


def _is_utf8(body: bytes) -> bool:
    return body.decode("utf-8", "ignore").encode() == body


def _copies(fields: Fields | None) -> list[object]:
    return [value for name, value in fields or () if name == NAME]


def _seen(value: object, field: BodyField) -> bool:
    if isinstance(value, (dict, list)):
        return field.structured
    if not isinstance(value, str):
        return bool(field.spans)
    # Escaped surrogates and undecodable bytes are shown as U+FFFD; no key has one.
    return value in field.values or not value.isascii() or any("\ufffd" in seen for seen in field.values)


@pytest.mark.parametrize("kind", ["multipart", "json", "form"])
def test_k02_after_the_guard_no_reader_finds_a_copy_that_it_did_not_see(kind: str) -> None:
    became: Counter[str] = Counter()
    for seed in range(2000 * ROUNDS):
        became[judge(*getattr(Maker(seed), kind)())] += 1
    # Neither everything refused, nor nothing found.
    assert min(became[word] for word in ("found", "nothing", "refused")) > 100 * ROUNDS, became


def test_the_short_way_through_json_finds_what_the_long_one_does() -> None:
    short = 0
    for seed in range(2000 * ROUNDS):
        content_type, body = Maker(seed).json()
        media = media_of(content_type)
        found = plain_member(body, NAME) if body else None
        if found is None or media.doubtful:
            continue
        assert found == collect(json_items(media, body, NAME, None)), body
        short += found != NOTHING
    assert short > 10 * ROUNDS


# -- what clients really send -----------------------------------------------------------------------


def by_requests(**parts: Any) -> Made:
    prepared = requests.Request("POST", "http://a.example/", **parts).prepare()
    assert isinstance(prepared.body, (bytes, str))
    body = prepared.body if isinstance(prepared.body, bytes) else prepared.body.encode()
    return prepared.headers["Content-Type"], body


def by_werkzeug(data: dict[str, object]) -> Made:
    environ = EnvironBuilder(method="POST", data=data).get_environ()
    return environ["CONTENT_TYPE"], environ["wsgi.input"].read()


def by_django(data: dict[str, object]) -> Made:
    return MULTIPART_CONTENT, encode_multipart(BOUNDARY, data)


def file(name: str, content: bytes = b"apikey=x") -> BytesIO:
    made = BytesIO(content)
    made.name = name
    return made


KEY = {"apikey": "KCANARY-1"}
BROWSER = (
    b'------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nKCANARY-1\r\n'
    b'------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name="f"; '
    b'filename="caf\xc3\xa9 %22a%22 100%.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\r\napikey\r\n------WebKitFormBoundaryA1--\r\n"
)
CURL = "------------------------d74496d66958873e"
CURL_BODY = BROWSER.replace(b"----WebKitFormBoundaryA1", CURL.encode())
NESTED = CURL_BODY.replace(
    b"image/png\r\n\r\n\x89PNG\r\n\x1a\n",
    b"multipart/mixed; boundary=------------------------aaad12f80e4cee23\r\n\r\n"
    b"--------------------------aaad12f80e4cee23\r\n"
    b'Content-Disposition: attachment; name="apikey"\r\n\r\nKCANARY-2\r\n'
    b"--------------------------aaad12f80e4cee23--\r\n",
).replace(b'; filename="caf\xc3\xa9 %22a%22 100%.png"', b"")
CLIENTS: dict[str, Made] = {
    "requests, form": by_requests(data={**KEY, "é": "ü & ="}),
    "requests, JSON": by_requests(json={**KEY, "é": [float(1), None, {"apikey": 1}]}),
    "requests, file": by_requests(data=KEY, files={"f": ("a.txt", b"apikey")}),
    "requests, file of a foreign name": by_requests(data=KEY, files={"f": ("Zoë 100%.txt", b"apikey")}),
    "requests, file in two parts": by_requests(data=KEY, files=[("f", ("a", b"1")), ("f", ("b", b"2"))]),
    "werkzeug, form": by_werkzeug({**KEY, "a": "1"}),
    "werkzeug, file": by_werkzeug({**KEY, "f": (BytesIO(b"apikey"), "é.txt")}),
    "django, fields": by_django({**KEY, "é": ["1", "2"]}),
    "django, file": by_django({**KEY, "f": file("a.txt")}),
    "a browser": ("multipart/form-data; boundary=----WebKitFormBoundaryA1", BROWSER),
    "curl": (f"multipart/form-data; boundary={CURL}", CURL_BODY),
    "curl, escaped quotes": (
        f"multipart/form-data; boundary={CURL}",
        CURL_BODY.replace(b'"caf\xc3\xa9 %22a%22 100%.png"', rb'"quo\"te\" C:\\d\\1.png"'),
    ),
    "curl, parts within a part": (f"multipart/form-data; boundary={CURL}", NESTED),
    "Java": (
        'multipart/form-data; boundary="----=_Part_1_12.34"',
        BROWSER.replace(b"----WebKitFormBoundaryA1", b"----=_Part_1_12.34"),
    ),
    "another API's JSON": ("application/vnd.api+json; charset=utf-8", b'{"apikey": "KCANARY-1", "data": []}'),
}


@pytest.mark.parametrize("made", CLIENTS.values(), ids=CLIENTS)
def test_what_clients_write_is_found_and_cut(made: Made) -> None:
    assert judge(*made) == "found"
    assert find(*made, NAME).values == ("KCANARY-1",)
    assert any(_copies(fields) for _, fields in read_by_all(*made))
