"""Marks that Flask's view does not show, and classes of apps that answer ahead of the view."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, Response, request
from flask.views import MethodView, View

from apikey_guard import Consumer
from apikey_guard.flask import ApiKeyGuard
from apikey_guard.testing import FakeKeyService

GOOD, WRITER, BAD = "KCANARY-good-0123456789", "KCANARY-writer-0123456789", "KCANARY-bad"
PRESENTED: list[dict[str, str]] = [{}, *({"apikey": key} for key in (BAD, GOOD, WRITER))]
OPEN, KEY, SCOPE = [200, 200, 200, 200], [401, 401, 200, 200], [401, 401, 403, 200]


@pytest.fixture
def keys() -> FakeKeyService:
    service = FakeKeyService({GOOD: Consumer(id="42")})
    service.add(WRITER, Consumer(id="7", scopes=frozenset({"write"})))
    return service


def hidden(view: Callable[..., Any]) -> Callable[..., Any]:
    """As a decorator does that forgets ``functools.wraps``."""

    def around(*args: object, **kwargs: object) -> Any:
        return view(*args, **kwargs)

    return around


def ends(app: Flask, path: str, method: str = "GET") -> list[int]:
    client = app.test_client()
    return [client.open(path, method=method, headers=headers).status_code for headers in PRESENTED]


def plain() -> str:
    return "answered"


class Called:
    def __call__(self) -> str:
        return "answered"


class Marked(View):
    """As classes of other extensions do, which decorate a bound method for each request."""

    mark: ClassVar[Callable[..., Any]]

    def get(self) -> str:
        return "answered"

    def dispatch_request(self) -> Any:
        return type(self).mark(self.get)()


def makers() -> dict[str, Callable[..., Any]]:
    # Made anew, as a mark stays on what was marked.
    class Kind(Called):
        def method(self) -> str:
            return "answered"

        @classmethod
        def of_class(cls) -> str:
            return "answered"

    return {
        "partial": partial(plain),
        "object": Called(),
        "bound-method": Kind().method,
        "class-method": Kind.of_class,
        "function": lambda: "answered",
    }


@pytest.mark.parametrize("name", makers())
@pytest.mark.parametrize("when", ["at-start", "per-request"])
def test_a16_what_asks_for_a_key_holds_for_everything_that_can_be_called(
    keys: FakeKeyService, name: str, when: str
) -> None:
    target = makers()[name]
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access="public")
    marks = {"/key": (guard.required, KEY), "/scope": (guard.require_scopes("write"), SCOPE)}
    for path, (mark, _) in marks.items():
        view = hidden(mark(target)) if when == "at-start" else lambda mark=mark: mark(target)()
        app.add_url_rule(path, path, view)
    # The first request of all is the one that a mark which is made meanwhile comes too late for.
    assert {path: ends(app, path) for path in marks} == {path: end for path, (_, end) in marks.items()}


def test_a16_decorators_that_a_class_applies_at_each_call_hold_from_the_first_one(
    keys: FakeKeyService,
) -> None:
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access="public")
    kind = type("Decorated", (Marked,), {"mark": staticmethod(guard.require_scopes("write"))})
    app.add_url_rule("/", view_func=kind.as_view("view"))
    assert ends(app, "/") == SCOPE


class Wrapping(Flask):
    """As extensions do that describe APIs: what ``route`` registers is not what it returns."""

    def route(self, rule: str, **options: Any) -> Callable[..., Any]:
        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            self.add_url_rule(rule, rule, wraps(view)(hidden(wraps(view)(hidden(view)))), **options)
            return view

        return decorate


@pytest.mark.parametrize("default", ["public", "required"])
def test_a16_what_stands_above_a_route_of_an_extension_is_seen(keys: FakeKeyService, default: str) -> None:
    app = Wrapping(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access=default)
    marks: dict[str, tuple[Callable[..., Any], list[int]]] = {
        "/key": (guard.required, KEY),
        "/scope": (guard.require_scopes("write"), SCOPE),
        # What opens a view must be seen from outside.
        "/public": (guard.public, OPEN if default == "public" else KEY),
    }
    for path, (mark, _) in marks.items():
        mark(app.route(path)(lambda: "answered"))
    assert {path: ends(app, path) for path in marks} == {path: end for path, (_, end) in marks.items()}


def test_a16_what_asks_for_a_key_is_an_error_in_an_app_without_a_guard(keys: FakeKeyService) -> None:
    guard = ApiKeyGuard(Flask("another"), key_service=keys)
    app = Flask("bare")
    app.testing = True
    kind = guard.required(type("Kind", (MethodView,), {"get": lambda self: "answered"}))
    views = {"/function": guard.required(lambda: "answered"), "/class": kind.as_view("kind")}
    for path, view in views.items():
        app.add_url_rule(path, path, view)
    for path in views:
        with pytest.raises(RuntimeError, match="the app 'bare' has no guard, but this view asks for a key"):
            app.test_client().get(path)
    assert views["/function"]() == "answered", "outside of a request"


@pytest.fixture
def classes(keys: FakeKeyService) -> Flask:
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access="public")

    @guard.required
    class Required(MethodView):
        def get(self) -> str:
            return "answered"

        @guard.public
        def post(self) -> str:
            return "answered"

        @guard.require_scopes("write")
        def put(self) -> str:
            return "answered"

    class Inherited(Required):
        pass

    @guard.public
    class Opened(Required):
        pass

    @guard.require_scopes("write")
    class Later(View):
        async def dispatch_request(self) -> str:
            return "answered"

    for kind in (Required, Inherited, Opened, Later):
        name = kind.__name__.lower()
        app.add_url_rule(f"/seen/{name}", view_func=kind.as_view(name))
        view = kind.as_view(name)
        around: Any = hidden(app.ensure_sync(view))
        app.add_url_rule(f"/hidden/{name}", f"hidden-{name}", around, methods=["GET", "POST", "PUT"])
    # Where nothing is found, no view is to be seen at all.
    unfound = Required.as_view("unfound")
    app.before_request(lambda: unfound() if request.endpoint is None else None)
    return app


@pytest.mark.parametrize("sight", ["seen", "hidden"])
@pytest.mark.parametrize(
    ("name", "method", "expected"),
    [
        ("required", "GET", KEY),
        ("required", "POST", OPEN),
        ("required", "PUT", SCOPE),
        ("inherited", "GET", KEY),
        ("opened", "GET", OPEN),
        ("later", "GET", SCOPE),
    ],
)
def test_a16_what_a_class_asks_for_holds_where_its_view_does_not_show_it(
    classes: Flask, sight: str, name: str, method: str, expected: list[int]
) -> None:
    if name == "later":
        pytest.importorskip("asgiref")
    assert ends(classes, f"/{sight}/{name}", method) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("base", OPEN), ("heir", KEY), ("heir-decorated", KEY), ("heir-opened", OPEN), ("own-decorators", OPEN)],
)
def test_a16_what_opens_a_class_by_a_decorator_of_its_own_opens_no_subclass(
    keys: FakeKeyService, name: str, expected: list[int]
) -> None:
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys)

    def opened_and_more(view: Callable[..., Any]) -> Callable[..., Any]:
        return guard.public(wraps(view)(hidden(view)))

    class Base(MethodView):
        decorators: ClassVar[list[Any]] = [opened_and_more]

        def get(self) -> str:
            return "answered"

    class Heir(Base):
        pass

    class Own(Base):
        decorators: ClassVar[list[Any]] = [*Base.decorators]

    view = Heir.as_view("heir")
    views: dict[str, Callable[..., Any]] = {
        "base": Base.as_view("base"),
        "heir": view,
        "heir-decorated": wraps(view)(hidden(view)),
        "heir-opened": guard.public(Heir.as_view("opened")),
        "own-decorators": Own.as_view("own"),
    }
    app.add_url_rule("/", name, views[name])
    assert ends(app, "/") == expected


def test_a16_what_a_class_asks_for_holds_where_flask_found_no_view(classes: Flask) -> None:
    assert ends(classes, "/nowhere") == KEY


def test_a_class_that_flask_cannot_call_cannot_be_marked(keys: FakeKeyService) -> None:
    guard = ApiKeyGuard(Flask(__name__), key_service=keys)
    for mark in (guard.required, guard.public, guard.require_scopes("write")):
        with pytest.raises(TypeError, match="Called is no view class of Flask's; mark its methods instead"):
            mark(Called)  # type: ignore[type-var]  # what is refused


@pytest.mark.parametrize("cors_origins", [[], ["https://page.example"]], ids=["nobody", "named"])
def test_a_function_before_the_request_asks_for_a_key_and_lets_preflights_be_answered(
    keys: FakeKeyService, cors_origins: list[str]
) -> None:
    app = Flask(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access="public", cors_origins=cors_origins)
    inside, ran = Blueprint("inside", __name__, url_prefix="/inside"), list[str]()
    inside.before_request(guard.required(lambda: None))
    inside.before_request(lambda: ran.append(request.method))
    inside.add_url_rule("/", view_func=lambda: "answered", endpoint="view", methods=["GET", "PUT"])
    inside.add_url_rule("/own", view_func=lambda: "answered", endpoint="own", methods=["OPTIONS"])
    app.register_blueprint(inside)
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "PUT"}
    client = app.test_client()
    assert ends(app, "/inside/") == KEY
    assert client.options("/inside/").status_code == 401, "no preflight"
    assert client.options("/inside/", headers=asked).status_code == 204
    own = client.options("/inside/own", headers=asked).status_code
    assert own == (204 if cors_origins else 401), "the view answers it itself"
    assert ran == ["GET", "GET"], "nothing behind a refusal"


class Answers(Flask):
    """Answers some paths itself, ahead of the functions before the view."""

    def full_dispatch_request(self, *context: Any) -> Response:
        if request.path == "/metrics":
            return self.make_response("numbers")
        return super().full_dispatch_request(*context)


def test_a15_a_class_of_the_app_answers_no_refused_request(keys: FakeKeyService) -> None:
    app = Answers(__name__)
    ApiKeyGuard(app, key_service=keys)
    app.add_url_rule("/", view_func=plain)
    assert ends(app, "/metrics") == ends(app, "/") == KEY
    assert app.test_client().get("/metrics", headers={"apikey": GOOD}).text == "numbers"
    for headers, status in zip(PRESENTED, KEY, strict=True):
        with app.test_request_context("/metrics", headers=headers):
            assert app.full_dispatch_request().status_code == status, "also around wsgi_app"


class Dispatches(Flask):
    """Calls the view without the functions before it."""

    def full_dispatch_request(self, *context: Any) -> Response:
        try:
            answer = self.dispatch_request(*context)
        except Exception as error:
            answer = self.handle_user_exception(*context, error)
        return self.finalize_request(*context, answer)


@pytest.mark.parametrize("default", ["required", "public"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scope-below-the-route", SCOPE),
        ("scope-above-the-route", SCOPE),
        ("scope-of-the-blueprint", SCOPE),
        ("key", KEY),
        ("open", OPEN),
    ],
)
def test_a16_a_class_of_the_app_that_calls_views_itself_calls_none_that_is_marked_otherwise(
    keys: FakeKeyService, default: str, name: str, expected: list[int]
) -> None:
    app = Dispatches(__name__)
    guard = ApiKeyGuard(app, key_service=keys, default_access=default)
    views = Blueprint("views", __name__)

    def view() -> str:
        return "answered"

    mark = {"key": guard.required, "open": guard.public}.get(name, guard.require_scopes("write"))
    if name == "scope-of-the-blueprint":
        mark(views)
    views.add_url_rule("/", view_func=mark(view) if name == "scope-below-the-route" else view)
    if name != "scope-of-the-blueprint":
        mark(view)
    app.register_blueprint(views)
    assert ends(app, "/") == expected
