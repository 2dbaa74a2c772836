"""The headers that say who calls: in what the app sees they are only ours."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from apikey_guard.core.extraction import environ_key
from apikey_guard.core.freshness import environ_text

# Kong's names, in every dialect: what stands behind a gateway already reads them.
IDENTITY_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "id": "X-Consumer-ID",
        "username": "X-Consumer-Username",
        "custom_id": "X-Consumer-Custom-ID",
        "credential_id": "X-Credential-Identifier",
        "anonymous": "X-Anonymous-Consumer",
    }
)

_WRITTEN = ("id", "username", "custom_id", "credential_id")


class IdentityHeaders:
    """Replaces the identity headers of a request: forged ones are always deleted.

    A CGI environment has one key for every spelling of a header (case, ``-`` or ``_``), so
    deleting the key deletes them all.

    :param names: header per field (the keys of :data:`IDENTITY_HEADERS`), or None to set none.
    :ivar written: keys that are written for a consumer, in the order of ``id``, ``username``,
        ``custom_id`` and ``credential_id``; None where none is.
    :ivar only_deleted: all others.
    """

    def __init__(self, names: Mapping[str, str] | None) -> None:
        given = dict(names or {})
        keys = {field: environ_key(name) for field, name in given.items()}
        forged = {environ_key(name) for name in IDENTITY_HEADERS.values()} | set(keys.values())
        self._forged = tuple(sorted(forged))
        self._anonymous, self._username = keys.get("anonymous"), keys.get("username")
        self.written = tuple(keys[field] for field in _WRITTEN) if keys else None
        self.only_deleted = tuple(sorted(forged - set(self.written or ())))

    def clear(self, environ: MutableMapping[str, Any]) -> None:
        """Delete every identity header that the request brought along."""
        for key in self._forged:
            if key in environ:
                del environ[key]

    def set_anonymous(self, environ: MutableMapping[str, Any], username: str | None) -> None:
        """Delete what the request brought along and say that nobody in particular calls."""
        self.clear(environ)
        if self._anonymous is not None:
            environ[self._anonymous] = "true"
        if self._username is not None and username is not None:
            environ[self._username] = environ_text(username)
