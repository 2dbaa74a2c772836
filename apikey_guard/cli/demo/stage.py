"""Where the demo plays: a key service with a temporary key file, a guarded app, a gateway and its origins."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

from apikey_guard.cli.serving import Server, watched
from apikey_guard.core.model import Consumer, Decision, Reason
from apikey_guard.core.routing import Route
from apikey_guard.environ import CONSUMER, UNANSWERED, Environ
from apikey_guard.gateway import create_app as create_gateway
from apikey_guard.guard import Guard
from apikey_guard.keyservice.keyfile.edit import create_key, revoke_key
from apikey_guard.keyservice.keyfile.serve import create_app
from apikey_guard.settings import Settings, load_settings
from apikey_guard.wsgi import GuardMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Who has a key in the demo, and what for.
CONSUMERS: Final[Mapping[str, tuple[str, ...]]] = {
    "acme": ("read",),
    "globex": ("admin", "read"),
    "initech": ("read",),
    "hooli": ("read",),
}
#: The origins of the gateway; the second has a route, the first gets everything else.
ORIGINS: Final = ("api", "reports")
_DECISION: Final = "apikey_guard.demo.decision"
_GATEWAY_TTL: Final = 10.0
_MOST_BODY_BYTES: Final = 65_536


class Seen(NamedTuple):
    """One request to the guarded app or to the gateway, as it is answered.

    :param reason: why the guard, or the gateway, answered by itself.
    :param seconds: from the request to the first line of its answer.
    :param calls: how many calls the key service has had by then.
    """

    method: str
    path: str
    status: int
    decision: Decision | None
    reason: Reason | None
    seconds: float
    calls: int


class Arrived(NamedTuple):
    """One request as it arrived at an origin.

    :param target: path and query, as they were sent.
    :param username: what ``X-Consumer-Username`` says.
    """

    origin: str
    method: str
    target: str
    username: str | None
    body: str


class Stage:
    """All servers, from ``with`` to its end.

    :param watch: told of every request to the guarded app and the gateway, just before it is answered.
    :param port: of the guarded app; 0 takes a free one.
    :param cache_ttl: the setting of that name, in seconds.
    """

    def __init__(self, watch: Callable[[Seen], None], *, port: int, cache_ttl: float) -> None:
        self._watch = watch
        self._port = port
        self._cache_ttl = cache_ttl
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self.keys: dict[str, str] = {}
        self.calls = 0
        self.reached = 0
        self.leaked = 0
        self.arrived: list[Arrived] = []
        self._origins: dict[str, Server] = {}

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="apikey-guard-demo-"))
            self.keys_file = str(Path(directory, "keys.toml"))
            for username, scopes in CONSUMERS.items():
                self.keys[username] = create_key(self.keys_file, username=username, scopes=scopes).key
            self._key_service_app = create_app(self.keys_file)
            self.key_service = Server(self._counted(self._key_service_app))
            stack.callback(lambda: self.key_service.stop())
            self.guard = stack.enter_context(Guard(self._settings()))
            app = watched(GuardMiddleware(self._app, guard=self.guard), self._tell)
            self.server = stack.enter_context(Server(app, port=self._port))
            for name in ORIGINS:
                self._origins[name] = Server(self._origin_app(name))
                stack.callback(self.stop_origin, name)
            gateway = create_gateway(self._gateway_settings())
            stack.callback(gateway.close)
            self.gateway = stack.enter_context(Server(watched(gateway, self._tell)))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def validator_url(self) -> str:
        """Where the key service answers, or did."""
        return f"{self.key_service.url}/verify"

    def revoke(self, username: str) -> None:
        """Revoke a consumer's keys in the key file, as ``apikey-guard keys revoke`` does."""
        revoke_key(self.keys_file, username)

    def stop_key_service(self) -> None:
        """From now on nobody listens there."""
        self.key_service.stop()

    def start_key_service(self) -> None:
        """Listen again, at the same address."""
        self.key_service = Server(self._counted(self._key_service_app), port=self.key_service.port)

    def stop_origin(self, name: str) -> None:
        """From now on nobody listens there."""
        self._origins[name].stop()

    def start_origin(self, name: str) -> None:
        """Listen again, at the same address."""
        self._origins[name] = Server(self._origin_app(name), port=self._origins[name].port)

    def _settings(self) -> Settings:
        # Made by hand, not loaded: what the environment sets is meant for the reader's own app.
        return Settings(
            validator_url=self.validator_url,
            key_locations=("header:apikey", "query:apikey", "body:apikey"),
            routes=(
                Route("/health", access="public"),
                Route("/admin/*", scopes=("admin",)),
            ),
            on_decision=_keep,
            cache_ttl=self._cache_ttl,
        )

    def _gateway_settings(self) -> Settings:
        first, second = ORIGINS
        return load_settings(
            environ={},
            validator_url=self.validator_url,
            # Nothing has to grow old there while one watches.
            cache_ttl=max(self._cache_ttl, _GATEWAY_TTL),
            on_decision=_keep,
            origins={name: server.url for name, server in self._origins.items()},
            origin=first,
            routes=[Route(f"/v2/{second}/*", origin=second, strip_prefix=True)],
        )

    def _counted(self, app: WSGIApplication) -> WSGIApplication:
        def counting(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            with self._lock:
                self.calls += 1
            return app(environ, start_response)

        return counting

    def _tell(self, environ: WSGIEnvironment, status: int, seconds: float) -> None:
        decision = environ.get(_DECISION)
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        reason = environ.get(UNANSWERED) or (None if decision is None else decision.reason)
        self._watch(Seen(method, path, status, decision, reason, seconds, self.calls))

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The app behind the guard: greets the consumer and shows what it was given."""
        consumer = environ.get(CONSUMER)
        body = self._body_of(environ)
        with self._lock:
            self.reached += 1
        answer = {
            "hello": consumer.username if isinstance(consumer, Consumer) else "whoever you are",
            "scopes": sorted(consumer.scopes) if isinstance(consumer, Consumer) else [],
            "query_seen": environ.get("QUERY_STRING", ""),
            "body_seen": body,
        }
        return _json(answer, start_response)

    def _origin_app(self, name: str) -> WSGIApplication:
        """A server behind the gateway: shows what came to it."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            arrived = Arrived(
                name,
                environ["REQUEST_METHOD"],
                environ["REQUEST_URI"],
                environ.get("HTTP_X_CONSUMER_USERNAME"),
                self._body_of(environ),
            )
            with self._lock:
                self.arrived.append(arrived)
            return _json(arrived._asdict(), start_response)

        return app

    def _body_of(self, environ: WSGIEnvironment) -> str:
        """The body of a request, which is searched for keys as a whole on the way."""
        length = min(int(environ.get("CONTENT_LENGTH") or 0), _MOST_BODY_BYTES)
        body = (environ["wsgi.input"].read(length) if length else b"").decode("utf-8", "replace")
        given = [body, *(value for value in environ.values() if isinstance(value, str))]
        with self._lock:
            self.leaked += any(key in text for text in given for key in self.keys.values())
        return body


def _json(document: Mapping[str, object], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(document).encode() + b"\n"]


def _keep(decision: Decision, environ: Environ) -> None:
    environ[_DECISION] = decision
