"""What applications read in a body: Werkzeug and Flask, Django, REST framework, each by its own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any
from wsgiref.types import WSGIEnvironment

from django.core.handlers.wsgi import WSGIRequest
from flask import Flask
from flask.wrappers import Request as FlaskRequest
from rest_framework.parsers import (  # type: ignore[import-untyped]  # it has none
    FormParser,
    JSONParser,
    MultiPartParser,
)
from rest_framework.request import Request as RestRequest  # type: ignore[import-untyped]  # as above

from tests.harness.wsgi import build_environ

Fields = list[tuple[str, object]]
Reader = Callable[[str, bytes], Fields]


class Unread(Exception):
    """A parser makes nothing of a body."""


def _environ(content_type: str, body: bytes) -> WSGIEnvironment:
    return build_environ(method="POST", body=body, extra={"CONTENT_TYPE": content_type})


class _Pairs(list[tuple[str, object]]):
    """An object with its repetitions, distinct from an array."""


def _members(parsed: object) -> Fields:
    return list(parsed) if isinstance(parsed, _Pairs) else []


class _InMemory(FlaskRequest):
    def _get_file_stream(self, *_given: object, **_named: object) -> BytesIO:
        return BytesIO()


_flask = Flask("body_readers")


def flask_form(content_type: str, body: bytes) -> Fields:
    """``request.form``."""
    return list(_InMemory(_environ(content_type, body)).form.items(multi=True))


def flask_json(content_type: str, body: bytes) -> Fields:
    """``request.get_json()``, which leaves other media types alone."""
    request = FlaskRequest(_environ(content_type, body))
    return _members(json.loads(request.get_data(), object_pairs_hook=_Pairs)) if request.is_json else []


def flask_get_json(content_type: str, body: bytes) -> Fields:
    """The same as Flask itself does it, where the last of repeated members counts."""
    environ = _environ(content_type, body)
    with _flask.request_context(environ):
        parsed: Any = FlaskRequest(environ).get_json(silent=True)
    return list(parsed.items()) if isinstance(parsed, dict) else []


def django_post(content_type: str, body: bytes) -> Fields:
    """``request.POST``."""
    post = WSGIRequest(_environ(content_type, body)).POST
    return [(name, value) for name, values in post.lists() for value in values]


def rest_data(content_type: str, body: bytes) -> Fields:
    """``request.data`` of REST framework, with its own parsers in their usual order."""
    parsers = (JSONParser(), FormParser(), MultiPartParser())
    data = RestRequest(WSGIRequest(_environ(content_type, body)), parsers=parsers).data
    if hasattr(data, "lists"):
        return [(name, v) for name, values in data.lists() for v in values if not hasattr(v, "chunks")]
    return list(data.items()) if isinstance(data, dict) else []


READERS: Mapping[str, Reader] = {
    "flask form": flask_form,
    "flask json": flask_json,
    "flask get_json": flask_get_json,
    "django POST": django_post,
    "rest_framework data": rest_data,
}


def read_by_all(content_type: str, body: bytes) -> Iterator[tuple[str, Fields | None]]:
    """What each reader finds; None where it refuses or fails."""
    for name, reader in READERS.items():
        try:
            yield name, reader(content_type, body)
        except Exception:
            yield name, None
