"""Between one Flask app and its guard: what is decided before Flask, and what is raised within it.

The guard decides and hides around ``app.wsgi_app``, before Flask has built its request: otherwise
``request.args``, ``request.url`` and the redirect for a missing slash would still show the key. A
refusal is raised later, inside the request context, where the app's error handlers find it.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MethodType
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from apikey_guard.assembly import make_forwarder
from apikey_guard.core.decision import Question
from apikey_guard.core.model import Allow, Decision, Deny, Reason
from apikey_guard.environ import Environ, path_of, unicode_path
from apikey_guard.flask.answers import answer_to, answers_options, request_allowed, request_denied
from apikey_guard.flask.around import Refused, only_by, readable
from apikey_guard.flask.marks import Views
from apikey_guard.flask.rejected import rejected
from apikey_guard.flask.shown import body_is_read, show_anew
from apikey_guard.guard import Guard
from apikey_guard.passage import Passage, Place
from apikey_guard.pending import Pending
from apikey_guard.policy import PREFLIGHT
from apikey_guard.rejections import respond

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Request, Response

    from apikey_guard.forwarding.forwarder import Forwarder


class Entrance:
    """Stands before one app.

    :param app: whose ``wsgi_app`` is wrapped and whose requests are looked at first.
    :param guard: decides.
    """

    def __init__(self, app: Flask, guard: Guard) -> None:
        self._app = app
        self._guard = guard
        self._views = Views(app)
        # Where a request carries what was decided about it: this app's own key, as an app may be
        # called from within another one, with the other one's environ.
        self._key = key = f"apikey_guard.flask.{id(self):x}"
        self._arrived = f"{key}.arrived"
        begin, settle = guard.begin, self._settle
        self._behind = inside = behind = app.wsgi_app
        if getattr(behind, "__func__", None) is not Flask.wsgi_app:
            inside = self._inside
        # Flask's own, whatever was put around it since or overrides it: a refusal reaches nothing else.
        render: WSGIApplication = MethodType(Flask.wsgi_app, app)
        self._render = render

        def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = raw = environ.get("PATH_INFO", "")
            if not path.isascii():
                path = unicode_path(path)
            cors = guard.policy.cors
            if cors is not None:
                start_response = readable(start_response, environ, cors, key)
            begun = begin(environ, path)
            if begun.__class__ is Allow:
                # The fields of a Passage, without the named tuple's own layer of Python.
                method, host = environ.get("REQUEST_METHOD"), environ.get("HTTP_HOST")
                environ[key] = (guard, begun, None, raw, method, host)
                return behind(environ, start_response)
            environ[key] = passed = settle(environ, path, begun)
            return (render if passed.__class__ is Refused else inside)(environ, start_response)

        forwarder = make_forwarder(guard.settings, guard.clock, has_app=True)
        entered = wsgi_app if forwarder is None else self._forwarding(forwarder, inside)
        app.wsgi_app = entered  # type: ignore[method-assign, assignment]  # as Flask documents it for middleware
        self._enter_contexts(app, key)

    def _enter_contexts(self, app: Flask, key: str) -> None:
        """Have what was decided acted upon where Flask begins a request inside its context."""
        preprocess, enter, arrive = app.preprocess_request, self._enter, self._arrive

        own = getattr(preprocess, "__func__", None) is Flask.preprocess_request

        def preprocess_request(*context: Any) -> Any:
            answered: Any = enter()
            # Flask's own step calls functions before the view, which may change what is asked for. Where
            # there is none it does nothing, but costs as much as half of a hit.
            idle = own and not app.before_request_funcs and not app.url_value_preprocessors
            if answered is None and not idle:
                answered = preprocess(*context)
                if answered is None:
                    answered = arrive()
            return answered

        # The step of Flask that begins a request inside its context and its error handling: ahead of
        # every function that the app or a blueprint registered, whenever it did, and for static
        # files, 404, 405 and redirects too. A registered function would cost a request twice as much.
        app.preprocess_request = preprocess_request  # type: ignore[method-assign]  # as above
        own_dispatch = app.full_dispatch_request
        if getattr(own_dispatch, "__func__", None) is not Flask.full_dispatch_request:
            # A class of the app's own may answer there, ahead of that step.
            rendering = MethodType(Flask.full_dispatch_request, app)

            def full_dispatch_request(*context: Any) -> Any:
                passed: Any = request.environ.get(key)
                if passed is None:
                    request.environ[key] = passed = self._decide(request.environ)
                if not isinstance(passed, Refused):
                    # It may call the view without that step.
                    passed = self._looked_at(request, passed)
                return (rendering if isinstance(passed, Refused) else own_dispatch)(*context)

            app.full_dispatch_request = full_dispatch_request  # type: ignore[method-assign]  # as above

    # -- around wsgi_app -----------------------------------------------------------------------

    def _inside(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """What stands inside of the guard; what a mark has opened, Flask alone answers."""
        passage: Any = environ[self._key]
        pending = passage[2]
        if pending is None or pending.marked in {None, "required"}:
            return self._behind(environ, start_response)
        arrived: list[bool] = []
        environ[self._arrived] = arrived

        def instead() -> WSGIApplication | None:
            decision = self._without_mark(environ, passage)
            return self._answering(environ, decision) if isinstance(decision, Deny) else None

        return only_by(self._behind, lambda: bool(arrived), instead)(environ, start_response)

    def _forwarding(self, forwarder: Forwarder, inside: WSGIApplication) -> WSGIApplication:
        """The way in where some routes have an origin; Flask renders what is refused there, too."""
        guard = self._guard

        def forwarding(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            """Aim, decide, send."""
            path, policy = path_of(environ), guard.policy
            if policy.cors is not None:
                start_response = readable(start_response, environ, policy.cors, self._key)
            aim = forwarder.aim(environ, path, policy.rules)
            if isinstance(aim, Deny):
                self._refuse(environ, path, aim)
                return self._render(environ, start_response)
            begun = guard.begin(environ, path, policy=policy, rule=aim.rule)
            # Where no view will answer, none is asked for its mark.
            environ[self._key] = passed = self._settle(environ, path, begun, marks=aim.path is None)
            if isinstance(passed, Refused):
                return self._render(environ, start_response)
            answer = forwarder.send(aim, environ, start_response, self._may_leave)
            if isinstance(answer, Reason):
                return respond(policy.unanswered(answer, environ, aim.rule), environ, start_response)
            if answer is not None:
                return answer
            refused = isinstance(environ[self._key], Refused)
            return (self._render if refused else inside)(environ, start_response)

        return forwarding

    def _may_leave(self, environ: Environ) -> bool:
        """Whether a request may go to an origin that the hook chose; if not, it is noted as refused.

        The mark of the view that would have answered opens no way there; the scopes that it asks for hold.
        """
        passage: Passage = environ[self._key]
        if not passage.decision.enforced:
            return True
        decision = self._without_mark(environ, passage)
        if isinstance(decision, Allow):
            rule = self._views.matched(environ)
            scopes = (
                None if rule is None else self._views.scopes(rule.endpoint, environ["REQUEST_METHOD"].upper())
            )
            decision = (self._guard.require(environ, scopes, decision) if scopes else None) or decision
        if isinstance(decision, Deny):
            self._refuse(environ, path_of(environ), decision)
        return isinstance(decision, Allow)

    def _without_mark(self, environ: Environ, passage: Passage) -> Decision:
        """What holds for a request that was let in where the mark of its view does not count."""
        pending = passage.pending
        if pending is None or pending.marked is None:
            return passage.decision
        place = Place(pending.path, passage.method or "", passage.host)
        return pending.again(environ, place, None).settle()

    def _answering(self, environ: Environ, deny: Deny) -> WSGIApplication:
        self._refuse(environ, path_of(environ), deny)
        return self._render

    def _decide(self, environ: Environ) -> Passage | Refused:
        """What becomes of a request."""
        path = path_of(environ)
        return self._settle(environ, path, self._guard.begin(environ, path))

    def _settle(
        self, environ: Environ, path: str, begun: Allow | Pending, *, marks: bool = True
    ) -> Passage | Refused:
        """What becomes of a request that was begun: its view's mark counts, then the key service's answer.

        :param marks: whether a view may answer it.
        """
        guard = self._guard
        method: str = environ.get("REQUEST_METHOD", "")
        place = environ.get("PATH_INFO", ""), method, environ.get("HTTP_HOST")
        if isinstance(begun, Allow):
            return Passage(guard, begun, None, *place)
        rule = self._views.matched(environ) if marks and begun.may_be_marked else None
        if rule is not None:
            begun.relax(self._views.access(rule.endpoint, method.upper()))
            said = begun.said
            open_still = isinstance(said, Question) or said.reason not in {None, Reason.PREFLIGHT}
            if open_still and answers_options(rule) and guard.is_preflight(environ):
                return self._refuse(environ, path, PREFLIGHT)
        decision = begun.settle()
        if isinstance(decision, Deny):
            return Refused(decision, begun.rejection(readable=False))
        return Passage(guard, decision, None if decision.consumer is not None else begun, *place)

    def _refuse(self, environ: Environ, path: str, deny: Deny) -> Refused:
        refused = Refused(deny, self._guard.reject(deny, environ, path, readable=False))
        environ[self._key] = refused
        return refused

    # -- inside the request context ------------------------------------------------------------

    def _enter(self) -> Response | None:
        """Raise what was refused; look at the scopes that the view is marked with.

        :returns: the answer to a preflight, to which functions after the request may add; else None.
        :raises ApiKeyRejected: no view, and no other function of the app, sees the request.
        """
        current = request._get_current_object()  # type: ignore[attr-defined]  # the proxy is looked through once
        environ: Environ = current.environ
        passed: Any = environ.get(self._key)
        if passed.__class__ is not tuple:
            if passed is None:
                # The request came around wsgi_app, and nobody has decided about it yet.
                environ[self._key] = passed = self._decide(environ)
            if isinstance(passed, Refused):
                return answer_to(self._app, passed, current.url_rule)
        rule, decision = current.url_rule, passed[1]
        # As _looked_at(), but for the call that a hit does not need.
        if (
            passed[2] is not None
            or rule is None
            or current.method != passed[4]
            or environ.get("PATH_INFO") != passed[3]
            or environ.get("HTTP_HOST") != passed[5]
            or self._views.scopes(rule.endpoint, passed[4])
        ):
            decision = self._looked_at(current, passed)
            if isinstance(decision, Refused):
                return answer_to(self._app, decision, rule)
        if request_allowed.receivers and decision.enforced:
            request_allowed.send(self._app, _async_wrapper=self._app.ensure_sync, decision=decision)
        return None

    def _arrive(self) -> Response | None:
        """Look again at a request whose method or view is another one by now, or that no key has opened."""
        current = request._get_current_object()  # type: ignore[attr-defined]  # as above
        passed, rule = current.environ[self._key], current.url_rule
        if (
            passed.__class__ is tuple
            and current.method == passed[4]
            and (rule is None or not self._views.scopes(rule.endpoint, passed[4]))
        ):
            return None
        # What was refused before the view stays refused, whoever caught it.
        decision = passed if isinstance(passed, Refused) else self._looked_at(current, passed)
        return answer_to(self._app, decision, rule) if isinstance(decision, Refused) else None

    def insist(self, scopes: frozenset[str]) -> None:
        """Look at the key of the current request once more: the mark that asks for it may be out of sight.

        :raises ApiKeyRejected: there is no valid key, or its consumer lacks one of these scopes.
        """
        current = request._get_current_object()  # type: ignore[attr-defined]  # as above
        environ: Environ = current.environ
        passed: Any = environ.get(self._key)
        if isinstance(passed, Refused):
            raise rejected(*passed)  # whoever caught it the first time gets no further
        # A test may have made the context, and nobody has let the request in; or modes refuse nothing.
        if passed is None or not passed[1].enforced:
            return
        allowed: Allow = passed[1]
        pending: Pending | None = passed[2]
        path = path_of(environ)
        deny: Deny | None = None
        if pending is not None and pending.may_be_marked:
            place = Place(path, current.method, environ.get("HTTP_HOST"))
            decision = pending.again(environ, place, "required", body_is_read=body_is_read(current)).settle()
            if isinstance(decision, Deny):
                deny = decision
            elif decision.consumer is not None:
                environ[self._key] = Passage(*passed)._replace(decision=decision, pending=None)
                allowed = decision
                show_anew(current)
        deny = deny or self._guard.require(environ, scopes, allowed)
        if deny is not None:
            if answers_options(request.url_rule) and self._guard.is_preflight(environ):
                deny = PREFLIGHT  # from a function before the request: the view has none that would run
            refused = self._refuse(environ, path, deny)
            request_denied.send(self._app, _async_wrapper=self._app.ensure_sync, decision=deny)
            raise rejected(refused.deny, refused.rejection)

    def _looked_at(self, current: Request, passed: Passage) -> Allow | Refused:
        """What holds for a request that was let in, where it stands now and for the view that it has now."""
        environ: Environ = current.environ
        _, decision, pending, path, method, host = passed
        if pending is not None:
            environ.get(self._arrived, []).append(True)
        moved = (
            environ.get("PATH_INFO", "") != path
            or current.method != method
            or environ.get("HTTP_HOST") != host
        )
        if moved or pending is not None:
            looked = self._look_again(current, Passage(*passed), moved=moved)
            if isinstance(looked, Refused):
                return looked
            decision = looked
        rule = current.url_rule
        if rule is not None:
            scopes = self._views.scopes(rule.endpoint, current.method)
            deny = self._guard.require(environ, scopes, decision) if scopes else None
            # A preflight that was handed on: Flask answers it, and no function of the view does.
            answered = deny is not None and answers_options(rule) and self._guard.is_preflight(environ)
            if deny is not None and not answered:
                return self._refuse(environ, path_of(environ), deny)
        return decision

    def _look_again(self, current: Request, passage: Passage, *, moved: bool) -> Allow | Refused:
        """What holds at the view, where it is not the one, or not the place, that was decided about."""
        environ: Environ = current.environ
        rule = current.url_rule
        access = None if rule is None else self._views.access(rule.endpoint, current.method)
        place = Place(path_of(environ), current.method, environ.get("HTTP_HOST"))
        read = body_is_read(current)
        anew = passage.again(environ, place, access, moved=moved, body_is_read=read)
        if anew is None:
            return passage.decision
        decision = anew.settle()
        if isinstance(decision, Deny):
            environ[self._key] = refused = Refused(decision, anew.rejection(readable=False))
            return refused
        show_anew(current)
        path = environ.get("PATH_INFO", "")
        pending = None if decision.consumer is not None else anew
        environ[self._key] = Passage(self._guard, decision, pending, path, place.method, place.host)
        return decision
