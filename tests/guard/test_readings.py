"""Readings of a request: a route holds for every spelling that some server takes for its path (threats P)."""

from __future__ import annotations

import itertools
import time
from urllib.parse import unquote_to_bytes

import pytest

from apikey_guard import Consumer, Route, SettingsError
from apikey_guard.core.paths import keeps_its_segments
from apikey_guard.testing import FakeKeyService
from tests.harness import build_environ, call
from tests.harness.guarded import GOOD, Guarded

MISSING = (401, "missing_credential")
LACKING = (403, "insufficient_scope")
PASSED = (200, "")


def asked(
    guarded: Guarded, target: str, key: str | None = None, *, raw: bool = True, **parts: object
) -> tuple[int, str]:
    """Status and code for a target as it is sent; with ``raw`` the server gives it, too."""
    path, _, query = target.partition("?")
    headers = [*parts.pop("headers", ()), *([] if key is None else [("apikey", key)])]  # type: ignore[misc]  # pairs
    extra = {**parts.pop("extra", {}), **({"RAW_URI": target} if raw else {})}  # type: ignore[dict-item]  # a mapping
    sent = unquote_to_bytes(path.encode("latin-1"))
    environ = build_environ(sent, query=query, headers=headers, extra=extra, **parts)  # type: ignore[arg-type]
    response = call(guarded.wsgi, environ, lint=False)
    return response.status, "" if response.status == 200 else str(response.json()["code"])


# One step of a server each, then several of them.
SPELLINGS = {
    "as it is": "/admin/users",
    "a slash more": "/admin/users/",
    "two slashes more": "/admin/users//",
    "capitals": "/ADMIN/Users",
    "leading slashes": "//admin/users",
    "slashes": "/admin//users",
    "a dot": "/./admin/users",
    "a last dot": "/admin/users/.",
    "two dots": "/x/../admin/users",
    "last dots": "/admin/users/x/..",
    "a parameter": "/admin;x/users",
    "a last parameter": "/admin/users;x=1",
    "a parameter for dots": "/x/..;y/admin/users",
    "an empty name with a parameter": "/;x/admin/users",
    "encoded letters": "/%61dmin/users",
    "encoded twice": "/%2561dmin/users",
    "encoded three times": "/%252561dmin/users",
    "an encoded slash": "/admin%2Fusers",
    "a slash encoded twice": "/admin%252Fusers",
    "a wide escape": "/%25u0061dmin/users",
    "a control character": "/ad%00min/users",
    "a tab": "/admin%09/users",
    "a line feed at the end": "/admin/users%0A",
    "a backslash": "/admin%5Cusers",
    "a question mark": "/admin/users%3Fx",
    "a question mark and more": "/admin/users%3F/../../x",
    "a fragment": "/admin/users%23x",
    "a NUL": "/admin/users%00.html",
    "an authority": "//x/admin/users",
    "an authority with a port": "//x:80/admin/users",
    "an authority by backslashes": "/%5Cx/admin/users",
    "an authority after a tab": "/%09/x/admin/users",
    "an authority after a dot": "/.//x/admin/users",
    "an authority after a parameter": "/;a/x/admin/users",
    "an authority after dots": "/a/..//x/admin/users",
    "three slashes and an authority": "///x/admin/users",
    "a whole URL": "http://a.example/admin/users",
    "a whole URL in capitals": "HTTP://a.example/ADMIN/users/",
    "dots by backslashes, encoded twice": "/x%255C..%255Cadmin/users",
    "a parameter over an encoded slash": "/admin;x%2Fy/users",
    "a parameter, decoded later": "/admin/users%253Bx",
    "a fragment in an authority": "//x%23/../admin/users",
    "capitals, slashes and a parameter": "/x/..//ADMIN;a/Users;b//",
    "a dot and a blank at the end": "/admin./users%20",
    "an overlong slash": "/admin%C0%AFusers",
    "an overlong dot": "/x/%C0%AE%C0%AE/admin/users",
}


@pytest.mark.parametrize("raw", [True, False], ids=["target known", "path alone"])
@pytest.mark.parametrize("target", SPELLINGS.values(), ids=SPELLINGS)
def test_p01_what_a_route_asks_for_holds_for_every_spelling(target: str, raw: bool) -> None:
    with Guarded(routes=[Route("/admin/users", scopes=["s"])]) as scoped:
        assert asked(scoped, target, GOOD, raw=raw) == LACKING
    with Guarded(routes=[Route("/*", access="public"), Route("/admin/*")]) as keyed:
        assert asked(keyed, target, raw=raw) == MISSING
        assert asked(keyed, target, GOOD, raw=raw) == PASSED
    with Guarded(mode="off", routes=[Route("/admin/users", mode="enforce")]) as enforced:
        assert asked(enforced, target, raw=raw) == MISSING
    with Guarded(routes=[Route("/*", access="optional"), Route("/admin/users")]) as optional:
        assert asked(optional, target, raw=raw) == MISSING


@pytest.mark.parametrize("target", [one for one in SPELLINGS.values() if one != "/admin/users"])
def test_p01_what_a_route_opens_is_open_as_it_is_written(target: str) -> None:
    with Guarded(routes=[Route("/admin/users", access="public")]) as guarded:
        assert asked(guarded, "/admin/users") == PASSED
        # Letters that need not be encoded are the same letters.
        assert asked(guarded, target) == (PASSED if target == "/%61dmin/users" else MISSING)


OPEN_ANYHOW = [
    "/",
    "/tags/c%23",
    "/tags/a;b",
    "/tags/100%25",
    "/tags/what%3F",
    "/tags/a%2Fb",
    "/tags/a%5Cb",
    "/tags/%E9",
    "/tags/caf%C3%A9",
    "/tags/a%20b",
    "/Tags/",
    "/tags//a",
    "/tags/.",
    "/tags/a%00b",
    "/.well-known/a",
    "/tags/%7B%22a%22%3A%5B1%5D%7D",
    "/tags/a%3Bb%3Bc",
    "/tags/%25%25",
    "/tags/a%252Fb",
    "/tags/api%23",
]


@pytest.mark.parametrize("raw", [True, False], ids=["target known", "path alone"])
@pytest.mark.parametrize("target", OPEN_ANYHOW)
def test_p01_what_all_readings_agree_on_is_no_reason_to_refuse(target: str, raw: bool) -> None:
    with Guarded(routes=[Route("/*", access="public"), Route("/api/*")]) as public:
        assert asked(public, target, raw=raw) == PASSED
        assert asked(public, "/api" + target, raw=raw) == MISSING
    with Guarded(routes=[Route("/*", access="optional"), Route("/api/*")]) as optional:
        assert asked(optional, target, raw=raw) == PASSED
    with Guarded(routes=[Route("/*", scopes=["read"]), Route("/api/*", scopes=["api"])]) as scoped:
        scoped.keys.add(GOOD, Consumer(scopes=frozenset({"read"})))
        assert asked(scoped, target, GOOD, raw=raw) == PASSED
        assert asked(scoped, "/api" + target, GOOD, raw=raw) == LACKING


@pytest.mark.parametrize("path", ["/health/", "/HEALTH", "//health", "/health;a"])
def test_p01_a_public_path_stays_public_whatever_its_other_spellings_ask_for(path: str) -> None:
    with Guarded(routes=[Route("/health", access="public")]) as guarded:
        assert asked(guarded, "/health") == PASSED
        assert asked(guarded, path) == MISSING


# -- two routes that some servers take for one --------------------------------------------------------

PAIRS = {
    "case": ("/Admin", "/admin"),
    "case of a prefix": ("/Admin/*", "/admin/*"),
    "a slash": ("/admin/", "/admin"),
    "an accent": ("/CAFÉ", "/café"),
    "composed and not": ("/cafe\u0301", "/café"),
    "the letter of a unit": ("/\u212aelvin", "/kelvin"),
    "an i without a dot": ("/adm\u0131n", "/admin"),
    "a long s": ("/\u017fecret", "/secret"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["as written", "in the other order"])
@pytest.mark.parametrize(("strict", "lax"), PAIRS.values(), ids=PAIRS)
def test_p10_of_two_routes_that_differ_by_spelling_the_stricter_holds_for_both(
    strict: str, lax: str, turned: bool
) -> None:
    for one, other in ((strict, lax), (lax, strict)):
        routes = [Route(one, scopes=["s"]), Route(other, access="public")]
        with Guarded(routes=routes[::-1] if turned else routes) as guarded:
            for path in (one, other):
                target = path.removesuffix("/*").encode().decode("latin-1")
                assert asked(guarded, target) == MISSING
                assert asked(guarded, target, GOOD) == LACKING


def test_p10_the_longer_route_of_another_case_holds_too() -> None:
    with Guarded(routes=[Route("/Admin/*", scopes=["s"]), Route("/admin/open")]) as guarded:
        assert asked(guarded, "/admin/open", GOOD) == LACKING
        assert asked(guarded, "/admin/other", GOOD) == LACKING
        assert asked(guarded, "/other", GOOD) == PASSED


def test_p10_a_route_by_method_is_one_route_for_all_spellings() -> None:
    routes = [
        Route("/*", access="public"),
        Route("/m/*", methods=["GET"], access="public"),
        Route("/m/*", scopes=["s"]),
    ]
    with Guarded(routes=routes) as guarded:
        for path in ("/m/x", "/M/x", "//m//x", "/m/x/"):
            assert asked(guarded, path) == PASSED
            assert asked(guarded, path, GOOD, method="POST") == LACKING


# -- what the rule of a path in several readings looks like -------------------------------------------


def test_p01_the_rule_looks_like_the_route_that_asks_for_most() -> None:
    routes = [
        Route("/*", access="public"),
        Route("/admin", scopes=["s"], name="back office", key_locations=["header:X-Admin-Key"], realm="back"),
    ]
    with Guarded(routes=routes) as guarded:
        environ = build_environ("/Admin/", headers=[("X-Admin-Key", GOOD)])
        response = call(guarded.wsgi, environ, lint=False)
        assert response.status == 403
        assert "back office" in repr(environ["apikey_guard.decision"])
        missing = call(guarded.wsgi, build_environ("/Admin/"), lint=False)
        assert missing.status == 401
        assert 'realm="back"' in (missing.header("WWW-Authenticate") or "")
        assert "X-Admin-Key" in missing.json()["detail"]


ODD_SPELLINGS = ("/API/x", "//api/x", "/api;a/x", "/x/../api/x", "/api/x/%2e%2e/y")


@pytest.mark.parametrize("path", ODD_SPELLINGS)
def test_p01_a_key_is_taken_only_where_every_reading_takes_it(path: str) -> None:
    cookies, header = ["cookie:key", "header:apikey"], ["header:apikey"]
    for default, own in ((cookies, header), (header, cookies)):
        routes = [Route("/api/*", key_locations=own)]
        with Guarded(routes=routes, key_locations=default) as guarded:
            guarded.keys.add(GOOD)
            answers = {
                name: call(guarded.wsgi, build_environ(path, headers=[sent]), lint=False).status
                for name, sent in {"cookie": ("Cookie", f"key={GOOD}"), "header": ("apikey", GOOD)}.items()
            }
            # A path that is the route's alone has its places; any other is read in the fewest.
            assert answers["header"] == 200
            assert answers["cookie"] == 401 or (path == ODD_SPELLINGS[-1] and own is cookies)


@pytest.mark.parametrize("path", ODD_SPELLINGS)
def test_p01_where_two_readings_share_no_place_the_route_has_the_word(path: str) -> None:
    with Guarded(routes=[Route("/api/*", key_locations=["header:X-Api"])]) as guarded:
        guarded.keys.add(GOOD)
        for name, status in (("X-Api", 200), ("apikey", 401)):
            assert (
                call(guarded.wsgi, build_environ(path, headers=[(name, GOOD)]), lint=False).status == status
            )


def test_p01_of_two_routes_that_ask_for_as_much_every_process_takes_the_same() -> None:
    routes = [Route("/api", key_locations=["header:X-One"]), Route("/API", key_locations=["header:X-Two"])]
    guards = [Guarded(routes=given) for given in (routes, routes[::-1]) for _ in range(10)]
    found = {guarded.guard.policy.rules.rule("//api", {}).label for guarded in guards}
    for guarded in guards:
        guarded.guard.close()
    assert found == {"/api"}


@pytest.mark.parametrize("scopes", [(), ("s",)], ids=["a key", "a scope"])
@pytest.mark.parametrize("path", ODD_SPELLINGS[:-1])
def test_p01_a_key_is_hidden_if_one_reading_hides_it(path: str, scopes: tuple[str, ...]) -> None:
    with Guarded(routes=[Route("/api/*", hide_credentials=False, scopes=scopes)]) as guarded:
        guarded.keys.add(GOOD, Consumer(scopes=frozenset(scopes)))
        environ = build_environ(path, headers=[("apikey", GOOD)])
        assert call(guarded.wsgi, environ, lint=False).status == 200
        assert GOOD not in repr(environ)


def test_p01_the_rule_of_a_combination_is_made_once() -> None:
    routes = [Route("/a/*", scopes=["a"]), Route("/b/*", scopes=["b"])]
    with Guarded(routes=routes) as guarded:
        rules = {id(guarded.guard.policy.rules.rule(f"/a/{n}/%2e%2e/%2e%2e/b", {})) for n in range(50)}
        assert len(rules) == 1
        many = [Route(f"/{n}/*", scopes=[str(n)]) for n in range(12)]
    with Guarded(routes=many) as guarded:
        for names in itertools.product(range(12), repeat=3):
            guarded.guard.policy.rules.rule("/" + "%2f..%2f".join(map(str, names)), {})
        assert len(guarded.guard.policy.rules._joined) <= 256


# -- bounds -------------------------------------------------------------------------------------------

LONG = {
    "encoded percent signs": "/" + "%2525" * 1600,
    "escapes": "/" + "%41%2f" * 1300,
    "dots": "/." * 4096,
    "double dots": "/a/.." * 1600,
    "slashes": "/" * 8192,
    "parameters": "/a;b" * 2048,
    "semicolons": "/" + ";" * 8190,
    "backslashes": "/" + "\\" * 8190,
    "backslashes and dots": "/" + "..\\a;\\" * 1300,
    "unreadable": "/" + "\ufffd" * 8190,
    "unreadable names": "/\ufffda" * 2700,
    "controls": "/\x00a\x01" * 2000,
    "marks": "/?a#" * 2000,
    "everything": "/%252e;\\x00\ufffd?%23.." * 400,
    "names of routes": "".join(f"/R{n}/.." for n in range(1000)),
    "names of routes below each other": "/r/" + "".join(f"R{n};/../" for n in range(700)),
}


@pytest.mark.parametrize("path", LONG.values(), ids=LONG)
def test_p09_reading_a_path_is_bounded_and_fails_closed(path: str) -> None:
    routes = [Route("/*", access="public"), *(Route(f"/r{n}/*", scopes=[f"s{n}"]) for n in range(1000))]
    routes += [Route(f"/r/r{n}/*", scopes=["s"]) for n in range(1000)]
    with Guarded(routes=routes) as guarded:
        rule = guarded.guard.policy.rules.rule
        started = time.process_time()
        for _ in range(10):
            rule(path, {})
        # Milliseconds each; what explodes takes minutes.
        assert time.process_time() - started < 2.0


@pytest.mark.parametrize("name", ["a;b", "a%2525b", "a\x00\x01;b%25253bx"])
def test_p09_a_mark_opens_no_path_of_countless_odd_names(name: str) -> None:
    assert keeps_its_segments(f"/{name}" * 8)
    started = time.process_time()
    assert not keeps_its_segments(f"/{name}" * 8192)
    assert time.process_time() - started < 0.1


def test_p09_too_many_readings_ask_for_everything() -> None:
    routes = [Route("/*", access="public"), Route("/a/*", scopes=["a"]), Route("/b/*")]
    with Guarded(routes=routes) as guarded:
        path = "/x" + "/.;%25" * 1000
        assert asked(guarded, path) == MISSING
        assert asked(guarded, path, GOOD) == LACKING


@pytest.mark.parametrize("times", [1, 2, 4, 6, 7, 30])
def test_p09_a_path_that_was_encoded_too_often_asks_for_everything(times: int) -> None:
    target = "/" + "%" + "25" * (times - 1) + "61pi/x"
    routes = [Route("/*", access="public"), Route("/api/*", scopes=["api"]), Route("/b/*", scopes=["b"])]
    with Guarded(routes=routes) as guarded:
        guarded.keys.add(GOOD, Consumer(scopes=frozenset({"api"})))
        assert asked(guarded, target) == MISSING
        assert asked(guarded, target, GOOD) == (PASSED if times <= 4 else LACKING)


@pytest.mark.parametrize(
    "target",
    ["/caf%E9/x", "/CAF%E9/x", "//caf%E9/x", "/caf%E9;a/x", "/a/../caf%E9/x", "/caf%8E/x"],
)
def test_p01_a_name_in_another_encoding_may_be_the_one_of_a_route(target: str) -> None:
    with Guarded(routes=[Route("/*", access="public"), Route("/café/*", scopes=["s"])]) as guarded:
        assert asked(guarded, "/caf%C3%A9/x", GOOD) == LACKING
        assert asked(guarded, target) == MISSING
        assert asked(guarded, target, GOOD) == LACKING
        assert asked(guarded, "/tea%E9/x") == PASSED
    with Guarded(routes=[Route("/café/*", access="public")]) as opened:
        assert asked(opened, "/caf%C3%A9/x") == PASSED
        assert asked(opened, target) == MISSING


def test_p10_ten_thousand_routes_are_built_in_no_time() -> None:
    started = time.process_time()
    routes = [Route(f"/v{n % 7}/things{n}/*", scopes=["s"] if n % 3 else ()) for n in range(10_000)]
    with Guarded(routes=routes) as guarded:
        # Half a second here; what grows with the square took three.
        assert time.process_time() - started < 2.5
        assert asked(guarded, "/v1/Things1/x", GOOD) == LACKING
    with pytest.raises(SettingsError, match="twice"):
        Guarded(keys=FakeKeyService(), routes=[*routes, routes[0]])


# -- P-04, P-05: hosts and methods --------------------------------------------------------------------

ODD_HOSTS = {
    "missing": {"HTTP_HOST": None},
    "empty": {"HTTP_HOST": ""},
    "a final dot": {"HTTP_HOST": "admin.example."},
    "a final dot of another": {"HTTP_HOST": "www.example."},
    "a leading dot": {"HTTP_HOST": ".admin.example"},
    "two, joined": {"HTTP_HOST": "www.example, admin.example"},
    "credentials": {"HTTP_HOST": "www.example@admin.example"},
    "two ports": {"HTTP_HOST": "admin.example:80:80"},
    "a space": {"HTTP_HOST": " admin.example"},
    "other letters": {"HTTP_HOST": "\uff41dmin.example"},
    "a whole URL as target": {"HTTP_HOST": "www.example", "RAW_URI": "http://admin.example/x"},
    "a whole URL as target, elsewhere": {"HTTP_HOST": "www.example", "REQUEST_URI": "http://admin.example/x"},
    "a whole URL as path": {"HTTP_HOST": "www.example", "PATH_INFO": "http://admin.example/x"},
    "told by a proxy": {"HTTP_HOST": "www.example", "HTTP_X_FORWARDED_HOST": "Admin.example:443"},
    "told by two proxies": {"HTTP_HOST": "www.example", "HTTP_X_FORWARDED_HOST": "a.example, admin.example"},
    "told oddly": {"HTTP_HOST": "www.example", "HTTP_X_FORWARDED_HOST": "?"},
}


@pytest.mark.parametrize("extra", ODD_HOSTS.values(), ids=ODD_HOSTS)
def test_p04_an_odd_host_counts_for_every_entry_that_a_host_limits(extra: dict[str, object]) -> None:
    with Guarded(routes=[Route("/*", hosts=["admin.example"], scopes=["s"])]) as scoped:
        assert asked(scoped, "/x", GOOD, raw=False, extra=extra) == LACKING
    with Guarded(routes=[Route("/*", access="public"), Route("/*", hosts=["admin.example"])]) as keyed:
        assert asked(keyed, "/x", raw=False, extra=extra) == MISSING
    with Guarded(routes=[Route("/*", hosts=["admin.example"], access="public")]) as opened:
        assert asked(opened, "/x", raw=False, extra=extra) == MISSING


@pytest.mark.parametrize("host", ["www.example", "WWW.example:80", "xadmin.example", "admin.example.org"])
def test_p04_another_host_is_another_host(host: str) -> None:
    routes = [Route("/*", access="public"), Route("/*", hosts=["admin.example"])]
    with Guarded(routes=routes) as guarded:
        assert asked(guarded, "/x", extra={"HTTP_HOST": host}) == PASSED
        assert asked(guarded, "/x", extra={"HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": host}) == PASSED


@pytest.mark.parametrize(
    "host", ["192.0.2.7", "192.0.2.7:8000", "192.0.2.7:", "node.1", "[2001:db8::7]:8000"]
)
def test_p04_a_host_that_ends_in_a_digit_is_no_odd_one(host: str) -> None:
    named = host if host.startswith("[") else host.partition(":")[0]
    own = Route("/*", hosts=[named.removesuffix(":8000")], access="public")
    with Guarded(routes=[own, Route("/*", hosts=["admin.example"], scopes=["s"])]) as guarded:
        assert asked(guarded, "/x", extra={"HTTP_HOST": host}) == PASSED


OVERRIDES = [
    *(
        {"headers": ((name, value),)}
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
        for value in ("DELETE", "delete", " Delete", "GET, DELETE")
    ),
    {"headers": (("X-Method", "DELETE"),)},
    {"headers": (("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method-Override", "DELETE"))},
    {"query": "?_method=DELETE"},
    {"query": "?a=b&%5Fmethod=delete"},
    {"query": "?_m%65thod=d%65lete"},
    {"query": "?a=b;_method=DELETE"},
    {"query": "?_method=PUT&_method=DELETE"},
    {"query": "?__METHOD_OVERRIDE__=DELETE"},
]


@pytest.mark.parametrize("method", ["GET", "POST", "get"])
@pytest.mark.parametrize("how", OVERRIDES, ids=str)
def test_p05_an_override_is_another_reading_of_the_method(how: dict[str, object], method: str) -> None:
    query, headers = str(how.get("query", "")), how.get("headers", ())
    routes = [
        Route("/items/*", methods=["GET", "POST"], access="public"),
        Route("/items/*", methods=["DELETE"], scopes=["s"]),
    ]
    with Guarded(routes=routes) as guarded:
        assert asked(guarded, "/items/1" + query, method=method, headers=headers) == MISSING
        assert asked(guarded, "/items/1" + query, GOOD, method=method, headers=headers) == LACKING
        guarded.keys.add(GOOD, Consumer(scopes=frozenset({"s"})))
        guarded.guard.revoke(everything=True)
        assert asked(guarded, "/items/1" + query, GOOD, method=method, headers=headers) == PASSED
        # What is behind may still be meant to read it.
        for name, value in headers:  # type: ignore[attr-defined]  # pairs
            assert value in guarded.app.last.environ["HTTP_" + name.upper().replace("-", "_")]


def test_p05_an_override_opens_nothing() -> None:
    with Guarded(routes=[Route("/items/*", methods=["GET"], access="public")]) as guarded:
        for how in (("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method-Override", "")):
            assert asked(guarded, "/items/1", method="POST", headers=(how,)) == MISSING
        assert asked(guarded, "/items/1?_method=GET", method="POST") == MISSING
        assert asked(guarded, "/items/1?payment_method=card") == PASSED


# -- P-02: below a mount --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mount", "sent"),
    [
        ("/app", "/app"),
        ("/my app", "/my%20app"),
        ("/caf\xc3\xa9", "/caf%C3%A9"),
        ("/a/b", "/a/b"),
        ("/a/b", "/%61/b"),
    ],
)
def test_p02_the_target_is_read_below_the_mount(mount: str, sent: str) -> None:
    with Guarded(routes=[Route("/tags/*", access="public"), Route("/tags/x/*")]) as guarded:
        for path, target, expected in (
            ("/tags/a/b", "/tags/a%2Fb", PASSED),
            ("/tags/x/b", "/tags%2Fx/b", MISSING),
            ("/tags/c#", "/tags/c%23", PASSED),
            ("/tags/a/b", "/tags%2Fa/b", MISSING),
        ):
            extra = {"SCRIPT_NAME": mount, "RAW_URI": sent + target, "PATH_INFO": path}
            assert asked(guarded, "/", raw=False, extra=extra) == expected


def test_p02_a_target_of_another_mount_is_one_more_reading() -> None:
    with Guarded(routes=[Route("/tags/*", access="public")]) as guarded:
        extra = {"SCRIPT_NAME": "/app", "RAW_URI": "/other/tags/a%2Fb", "PATH_INFO": "/tags/a/b"}
        assert asked(guarded, "/", raw=False, extra=extra) == MISSING
