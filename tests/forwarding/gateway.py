"""A gateway in this process: the guard, the forwarder and a key service in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from apikey_guard import Consumer, GuardMiddleware
from apikey_guard.testing import FakeKeyService, ManualClock
from tests.harness import Response, build_environ, call
from tests.harness.origin import Origin, Received
from tests.harness.watch import find_canary

GOOD = "KCANARY-good"
ALICE = Consumer(id="42", username="alice", custom_id="a-1")
IDENTITY = {"x-consumer-id": "42", "x-consumer-username": "alice", "x-consumer-custom-id": "a-1"}
# Somebody far away; nobody trusts them to say who was there before.
PEER = "192.0.2.7"
# Written by the forwarder itself, into every request.
OURS = frozenset(
    {
        "host",
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        *IDENTITY,
        "x-credential-identifier",
        "x-anonymous-consumer",
    }
)


class Gateway:
    """A guard that forwards, called as a server calls it.

    :param origin: an origin of the test or the setting itself; None gives none.
    :param app: what is wrapped; None is a gateway.
    :param settings: of the guard.
    """

    def __init__(self, origin: object = None, *, app: WSGIApplication | None = None, **settings: Any) -> None:
        self.keys = FakeKeyService({GOOD: ALICE})
        self.clock = ManualClock()
        if origin is not None:
            settings["origin"] = origin.url if isinstance(origin, Origin) else origin
        if "validator_url" not in settings:
            settings.setdefault("key_service", self.keys)
        self.wsgi = GuardMiddleware(app, clock=self.clock, **settings)
        # What is called; a test may put something around it.
        self.app: WSGIApplication = self.wsgi

    def get(self, target: str = "/", method: str = "GET", *, lint: bool = True, **parts: Any) -> Response:
        """The answer to one request; the parts are those of :func:`asking`."""
        return call(self.app, asking(target, method, **parts), lint=lint)

    def outcome(self, target: str = "/", method: str = "GET", **parts: Any) -> tuple[int, str]:
        """Status and ``code`` of the problem; an empty code where the answer is no problem of ours."""
        return outcome(self.get(target, method, **parts))

    def opened(self, target: str = "/", method: str = "GET", **parts: Any) -> Opened:
        """The beginning of an answer; the rest is read by iterating."""
        return Opened(self.app, asking(target, method, **parts))

    def close(self) -> None:
        self.wsgi.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def outcome(response: Response) -> tuple[int, str]:
    if response.header("Content-Type") != "application/problem+json" or not response.body:
        return response.status, ""
    return response.status, str(response.json()["code"])


def asking(
    target: str = "/",
    method: str = "GET",
    *,
    key: str | None = GOOD,
    raw: str | None = "RAW_URI",
    peer: str = PEER,
    headers: Iterable[tuple[str, str | bytes]] = (),
    body: bytes = b"",
    extra: Mapping[str, object] | None = None,
) -> WSGIEnvironment:
    """A request for a target, as a server hands it over.

    :param key: is sent in the header ``apikey``.
    :param raw: where the server leaves the target as it was sent; None where it does not.
    """
    path, _, query = target.partition("?")
    pairs = [*headers, *([] if key is None else [("apikey", key)])]
    more: dict[str, object] = {"REMOTE_ADDR": peer}
    if raw is not None:
        more[raw] = target
    more.update(extra or {})
    return build_environ(unquote_to_bytes(path), method, query=query, headers=pairs, body=body, extra=more)


class Opened:
    """An answer of which no more than its head has been asked for; ``close()`` as servers call it."""

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None, /
        ) -> Callable[[bytes], object]:
            self.status, self.headers = int(status[:3]), headers
            return bytes

        self.iterable = app(environ, start_response)
        self._pieces = iter(self.iterable)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        close = cast("Callable[[], None] | None", getattr(self.iterable, "close", None))
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def carried(request: Received) -> dict[str, str]:
    """The caller's own headers as the origin got them: all but those that the forwarder writes."""
    assert find_canary(request.raw) is None, "the origin was shown a canary"
    names = [name for name, _ in request.headers]
    assert len(set(names)) == len(names), f"a header was sent twice: {names}"
    return {name: value for name, value in request.headers if name not in OURS}


@dataclass
class Site:
    """A gateway and its one origin."""

    gateway: Gateway
    origin: Origin


@contextmanager
def site(**settings: Any) -> Iterator[Site]:
    """A gateway before one origin, for as long as the block lasts."""
    with ExitStack() as stack:
        origin = stack.enter_context(Origin())
        yield Site(stack.enter_context(Gateway(origin, **settings)), origin)
