"""TLS within the TLS that leads to a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeVar

from apikey_guard.http1.dial import PIECE_BYTES, without_tls

T = TypeVar("T")


class TlsWithin:
    """TLS on a connection that is in TLS already, which ``ssl`` itself has no socket for.

    :param sock: to the proxy; it blocks, and is left open where this fails.
    :param context: of the inner TLS.
    :param remaining: seconds that are left for the handshake; raises where none are.
    :raises TransportError: ``tls`` or ``timeout``.
    """

    def __init__(
        self, sock: ssl.SSLSocket, context: ssl.SSLContext, host: str, remaining: Callable[[], float]
    ) -> None:
        self._sock = sock
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=host)
        # Encrypted and not sent yet; and how much plain text it is.
        self._held = b""
        self._accepted = 0
        # Nothing can be read before the socket has more.
        self._starved = False
        self.setblocking, self.fileno, self.close = sock.setblocking, sock.fileno, sock.close
        try:
            self._step(self._tls.do_handshake, lambda: sock.settimeout(remaining()))
        except (OSError, ValueError) as error:
            raise without_tls(error) from None

    def recv_into(self, buffer: bytearray) -> int:
        """As a socket's."""
        data = self._step(lambda: self._tls.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: bytes | memoryview) -> int:
        """As a socket's. Where it could not be sent at once, the same has to be given again."""
        self._accepted = self._accepted or self._tls.write(data[:PIECE_BYTES])
        self._flush()
        sent, self._accepted = self._accepted, 0
        return sent

    def pending(self) -> int:
        """How much can be read though no poll shows it; encrypted bytes count as well."""
        if self._starved:
            return 0
        return self._tls.pending() + self._arrived.pending + self._sock.pending()

    def _step(self, step: Callable[[], T], before_wait: Callable[[], None] = lambda: None) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                before_wait()
                self._starved = True
                if not self._arrived.write(self._sock.recv(PIECE_BYTES)):
                    self._arrived.write_eof()
                self._starved = False
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        self._held += self._leaving.read()
        while self._held:
            self._held = self._held[self._sock.send(self._held) :]
