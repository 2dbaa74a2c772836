"""``apikey-guard check`` and ``verify``: answers, exit statuses, and no key or secret in sight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apikey_guard.testing import LoopbackKeyService
from tests.cli.run import run, run_on_terminal

KEY = "KCANARY_good"
NOBODY_LISTENS = "http://127.0.0.1:9/verify"


@pytest.fixture(scope="module")
def url() -> str:
    with LoopbackKeyService(
        {KEY: {"consumer": {"id": "42", "username": "acme"}, "scopes": ["read"]}}
    ) as service:
        yield service.url


def test_check_shows_every_setting_with_its_source(tmp_path: Path, url: str) -> None:
    (tmp_path / "guard.toml").write_text("negative_ttl = 3\n")
    env = {
        "APIKEY_GUARD_VALIDATOR_URL": url,
        "APIKEY_GUARD_VALIDATOR_HEADERS": '{"Authorization": "Bearer SCANARY"}',
    }
    done = run(tmp_path, "check", "--config", "guard.toml", "--set", "cache_ttl=30", env=env)
    assert done.status == 0, done.out
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.startswith("  ")}
    assert lines["cache_ttl"].endswith("--set")
    assert lines["negative_ttl"].endswith("file guard.toml, line 1")
    assert lines["validator_url"].endswith("environment APIKEY_GUARD_VALIDATOR_URL")
    assert lines["realm"].endswith("default")
    assert "a made-up key is invalid, as it must be" in done.out
    assert "a revoked key works for 30 s at most, 330 s while the key service is down" in done.out
    assert "SCANARY" not in done.out + done.err
    assert "\x1b" not in done.out


def test_check_is_coloured_on_a_terminal_only_where_wanted(tmp_path: Path, url: str) -> None:
    arguments = ("check", "--set", f"validator_url={url}")
    assert "\x1b[32m✓" in run_on_terminal(tmp_path, *arguments).out
    assert "\x1b" not in run_on_terminal(tmp_path, *arguments, env={"NO_COLOR": "1"}).out


def test_check_lists_every_problem(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--set", "cache_tll=3", "--set", "mode=on")
    assert done.status == 1
    assert "did you mean cache_ttl?" in done.out
    assert "mode: must be one of" in done.out
    assert "nobody knows the keys" in done.out


PROBLEMS = {
    "nobody listens": ([f"validator_url={NOBODY_LISTENS}"], "cannot be connected to"),
    "no key file": (["keys_file=missing.toml"], "there is no key file"),
    "lets everybody in": (["key_service=everybody:verify"], "calls a made-up key valid"),
    "raises": (["key_service=everybody:fail"], "it raised RuntimeError"),
}


@pytest.mark.parametrize(("settings", "says"), PROBLEMS.values(), ids=PROBLEMS)
def test_check_finds_a_key_service_that_cannot_work(tmp_path: Path, settings: list[str], says: str) -> None:
    (tmp_path / "everybody.py").write_text(
        "from apikey_guard import Verdict\n"
        "def verify(credential): return Verdict(valid=True)\n"
        "def fail(credential): raise RuntimeError(credential.value)\n"
    )
    done = run(tmp_path, "check", *(part for text in settings for part in ("--set", text)))
    assert done.status == 1
    assert says in done.out
    assert "Traceback" not in done.err


CODES: dict[str, tuple[list[str], set[str]]] = {
    "unknown": (["keys_file=keys.toml", "cache_tll=1"], {"unknown_setting"}),
    "nobody knows the keys": ([], {"no_key_service"}),
    "in the clear": (["validator_url=http://keys.example.com/"], {"plain_http"}),
    "a wrong value": (["keys_file=keys.toml", "cache_ttl=-1"], {"wrong_value"}),
    "warnings": (
        ["key_service=app:f", "mode=monitor", "cache_ttl=0", "trusted_proxies=::/0"],
        {"not_enforced", "nothing_remembered", "everybody_trusted", "key_in_query"},
    ),
    "open": (
        ["key_service=app:f", "default_access=public", "allow_preflight=true", "hide_credentials=false"],
        {"open_by_default", "allow_preflight", "keys_visible", "key_in_query"},
    ),
    "a route that is not enforced": (
        ["key_service=app:f", 'routes=[{"path": "/new/*", "mode": "monitor"}]'],
        {"not_enforced", "key_in_query"},
    ),
}


@pytest.mark.parametrize(("settings", "codes"), CODES.values(), ids=CODES)
def test_each_finding_has_a_word_for_programs(tmp_path: Path, settings: list[str], codes: set[str]) -> None:
    (tmp_path / "app.py").write_text("def f(credential): ...\n")
    given = (part for text in settings for part in ("--set", text))
    found = json.loads(run(tmp_path, "check", "--offline", "--json", *given).out)["findings"]
    assert {one["code"] for one in found if one["level"] != "good"} == codes


def test_check_warns_and_still_ends_with_0(tmp_path: Path) -> None:
    assert run(tmp_path, "keys", "create", "acme").status == 0
    (tmp_path / "keys.toml").chmod(0o644)
    done = run(tmp_path, "check", "--json", "--set", "keys_file=keys.toml", "--set", "mode=monitor")
    assert done.status == 0
    report = json.loads(done.out)
    warnings = [one["text"] for one in report["findings"] if one["level"] == "warning"]
    for start in ("key_locations: keys in the query", "keys_file: keys.toml may be read", "mode: monitor"):
        assert any(text.startswith(start) for text in warnings), warnings
    assert report["ok"] is True
    assert report["settings"]["mode"] == {"value": "'monitor'", "source": "--set"}


def test_check_warns_of_routes_that_some_servers_take_for_one(tmp_path: Path, url: str) -> None:
    (tmp_path / "guard.toml").write_text(
        f'validator_url = "{url}"\n'
        '[[routes]]\npath = "/Admin/*"\nscopes = ["admin"]\n'
        '[[routes]]\npath = "/admin/*"\n'
        '[[routes]]\npath = "/reports"\naccess = "public"\n'
        '[[routes]]\npath = "/reports/"\n'
    )
    done = run(tmp_path, "check", "--config", "guard.toml", "--offline")
    assert done.status == 0, done.out
    for one, other in (("/Admin/*", "/admin/*"), ("/reports", "/reports/")):
        assert f"'{one}' and '{other}' differ by letter case or the last slash only" in done.out


def test_check_warns_of_origins_without_use_and_of_trust_in_everybody(tmp_path: Path, url: str) -> None:
    settings = {
        "validator_url": url,
        "origins": '{"api": "http://127.0.0.1:9", "old": "http://127.0.0.1:9"}',
        "origin": "api",
        "trusted_proxies": "10.0.0.0/8,::/0",
    }
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = run(tmp_path, "check", "--offline", "--json", *given)
    assert done.status == 0
    warnings = [one["text"] for one in json.loads(done.out)["findings"] if one["level"] == "warning"]
    assert "origins: nothing is sent to old" in warnings
    assert any(text.startswith("trusted_proxies: everybody may say") for text in warnings)


@pytest.mark.parametrize("piped", [KEY + "\n", "\ufeff" + KEY + "\r\n"], ids=["unix", "windows"])
def test_verify_says_who_a_key_belongs_to(tmp_path: Path, url: str, piped: str) -> None:
    done = run(tmp_path, "verify", "-", "--set", f"validator_url={url}", given=piped)
    assert done.status == 0
    assert done.out.startswith("valid ")
    for line in ("consumer      id 42, username acme", "scopes        read", "expires       never"):
        assert line in done.out
    assert KEY not in done.out + done.err


VERDICTS = {
    "another key": ("KCANARY_bad", None, 1, "invalid"),
    "no key at all by its shape": ("KCANARY bad", None, 1, "malformed"),
    "key service down": (KEY, NOBODY_LISTENS, 3, "unavailable"),
}


@pytest.mark.parametrize(("key", "address", "status", "word"), VERDICTS.values(), ids=VERDICTS)
def test_verify_status(
    tmp_path: Path, url: str, key: str, address: str | None, status: int, word: str
) -> None:
    done = run(tmp_path, "verify", key, "--set", f"validator_url={address or url}")
    assert (done.status, done.out.split()[0]) == (status, word)
    shown = run(tmp_path, "verify", key, "--json", "--set", f"validator_url={address or url}")
    assert (shown.status, json.loads(shown.out)["verdict"]) == (status, word)
    assert "KCANARY" not in done.out + done.err + shown.out + shown.err


WRONG = {
    "no key": [],
    "two keys": ["KCANARY1", "KCANARY2"],
    "an unknown option": ["KCANARY1", "--key=KCANARY2"],
    "no settings": ["KCANARY1"],
    "half a setting": ["KCANARY1", "--set", "SCANARY"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage_ends_with_2_and_repeats_nothing(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, "verify", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: ") or "problem" in done.err
    assert "CANARY" not in done.err
    assert "Traceback" not in done.err
