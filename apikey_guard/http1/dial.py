"""A TCP connection to one of a host's addresses, within what is left of a deadline."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from apikey_guard.errors import TransportError

#: Bytes read at once: few calls for a large body, little memory for many of them at a time.
PIECE_BYTES: Final = 65_536
#: The cause where this machine gives us nothing to connect with: no fault of the other side.
EXHAUSTED: Final = "exhausted"
_NOTHING_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhausted(error: OSError) -> bool:
    """Whether the system had no descriptor or no memory for us."""
    return error.errno in _NOTHING_LEFT


def counting_down(seconds: float) -> Callable[[], float]:
    """What is left of a time that begins now, for :func:`connect`."""
    end = time.monotonic() + seconds

    def remaining() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise TransportError("timeout", "no connection in time")
        return left

    return remaining


def connect(host: str, port: int, remaining: Callable[[], float]) -> socket.socket:
    """A connected socket, whose timeout is what is left.

    Name resolution cannot be interrupted; it is counted.

    :param remaining: seconds that are left; raises where none are.
    :raises TransportError: ``dns``, ``connect``, ``timeout`` or ``exhausted``.
    """
    try:
        addresses = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _unresolved() from None
    last: OSError = OSError("no address")
    for tried, (kind, type_, number, _, address) in enumerate(addresses):
        seconds = remaining()
        try:
            sock = socket.socket(kind, type_, number)
        except OSError as error:  # IPv6 where the system speaks none, or no descriptor is left
            last = error
            continue
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Each address gets its share of what is left, so that one that drops packets
            # does not use up the time of one that would answer.
            sock.settimeout(seconds / (len(addresses) - tried))
            sock.connect(address)
            sock.settimeout(remaining())
        except OSError as error:
            sock.close()
            last = error
        except TransportError:
            sock.close()
            raise
        else:
            return sock
    if isinstance(last, TimeoutError):
        raise TransportError("timeout", "no connection in time") from None
    if is_exhausted(last):
        raise TransportError(EXHAUSTED, "no descriptor is left") from None
    raise TransportError("connect", type(last).__name__) from None


def secured(
    sock: socket.socket, context: ssl.SSLContext, host: str, *, may_end_unannounced: bool = False
) -> ssl.SSLSocket:
    """The same connection in TLS, within the timeout of its socket, which is closed where that fails.

    :param may_end_unannounced: whether an end that was not announced in TLS is one. It may be anybody's
        (RFC 9112, section 9.8).
    :raises TransportError: ``tls`` or ``timeout``.
    """
    try:
        return context.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=may_end_unannounced)
    except (OSError, ValueError) as error:
        sock.close()
        raise without_tls(error) from None
    except BaseException:
        sock.close()
        raise


def without_tls(error: Exception) -> TransportError:
    match error:
        case TimeoutError():
            return TransportError("timeout", "no TLS connection in time")
        case ssl.SSLCertVerificationError():
            return TransportError("tls", "the certificate was not accepted")
    return TransportError("tls", type(error).__name__)


def _unresolved() -> TransportError:
    # A resolver that could open nothing says that it found nothing.
    try:
        socket.socket().close()
    except OSError as error:
        if is_exhausted(error):
            return TransportError(EXHAUSTED, "no descriptor is left")
    return TransportError("dns", "the host name does not resolve")
