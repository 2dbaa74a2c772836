"""How refusals look: one file per gateway that is replaced, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from apikey_guard.core.dialects.standard import StandardDialect
from apikey_guard.core.extraction import Location
from apikey_guard.core.model import Deny, Rejection


@runtime_checkable
class Dialect(Protocol):
    """One gateway's way of refusing; called from many threads at once."""

    def reject(self, deny: Deny, *, locations: Sequence[Location], realm: str) -> Rejection:
        """The response for a Deny: the same whenever reason and whole seconds to wait are.

        :param locations: where the route looks for credentials, for the detail and the challenge.
        :param realm: of the challenge (RFC 9110, section 11.5).
        """
        ...


#: By the names that settings and routes have for them.
DIALECTS: Mapping[str, Dialect] = MappingProxyType({"standard": StandardDialect()})
