"""What an OpenAPI document says about keys is what the settings say."""

from __future__ import annotations

import re

import pytest

from apikey_guard import Guard, Route
from apikey_guard.openapi import security_requirements, security_schemes
from apikey_guard.testing import FakeKeyService


def guard_of(*locations: str, **settings: object) -> Guard:
    if locations:
        settings["key_locations"] = locations
    return Guard(key_service=FakeKeyService(), **settings)  # type: ignore[arg-type]  # any setting


def test_the_default_locations_are_two_schemes_of_which_one_is_enough() -> None:
    guard = guard_of()
    assert guard.openapi_security_scheme() == {
        "header_apikey": {
            "type": "apiKey",
            "in": "header",
            "name": "apikey",
            "description": "Send the key in the header `apikey`.",
        },
        "query_apikey": {
            "type": "apiKey",
            "in": "query",
            "name": "apikey",
            "description": "Send the key in the query parameter `apikey`.",
        },
    }
    assert security_requirements(guard.settings) == [{"header_apikey": []}, {"query_apikey": []}]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("cookie:session", {"type": "apiKey", "in": "cookie", "name": "session"}),
        ("authorization:Bearer", {"type": "http", "scheme": "bearer"}),
        ("authorization:ApiKey", {"type": "apiKey", "in": "header", "name": "Authorization"}),
    ],
)
def test_each_kind_of_location_has_its_scheme(location: str, expected: dict[str, str]) -> None:
    (scheme,) = guard_of(location).openapi_security_scheme().values()
    assert {name: value for name, value in scheme.items() if name != "description"} == expected


def test_a_scheme_that_readers_do_not_know_says_how_it_is_written() -> None:
    (scheme,) = guard_of("authorization:ApiKey").openapi_security_scheme().values()
    assert "`ApiKey`, one space, and the key" in scheme["description"]


def test_a_body_field_is_named_where_the_others_are_described() -> None:
    schemes = guard_of("header:apikey", "body:key").openapi_security_scheme()
    assert list(schemes) == ["header_apikey"]
    assert (
        schemes["header_apikey"]["description"]
        == "Send the key in the header `apikey` or the body field `key`."
    )
    assert guard_of("body:key").openapi_security_scheme() == {}


def test_places_of_single_routes_are_schemes_but_not_everybodys_requirement() -> None:
    guard = guard_of("header:apikey", routes=[Route("/hooks/*", key_locations=["query:hook"])])
    assert list(guard.openapi_security_scheme()) == ["header_apikey", "query_hook"]
    assert security_requirements(guard.settings) == [{"header_apikey": []}]


def test_names_can_be_names_of_components() -> None:
    for name in security_schemes(guard_of("header:x!#y", "cookie:a~b").settings):
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


def test_nothing_secret_is_in_it() -> None:
    guard = guard_of(
        validator_headers={"Authorization": "SCANARY"}, fingerprint_secret=b"SCANARY-16-bytes-long"
    )
    assert "SCANARY" not in repr(guard.openapi_security_scheme())
