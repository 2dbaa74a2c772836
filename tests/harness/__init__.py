"""What the tests stand on. Everything is real: sockets, processes, WSGI calls under lint.

========================================================  =========================================
``build_environ(path, method, query=, headers=, body=)``  a request as a server hands it over
``call(app, environ)`` -> ``Response``                    one WSGI call, as a strict server makes it
``Recorder(behind=, hidden=, ...)``                       the app: ``calls``, ``seen``, ``last``
``raw_request(address, data)`` -> ``bytes``               exact bytes over a socket
``parse_response(data)`` -> ``Response``                  status, headers, body of an answer
``raw_server(handle)``                                    a server whose answers are written by hand
``live_server(name, app, directory)`` -> ``LiveServer``   an app under a real server, as a process
``LiveRecorder(behind=, hidden=)``                        the recorder for such a process
``SERVERS``, ``missing(name)``                            the servers there are, and why one cannot run
``KEY_CANARY``, ``SECRET_CANARY``, ``find_canary``        what must never show up
========================================================  =========================================

The fixtures ``start_server`` (ends with the test) and ``shared_server`` (one process per app for
the whole run) are in ``tests/conftest.py``, beside the watch over every test.
"""

from __future__ import annotations

from tests.harness.recorder import LiveRecorder, Recorder, Seen, read_body
from tests.harness.servers import SERVERS, LiveServer, live_server, missing
from tests.harness.watch import KEY_CANARY, SECRET_CANARY, find_canary
from tests.harness.wire import RawServer, Response, is_complete, parse_response, raw_request, raw_server
from tests.harness.wsgi import build_environ, call

__all__ = [
    "KEY_CANARY",
    "SECRET_CANARY",
    "SERVERS",
    "LiveRecorder",
    "LiveServer",
    "RawServer",
    "Recorder",
    "Response",
    "Seen",
    "build_environ",
    "call",
    "find_canary",
    "is_complete",
    "live_server",
    "missing",
    "parse_response",
    "raw_request",
    "raw_server",
    "read_body",
]
