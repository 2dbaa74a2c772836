"""The one way in which certificates are verified."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from apikey_guard.errors import TransportError
from apikey_guard.http1.dial import EXHAUSTED, is_exhausted

logger = logging.getLogger("apikey_guard")

# Certificates are renewed days before they end, authorities added days before they are needed.
CHECK_SECONDS: Final = 10.0

_Signature: TypeAlias = "tuple[str, int, int, int, int] | None"


class TlsFiles:
    """The context of some files, made anew when one of them was renewed.

    They are looked at when a context is asked for, at most every :data:`CHECK_SECONDS`. What cannot be
    used is reported at each look, and the context from before goes on serving.

    :param ca: and ``client_cert``: as in :func:`tls_context`.
    :param monotonic: the clock that looks are counted by.
    """

    def __init__(
        self,
        ca: str | None,
        client_cert: str | tuple[str, str] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ca = ca
        self._client_cert = client_cert
        self._monotonic = monotonic
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[_Signature, ...] = ()
        self._next_look = 0.0

    def context(self) -> ssl.SSLContext:
        """The context of now. Two threads may both make it; a lock could be held at a fork.

        :raises TransportError: ``tls``: a file cannot be read, and never could.
        """
        context, now = self._context, self._monotonic()
        if context is not None and now < self._next_look:
            return context
        self._next_look = now + CHECK_SECONDS
        seen = tuple(self._signatures())
        if context is not None and seen == self._seen:
            return context
        try:
            context = tls_context(self._ca, self._client_cert)
        except TransportError as error:
            if context is None:
                raise
            logger.error("%s; what was read before goes on serving", error.detail)
            return context
        self._context, self._seen = context, seen
        return context

    def _signatures(self) -> Iterator[_Signature]:
        certificates = (self._client_cert,) if isinstance(self._client_cert, str) else self._client_cert or ()
        for path in (self._ca or DEFAULT_CA_BUNDLE_PATH, *certificates):
            yield _signature(path)
            if os.path.isdir(path):
                yield from map(_signature, sorted(entry.path for entry in os.scandir(path)))


def _signature(path: str) -> _Signature:
    # What a link leads to counts: Kubernetes renews a mounted secret by moving one.
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def tls_context(ca: str | None, client_cert: str | tuple[str, str] | None = None) -> ssl.SSLContext:
    """A context that verifies certificate and host name; there is no way to switch that off.

    :param ca: file or directory of authorities, instead of the usual ones.
    :param client_cert: file with certificate and key, or both apart.
    :raises TransportError: ``tls``: a file cannot be read; ``exhausted``: none can be opened now.
    """
    authorities = DEFAULT_CA_BUNDLE_PATH if ca is None else ca
    directory = os.path.isdir(authorities)
    try:
        context = ssl.create_default_context(
            cafile=None if directory else authorities, capath=authorities if directory else None
        )
    except OSError as error:  # ssl.SSLError is one
        raise _unreadable("the file of authorities", error) from None
    if client_cert is not None:
        certificate, key = (client_cert, None) if isinstance(client_cert, str) else client_cert
        try:
            # Without one, a key that is encrypted would ask for it on the terminal, and wait.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise _unreadable("the client certificate", error) from None
    return context


def _unreadable(what: str, error: OSError) -> TransportError:
    return TransportError(EXHAUSTED if is_exhausted(error) else "tls", f"{what} cannot be read")
