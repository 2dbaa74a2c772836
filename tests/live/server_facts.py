"""What each server hands to an app for the same bytes: the table behind docs/security.md.

Measured with gunicorn 27.0.1, waitress 3.0.2, gevent 26.9.0 (pywsgi), Werkzeug 3.1.9, wsgiref of
CPython 3.11, cheroot 11.1.2 and uWSGI 2.0.30 (http-socket). gunicorn's worker classes share a
parser and so a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

ALL = "gunicorn waitress gevent werkzeug wsgiref cheroot uwsgi"


class Fact(NamedTuple):
    """One request and what becomes of it.

    :ivar request: the bytes that are sent.
    :ivar shows: the keys of the environ that are looked at; ``body`` is what could be read of it.
    :ivar expected: what the app is shown -> on which servers. A number is a refusal with that
        status, None a key that is absent, a tuple one value per key.
    """

    request: bytes
    shows: tuple[str, ...]
    expected: Mapping[object, str]

    def on(self, server: str) -> object:
        """What is expected on one server; exactly one entry has to name it."""
        (value,) = [value for value, servers in self.expected.items() if server in servers.split()]
        return value


def request(
    target: bytes = b"/p",
    *lines: bytes,
    method: bytes = b"GET",
    host: tuple[bytes, ...] = (b"Host: h.example",),
    body: bytes = b"",
) -> bytes:
    """A request of exactly these lines."""
    head = (method + b" " + target + b" HTTP/1.1", *host, b"Connection: close", *lines)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def post(body: bytes, *lines: bytes) -> bytes:
    return request(b"/a", *lines, method=b"POST", body=body)


KEY = ("HTTP_X_API_KEY",)
CONSUMER = ("HTTP_X_CONSUMER_ID",)
PATH = ("PATH_INFO",)
FRAMING = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "body")

HEADERS: Mapping[str, Fact] = {
    "dash, then underscore": Fact(
        request(b"/p", b"X-Api-Key: good", b"X_Api_Key: evil"),
        KEY,
        {
            "good": "gunicorn waitress gevent werkzeug",
            "good,evil": "wsgiref",
            "evil": "cheroot",
            "good, evil": "uwsgi",
        },
    ),
    "underscore, then dash": Fact(
        request(b"/p", b"X_Api_Key: evil", b"X-Api-Key: good"),
        KEY,
        {
            "good": "gunicorn waitress gevent werkzeug cheroot",
            "evil,good": "wsgiref",
            "evil, good": "uwsgi",
        },
    ),
    "underscore alone": Fact(
        request(b"/p", b"X_Consumer_Id: evil"),
        CONSUMER,
        {None: "gunicorn waitress gevent werkzeug", "evil": "wsgiref cheroot uwsgi"},
    ),
    "dots are no alias": Fact(
        request(b"/p", b"X.Api.Key: evil"), (*KEY, "HTTP_X.API.KEY"), {(None, "evil"): ALL}
    ),
    "twice": Fact(
        request(b"/p", b"X-Api-Key: one", b"X-Api-Key: two"),
        KEY,
        {"one,two": "gunicorn gevent werkzeug wsgiref", "one, two": "waitress uwsgi", "two": "cheroot"},
    ),
    "empty, then two": Fact(
        request(b"/p", b"X-Api-Key:", b"X-Api-Key: two"),
        KEY,
        {",two": "gunicorn gevent werkzeug wsgiref", ", two": "waitress uwsgi", "two": "cheroot"},
    ),
    "NUL in the value": Fact(
        request(b"/p", b"X-Api-Key: k\0x"),
        KEY,
        {400: "gunicorn waitress", "k\0x": "gevent werkzeug wsgiref cheroot uwsgi"},
    ),
    "bare LF in the value": Fact(
        request(b"/p", b"X-Api-Key: k\nX-Consumer-Id: evil"),
        KEY + CONSUMER,
        {
            400: "gunicorn waitress cheroot",
            ("k", "evil"): "gevent werkzeug wsgiref",
            ("k\nX-Consumer-Id: evil", None): "uwsgi",
        },
    ),
    "folded value": Fact(
        request(b"/p", b"X-Api-Key: k", b"  more"),
        KEY,
        {
            400: "gunicorn",
            "k  more": "waitress werkzeug",
            "more": "cheroot",
            "k\r\n  more": "gevent wsgiref uwsgi",
        },
    ),
    "padded with 0xA0 and 0x85": Fact(
        request(b"/p", b"X-Api-Key: \xa0k\x85"),
        KEY,
        {"\xa0k\x85": "gunicorn waitress werkzeug cheroot uwsgi", "k": "gevent wsgiref"},
    ),
    "trailing space and tab": Fact(
        request(b"/p", b"X-Api-Key: k \t"),
        KEY,
        {"k": "gunicorn waitress gevent wsgiref cheroot", "k \t": "werkzeug uwsgi"},
    ),
    "space before the colon": Fact(
        request(b"/p", b"X-Api-Key : k"),
        KEY,
        {400: "gunicorn waitress", None: "gevent werkzeug wsgiref uwsgi", "k": "cheroot"},
    ),
    "Proxy becomes HTTP_PROXY": Fact(
        request(b"/p", b"Proxy: http://evil.example"), ("HTTP_PROXY",), {"http://evil.example": ALL}
    ),
    "two Host": Fact(
        request(b"/p", host=(b"Host: a", b"Host: b")),
        ("HTTP_HOST",),
        {400: "gunicorn", "a, b": "waitress uwsgi", "a,b": "gevent werkzeug wsgiref", "b": "cheroot"},
    ),
}

TARGETS: Mapping[str, Fact] = {
    "a header named SCRIPT_NAME": Fact(
        request(b"/pfx/admin", b"SCRIPT_NAME: /pfx"),
        ("SCRIPT_NAME", "PATH_INFO"),
        {
            ("/pfx", "/admin"): "gunicorn",
            ("", "/pfx/admin"): "waitress gevent werkzeug wsgiref cheroot uwsgi",
        },
    ),
    "two slashes": Fact(
        request(b"//admin"),
        PATH,
        {"//admin": "gunicorn gevent uwsgi", "/admin": "waitress werkzeug wsgiref", 400: "cheroot"},
    ),
    "dot segments": Fact(
        request(b"/public/../admin"),
        PATH,
        {"/public/../admin": "gunicorn waitress gevent werkzeug wsgiref cheroot", "/admin": "uwsgi"},
    ),
    "encoded dot segments": Fact(request(b"/public/%2e%2e/admin"), PATH, {"/public/../admin": ALL}),
    "absolute form": Fact(
        request(b"http://other/admin"),
        ("PATH_INFO", "HTTP_HOST"),
        {
            ("/admin", "h.example"): "gunicorn waitress",
            ("/admin", "other"): "werkzeug",
            ("http://other/admin", "h.example"): "gevent wsgiref uwsgi",
            400: "cheroot",
        },
    ),
    "absolute form without a path": Fact(
        request(b"http://other"),
        PATH,
        {"": "gunicorn waitress werkzeug", "http://other": "gevent wsgiref uwsgi", 400: "cheroot"},
    ),
    "no slash": Fact(
        request(b"admin"),
        PATH,
        {400: "gunicorn cheroot", "admin": "waitress gevent werkzeug wsgiref uwsgi"},
    ),
    "fragment": Fact(
        request(b"/admin#/public"),
        PATH,
        {"/admin": "gunicorn waitress werkzeug uwsgi", "/admin#/public": "gevent wsgiref", 400: "cheroot"},
    ),
    "lower-case method": Fact(
        request(b"/a", method=b"get"),
        ("REQUEST_METHOD",),
        {400: "gunicorn waitress cheroot", "get": "gevent werkzeug wsgiref uwsgi"},
    ),
    "raw target": Fact(
        request(b"/a%2Fb?c=%64"),
        ("RAW_URI", "REQUEST_URI"),
        {
            ("/a%2Fb?c=%64", None): "gunicorn",
            (None, "/a%2Fb?c=%64"): "waitress cheroot uwsgi",
            ("/a%2Fb?c=%64", "/a%2Fb?c=%64"): "werkzeug",
            (None, None): "gevent wsgiref",
        },
    ),
    "encoded NUL": Fact(request(b"/a%00b"), PATH, {"/a\0b": ALL}),
    "bytes that are no UTF-8": Fact(
        request(b"/a%ff"),
        PATH,
        # Werkzeug's own server has replaced them by U+FFFD.
        {"/a\xff": "gunicorn waitress gevent wsgiref cheroot uwsgi", "/a\xef\xbf\xbd": "werkzeug"},
    ),
}

BODIES: Mapping[str, Fact] = {
    "both framings": Fact(
        post(b"5\r\nhello\r\n0\r\n\r\n", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        FRAMING,
        {
            400: "gunicorn",
            ("5", None, "hello"): "waitress",
            (None, "chunked", "hello"): "gevent",
            ("3", "chunked", "hello"): "werkzeug cheroot",
            ("3", "chunked", "5\r\n"): "wsgiref uwsgi",
        },
    ),
    "the same length twice": Fact(
        post(b"abc", b"Content-Length: 3", b"Content-Length: 3"),
        ("CONTENT_LENGTH", "body"),
        {
            400: "gunicorn waitress",
            ("3", "abc"): "gevent werkzeug wsgiref cheroot",
            ("3, 3", ""): "uwsgi",
        },
    ),
    "a length with a sign": Fact(
        post(b"abc", b"Content-Length: +3"),
        ("CONTENT_LENGTH", "body"),
        {400: "gunicorn waitress", ("+3", "abc"): "gevent werkzeug wsgiref cheroot", ("+3", ""): "uwsgi"},
    ),
    "an unknown transfer coding": Fact(
        post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: xchunked"),
        FRAMING,
        {501: "gunicorn waitress cheroot", ("3", "xchunked", "abc"): "gevent werkzeug wsgiref uwsgi"},
    ),
    "chunked": Fact(
        post(b"3\r\nabc\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        ("CONTENT_LENGTH", "wsgi.input_terminated", "body"),
        {
            (None, True, "abc"): "gunicorn gevent werkzeug cheroot",
            ("3", True, "abc"): "waitress",
            # No way to tell where it ends.
            ("", None, ""): "wsgiref",
            (None, None, ""): "uwsgi",
        },
    ),
    "a length spelled with an underscore": Fact(
        post(b"abc", b"Content_Length: 3"),
        ("CONTENT_LENGTH", "body"),
        {
            (None, ""): "gunicorn waitress gevent werkzeug",
            ("", ""): "wsgiref",
            # Announced, but the server keeps the body to itself.
            ("3", ""): "cheroot",
            ("3", "abc"): "uwsgi",
        },
    ),
}


class Answer(NamedTuple):
    """What becomes of an answer that an app should not give.

    :ivar path: where ``tests.live.bare`` gives it.
    :ivar expected: one of the words below -> on which servers.
    """

    path: str
    expected: Mapping[str, str]

    def on(self, server: str) -> str:
        """What is expected on one server; exactly one entry has to name it."""
        (value,) = [value for value, servers in self.expected.items() if server in servers.split()]
        return value


ANSWERS: Mapping[str, Answer] = {
    "a line break in a header": Answer(
        "/header-with-line-break",
        {"500": "gunicorn waitress gevent", "split": "werkzeug wsgiref cheroot uwsgi"},
    ),
    "both framings": Answer(
        "/both-framings",
        {"length": "gunicorn", "500": "waitress wsgiref", "both": "gevent werkzeug cheroot uwsgi"},
    ),
    "an exception in the middle": Answer(
        "/raises-in-the-middle",
        {"cut": "gunicorn waitress gevent werkzeug cheroot", "looks complete": "wsgiref uwsgi"},
    ),
}


def facts() -> Iterator[tuple[str, Fact]]:
    """Every request, by what it shows."""
    for table in (HEADERS, TARGETS, BODIES):
        yield from table.items()
