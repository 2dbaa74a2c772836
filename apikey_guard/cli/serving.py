"""A WSGI app on a real socket, served by threads of this process."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from werkzeug.serving import WSGIRequestHandler, make_server

from apikey_guard.errors import ApiKeyGuardError

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    Watch = Callable[[WSGIEnvironment, int, float], None]

# How soon a server notices that it is to stop.
_POLL_SECONDS: Final = 0.05


class PortError(ApiKeyGuardError):
    """The address cannot be listened on."""


class QuietHandler(WSGIRequestHandler):
    """Logs nothing: whoever runs the server says what there is to say.

    HTTP/1.0 on purpose: a connection that is kept open would go on being served by its thread
    after the server has stopped.
    """

    protocol_version = "HTTP/1.0"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        """Nothing."""


class Server:
    """Serves an app from construction to :meth:`stop`; a context manager.

    :param app: what is served.
    :param host: the address to listen on.
    :param port: 0 takes a free one.
    :raises PortError: where that address is taken or not ours.
    """

    def __init__(self, app: WSGIApplication, *, host: str = "127.0.0.1", port: int = 0) -> None:
        with listen(host, port) as listening:
            self._server = make_server(
                host, port, app, threaded=True, request_handler=QuietHandler, fd=listening.fileno()
            )
        self.host, self.port = host, self._server.port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """``http://HOST:PORT``, as it can be reached from this machine."""
        return url_of(self.host, self.port)

    def wait(self) -> None:
        """Return when the server has stopped."""
        self._thread.join()

    def stop(self) -> None:
        """Answer nobody any more. May be called twice."""
        self._server.shutdown()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def listen(host: str, port: int, *, backlog: int = 128, option: str = "--port") -> socket.socket:
    """A socket that listens.

    :param host: name or address; ``::`` is every address, of IPv4 too.
    :param port: 0 takes a free one.
    :param backlog: connections that wait to be accepted.
    :param option: of the command line, where another address could be given.
    :raises PortError: where that address is taken or not ours.
    """
    # Made here, because werkzeug ends the whole process where a port is taken, and gunicorn tries on.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
    except OSError as error:
        what = {
            errno.EADDRINUSE: f"is in use by another program; choose another {option}",
            errno.EACCES: f"is reserved for the administrator; choose a port above 1023 with {option}",
            errno.EADDRNOTAVAIL: "is no address of this machine",
        }.get(error.errno or 0, f"cannot be listened on ({error.strerror})")
        raise PortError(f"{host}:{port} {what}") from None


def url_of(host: str, port: int) -> str:
    """``http://HOST:PORT``, as it can be reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def watched(app: WSGIApplication, watch: Watch) -> WSGIApplication:
    """The app, with ``watch(environ, status, seconds)`` called before each answer is sent.

    :param watch: gets the seconds from the request to its answer's first line.
    """

    def watching(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            watch(environ, int(status[:3]), time.perf_counter() - started)
            return start_response(status, headers, exc_info)

        return app(environ, start)

    return watching
