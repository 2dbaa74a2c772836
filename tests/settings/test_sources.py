"""How values are read from the environment and from a TOML file, and how hooks are found."""

from __future__ import annotations

import codecs
import dataclasses
import typing
from pathlib import Path

import pytest

from apikey_guard.core.routing import Route
from apikey_guard.errors import SettingsError
from apikey_guard.forwarding.spec import OriginSpec, OriginTarget
from apikey_guard.settings import SETTING_NAMES, Settings, load_settings
from apikey_guard.settings.sources import HOOKS

URL = "https://keys.example.com/verify"


def from_environment(**values: str) -> Settings:
    environ = {f"APIKEY_GUARD_{name.upper()}": text for name, text in values.items()}
    party = {} if {"validator_url", "keys_file", "key_service"} & values.keys() else {"validator_url": URL}
    return load_settings(**party, environ=environ)


A_INTERNAL = OriginTarget("https", "a.internal", 443)
ENVIRONMENT = [
    ("validator_url", "https://other.example.com/", "https://other.example.com/"),
    ("validator_protocol", "status", "status"),
    ("validator_headers", '{"Authorization": "Bearer SCANARY, x"}', {"Authorization": "Bearer SCANARY, x"}),
    ("validator_headers", "", {}),
    ("validator_key_header", "X-Key", "X-Key"),
    ("validator_timeout", "1.5", 1.5),
    ("validator_timeout", "3", 3.0),
    ("validator_max_concurrency", "4", 4),
    ("validator_ca", "ca.pem", "ca.pem"),
    ("validator_client_cert", "both.pem", None),
    ("validator_client_cert", "cert.pem, key.pem", ("cert.pem", "key.pem")),
    ("validator_client_cert", '["cert.pem", "key.pem"]', ("cert.pem", "key.pem")),
    ("validator_proxy", "http://proxy.example.com:3128", "http://proxy.example.com:3128"),
    ("validator_proxy", "", None),
    ("validator_cache_control", "true", True),
    ("validator_cache_control", "", None),
    ("validator_allow_http", "1", True),
    ("keys_file", "keys.toml", "keys.toml"),
    ("key_locations", "header:X-Key", ("header:X-Key",)),
    ("key_locations", "header:X-Key, query:key ,body:key", ("header:X-Key", "query:key", "body:key")),
    ("key_locations", '["header:X-Key", "query:key"]', ("header:X-Key", "query:key")),
    ("key_pattern", "[a-z]{3,9}", "[a-z]{3,9}"),
    ("key_pattern", "123", "123"),
    ("key_pattern", "", None),
    ("key_max_length", "64", 64),
    ("key_conflict", "first", "first"),
    ("body_max_bytes", "1024", 1024),
    ("hide_credentials", "false", False),
    ("hide_credentials", "False", False),
    ("hide_credentials", "0", False),
    ("hide_credentials", "TRUE", "remove"),
    ("hide_credentials", "replace", "replace"),
    ("hide_credentials", "remove", "remove"),
    ("hide_credentials", "", None),
    ("cache_ttl", "0", 0.0),
    ("cache_ttl", "1e2", 100.0),
    ("negative_ttl", "2", 2.0),
    ("stale_if_error", "0", 0.0),
    ("cache_max_entries", "10", 10),
    ("negative_max_entries", "0", 0),
    ("routes", '[{"path": "/health", "access": "public"}]', (Route("/health", access="public"),)),
    ("routes", "[]", ()),
    ("routes", "", ()),
    ("default_access", "public", "public"),
    ("mode", "monitor", "monitor"),
    ("allow_preflight", "true", True),
    ("cors_origins", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
    ("dialect", "standard", "standard"),
    ("realm", "true", "true"),
    ("identity_headers", "false", False),
    ("identity_headers", '{"id": "X-Me"}', {"id": "X-Me"}),
    ("fingerprint_secret", "1234567890123456", b"1234567890123456"),
    ("fingerprint_secret", "", None),
    ("origin", "https://api.internal", ("https://api.internal",)),
    ("origin", "https://a.internal, https://b.internal", ("https://a.internal", "https://b.internal")),
    ("origin", "", None),
    ("origins", '{"one": "https://a.internal"}', {"one": OriginSpec(name="one", targets=(A_INTERNAL,))}),
    ("preserve_host", "true", True),
    ("origin_via", "false", False),
    ("origin_connect_timeout", "1.5", 1.5),
    ("origin_read_timeout", "30", 30.0),
    ("origin_idle_timeout", "0", 0.0),
    ("origin_max_connections", "8", 8),
    ("trusted_proxies", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    ("health_path", "/alive", "/alive"),
    ("health_path", "", None),
    ("choose_origin", "operator:concat", None),
    ("config_file", "", None),
    ("key_service", "operator:not_", None),
    ("key_service_in_pool", "true", True),
    ("shared_cache", "tests.harness.shared:nothing", None),
    ("render_rejection", "operator:getitem", None),
    ("on_decision", "operator:contains", None),
]


@pytest.mark.parametrize(
    ("name", "text", "value"), ENVIRONMENT, ids=[f"{n}={t}"[:50] for n, t, _ in ENVIRONMENT]
)
def test_a_value_of_the_environment(name: str, text: str, value: object) -> None:
    # It can only choose among some.
    others = {"origins": '{"one": "https://a.internal"}'} if name == "choose_origin" else {}
    settings = from_environment(**others, **{name: text})
    found = getattr(settings, name)
    if name in HOOKS:
        assert found.__name__ == text.partition(":")[2].rstrip("_") + ("_" if text.endswith("_") else "")
    else:
        assert found == (text if value is None and text else value)
    assert settings.sources[name] == f"environment APIKEY_GUARD_{name.upper()}"


def test_every_setting_can_be_given_in_the_environment() -> None:
    assert {name for name, _, _ in ENVIRONMENT} == set(SETTING_NAMES)


def test_every_setting_is_read_as_what_its_field_holds() -> None:
    """A new field whose text is not read as its type would always be refused."""
    hints = typing.get_type_hints(Settings)
    for name in SETTING_NAMES:
        if hints[name] in {bool, int, float}:
            settings = from_environment(**{name: "1"})
            assert type(getattr(settings, name)) is hints[name], name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cache_ttl", "soon"),
        ("cache_ttl", ""),
        ("cache_ttl", "nan"),
        ("cache_ttl", "inf"),
        ("cache_ttl", "9" * 5000),
        ("cache_max_entries", "1.5"),
        ("cache_max_entries", "true"),
        ("hide_credentials", "yes"),
        ("hide_credentials", "2"),
        ("mode", ""),
        ("key_locations", ""),
        ("key_locations", "header:a,,query:b"),
        ("key_locations", '["header:a"'),
        ("key_locations", "{}"),
        ("routes", "/health"),
        ("routes", "[" + "9" * 5000 + "]"),
        ("validator_headers", "Authorization: x"),
        ("identity_headers", "X-Me"),
        ("key_service", "no.such.module:verify"),
        ("key_service", "operator:no_such_name"),
        ("key_service", "operator.not_"),
        ("key_service", "operator:"),
        ("key_service", "a b:c"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_of_the_environment_that_cannot_be_read(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment(**{name: text})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name} (environment APIKEY_GUARD_{name.upper()}): ")
    assert len(problem) < 300


def test_a_part_of_an_app_is_named_as_a_hook_is() -> None:
    settings = from_environment(dialect="tests.settings.test_values:WITH_REJECT")
    assert settings.shown("dialect") == "tests.settings.test_values:WithReject"


def test_unknown_names_in_the_environment_are_one_warning_and_no_error() -> None:
    environ = {
        "APIKEY_GUARD_VALIDATOR_URL": URL,
        "APIKEY_GUARD_PORT": "tcp://10.0.0.1:80/SCANARY",
        "APIKEY_GUARD_CAHCE_TTL": "5",
        "APIKEY_GUARD_mode": "off",
        "apikey_guard_realm": "ignored",
        "PORT": "80",
    }
    with pytest.warns(UserWarning, match="not settings of apikey_guard") as caught:
        settings = load_settings(environ=environ)
    (warning,) = caught
    text = str(warning.message)
    assert "APIKEY_GUARD_PORT" in text
    assert "APIKEY_GUARD_CAHCE_TTL (did you mean APIKEY_GUARD_CACHE_TTL?)" in text
    assert "APIKEY_GUARD_mode" in text
    assert "SCANARY" not in text
    assert warning.filename == __file__
    assert settings == load_settings(validator_url=URL, environ={})


FULL = """
validator_url = "https://keys.example.com/verify"
validator_timeout = 1
cache_ttl = 30.5
hide_credentials = false
key_locations = [
  "header:X-Key",
  "authorization:Bearer",
]

[validator_headers]
Authorization = "Bearer SCANARY"

[identity_headers]
id = "X-Me"

[[routes]]
path = "/health"
access = "public"

[[routes]]
path = "/v1/*"
methods = ["GET", "POST"]
scopes = ["read"]
"""


def test_a_file_may_hold_every_kind_of_setting(tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text(FULL)
    settings = load_settings(config_file=file, environ={})
    assert settings.validator_timeout == 1.0
    assert settings.cache_ttl == 30.5
    assert settings.hide_credentials is False
    assert settings.key_locations == ("header:X-Key", "authorization:Bearer")
    assert settings.validator_headers == {"Authorization": "Bearer SCANARY"}
    assert settings.identity_headers == {"id": "X-Me"}
    health, v1 = settings.routes
    assert health == Route("/health", access="public")
    assert v1 == Route("/v1/*", methods=["GET", "POST"], scopes=["read"])
    assert settings.config_file == str(file)
    lines = {
        name: FULL.splitlines().index(text) + 1
        for name, text in [
            ("validator_headers", "[validator_headers]"),
            ("routes", "[[routes]]"),
            ("cache_ttl", "cache_ttl = 30.5"),
        ]
    }
    for name, line in lines.items():
        assert settings.sources[name] == f"file {file}, line {line}"


@pytest.mark.parametrize("source", ["keyword", "framework config", "environment"])
def test_the_file_may_be_named_in_every_source(source: str, tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_bytes(b"\xef\xbb\xbf" + FULL.encode())
    settings = load_settings(
        **{"config_file": file} if source == "keyword" else {},
        framework={"CONFIG_FILE": str(file)} if source == "framework config" else None,
        environ={"APIKEY_GUARD_CONFIG_FILE": str(file)} if source == "environment" else {},
    )
    assert settings.cache_ttl == 30.5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('cache_ttl = 5\nrealm = "open\n', "line 2"),
        ("cache_ttl = 5\ncache_ttl = 6\n", "line 2"),
        ("cache_ttl: 5\n", "line 1"),
        ("realm = 'é'".encode("latin-1"), "is not UTF-8 text"),
        (b"\xff\xfe", "is not UTF-8 text but UTF-16: save it anew"),
        (codecs.BOM_UTF16_BE + "cache_ttl = 5".encode("utf-16-be"), "is not UTF-8 text but UTF-16"),
        ("x = " + "[" * 5_000, "is not TOML"),
        ("cache_ttl = " + "9" * 5_000, "is not TOML"),
    ],
    ids=["open text", "twice", "yaml", "latin-1", "utf-16", "utf-16, the other way", "nested", "huge number"],
)
def test_a_broken_file_is_named_with_the_line(content: str | bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as caught:
        load_settings(config_file=file, environ={})
    # Not told in the same breath: that validator_url is missing, which may be in the file.
    (problem,) = caught.value.problems
    assert problem.startswith(f"file {file}: ")
    assert says in problem


def test_a_broken_file_does_not_hide_other_problems(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(mode="on", modus=1, config_file=tmp_path / "absent.toml", environ={})
    starts = [problem.partition(":")[0] for problem in caught.value.problems]
    assert starts == ["modus", f"file {tmp_path / 'absent.toml'}", "mode"]
    assert "does not exist" in caught.value.problems[1]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(config_file=tmp_path, environ={})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('\nmodus = "off"\n', "modus (file {file}, line 2): there is no such setting; did you mean mode?"),
        ('"mode" = "on"\n', "mode (file {file}, line 1): must be one of enforce, monitor, off, not 'on'"),
        ('config_file = "b.toml"\n', "config_file (file {file}, line 1): a file cannot name another one"),
        ("[mode]\nx = 1\n", "mode (file {file}, line 1): must be one of enforce, monitor, off, not a dict"),
    ],
    ids=["unknown", "bad value", "another file", "a table"],
)
def test_a_problem_in_the_file_is_named_with_the_line(content: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(validator_url=URL, config_file=file, environ={})
    assert caught.value.problems == (problem.format(file=file),)


@pytest.mark.parametrize("source", ["keyword", "framework config", "environment", "file"])
def test_a_hook_may_be_named_by_its_dotted_path(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"hooks_{source.split()[0]}.py").write_text(
        "class Keys:\n    def verify(self, credential): ...\nclass App:\n    keys = Keys()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    dotted = f"hooks_{source.split()[0]}:App.keys"
    file = tmp_path / "guard.toml"
    file.write_text(f'key_service = "{dotted}"\n' if source == "file" else "")
    settings = load_settings(
        **{"key_service": dotted} if source == "keyword" else {},
        framework={"KEY_SERVICE": dotted} if source == "framework config" else None,
        environ={"APIKEY_GUARD_KEY_SERVICE": dotted} if source == "environment" else {},
        config_file=file,
    )
    assert type(settings.key_service).__name__ == "Keys"


def test_a_hook_whose_module_fails_shows_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks_that_fail.py").write_text("raise RuntimeError('mine')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="mine"):
        load_settings(key_service="hooks_that_fail:verify", environ={})


def test_settings_can_be_changed_by_copy() -> None:
    settings = load_settings(validator_url=URL, environ={})
    changed = dataclasses.replace(settings, cache_ttl=1, negative_ttl=1)
    assert (changed.cache_ttl, settings.cache_ttl) == (1.0, 60.0)
