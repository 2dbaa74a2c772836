"""``Recorder``: the app behind the guard, which remembers every request that reaches it.

It also keeps the invariants: reached without an Allow, reached with an identity header that is
not ours, or reached with a canary in the request although keys are hidden, it notes a breach
(which fails the running test) and raises.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.model import Consumer
from tests.harness.watch import BREACHES, KEY_CANARY, SECRET_CANARY

# What stands before the app: a guard in that mode, or "nothing" (to see what a server alone does).
Behind = Literal["enforce", "monitor", "off", "nothing"]

# Set for the apps of live servers: the file that every worker process appends to.
RECORDER_FILE = "APIKEY_GUARD_TESTS_RECORDER_FILE"

_IDENTITY_KEYS = {
    "HTTP_" + header.upper().replace("-", "_"): field for field, header in IDENTITY_HEADERS.items()
}


@dataclass(frozen=True)
class Seen:
    """One request as the app saw it.

    :ivar environ: a copy; from a live server only its texts, numbers and booleans.
    :ivar body: what could be read of ``wsgi.input``.
    """

    environ: dict[str, object]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a request header, or None."""
        value = self.environ.get("HTTP_" + name.upper().replace("-", "_"))
        return None if value is None else str(value)


class Recorder:
    """A WSGI app that counts its calls and keeps what it saw.

    :param behind: the mode of the guard before it; ``"enforce"`` checks the invariants.
    :param hidden: whether keys must be gone from what it sees (``hide_credentials``).
    :param own_identity: whether the identity headers must carry the decision's consumer; False
        for a guard with other names or none.
    :param status: and ``headers``: the answer.
    :param chunks: the body of the answer, piece by piece.
    :param raises: raised after ``raise_after`` pieces; 0 raises before ``start_response``.
    :param reads_body: read ``wsgi.input`` to its end before answering.
    """

    def __init__(
        self,
        *,
        behind: Behind = "enforce",
        hidden: bool = True,
        own_identity: bool = True,
        status: str = "200 OK",
        headers: Sequence[tuple[str, str]] = (("Content-Type", "text/plain"),),
        chunks: Sequence[bytes] = (b"reached",),
        raises: BaseException | None = None,
        raise_after: int = 0,
        reads_body: bool = True,
    ) -> None:
        self.behind = behind
        self.hidden = hidden
        self.own_identity = own_identity
        self.status = status
        self.headers = list(headers)
        self.chunks = list(chunks)
        self.raises = raises
        self.raise_after = raise_after
        self.reads_body = reads_body
        self.seen: list[Seen] = []
        self.closed = 0
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How often it was reached."""
        return len(self.seen)

    @property
    def last(self) -> Seen:
        """The newest request."""
        return self.seen[-1]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> _Body:
        body = read_body(environ) if self.reads_body else b""
        seen = Seen(dict(environ), body)
        with self._lock:
            self.seen.append(seen)
        breaches = self.breaches(seen)
        self.note(seen, breaches)
        if breaches:
            raise AssertionError("; ".join(breaches))
        if self.raises is not None and self.raise_after == 0:
            raise self.raises
        start_response(self.status, list(self.headers))
        return _Body(self, self.body(seen))

    def breaches(self, seen: Seen) -> list[str]:
        """What must never be true of a request that reached the app."""
        if self.behind == "nothing":
            return []
        found = []
        everything = [f"{key}={value}" for key, value in seen.environ.items() if isinstance(value, str)]
        everything.append(seen.body.decode("latin-1"))
        if any(SECRET_CANARY in text for text in everything):
            found.append("the app was shown a secret of the key service's")
        if self.behind != "enforce":
            return found
        decision = seen.environ.get("apikey_guard.decision")
        if not getattr(decision, "allowed", False):
            return [*found, f"the app was reached without an Allow: {decision!r}"]
        if self.hidden:
            names = [text.partition("=")[0] for text in everything if KEY_CANARY in text]
            if names:
                found.append(f"the app was shown a key in {names}")
        if self.own_identity:
            found += _foreign_identity(seen, cast("Consumer | None", getattr(decision, "consumer", None)))
        return found

    def note(self, seen: Seen, breaches: list[str]) -> None:
        """Hand breaches to the watch over the running test."""
        for breach in breaches:
            BREACHES.add(breach)

    def body(self, seen: Seen) -> Sequence[bytes]:
        """The pieces of the answer to this request."""
        return self.chunks


class LiveRecorder(Recorder):
    """A recorder for the app module of a live server; ``behind`` and ``hidden`` as above.

    Every worker process appends what it saw to one file, which ``LiveServer.seen()`` reads. The
    answer is a JSON object with the texts of the environ and, as ``body``, the body as latin-1.
    All loggers write to stderr at DEBUG, so that the server's log can be searched.
    """

    def __init__(self, *, behind: Behind = "enforce", hidden: bool = True, own_identity: bool = True) -> None:
        super().__init__(
            behind=behind,
            hidden=hidden,
            own_identity=own_identity,
            headers=(("Content-Type", "application/json"),),
        )
        logging.basicConfig(level=logging.DEBUG)
        self._file = Path(os.environ[RECORDER_FILE])

    def note(self, seen: Seen, breaches: list[str]) -> None:
        line = json.dumps(
            {"environ": _plain(seen), "body": seen.body.decode("latin-1"), "breaches": breaches}
        )
        # One write in append mode, so that the lines of several processes do not mix.
        with self._file.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")

    def body(self, seen: Seen) -> Sequence[bytes]:
        return [json.dumps({**_plain(seen), "body": seen.body.decode("latin-1")}).encode()]


class _Body:
    """The answer of a recorder: an iterable that counts its ``close()``."""

    def __init__(self, recorder: Recorder, pieces: Sequence[bytes]) -> None:
        self._recorder = recorder
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for position, piece in enumerate(self._pieces, start=1):
            yield piece
            if self._recorder.raises is not None and position == self._recorder.raise_after:
                raise self._recorder.raises

    def close(self) -> None:
        self._recorder.closed += 1


def read_body(environ: WSGIEnvironment) -> bytes:
    """The request's body, as far as a WSGI app can know where it ends."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        length = 1 << 30
    else:
        announced = str(environ.get("CONTENT_LENGTH", ""))
        # What int() takes, not only what is right: that is what an unprepared app does.
        try:
            length = int(announced or 0)
        except ValueError:
            return b""
    pieces = []
    while length > 0:
        piece = stream.read(min(length, 65536))
        if not piece:
            break
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _plain(seen: Seen) -> dict[str, object]:
    plain: dict[str, object] = {
        key: value for key, value in seen.environ.items() if isinstance(value, str | int | bool)
    }
    plain.update(
        (key, repr(value))
        for key, value in seen.environ.items()
        if key.startswith("apikey_guard.") and key not in plain
    )
    return plain


def _foreign_identity(seen: Seen, consumer: Consumer | None) -> list[str]:
    found = []
    for key, value in seen.environ.items():
        canonical = key.upper().replace("-", "_")
        field = _IDENTITY_KEYS.get(canonical)
        if field is None:
            continue
        if key != canonical:
            found.append(f"the app was shown {key}, an identity header in another spelling")
        elif field == "anonymous":
            if consumer is not None or value != "true":
                found.append(f"the app was shown {key}={value!r} for {consumer!r}")
        elif field == "credential_id":
            if consumer is None:
                found.append(f"the app was shown {key}={value!r} without a consumer")
        elif consumer is not None:
            expected = getattr(consumer, field)
            if expected is None or value != expected.encode().decode("latin-1"):
                found.append(f"the app was shown {key}={value!r}, but the consumer is {consumer!r}")
        elif "HTTP_X_ANONYMOUS_CONSUMER" not in seen.environ or field != "username":
            found.append(f"the app was shown {key}={value!r} without a consumer")
    return found
