"""Headers that mean something by who sends them: claims about a request, and orders to a server.

A caller's claim is dropped on the way to an origin unless the peer is trusted, and an origin's order
is dropped on the way back, whoever the peer. Both are data: a name, or the beginning of names that
ends with ``*``. Not here is what is another matter: a method override is another reading of the
method and goes on, ``Via`` is continued, and the identity headers are the guard's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Group(NamedTuple):
    """Headers that fall for one reason.

    :param why: what some program takes from them.
    :param names: in lower case; one that ends with ``*`` is the beginning of names.
    """

    why: str
    names: tuple[str, ...]


#: What a caller could say about a request in place of the servers between it and the origin.
CLAIMS: Final = (
    Group(
        "another URL or path (IIS, Symfony, Laminas, Envoy, Traefik, Rack, Next.js)",
        (
            "x-original-*",
            "x-originally-*",
            "x-rewrite-*",
            "x-override-*",
            "x-replaced-*",
            "x-envoy-*",
            "x-middleware-*",
            "x-invoke-*",
            "x-matched-path",
            "x-now-route-matches",
            "x-rstudio-*",
            "x-request-uri",
            "x-request-url",
            "x-request-path",
            "x-path-info",
            "x-script-name",
            "x-ingress-path",
            "x-url",
            "x-uri",
            "x-http-destinationurl",
            "x-http-path-override",
            "x-waws-unencoded-url",
            "request-uri",
            "base-url",
            "script-name",
            "path-info",
        ),
    ),
    Group(
        "another host, scheme or port",
        (
            "x-host",
            "x-host-override",
            "x-http-host*",
            "x-server-name",
            "x-server-port",
            "x-gateway-host",
            "x-scheme",
            "x-url-scheme",
            "x-proto",
            "x-protocol",
            "x-http-scheme",
            "x-port",
            "x-https",
            "x-ssl",
            "https",
            "ssl-offloaded",
            "front-end-https",
            "true-host",
        ),
    ),
    Group(
        "what a proxy passed on (RFC 7239 and what was there before it)",
        ("x-forwarded*", "x-forwarder-*", "x-forward-*", "forward-*", "forwarded-*", "z-forwarded-for"),
    ),
    Group(
        "another address of the caller (Rails, PHP, Spring and the lists of many libraries)",
        (
            "x-real-*",
            "x-client-ip",
            "x-clientip",
            "x-client-address",
            "x-ip",
            "x-ip-address",
            "x-user-ip",
            "x-visitor-ip",
            "x-connecting-ip",
            "x-realip",
            "x-remoteip",
            "x-remoteaddr",
            "x-originatingip",
            "x-trueclientip",
            "x-cluster-*",
            "x-originating-*",
            "x-remote-*",
            "x-source-ip",
            "x-true-*",
            "x-coming-from",
            "x-custom-ip-authorization",
            "x-proxyuser-*",
            "x-proxy-*",
            "x-peer-address",
            "client-ip",
            "real-ip",
            "source-ip",
            "true-client-*",
            "remote-*",
            "cluster-client-ip",
            "coming-from",
            "http-*",
            "proxy-*",
            "wl-proxy-*",
        ),
    ),
    Group(
        "what a network in front says of its visitor: address, country, scheme, who signed in there",
        (
            "cf-*",
            "cloudfront-*",
            "fastly-*",
            "akamai-*",
            "x-akamai-*",
            "x-azure-*",
            "x-arr-*",
            "x-ms-client-principal*",
            "x-ms-token-*",
            "x-appengine-*",
            "x-goog-authenticated-*",
            "x-goog-iap-*",
            "x-apigateway-*",
            "x-endpoint-api-*",
            "x-amzn-oidc-*",
            "x-amzn-mtls-*",
            "x-vercel-*",
            "x-nf-*",
            "x-sucuri-*",
            "fly-*",
            "do-connecting-ip",
            "incap-client-ip",
            "ali-cdn-*",
            "cdn-src-ip",
            "cdn-real-ip",
            "x-cdn-src-ip",
        ),
    ),
    Group(
        "who calls, by the word of a server that checked a certificate, a password or a key",
        (
            "client-cert*",
            "x-client-cert*",
            "x-client-verify",
            "x-client-dn",
            "x-ssl-*",
            "ssl-client-*",
            "x-tls-client-*",
            "x-auth-request-*",
            "x-authenticated-*",
            "x-webauth-*",
            "x-authentik-*",
            "x-pomerium-*",
            "x-vouch-*",
            "x-userinfo",
            "x-jwt-assertion",
            "x-rh-identity",
            "x-amzn-request-context",
            "x-amzn-lambda-context",
            "tailscale-*",
            "oidc-claim-*",
            "shib-*",
            "sm-user",
            "iv-user",
            "iv-groups",
            "iv-creds",
            "x-consumer-groups",
            "x-credential-username",
        ),
    ),
    Group("address, host, scheme and caller, by the word of a web server's plugin (WebSphere)", ("$ws*",)),
    Group("how to hand a file to the server in front (Rack)", ("x-sendfile-*", "x-accel-*")),
)

#: What an origin could command the server in front to do. It answers for its own content alone.
ORDERS: Final = (
    Group("a protected file or location, a rate, a charset, an age (nginx)", ("x-accel-*",)),
    Group(
        "an archive of protected locations (nginx's mod_zip)",
        ("x-archive-files", "x-archive-charset", "x-archive-pass-headers"),
    ),
    Group("a file (Apache, lighttpd, Cherokee, uWSGI)", ("x-sendfile*", "x-send-file*", "x-lighttpd-*")),
    Group("another URL, which is fetched and answered with (Perlbal, H2O, LiteSpeed)", ("x-reproxy-*",)),
    Group("a redirect inside, what its cache keeps and forgets (LiteSpeed)", ("x-litespeed-*",)),
    Group("a stored object (App Engine)", ("x-appengine-*",)),
    Group("what becomes of this host and of its requests (Envoy)", ("x-envoy-*",)),
)
#: Asks for nothing but what is true of every answer here: that its pieces go on as they come.
NO_ORDERS: Final = frozenset({"x-accel-buffering"})


class Names:
    """The names of some groups, to be asked whether a header is one of them.

    :param groups: of headers.
    :param without: names that are none although one of the beginnings fits.
    """

    __slots__ = ("_beginnings", "_exact", "_without")

    def __init__(self, groups: Iterable[Group], *, without: Iterable[str] = ()) -> None:
        names = [name for group in groups for name in group.names]
        self._exact = frozenset(name for name in names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
        self._without = frozenset(without)

    def __contains__(self, name: str) -> bool:
        """Whether a name, in lower case, is one of them."""
        return (name in self._exact or name.startswith(self._beginnings)) and name not in self._without


CLAIMED: Final = Names(CLAIMS)
ORDERED: Final = Names(ORDERS, without=NO_ORDERS)
