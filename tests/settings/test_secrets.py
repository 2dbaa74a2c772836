"""No secret is shown: not in a ``repr``, not in an error, not among the variables of a traceback."""

from __future__ import annotations

import copy
import pickle

import pytest

from apikey_guard.core.model import Credential, Verdict
from apikey_guard.errors import SettingsError
from apikey_guard.settings import SETTING_NAMES, Settings, load_settings

URL = "https://keys.example.com/verify"


def deny_all(credential: Credential) -> Verdict:
    return Verdict.invalid()


SECRET_SETTINGS: dict[str, object] = {
    "validator_url": f"{URL}?code=SCANARY",
    "validator_headers": {"Authorization": "Bearer SCANARY"},
    "validator_proxy": "http://someone:SCANARY@proxy.example.com:3128",
    "fingerprint_secret": "SCANARY-SCANARY-SCANARY",
}


def test_k01_no_secret_is_shown() -> None:
    settings = load_settings(**SECRET_SETTINGS, environ={})
    seen = [repr(settings), str(settings), f"{settings}"]
    seen += [settings.shown(name) for name in SETTING_NAMES]
    seen += [repr(getattr(settings, name)) for name in ("validator_headers", "fingerprint_secret")]
    seen += [str(settings.fingerprint_secret), str(settings.validator_headers), repr(settings.sources)]
    assert not [text for text in seen if "SCANARY" in text]
    assert settings.shown("validator_url") == "'https://keys.example.com/verify?***'"
    assert settings.shown("validator_proxy") == "'http://***@proxy.example.com:3128'"
    assert settings.shown("validator_headers") == "{'Authorization': '***'}"
    assert settings.validator_headers["Authorization"] == "Bearer SCANARY"
    assert settings.fingerprint_secret == b"SCANARY-SCANARY-SCANARY"


@pytest.mark.parametrize(
    "given",
    [
        {"validator_url": "https://someone:SCANARY@keys.example.com/"},
        {"validator_url": "https://keys.example.com:SCANARY/"},
        {"validator_url": "https://[SCANARY/"},
        {"validator_url": "SCANARY"},
        {"validator_url": "https://keys.example.com/SCANARY/{key}"},
        {"validator_url": "http://keys.example.com/?code=SCANARY"},
        {"validator_url": f"{URL}?apikey=SCANARY"},
        {"validator_url": ["SCANARY"]},
        {"validator_proxy": "http://a:SCANARY@proxy.example.com/path"},
        {"validator_headers": {"Authorization": "SCANARY\nX: y"}},
        {"validator_headers": {"Authorization: SCANARY": "x"}},
        {"validator_headers": {"Content-Length": "SCANARY"}},
        {"validator_headers": "Authorization: SCANARY"},
        {"validator_headers": ["SCANARY"]},
        {"validator_key_header": "Bearer SCANARY"},
        {"validator_key_header": "sk_SCANARY"},
        {"key_pattern": "SCANARY("},
        {"fingerprint_secret": "SCANARY"},
        {"fingerprint_secret": ["SCANARY"]},
    ],
    ids=lambda given: next(iter(given)),
)
def test_k01_no_secret_stands_in_an_error(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"validator_url": URL, **given}, environ={})
    assert "SCANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ['{"Authorization": "SCANARY', '["SCANARY"]', "SCANARY", "{" * 100_000])
def test_k01_no_secret_of_the_environment_stands_in_an_error(text: str) -> None:
    environ = {"APIKEY_GUARD_VALIDATOR_HEADERS": text, "APIKEY_GUARD_VALIDATOR_URL": URL}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    (problem,) = caught.value.problems
    assert problem.startswith("validator_headers (environment APIKEY_GUARD_VALIDATOR_HEADERS): ")
    assert "SCANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_stay_secret_as_values() -> None:
    settings = load_settings(**SECRET_SETTINGS, environ={})
    assert "SCANARY" not in repr(vars_of(settings))
    assert "SCANARY" not in repr(copy.copy(settings))
    with pytest.raises(TypeError):
        pickle.dumps(settings)


def vars_of(settings: Settings) -> list[object]:
    """What a traceback with local variables would show of the secret fields."""
    return [settings.validator_headers, settings.fingerprint_secret, [settings.fingerprint_secret]]


def test_a_hook_is_shown_by_its_name() -> None:
    class Service:
        def verify(self, credential: Credential) -> Verdict:
            return Verdict.invalid()

        def __repr__(self) -> str:
            return "SCANARY"

    shown = load_settings(key_service=Service(), environ={}).shown("key_service")
    assert shown.endswith(":test_a_hook_is_shown_by_its_name.<locals>.Service")
    assert load_settings(key_service=deny_all, environ={}).shown("key_service").endswith(":deny_all")


def test_what_is_no_setting_cannot_be_shown() -> None:
    with pytest.raises(KeyError):
        load_settings(validator_url=URL, environ={}).shown("sources")
