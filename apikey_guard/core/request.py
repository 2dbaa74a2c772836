"""The method and the host of a request, in every way that what is behind may read them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import parse_qsl

HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")

#: Rails, Express' method-override, Laravel, Jersey, OData and the recipes for Flask and Django read these.
METHOD_HEADERS: Final = (
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_X_HTTP_METHOD",
    "HTTP_X_METHOD_OVERRIDE",
    "HTTP_X_METHOD",
    "HTTP_X_REST_METHOD",
    "HTTP_METHOD_OVERRIDE",
    "HTTP_HTTP_METHOD_OVERRIDE",
)
# Express' method-override, Laravel and Jersey read the first in the query, too; recipes for Flask the rest.
_METHOD_PARAMETERS: Final = frozenset({"_method", "__method__", "__method_override__"})
_MAYBE_PARAMETER: Final = re.compile("_method|%", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"[^/?#]*:")
_FINAL_DOT: Final = re.compile(r"\.(?::[0-9]*)?\Z")


def raw_target(environ: Mapping[str, object]) -> str | None:
    """The request's target as it was sent, where the server gives it."""
    for key in ("RAW_URI", "REQUEST_URI"):
        target = environ.get(key)
        if isinstance(target, str):
            return target
    return None


def request_host(environ: Mapping[str, object]) -> str | None:
    """The host name that the request names, lower-case and without a port; None for an odd one."""
    value = environ.get("HTTP_HOST")
    return _host_name(value) if isinstance(value, str) else None


def _host_name(value: str) -> str | None:
    host = value.lower()
    name, colon, port = host.rpartition(":")
    # RFC 9110, section 7.2, and RFC 3986, section 3.2.3: a port may be empty. A final dot means the root.
    if colon and (not port or (port.isascii() and port.isdigit())):
        host = name
    host = host.removesuffix(".")
    return host if HOST_NAME.fullmatch(host) else None


def hosts_meant(environ: Mapping[str, object]) -> Collection[str] | None:
    """The hosts that a request may be for; None is any: what it names is missing or odd.

    Odd is a host that servers read differently: one that ends in a dot, two of them, and any beside a
    target that is a whole URL. What a proxy is said to have been asked for counts, too: frameworks
    can be told to believe it.
    """
    named = environ.get("HTTP_HOST")
    if not isinstance(named, str) or (raw_target(environ) or "/")[:1] != "/":
        return None
    path = environ.get("PATH_INFO")
    if isinstance(path, str) and path[:1] != "/" and _ABSOLUTE.match(path):
        return None
    forwarded = environ.get("HTTP_X_FORWARDED_HOST")
    told = [each.strip() for each in forwarded.split(",")] if isinstance(forwarded, str) else []
    hosts: set[str] = set()
    for value in (named, *told):
        host = _host_name(value)
        if host is None or _FINAL_DOT.search(value):
            return None
        hosts.add(host)
    return hosts


def only_host(environ: Mapping[str, object]) -> str | None:
    """The host that a request is for, whoever reads it; None where it can be read in several ways."""
    hosts = hosts_meant(environ)
    return next(iter(hosts)) if hosts is not None and len(hosts) == 1 else None


def overrides(environ: Mapping[str, object]) -> Collection[str]:
    """The methods that a request asks to be taken for, in headers and query; a body is not looked at."""
    methods: set[str] = set()
    for key in METHOD_HEADERS:
        value = environ.get(key)
        if isinstance(value, str):
            methods.update(each.strip().upper() for each in value.split(","))
    query = environ.get("QUERY_STRING")
    if isinstance(query, str) and _MAYBE_PARAMETER.search(query):
        # Some take a semicolon for an ampersand.
        for name, value in parse_qsl(query.replace(";", "&"), keep_blank_values=True):
            if name.lower() in _METHOD_PARAMETERS:
                methods.add(value.strip().upper())
    return methods


def methods_meant(environ: Mapping[str, object]) -> Collection[str]:
    """The methods that a request may be taken for: its own, in capitals, and every override in it."""
    method = environ.get("REQUEST_METHOD", "")
    return {method, method.upper(), *overrides(environ)} if isinstance(method, str) else {""}


def means_one_method(environ: Mapping[str, object]) -> bool:
    """Whether a request can be taken for one method only."""
    method = environ.get("REQUEST_METHOD", "")
    return isinstance(method, str) and method.isupper() and not overrides(environ)
