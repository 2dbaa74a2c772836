"""The headers that say who calls: in what the app sees they are only ours."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from apikey_guard.core.extraction import environ_key
from apikey_guard.core.freshness import Remembered, environ_text

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
    """

    def __init__(self, names: Mapping[str, str] | None) -> None:
        given = dict(names or {})
        keys = {field: environ_key(name) for field, name in given.items()}
        forged = {environ_key(name) for name in IDENTITY_HEADERS.values()} | set(keys.values())
        self._forged = tuple(sorted(forged))
        self._anonymous, self._username = keys.get("anonymous"), keys.get("username")
        # Keys that are written for a consumer, in this order, and those that only get deleted.
        self._written = tuple(keys[field] for field in _WRITTEN) if keys else None
        self._only_deleted = tuple(sorted(forged - set(self._written or ())))

    def clear(self, environ: MutableMapping[str, Any]) -> None:
        """Delete every identity header that the request brought along."""
        for key in self._forged:
            if key in environ:
                del environ[key]

    def set(self, environ: MutableMapping[str, Any], entry: Remembered) -> None:
        """Delete what the request brought along and say who calls."""
        for key in self._only_deleted:
            if key in environ:
                del environ[key]
        if self._written is None:
            return
        # Four fields written out: a loop over them would cost the hit path as much again.
        id_key, username_key, custom_id_key, credential_id_key = self._written
        if not entry.ascii:
            entry = entry.as_environ_text()
        if entry.id is not None:
            environ[id_key] = entry.id
        elif id_key in environ:
            del environ[id_key]
        if entry.username is not None:
            environ[username_key] = entry.username
        elif username_key in environ:
            del environ[username_key]
        if entry.custom_id is not None:
            environ[custom_id_key] = entry.custom_id
        elif custom_id_key in environ:
            del environ[custom_id_key]
        if entry.credential_id is not None:
            environ[credential_id_key] = entry.credential_id
        elif credential_id_key in environ:
            del environ[credential_id_key]

    def set_anonymous(self, environ: MutableMapping[str, Any], username: str | None) -> None:
        """Delete what the request brought along and say that nobody in particular calls."""
        self.clear(environ)
        if self._anonymous is not None:
            environ[self._anonymous] = "true"
        if self._username is not None and username is not None:
            environ[self._username] = environ_text(username)
