"""One line for each request, in words that any tool takes apart; no key is in it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from apikey_guard.core.model import Allow, Consumer, Deny, Freshness
from apikey_guard.environ import DECISION, ORIGIN, UNANSWERED

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo

    Headers = list[tuple[str, str]]
    Write = Callable[[bytes], object]

#: One line for each request, at INFO. Where that is off, nothing is made for it.
access_logger = logging.getLogger("apikey_guard.access")

_NOTHING: Final = "-"
_LONGEST_WORD: Final = 256
_plain_word = re.compile(r"[A-Za-z0-9_/.:~*@+-]{1,256}").fullmatch
# Percent-encoded otherwise: a word has no space, no quote, no equals sign and no control character.
_SAFE_IN_WORDS: Final = "/.:~*@+-_,;!()"
_LINE: Final = (
    "peer=%s method=%s path=%s status=%s ms=%.1f bytes=%d route=%s origin=%s consumer=%s fingerprint=%s "
    "cache=%s reason=%s end=%s"
)


def logged(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The answer of an app, with a line in the access log when it is over."""
    log = _LoggedAnswer(environ)

    def start(status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
        log.status = status[:3]
        return start_response(status, headers, exc_info)

    try:
        log.pieces = app(environ, start)
    except BaseException:
        log.close()
        raise
    return log


class _LoggedAnswer:
    """The answer as it is, piece by piece; its line is written when it is closed.

    :param environ: of the request.
    """

    __slots__ = ("_environ", "_next", "_sent", "_started", "_whole", "pieces", "status")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._started = time.perf_counter()
        self._environ: WSGIEnvironment | None = environ
        self._next: Callable[[], bytes] | None = None
        self._sent = 0
        self._whole = False
        self.pieces: Iterable[bytes] = ()
        self.status = _NOTHING

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        take = self._next
        if take is None:
            take = self._next = iter(self.pieces).__next__
        try:
            piece = take()
        except StopIteration:
            self._whole = True
            raise
        self._sent += len(piece)
        return piece

    def close(self) -> None:
        """Close the answer and write the line; once, however often it is called."""
        environ, self._environ = self._environ, None
        try:
            close = getattr(self.pieces, "close", None)
            if close is not None:
                close()
        finally:
            if environ is not None:
                self._write(environ)

    def _write(self, environ: WSGIEnvironment) -> None:
        decision: Allow | Deny | None = environ.get(DECISION)
        route = consumer = reason = None
        fingerprint, cache = _NOTHING, Freshness.NONE
        if decision is not None:
            route, cache, reason = decision.route, decision.freshness, decision.reason
            consumer = _name_of(decision.consumer)
            if decision.fingerprint is not None:
                fingerprint = decision.fingerprint.hex()[:12]
        method = environ["REQUEST_METHOD"]
        # Nothing can be cut off an answer without a body, and not every server asks for its pieces.
        whole = self._whole or (method == "HEAD" and self.status != _NOTHING)
        access_logger.info(
            _LINE,
            _word(environ.get("REMOTE_ADDR")),
            _word(method),
            # PEP 3333: latin-1 stands for the bytes.
            _word(environ.get("PATH_INFO"), "latin-1"),
            self.status,
            (time.perf_counter() - self._started) * 1000,
            self._sent,
            _word(route),
            _word(environ.get(ORIGIN)),
            _word(consumer),
            fingerprint,
            _NOTHING if cache is Freshness.NONE else cache.value,
            environ.get(UNANSWERED) or reason or _NOTHING,
            "complete" if whole else "aborted",
        )


def _name_of(consumer: Consumer | None) -> str | None:
    return None if consumer is None else consumer.username or consumer.id or consumer.custom_id


def _word(text: str | None, encoding: str = "utf-8") -> str:
    """A text from elsewhere as one word of a line: percent-encoded, shortened, ``-`` where there is none."""
    if not text:
        return _NOTHING
    if _plain_word(text):
        return text
    escaped = quote(text[:_LONGEST_WORD].encode(encoding, "replace"), safe=_SAFE_IN_WORDS)
    return escaped if len(text) <= _LONGEST_WORD >= len(escaped) else f"{escaped[:_LONGEST_WORD]}..."
