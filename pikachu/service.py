"""The server: the rooms of :mod:`pikachu.core`, and the listeners that lead into them."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from pikachu.authority import CertificateAuthority
from pikachu.config.configuration import Configuration, Listener
from pikachu.config.loading import load
from pikachu.core import build, ca_files, database_url, threaded_pools
from pikachu.errors import ConfigError, PikachuError
from pikachu.http.request import Site
from pikachu.listeners import ClientCertificates, ListenerService, TLSContextSource
from pikachu.logs import LEVELS, LogOutput
from pikachu.model import StatusChange, format_serial, utc
from pikachu.outlets import Outlets, limits
from pikachu.rooms import Core
from pikachu.signers.files import load_file_ca
from pikachu.storage.lock import lock_database
from pikachu.storage.store import open_store

log = Logger()

# What another process changes is in OCSP answers and, after crl_delay, on the CRL within a second.
POLL_SECONDS = 0.25
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
        self._take_lock()
        pools = threaded_pools(reactor)
        self._pools = pools
        # Two servers of one machine on one database are told apart by their configurations.
        process = f"server:{platform.node()}:{config.path}"
        self.core: Core = build(config, reactor, pools, reactor, process, self._warn)
        self._outlets = Outlets(self.core, reactor, lambda: output.enabled("TRACE"))
        # The last change of another process that is known here; ``None`` until the CRLs were looked at.
        self._seen: int | None = None
        self._blind = False
        self._poll = LoopingCall(self._look_for_changes)
        self._poll.clock = reactor
        self._renewals = LoopingCall(self._renew)
        self._renewals.clock = reactor
        # What the two loops have begun last; stopping a loop does not wait for that.
        self._under_way: list[Deferred[None]] = [succeed(None), succeed(None)]
        self._tls: list[TLSContextSource] = []
        self.listeners = [self._listener(one) for one in config.listeners]
        for listener in self.listeners:
            listener.probe()
        self._give_up_orphans()
        # twistd may fork after this: connections to the database are opened anew by who uses them.
        self.core.store.release_connections()

    def _warn(self, text: str) -> None:
        """Told at the start when the log is there, and later at once."""
        if self.running:
            log.warn("{warning}", warning=text)
        else:
            self._warnings.append(text)

    def _take_lock(self) -> None:
        """One server for a SQLite database: two would each take the other's intents for orphans.

        It is held by the open file, so also by the process that twistd forks, and until that ends.
        """
        path = self._config.paths.db_path
        if self._config.database.url is not None or not path.exists():
            return
        self._lock = lock_database(path)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _give_up_orphans(self) -> None:
        """What a server of this name had begun when it ended.

        Done before anything listens, for a request that arrives would look like an orphan too.
        """
        store = open_store(database_url(self._config))
        authority = CertificateAuthority(self._reactor, store, self.core.issuers, self.core.authority.process)

        async def work() -> None:
            try:
                for orphan in await authority.give_up_orphans():
                    serial = format_serial(orphan.serial or 0)
                    self._warnings.append(
                        f"The intent {serial} was never completed; `pikachu revoke {serial}` revokes it"
                    )
            finally:
                await store.close()

        def failed(failure: Failure) -> None:
            failures.append(failure)

        failures: list[Failure] = []
        Deferred.fromCoroutine(work()).addErrback(failed)
        if failures:
            raise ConfigError(f"the database: {failures[0].getErrorMessage()}")

    # --- listeners ----------------------------------------------------------------------

    def _listener(self, listener: Listener) -> ListenerService:
        config, core = self._config, self.core
        resource, quick = self._outlets.of(listener.name)
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

    def setServiceParent(self, parent: Any) -> None:
        """Take the application's log as well, unless the command line gave it to somebody else."""
        if self._is_only_log and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._output)
            self._output.bridge()
        Service.setServiceParent(self, parent)

    # --- life ---------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind the ports, before privileges are dropped.  From now on signals are obeyed."""
        self._watch_signals()
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
        self._reactor.callWhenRunning(self._begin)

    def _watch_signals(self) -> None:
        # twistd ends as if a signal had killed it, but a server that was told to stop has done well (RUN-5).  Python's
        # own answer to Ctrl+C would break off a start half-way, with threads that nobody ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._terminate))
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))

    def _begin(self) -> None:
        # The reactor has set its own meanwhile.
        self._watch_signals()
        self._poll.start(POLL_SECONDS).addErrback(_log_failure, "looking for changes")
        self._renewals.start(RENEWAL_CHECK_SECONDS).addErrback(_log_failure, "renewals")

    def _terminate(self) -> None:
        if self.running:
            log.info("Told to stop")
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Accept no more, finish what is in flight, then close the database and end the threads."""
        Service.stopService(self)

        async def work() -> None:
            await gatherResults([listener.stopService() for listener in self.listeners], consumeErrors=True)
            for loop in (self._poll, self._renewals):
                if loop.running:
                    loop.stop()
            self.core.publisher.stop()
            await gatherResults(self._under_way)
            await self.core.publisher.idle()
            await self.core.store.close()
            for pool in self._pools.services():
                pool.stopService()
            self._unlock()
            log.info("Stopped")

        return Deferred.fromCoroutine(work()).addErrback(_log_failure, "the stop")

    # --- changes ------------------------------------------------------------------------

    def _changed(self, changes: list[StatusChange]) -> None:
        self.core.responder.forget(changes)
        self.core.publisher.changed(changes)

    def _look_for_changes(self) -> Deferred[None]:
        """What another process has revoked or released.  Whatever goes wrong, the next look comes."""
        self._under_way[0] = Deferred.fromCoroutine(self._look()).addErrback(_log_failure, "looking for changes")
        return self._under_way[0]

    def _look_for_generations(self) -> None:
        """Issuing CAs that were announced, or have taken over, here or by another process (VLT-4)."""
        changed = self.core.generations.look(self.core.issuers)
        if not changed:
            return
        for issuer in changed:
            what = "is announced" if self.core.issuers.coming(issuer.name) is issuer else "signs now"
            log.info(
                "The generation {ski} of {name} {what}", ski=issuer.key_identifier.hex(), name=issuer.name, what=what
            )
            # Its CRL has to be there before its first certificate is; the broker's file is the current one's.
            self.core.publisher.make(issuer).addErrback(_log_failure, f"the CRL of {issuer.name}")
        self._renew()
        for tls in self._tls:
            self._renewed(f"TLS of {tls.section}", tls.reload)

    async def _look(self) -> None:
        try:
            self._look_for_generations()
            if self._seen is None:
                self._seen = await self.core.store.latest_change()
                # What was answered before this look may rest on a state that others have changed since.
                self.core.responder.forget_all()
                await self.core.publisher.begin()
            while changes := await self.core.store.changes_since(self._seen):
                self._seen = changes[-1].id
                self._changed(changes)
        except PikachuError as error:
            if self.running and not self._blind:
                log.warn("Changes by others can't be seen: {error}", error=error.public)
            self._blind = True
            return
        if self._blind:
            self._blind = False
            log.info("Changes by others are seen again")

    def _renew(self) -> Deferred[None]:
        def failed(failure: Failure, what: str) -> None:
            if self.running:
                log.error("{what} certificates: {failure}", what=what, failure=failure.getErrorMessage())

        def forgotten(failure: Failure) -> None:
            if self.running:
                log.error("Sessions of who has gone: {failure}", failure=failure.getErrorMessage())

        async def work() -> None:
            await self.core.responder.prepare().addErrback(failed, "OCSP responder")
            if self._outlets.scep is not None:
                await Deferred.fromCoroutine(self._outlets.scep.prepare()).addErrback(failed, "SCEP RA")
            await self.core.sessions.forget_idle().addErrback(forgotten)

        self._under_way[1] = Deferred.fromCoroutine(work())
        return self._under_way[1]

    # --- SIGHUP -------------------------------------------------------------------------

    def reload(self) -> None:
        """Read TLS certificates, CA chains, the default policy and the log level again; connections stay (RUN-5)."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("The log level", self._reload_level),
            ("The default policy", self._reload_default_policy),
            *((f"The chain of {name}", partial(self._reload_chain, name)) for name in self._config.ca.issuers),
            *((f"TLS of {tls.section}", tls.reload) for tls in self._tls),
        ]
        for what, step in steps:
            self._renewed(what, step)
        log.info("Reloaded")

    @staticmethod
    def _renewed(what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ConfigError as error:
            log.error("{what} stays as it was: {error}", what=what, error=str(error))
        except Exception:  # noqa: BLE001 - what is in force stays, whatever the files hold
            log.failure("{what} stays as it was", what=what)

    def _reload_level(self) -> None:
        self._output.level = LEVELS[load(self._config.path, os.environ).logging.log_level.value]

    def _reload_default_policy(self) -> None:
        # Read here for its errors; the book itself keeps the last good one without a word.
        self.core.policies.files.read()
        self.core.policies.forget()

    def _reload_chain(self, name: str) -> None:
        loaded = load_file_ca(
            ca_files(self._config, self._config.ca.issuers[name]),
            self._config.ca.key_permissions.value,
            utc(self._reactor.seconds()),
            self._warn,
        )
        issuer = self.core.issuers.named(name)
        if loaded.certificate.key_identifier == issuer.key_identifier:
            issuer.replace_chain(tuple(certificate.der for certificate in loaded.chain))


def _log_failure(failure: Failure, what: str) -> None:
    log.failure("{what} failed", failure=failure, what=what)
