"""Whatever breaks, nobody passes and nobody sees why (threat A-01)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from apikey_guard import (
    Consumer,
    Credential,
    KeyService,
    RateLimited,
    Rejection,
    Route,
    Verdict,
)
from apikey_guard.testing import FakeKeyService
from tests.adapters.presented import (
    ALLOWED,
    FAULT,
    INVALID,
    MISSING,
    UNAVAILABLE,
    asked,
    code,
)
from tests.harness import build_environ, call
from tests.harness.guarded import BAD, GOOD, Guarded

# -- A-01 -----------------------------------------------------------------------------------------


class GreenletExitLike(BaseException):
    pass


ERRORS: list[BaseException] = [
    RecursionError("KCANARY"),
    MemoryError("KCANARY"),
    ValueError("KCANARY"),
    KeyError("KCANARY"),
    OSError("KCANARY"),
    SystemExit("KCANARY"),
    GreenletExitLike("KCANARY"),
    UnicodeEncodeError("latin-1", "KCANARY\u20ac", 7, 8, "ordinal not in range"),
]
ORDINARY = [error for error in ERRORS if isinstance(error, Exception)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a01_whatever_a_key_service_raises_is_unavailable(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def key_service(credential: Credential) -> Verdict:
        if broken:
            raise error
        return Verdict(valid=True)

    with Guarded(key_service=key_service) as guarded:
        assert guarded.code() == UNAVAILABLE
        assert guarded.app.calls == 0
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [type(error).__name__ in record.getMessage() for record in errors] == [True]
        broken = False
        assert guarded.code() == ALLOWED


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        True,
        {"valid": True},
        Verdict(valid="no"),  # type: ignore[arg-type]  # what a hook without type checks may return
        Verdict(valid=1),  # type: ignore[arg-type]  # as above
        Verdict(valid=True, consumer="42"),  # type: ignore[arg-type]  # as above
        Verdict(valid=True, consumer=Consumer(id=42)),  # type: ignore[arg-type]  # as above
        Verdict(valid=True, consumer=Consumer(scopes="admin")),  # type: ignore[arg-type]  # as above
        Verdict(valid=True, consumer=Consumer(scopes=["admin"])),  # type: ignore[arg-type]  # as above
        Verdict(valid=True, consumer=Consumer(username="a\r\nX-Evil: 1")),
        Verdict(valid=True, consumer=Consumer(custom_id="a\x00")),
        Verdict(valid=True, consumer=Consumer(id="\ud800")),
        Verdict(valid=True, credential_id="a\nb"),
        Verdict(valid=True, consumer=Consumer(id="x" * 300)),
    ],
    ids=lambda verdict: ascii(verdict)[:60],
)
def test_a01_a_verdict_that_is_none_or_breaks_a_header_is_unavailable(
    verdict: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What holds for a remote service holds for a hook: unusable is neither valid nor cached."""
    with Guarded(key_service=lambda credential: verdict, routes=[Route("/s", scopes=["a"])]) as guarded:
        assert guarded.code() == UNAVAILABLE
        assert guarded.code(path="/s") == UNAVAILABLE
        assert guarded.app.calls == 0
        assert guarded.guard.stats()["cached_valid"] == guarded.guard.stats()["cached_invalid"] == 0
        assert any(record.levelno == logging.ERROR for record in caplog.records), "nobody is told why"


def test_a01_an_object_needs_nothing_but_verify() -> None:
    class Keys:
        def verify(self, credential: Credential) -> Verdict:
            return Verdict(valid=credential.value == GOOD)

    assert not isinstance(Keys(), KeyService)
    with Guarded(key_service=Keys()) as guarded:
        assert guarded.code() == ALLOWED
        assert guarded.code(BAD) == INVALID


def test_a01_an_object_with_close_is_closed() -> None:
    keys = FakeKeyService([GOOD])
    with Guarded(keys) as guarded:
        assert guarded.code() == ALLOWED
    assert keys.closed


def raising(error: BaseException) -> Any:
    def hook(*arguments: object) -> Any:
        raise error

    return hook


@pytest.mark.parametrize("error", ORDINARY, ids=lambda e: type(e).__name__)
def test_a01_a_rejection_that_cannot_be_rendered_is_a_500_of_ours(error: Exception) -> None:
    with Guarded(render_rejection=raising(error)) as guarded:
        assert asked(guarded) == FAULT
        assert guarded.code() == ALLOWED


@pytest.mark.parametrize("returned", [None, "text", (401, {}, b""), object])
def test_a01_what_is_no_rejection_is_a_500_of_ours(returned: object) -> None:
    with Guarded(render_rejection=lambda rejection, environ: returned) as guarded:
        assert asked(guarded) == FAULT
        assert guarded.app.calls == 0


def test_a01_a_rejection_may_be_rendered_anew() -> None:
    def render(rejection: Rejection, environ: object) -> Rejection:
        return replace(rejection, body=b"no", headers=(("Content-Type", "text/plain"),))

    with Guarded(render_rejection=render) as guarded:
        response = guarded.get(None)
        assert (response.status, response.body, response.header("Content-Length")) == (401, b"no", "2")


@pytest.mark.parametrize("error", ORDINARY, ids=lambda e: type(e).__name__)
def test_a01_a_hook_that_watches_changes_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with Guarded(on_decision=raising(error)) as guarded:
        assert guarded.code() == guarded.code() == ALLOWED
        assert guarded.code(BAD) == INVALID
        assert asked(guarded) == MISSING
        assert guarded.app.calls == 2
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == 4


@pytest.mark.parametrize("error", [SystemExit("x"), GreenletExitLike("x")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("key", [GOOD, None])
def test_a01_what_ends_a_request_never_lets_it_pass(error: BaseException, key: str | None) -> None:
    with Guarded(on_decision=raising(error)) as guarded:
        with pytest.raises(type(error)):
            guarded.get(key)
        assert guarded.app.calls == 0


def test_a01_an_environ_that_cannot_be_read_is_a_500_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    class Hostile(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "HTTP_APIKEY":
                raise ValueError("KCANARY")
            return super().get(key, default)

    with Guarded() as guarded:
        response = call(guarded.wsgi, Hostile(build_environ()), lint=False)
        assert code(response) == FAULT
        assert guarded.app.calls == 0
        assert b"ValueError" not in response.body
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "remembered"])
@pytest.mark.parametrize("key", [None, GOOD, BAD])
@pytest.mark.parametrize("access", ["public", "optional", "required"])
def test_a01_a_request_that_cannot_be_prepared_for_the_app_never_reaches_it(
    access: str, key: str | None, known: bool
) -> None:
    class Fixed(dict[str, Any]):
        """What the caller sent cannot be taken out of it, nor replaced."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("HTTP_"):
                raise TypeError
            super().__setitem__(name, value)

        def __delitem__(self, name: str) -> None:
            raise TypeError

        def pop(self, name: str, *default: Any) -> Any:
            raise TypeError

    with Guarded(routes=[Route("/*", access=access)]) as guarded:  # type: ignore[arg-type]  # one of its words
        if known:
            guarded.code(GOOD)
            guarded.code(BAD)
        calls = guarded.app.calls
        headers = [("X-Consumer-ID", "forged"), *([] if key is None else [("apikey", key)])]
        status, _ = code(call(guarded.wsgi, Fixed(build_environ(headers=headers)), lint=False))
        assert status in {401, 500}
        assert guarded.app.calls == calls


def test_a01_the_apps_own_exception_passes_untouched() -> None:
    error = RuntimeError("the app's")
    with Guarded() as guarded:
        guarded.app.raises = error
        with pytest.raises(RuntimeError) as caught:
            guarded.get()
        assert caught.value is error


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -5.0, 0.0, 0.2, None])
def test_a01_no_rate_limit_makes_a_fault(seconds: float | None) -> None:
    with Guarded(key_service=raising(RateLimited(seconds))) as guarded:
        response = guarded.get()
        assert (response.status, response.header("Retry-After")) == (429, "1")
