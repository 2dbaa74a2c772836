"""What an origin is: its targets and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class OriginTarget:
    """One address of an origin.

    :param host: name or address, without brackets.
    :param path: what every path is put behind; without a final slash, so "" for none.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """Its ``Host`` (RFC 9110, section 7.2): the port is left out where the scheme implies it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSpec:
    """Where requests go and what they may take; None leaves a bound to the guard's setting.

    :param name: how logs call it.
    :param targets: taken in turn.
    :param connect_timeout: seconds for a connection, and for a free place among them.
    :param read_timeout: seconds to the end of an answer's header, then between pieces of its body.
    :param idle_timeout: seconds for which an unused connection is kept; 0 keeps none.
    :param max_connections: to one target at once.
    :param ca: file or directory of authorities, instead of the usual ones.
    :param preserve_host: whether the caller's ``Host`` is sent on.
    """

    name: str
    targets: tuple[OriginTarget, ...]
    connect_timeout: float | None = None
    read_timeout: float | None = None
    idle_timeout: float | None = None
    max_connections: int | None = None
    ca: str | None = None
    preserve_host: bool | None = None
