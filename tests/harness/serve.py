"""``python -m tests.harness.serve SERVER FD MODULE:NAME``: the servers that have no command for a socket.

Access logs are off: they would write down the request's target, key included, before any guard
has seen it.
"""

from __future__ import annotations

import importlib
import logging
import socket
import sys
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication


def _load(name: str) -> WSGIApplication:
    module, _, attribute = name.partition(":")
    return cast(WSGIApplication, getattr(importlib.import_module(module), attribute))


def _listener(fd: int) -> socket.socket:
    return socket.socket(fileno=fd)


def waitress(fd: int, app: str) -> None:
    from waitress import serve  # type: ignore[import-untyped]  # has no stubs

    serve(_load(app), sockets=[_listener(fd)], threads=8)


def gevent(fd: int, app: str) -> None:
    from gevent import monkey  # type: ignore[import-untyped]  # has no stubs

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer as GeventServer  # type: ignore[import-untyped]  # has no stubs

    GeventServer(_listener(fd), _load(app), log=None).serve_forever()


def werkzeug(fd: int, app: str) -> None:
    from werkzeug.serving import WSGIRequestHandler as Handler
    from werkzeug.serving import make_server

    class QuietHandler(Handler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    make_server(
        "127.0.0.1", 0, _load(app), threaded=True, request_handler=QuietHandler, fd=fd
    ).serve_forever()


def wsgiref(fd: int, app: str) -> None:
    class QuietHandler(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    class ThreadingServer(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    server = ThreadingServer(("127.0.0.1", 0), QuietHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = _listener(fd)
    server.server_address = server.socket.getsockname()
    server.server_name, server.server_port = "127.0.0.1", server.server_address[1]
    server.setup_environ()
    server.set_app(_load(app))
    server.serve_forever()


def cheroot(fd: int, app: str) -> None:
    from cheroot.wsgi import Server

    listener = _listener(fd)

    class InheritingServer(Server):
        def bind(self, *where: object) -> socket.socket:
            self.socket = listener
            return listener

    InheritingServer(listener.getsockname(), _load(app)).safe_start()


SERVERS: dict[str, Callable[[int, str], None]] = {
    "waitress": waitress,
    "gevent": gevent,
    "werkzeug": werkzeug,
    "wsgiref": wsgiref,
    "cheroot": cheroot,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
