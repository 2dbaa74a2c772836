"""Which headers the app sees: no copy of the credential, and identity headers that are only ours."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any

from apikey_guard.core.extraction import Location, Parameter, cookie_pattern, environ_key
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

#: Headers in which a caller and the hops before leave a copy of the request's URL.
URL_HEADERS = ("Referer", "X-Original-URI", "X-Original-URL", "X-Forwarded-URI", "X-Rewrite-URL")

# Servers leave one, too.
_URL_KEYS = ("RAW_URI", "REQUEST_URI", *map(environ_key, URL_HEADERS))

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
        else:
            environ.pop(id_key, None)
        if entry.username is not None:
            environ[username_key] = entry.username
        else:
            environ.pop(username_key, None)
        if entry.custom_id is not None:
            environ[custom_id_key] = entry.custom_id
        else:
            environ.pop(custom_id_key, None)
        if entry.credential_id is not None:
            environ[credential_id_key] = entry.credential_id
        else:
            environ.pop(credential_id_key, None)

    def set_anonymous(self, environ: MutableMapping[str, Any], username: str | None) -> None:
        """Delete what the request brought along and say that nobody in particular calls."""
        self.clear(environ)
        if self._anonymous is not None:
            environ[self._anonymous] = "true"
        if self._username is not None and username is not None:
            environ[self._username] = environ_text(username)


class Hiding:
    """Removes every copy of the credential from a request, and nothing else.

    A name that is configured in one place is removed from headers and query alike, as Kong does:
    the copy that was not used must not travel on either.

    :param locations: the configured locations.
    """

    def __init__(self, locations: Sequence[Location]) -> None:
        names = [location.name for location in locations if location.kind in {"header", "query", "body"}]
        names = list(dict.fromkeys(names))
        # Nearly always there is one name only, and it is looked for on every request.
        self._name, self._other_names = (names[0], tuple(names[1:])) if names else ("%", ())
        self._header_keys = tuple(dict.fromkeys(environ_key(name) for name in names))
        self._parameters = tuple(Parameter(name) for name in names)
        self._schemes = tuple(
            location.name.lower() for location in locations if location.kind == "authorization"
        )
        self._cookies = tuple(
            cookie_pattern(location.name) for location in locations if location.kind == "cookie"
        )

    def hide(self, environ: MutableMapping[str, Any]) -> None:
        """Remove the credential's copies from header, query, URLs, cookies and Authorization."""
        for key in self._header_keys:
            if key in environ:
                del environ[key]
        # A text that holds no name, written plainly or percent-encoded, is not looked at further.
        name, others = self._name, self._other_names
        query = environ.get("QUERY_STRING")
        if query and ("%" in query or name in query or (others and any(other in query for other in others))):
            environ["QUERY_STRING"] = self._cut(query)
        for key in _URL_KEYS:
            if key in environ:
                url = environ[key]
                if "%" in url or name in url or (others and any(other in url for other in others)):
                    environ[key] = self._without_parameters(url)
        if self._schemes or self._cookies:
            self._hide_rare(environ)

    def _without_parameters(self, url: str) -> str:
        rest, hash_mark, fragment = url.partition("#") if "#" in url else (url, "", "")
        path, mark, query = rest.partition("?")
        if mark:
            query = self._cut(query)
            # A mark that introduced nothing but the credential goes with it.
            mark = mark if query or rest.endswith("?") else ""
        if hash_mark:
            fragment = self._cut(fragment)
            hash_mark = hash_mark if fragment or url.endswith("#") else ""
        return path + mark + query + hash_mark + fragment

    def _cut(self, query: str) -> str:
        text = "&" + query
        for parameter in self._parameters:
            pattern = parameter.pattern(text)
            match = pattern.search(text)
            if match is not None:
                # Cutting out the first copy is much cheaper than replacing all: there is rarely one more.
                end = match.end()
                text = text[: match.start()] + (
                    pattern.sub("", text[end:]) if pattern.search(text, end) else text[end:]
                )
        return text[1:]

    def _hide_rare(self, environ: MutableMapping[str, Any]) -> None:
        if self._schemes:
            value = environ.get("HTTP_AUTHORIZATION")
            if value is not None and value.partition(" ")[0].lower() in self._schemes:
                del environ["HTTP_AUTHORIZATION"]
        cookies = environ.get("HTTP_COOKIE")
        if self._cookies and cookies is not None:
            text = ";" + cookies
            for pattern in self._cookies:
                text = pattern.sub("", text)
            if text != ";" + cookies:
                rest = text[1:].lstrip(" \t")
                if rest:
                    environ["HTTP_COOKIE"] = rest
                else:
                    del environ["HTTP_COOKIE"]
