"""The gateway under gunicorn: processes of threads.

Only ``apikey-guard serve`` imports this module; it needs the extra ``serve``.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # has no stubs
from gunicorn.glogging import Logger  # type: ignore[import-untyped]  # as above

from apikey_guard.cli.worker import Worker
from apikey_guard.errors import SettingsError
from apikey_guard.gateway import Gateway
from apikey_guard.settings import Settings

if TYPE_CHECKING:
    from typing import Protocol

    class AnyWorker(Protocol):
        """gunicorn's worker, as its hooks get it."""


logger = logging.getLogger("apikey_guard")

# Connections that are kept open and idle, as many with half a header, and as many whose request waits
# for a thread; beyond that each kind makes room for itself. Fewer where the system gives fewer
# descriptors, or nobody could be let in any more.
_MOST_WAITING: Final = 1_000
_FEWEST_WAITING: Final = 16
# Room for those that come, so that they can push out who waits, and for health checks.
_COMING: Final = 128
# Logs, listeners, files, connections to the key service.
_OTHER_DESCRIPTORS: Final = 128
# Longer than load balancers keep theirs (60 s is usual): they must be the ones to close, or they send a
# request into a closed connection.
_KEEPALIVE_SECONDS: Final = 75
# Within the 30 s that Kubernetes waits before it kills.
_GRACEFUL_SECONDS: Final = 25
# The most that gunicorn takes, and what nginx allows: a URL that came through before still does.
_LONGEST_REQUEST_LINE: Final = 8_190

_OPTIONS: Final[Mapping[str, object]] = {
    "worker_class": Worker,
    "keepalive": _KEEPALIVE_SECONDS,
    "graceful_timeout": _GRACEFUL_SECONDS,
    "limit_request_line": _LONGEST_REQUEST_LINE,
    # Whose headers are believed is for trusted_proxies alone to say, and nobody sets the path by a header.
    "forwarded_allow_ips": "",
    "secure_scheme_headers": {},
    "forwarder_headers": "",
    # A name with an underscore would pass for the one with a dash: not sent on, as nginx does it.
    "header_map": "drop",
    # Its access log would show the query; ours does not.
    "accesslog": None,
    "errorlog": "-",
    "loglevel": "warning",
    # A socket in the home directory through which workers could be told what to do.
    "control_socket_disable": True,
    "proc_name": "apikey-guard",
}


class Workers(BaseApplication):  # type: ignore[misc]  # untyped base
    """Serves a gateway from :meth:`run` to a signal.

    SIGTERM lets requests end, SIGINT does not wait, SIGHUP reads the settings again.

    :param settings: of the gateway.
    :param read: reads them again.
    :param descriptor: of the socket to accept on; it is closed at the end.
    :param workers: processes.
    :param threads: in each of them; each serves one request at a time.
    :ivar caller_timeout: seconds that a caller may take for a header, and then for each pause.
    :ivar most_waiting: connections of each kind that may wait in each process.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        *,
        descriptor: int,
        workers: int,
        threads: int,
        caller_timeout: float,
    ) -> None:
        self._settings = settings
        self.caller_timeout = caller_timeout
        self.most_waiting = _room(threads)
        self._read = read
        self._options = {
            **_OPTIONS,
            "bind": f"fd://{descriptor}",
            "workers": workers,
            "threads": threads,
            "worker_connections": threads + 3 * self.most_waiting + _COMING,
            "logger_class": QuietLogger,
            "worker_int": _leave_at_once,
        }
        super().__init__()

    @property
    def health_path(self) -> str | None:
        """Of the settings as they are now; requests for it have a thread of their own."""
        return self._settings.health_path

    def load_config(self) -> None:
        """Called by gunicorn: our options, of which older versions lack some."""
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Gateway:
        """Called by gunicorn in each worker: the app."""
        return Gateway(self._settings)

    def reload(self) -> None:
        """Called by gunicorn on SIGHUP: new workers get the settings of now, or the last good ones."""
        super().reload()
        try:
            settings = self._read()
        except SettingsError as error:
            logger.error(
                "the settings are as before, as the new ones cannot be used: %s", "; ".join(error.problems)
            )
        else:
            self._settings = settings


def _room(threads: int) -> int:
    """How many connections of each kind may wait; asks the system for descriptors enough.

    A request has one to its caller and one to its origin; one that is refused lingers with another.
    """
    served = _OTHER_DESCRIPTORS + _COMING + 3 * threads
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = served + 4 * _MOST_WAITING
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # not even that is allowed: what holds is asked for again
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MOST_WAITING
    return max(_FEWEST_WAITING, min(_MOST_WAITING, (soft - served) // 4))


def _leave_at_once(_worker: AnyWorker) -> None:
    # Otherwise Python would wait for the threads, and they for their callers and origins.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


# What gunicorn says about a request, with as much of it as says nothing about who sent it what.
_about_a_request = re.compile(
    r"(Error handling(?: HTTP/2)? request|Invalid request from ip=\S*: [^:'\"]*)"
).match
_query = re.compile(r"\?\S*")


class QuietLogger(Logger):  # type: ignore[misc]  # untyped base
    """gunicorn's error log without what was requested: a key may be in any part of it."""

    def setup(self, cfg: object) -> None:
        """Called by gunicorn at the start, and again on SIGHUP."""
        super().setup(cfg)
        self.error_log.filters[:] = [without_request]


def without_request(record: logging.LogRecord) -> bool:
    """Cut out of a record of gunicorn's what a request may have put in; keep the record.

    An exception's text may hold anything: its type and where it came from are kept.
    """
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        record.exc_text = f"{''.join(traceback.format_tb(trace))}{kind.__name__}"
        record.exc_info = None
    message = record.getMessage()
    request = _about_a_request(message)
    record.msg = request[0].rstrip() if request else _query.sub("?...", message)
    record.args = ()
    return True
