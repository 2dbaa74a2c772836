"""Connecting to one of a host's addresses, where some of them are of no use here."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from apikey_guard.errors import TransportError
from apikey_guard.http1.dial import connect
from tests.harness.wire import PATIENCE_SECONDS

# As IPv6 is for a kernel that was started without it: names resolve to it all the same.
NOT_SPOKEN_HERE = 9_999


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, Any]) -> None:
    found = [(family, socket.SOCK_STREAM, 0, "", address) for family, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


def test_an_address_that_this_system_does_not_speak_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        resolve_to(monkeypatch, (NOT_SPOKEN_HERE, ("::1", 1, 0, 0)), (socket.AF_INET, listener.getsockname()))
        with connect("h.example", 1, lambda: PATIENCE_SECONDS) as sock:
            assert sock.getpeername() == listener.getsockname()


def test_no_address_that_this_system_speaks_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, (NOT_SPOKEN_HERE, ("::1", 1, 0, 0)))
    with pytest.raises(TransportError, match="connect"):
        connect("h.example", 1, lambda: PATIENCE_SECONDS)


def test_a_system_error_amid_the_resolution_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_descriptors(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "getaddrinfo", out_of_descriptors)
    with pytest.raises(TransportError, match="dns"):
        connect("h.example", 1, lambda: PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get
)
@pytest.mark.parametrize("resolves", [True, False], ids=["address", "name"])
def test_d11_that_nothing_is_left_to_connect_with_is_not_the_other_sides_fault(
    monkeypatch: pytest.MonkeyPatch, number: int, resolves: bool
) -> None:
    def nothing_left(*_: object) -> None:
        raise OSError(number, "nothing left")

    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    resolve_to(monkeypatch, (socket.AF_INET, ("127.0.0.1", 1)))
    if not resolves:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(socket, "socket", nothing_left)
    with pytest.raises(TransportError, match="exhausted"):
        connect("h.example", 1, lambda: PATIENCE_SECONDS)
