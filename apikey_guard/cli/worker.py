"""gunicorn's worker of threads, with callers that cannot hold it up."""

from __future__ import annotations

import errno
import os
import time
from types import FrameType
from typing import Any, Final

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]  # has no stubs

from apikey_guard.cli.caller import CallerSocket
from apikey_guard.cli.gate import Gate

# Nobody came, or there is no descriptor for whoever did: that one waits, and the others are served.
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
_NOT_NOW: Final = _NO_DESCRIPTOR | {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}
_PAUSE_SECONDS: Final = 0.02
# What is left of a body after its answer is read as far as it has come; more is not worth it.
_MOST_DISCARDED: Final = 65_536


class Worker(ThreadWorker):  # type: ignore[misc]  # untyped base
    """Serves callers by threads, each from the moment on when its request's header is whole."""

    tpool: Gate

    def get_thread_pool(self) -> Gate:
        """Called by gunicorn in the new process."""
        # gunicorn keeps none beyond that, but for those whose answers went out at the same time.
        self.max_keepalived = self.app.most_waiting
        return Gate(
            self.cfg.threads,
            self.app.caller_timeout,
            health=self.app.health_path,
            most_waiting=self.app.most_waiting,
        )

    def accept(self, *where: Any) -> None:
        """Called by gunicorn with the listener last; older versions would await the first byte for ever."""
        listener = where[-1]
        try:
            accepted, peer = listener.accept()
        except OSError as error:
            if error.errno not in _NOT_NOW:
                raise
            if error.errno in _NO_DESCRIPTOR:
                # It still waits, and would be seen again at once, and again.
                time.sleep(_PAUSE_SECONDS)
            return
        sock = CallerSocket.of(accepted, patience=self.app.caller_timeout)
        self.nr_conns += 1
        self.enqueue_req(TConn(self.cfg, sock, peer, listener.getsockname()))

    def murder_keepalived(self, *given: Any, **more: Any) -> None:
        """Called by gunicorn in each round, to close what has lain idle too long."""
        idle = self.keepalived_conns if hasattr(self, "keepalived_conns") else self._keep  # older versions
        for index in range(len(idle) - self.max_keepalived):
            idle[index].timeout = 0.0
        super().murder_keepalived(*given, **more)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Called by gunicorn in a thread: whether the connection may be used again."""
        said = req.should_close

        def should_close() -> bool:
            # Asked when the answer begins: one that says keep-alive and is followed by the end of the
            # connection costs whoever sends the next request there, a proxy's other callers too.
            if not said() and not _is_read(req.body, conn.sock):
                req.force_close()
            return bool(said())

        req.should_close = should_close
        keep = bool(super().handle_request(req, conn))
        if keep and conn.sock.ahead:
            # What was sent behind this request goes where gunicorn looks for it.
            conn.parser.unreader.buf.seek(0, os.SEEK_END)
            conn.parser.unreader.buf.write(conn.sock.ahead)
            conn.sock.ahead = b""
        return keep

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by gunicorn at SIGTERM."""
        super().handle_exit(sig, frame)
        self.tpool.stop_soon()


def _is_read(body: Any, sock: CallerSocket) -> bool:
    """Whether all of a request's body is read, or has come and is read now; nothing is waited for."""
    sock.impatient = True
    left = _MOST_DISCARDED
    try:
        while left > 0:
            piece = body.read(8_192)
            if not piece:
                sock.owed = 0
                return not getattr(body, "failed", False)
            left -= len(piece)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the connection ends
        return False
    finally:
        sock.impatient = False
    return False
