"""Around ``wsgi_app``: refusals that other pages may read, and what may answer what a mark has opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from werkzeug.wsgi import ClosingIterator

from apikey_guard.core.model import Deny, Reason, Rejection

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo

    from apikey_guard.core.cors import Cors

    Headers = list[tuple[str, str]]
    Write = Callable[[bytes], object]


class Refused(NamedTuple):
    """A refusal on its way into the request context; the exception itself would keep its frames alive."""

    deny: Deny
    rejection: Rejection


def readable(start_response: StartResponse, environ: WSGIEnvironment, cors: Cors, key: str) -> StartResponse:
    """Lets pages of other origins read a refusal, unless a function after the request has said who may.

    :param start_response: begins the answer.
    :param environ: of the request; has the refusal, if any, under ``key``.
    :param cors: says who may.
    """

    def start(status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
        refused = environ.get(key)
        if isinstance(refused, Refused):
            preflight = refused.deny.reason is Reason.PREFLIGHT
            headers = [*headers, *cors.added(environ, headers, preflight=preflight)]
        return start_response(status, headers, exc_info)

    return start


def only_by(
    app: WSGIApplication,
    arrived: Callable[[], bool],
    instead: Callable[[], WSGIApplication | None],
) -> WSGIApplication:
    """Answers with what Flask says, where only the mark of a view has let a request in.

    A mount or a folder of files between the guard and Flask has no mark. What it gives is thrown away;
    what it answers without giving anything (a redirect, an error) stands.

    :param app: the middleware inside of the guard, and Flask behind it.
    :param arrived: whether the request has come to Flask.
    :param instead: asked where it has not: what answers in place of what did, or None.
    """

    def marked_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun: list[tuple[str, Headers]] = []
        written: list[bytes] = []

        def start(status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
            if arrived():
                return start_response(status, headers, exc_info)
            begun[:] = [(status, headers)]
            return written.append

        before = {**environ}
        body = app(environ, start)
        if not (arrived() or begun):
            # It answers when its first piece is asked for.
            pieces = iter(body)
            first = [*islice(pieces, 1)]
            body = ClosingIterator(chain(first, pieces), getattr(body, "close", None))
        if arrived() or not begun:
            return body
        status, headers = begun[0]
        answering = None
        if status.startswith("2"):
            environ.update(before)
            answering = instead()
        if answering is not None:
            close = getattr(body, "close", None)
            if close is not None:
                close()
            return answering(environ, start_response)
        write = start_response(status, headers)
        for piece in written:
            write(piece)
        return body

    return marked_app
