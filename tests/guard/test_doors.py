"""What an app puts in by a door: a part that fails, or gives what it must not, is a 5xx, never an Allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from apikey_guard import (
    Consumer,
    Credential,
    Deny,
    KeyServiceUnavailable,
    Reason,
    Rejection,
    Route,
    Verdict,
)
from apikey_guard.keyservice.protocols import KeyAnswer, KeyRequest
from apikey_guard.testing import LoopbackCall, LoopbackKeyService, http_answer
from tests.harness.guarded import BAD, GOOD, Guarded

FINE = Rejection(401, (("Content-Type", "text/plain"),), b"no", Reason.MISSING_CREDENTIAL)
FAULT = (500, "internal_error")


class Words:
    """A dialect that gives what it is told to.

    :param given: makes the rejection; what it raises is raised.
    """

    def __init__(self, given: Callable[[], Any]) -> None:
        self.given = given
        self.calls = 0

    # Unhashable, as many a class is that can be compared.
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def reject(self, deny: Deny, *, locations: Sequence[object], realm: str) -> Any:
        self.calls += 1
        return self.given()


def changed(**fields: Any) -> Callable[[], Rejection]:
    given = {"status": 401, "headers": FINE.headers, "body": b"no", "reason": FINE.reason, **fields}
    return lambda: Rejection(**given)


def raises() -> Any:
    raise LookupError(GOOD)


UNSENDABLE: dict[str, Callable[[], Any]] = {
    "raises": raises,
    "nothing": lambda: None,
    "a tuple": lambda: (401, (), b""),
    "the class": lambda: Rejection,
    "status 200": changed(status=200),
    "status 204": changed(status=204),
    "status 302": changed(status=302),
    "status 399": changed(status=399),
    "status 600": changed(status=600),
    "status as text": changed(status="401"),
    "status true": changed(status=True),
    "no status": changed(status=None),
    "two lines": changed(headers=(("X-A", "b\r\nSet-Cookie: c"),)),
    "a line feed": changed(headers=(("X-A", "b\nc"),)),
    "a zero byte": changed(headers=(("X-A", "b\0"),)),
    "beyond latin-1": changed(headers=(("X-A", "\u20ac"),)),
    "two lines in a name": changed(headers=(("X-A: b\r\nX-B", "c"),)),
    "no name": changed(headers=(("", "c"),)),
    "bytes in headers": changed(headers=((b"X-A", b"b"),)),
    "a number in headers": changed(headers=(("X-A", 1),)),
    "a mapping": changed(headers={"X-A": "b"}),
    "headers are no pairs": changed(headers=(("X-A", "b", "c"),)),
    "headers are texts": changed(headers=("ab",)),
    "no headers": changed(headers=None),
    "about the connection": changed(headers=(("Transfer-Encoding", "chunked"),)),
    "a body of text": changed(body="no"),
    "no body": changed(body=None),
    "reason as text": changed(reason="missing_credential"),
    "a preflight": changed(reason=Reason.PREFLIGHT),
    "a detail of bytes": changed(detail=b"no"),
}


class Asking:
    """A protocol that gives what it is told to.

    :param request: makes the question, and ``verdict`` the verdict of an answer.
    """

    def __init__(
        self, request: Callable[[], Any] | None = None, verdict: Callable[[], Any] | None = None
    ) -> None:
        self._request, self._verdict = request, verdict

    def request(self, credential: Credential) -> KeyRequest:
        if self._request is not None:
            made: KeyRequest = self._request()
            return made
        return KeyRequest("GET", {"X-Key": credential.value})

    def verdict(self, answer: KeyAnswer) -> Verdict:
        if self._verdict is not None:
            said: Verdict = self._verdict()
            return said
        if answer.status not in {200, 404}:
            raise KeyServiceUnavailable("status", f"status {answer.status}")
        return Verdict(valid=answer.status == 200, consumer=Consumer(id=answer.body.decode()))


def awaitable() -> object:
    """What an async function returns, closed at once: nobody will await it."""

    async def later() -> Verdict:
        return Verdict(valid=True)

    made = later()
    made.close()
    return made


UNASKABLE: dict[str, Callable[[], Any]] = {
    "raises": raises,
    "nothing": lambda: None,
    "a tuple": lambda: ("GET", {}, b""),
    "the class": lambda: KeyRequest,
    "two lines in a header": lambda: KeyRequest("GET", {"X-A": "b\r\nX-B: c"}),
    "two lines in a method": lambda: KeyRequest("GET / HTTP/1.1\r\nX-A: b\r\n\r\nGET", {}),
    "the length of its body": lambda: KeyRequest("POST", {"content-length": "5"}, b"{}"),
    "a name of two lines": lambda: KeyRequest("GET", {"X-A: b\r\nX-B": "c"}),
    "a method that is no text": lambda: KeyRequest(1, {}),  # type: ignore[arg-type]  # what a part may give
    "headers that are none": lambda: KeyRequest("GET", 1),  # type: ignore[arg-type]  # the same
    "a body that is none": lambda: KeyRequest("POST", {}, 1),  # type: ignore[arg-type]  # the same
}

NO_VERDICT: dict[str, Callable[[], Any]] = {
    "raises": raises,
    "nothing": lambda: None,
    "true": lambda: True,
    "a consumer": lambda: Consumer(id="42"),
    "the class": lambda: Verdict,
    "valid by a number": lambda: Verdict(valid=1),  # type: ignore[arg-type]  # the same
    "valid by a text": lambda: Verdict(valid="no"),  # type: ignore[arg-type]  # the same
    "a consumer of another kind": lambda: Verdict(True, consumer={"id": "42"}),  # type: ignore[arg-type]
    "scopes that are a text": lambda: Verdict(True, consumer=Consumer(scopes="admin")),  # type: ignore[arg-type]
    "an id of two lines": lambda: Verdict(True, consumer=Consumer(id="a\r\nX-B: c")),
    "a ttl that is a text": lambda: Verdict(True, ttl="60"),  # type: ignore[arg-type]  # the same
    "an async function": awaitable,
}


@pytest.fixture(scope="module")
def service() -> Iterator[LoopbackKeyService]:
    with LoopbackKeyService() as running:
        running.behave(lambda call: call.send(http_answer(200, b"42")))
        yield running


MISTAKEN = {
    **{f"request-{name}": Asking(request=given) for name, given in UNASKABLE.items()},
    **{f"verdict-{name}": Asking(verdict=given) for name, given in NO_VERDICT.items()},
}


@pytest.mark.parametrize("protocol", MISTAKEN.values(), ids=MISTAKEN)
def test_a01_a_protocol_that_fails_says_nothing_about_a_key(
    protocol: Asking, service: LoopbackKeyService, caplog: pytest.LogCaptureFixture
) -> None:
    with Guarded(validator_url=service.url, validator_protocol=protocol) as guarded:
        assert guarded.code() == (503, "key_service_unavailable")
        assert guarded.app.calls == 0
        assert guarded.guard.stats()["cached_valid"] == guarded.guard.stats()["cached_invalid"] == 0
    assert all(GOOD not in record.getMessage() for record in caplog.records)
    assert "validator_protocol" in caplog.text or "the key service raised" in caplog.text


def test_a_protocol_of_an_apps_own_asks_and_understands() -> None:
    def answer(call: LoopbackCall) -> None:
        known = f"X-Key: {GOOD}\r\n".encode() in call.request
        call.send(http_answer(200 if known else 404, b"42"))

    with (
        LoopbackKeyService() as running,
        Guarded(validator_url=running.url, validator_protocol=Asking()) as guarded,
    ):
        running.behave(answer)
        assert guarded.code() == (200, "")
        assert guarded.code(BAD) == (401, "invalid_credential")
        assert guarded.guard.settings.shown("validator_protocol") == f"{__name__}:Asking"


REJECTING: dict[str, Callable[[Callable[[], Any]], dict[str, Any]]] = {
    "dialect": lambda given: {"dialect": Words(given)},
    "dialect of a route": lambda given: {"routes": [Route("/*", dialect=Words(given))]},
    "render_rejection": lambda given: {"render_rejection": lambda rejection, environ: given()},
}


@pytest.mark.parametrize("cors", [False, True], ids=["", "cors"])
@pytest.mark.parametrize("given", UNSENDABLE.values(), ids=UNSENDABLE)
@pytest.mark.parametrize("door", REJECTING.values(), ids=REJECTING)
def test_a01_what_cannot_be_sent_as_a_refusal_is_a_500_of_ours(
    door: Callable[..., dict[str, Any]],
    given: Callable[[], Any],
    cors: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Guarded(**door(given), **({"cors_origins": "*"} if cors else {})) as guarded:
        page = [("Origin", "https://app.example")]
        for _ in range(2):
            assert guarded.code(None, headers=page) == FAULT
        assert guarded.code(BAD, headers=page) == FAULT
        assert guarded.app.calls == 0
        assert guarded.code(GOOD) == (200, "")
    assert all(GOOD not in record.getMessage() for record in caplog.records)
    assert "the guard failed with" in caplog.text


@pytest.mark.parametrize("door", REJECTING.values(), ids=REJECTING)
def test_a_refusal_of_an_apps_own_is_sent_as_it_is(door: Callable[..., dict[str, Any]]) -> None:
    own = [("Content-Type", "text/plain"), ("X-A", "b"), ("X-A", "c \xe9"), ("X-Empty", "")]
    with Guarded(**door(changed(status=418, headers=[*own, ("content-length", "999")]))) as guarded:
        answer = guarded.get(None)
    assert (answer.status, answer.body) == (418, b"no")
    assert list(answer.headers) == [*own, ("Content-Length", "2")]


def test_a_dialect_is_asked_once_for_the_same_refusal() -> None:
    words = Words(changed())
    with Guarded(dialect=words) as guarded:
        assert [guarded.status(None) for _ in range(3)] == [401] * 3
        assert words.calls == 1
        assert words is guarded.guard.settings.dialect
        assert guarded.guard.settings.shown("dialect") == f"{__name__}:Words"


def test_a_dialect_is_told_where_keys_are_looked_for() -> None:
    class Plain:
        def reject(self, deny: Deny, *, locations: Sequence[object], realm: str) -> Rejection:
            text = f"{deny.reason} {realm} {' '.join(map(str, locations))}"
            return Rejection(401, (("Content-Type", "text/plain"),), text.encode(), deny.reason)

    with Guarded(dialect=Plain(), realm="shop", key_locations=["header:apikey", "cookie:k"]) as guarded:
        assert guarded.get(None).body == b"missing_credential shop header:apikey cookie:k"
