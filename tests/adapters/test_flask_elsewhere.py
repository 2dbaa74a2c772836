"""Flask: what was decided at one place is decided anew where the view is called at another one."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import pytest
from flask.views import MethodView, View
from werkzeug.middleware.proxy_fix import ProxyFix

from apikey_guard import Route
from apikey_guard.flask import ApiKeyGuard, ApiKeyRejected, current_consumer
from tests.adapters.flask_site import BAD, GOOD, WRITER, known_keys
from tests.harness.origin import Origin, answer

Change = Callable[[WSGIEnvironment], object]


def changing(change: Change) -> Callable[[WSGIApplication], WSGIApplication]:
    """WSGI middleware that changes a request on its way to Flask."""

    def around(behind: WSGIApplication) -> WSGIApplication:
        def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            change(environ)
            return behind(environ, start_response)

        return middleware

    return around


def method_override(environ: WSGIEnvironment) -> None:
    """As Flask's documentation has it."""
    method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
    if method:
        environ["REQUEST_METHOD"] = method


def method_from_body(environ: WSGIEnvironment) -> None:
    """As forms have it that can only POST."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["REQUEST_METHOD"] = dict(parse_qsl(body.decode())).get("_method", environ["REQUEST_METHOD"])


def path_from_header(environ: WSGIEnvironment) -> None:
    environ["PATH_INFO"] = environ.get("HTTP_X_PATH", environ["PATH_INFO"])


def host_from_header(environ: WSGIEnvironment) -> None:
    environ["HTTP_HOST"] = environ.get("HTTP_X_HOST", environ["HTTP_HOST"])


def nothing(environ: WSGIEnvironment) -> None:
    """Changes nothing."""


class App:
    """Views that a mark opens, and views that a key opens, behind a middleware inside of the guard."""

    def __init__(self, around: Callable[[WSGIApplication], WSGIApplication], **settings: Any) -> None:
        self.keys = known_keys()
        self.reached: list[str] = []
        self.app = app = flask.Flask(__name__, host_matching=True, static_host="www.example")
        app.testing = True
        app.wsgi_app = around(app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it
        self.guard = guard = ApiKeyGuard(app, key_service=self.keys, **settings)
        reach = self.reach

        class Item(MethodView):
            @guard.public
            def get(self) -> str:
                return reach("get")

            def delete(self) -> str:
                return reach("delete")

            @guard.require_scopes("write")
            def put(self) -> str:
                return reach("put")

        for host in ("www.example", "admin.example"):
            app.add_url_rule("/item", view_func=Item.as_view(f"item@{host.partition('.')[0]}"), host=host)
        for name, path, host, mark in (
            ("front", "/", "www.example", guard.public),
            ("admin", "/", "admin.example", None),
            ("open", "/open", "www.example", guard.public),
            ("other", "/other", "www.example", guard.public),
            ("maybe", "/maybe", "www.example", guard.optional),
            ("orders", "/orders", "www.example", None),
            ("write", "/write", "www.example", guard.require_scopes("write")),
        ):
            view = self._view(name)
            app.add_url_rule(path, name, view if mark is None else mark(view), host=host, methods=METHODS)

    def reach(self, name: str) -> str:
        self.reached.append(name)
        return f"{name} for {current_consumer.id if current_consumer else 'nobody'}"

    def _view(self, name: str) -> Callable[[], str]:
        return lambda: self.reach(name)

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.app.test_client().open(path, method=method, headers={"Host": "www.example", **sent})
        return response.status_code, response.text if response.status_code == 200 else ""


METHODS = ["GET", "POST", "DELETE", "OPTIONS"]
REFUSED = (401, "")
OVERRIDDEN = changing(method_override)
REWRITTEN = changing(path_from_header)
REHOSTED = changing(host_from_header)


def PROXIED(behind: WSGIApplication) -> WSGIApplication:  # noqa: N802 - one of the table's words
    return ProxyFix(behind, x_host=1)


@pytest.mark.parametrize(
    ("around", "path", "headers", "ends"),
    [
        (PROXIED, "/", {}, (200, "front for nobody")),
        (PROXIED, "/", {"X_Forwarded_Host": "admin.example"}, REFUSED),
        (PROXIED, "/", {"X_Forwarded_Host": "admin.example", "apikey": BAD}, REFUSED),
        (PROXIED, "/", {"X_Forwarded_Host": "admin.example", "apikey": GOOD}, (200, "admin for 42")),
        (REHOSTED, "/", {"X_Host": "admin.example"}, REFUSED),
        (OVERRIDDEN, "/item", {}, (200, "get for nobody")),
        (OVERRIDDEN, "/item", {"X_HTTP_Method_Override": "DELETE"}, REFUSED),
        (OVERRIDDEN, "/item", {"X_HTTP_Method_Override": "delete"}, REFUSED),
        (OVERRIDDEN, "/item", {"X_HTTP_Method_Override": "PUT"}, REFUSED),
        (OVERRIDDEN, "/item", {"X_HTTP_Method_Override": "PUT", "apikey": GOOD}, (403, "")),
        (OVERRIDDEN, "/item", {"X_HTTP_Method_Override": "PUT", "apikey": WRITER}, (200, "put for 7")),
        (REWRITTEN, "/open", {"X_Path": "/orders"}, REFUSED),
        (REWRITTEN, "/open", {"X_Path": "/other"}, (200, "other for nobody")),
        (REWRITTEN, "/open", {"X_Path": "/unknown"}, REFUSED),
        (REWRITTEN, "/open", {"X_Path": "//open"}, REFUSED),
        (REWRITTEN, "/open", {"X_Path": "/orders", "apikey": GOOD}, (200, "orders for 42")),
        (REWRITTEN, "/open", {"X_Path": "/orders", "apikey": ""}, REFUSED),
        (REWRITTEN, "/open", {"X_Path": "/maybe"}, (200, "maybe for nobody")),
        (REWRITTEN, "/open", {"X_Path": "/maybe", "apikey": BAD}, REFUSED),
        (REWRITTEN, "/open", {"X_Path": "/write", "apikey": GOOD}, (403, "")),
        (REWRITTEN, "/maybe", {"X_Path": "/orders"}, REFUSED),
        (REWRITTEN, "/orders", {"X_Path": "/open"}, REFUSED),
    ],
)
def test_a16_a_mark_opens_the_view_that_it_stands_on_and_no_other(
    around: Callable[[WSGIApplication], WSGIApplication],
    path: str,
    headers: dict[str, str],
    ends: tuple[int, str],
) -> None:
    site = App(around)
    assert site.get(path, **headers) == ends
    assert site.reached == ([ends[1].partition(" ")[0]] if ends[0] == 200 else [])


ADMIN = Route("/admin/*", scopes=["write"])
OPEN = Route("/public/*", access="public")
POSTED = Route("/form", methods=["POST"], access="public")
HOSTED = Route("/*", hosts=["open.example"], access="public")


@pytest.mark.parametrize(
    ("around", "routes", "request_", "status"),
    [
        (REWRITTEN, [OPEN], ("/public/x", "GET", {"X_Path": "/admin/x"}), 401),
        (REWRITTEN, [OPEN], ("/public/x", "GET", {"X_Path": "/public/y"}), 200),
        (REWRITTEN, [OPEN, ADMIN], ("/public/x", "GET", {"X_Path": "/admin/x", "apikey": GOOD}), 403),
        (REWRITTEN, [OPEN, ADMIN], ("/public/x", "GET", {"X_Path": "/admin/x", "apikey": WRITER}), 200),
        (REWRITTEN, [ADMIN], ("/x", "GET", {"X_Path": "/admin/x", "apikey": GOOD}), 403),
        (REWRITTEN, [ADMIN], ("/x", "GET", {"X_Path": "/admin/x", "apikey": WRITER}), 200),
        (REWRITTEN, [ADMIN], ("/x", "GET", {"X_Path": "/y", "apikey": GOOD}), 200),
        (OVERRIDDEN, [POSTED], ("/form", "POST", {}), 200),
        (OVERRIDDEN, [POSTED], ("/form", "POST", {"X_HTTP_Method_Override": "DELETE"}), 401),
        (REHOSTED, [HOSTED], ("/x", "GET", {"Host": "open.example"}), 200),
        (REHOSTED, [HOSTED], ("/x", "GET", {"Host": "open.example", "X_Host": "closed.example"}), 401),
        (REWRITTEN, [Route("/off", mode="off")], ("/off", "GET", {"X_Path": "/x"}), 401),
        (REWRITTEN, [Route("/off", mode="off")], ("/off", "GET", {"X_Path": "/x", "apikey": GOOD}), 200),
        (REWRITTEN, [Route("/seen", mode="monitor")], ("/seen", "GET", {"X_Path": "/x"}), 401),
        (REWRITTEN, [Route("/seen", mode="monitor")], ("/seen", "GET", {}), 200),
    ],
)
def test_p02_a_route_holds_for_the_place_where_the_view_is_called(
    around: Callable[[WSGIApplication], WSGIApplication],
    routes: list[Route],
    request_: tuple[str, str, dict[str, str]],
    status: int,
) -> None:
    app = flask.Flask(__name__, static_folder=None)
    app.wsgi_app = around(app.wsgi_app)  # type: ignore[method-assign]  # as above
    ApiKeyGuard(app, key_service=known_keys(), routes=routes)
    app.add_url_rule("/<path:path>", "view", lambda path: path, methods=METHODS)
    path, method, headers = request_
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    for _ in range(2):  # unknown, then remembered
        assert app.test_client().open(path, method=method, headers=sent).status_code == status


def test_p05_a_method_in_a_body_that_is_obeyed_counts_where_the_view_is_called() -> None:
    app = flask.Flask(__name__, static_folder=None)
    app.wsgi_app = changing(method_from_body)(app.wsgi_app)  # type: ignore[method-assign]  # as above
    ApiKeyGuard(app, key_service=known_keys(), routes=[POSTED])
    app.add_url_rule("/form", "view", lambda: flask.request.method, methods=METHODS)
    post = app.test_client().post
    assert post("/form", data={"a": "b"}).text == "POST"
    assert post("/form", data={"_method": "DELETE"}).status_code == 401
    assert post("/form", data={"_method": "DELETE"}, headers={"apikey": GOOD}).text == "DELETE"


def test_c05_what_the_request_shows_by_then_is_no_credential() -> None:
    def late(environ: WSGIEnvironment) -> None:
        environ["PATH_INFO"], environ["HTTP_APIKEY"] = "/orders", GOOD

    site = App(changing(late))
    assert site.get("/open") == REFUSED
    assert site.get("/open", apikey=BAD) == REFUSED
    assert site.reached == []


def test_p05_a_preflight_that_is_handed_on_becomes_no_other_request() -> None:
    site = App(OVERRIDDEN, allow_preflight=True)
    preflight = {"Origin": "https://a.example", "Access_Control_Request_Method": "GET"}
    for path in ("/orders", "/write", "/item"):
        site.get(path, "OPTIONS", **preflight, X_HTTP_Method_Override="DELETE")
    assert site.reached == []


@pytest.mark.parametrize("method", ["get", "Get", "head", "Head", "HEAD"])
def test_p05_a_method_in_small_letters_needs_what_it_needs_in_capitals(method: str) -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys())

    class Report(MethodView):
        @guard.require_scopes("write")
        def get(self) -> str:
            return "report"

    app.add_url_rule("/report", view_func=Report.as_view("report"))

    def status(key: str) -> int:
        seen: list[str] = []
        environ = {**build(method), "HTTP_APIKEY": key}
        body = app(environ, lambda status, headers, exc_info=None: seen.append(status))  # type: ignore[arg-type,return-value]  # nobody writes
        getattr(body, "close", lambda: None)()
        return int(seen[0][:3])

    assert [status(key) for key in (GOOD, WRITER)] == [403, 200]


def build(method: str) -> WSGIEnvironment:
    from tests.harness import build_environ

    return {**build_environ("/report"), "REQUEST_METHOD": method}


class OverridingRequest(flask.Request):
    """A request class that reads the method elsewhere, as older recipes have it."""

    def __init__(self, environ: WSGIEnvironment, *given: Any, **named: Any) -> None:
        super().__init__(environ, *given, **named)
        self.method = environ.get("HTTP_X_METHOD", self.method)


def test_p05_the_method_that_a_request_class_makes_up_counts() -> None:
    site = App(changing(nothing))
    site.app.request_class = OverridingRequest
    assert site.get("/item") == (200, "get for nobody")
    assert site.get("/item", X_Method="DELETE") == REFUSED
    assert site.get("/item", X_Method="PUT", apikey=GOOD) == (403, "")


def test_a16_a_redirect_of_the_router_is_opened_by_no_mark() -> None:
    site = App(changing(nothing))
    site.app.add_url_rule(
        "/slash/", "slash", site.guard.public(lambda: site.reach("slash")), host="www.example"
    )
    site.app.add_url_rule(
        "/old", "old", site.guard.public(lambda: ""), redirect_to="/orders", host="www.example"
    )
    for path in ("/slash", "/old", "//open"):
        assert site.get(path) == REFUSED
    assert site.get("/slash/") == (200, "slash for nobody")


def test_a16_a_request_made_for_a_test_is_looked_at_as_any_other() -> None:
    site = App(changing(nothing))
    with site.app.test_request_context("http://www.example/open"):
        assert site.app.full_dispatch_request().status_code == 200
    with site.app.test_request_context("http://www.example/orders"):
        assert site.app.full_dispatch_request().status_code == 401


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        made.says(answer(b"from the origin"))
        yield made


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/open", {}, REFUSED),
        ("/open", {"apikey": BAD}, REFUSED),
        ("/open", {"apikey": GOOD}, (200, "from the origin")),
        ("/maybe", {}, REFUSED),
        ("/orders", {"apikey": GOOD}, (200, "from the origin")),
        ("/orders", {}, REFUSED),
        ("/open", {"X_Stay": "1"}, (200, "open for nobody")),
        ("/write", {"X_Stay": "1", "apikey": GOOD}, (403, "")),
        ("/write", {"apikey": GOOD}, (403, "")),
        ("/write", {"apikey": WRITER}, (200, "from the origin")),
    ],
)
def test_x18_a_mark_opens_no_way_to_an_origin_that_a_hook_chooses(
    origin: Origin, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    site = App(
        changing(nothing),
        origins={"elsewhere": origin.url},
        choose_origin=lambda environ, consumer: None if "HTTP_X_STAY" in environ else "elsewhere",
    )
    assert site.get(path, **headers) == expected
    assert len(origin.requests) == (expected[1] == "from the origin")


# -- what a class inherits ----------------------------------------------------------------------------


def test_a16_public_and_optional_are_not_inherited_however_they_were_written() -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys())

    def around(function: Any) -> Any:
        import functools

        return functools.wraps(function)(lambda *given, **named: function(*given, **named))

    @guard.public
    class Marked(MethodView):
        def get(self) -> str:
            return "in"

    class Method(MethodView):
        @guard.optional
        def get(self) -> str:
            return "in"

    class Dispatch(View):
        @guard.public
        def dispatch_request(self) -> str:
            return "in"

    class Decorated(View):
        decorators = [guard.public]  # noqa: RUF012 - as Flask's documentation writes it

        def dispatch_request(self) -> str:
            return "in"

    kinds = (Marked, Method, Dispatch, Decorated)
    for kind in kinds:
        heir = type("Heir", (kind,), {})
        wrapped = type("Wrapped", (kind,), {})
        for name in {"get", "dispatch_request"} & {*vars(kind)}:
            setattr(wrapped, name, around(getattr(kind, name)))
        for name, view in (("own", kind), ("heir", heir), ("wrapped", wrapped)):
            endpoint = f"{kind.__name__}-{name}".lower()
            app.add_url_rule(f"/{endpoint}", view_func=view.as_view(endpoint))
    client = app.test_client()
    for kind in kinds:
        paths = [f"/{kind.__name__}-{name}".lower() for name in ("own", "heir", "wrapped")]
        assert [client.get(path).status_code for path in paths] == [200, 401, 401], kind


def test_a16_what_a_base_needs_its_heirs_need_too() -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys())

    class Base(MethodView):
        @guard.require_scopes("write")
        def get(self) -> str:
            return "in"

    class Heir(Base):
        pass

    app.add_url_rule("/heir", view_func=Heir.as_view("heir"))
    client = app.test_client()
    assert [client.get("/heir", headers={"apikey": key}).status_code for key in (GOOD, WRITER)] == [403, 200]


# -- functions before the view -------------------------------------------------------------------------


def test_a16_a_function_before_the_view_carries_no_mark_to_another_method_or_view() -> None:
    site = App(changing(nothing))

    @site.app.before_request
    def override() -> None:
        flask.request.method = flask.request.headers.get("X-Late-Method", flask.request.method)
        late = flask.request.headers.get("X-Late-View")
        if late:
            flask.request.url_rule = next(site.app.url_map.iter_rules(late))

    assert site.get("/item") == (200, "get for nobody")
    assert site.get("/item", X_Late_Method="DELETE") == REFUSED
    assert site.get("/item", X_Late_Method="PUT", apikey=GOOD) == (403, "")
    assert site.get("/item", X_Late_Method="PUT", apikey=WRITER) == (200, "put for 7")
    assert site.get("/open", X_Late_View="orders") == REFUSED
    assert site.get("/open", X_Late_View="orders", apikey=GOOD) == (200, "orders for 42")
    assert site.get("/open", X_Late_View="other") == (200, "other for nobody")


@pytest.mark.parametrize("turns", [1, 2], ids=["asked", "remembered"])
def test_a16_a_function_before_the_view_carries_no_key_past_the_scopes_of_a_blueprint(turns: int) -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys())
    reports = guard.require_scopes("write")(flask.Blueprint("reports", __name__))
    reports.add_url_rule("/all", "all", lambda: "all")
    app.register_blueprint(reports)
    app.add_url_rule("/plain", "plain", lambda: "plain")

    @app.before_request
    def elsewhere() -> None:
        flask.request.url_rule = next(app.url_map.iter_rules("reports.all"))

    client = app.test_client()
    for _ in range(turns):
        said = [client.get("/plain", headers={"apikey": key}).status_code for key in (GOOD, WRITER, BAD)]
    assert said == [403, 200, 401]


def test_k02_what_is_kept_of_a_request_shows_no_key() -> None:
    seen: list[str] = []
    site = App(changing(lambda environ: seen.append(repr(environ))))
    for path, key in (("/open", BAD), ("/maybe", GOOD), ("/orders", GOOD), ("/orders", BAD)):
        site.get(path, apikey=key)
    assert len(seen) == 3
    assert "KCANARY" not in "".join(seen)


# -- marks that cannot be seen by looking at the view ---------------------------------------------------


def forgetful(view: Any) -> Any:
    """A decorator that copies nothing from what it stands around."""
    return lambda **values: view(**values)


@pytest.mark.parametrize("settings", [{}, {"default_access": "public"}], ids=["opt-out", "opt-in"])
@pytest.mark.parametrize("kind", ["plain", "async", "method", "called", "twice"])
def test_a16_what_asks_for_a_key_holds_below_every_decorator(kind: str, settings: dict[str, Any]) -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys(), **settings)
    blueprint = guard.public(flask.Blueprint("bp", __name__))

    def view() -> str:
        return f"seen by {current_consumer.id}"

    async def later() -> str:
        return view()

    class Method(MethodView):
        get = staticmethod(forgetful(guard.require_scopes("write")(view)))

    scoped = guard.require_scopes("write")(view)
    views: dict[str, Any] = {
        "plain": forgetful(scoped),
        "async": app.ensure_sync(guard.require_scopes("write")(later)),
        "method": Method.as_view("method"),
        "called": lambda: scoped(),
        "twice": forgetful(guard.required(forgetful(scoped))),
    }
    blueprint.add_url_rule("/view", "view", forgetful(views[kind]))
    blueprint.add_url_rule("/key", "key", forgetful(guard.require_scopes()(view)))
    app.register_blueprint(blueprint)
    client = app.test_client()
    keys = ({}, {"apikey": BAD}, {"apikey": GOOD}, {"apikey": WRITER}, {"apikey": ""})
    for _ in range(2):  # unknown, then remembered
        assert [client.get("/view", headers=key).status_code for key in keys] == [401, 401, 403, 200, 401]
        assert [client.get("/key", headers=key).status_code for key in keys] == [401, 401, 200, 200, 401]
    assert client.get("/view", headers={"apikey": WRITER}).text == "seen by 7"


@pytest.mark.parametrize("access", ["required", "optional", "public"])
@pytest.mark.parametrize("key", [None, GOOD], ids=["nobody", "lacking"])
def test_a16_whoever_caught_a_refusal_gets_no_further(key: str | None, access: str) -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys(), default_access=access)
    reached: list[str] = []
    parts = [mark(lambda: reached.append("part")) for mark in (guard.require_scopes("write"), guard.required)]

    @app.get("/all")
    @guard.optional
    def every_part() -> str:
        for part in parts * 2:
            with contextlib.suppress(ApiKeyRejected):
                part()
        return "all"

    @app.get("/write")
    @guard.require_scopes("write")
    def write() -> str:
        return "write"

    @app.errorhandler(ApiKeyRejected)
    def refused(error: ApiKeyRejected) -> Any:
        with contextlib.suppress(ApiKeyRejected):
            parts[1]()
        return error.get_response()

    client = app.test_client()
    for _ in range(2):
        for path in ("/all", "/write"):
            client.get(path, headers={} if key is None else {"apikey": key})
    assert reached == []
    assert client.get("/all", headers={"apikey": WRITER}).text == "all"
    assert reached == ["part"] * 4


@pytest.mark.parametrize("path", ["/open", "/orders"])
def test_a16_what_a_function_before_the_view_caught_is_the_answer(path: str) -> None:
    site = App(changing(nothing))
    who = site.guard.require_scopes("write")(lambda: "somebody")

    @site.app.before_request
    def look() -> None:
        with contextlib.suppress(ApiKeyRejected):
            who()

    for _ in range(2):
        assert site.get(path) == REFUSED
        assert site.get(path, apikey=BAD) == REFUSED
        assert site.get(path, apikey=GOOD) == (403, "")
        assert site.get(path, apikey=WRITER) == (200, f"{path[1:]} for 7")
    assert site.reached == [path[1:]] * 2


def test_a16_an_app_that_is_called_with_the_same_environ_changes_no_decision() -> None:
    inner, outer = flask.Flask("inner"), flask.Flask("outer")
    inner.add_url_rule("/<name>", "named", lambda name: name)
    ApiKeyGuard(inner, key_service=known_keys(), default_access="public")
    guard = ApiKeyGuard(outer, key_service=known_keys(), default_access="public")
    inner_app = inner.wsgi_app

    @guard.require_scopes("write")
    def written() -> str:
        return "written"

    @outer.get("/both")
    def both() -> str:
        list(inner_app(flask.request.environ, lambda *_: lambda _data: None))
        return written()

    client = outer.test_client()
    sent = ({}, {"apikey": BAD}, {"apikey": GOOD}, {"apikey": WRITER})
    for _ in range(2):
        assert [client.get("/both", headers=each).status_code for each in sent] == [401, 401, 403, 200]


def test_a_marked_function_is_a_plain_one_outside_of_a_request() -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys())
    double = guard.require_scopes("write")(lambda number: 2 * number)
    assert double(21) == 42
    with app.test_request_context("/"):
        assert double(21) == 42


@pytest.mark.parametrize("mode", ["monitor", "off"])
def test_a_mode_that_refuses_nothing_refuses_no_function_either(mode: str) -> None:
    app = flask.Flask(__name__)
    guard = ApiKeyGuard(app, key_service=known_keys(), mode=mode)
    app.add_url_rule("/", "view", forgetful(guard.require_scopes("write")(lambda: "in")))
    assert app.test_client().get("/").text == "in"
