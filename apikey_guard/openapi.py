"""The configured locations as an OpenAPI 3 document says them. Pure: settings in, plain dictionaries out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from apikey_guard.core.dialects.standard import where_to_send
from apikey_guard.core.extraction import Location
from apikey_guard.settings import Settings

SecurityScheme = dict[str, str]

# What a component of an OpenAPI document may be called (section "Components Object").
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
# Schemes that readers of such documents know how to send; others they would write as Basic or not at all.
_KNOWN_SCHEMES: Final = frozenset({"basic", "bearer", "digest"})
_PLACES: Final = frozenset({"header", "query", "cookie"})


def security_schemes(settings: Settings) -> dict[str, SecurityScheme]:
    """The value of ``components.securitySchemes``: one scheme for each place a key is looked for.

    A body field has no scheme in OpenAPI; it is named in the description of the others. Places
    that only a route looks at come last.

    :param settings: of the guard.
    :returns: by name, such as ``header_apikey``; empty where keys are sent in the body only.
    """
    locations = _parsed(settings.key_locations)
    of_routes = [name for route in settings.routes for name in route.key_locations or ()]
    everywhere = list(dict.fromkeys([*locations, *_parsed(of_routes)]))
    in_body = [location for location in everywhere if location.kind == "body"]
    return {_name(location): _scheme(location, in_body) for location in everywhere if location.kind != "body"}


def security_requirements(settings: Settings) -> list[dict[str, list[str]]]:
    """The value of ``security``: any one of the guard's schemes is enough.

    :param settings: of the guard; what single routes say is theirs to declare.
    """
    return [{_name(location): []} for location in _parsed(settings.key_locations) if location.kind != "body"]


def _parsed(names: Iterable[str]) -> list[Location]:
    return [Location.parse(name) for name in names]


def _name(location: Location) -> str:
    return _NOT_IN_A_NAME.sub("_", f"{location.kind}_{location.name}".lower())


def _scheme(location: Location, in_body: Sequence[Location]) -> SecurityScheme:
    description = where_to_send([location, *in_body])
    if location.kind in _PLACES:
        return {"type": "apiKey", "in": location.kind, "name": location.name, "description": description}
    scheme = location.name.lower()
    if scheme in _KNOWN_SCHEMES:
        return {"type": "http", "scheme": scheme, "description": description}
    return {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": f"{description} The value is `{location.name}`, one space, and the key.",
    }
