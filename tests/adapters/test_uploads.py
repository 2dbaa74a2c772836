"""A body location and bodies too large for it: who reads what, and who reads it afterwards (D-04)."""

from __future__ import annotations

import asyncio
import io
import socket
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from apikey_guard.testing import FakeKeyService
from tests.adapters import django_adapter  # noqa: F401 - it configures Django
from tests.adapters.presented import ALLOWED, AMBIGUOUS, FORM, JSON, code
from tests.harness import build_environ, call
from tests.harness.guarded import BAD, GOOD, Guarded

IN_BODY = {"key_locations": ["header:apikey", "body:apikey"], "body_max_bytes": 1000}
TOO_LARGE = (413, "body_too_large")
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": None}
CONFLICTS = ["reject", "first"]


class Sent(io.RawIOBase):
    """A body as a server hands it over, which counts what is taken of it.

    :param body: what the caller sends.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = io.BytesIO(body)

    @property
    def taken(self) -> int:
        return self._body.tell()

    def rewind(self) -> None:
        self._body.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        # As some servers do: less than was asked for, although more is to come.
        return self._body.read(-1 if size is None or size < 0 else min(size, 700))

    def readline(self, size: int | None = -1) -> bytes:
        return self._body.readline(-1 if size is None else size)


class Reader:
    """An app that notes how far a body had been read before it, and reads it in its own way."""

    def __init__(self, sent: Sent, read: Any) -> None:
        self._sent, self._read = sent, read
        self.before: int | None = None
        self.got = b""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.before = self._sent.taken
        self.got = self._read(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"read"]


READS = {
    "at once": lambda stream: stream.read(),
    "in pieces": lambda stream: b"".join(iter(lambda: stream.read(999), b"")),
    "by lines": lambda stream: b"".join(stream),
    "lines, one by one": lambda stream: b"".join(iter(stream.readline, b"")),
}
LARGE = b"a=1&b=\r\n" + b"line\n" * 1000


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_d04_an_upload_that_says_its_length_is_not_read_at_all(conflict: str) -> None:
    sent = Sent(LARGE)
    with Guarded(**IN_BODY, key_conflict=conflict) as guarded:
        guarded.wsgi.app = app = Reader(sent, READS["in pieces"])
        extra = {"wsgi.input": sent, "CONTENT_LENGTH": str(len(LARGE))}
        assert guarded.code(method="POST", headers=[FORM], extra=extra) == ALLOWED
    assert (app.before, app.got) == (0, LARGE)


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("conflict", CONFLICTS)
def test_d04_an_upload_of_unknown_length_is_read_to_the_bound_and_put_back(conflict: str, how: str) -> None:
    sent = Sent(LARGE)
    with Guarded(**IN_BODY, key_conflict=conflict) as guarded:
        guarded.wsgi.app = app = Reader(sent, READS[how])
        extra = {**CHUNKED, "wsgi.input": sent}
        environ = build_environ(method="POST", headers=[FORM, ("apikey", GOOD)], extra=extra)
        assert call(guarded.wsgi, environ, lint=False).status == 200
    # One byte more than the bound is what tells that it is more.
    assert (app.before, app.got) == (1001, LARGE)


def test_d04_nothing_is_read_beyond_the_end_of_a_body_that_is_put_back() -> None:
    sent = Sent(b"x" * 2000)
    with Guarded(**IN_BODY) as guarded:
        guarded.wsgi.app = app = Reader(sent, lambda stream: stream.read(1500))
        extra = {**CHUNKED, "wsgi.input": sent}
        environ = build_environ(method="POST", headers=[FORM, ("apikey", GOOD)], extra=extra)
        assert call(guarded.wsgi, environ, lint=False).status == 200
    assert app.got == b"x" * 1500


def test_d04_what_follows_what_was_read_is_handed_on_as_it_comes() -> None:
    caller, server = socket.socketpair()
    with caller, server, server.makefile("rb") as stream, Guarded(**IN_BODY) as guarded:
        pieces = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            body = environ["wsgi.input"]
            pieces.append(body.read(1001))
            for piece in (b"first", b"second"):
                # Nothing else is under way: a read that waited for more would wait for ever.
                caller.sendall(piece)
                pieces.append(body.read1(65_536))
            start_response("200 OK", [])
            return []

        guarded.wsgi.app = app
        caller.sendall(b"x" * 1001)
        server.settimeout(30)
        extra = {**CHUNKED, "wsgi.input": stream}
        environ = build_environ(method="POST", headers=[FORM, ("apikey", GOOD)], extra=extra)
        assert call(guarded.wsgi, environ, lint=False).status == 200
    assert pieces == [b"x" * 1001, b"first", b"second"]


@pytest.mark.parametrize("extra", [{}, CHUNKED], ids=["length", "chunks"])
def test_d04_without_a_key_elsewhere_a_large_body_is_refused(extra: dict[str, Any]) -> None:
    sent = Sent(LARGE)
    given = {"CONTENT_LENGTH": str(len(LARGE)), **extra, "wsgi.input": sent}
    with Guarded(**IN_BODY) as guarded:
        answer = call(guarded.wsgi, build_environ(method="POST", headers=[FORM], extra=given), lint=False)
        assert code(answer) == TOO_LARGE
    assert sent.taken <= 1001


@pytest.mark.parametrize("extra", [{}, CHUNKED], ids=["length", "chunks"])
def test_a02_a_second_key_counts_as_far_as_the_body_is_read(extra: dict[str, Any]) -> None:
    body = b'{"apikey": "%b"}' % BAD.encode()
    with Guarded(**IN_BODY) as guarded:
        environ = build_environ(method="POST", headers=[JSON, ("apikey", GOOD)], body=body, extra=extra)
        assert code(call(guarded.wsgi, environ, lint=False)) == AMBIGUOUS


def test_d04_monitor_reads_no_body() -> None:
    sent = Sent(b"apikey=" + GOOD.encode())
    with Guarded(**IN_BODY, mode="monitor") as guarded:
        guarded.wsgi.app = app = Reader(sent, READS["at once"])
        for key in (None, GOOD):
            extra = {"wsgi.input": sent, "CONTENT_LENGTH": "19"}
            environ = build_environ(method="POST", headers=[FORM, ("apikey", key or "")], extra=extra)
            assert call(guarded.wsgi, environ, lint=False).status == 200
            assert app.before == 0
            sent.rewind()


# -- Django under ASGI, which collects a body before anybody is called -----------------------------


def _told(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def _streamed(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(sum(map(len, iter(lambda: request.read(100), b"")))))


def _posted(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{len(request.POST['a'])} {request.FILES['f'].size}")


urlpatterns = [path(f"{view.__name__}/", csrf_exempt(view)) for view in (_told, _streamed, _posted)]
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nabc\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * 4000 + b"\r\n--b--\r\n"
)


TOLD = str(len(FILE))


@pytest.mark.parametrize("conflict", CONFLICTS)
@pytest.mark.parametrize(
    ("view", "expected", "length"),
    [
        pytest.param("_told", TOLD, True, id="body, length"),
        pytest.param("_told", TOLD, False, id="body, chunks"),
        pytest.param("_streamed", TOLD, True, id="read, length"),
        pytest.param("_streamed", TOLD, False, id="read, chunks"),
        # Django parses no form whose length nobody has told.
        pytest.param("_posted", "3 4000", True, id="POST, length"),
    ],
)
def test_d04_an_upload_reaches_a_django_view_under_asgi_whole(
    view: str, expected: str, length: bool, conflict: str
) -> None:
    given = {"KEY_SERVICE": FakeKeyService([GOOD]), "KEY_CONFLICT": conflict}
    given |= {name.upper(): value for name, value in IN_BODY.items()}
    headers = [(b"apikey", GOOD.encode()), (b"content-type", b"multipart/form-data; boundary=b")]
    if length:
        headers.append((b"content-length", str(len(FILE)).encode()))
    pieces = [FILE[start : start + 500] for start in range(0, len(FILE), 500)]
    with override_settings(APIKEY_GUARD=given, ROOT_URLCONF=__name__):
        assert asyncio.run(_answer(f"/{view}/", headers, pieces)) == (200, expected)


async def _answer(target: str, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> tuple[int, str]:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict[str, Any]] = []
    forever = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await forever.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": target,
        "raw_path": target.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await ASGIHandler()(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.mark.parametrize("conflict", CONFLICTS)
@pytest.mark.parametrize(
    ("headers", "status"), [({"apikey": GOOD}, 200), ({}, 413)], ids=["key in a header", "no key"]
)
def test_d04_a_body_of_djangos_test_client_that_was_never_read_is_not_wound_back(
    conflict: str, headers: dict[str, str], status: int
) -> None:
    given = {"KEY_SERVICE": FakeKeyService([GOOD]), "KEY_CONFLICT": conflict}
    given |= {name.upper(): value for name, value in IN_BODY.items()}
    with override_settings(APIKEY_GUARD=given, ROOT_URLCONF=__name__):
        client = AsyncClient(raise_request_exception=False)
        form = {"a": "abc", "f": SimpleUploadedFile("f", b"x" * 4000)}
        answer = asyncio.run(client.post("/_posted/", form, headers=headers))
    assert answer.status_code == status
    assert status != 200 or answer.content == b"3 4000"
