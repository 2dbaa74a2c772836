"""A key file as a real key service over HTTP, speaking protocol ``json``.

``POST /verify`` with ``{"key": "..."}`` is answered with the verdict, ``GET /health`` with 200.
Whoever can reach it may ask about keys, so it belongs on loopback or a private network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from apikey_guard.clock import SYSTEM_CLOCK, Clock
from apikey_guard.core.body import JSON, find
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import BodyTooLarge
from apikey_guard.keyservice.keyfile.records import digest_of
from apikey_guard.keyservice.keyfile.service import FileKeyService

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A key of 512 characters, each written as a JSON escape, and ample room for members we ignore.
MAX_BODY_BYTES: Final = 16 * 1024

_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"/verify": ("POST",), "/health": ("GET", "HEAD")}


def create_app(path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK) -> WSGIApplication:
    """A WSGI app that answers for the keys of a key file, which is read again when it changes.

    :param path: the key file.
    :param clock: decides when to look at the file again, and which keys have expired.
    :raises KeyFileError: where the file is missing or cannot be used at the start.
    """
    service = FileKeyService(path, clock=clock)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return _answer(service, Request(environ))(environ, start_response)

    return app


def _answer(service: FileKeyService, request: Request) -> Response:
    methods = _METHODS.get(request.path)
    if methods is None:
        return _json(404, {"error": "there are only POST /verify and GET /health"})
    if request.method not in methods:
        response = _json(405, {"error": f"only {methods[0]} is allowed here"})
        response.headers["Allow"] = ", ".join(methods)
        return response
    if request.path == "/health":
        return _json(200, {"status": "ok"})
    # One byte more, as a chunked body is cut off at the limit without a word.
    request.max_content_length = MAX_BODY_BYTES + 1
    try:
        body = request.get_data(cache=False)
        if len(body) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        return _json(413, {"error": f"the body is larger than {MAX_BODY_BYTES} bytes"})
    except ClientDisconnected:
        return _json(400, {"error": "the body is shorter than it was said to be"})
    return _verify(service, body)


def _verify(service: FileKeyService, body: bytes) -> Response:
    try:
        found = find(JSON, body, "key")
    except BodyTooLarge:
        found = None
    if found is None or found.ambiguous or not found.values:
        return _json(400, {"error": 'the body must be a JSON object: {"key": "..."}, with one text as key'})
    key = found.values[0]
    # Says which key is meant: whatever mixes up answers on the way is then noticed.
    return _json(200, {**_written(service.verify(Credential(key))), "key_sha256": digest_of(key).hex()})


def _written(verdict: Verdict) -> dict[str, object]:
    """A verdict in protocol ``json``."""
    if not verdict.valid:
        return {"valid": False}
    answer: dict[str, object] = {"valid": True, "credential_id": verdict.credential_id}
    consumer = verdict.consumer
    if consumer is not None:
        answer["consumer"] = {
            "id": consumer.id,
            "username": consumer.username,
            "custom_id": consumer.custom_id,
        }
        answer["scopes"] = sorted(consumer.scopes)
        answer["metadata"] = dict(consumer.metadata)
    if verdict.expires_at is not None:
        moment = datetime.fromtimestamp(verdict.expires_at, UTC)
        answer["expires_at"] = moment.isoformat().replace("+00:00", "Z")
    return answer


def _json(status: int, answer: Mapping[str, object]) -> Response:
    response = Response(json.dumps(answer) + "\n", status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
