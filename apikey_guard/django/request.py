"""Django's request as the guard needs it: the body, the raw target, and no copy of what was hidden.

Under WSGI ``request.META`` is the server's environ; changing it changes everything that Django
reads lazily. Under ASGI it is a copy, so the scope is brought into line with it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest

from apikey_guard.bodies import WsgiBody
from apikey_guard.core.extraction import environ_key
from apikey_guard.core.model import Consumer
from apikey_guard.errors import BodyTooLarge

if TYPE_CHECKING:
    from apikey_guard.core.model import Allow
    from apikey_guard.guard import Guard
    from apikey_guard.pending import Pending

logger = logging.getLogger("apikey_guard")

# Where META has the headers that Django leaves out, while the guard looks at it.
_LEFT_OUT = "asgi.header."
# And what else the scope has beside them.
_BESIDE = "asgi.scope."
_BUILT = (str, bytes, dict, list, tuple)
# What META has already, and what is no part of the request.
_KNOWN = frozenset(
    {
        *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
        *("root_path", "headers", "client", "server", "extensions", "app"),
    }
)


class GuardedRequest(HttpRequest):
    """A request behind the guard, for the annotations of views.

    :ivar consumer: who calls; None on public views, for anonymous callers and where the guard's
        mode is not ``enforce``.
    """

    consumer: Consumer | None
    # The fields of a Passage.
    _apikey_guard: tuple[Guard, Allow, Pending | None, str, str | None, str | None]
    _apikey_guard_headers: Mapping[bytes, str]


class DjangoBody:
    """The body of a Django request, read below ``request.POST`` and put back in its place.

    Nothing is parsed and no upload handler is chosen: the view still can do both its own way.

    :param request: whose body nobody has read yet.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        meta = request.META
        self._environ: dict[str, object] = meta
        if "wsgi.input" not in meta:
            # Django has read the whole body from an ASGI server, which knows where it ends.
            self._environ = {
                # Django's only name for the stream below ``body`` and ``POST``, the same in all versions.
                "wsgi.input": request._stream,
                "wsgi.input_terminated": True,
                "CONTENT_TYPE": meta.get("CONTENT_TYPE"),
                "CONTENT_LENGTH": meta.get("CONTENT_LENGTH"),
            }
        self._body = WsgiBody(self._environ)

    @property
    def content_type(self) -> str | None:
        """The value of ``Content-Type``."""
        return self._body.content_type

    def read(self, limit: int) -> bytes:
        """The whole body, which the view can then read again.

        :param limit: bytes; more raise :class:`~apikey_guard.errors.BodyTooLarge`, and the view can
            read the body as if nobody had tried.
        :raises BadRequest: the body is framed in two ways, or shorter than it says.
        :raises ImproperlyConfigured: a middleware before the guard has read the body.
        """
        inside = self._request.__dict__
        if "_body" in inside:
            body: bytes = inside["_body"]
            if len(body) > limit:
                raise BodyTooLarge(f"the body has more than {limit} bytes")
            return body
        if inside.get("_read_started"):
            logger.error("a middleware before GuardMiddleware has read the body: put the guard before it")
            raise ImproperlyConfigured("the body was read before the guard could")
        try:
            body = self._body.read(limit)
        except BodyTooLarge:
            stream = self._request._stream
            if self._environ is not self._request.META and self._environ["wsgi.input"] is not stream:
                stream.seek(0)  # something was read; the whole body is in a file there
            raise
        self._put(body)
        return body

    def replace(self, body: bytes) -> None:
        """Let the view read this instead."""
        self._body.replace(body)
        self._put(body)
        inside = self._request.__dict__
        if "_body" in inside:
            inside["_body"] = body
        for parsed in ("_post", "_files"):
            inside.pop(parsed, None)

    def _put(self, body: bytes) -> None:
        request = self._request
        if self._environ is not request.META:
            # Read to its end; older versions of Django close only what they find here afterwards.
            request._stream.close()
            request._stream = io.BytesIO(body)
            if request.META.get("CONTENT_LENGTH"):
                request.META["CONTENT_LENGTH"] = str(len(body))
        elif request.META.get("CONTENT_LENGTH"):
            # Django shows no body where there is no length.
            limited = LimitedStream(request.META["wsgi.input"], len(body))
            request._stream = limited  # type: ignore[assignment]  # as WSGIRequest itself does


def body_is_read(request: HttpRequest) -> bool:
    """Whether somebody has read the body and kept what it meant only, as ``request.POST`` does of uploads."""
    inside = request.__dict__
    return "_body" not in inside and bool(inside.get("_read_started"))


def show_target(request: HttpRequest) -> None:
    """Put into ``META`` what the guard must see of an ASGI request and Django leaves out.

    The raw path, where WSGI servers put it, and texts of the scope that a copy of the query may be in.
    :func:`hide_target` takes them away again. Several ``Cookie`` headers, as HTTP/2 has them, are
    one from here on (RFC 9113, section 8.2.3): Django joins them with a comma before 6.0, and finds
    the first one only.
    """
    meta, scope = request.META, _scope(request)
    raw = scope.get("raw_path")
    if isinstance(raw, bytes) and (b"%" in raw or b"?" in raw):
        meta["RAW_URI"] = raw.decode("latin-1")
    headers = _headers_of(scope)
    if "," in meta.get("HTTP_COOKIE", ""):
        meta["HTTP_COOKIE"] = "; ".join(
            value.decode("latin-1") for name, value in headers if name.lower() == b"cookie"
        )
    for index, (name, value) in enumerate(headers):
        # Django drops names with an underscore; whatever stands beside Django does not.
        if b"_" in name:
            meta[f"{_LEFT_OUT}{index}"] = value.decode("latin-1")
    if scope.get("query_string"):
        # By their types: whether a lazy object is one of these cannot be asked without making it.
        beside = [key for key in scope.keys() - _KNOWN if type(scope[key]) in _BUILT]
        request.__dict__["_apikey_guard_beside"] = beside
        for key in beside:
            meta[_BESIDE + key] = scope[key]


def hide_target(request: HttpRequest) -> None:
    """Undo :func:`show_target`."""
    meta, scope = request.META, _scope(request)
    raw = meta.pop("RAW_URI", None)
    if raw is not None:
        scope["raw_path"] = str(raw).encode("latin-1")
    headers = _headers_of(scope)
    for index, (name, value) in enumerate(headers):
        if b"_" in name:
            text = str(meta.pop(f"{_LEFT_OUT}{index}", value.decode("latin-1")))
            headers[index] = name, text.encode("latin-1")
    scope["headers"] = headers
    for key in request.__dict__.pop("_apikey_guard_beside", ()):
        kept = meta.pop(_BESIDE + key, None)
        if kept is None:
            del scope[key]
        else:
            scope[key] = kept


def forget_copies(request: HttpRequest) -> None:
    """Drop what a middleware before the guard has made Django build of headers, query and cookies."""
    inside = request.__dict__
    for name in ("headers", "GET", "COOKIES"):
        if name in inside:
            del inside[name]


def clean_scope(request: HttpRequest, names: Mapping[bytes, str]) -> None:
    """Bring the query and the headers of an ASGI scope into line with ``request.META``.

    In place, as under WSGI: the server's access log, too, then shows no credential.

    :param names: the headers that the guard may have changed, with their names in ``META``.
    """
    meta, scope = request.META, _scope(request)
    query = str(meta.get("QUERY_STRING", ""))
    sent = _headers_of(scope)
    before = scope.get("query_string", "")
    if query != (before.decode("latin-1") if isinstance(before, bytes) else before):
        scope["query_string"] = query if isinstance(before, str) else query.encode()
        # What was in the query may have been in any header.
        sent = [*_as_in_meta(sent, meta)]
    # Django leaves out names with an underscore; here they stand for the header they imitate.
    kept = [(name, value) for name, value in sent if name.lower().replace(b"_", b"-") not in names]
    ours = [(name, str(meta[key]).encode("latin-1")) for name, key in names.items() if key in meta]
    scope["headers"] = kept + ours


def _as_in_meta(sent: list[tuple[bytes, bytes]], meta: Mapping[str, object]) -> Iterator[tuple[bytes, bytes]]:
    """The headers that were sent, with the values that ``META`` has by now."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in sent:
        values.setdefault(name.lower(), []).append(value)
    for name, value in sent:
        lower = name.lower()
        found = meta.get(environ_key(lower.decode("latin-1")))
        there = values.get(lower)
        if b"_" in lower or lower in {b"content-type", b"content-length"}:
            yield name, value
        elif isinstance(found, str) and there is not None:
            now = found.encode("latin-1")
            if now in (b",".join(there), b"; ".join(there)):
                yield name, value
            else:
                del values[lower]
                yield name, now


def _headers_of(scope: dict[str, object]) -> list[tuple[bytes, bytes]]:
    return [*cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ()))]


def _scope(request: HttpRequest) -> dict[str, object]:
    scope: dict[str, object] = request.scope  # type: ignore[attr-defined]  # of ASGIRequest only
    return scope
