"""The server: the rooms of :mod:`pikachu.core`, and the listeners that lead into them."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
from collections.abc import Callable
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from pikachu.config.configuration import Configuration, Listener
from pikachu.config.loading import load
from pikachu.core import Core, build, ca_files, threaded_pools
from pikachu.errors import ConfigError, PikachuError
from pikachu.http.quick import QuickPath
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.tree import Tree
from pikachu.listeners import ClientCertificates, ListenerService, TLSContextSource
from pikachu.logs import LEVELS, LogOutput
from pikachu.model import StatusChange, utc
from pikachu.protocols.est.resource import ESTResource
from pikachu.protocols.ocsp.resource import OCSPResource
from pikachu.protocols.scep.dump import MessageDump
from pikachu.protocols.scep.keys import MessageKeyring, RAMode
from pikachu.protocols.scep.resource import put_scep
from pikachu.protocols.scep.server import SCEPServer, SCEPSettings
from pikachu.signers.files import load_file_ca

log = Logger()

# What another process changes is known here after half a second (DECISIONS 30).
POLL_SECONDS = 0.5
RENEWAL_CHECK_SECONDS = 3600


class PikachuService(Service):
    """Everything, built at once and started together.

    :param reactor: drives it; passed in by the one module that may import it.
    :param is_only_log: *output* is the application's log, not one beside twistd's own.
    :raises ConfigError: one line for what can't work.
    """

    def __init__(self, config: Configuration, reactor: Any, output: LogOutput, *, is_only_log: bool = False) -> None:
        Service.setName(self, "pikachu")
        self._config = config
        self._reactor = reactor
        self._output = output
        self._is_only_log = is_only_log
        self._warnings: list[str] = [*config.warnings, *config.risks]
        self._lock: IO[str] | None = None
        pools = threaded_pools(reactor)
        self._pools = pools
        self.core: Core = build(config, reactor, pools, reactor, f"server:{platform.node()}", self._warnings.append)
        self._scep = scep_server(self.core) if config.scep.enabled else None
        self._seen = 0
        self._poll = LoopingCall(self._look_for_changes)
        self._poll.clock = reactor
        self._renewals = LoopingCall(self._renew)
        self._renewals.clock = reactor
        self._tls: list[TLSContextSource] = []
        self.listeners = [self._listener(one) for one in config.listeners]
        self._take_lock()
        for listener in self.listeners:
            listener.probe()
        # twistd may fork after this: connections to the database are opened anew by who uses them.
        self.core.store.release_connections()

    def _take_lock(self) -> None:
        """One server for a SQLite database: two would each take the other's intents for orphans."""
        if self._config.database.url is not None:
            return
        path = self._config.paths.db_path.with_name(self._config.paths.db_path.name + ".lock")
        try:
            self._lock = path.open("w", encoding="ascii")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"[PATHS] db_path: another server works with {self._config.paths.db_path}; stop it first"
            ) from None
        except OSError as error:
            raise ConfigError(f"[PATHS] db_path: {path} can't be written: {error.strerror}") from None

    # --- listeners ----------------------------------------------------------------------

    def _listener(self, listener: Listener) -> ListenerService:
        config, core = self._config, self.core
        resource, quick = self._resource(listener.name)
        site = Site(resource, self._reactor, limits(config), quick)
        tls = None
        if listener.name == "https":
            https = config.https
            assert https.ssl_cert is not None  # noqa: S101 - the configuration's checks require both
            assert https.ssl_key is not None  # noqa: S101
            tls = TLSContextSource(
                "HTTPS",
                ("ssl_cert", https.ssl_cert),
                ("ssl_key", https.ssl_key),
                self._reactor,
                clients=ClientCertificates.OPTIONAL if https.request_client_certificate else ClientCertificates.NONE,
                authorities=self._client_authorities,
            )
        elif listener.name == "trusted_https":
            trusted = config.trusted_https
            certificate = trusted.trusted_ssl_cert or config.https.ssl_cert
            key = trusted.trusted_ssl_key or config.https.ssl_key
            assert certificate is not None  # noqa: S101 - the configuration's checks require both
            assert key is not None  # noqa: S101
            tls = TLSContextSource(
                "TRUSTED_HTTPS",
                ("trusted_ssl_cert", certificate),
                ("trusted_ssl_key", key),
                self._reactor,
                clients=ClientCertificates.REQUIRED,
                authorities=self._client_authorities,
            )
        if tls is not None:
            self._tls.append(tls)
        return ListenerService(
            listener.name,
            listener.setting,
            listener.port,
            site,
            self._reactor,
            interface=listener.address,
            tls=tls,
            drain_timeout=float(core.config.default.shutdown_timeout),
        )

    def _client_authorities(self) -> list[bytes]:
        issuing = [issuer.certificate.der for issuer in self.core.issuers.all() if issuer.name != "root"]
        return [*issuing, *(certificate.der for certificate in self.core.manufacturers)]

    def _resource(self, listener: str) -> tuple[IResource, QuickPath | None]:
        """What a listener serves (RUN-2), and its quick path."""
        core, config = self.core, self._config
        tree = Tree(NotFoundResource())
        if self._scep is not None:
            put_scep(tree, self._scep)
        if listener == "scep":
            return tree, None
        quick = None
        if config.ocsp.enabled:
            ocsp = OCSPResource(core.responder, self._reactor, config.ocsp.max_certificates)
            tree.putChild(b"ocsp", ocsp)
            quick = QuickPath(ocsp, (b"POST /ocsp", b"GET /ocsp/"), self._reactor)
        if listener in ("https", "trusted_https") and config.est.enabled:
            known = Resource()
            known.putChild(b"est", ESTResource(core.registration, core.pools.signing, config.est.base64_wrap.value))
            tree.putChild(b".well-known", known)
        return tree, quick

    def setServiceParent(self, parent: Any) -> None:
        """Take the application's log as well, unless the command line gave it to somebody else."""
        if self._is_only_log and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._output)
            self._output.bridge()
        Service.setServiceParent(self, parent)

    # --- life ---------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind the ports, before privileges are dropped."""
        for listener in self.listeners:
            listener.privilegedStartService()

    def startService(self) -> None:
        """Start the threads, and what is done once and again."""
        Service.startService(self)
        for pool in self._pools.services():
            pool.startService()
        for listener in self.listeners:
            listener.startService()
        for warning in self._warnings:
            log.warn("{warning}", warning=warning)
        self.core.store.subscribe(self._changed)
        self._reactor.callWhenRunning(self._watch_hangup)
        Deferred.fromCoroutine(self._begin()).addErrback(_log_failure, "the start")

    async def _begin(self) -> None:
        core = self.core
        for orphan in await core.authority.give_up_orphans():
            log.warn(
                "The intent {serial} was never completed; `pikachu revoke {serial}` revokes it",
                serial=f"{orphan.serial or 0:x}",
            )
        self._seen = await core.store.latest_change()
        await core.publisher.begin()
        self._poll.start(POLL_SECONDS, now=False).addErrback(_log_failure, "looking for changes")
        self._renewals.start(RENEWAL_CHECK_SECONDS).addErrback(_log_failure, "renewals")

    def stopService(self) -> Deferred[None]:
        """Accept no more, finish what is in flight, then close the database and end the threads."""
        Service.stopService(self)

        async def work() -> None:
            await gatherResults([listener.stopService() for listener in self.listeners], consumeErrors=True)
            for loop in (self._poll, self._renewals):
                if loop.running:
                    loop.stop()
            self.core.publisher.stop()
            await self.core.store.close()
            for pool in self._pools.services():
                pool.stopService()
            log.info("Stopped")

        return Deferred.fromCoroutine(work()).addErrback(_log_failure, "the stop")

    # --- changes ------------------------------------------------------------------------

    def _changed(self, changes: list[StatusChange]) -> None:
        self.core.responder.forget(changes)
        self.core.publisher.changed(changes)

    def _look_for_changes(self) -> Deferred[None]:
        """What another process has revoked or released."""

        async def work() -> None:
            try:
                changes = await self.core.store.changes_since(self._seen)
            except PikachuError as error:
                log.warn("Changes by others can't be seen: {error}", error=error.public)
                return
            if changes:
                self._seen = changes[-1].id
                self._changed(changes)

        return Deferred.fromCoroutine(work())

    def _renew(self) -> Deferred[None]:
        def failed(failure: Failure, what: str) -> None:
            log.error("{what} certificates: {failure}", what=what, failure=failure.getErrorMessage())

        async def work() -> None:
            await self.core.responder.prepare().addErrback(failed, "OCSP responder")
            if self._scep is not None:
                await Deferred.fromCoroutine(self._scep.prepare()).addErrback(failed, "SCEP RA")

        return Deferred.fromCoroutine(work())

    # --- SIGHUP -------------------------------------------------------------------------

    def _watch_hangup(self) -> None:
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))

    def reload(self) -> None:
        """Read TLS certificates, CA chains, the default policy and the log level again; connections stay (RUN-5)."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("the log level", self._reload_level),
            ("the CA chains", self._reload_chains),
            ("the default policy", self.core.policies.forget),
            *(("TLS", tls.reload) for tls in self._tls),
        ]
        for what, step in steps:
            try:
                step()
            except ConfigError as error:
                log.error("{what} stays as it was: {error}", what=what, error=str(error))
        log.info("Reloaded")

    def _reload_level(self) -> None:
        self._output.level = LEVELS[load(self._config.path, os.environ).logging.log_level.value]

    def _reload_chains(self) -> None:
        for name, files in self._config.ca.issuers.items():
            loaded = load_file_ca(
                ca_files(self._config, files),
                self._config.ca.key_permissions.value,
                utc(self._reactor.seconds()),
                lambda text: log.warn("{text}", text=text),
            )
            issuer = self.core.issuers.named(name)
            if loaded.certificate.key_identifier == issuer.key_identifier:
                issuer.replace_chain(tuple(certificate.der for certificate in loaded.chain))


def scep_server(core: Core) -> SCEPServer:
    """SCEP over a core.

    :raises ConfigError: when no key may do its work (S20).
    """
    section = core.config.scep
    mode = RAMode(section.ra.value)
    issuer = core.issuers.current.get("rsa", core.issuers.default)
    if mode is RAMode.NEVER and issuer.decrypter is None:
        raise ConfigError(
            f"[SCEP] ra: never is chosen, but the key of the issuing CA {issuer.name} can't decrypt; "
            "configure an RSA issuing CA with its key in a file, or choose auto"
        )
    dump = None if section.dump_dir is None else MessageDump(section.dump_dir, core.pools.files, core.clock)
    return SCEPServer(
        core.registration,
        core.authority,
        MessageKeyring(core.issuers, core.credentials, mode),
        core.store,
        core.publisher,
        core.pools.files,
        SCEPSettings(sha1_3des=section.allow_sha1_3des, legacy=section.legacy),
        dump,
    )


def limits(config: Configuration) -> Limits:
    """How large requests may be, by path."""
    return Limits(
        rules=(
            PathRule(b"/ocsp", config.ocsp.body_limit),
            PathRule(b"/scep", config.scep.body_limit),
            PathRule(b"/cgi-bin/", config.scep.body_limit),
            PathRule(b"/.well-known/est/", config.est.body_limit),
            PathRule(b"/", config.default.body_limit, forms=True),
        )
    )


def _log_failure(failure: Failure, what: str) -> None:
    log.failure("{what} failed", failure=failure, what=what)
