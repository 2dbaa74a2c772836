"""What every adapter must do alike: requests, what is to come of them, and how they are judged.

An adapter takes part by a small object (see :class:`Adapter`) in a module of its own and one line
in :data:`ADAPTERS`. Its app answers every method on every path with ``200`` and the body
``reached``, and tells what it saw; everything else is up to the guard before it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol
from wsgiref.types import WSGIEnvironment

from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.model import Consumer
from tests.harness import build_environ, find_canary

REACHED = b"reached"


@dataclass(frozen=True)
class Request:
    """A request before any server or framework has read it.

    :param path: after decoding, as far as a server decodes: text is sent as UTF-8, bytes as they
        are. What the framework routes on: without the mount.
    :param query: exactly as in the request target.
    :param headers: pairs, in order; repeated names are joined as servers do.
    :param mount: the prefix under which the app is mounted (``SCRIPT_NAME``).
    :param target: the raw request target, for servers that hand it over (``RAW_URI``); adapters of
        frameworks that never see one ignore it.
    """

    path: str | bytes = "/things"
    method: str = "GET"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    mount: str = ""
    target: str | None = None

    def environ(self) -> WSGIEnvironment:
        """The request as a WSGI server hands it over, with nothing normalised."""
        extra: dict[str, object] = {"SCRIPT_NAME": self.mount}
        if self.target is not None:
            extra["RAW_URI"] = self.target
        return build_environ(
            self.path, self.method, query=self.query, headers=self.headers, body=self.body, extra=extra
        )


@dataclass(frozen=True)
class Seen:
    """One request as the app behind the guard saw it.

    :param path: as the framework shows it to a view, as Unicode, without the mount.
    :param query: the query string that is left.
    :param identity: every identity header that is there, by its name in
        :data:`~apikey_guard.core.headers.IDENTITY_HEADERS`; values as the framework shows them,
        decoded as UTF-8 where it shows latin-1.
    :param consumer: who calls, from where the adapter's documentation says to read it.
    :param texts: every text in which a view could find the credential: headers, URL, query
        parameters, cookies.
    """

    method: str
    path: str
    query: str
    identity: Mapping[str, str]
    consumer: Consumer | None
    body: bytes
    texts: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What came back, and what the app saw: None where it was not reached."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seen: Seen | None

    def comparable(self) -> tuple[object, ...]:
        """The answer without what frameworks may do in their own way: order and case of names."""
        return self.status, sorted((name.lower(), value) for name, value in self.headers), self.body

    def all_headers(self, name: str) -> list[str]:
        """Every value of that header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Adapter(Protocol):
    """An app with the guard before it, under one set of settings."""

    def call(self, request: Request) -> Answer:
        """Send one request through everything, as a server would."""
        ...

    def close(self) -> None:
        """Undo what making it has done; close the guard."""
        ...


# Settings as a user would write them, names in lower case, ``key_service`` among them.
MakeAdapter = Callable[[Mapping[str, object]], Adapter]

#: Each adapter's name, the module that must be installed, and where its ``MakeAdapter`` is.
ADAPTERS: Mapping[str, tuple[str | None, str]] = {
    "wsgi": (None, "tests.adapters.wsgi_adapter:make"),
    "flask": ("flask", "tests.adapters.flask_adapter:make"),
    "django": ("django", "tests.adapters.django_adapter:make"),
    "django-async": ("django", "tests.adapters.django_adapter:make_async"),
    "drf": ("rest_framework", "tests.adapters.django_adapter:make_drf"),
}

#: Adapters whose framework never sees a raw request target, as it is with ASGI.
WITHOUT_TARGET: frozenset[str] = frozenset()


def missing(adapter: str) -> str | None:
    """Why an adapter cannot take part here, or None where it can."""
    package, _ = ADAPTERS[adapter]
    if package is not None and find_spec(package) is None:
        return f"{package} is not installed"
    return None


def make_adapter(name: str, settings: Mapping[str, object]) -> Adapter:
    """An adapter of that name. Its module is imported now, not before."""
    module, _, attribute = ADAPTERS[name][1].partition(":")
    make: MakeAdapter = getattr(importlib.import_module(module), attribute)
    return make(settings)


def identity_of(environ: Mapping[str, object]) -> dict[str, str]:
    """The identity headers in a CGI-style mapping, decoded as UTF-8."""
    found = {}
    for header in IDENTITY_HEADERS.values():
        value = environ.get("HTTP_" + header.upper().replace("-", "_"))
        if value is not None:
            found[header] = str(value).encode("latin-1").decode()
    return found


def texts_of(environ: Mapping[str, object]) -> tuple[str, ...]:
    """Every text of a CGI-style mapping, with its name."""
    return tuple(f"{key}={value}" for key, value in environ.items() if isinstance(value, str))


def breaches(answer: Answer, *, hidden: bool = True) -> list[str]:
    """What must never be true of an answer, whatever was sent."""
    found = []
    leaked = find_canary(repr(answer.headers)) or find_canary(answer.body)
    if leaked:
        found.append(f"a canary is in the answer: ...{leaked}...")
    if answer.seen is None:
        if answer.status < 400:
            found.append(f"the app was not reached, but the answer is {answer.status}")
        return found
    if answer.status != 200 or answer.body not in {REACHED, b""}:
        found.append(f"the app was reached, but its answer came as {answer.status} {answer.body[:60]!r}")
    if hidden:
        places = (*answer.seen.texts, answer.seen.body.decode("latin-1"))
        found += [f"the app was shown a key: ...{leak}..." for leak in map(find_canary, places) if leak]
    return found
