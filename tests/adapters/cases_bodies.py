"""Conformance cases about bodies that are searched for a key.

Ids begin with the threat that a case is drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.adapters.conformance import Request
from tests.adapters.expectations import (
    AMBIGUOUS,
    BAD,
    BY_42,
    GOOD,
    IN_BODY,
    INVALID,
    MISSING,
    Case,
    Refused,
    with_key,
)

FIRST = {**IN_BODY, "key_conflict": "first"}
# Larger than body_max_bytes of these settings.
UPLOADS: Mapping[str, tuple[str, bytes]] = {
    "form": ("application/x-www-form-urlencoded", b"a=" + b"x" * 5000),
    "json": ("application/json", b'{"a": "' + b"x" * 5000 + b'"}'),
    "file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="p.jpg"\r\n\r\n'
        + b"\xff\x00\r\n" * 2000
        + b"\r\n--b--\r\n",
    ),
    "not-closed": ("multipart/form-data; boundary=b", b"--b\r\n" + b"x" * 5000),
    "of-no-form": ("application/octet-stream", b"\x00" * 5000),
}


def upload(kind: str, body: bytes, key: str = GOOD) -> Request:
    headers = (("Content-Type", kind),)
    return with_key(key, method="POST", headers=headers, body=body)


PART = b'--b\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nKCANARY-bad'
IN_PARTS = "multipart/form-data; boundary=b"
DOUBTFUL = Refused(400, "bad_request")
SECOND_KEYS: Mapping[str, tuple[str, bytes, Refused]] = {
    "json-nan": ("application/json", b'{"apikey": "KCANARY-bad", "a": NaN}', AMBIGUOUS),
    "json-utf-16": ("application/json", '{"apikey": "KCANARY-bad"}'.encode("utf-16"), AMBIGUOUS),
    "json-of-a-standard": ("application/vnd.api+json", b'{"apikey": "KCANARY-bad"}', AMBIGUOUS),
    "multipart-not-closed": (IN_PARTS, PART, AMBIGUOUS),
    "multipart-no-filename": (
        IN_PARTS,
        PART.replace(b'apikey"', b'apikey"; filename=""') + b"\r\n--b--\r\n",
        AMBIGUOUS,
    ),
    "multipart-after-the-end": (IN_PARTS, b"--b--\r\n" + PART + b"\r\n--b--\r\n", DOUBTFUL),
    "multipart-folded": (IN_PARTS, PART.replace(b"; name", b";\r\n name") + b"\r\n--b--\r\n", DOUBTFUL),
    "multipart-name-encoded": (
        IN_PARTS,
        PART.replace(b'name="apikey"', b"name*=utf-8''%61pikey") + b"\r\n--b--\r\n",
        DOUBTFUL,
    ),
    "json-utf-7": ("application/json; charset=utf-7", b'{"+AGEpikey": "KCANARY-bad"}', DOUBTFUL),
    "json-wildcard": ("application/*", b'{"apikey": "KCANARY-bad"}', DOUBTFUL),
    "json-too-deep": (
        "application/json",
        b'{"apikey": "KCANARY-bad", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        DOUBTFUL,
    ),
    "form-after-1500-fields": (
        "application/x-www-form-urlencoded",
        b"&" * 1500 + b"apikey=KCANARY-bad",
        AMBIGUOUS,
    ),
}
CUT: Mapping[str, tuple[str, bytes, bytes]] = {
    "json-nan": ("application/json", b'{"apikey": "KCANARY-good", "a": NaN}', b'{"a": NaN}'),
    "multipart-not-closed": (IN_PARTS, PART.replace(b"bad", b"good"), b""),
    # What nobody reads is nobody's key.
    "json-broken": ("application/json", b'{"a": 1', b'{"a": 1'),
    "another-type": ("text/plain", b"apikey", b"apikey"),
}

BODIES: list[Case] = [
    *(
        Case(
            f"d04-upload-{name}-{conflict}",
            upload(kind, body),
            replace(BY_42, body=body),
            settings,
            asked=1,
        )
        for name, (kind, body) in UPLOADS.items()
        for conflict, settings in (("reject", IN_BODY), ("first", FIRST))
    ),
    Case("d04-upload-with-a-bad-key", upload(*UPLOADS["file"], key=BAD), INVALID, IN_BODY),
    Case("d04-upload-with-an-empty-key", upload(*UPLOADS["file"], key=""), MISSING, IN_BODY, asked=0),
    Case(
        "d04-upload-without-a-key-elsewhere",
        Request(method="POST", headers=(("Content-Type", "application/json"),), body=UPLOADS["json"][1]),
        Refused(413, "body_too_large"),
        IN_BODY,
        asked=0,
    ),
    Case(
        "k02-what-is-not-read-stays-as-it-was-sent",
        upload("application/json", b'{"apikey": "KCANARY-bad", "a": "' + b"x" * 5000 + b'"}'),
        replace(BY_42, body=b'{"apikey": "KCANARY-bad", "a": "' + b"x" * 5000 + b'"}', hidden=False),
        IN_BODY,
    ),
    Case(
        "k02-a-small-body-is-cleaned-though-the-first-key-counts",
        upload("application/json", b'{"apikey": "KCANARY-bad", "a": 1}'),
        replace(BY_42, body=b'{"a": 1}'),
        FIRST,
    ),
    *(
        Case(
            f"a13-a-second-key-{name}",
            upload(kind, body),
            expected,
            {**IN_BODY, "body_max_bytes": 300_000},
            asked=0,
        )
        for name, (kind, body, expected) in SECOND_KEYS.items()
    ),
    *(
        Case(f"a13-cut-{name}", upload(kind, body), replace(BY_42, body=rest), IN_BODY)
        for name, (kind, body, rest) in CUT.items()
    ),
]
