"""A WSGI call by hand: ``build_environ`` makes the request, ``call`` makes the call under lint."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from types import TracebackType
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

from tests.harness.watch import find_canary
from tests.harness.wire import Response

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def build_environ(
    path: str | bytes = "/",
    method: str = "GET",
    *,
    query: str = "",
    headers: Iterable[tuple[str, str | bytes]] = (),
    body: bytes = b"",
    extra: Mapping[str, object] | None = None,
) -> WSGIEnvironment:
    """A request as a server hands it over (PEP 3333), with nothing normalised.

    :param path: ``PATH_INFO`` after decoding: text is sent as UTF-8, bytes as they are.
    :param query: ``QUERY_STRING`` exactly as given.
    :param headers: pairs; repeated names are joined with a comma, as most servers do. Text is the
        latin-1 view of the bytes on the wire.
    :param body: sets ``CONTENT_LENGTH``, unless a header does.
    :param extra: further keys of the environ, set last; None deletes the key.
    """
    raw_path = path.encode() if isinstance(path, str) else path
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": raw_path.decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in headers:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        key = name.upper().replace("-", "_")
        if key in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            environ[key] = text
            continue
        key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{text}" if key in environ and key != "HTTP_HOST" else text
    for key, given in (extra or {}).items():
        if given is None:
            environ.pop(key, None)
        else:
            environ[key] = given
    return environ


def call(
    app: WSGIApplication, environ: WSGIEnvironment, *, lint: bool = True, may_echo: bool = False
) -> Response:
    """Call the app as a server does: read the whole answer, then call ``close()`` once.

    :param lint: put :func:`wsgiref.validate.validator` around the app. Switch it off only for an
        environ that breaks PEP 3333 itself (a path without a slash, as some servers pass on).
    :param may_echo: whether the answer may hold a canary; everything else fails.
    :raises Exception: whatever the app raises, after ``close()``.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
    ) -> object:
        if started and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        if started and any(written) and exc_info is not None and exc_info[1] is not None:
            raise exc_info[1]
        started[:] = [(status, list(headers))]
        return written.append

    iterable = (validator(app) if lint else app)(environ, start_response)  # type: ignore[arg-type]  # the write callable is typed by position only
    try:
        for piece in iterable:
            assert started, "a body came before start_response"
            written.append(piece)
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()
    assert started, "start_response was never called"
    status, headers = started[0]
    response = Response(int(status[:3]), status[4:], tuple(headers), b"".join(written))
    if not may_echo:
        leaked = find_canary(f"{response.headers!r}") or find_canary(response.body)
        assert leaked is None, f"a canary is in the answer: ...{leaked}..."
    return response
