"""Which parts the settings ask for, made in the process that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from apikey_guard.admission import Admission
from apikey_guard.clock import Clock
from apikey_guard.core.cors import Cors
from apikey_guard.core.extraction import Location, environ_key
from apikey_guard.core.headers import IDENTITY_HEADERS, IdentityHeaders
from apikey_guard.core.hiding import Hide, Hiding, as_hide
from apikey_guard.core.peers import Peers
from apikey_guard.core.routing import Route
from apikey_guard.core.rules import TO_APP, Defaults, Rules, Way
from apikey_guard.core.standin import STRONG_LENGTH
from apikey_guard.errors import SettingsError
from apikey_guard.keyservice import Hook, KeyService
from apikey_guard.keyservice.called import CalledKeyService
from apikey_guard.observe.counters import Counters
from apikey_guard.observe.decisions import Telling
from apikey_guard.policy import Policy, fingerprinting
from apikey_guard.rejections import Rejections
from apikey_guard.settings import Settings, all_origins
from apikey_guard.settings.origins import Origins

if TYPE_CHECKING:
    from apikey_guard.forwarding import OriginClient
    from apikey_guard.forwarding.forwarder import Forwarder
    from apikey_guard.verification.memory import MemoryCache


def open_by_default(settings: Settings) -> str | None:
    """What ``default_access`` opens, in one sentence; None where everything needs a key.

    It cannot see marks of an app's views.
    """
    access = settings.default_access
    if access == "required":
        return None
    asking = sorted({route.path for route in settings.routes if route.access == "required"})
    guarded = f"guarded are {', '.join(asking)}" if asking else "no route guards anything"
    return f"default_access: {access}: no key is needed wherever no route says otherwise; {guarded}"


def make_key_service(settings: Settings, clock: Clock) -> KeyService:
    """The key service of the settings: their own object or function, the key file, or the URL.

    Imported here and not above, as everywhere what loads ``ssl`` is, asyncio and HTTP clients: a server
    such as gevent's must be able to patch that first (threat C-04).
    """
    given = settings.key_service
    if given is not None:
        return called_key_service(given, settings)
    if settings.keys_file is not None:
        from apikey_guard.keyservice.keyfile.service import FileKeyService

        return FileKeyService(settings.keys_file, clock=clock)
    from apikey_guard.keyservice.http import HttpKeyService

    if settings.validator_url is None:
        raise AssertionError("settings name no key service")
    return HttpKeyService(
        settings.validator_url,
        protocol=settings.validator_protocol,
        headers=settings.validator_headers,
        key_header=settings.validator_key_header,
        timeout=settings.validator_timeout,
        ca=settings.validator_ca,
        client_cert=settings.validator_client_cert,
        proxy=settings.validator_proxy,
        cache_control=settings.validator_cache_control,
        allow_http=settings.validator_allow_http,
        max_connections=settings.validator_max_concurrency,
        time_source=clock.time,
        monotonic=clock.monotonic,
    )


def called_key_service(given: Hook, settings: Settings) -> CalledKeyService:
    """A key service of the app's own, plain or async."""
    from apikey_guard.keyservice.loop import OwnLoop

    return CalledKeyService(given, OwnLoop(settings.validator_timeout))


def make_policy(settings: Settings, memory: MemoryCache, counters: Counters) -> Policy:
    """What the settings mean for one request.

    :param memory: and ``counters``: of the guard.
    """
    cors, telling = make_cors(settings), Telling(settings.on_decision, counters)
    return Policy(
        rules=make_rules(settings),
        # Kong's names, other names, or none; forged ones are deleted in any case.
        admission=Admission(IdentityHeaders(settings.identity_header_names), telling),
        telling=telling,
        rejections=Rejections(settings, cors),
        cors=cors,
        peers=Peers(settings.trusted_proxies),
        fingerprint=fingerprinting(settings.fingerprint_secret),
        weak_length=STRONG_LENGTH if settings.fingerprint_secret is None else 0,
        max_length=settings.key_max_length,
        body_max_bytes=settings.body_max_bytes,
        memory=memory,
    )


def make_rules(settings: Settings) -> Rules:
    """The routes and what holds where they say nothing."""
    defaults = Defaults(
        key_locations=settings.key_locations,
        key_conflict=settings.key_conflict,
        key_pattern=settings.key_pattern,
        key_max_length=settings.key_max_length,
        hide_credentials=None if settings.hide_credentials is None else as_hide(settings.hide_credentials),
        forwards=settings.origin is not None,
        default_access=settings.default_access,
        mode=settings.mode,
        allow_preflight=settings.allow_preflight,
        dialect=settings.dialect,
        realm=settings.realm,
    )
    return Rules(settings.routes, defaults, _ways(settings))


def _ways(settings: Settings) -> Callable[[Route], Way]:
    """Where requests of a route are forwarded to."""
    if not settings.forwards:
        return lambda _: TO_APP
    origins, default = all_origins(settings), settings.origin

    def way_of(route: Route) -> Way:
        return Way(
            origin=origins.name_of(default if route.origin is None else route.origin),
            prefix=route.path.removesuffix("/*") if route.strip_prefix else None,
            preserve_host=route.preserve_host,
            standin=route.hide_credentials == "replace",
        )

    return way_of


def make_cors(settings: Settings) -> Cors | None:
    """What lets pages of other origins read refusals; None where no origin is named."""
    if not settings.cors_origins:
        return None
    locations = [*settings.key_locations]
    for route in settings.routes:
        locations += route.key_locations or ()
    with_cookies = any(location.startswith("cookie:") for location in locations)
    return Cors(settings.cors_origins, with_cookies=with_cookies)


def hiding_of(settings: Settings) -> Mapping[str, Hide]:
    """What becomes of a verified key, by where a request goes: ``all requests``, then routes that differ."""
    rules = make_rules(settings)
    default = rules.default.hiding.hide_as
    found: dict[str, Hide] = {"all requests": default}
    for path, rule in rules.by_path:
        if rule.hiding.hide_as != default:
            methods = "" if rule.methods is None else f"{','.join(sorted(rule.methods))} "
            found[f"{methods}{path}"] = rule.hiding.hide_as
    if settings.choose_origin is not None and "replace" in found.values():
        found["what choose_origin sends to an origin"] = "remove"
    return found


def make_forwarder(settings: Settings, clock: Clock, *, has_app: bool) -> Forwarder | None:
    """What sends requests to the origins of the settings, or None where there are none.

    :param has_app: whether an app gets what has no origin; without one, nothing else can answer.
    :raises SettingsError: there are both an app and an origin for everything.
    """
    if not settings.forwards:
        return None
    if has_app and settings.origin is not None:
        raise SettingsError(
            ["origin: nothing would be left for the app; leave one of them out, or give origins to routes"]
        )
    # Imported here: most guards forward nothing.
    from apikey_guard.forwarding.forwarder import Forwarder
    from apikey_guard.forwarding.headers import Hop

    origins = all_origins(settings)
    locations = [*_locations(settings)]
    key_headers = [location.name for location in locations if location.kind == "header"]
    named = [*(settings.identity_header_names or IDENTITY_HEADERS).values(), *key_headers]
    return Forwarder(
        lambda: _make_origins(origins, settings, clock),
        Hop(
            peers=Peers(settings.trusted_proxies),
            kept=[environ_key(name) for name in named],
            via=settings.origin_via,
        ),
        has_app=has_app,
        choose_origin=settings.choose_origin,
        preserving=[
            name
            for name, spec in origins.specs.items()
            if (settings.preserve_host if spec.preserve_host is None else spec.preserve_host)
        ]
        + [*(origins.given if settings.preserve_host else ())],
        take_out_standins=Hiding(locations, hide=False).hide,
    )


def key_cookies(settings: Settings) -> frozenset[str]:
    """The cookies in which a key may stand; no framework should read them as its own."""
    return frozenset(location.name for location in _locations(settings) if location.kind == "cookie")


def _locations(settings: Settings) -> Iterator[Location]:
    """Where a key may stand under some route; a header goes on where it is not hidden."""
    places = [
        *settings.key_locations,
        *(place for route in settings.routes for place in route.key_locations or ()),
    ]
    yield from map(Location.parse, places)


def _make_origins(origins: Origins, settings: Settings, clock: Clock) -> Mapping[str, OriginClient]:
    from apikey_guard.forwarding.given import GivenOrigin
    from apikey_guard.forwarding.targets import Bounds, HttpOrigin

    made: dict[str, OriginClient] = {name: GivenOrigin(given) for name, given in origins.given.items()}
    for name, spec in origins.specs.items():
        bounds = Bounds(
            connect_timeout=spec.connect_timeout or settings.origin_connect_timeout,
            read_timeout=spec.read_timeout or settings.origin_read_timeout,
            idle_timeout=settings.origin_idle_timeout if spec.idle_timeout is None else spec.idle_timeout,
            max_connections=spec.max_connections or settings.origin_max_connections,
            ca=spec.ca,
            monotonic=clock.monotonic,
        )
        made[name] = HttpOrigin(spec.targets, bounds, clock)
    return made
