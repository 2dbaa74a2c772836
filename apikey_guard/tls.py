"""The one way in which certificates are verified."""

from __future__ import annotations

import os
import ssl

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from apikey_guard.errors import TransportError


def tls_context(ca: str | None, client_cert: str | tuple[str, str] | None = None) -> ssl.SSLContext:
    """A context that verifies certificate and host name; there is no way to switch that off.

    :param ca: file or directory of authorities, instead of the usual ones.
    :param client_cert: file with certificate and key, or both apart.
    :raises TransportError: ``tls``: a file cannot be read.
    """
    authorities = DEFAULT_CA_BUNDLE_PATH if ca is None else ca
    directory = os.path.isdir(authorities)
    try:
        context = ssl.create_default_context(
            cafile=None if directory else authorities, capath=authorities if directory else None
        )
    except OSError:  # ssl.SSLError is one
        raise TransportError("tls", "the file of authorities cannot be read") from None
    if client_cert is not None:
        certificate, key = (client_cert, None) if isinstance(client_cert, str) else client_cert
        try:
            context.load_cert_chain(certificate, key)
        except OSError:
            raise TransportError("tls", "the client certificate cannot be read") from None
    return context
