"""What the app sees where a request has a credential: its stand-in, nothing, or what was sent."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import Any, Final, Literal

from apikey_guard.core.copies import Copies
from apikey_guard.core.extraction import (
    BLANKS,
    Authorization,
    Cookie,
    Location,
    Parameter,
    environ_key,
)
from apikey_guard.core.parameters import Change, exchanged, only
from apikey_guard.core.standin import BEGINNING, SCHEME, STANDIN_BYTES, holds_standin, standin_of

#: What becomes of a credential: its stand-in takes its place, it is removed, or it stays.
Hide = Literal["replace", "remove", False]
HIDES: Final = ("replace", "remove")

#: Headers in which a caller and the hops before leave a copy of the request's URL.
URL_HEADERS = ("Referer", "X-Original-URI", "X-Original-URL", "X-Forwarded-URI", "X-Rewrite-URL")

# Servers leave one, too.
_URL_KEYS = ("RAW_URI", "REQUEST_URI", *map(environ_key, URL_HEADERS))

_KINDS_BY_NAME: Final = frozenset({"header", "query", "body"})
_USUAL_KINDS: Final = ({"header"}, {"header", "query"})


def as_hide(given: Hide | Literal[True]) -> Hide:
    """What is set, in its lasting form; ``True`` is how ``"remove"`` was once written."""
    return "remove" if given is True else given


def _removed(_value: str) -> None:
    """Every value goes."""


def _without_standins(value: str) -> str | None:
    return None if holds_standin(value) else value


class Hiding:
    """Changes every copy of the credential in a request, and nothing else.

    A name that is configured in one place is looked for in headers and query alike, as Kong does:
    the copy that was not used must not travel on either.

    :param locations: the configured locations.
    :param hide: what becomes of a credential that was verified. Any other one is removed, unless
        this is False; a stand-in that was sent is removed in any case.
    :param elsewhere: where other routes of the same guard look: only stand-ins are removed there.
    """

    def __init__(
        self, locations: Sequence[Location], hide: Hide, *, elsewhere: Sequence[Location] = ()
    ) -> None:
        self._elsewhere = Hiding(elsewhere, False) if elsewhere else None
        self.hide_as = hide
        self.hides = hide is not False
        self.replaces = hide == "replace"
        self._otherwise: Change = _removed if self.hides else _without_standins
        authorization = [
            location.name if location.kind == "authorization" else None
            for location in locations
            if location.kind == "authorization" or str(location).lower() == "header:authorization"
        ]
        self._authorizations = tuple(map(Authorization, authorization))
        names = [
            location.name
            for location in locations
            if location.kind in _KINDS_BY_NAME and location.name.lower() != "authorization"
        ]
        names = list(dict.fromkeys(names))
        # Nearly always there is one name only, and it is looked for on every request.
        self._name, self._other_names = (names[0], tuple(names[1:])) if names else ("%", ())
        self._header_keys = tuple(dict.fromkeys(environ_key(name) for name in names))
        self._copies = Copies([Parameter(name) for name in names])
        self._cookies = tuple(Cookie(location.name) for location in locations if location.kind == "cookie")
        self._rare = bool(self._authorizations or self._cookies)
        #: The environ's key for the one header of nearly every request, and the name without which its query
        #: is of no interest. "" where :meth:`exchange` may have more to do than to write a stand-in there.
        self.usual_key, self.usual_name = "", ""
        kinds = {location.kind for location in locations}
        if kinds in _USUAL_KINDS and len(names) == 1 and self.replaces and not elsewhere:
            self.usual_key, self.usual_name = self._header_keys[0], names[0]

    def hide(self, environ: MutableMapping[str, Any], presented: str = "") -> None:
        """Remove every copy, as the request presents no credential that was verified.

        :param presented: what it does present, where that is known: in a query it is found sooner.
        """
        self._change(environ, self._otherwise, presented if self.hides else "")

    def exchange(self, environ: MutableMapping[str, Any], key: str, fingerprint: bytes) -> None:
        """Let the app see the stand-in of the credential that the request was allowed with.

        :param key: the credential; its copies are exchanged, any other one is removed.
        :param fingerprint: of the credential.
        """
        if not self.replaces:
            self._change(environ, self._otherwise)
            return
        if self._elsewhere is not None:
            self._elsewhere.hide(environ)
        standin = BEGINNING + fingerprint[:STANDIN_BYTES].hex()
        # As _change, written out for what nearly every request has: the key in one header as it is.
        for header_key in self._header_keys:
            sent = environ.get(header_key)
            if sent is not None:
                if sent == key or sent.strip(BLANKS) == key:
                    environ[header_key] = standin
                else:
                    del environ[header_key]
        name, others = self._name, self._other_names
        query = environ.get("QUERY_STRING")
        if query and ("%" in query or name in query or (others and any(other in query for other in others))):
            if not self._copies.exchange_one(environ, query, key, standin):
                self._change_query(environ, query, only(key, standin))
        elif "HTTP_REFERER" in environ:
            # Only browsers copy what an earlier request had: the URL of the page that they show.
            self._change_url(environ, "HTTP_REFERER", only(key, standin))
        if self._rare and not self._exchange_rare(environ, key, standin):
            self._change_rare(environ, only(key, standin))

    def _exchange_rare(self, environ: MutableMapping[str, Any], key: str, standin: str) -> bool:
        """As :meth:`_change_rare`, for the usual: one place, and the key in it as it is."""
        if not self._cookies:
            text = environ.get("HTTP_AUTHORIZATION")
            if text is None:
                return True
            if text == self._authorizations[0].usual + key:
                environ["HTTP_AUTHORIZATION"] = f"{SCHEME} {standin}"
                return True
        elif not self._authorizations and len(self._cookies) == 1:
            text = environ.get("HTTP_COOKIE")
            if text is None:
                return True
            changed = exchanged(text, self._cookies[0].name, key, standin, ";")
            if changed is not None:
                environ["HTTP_COOKIE"] = changed
                return True
        return False

    def put(self, environ: MutableMapping[str, Any], location: Location, fingerprint: bytes) -> None:
        """Let the app see the stand-in in a place where nothing is left.

        :param location: where the credential was, or would be.
        """
        if not self.replaces:
            return
        (kind, name), standin = location, standin_of(fingerprint)
        if kind == "query":
            query = environ.get("QUERY_STRING", "")
            environ["QUERY_STRING"] = f"{query}&{name}={standin}" if query else f"{name}={standin}"
        elif kind == "cookie":
            cookies = environ.get("HTTP_COOKIE")
            environ["HTTP_COOKIE"] = f"{cookies}; {name}={standin}" if cookies else f"{name}={standin}"
        elif kind == "authorization" or name.lower() == "authorization":
            environ["HTTP_AUTHORIZATION"] = f"{SCHEME} {standin}"
        elif kind == "header":
            environ[environ_key(name)] = standin

    def _change(self, environ: MutableMapping[str, Any], change: Change, presented: str = "") -> None:
        if self._elsewhere is not None:
            self._elsewhere.hide(environ)
        for key in self._header_keys:
            if key in environ:
                value = environ[key].strip(BLANKS)
                changed = change(value)
                if changed is None:
                    del environ[key]
                elif changed != value:
                    environ[key] = changed
        query = environ.get("QUERY_STRING", "")
        quick = presented and self._name in query
        if not (quick and self._copies.exchange_one(environ, query, presented, None)):
            self._change_query(environ, query, change)
        if self._rare:
            self._change_rare(environ, change)

    def _change_query(self, environ: MutableMapping[str, Any], query: str, change: Change) -> None:
        copies = self._copies
        if query and copies.may_hold(query) and copies.in_query(query, change) != query:
            copies.change_everywhere(environ, query, change)
            return
        for key in _URL_KEYS:
            if key in environ:
                self._change_url(environ, key, change)

    def _change_url(self, environ: MutableMapping[str, Any], key: str, change: Change) -> None:
        url = environ[key]
        if isinstance(url, str) and self._copies.may_hold(url):
            environ[key] = self._copies.in_url(url, change)

    def _change_rare(self, environ: MutableMapping[str, Any], change: Change) -> None:
        text = environ.get("HTTP_AUTHORIZATION") if self._authorizations else None
        if text is not None:
            for authorization in self._authorizations:
                value = authorization.read(text)
                if value is None:
                    continue
                changed = change(value)
                if changed is None:
                    del environ["HTTP_AUTHORIZATION"]
                elif changed != value:
                    environ["HTTP_AUTHORIZATION"] = f"{SCHEME} {changed}"
                break
        cookies = environ.get("HTTP_COOKIE") if self._cookies else None
        if cookies is not None:
            changed = self._in_cookies(cookies, change)
            if changed:
                environ["HTTP_COOKIE"] = changed
            else:
                del environ["HTTP_COOKIE"]

    def _in_cookies(self, cookies: str, change: Change) -> str:
        text = ";" + cookies
        for cookie in self._cookies:

            def written(match: re.Match[str], cookie: Cookie = cookie) -> str:
                value = cookie.meant(match[2])
                changed = change(value)
                if changed == value:
                    return match[0]
                return "" if changed is None else f";{match[1]}={changed}"

            text = cookie.pattern.sub(written, text)
        return cookies if text == ";" + cookies else text[1:].lstrip(BLANKS)
