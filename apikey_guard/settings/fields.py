"""Everything that can be set: one field each, with its default, the reason for it, and its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal
from wsgiref.types import WSGIEnvironment

from apikey_guard.core.dialects import Dialect
from apikey_guard.core.extraction import Conflict
from apikey_guard.core.headers import IDENTITY_HEADERS
from apikey_guard.core.level_two import SharedCache
from apikey_guard.core.model import Consumer, Decision, Mode, Rejection
from apikey_guard.core.routing import Access, Route
from apikey_guard.errors import SettingsError
from apikey_guard.forwarding import OriginClient
from apikey_guard.forwarding.spec import OriginSpec
from apikey_guard.keyservice import Hook
from apikey_guard.keyservice.protocols import KeyProtocol
from apikey_guard.settings.checks import SecretHeaders
from apikey_guard.settings.origins import may_forward
from apikey_guard.settings.rules import checked
from apikey_guard.settings.shown import shown


def _setting(default: object, meaning: str, *, hashed: bool = True) -> Any:
    """A field, with what it means as its ``help``."""
    more: dict[str, Any] = {"hash": None if hashed else False, "metadata": {"help": meaning}}
    if isinstance(default, Mapping):  # which dataclasses take for something that could change
        return field(default_factory=lambda: default, **more)
    return field(default=default, **more)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Everything that can be set, checked and immutable.

    Each field's meaning is its ``help``; :data:`SETTING_NAMES` are the names that users write.

    :param sources: where each value came from: ``keyword``, ``framework config``,
        ``environment NAME``, ``file PATH, line N`` or ``default``.
    :raises SettingsError: lists everything that is wrong.
    """

    # The key service. One of validator_url, keys_file and key_service has to be given: there is
    # no default that lets everything pass.
    validator_url: str | None = _setting(
        None, "Address of the key service; plain http only on loopback, unless `validator_allow_http`."
    )
    # Ours, because it alone carries the key outside of URL and headers, and says who the consumer is.
    validator_protocol: Literal["json", "status", "introspection", "unkey"] | KeyProtocol = _setting(
        "json",
        "How the key service is asked: `json`, `status`, `introspection` or `unkey`, or an object with "
        "`request` and `verdict`.",
        hashed=False,
    )
    validator_headers: Mapping[str, str] = _setting(
        SecretHeaders(), "Our own credentials to the key service, as headers (secret).", hashed=False
    )
    # The header of the gateway being replaced, which its key service knows already.
    validator_key_header: str = _setting(
        "apikey", "The header in which protocol `status` sends the credential."
    )
    # Longer than any healthy answer takes, shorter than callers wait.
    validator_timeout: float = _setting(
        2.0, "Seconds for one verification, from name resolution to the last byte."
    )
    # 16 at 100 ms each are 160 new keys a second per process, and no flood for the service.
    validator_max_concurrency: int = _setting(16, "Verifications at once per process.")
    validator_ca: str | None = _setting(
        None, "CA bundle for the key service's certificate, instead of the usual authorities."
    )
    validator_client_cert: str | tuple[str, str] | None = _setting(
        None, "Client certificate for the key service: one file, or certificate and unencrypted key."
    )
    # Explicit only: HTTPS_PROXY in the environment is not obeyed.
    validator_proxy: str | None = _setting(
        None, "Proxy on the way to the key service; the environment's own are not obeyed."
    )
    # Frameworks send `no-store` on everything, which would switch the cache off unnoticed.
    validator_cache_control: bool | None = _setting(
        None,
        "Whether the answer's Cache-Control may shorten the ttl; unset means yes for "
        "protocol `status`, no for the others.",
    )
    # Keys in the clear on a network are everybody's keys.
    validator_allow_http: bool = _setting(False, "Allow plain http to a key service that is not on loopback.")
    keys_file: str | None = _setting(None, "A TOML file of hashed keys instead of a remote key service.")
    key_service: Hook | None = _setting(
        None,
        "Hook: a function credential -> Verdict, plain or async, or an object with `verify`.",
        hashed=False,
    )
    # In the caller's own thread a hook sees what the app's own code sees there: its transaction,
    # a test's database.
    key_service_in_pool: bool = _setting(
        False,
        "Whether `key_service` is asked from threads of the guard instead of the caller's own, "
        "so that one that hangs holds no caller beyond `validator_timeout`.",
    )

    # What workers share needs something that all of them reach; alone, each remembers for itself.
    shared_cache: SharedCache | None = _setting(
        None, "Level two: an object with `get`, `put` and `forget` that all workers share.", hashed=False
    )

    # The credential. These two places are where callers of the gateway being replaced send it.
    key_locations: tuple[str, ...] = _setting(
        ("header:apikey", "query:apikey"),
        "Where the credential is looked for, in order: `header:NAME`, `query:NAME`, "
        "`authorization:SCHEME`, `cookie:NAME`, `body:NAME`.",
    )
    # Nobody but the owner of the keys knows their shape.
    key_pattern: str | None = _setting(
        None,
        "Shape of every key: a prefix (letters, digits, `_`, `-` and `.` only), or a regular "
        "expression that matches in full; anything else is refused without asking anybody.",
    )
    # The longest keys in use are below 200 characters; a JWT as a key needs more.
    key_max_length: int = _setting(
        512, "Longest credential, in characters; a longer one is refused without asking."
    )
    # Whoever sends two keys wants two parties to read different ones.
    key_conflict: Conflict = _setting(
        "reject", "Two different credentials in one request: `reject`, or take the `first`."
    )
    # Room for a form with a key, not for uploads: that much memory per request is held.
    body_max_bytes: int = _setting(
        65_536,
        "How many bytes of a body are read for a `body:` location; a larger one is "
        "refused with 413, or goes on unread if the key is elsewhere.",
    )
    # What the app does not see, it cannot log. But what tells callers apart by the key, such as a cache,
    # must still tell them apart, so an app finds a stand-in; an origin, which is somebody else's, does not.
    hide_credentials: Literal["replace", "remove"] | bool | None = _setting(
        None,
        "What becomes of the credential: `replace` (the app finds a stand-in of a verified key), "
        "`remove` (`true` is the same) or `false` (it sees the key); unset means `replace` before an "
        "app, `remove` before an origin. Origins get no stand-in unless their own route says `replace`.",
    )

    # The cache. A revoked key works for a minute at most while the service answers.
    cache_ttl: float = _setting(
        60.0, "Seconds that a valid verdict serves; 0 is off. The service may shorten it."
    )
    # Long enough to stop a flood of one bad key, short enough for a key made just now.
    negative_ttl: float = _setting(5.0, "Seconds that an invalid verdict serves; 0 is off.")
    # A restart of the key service is not an outage of the app.
    stale_if_error: float = _setting(
        300.0,
        "Seconds beyond its ttl that a valid verdict may serve while the key service is "
        "unavailable; 0 is off.",
    )
    # About 45 MB when full.
    cache_max_entries: int = _setting(
        100_000, "Valid verdicts in memory per process; 0 is off, never unbounded."
    )
    # Apart from the valid ones, so that a flood of bad keys drives no good key out.
    negative_max_entries: int = _setting(
        10_000, "Invalid verdicts in memory per process; 0 is off, never unbounded."
    )

    # The requests. What no route matches is protected.
    routes: tuple[Route, ...] = _setting(
        (), "Rules by path and method; what no route matches needs a credential."
    )
    # Whoever forgets something forgets to open it.
    default_access: Access = _setting(
        "required",
        "What holds where neither a route nor a view's mark says anything: `required`, "
        "`optional` or `public`; `public` guards only what asks for it.",
    )
    mode: Mode = _setting("enforce", "`enforce`, `monitor` (decide, count, log, but let pass) or `off`.")
    # Many views and apps answer every method alike: their data would be everybody's.
    allow_preflight: bool = _setting(
        False,
        "Whether a real CORS preflight reaches the app or origin without a credential, for those "
        "that answer it themselves; never where scopes are needed.",
    )
    # Whose pages may read is not for us to guess.
    cors_origins: tuple[str, ...] = _setting(
        (),
        "Origins whose pages may read the guard's own answers, like `https://app.example.com`, "
        "or `*`; their preflights are answered.",
    )
    dialect: Literal["standard"] | Dialect = _setting(
        "standard", "How a rejection looks: `standard` (RFC 9457), or an object with `reject`.", hashed=False
    )
    realm: str = _setting("api", "The realm in the challenge of a 401.")
    identity_headers: bool | Mapping[str, str] = _setting(
        True,
        "Whether the app gets headers that say who calls, or other names for them by field "
        "(`id`, `username`, `custom_id`, `credential_id`, `anonymous`); `enforce` removes forged ones.",
        hashed=False,
    )
    # None: SHA-256 is enough for keys that cannot be guessed.
    fingerprint_secret: bytes | None = _setting(
        None, "Secret of 16 bytes or more: fingerprints become HMAC-SHA-256, for keys that could be guessed."
    )

    # Forwarding. Without an origin everything goes to the app.
    origin: str | tuple[str, ...] | None = _setting(
        None,
        "Where allowed requests are sent that no route sends elsewhere: a URL, a list of URLs "
        "taken in turn, or the name of one of the `origins`.",
    )
    origins: Mapping[str, OriginSpec | OriginClient] = _setting(
        MappingProxyType({}),
        "Origins by name: a URL, a list of URLs, a table with `targets`, `connect_timeout`, "
        "`read_timeout`, `idle_timeout`, `max_connections`, `ca` and `preserve_host`, or an object with "
        "`send`, `close` and `abandon`.",
        hashed=False,
    )
    # An origin with several names on one address needs its own.
    preserve_host: bool = _setting(
        False, "Whether the caller's `Host` is sent to the origin, instead of the origin's own."
    )
    # RFC 9110 wants it, and it ends loops between gateways.
    origin_via: bool = _setting(
        True,
        "Whether origins get a `Via` of ours; nginx compresses nothing where one is, unless its "
        "`gzip_proxied` says so.",
    )
    # Longer than any connection in one network takes.
    origin_connect_timeout: float = _setting(
        2.0, "Seconds to connect to an origin, and to wait for a free connection."
    )
    # What callers of gateways are used to.
    origin_read_timeout: float = _setting(
        60.0,
        "Seconds until an origin's answer begins, and then between two pieces of it; the whole "
        "may take longer.",
    )
    # Node and uvicorn close theirs after 5 s: a request sent at that moment is lost.
    origin_idle_timeout: float = _setting(
        4.0,
        "Seconds that an unused connection to an origin is kept, 0 for none; less than the "
        "origin keeps it. A shorter `Keep-Alive: timeout` of the origin holds.",
    )
    # So that an origin that hangs takes no more than this many threads; each target has its own.
    origin_max_connections: int = _setting(64, "Connections at once to one target of an origin, per process.")
    # None: anybody can say anything in a header.
    trusted_proxies: tuple[str, ...] = _setting(
        (), "Addresses and networks whose `X-Forwarded-*`, `Forwarded` and other claims are believed."
    )
    # The path that orchestrators ask for.
    health_path: str | None = _setting(
        "/healthz",
        "The path that a gateway (`apikey-guard serve`, `create_app`) answers itself, with 200, "
        "without key and key service.",
    )
    config_file: str | None = _setting(
        None, "A TOML file with any of these settings and `[[routes]]` tables."
    )

    render_rejection: Callable[[Rejection, WSGIEnvironment], Rejection] | None = _setting(
        None, "Hook: `render_rejection(rejection, environ)` returns the rejection to send.", hashed=False
    )
    on_decision: Callable[[Decision, WSGIEnvironment], None] | None = _setting(
        None, "Hook: `on_decision(decision, environ)` is told of every decision.", hashed=False
    )

    choose_origin: Callable[[WSGIEnvironment, Consumer | None], str | None] | None = _setting(
        None,
        "Hook: `choose_origin(environ, consumer)` returns the name of one of the `origins`, or "
        "None for the route's own.",
        hashed=False,
    )

    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in SETTING_NAMES}
        good, problems = checked(values, self.sources)
        if problems:
            raise SettingsError(problems)
        for name, value in good.items():
            object.__setattr__(self, name, value)
        sources = {name: self.sources.get(name, self._place(name)) for name in SETTING_NAMES}
        object.__setattr__(self, "sources", MappingProxyType(sources))

    def _place(self, name: str) -> str:
        return "default" if getattr(self, name) == DEFAULTS[name] else "keyword"

    @property
    def obeys_cache_control(self) -> bool:
        """Whether the key service's Cache-Control shortens the ttl, after the protocol's default."""
        if self.validator_cache_control is None:
            return self.validator_protocol == "status"
        return self.validator_cache_control

    @property
    def identity_header_names(self) -> Mapping[str, str] | None:
        """The header for each field that says who calls; None where none is to be set."""
        if isinstance(self.identity_headers, bool):
            return IDENTITY_HEADERS if self.identity_headers else None
        return MappingProxyType({**IDENTITY_HEADERS, **self.identity_headers})

    @property
    def forwards(self) -> bool:
        """Whether anything can go to an origin."""
        return may_forward(self.origin, self.choose_origin, self.routes)

    def shown(self, name: str) -> str:
        """The value of a setting as :func:`~apikey_guard.settings.shown.shown` writes it.

        :raises KeyError: where there is no such setting.
        """
        if name not in DEFAULTS:
            raise KeyError(name)
        return shown(name, getattr(self, name))

    def __repr__(self) -> str:
        given = (name for name in SETTING_NAMES if getattr(self, name) != DEFAULTS[name])
        return f"Settings({', '.join(f'{name}={self.shown(name)}' for name in given)})"


def _default(name: str) -> object:
    known = Settings.__dataclass_fields__[name]
    return known.default if known.default_factory is MISSING else known.default_factory()


#: The names that users write, in the order of the documentation.
SETTING_NAMES: Final = tuple(known.name for known in fields(Settings) if "help" in known.metadata)
#: What holds where nothing is given.
DEFAULTS: Final[Mapping[str, object]] = MappingProxyType({name: _default(name) for name in SETTING_NAMES})
