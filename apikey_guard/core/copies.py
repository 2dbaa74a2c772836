"""Copies of the query elsewhere in a request, found by what they are and not by where they stand.

Servers, proxies and browsers leave the URL that was asked for in texts of many names: whole or only
its query, several in one text, percent-encoded as a parameter of another URL. Only whole parameters
are changed, never a host, a path or a name: a key may be an ordinary word.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from operator import itemgetter
from typing import Any, Final
from urllib.parse import unquote

from apikey_guard.core.extraction import Parameter
from apikey_guard.core.parameters import DEPTH, Change, Parameters, Search, exchanged, only

# Method, path, host and framing; and the query, which is looked at before.
_NEVER: Final = frozenset(
    {
        "QUERY_STRING",
        "REQUEST_METHOD",
        "PATH_INFO",
        "SCRIPT_NAME",
        "HTTP_HOST",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_TRANSFER_ENCODING",
    }
)
# What is no part of the request: WSGI's own objects, and what the guard has put there.
_NOT_THE_REQUEST: Final = ("wsgi.", "apikey_guard.")
# Bounded, as callers choose names: a MiB at most, in characters of names.
_PLANS: Final = 256
_LONGEST_PLAN: Final = 4096
# Keys with copies of the whole target; what reads all other texts at once; keys of everything else.
_Plan = tuple[tuple[str, ...], "itemgetter[tuple[str, ...]] | None", tuple[str, ...]]


class Copies(Parameters):
    """Changes the parameters of some names in every text of a request.

    :param parameters: of these names.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        super().__init__(parameters)
        self._plans: dict[tuple[str, ...], _Plan] = {}
        # The newest of them: nearly all requests come the same way, and lists are soon compared.
        self._last: tuple[list[str], _Plan | None] = ([], None)

    def change_everywhere(self, environ: MutableMapping[str, Any], query: str, change: Change) -> None:
        """Change the query of a request and every copy of it.

        :param query: as it was sent.
        """
        search = self._search(query, change)
        changed = search.in_parameters(self.in_query(query, change), DEPTH)
        self._change_copies(environ, query, changed, search)

    def exchange_one(
        self, environ: MutableMapping[str, Any], query: str, key: str, standin: str | None
    ) -> bool:
        """As :meth:`change_everywhere`, where the query has one copy, written as it is: the usual one.

        :param query: as it was sent.
        :param standin: takes the place of the key; None removes it.
        :returns: whether it was done.
        """
        name = self._name
        changed = exchanged(query, name, key, standin, "&")
        # A key with a plus sign is written encoded: as it is, it is another one.
        if changed is None or self._other_names or "?" in query or "+" in key:
            return False
        if "%" in query and self._has_encoded(query, key):
            return False
        environ["QUERY_STRING"] = changed
        shape, plan = self._last
        if shape != [*environ]:
            plan = self._plans.get(tuple(environ))
        if plan is None or not self._has_no_more(environ, plan):
            search = self._search(query, only(key, standin))
            self._change_copies(environ, query, changed, search)
            return True
        # A mark that introduced nothing but the credential goes with it.
        whole, length = "?" + query, len(query) if changed else len(query) + 1
        for target in plan[0]:
            value = environ[target]
            if value.__class__ is str and value.endswith(whole):
                head = value[: -len(query)]
                if not (("=" in head or "%" in head) and self._has_pair(head)):
                    environ[target] = value[:-length] + changed
                    continue
            search = self._search(query, only(key, standin))
            self._change_copy(environ, target, query, changed, search)
        return True

    def _has_no_more(self, environ: Mapping[str, Any], plan: _Plan) -> bool:
        """Whether there is nothing to look for but copies of the whole target, as in nearly every request."""
        _, getter, others = plan
        if others or getter is None:
            return False
        try:
            texts = "\n".join(getter(environ))
        except TypeError:
            return False  # one is no text, this time
        return "%" not in texts and self._name not in texts

    def _has_encoded(self, query: str, key: str) -> bool:
        """Whether a query with a percent sign may hold the name or the key encoded, in whatever depth."""
        return "%25" in query or "%" in key or unquote(query, "latin-1").count(self._name) != 1

    def _change_copies(
        self, environ: MutableMapping[str, Any], query: str, changed: str, search: Search
    ) -> None:
        environ["QUERY_STRING"] = changed
        shape = tuple(environ)
        targets, texts, others = self._plans.get(shape) or self._plan(environ, shape, query)
        for key in (*targets, *others):
            self._change_copy(environ, key, query, changed, search)
        if texts is not None:
            try:
                # One text to look at instead of twenty: nearly always, there is nothing in any of them.
                if not self.may_hold("\n".join(texts(environ))):
                    return
            except TypeError:
                pass  # one is no text, this time
            for key in shape:
                if key not in targets and key not in others:
                    self._change_copy(environ, key, query, changed, search)

    def _plan(self, environ: Mapping[str, Any], shape: tuple[str, ...], query: str) -> _Plan:
        """What is to be looked at in requests with these keys; a server sends the same again and again."""
        targets: list[str] = []
        texts: list[str] = []
        others: list[str] = []
        for key in shape:
            value = environ[key]
            if key in _NEVER or key.startswith(_NOT_THE_REQUEST):
                continue
            if not isinstance(value, str):
                others.append(key)
            elif value.endswith("?" + query):
                targets.append(key)
            else:
                texts.append(key)
        # Two at least: a getter of one does not return a tuple.
        getter = itemgetter(*texts) if len(texts) > 1 else None
        plan = tuple(targets), getter, tuple(others) if getter else (*others, *texts)
        if sum(map(len, shape)) <= _LONGEST_PLAN:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[shape] = plan
            self._last = [*shape], plan
        return plan

    def _change_copy(
        self, environ: MutableMapping[str, Any], key: str, query: str, changed: str, search: Search
    ) -> None:
        """Change one value, whatever it is."""
        value = environ[key]
        if key in _NEVER or key.startswith(_NOT_THE_REQUEST):
            return
        if isinstance(value, str):
            if value == query:
                environ[key] = changed
            elif value.endswith("?" + query) and not self._has_pair(value[: -len(query)]):
                # Nearly every copy is one of the whole target.
                end = len(query) if changed else len(query) + 1
                environ[key] = value[:-end] + changed
            elif self.may_hold(value):
                environ[key] = search.in_text(value)
        elif isinstance(value, bytes):
            environ[key] = search.in_bytes(value)
        elif isinstance(value, dict | list | tuple | set | bytearray):
            if search.in_object(value, environ) is None:
                del environ[key]
        elif _is_request_of(value, environ, query):
            # It is made anew where it is not found.
            del environ[key]


def _is_request_of(value: object, environ: Mapping[str, Any], query: str) -> bool:
    try:
        held = getattr(value, "environ", None)
    except RuntimeError:  # a proxy of some framework's that stands for nothing at the moment
        return False
    # Whoever handed the request on may have given us a copy of what it was built of.
    return held is environ or (isinstance(held, dict) and held.get("QUERY_STRING") == query)
