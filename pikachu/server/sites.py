"""The site of each listener: which resources it serves (RUN-2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.web.resource import IResource

from pikachu.config.configuration import Configuration
from pikachu.core.errors import ConfigError
from pikachu.core.interfaces import IClock
from pikachu.http.capacity import Cap, Capacity
from pikachu.http.fast_path import FastPath
from pikachu.http.proxies import ProxySettings, TrustedProxies
from pikachu.http.redirect import HTTPSRedirect
from pikachu.http.request import Limits, PathRule
from pikachu.http.tree import ParentDirectory, Tree
from pikachu.protocols.download.metrics import MetricsResource
from pikachu.protocols.est.resource import ESTResource
from pikachu.protocols.ocsp.resource import OCSPResource
from pikachu.protocols.scep.dump import MessageDump
from pikachu.protocols.scep.keys import MessageKeyring, RAMode
from pikachu.protocols.scep.resource import put_scep
from pikachu.protocols.scep.server import SCEPServer, SCEPSettings
from pikachu.server.application import Application
from pikachu.server.downloads import download_tree
from pikachu.server.monitoring import build_metrics
from pikachu.server.pages import ui_tree
from pikachu.server.rest import api_routes, api_tree

# Of what anyone may read, what machines ask for in the clear.
IN_THE_CLEAR: Final = (b"crl", b"ca", b"downloads", b"healthz", b"metrics", b"readyz")

# Largest body of pages and REST from a client that has not authenticated.
ANONYMOUS_BODY: Final = 64 * 1024
# Memory for long answers that their clients have not read yet, in all and for one address.
ANSWER_BYTES: Final = 32 * 1024 * 1024
ANSWER_BYTES_PER_ADDRESS: Final = 16 * 1024 * 1024


class Sites:
    """The resources of all protocols, built once and mounted where a listener serves them.

    :ivar metrics: what ``/metrics`` tells.
    :param is_traced: whether events of level TRACE are logged.
    :raises ConfigError: when SCEP can't work as configured.
    """

    def __init__(self, app: Application, clock: IClock, is_traced: Callable[[], bool]) -> None:
        config = app.config
        self._clock = clock
        self._is_traced = is_traced
        self._config = config
        self.metrics = build_metrics(app)
        self._downloads = download_tree(app)
        self._downloads[b"metrics"] = MetricsResource(self.metrics, app.authenticator)
        routes = api_routes(app)
        self._api = api_tree(app, routes)
        self._pages, self._static = ui_tree(app, routes)
        self.scep = scep_server(app) if config.scep.enabled else None
        self._ocsp: OCSPResource | None = None
        if config.ocsp.enabled:
            self._ocsp = OCSPResource(app.responder, clock, config.ocsp.max_certificates)
            self.metrics.watch_ocsp(self._ocsp.hits, self._ocsp.errors)
        self._est: ESTResource | None = None
        if config.est.enabled:
            self._est = ESTResource(app.est, app.pools.server_keys, config.est.base64_wrap.value)

    @property
    def limits(self) -> Limits:
        """The largest request body for each path."""
        config, most = self._config, self._config.default.body_limit
        page = self._pages.oversize_page(most)
        return Limits(
            rules=(
                PathRule(b"/ocsp", config.ocsp.body_limit),
                PathRule(b"/scep", config.scep.body_limit),
                PathRule(b"/cgi-bin/", config.scep.body_limit),
                PathRule(b"/.well-known/est/", config.est.body_limit),
                PathRule(b"/api/", most, problems=True, maximum_anonymous=ANONYMOUS_BODY),
                PathRule(b"/", most, maximum_anonymous=ANONYMOUS_BODY, oversize_page=page),
            )
        )

    def of(self, listener: str) -> tuple[IResource, FastPath | None]:
        """Return the resource tree of ``http``, ``scep``, ``https`` or ``trusted_https``, and its fast path."""
        if listener == "scep":
            tree = Tree()
            self._put_scep(tree)
            return tree, None
        if listener == "http":
            config = self._config
            tree = Tree(HTTPSRedirect(config.https.port, config.https.external_url, config.ca.public_url))
            names: tuple[bytes, ...] = IN_THE_CLEAR
        else:
            tree = Tree(self._pages)
            names = tuple(self._downloads)
            tree.putChild(b"static", self._static)
            tree.putChild(b"api", self._api)
            tree.putChild(b"requests", self._api)
            self._put_est(tree)
        for name in names:
            tree.putChild(name, self._downloads[name])
        if listener in ("https", "trusted_https"):
            # The pages about CAs stand above and beside their files.
            tree.putChild(b"ca", ParentDirectory(self._pages, self._downloads[b"ca"]))
        if self._ocsp is not None:
            tree.putChild(b"ocsp", self._ocsp)
        self._put_scep(tree)
        return tree, self._quick_path(listener)

    def _quick_path(self, listener: str) -> FastPath | None:
        if self._ocsp is None:
            return None
        return FastPath(self._ocsp, (b"POST /ocsp", b"GET /ocsp/"), self._clock, listener, self._is_traced)

    def _put_scep(self, tree: Tree) -> None:
        if self.scep is not None:
            put_scep(tree, self.scep)

    def _put_est(self, tree: Tree) -> None:
        if self._est is not None:
            known = Tree()
            known.putChild(b"est", self._est)
            tree.putChild(b".well-known", known)


def scep_server(app: Application) -> SCEPServer:
    """Build the SCEP server.

    :raises ConfigError: when no key may do its work.
    """
    section = app.config.scep
    mode = RAMode(section.ra.value)
    issuer = app.issuers.current.get("rsa", app.issuers.default)
    if mode is RAMode.NEVER and issuer.decrypter is None:
        raise ConfigError(
            f"[SCEP] ra: never is chosen, but the key of the issuing CA {issuer.name} can't decrypt; "
            "configure an RSA issuing CA with its key in a file, or choose auto"
        )
    dump = None if section.dump_dir is None else MessageDump(section.dump_dir, app.pools.files, app.clock)
    server = SCEPServer(
        registration=app.scep,
        authority=app.authority,
        keyring=MessageKeyring(app.issuers, app.credentials, mode),
        certificates=app.store,
        publisher=app.publisher,
        files=app.pools.files,
        settings=SCEPSettings(sha1_3des=section.allow_sha1_3des, legacy=section.legacy),
        dump=dump,
    )
    app.issuers.subscribe(server.generation_changed)
    return server


def capacity(config: Configuration) -> Capacity:
    """Return the caps on connections, bodies and answers."""
    caps = config.limits
    return Capacity(
        Cap(caps.connections, caps.connections_per_address, breaks_off=True),
        Cap(caps.body_bytes, caps.body_bytes_per_address),
        Cap(ANSWER_BYTES, ANSWER_BYTES_PER_ADDRESS, breaks_off=True),
    )


def proxy_settings(config: Configuration, listener: str) -> ProxySettings:
    """Return how the site of a listener takes what proxies tell."""
    trusted = TrustedProxies(config.default.trusted_proxies)
    if listener != "https":
        return ProxySettings(trusted)
    header = config.https.client_certificate_header
    return ProxySettings(trusted, header.encode("ascii") if header else None, config.https.external_url)
