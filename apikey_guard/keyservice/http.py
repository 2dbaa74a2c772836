"""The remote key service, asked over HTTP."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import (
    KeyServiceUnavailable,
    Overloaded,
    SettingsError,
    TransportError,
    UnusableAnswer,
    VerificationError,
)
from apikey_guard.http1.dial import EXHAUSTED
from apikey_guard.keyservice.cache_control import shortened
from apikey_guard.keyservice.called import usable
from apikey_guard.keyservice.fields import values
from apikey_guard.keyservice.protocols import PROTOCOLS, KeyAnswer, KeyProtocol, is_askable
from apikey_guard.keyservice.transport import Transport
from apikey_guard.process import PerProcess

logger = logging.getLogger("apikey_guard")

# A service that refuses us refuses every request: one line a minute is enough to be seen.
LOG_EVERY_SECONDS: Final = 60.0

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


class HttpKeyService:
    """Asks a key service over HTTP; safe to use from many threads, and after a fork.

    The credential travels in a header or a body, never in the URL. Nothing is opened before the
    first verification.

    :param url: address of the key service; constant, whatever the credential is.
    :param protocol: one of the :data:`PROTOCOLS`, or an object that asks and understands.
    :param headers: our own credentials to the key service.
    :param key_header: the header in which protocol ``status`` sends the credential.
    :param timeout: seconds for one verification, from name resolution to the last byte.
    :param ca: file or directory of authorities, instead of the usual ones.
    :param client_cert: file with certificate and key, or both apart.
    :param proxy: URL of a proxy; those of the environment are not obeyed.
    :param cache_control: whether the answer's ``Cache-Control`` may shorten the ttl; None means yes
        for ``status``, no for the others, as frameworks send ``no-store`` on everything.
    :param allow_http: allow plain http to a host that is not this machine.
    :param max_connections: connections that are kept open for reuse.
    :param time_source: the wall clock, in seconds since the epoch.
    :raises SettingsError: where URL or protocol cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: str | KeyProtocol = "json",
        headers: Mapping[str, str] = MappingProxyType({}),
        key_header: str = "apikey",
        timeout: float = 2.0,
        ca: str | None = None,
        client_cert: str | tuple[str, str] | None = None,
        proxy: str | None = None,
        cache_control: bool | None = None,
        allow_http: bool = False,
        max_connections: int = 16,
        time_source: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        problems = list(_problems(url, protocol, allow_http))
        if problems:
            raise SettingsError(problems)
        self._url = url
        self._protocol = PROTOCOLS[protocol](key_header) if isinstance(protocol, str) else protocol
        self._headers = headers
        self._cache_control = protocol == "status" if cache_control is None else cache_control
        self._time = time_source
        # A connection that parent and child share would mix up their answers.
        self._transport = PerProcess(
            partial(
                Transport,
                timeout=timeout,
                ca=ca,
                client_cert=client_cert,
                proxy=proxy,
                max_idle=max_connections,
                monotonic=monotonic,
            ),
            abandon=Transport.abandon,
        )
        self._quiet_until: dict[str, float] = {}

    def verify(self, credential: Credential) -> Verdict:
        """Ask about one credential.

        :raises RateLimited: where the service says: not now.
        :raises Overloaded: where no descriptor is left to ask it.
        :raises KeyServiceUnavailable: for every other answer that is no verdict, and for none.
        """
        outcome = self._outcome(credential)
        if isinstance(outcome, Verdict):
            return outcome
        # Raised here, where no local variable and no context holds the key or a header.
        raise outcome

    def close(self) -> None:
        """Close the idle connections; a later verification finds no service."""
        transport = self._transport.made()
        if transport is not None:
            transport.close()

    def _outcome(self, credential: Credential) -> Verdict | VerificationError:
        try:
            request = self._protocol.request(credential)
            if not is_askable(request):
                self._blame("made no KeyRequest that can be sent")
                return KeyServiceUnavailable("error", "validator_protocol made no KeyRequest")
            status, headers, body = self._transport.get().exchange(
                request.method, self._url, {**self._headers, **request.headers}, request.body
            )
            answer = KeyAnswer(credential, status, headers, body, self._time())
            self._warn_of_redirect(answer)
            verdict = self._verdict(answer)
        except VerificationError as error:
            self._report_refusal(error)
            return _bare(error)
        except TransportError as error:
            if error.cause == EXHAUSTED:
                return Overloaded("no_descriptor")
            return KeyServiceUnavailable(error.cause, error.detail)
        return shortened(verdict, headers) if self._cache_control else verdict

    def _verdict(self, answer: KeyAnswer) -> Verdict:
        said = self._protocol.verdict(answer)
        try:
            return usable(said)
        except UnusableAnswer as error:
            self._blame(f"gave no usable verdict: {error.detail}")
            raise

    def _blame(self, what: str) -> None:
        """Tell the author of a protocol, whom nobody else would tell."""
        if self._may_log("protocol"):
            logger.error("validator_protocol %s", what)

    def _warn_of_redirect(self, answer: KeyAnswer) -> None:
        if not 300 <= answer.status < 400 or not self._may_log("redirect"):
            return
        target = values(answer.headers, "Location")
        logger.warning(
            "the key service at %s redirects (status %d) to host %s, which is not followed; "
            "write the final address into validator_url",
            _host(self._url),
            answer.status,
            _host(target[0]) if target else "(none)",
        )

    def _report_refusal(self, error: VerificationError) -> None:
        refused = isinstance(error, KeyServiceUnavailable) and error.cause == "refused_us"
        if refused and self._may_log("refused_us"):
            logger.error(
                "the key service at %s refuses our own credentials (%s); check validator_headers",
                _host(self._url),
                error,
            )

    def _may_log(self, event: str) -> bool:
        now = time.monotonic()
        if now < self._quiet_until.get(event, 0.0):
            return False
        self._quiet_until[event] = now + LOG_EVERY_SECONDS
        return True

    def __repr__(self) -> str:
        return f"HttpKeyService(host={_host(self._url)!r}, protocol={type(self._protocol).__name__})"


def _bare(error: VerificationError) -> VerificationError:
    """The error without the frames it came through, whose local variables hold the key."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _host(url: str) -> str:
    """The host of a URL, for a log line: nothing of path and query, and no character that forges."""
    try:
        host = urlsplit(url).hostname or "(none)"
    except ValueError:
        return "(unreadable)"
    return host if _HOST.fullmatch(host) else "(unreadable)"


def _problems(url: str, protocol: str | KeyProtocol, allow_http: bool) -> list[str]:
    """What is wrong, in sentences that leave the URL itself out."""
    problems: list[str] = []
    if isinstance(protocol, str) and protocol not in PROTOCOLS:
        problems.append(f"the protocol must be one of {', '.join(PROTOCOLS)}")
    try:
        parts = urlsplit(url)
        host, usable = parts.hostname or "", parts.port != 0
    except ValueError:
        return [*problems, "the URL of the key service has a host or port that cannot be read"]
    if parts.scheme not in {"http", "https"} or not host or not usable:
        problems.append("the URL of the key service must be like https://keys.example.com/verify")
    elif "@" in parts.netloc:
        problems.append("the URL of the key service must not hold a password; send it in a header")
    elif parts.scheme == "http" and not allow_http and not _is_loopback(host):
        problems.append("the URL of the key service must be https, unless allow_http is set")
    return problems


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.removesuffix(".").lower() == "localhost"
