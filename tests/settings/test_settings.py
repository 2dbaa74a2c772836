"""What holds for the settings as a whole: rank of sources, one error, masking, secure defaults."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

import pytest

from apikey_guard.core.dialects import DIALECTS
from apikey_guard.core.model import Credential, Verdict
from apikey_guard.core.routing import Route
from apikey_guard.errors import SettingsError
from apikey_guard.keyservice.protocols import PROTOCOLS
from apikey_guard.settings import DEFAULTS, SETTING_NAMES, UNSET, Settings, SettingsArgs, load_settings

URL = "https://keys.example.com/verify"


def problems_of(given: Mapping[str, object], **options: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**given, environ={}, **options)  # type: ignore[arg-type]  # a test's own mapping
    return caught.value.problems


def deny_all(credential: Credential) -> Verdict:
    return Verdict.invalid()


# Rank ----------------------------------------------------------------------------------------

RANKED = ["keyword", "framework config", "environment APIKEY_GUARD_CACHE_TTL", "file", "default"]


def load_from(given_in: Mapping[str, float], tmp_path: Path) -> Settings:
    """Settings with cache_ttl given in the named sources."""
    file = tmp_path / "guard.toml"
    file.write_text(f"cache_ttl = {given_in['file']}\n" if "file" in given_in else "")
    environ = {"APIKEY_GUARD_CONFIG_FILE": str(file)}
    if RANKED[2] in given_in:
        environ["APIKEY_GUARD_CACHE_TTL"] = str(given_in[RANKED[2]])
    return load_settings(
        validator_url=URL,
        cache_ttl=given_in.get("keyword", UNSET),
        framework={"CACHE_TTL": given_in["framework config"]} if "framework config" in given_in else None,
        environ=environ,
    )


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(winner, loser, id=f"{winner} over {loser}")
        for position, winner in enumerate(RANKED)
        for loser in RANKED[position + 1 :]
    ],
)
@pytest.mark.parametrize("value", [30.0, 0.0], ids=["a value", "zero, which is given"])
def test_a_source_of_higher_rank_wins(winner: str, loser: str, value: float, tmp_path: Path) -> None:
    given = {name: value if name == winner else 40.0 for name in (winner, loser) if name != "default"}
    settings = load_from(given, tmp_path)
    assert settings.cache_ttl == value
    expected = f"file {tmp_path / 'guard.toml'}, line 1" if winner == "file" else winner
    assert settings.sources["cache_ttl"] == expected


@pytest.mark.parametrize(
    ("name", "given", "below"),
    [
        ("hide_credentials", False, True),
        ("cache_max_entries", 0, 5),
        ("routes", [], [Route("/health", access="public")]),
        ("key_pattern", None, "ak_"),
        ("validator_headers", {}, {"Authorization": "Bearer SCANARY"}),
        ("validator_cache_control", None, True),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_what_is_given_wins_even_where_it_is_false(name: str, given: object, below: object) -> None:
    settings = load_settings(**{"validator_url": URL, name: given}, framework={name: below}, environ={})
    assert getattr(settings, name) == (tuple(given) if isinstance(given, list) else given)
    assert settings.sources[name] == "keyword"


def test_unset_is_not_given() -> None:
    settings = load_settings(validator_url=URL, cache_ttl=UNSET, nonsense=UNSET, environ={})
    assert settings.cache_ttl == 60.0
    assert settings.sources["cache_ttl"] == "default"
    assert repr(UNSET) == "UNSET"


def test_every_setting_says_where_it_came_from() -> None:
    settings = load_settings(validator_url=URL, environ={"APIKEY_GUARD_MODE": "monitor"})
    assert tuple(settings.sources) == SETTING_NAMES
    assert settings.sources["validator_url"] == "keyword"
    assert settings.sources["mode"] == "environment APIKEY_GUARD_MODE"
    assert settings.sources["realm"] == "default"


def test_the_environment_is_read_when_asked_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIKEY_GUARD_VALIDATOR_URL", URL)
    monkeypatch.setenv("APIKEY_GUARD_CACHE_TTL", "7")
    assert load_settings().cache_ttl == 7.0
    monkeypatch.setenv("APIKEY_GUARD_CACHE_TTL", "8")
    assert load_settings().cache_ttl == 8.0


def test_a_bad_environment_does_not_hinder_the_import() -> None:
    environ = {"APIKEY_GUARD_CACHE_TTL": "nonsense", "APIKEY_GUARD_CONFIG_FILE": "/does/not/exist"}
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", "import apikey_guard.settings"], env=environ | paths, timeout=30
    )
    assert done.returncode == 0


# One error -----------------------------------------------------------------------------------


def test_all_problems_of_all_sources_stand_in_one_error(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text('realm = "a\\"b"\nmod = "enforce"\n\n[[routes]]\npath = "relative"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(
            validator_timeout=0,
            cahce_ttl=5,
            config_file=file,
            framework={"KEY_LOCATIONS": ["header:X_Key", "query:apikey", "query:apikey"]},
            environ={"APIKEY_GUARD_CACHE_MAX_ENTRIES": "many"},
        )
    starts = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert starts == [
        "cahce_ttl",
        f"mod (file {file}, line 2)",
        "validator_timeout",
        "key_locations (framework config)",
        "key_locations (framework config)",
        "cache_max_entries (environment APIKEY_GUARD_CACHE_MAX_ENTRIES)",
        f"routes (file {file}, line 4)",
        f"realm (file {file}, line 1)",
        "validator_url",
    ]
    text = str(caught.value)
    assert all(problem in text for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cahce_ttl", "cache_ttl"),
        ("CACHE_TTL", "cache_ttl"),
        ("validators_url", "validator_url"),
        ("key_location", "key_locations"),
        ("hide_credential", "hide_credentials"),
        ("APIKEY_GUARD_MODE", "mode"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_closest(name: str, meant: str) -> None:
    (problem,) = problems_of({"validator_url": URL, name: 1})
    assert problem == f"{name}: there is no such setting; did you mean {meant}?"


@pytest.mark.parametrize("name", ["shared_cache_url", "namespace"])
def test_what_is_not_built_yet_is_an_unknown_name(name: str) -> None:
    (problem,) = problems_of({"validator_url": URL, name: "x"})
    assert problem.startswith(f"{name}: there is no such setting")


def test_an_unknown_name_in_framework_config_says_so() -> None:
    (problem,) = problems_of({"validator_url": URL}, framework={"MODEE": "off"})
    assert problem == "modee (framework config): there is no such setting; did you mean mode?"


def test_one_framework_name_in_two_spellings_is_an_error() -> None:
    (problem,) = problems_of({"validator_url": URL}, framework={"MODE": "off", "mode": "enforce"})
    assert "twice" in problem


def test_a14_without_anybody_who_knows_the_keys_nothing_starts() -> None:
    assert problems_of({}) == (
        "validator_url: nobody knows the keys; give validator_url, keys_file or key_service",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"validator_url": URL, "keys_file": "keys.toml"},
        {"validator_url": URL, "key_service": deny_all},
        {"keys_file": "keys.toml", "key_service": deny_all},
        {"validator_url": URL, "keys_file": "keys.toml", "key_service": deny_all},
    ],
    ids=lambda given: " and ".join(given),
)
def test_a14_only_one_party_knows_the_keys(given: dict[str, object]) -> None:
    (problem,) = problems_of(given)
    assert all(name in problem for name in given)


def test_two_parties_from_two_sources_are_named_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text('keys_file = "keys.toml"\n')
    with pytest.raises(SettingsError, match="only one of them") as caught:
        load_settings(config_file=file, environ={"APIKEY_GUARD_VALIDATOR_URL": URL})
    assert f"keys_file (file {file}, line 1)" in str(caught.value)
    assert "validator_url (environment APIKEY_GUARD_VALIDATOR_URL)" in str(caught.value)


# The value -----------------------------------------------------------------------------------


def test_settings_are_immutable() -> None:
    settings = load_settings(
        validator_url=URL, key_locations=["header:a"], identity_headers={"id": "X-Me"}, environ={}
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.mode = "off"  # type: ignore[misc]  # the point of the test
    assert settings.key_locations == ("header:a",)
    for mapping in (settings.validator_headers, settings.identity_headers, settings.sources, DEFAULTS):
        with pytest.raises(TypeError):
            mapping["id"] = "x"  # type: ignore[index]  # the point of the test


def test_what_was_given_can_change_afterwards_without_harm() -> None:
    locations, headers = ["header:a"], {"Authorization": "one"}
    settings = load_settings(
        validator_url=URL, key_locations=locations, validator_headers=headers, environ={}
    )
    locations.append("query:b")
    headers["Authorization"] = "two"
    assert settings.key_locations == ("header:a",)
    assert settings.validator_headers == {"Authorization": "one"}


def test_equality_and_hash_look_at_values_not_at_places() -> None:
    given = {"validator_url": URL, "validator_headers": {"A": "b"}, "identity_headers": {"id": "X-Me"}}
    keyword = load_settings(**given, environ={})
    framework = load_settings(framework=given, environ={})
    assert keyword == framework
    assert hash(keyword) == hash(framework)
    assert keyword != dataclasses.replace(keyword, mode="off")
    assert {keyword: 1}[framework] == 1


def test_a_settings_value_can_be_written_in_the_program_and_is_checked_too() -> None:
    settings = Settings(validator_url=URL, cache_ttl=30)
    assert settings == load_settings(validator_url=URL, cache_ttl=30, environ={})
    assert settings.sources["cache_ttl"] == "keyword"
    assert settings.sources["mode"] == "default"
    with pytest.raises(SettingsError, match="nobody knows the keys") as caught:
        Settings(cache_ttl=-1)
    assert len(caught.value.problems) == 2
    with pytest.raises(SettingsError, match="mode"):
        dataclasses.replace(settings, mode="on")  # type: ignore[arg-type]  # the point of the test


def test_every_setting_has_a_meaning_and_a_default() -> None:
    for known in dataclasses.fields(Settings):
        if known.name == "sources":
            continue
        assert known.name in SETTING_NAMES
        assert known.metadata["help"].endswith(".")
    assert set(DEFAULTS) == set(SETTING_NAMES)


def test_s12_secure_defaults() -> None:
    settings = load_settings(validator_url=URL, environ={})
    expected = {
        "validator_allow_http": False,
        "validator_ca": None,
        "validator_proxy": None,
        "validator_timeout": 2.0,
        "validator_cache_control": None,
        "key_locations": ("header:apikey", "query:apikey"),
        "key_conflict": "reject",
        "key_max_length": 512,
        "hide_credentials": None,
        "cache_ttl": 60.0,
        "negative_ttl": 5.0,
        "stale_if_error": 300.0,
        "cache_max_entries": 100_000,
        "negative_max_entries": 10_000,
        "routes": (),
        "default_access": "required",
        "mode": "enforce",
        "allow_preflight": False,
        "identity_headers": True,
    }
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize("protocol", ["json", "status", "introspection", "unkey"])
@pytest.mark.parametrize("given", [None, True, False])
def test_cache_control_counts_for_protocol_status_unless_said_otherwise(
    protocol: str, given: bool | None
) -> None:
    settings = load_settings(
        validator_url=URL, validator_protocol=protocol, validator_cache_control=given, environ={}
    )
    assert settings.obeys_cache_control is (protocol == "status" if given is None else given)


def test_other_identity_headers_leave_the_rest_as_they_are() -> None:
    given = {"validator_url": URL, "identity_headers": {"id": "X-My-ID"}}
    names = load_settings(**given, environ={}).identity_header_names
    assert names is not None
    assert (names["id"], names["username"]) == ("X-My-ID", "X-Consumer-Username")
    assert load_settings(**{**given, "identity_headers": False}, environ={}).identity_header_names is None
    assert (
        len(load_settings(**{**given, "identity_headers": True}, environ={}).identity_header_names or ()) == 5
    )


def test_the_typed_keywords_are_the_settings() -> None:
    assert tuple(SettingsArgs.__annotations__) == SETTING_NAMES


@pytest.mark.parametrize("given", [Settings, SettingsArgs])
@pytest.mark.parametrize(("name", "registry"), [("dialect", DIALECTS), ("validator_protocol", PROTOCOLS)])
def test_editors_complete_the_names_that_there_are(
    given: type, name: str, registry: Mapping[str, object]
) -> None:
    parts = typing.get_args(typing.get_type_hints(given)[name])
    assert {word for part in parts for word in typing.get_args(part)} == set(registry)
