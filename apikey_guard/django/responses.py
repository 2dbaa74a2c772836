"""A rejection as Django's response: the bytes that every other adapter sends."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from django.http import HttpResponse

from apikey_guard.core.model import Rejection


class RejectionResponse(HttpResponse):
    """The response for a Deny.

    :param rejection: made by the guard.
    :param method: of the request; the answer to ``HEAD`` has no body.
    :ivar rejection: as given, for the project's own error pages.
    """

    def __init__(self, rejection: Rejection, method: str | None) -> None:
        headers: dict[str, str] = {}
        repeated: dict[str, list[str]] = {}
        for name, value in rejection.headers:
            repeated.setdefault(name, []).append(value)
            headers[name] = ", ".join(repeated[name])
        if method == "HEAD":
            headers["Content-Length"] = str(len(rejection.body))
        super().__init__(
            b"" if method == "HEAD" else rejection.body,
            status=rejection.status,
            reason=rejection.status_line.partition(" ")[2],
            headers=headers,
        )
        self.rejection = rejection
        self._repeated = {name: values for name, values in repeated.items() if len(values) > 1}

    def items(self) -> Iterator[tuple[str, str]]:
        """Every header as it is sent: Django keeps one value per name, a 401 can have two challenges.

        The length is that of the body by now, which a middleware outside of the guard may have written.
        """
        if not self.has_header("Content-Length") and self.status_code != 204:  # RFC 9110, section 8.6
            yield "Content-Length", str(len(self.content))
        for name, value in super().items():
            values = self._repeated.get(name, [])
            if value == ", ".join(values):
                yield from ((name, one) for one in values)
            else:
                yield name, value

    def __await__(self) -> Generator[Any, None, RejectionResponse]:
        # An async class-based view awaits whatever its dispatch returns.
        yield from ()
        return self
