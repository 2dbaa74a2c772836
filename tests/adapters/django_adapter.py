"""Django in the conformance suite: the middleware under WSGI, under ASGI, and before REST framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

import django
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.signals import setting_changed  # noqa: F401 - connects Django's own receivers
from django.test.utils import override_settings
from django.urls import re_path

from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.model import Consumer
from apikey_guard.django.guards import installed_holder
from tests.adapters.conformance import REACHED, Answer, Request, Seen, texts_of
from tests.harness import call

# What tells who called, a view, and what makes one of the other.
Tell = Callable[[HttpRequest, Consumer | None], HttpResponse]
View = Callable[[HttpRequest], HttpResponse]
MakeView = Callable[[Tell], View]

GUARD = "apikey_guard.django.GuardMiddleware"


def configure() -> None:
    """Django's settings for this process; each test overrides what it is about."""
    if not django_settings.configured:
        django_settings.configure(
            SECRET_KEY="tests",
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="tests.adapters.django_project.urls",
            MIDDLEWARE=[GUARD],
            INSTALLED_APPS=["apikey_guard.django"],
            DATABASES={},
            USE_TZ=True,
        )
        django.setup()


configure()


class _Project:
    """A URLconf of one view that tells what it saw.

    :param make_view: makes that view of one that is told the request and who calls.
    """

    def __init__(self, make_view: MakeView) -> None:
        self.seen: Seen | None = None
        self.urlpatterns = [re_path(r"(?s)^.*$", make_view(self.answer))]

    def __hash__(self) -> int:
        return id(self)

    def answer(self, request: HttpRequest, consumer: Consumer | None) -> HttpResponse:
        headers = request.headers
        identity = {name: headers[name] for name in IDENTITY_HEADERS.values() if name in headers}
        pairs = [*request.GET.lists(), *request.COOKIES.items(), *headers.items()]
        scope = getattr(request, "scope", {})
        self.seen = Seen(
            method=str(request.method),
            path=request.path_info,
            query=request.META.get("QUERY_STRING", ""),
            identity={name: value.encode("latin-1").decode() for name, value in identity.items()},
            consumer=consumer,
            body=request.body,
            texts=(
                *texts_of(request.META),
                request.get_full_path(),
                *(f"{name}={value}" for name, value in pairs),
                f"{scope.get('query_string')} {scope.get('headers')}",
            ),
        )
        return HttpResponse(b"" if request.method == "HEAD" else REACHED, content_type="text/plain")


def plain_view(answer: Tell) -> View:
    def view(request: HttpRequest) -> HttpResponse:
        return answer(request, request.consumer)  # type: ignore[attr-defined]  # set by the middleware

    return view


def rest_view(answer: Tell) -> View:
    """A view of REST framework, which reads who calls from ``request.auth``."""
    from rest_framework.permissions import AllowAny  # type: ignore[import-untyped]
    from rest_framework.views import APIView  # type: ignore[import-untyped]

    from apikey_guard.django.drf import ApiKeyAuthentication

    class Everything(APIView):  # type: ignore[misc]  # untyped base
        authentication_classes = (ApiKeyAuthentication,)
        permission_classes = (AllowAny,)

        def handle(self, request: Any) -> HttpResponse:
            return answer(request._request, request.auth)

        # REST framework's own answers to OPTIONS with a description of the view.
        get = head = post = put = patch = delete = trace = options = handle

    view: View = Everything.as_view()
    return view


class DjangoAdapter:
    make_view: ClassVar[MakeView] = staticmethod(plain_view)

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._project = _Project(self.make_view)
        guard = {name.upper(): value for name, value in settings.items()}
        self._override = override_settings(
            APIKEY_GUARD=guard,
            ROOT_URLCONF=self._project,
            DATA_UPLOAD_MAX_MEMORY_SIZE=None,
            REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},  # Django's own would need its tables
        )
        self._override.enable()
        self._app = self.make_app()

    def make_app(self) -> WSGIHandler | ASGIHandler:
        return WSGIHandler()

    def call(self, request: Request) -> Answer:
        self._project.seen = None
        response = call(self._app, request.environ(), lint=False, may_echo=True)  # type: ignore[arg-type]  # WSGI
        return Answer(response.status, response.headers, response.body, self._project.seen)

    def close(self) -> None:
        holder = installed_holder()
        if holder is not None and holder.made is not None:
            holder.made.close()
        self._override.disable()


class DrfAdapter(DjangoAdapter):
    make_view = staticmethod(rest_view)


class DjangoAsyncAdapter(DjangoAdapter):
    def make_app(self) -> ASGIHandler:
        return ASGIHandler()

    def call(self, request: Request) -> Answer:
        self._project.seen = None
        sent: list[dict[str, object]] = []
        environ = request.environ()
        asyncio.run(_ask(self._app, scope_of(environ, request), environ, sent))
        start = sent[0]
        headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in start["headers"])  # type: ignore[attr-defined]  # ASGI
        body = b"".join(message.get("body", b"") for message in sent[1:])  # type: ignore[misc]  # ASGI
        return Answer(int(str(start["status"])), headers, body, self._project.seen)


def scope_of(environ: WSGIEnvironment, request: Request) -> dict[str, object]:
    """The request as an ASGI server hands it over."""
    path = environ["PATH_INFO"].encode("latin-1")
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    headers.append((b"host", b"127.0.0.1"))
    if environ.get("CONTENT_LENGTH") and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", environ["CONTENT_LENGTH"].encode()))
    mount = request.mount
    raw = (request.target or quote(mount.encode() + path)).partition("?")[0].encode("latin-1")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "path": mount + path.decode("utf-8", "replace"),
        "raw_path": raw,
        "root_path": mount,
        "query_string": request.query.encode("latin-1"),
        "headers": headers,
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def _ask(
    app: object, scope: dict[str, object], environ: WSGIEnvironment, sent: list[dict[str, object]]
) -> None:
    body = environ["wsgi.input"]
    data = body.read() if isinstance(body, BytesIO) else b""
    messages = [{"type": "http.request", "body": data, "more_body": False}]
    forever = asyncio.Event()

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await forever.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[operator]  # an ASGI app


def make(settings: Mapping[str, object]) -> DjangoAdapter:
    return DjangoAdapter(settings)


def make_async(settings: Mapping[str, object]) -> DjangoAsyncAdapter:
    return DjangoAsyncAdapter(settings)


def make_drf(settings: Mapping[str, object]) -> DrfAdapter:
    return DrfAdapter(settings)
