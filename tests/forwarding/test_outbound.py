"""What a request becomes on its way to an origin (threats X-02, X-13)."""

from __future__ import annotations

from typing import Any

import pytest

from apikey_guard.errors import BadRequest, LengthRequired
from apikey_guard.forwarding.outbound import Framing, framing

PLAIN = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Framing(None, chunked=False)),
        ({"CONTENT_LENGTH": ""}, Framing(None, chunked=False)),
        ({"CONTENT_LENGTH": "0"}, Framing(0, chunked=False)),
        ({"CONTENT_LENGTH": "3"}, Framing(3, chunked=False)),
        ({"CONTENT_LENGTH": "003"}, Framing(3, chunked=False)),
        (CHUNKED, Framing(None, chunked=True)),
        ({**CHUNKED, "CONTENT_LENGTH": ""}, Framing(None, chunked=True)),
        ({**CHUNKED, "HTTP_TRANSFER_ENCODING": " Chunked\t"}, Framing(None, chunked=True)),
        ({"wsgi.input_terminated": True, "CONTENT_LENGTH": "3"}, Framing(3, chunked=False)),
        ({"wsgi.input_terminated": True}, Framing(None, chunked=False)),
    ],
)
def test_x02_framing_is_computed(given: dict[str, Any], expected: Framing) -> None:
    assert framing({**PLAIN, **given}) == expected


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"CONTENT_LENGTH": text}
            for text in ["3, 3", "3,3", "+3", "-1", "3_0", "٣", "\xb2", " 3", "3 ", "3.0"]
        ),
        *({"CONTENT_LENGTH": text} for text in ["0x3", "9" * 30, "3\r\n", "a"]),
        {**CHUNKED, "CONTENT_LENGTH": "3"},
        {**CHUNKED, "CONTENT_LENGTH": "0"},
        {**CHUNKED, "SERVER_PROTOCOL": "HTTP/1.0"},
        *(
            {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}
            for text in [
                "xchunked",
                "gzip, chunked",
                "chunked, chunked",
                "chunked,chunked",
                "identity",
                "gzip",
            ]
        ),
        *(
            {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}
            for text in ["", '"chunked"', "\x0bchunked", "chunked;q=1"]
        ),
        {"HTTP_TRANSFER_ENCODING": "identity", "CONTENT_LENGTH": "3"},
    ],
    ids=repr,
)
def test_x02_framing_in_doubt_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        framing({**PLAIN, **given})


def test_x13_chunks_whose_end_the_server_does_not_mark_need_a_length() -> None:
    with pytest.raises(LengthRequired):
        framing({**PLAIN, "HTTP_TRANSFER_ENCODING": "chunked"})
