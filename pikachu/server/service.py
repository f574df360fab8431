"""The service: the application of :mod:`pikachu.server.composition` and its listeners, started and stopped."""

from __future__ import annotations

import os
import platform
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from pikachu.ca.engine_recovery import RECOVERY_SECONDS
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.leadership import RENEWAL_SECONDS
from pikachu.config.configuration import Configuration, Listener
from pikachu.config.features import require_features
from pikachu.config.loading import load
from pikachu.core.clock import SystemClock
from pikachu.core.errors import ConfigError, PikachuError, SecretKeyChanged, StoreUnavailable
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.times import utc
from pikachu.core.node_interfaces import Node, Notification, Topic
from pikachu.core.sentences import sentence
from pikachu.http.request import Site
from pikachu.http.status_first import put_status_first
from pikachu.operations.metrics import ListenerNumbers
from pikachu.operations.node_checks import NODE_CHECKS
from pikachu.server.admission import CredentialsCheck
from pikachu.server.application import Application
from pikachu.server.ca_loading import ca_files
from pikachu.server.composition import build
from pikachu.server.files import database_url
from pikachu.server.listener_tls import listener_tls
from pikachu.server.listeners import ListenerService, TLSContextSource
from pikachu.server.log_output import LEVELS, LogOutput
from pikachu.server.pools import threaded_pools
from pikachu.server.sites import Sites, capacity, proxy_settings
from pikachu.server.systemd import ServiceNotifier
from pikachu.server.vault_watch import TEND_SECONDS
from pikachu.signers.files import load_file_ca
from pikachu.storage.lock import lock_database
from pikachu.storage.store import open_store
from pikachu.va.broker_publisher import TEND_SECONDS as BROKER_SECONDS

log = Logger()

# What another process changes is in OCSP answers and, after crl_delay, on the CRL within a second.
POLL_SECONDS = 0.25
RENEWAL_CHECK_SECONDS = 3600
# A node whose session with PostgreSQL was lost is taken for dead by servers that start, until this has passed.
HEARTBEAT_SECONDS = 15
# How often schema and CA files are compared with what other nodes use, for the log; probes do it more often.
NODE_CHECK_SECONDS = 15
# The rest after each batch of certificates that enters the search index, which leaves the database to issuance.
INDEXING_SECONDS = 0.1
# How soon events and certificates enter the transparency log.
LOG_SECONDS = 0.25
# How often jobs are looked for that another node has created, or that were interrupted.
JOBS_SECONDS = 5
# How soon an account can sign in again that a command has unlocked.
UNLOCK_SECONDS = 1
# How often batches are looked for whose challenge passwords another process has not created.
BATCHES_SECONDS = 10
# How often notices are looked for that are due.
NOTICES_SECONDS = 5
# How often the leading node removes what is over.
HOUSEKEEPING_SECONDS = 3600
# How often a recheck of the directory's accounts is tried again that failed.
RECHECK_RETRY_SECONDS = 60


class PikachuService(Service):
    """The application and its listeners, built at once and started together.

    :param reactor: drives it; passed in by the one module that may import it.
    :param sockets: that systemd listens on, by the name of their listener.
    :param notifier: reports to systemd when this is ready, reloads and stops.
    :param is_only_log: *output* is the application's log, not one beside twistd's own.
    :raises ConfigError: one line for what can't work.
    """

    def __init__(
        self,
        config: Configuration,
        reactor: Any,
        output: LogOutput,
        *,
        sockets: Mapping[str, Sequence[socket.socket]],
        notifier: ServiceNotifier,
        is_only_log: bool = False,
    ) -> None:
        Service.setName(self, "pikachu")
        self._config = config
        self._reactor = reactor
        self._clock = clock = SystemClock(reactor)
        self._output = output
        self._notifier = notifier
        self._is_only_log = is_only_log
        self._warnings: list[str] = [*config.warnings, *config.risks, *config.advice]
        self._lock: IO[str] | None = None
        require_features(config)
        self._take_lock()
        pools = threaded_pools(reactor)
        self._pools = pools
        # The last change of another process that is known here: nothing has been read yet that a later one changes.
        self._node, self._seen = self._register_node()
        self.app: Application = build(config, clock, pools, reactor, self._node.process, self._warn)
        self._capacity = capacity(config)
        self._admission = CredentialsCheck(self.app.authenticator, self.app.sessions)
        self._sites = Sites(self.app, clock, lambda: output.enabled("TRACE"))
        self._has_begun_crls = False
        self._blind = False
        self._looking = _Loop("looking for changes", self._look, POLL_SECONDS, reactor)
        self._rechecked = float("-inf")
        # Work that is repeated, with the seconds between; one that takes long holds up no other.
        self._loops = [
            self._looking,
            _Loop("watching the issuing CAs", self._watch_generations, POLL_SECONDS, reactor),
            *self._elections(),
            _Loop("renewals", self._renew, RENEWAL_CHECK_SECONDS, reactor),
            _Loop("heartbeats", self._keep_node, HEARTBEAT_SECONDS, reactor),
            _Loop("comparing this node with others", self._compare_node, NODE_CHECK_SECONDS, reactor),
            _Loop("indexing for search", self._index, INDEXING_SECONDS, reactor),
            _Loop("extending the transparency log", self._extend_log, LOG_SECONDS, reactor),
            _Loop("looking for jobs", self._run_jobs, JOBS_SECONDS, reactor),
            _Loop("following unlocked accounts", self._follow_unlocks, UNLOCK_SECONDS, reactor),
            _Loop("filling batches", self._fill_batches, BATCHES_SECONDS, reactor),
            _Loop("sending notices", self._send_notices, NOTICES_SECONDS, reactor),
            _Loop("housekeeping", self._keep_house, HOUSEKEEPING_SECONDS, reactor),
            _Loop("rechecking the directory's accounts", self._recheck, RECHECK_RETRY_SECONDS, reactor),
        ]
        if self.app.vault is not None:
            self._loops.append(_Loop("following Vault", self.app.vault.tend, TEND_SECONDS, reactor))
        if self.app.broker_publisher is not None:
            publisher = self.app.broker_publisher
            self._loops.append(_Loop("publishing to the MQTT broker", publisher.tend, BROKER_SECONDS, reactor))
        if self.app.engine_recovery.is_needed:
            self._loops.append(_Loop("recovering from the PKI engine", self._recover, RECOVERY_SECONDS, reactor))
        if notifier.watchdog_interval:
            self._loops.append(
                _Loop("systemd's watchdog", self._keep_watchdog, notifier.watchdog_interval, reactor),
            )
        self._engine_failure = ""
        self._tls: list[TLSContextSource] = []
        self._check_sockets(sockets)
        self.listeners = [self._listener(one, sockets.get(one.name, ())) for one in config.listeners]
        for listener in self.listeners:
            listener.probe()
        self._give_up_orphans()
        # twistd may fork after this: connections to the database are opened anew by who uses them.
        self.app.store.release_connections()

    def _warn(self, text: str) -> None:
        """Collect warnings until the log is open, then log them directly."""
        if self.running:
            log.warn("{warning}", warning=text)
        else:
            self._warnings.append(text)

    def _take_lock(self) -> None:
        """Lock a SQLite database for one server: each of two would take the other's intents for orphans.

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

    def _register_node(self) -> tuple[Node, int]:
        """Register this server in the database, under a unique node id; return also the id of the newest status change.

        :raises ConfigError: when the database does not answer.
        """
        store = open_store(database_url(self._config))
        try:
            node = store.register_node(f"{platform.node()}:{self._config.path}", utc(self._clock.seconds()))
            return node, store.latest_change()
        except PikachuError as error:
            raise ConfigError(f"the database: {error.public}") from error
        finally:
            store.close()

    def _give_up_orphans(self) -> None:
        """Give up the intents of servers that no longer live.

        Done before anything listens: others give up nothing of this node's once it signs.
        """
        store = open_store(database_url(self._config))
        with suppress(SecretKeyChanged):
            store.unlock(self.app.sealer, utc(self._clock.seconds()))
        authority = CertificateAuthority(self._clock, store, self.app.issuers, self.app.authority.process)

        async def work() -> None:
            try:
                store.hold_node(self._node)
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

    def _check_sockets(self, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        """Refuse a socket of systemd's whose listener is turned off: its clients would wait for ever.

        :raises ConfigError: that names the listener.
        """
        for name in sockets.keys() - {listener.name for listener in self._config.listeners}:
            raise ConfigError(
                f"systemd listens for {name}, which is turned off in {self._config.path}; set its port, or disable its "
                "socket unit"
            )

    def _listener(self, listener: Listener, sockets: Sequence[socket.socket]) -> ListenerService:
        config, app = self._config, self.app
        resource, quick = self._sites.of(listener.name)
        proxies = proxy_settings(config, listener.name)
        site = Site(resource, self._clock, self._sites.limits, quick, proxies, self._capacity, self._admission)
        tls = listener_tls(app, listener.name)
        end = None if tls is None else tls.certificate_end
        self._sites.metrics.watch_listener(ListenerNumbers(listener.name, site.answered, lambda: site.in_flight, end))
        if tls is not None:
            self._tls.append(tls)
        service = ListenerService(
            listener.name,
            listener.setting,
            listener.port,
            site,
            self._reactor,
            addresses=listener.addresses,
            sockets=sockets,
            tls=tls,
            proxies=proxies.trusted if listener.proxy_protocol else None,
            drain_timeout=float(app.config.default.shutdown_timeout),
        )
        site.arrivals.subscribe(service.accept)
        if listener.name == "http":
            put_status_first(self._reactor, lambda: service.ports, site.batch.write)
        return service

    def setServiceParent(self, parent: Any) -> None:
        """Take twistd's log as well, unless the command line names another logger."""
        if self._is_only_log and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._output)
            self._output.bridge()
        Service.setServiceParent(self, parent)

    # --- life ---------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind the ports, before privileges are dropped, and handle signals from now on."""
        self._watch_signals()
        self.app.operation.reload_by(self.reload)
        # Only now: twistd may have forked since, and a session belongs to one process.
        self.app.store.hold_node(self._node)
        for listener in self.listeners:
            listener.privilegedStartService()

    def startService(self) -> None:
        """Start the worker pools, the listeners and the repeated tasks."""
        Service.startService(self)
        for pool in self._pools.services():
            pool.startService()
        for listener in self.listeners:
            listener.startService()
        for warning in self._warnings:
            log.warn("{warning}", warning=warning)
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
        self._notifier.notify("READY=1")
        for loop in self._loops:
            loop.start()
        self.app.store.receive_notifications(self._notified)
        _step("revoking what accounts held", self.app.holdings.resume)
        _step("indexing the guide", self.app.guide_search.prepare)
        if self.app.ca_keys.sources:
            # A key that can't be used is logged now, not when somebody needs it.
            _step("checking the keys that are elsewhere", self.app.readiness.states)

    @property
    def abandoned_calls(self) -> int:
        """Number of calls of a token, Vault or the directory that had not returned when the server stopped."""
        return sum(pool.abandoned for pool in self._pools.services())

    def _terminate(self) -> None:
        if self.running:
            log.info("Told to stop")
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop accepting, finish requests in flight, then close the database and stop the pools.

        A step that fails is logged, and the next ones are done all the same.
        """
        Service.stopService(self)
        self._notifier.notify("STOPPING=1")

        async def work() -> None:
            # All listeners at the same time: each waits for its requests.
            await gatherResults([_step(f"stopping the {one.name}", one.stopService) for one in self.listeners])
            if self.app.directory is not None:
                await _step("leaving the directory", self.app.directory.stop)
            for loop in self._loops:
                await _step(f"the end of {loop.what}", loop.stop)
            await _step("the end of revoking what accounts held", self.app.holdings.stop)
            await _step("the end of rows of jobs", self.app.job_runner.stop)
            if self.app.broker_publisher is not None:
                await _step("leaving the MQTT broker", self.app.broker_publisher.stop)
            await _step("stopping the CRL publisher", self.app.publisher.stop)
            await _step("the last CRL", self.app.publisher.idle)
            if self.app.nodes.leadership is not None:
                await _step("letting another node lead", self.app.nodes.leadership.resign)
            await _step("closing the database", self.app.store.close)
            if self.app.vault is not None:
                await _step("closing the connections to Vault", self.app.vault.close)
            for pool in self._pools.services():
                await _step(f"ending the threads for {pool.pool_name}", pool.stopService)
            if self.abandoned_calls:
                log.warn("{count} calls have not returned; the process ends without them", count=self.abandoned_calls)
            await _step("unlocking the database", self._unlock)
            log.info("Stopped")

        return Deferred.fromCoroutine(work())

    # --- changes ------------------------------------------------------------------------

    async def _watch_generations(self) -> None:
        """Load issuing CAs that were announced or took over, here or by another process (VLT-4)."""
        await self.app.generations.update(self.app.issuers)

    async def _look(self) -> None:
        """Announce status changes and CRLs of other processes; a failure does not stop later polls."""
        try:
            if not self._has_begun_crls:
                if self.app.nodes.leadership is not None:
                    await self.app.nodes.leadership.renew()
                self._has_begun_crls = True
                await self.app.publisher.begin()
            self._seen = await self.app.store.announce_changes(self._seen)
            await self.app.publisher.follow()
        except PikachuError as error:
            if self.running and not self._blind:
                log.error(
                    "Changes by others can't be seen: {error} {context}", error=error.public, context=error.context
                )
            self._blind = True
            return
        if self._blind:
            self._blind = False
            log.info("Changes by others are seen again")

    def _notified(self, notification: Notification | None) -> None:
        """Look at once for what another node has changed, or may have changed while its notifications were lost."""
        if notification is None or notification.topic in (Topic.STATUS, Topic.CRL):
            self._looking.run_soon()
        if notification is None or notification.topic is Topic.JOB:
            self.app.job_runner.wake()
        elif notification.topic is Topic.GUESS:
            self.app.nodes.guess_limits.count_shared(notification.text)

    async def _take_over(self) -> None:
        await self.app.publisher.begin()
        await self._renew()

    def _elections(self) -> list[_Loop]:
        """Return the loop in which this node keeps its lease; none on a database with one server."""
        leadership = self.app.nodes.leadership
        if leadership is None:
            return []

        async def elect() -> None:
            with suppress(StoreUnavailable):
                if await leadership.renew() and self._has_begun_crls:
                    log.info("This node leads: it makes the CRLs and renews certificates of the CA")
                    # A large CRL must not delay the next renewal of the lease.
                    _step("taking over", lambda: Deferred.fromCoroutine(self._take_over()))

        return [_Loop("electing a leader", elect, RENEWAL_SECONDS, self._reactor)]

    async def _keep_node(self) -> None:
        """Renew this node's heartbeat; other checks report a database that does not answer."""
        with suppress(StoreUnavailable):
            await self.app.store.keep_node(self._node, utc(self._clock.seconds()))

    async def _compare_node(self) -> None:
        """Log what other nodes have changed and this one lacks."""
        await self.app.readiness.refresh(*NODE_CHECKS)

    async def _recover(self) -> None:
        """Bring this CA and its engine into agreement; the same failure is logged once."""
        failure = ""
        try:
            await self.app.engine_recovery.run()
        except PikachuError as error:
            failure = str(error)
            if failure != self._engine_failure and self.running:
                log.error("The PKI engine is asked again later: {error}", error=failure)
        self._engine_failure = failure

    async def _index(self) -> None:
        """Add the next certificates of an earlier version to the search index, then to devices."""
        if not self.app.search_indexing.is_complete:
            await self.app.search_indexing.step()
        elif not self.app.device_assignment.is_complete:
            await self.app.device_assignment.step()

    async def _follow_unlocks(self) -> None:
        """End the locks that a command has ended; other checks report a database that does not answer."""
        with suppress(StoreUnavailable):
            await self.app.sign_in_locks.follow()

    async def _extend_log(self) -> None:
        """Add new events and certificates to the transparency log."""
        await self.app.transparency.step()

    async def _keep_house(self) -> None:
        """Remove what is over (OPS-6)."""
        await self.app.housekeeping.step()

    async def _fill_batches(self) -> None:
        """Create the challenge passwords that an earlier process has left to create; failures are tried again."""
        try:
            await self.app.batches.fill()
        except PikachuError as error:
            if self.running:
                log.warn("Challenge passwords of batches are created later: {error}", error=error.public)

    async def _send_notices(self) -> None:
        """Apply the rules of notices, and send what is due; failures are tried again."""
        try:
            await self.app.notices.runs.tend()
        except PikachuError as error:
            if self.running:
                log.warn("Notices are sent later: {error}", error=error.public)

    async def _run_jobs(self) -> None:
        """Wake the runner of jobs, which holds up nothing here."""
        self.app.job_runner.wake()

    async def _keep_watchdog(self) -> None:
        """Report that the reactor runs; systemd restarts a service that no longer does."""
        self._notifier.notify("WATCHDOG=1")

    async def _recheck(self) -> None:
        """Look the directory's accounts up again, when the last complete look is old enough."""
        directory, now = self.app.directory, self._clock.seconds()
        if directory is None or 0 <= now - self._rechecked < self._config.ldap.recheck:
            return
        try:
            changed = await directory.recheck()
        except PikachuError as error:
            if self.running:
                log.error("The directory's accounts can't be rechecked: {error}", error=error.public)
            return
        self._rechecked = now
        if changed:
            log.info("Rechecked the directory's accounts: {count} changed", count=changed)

    async def _renew(self) -> None:
        def failed(failure: Failure, what: str) -> None:
            if self.running:
                log.error("{what} certificates: {failure}", what=what, failure=failure.getErrorMessage())

        def forgotten(failure: Failure) -> None:
            if self.running:
                log.error("Sessions of who has gone: {failure}", failure=failure.getErrorMessage())

        await self.app.responder.prepare().addErrback(failed, "OCSP responder")
        if self._sites.scep is not None:
            await Deferred.fromCoroutine(self._sites.scep.prepare()).addErrback(failed, "SCEP RA")
        await self.app.sessions.forget_idle().addErrback(forgotten)

    # --- SIGHUP -------------------------------------------------------------------------

    def reload(self) -> Deferred[list[str]]:
        """Read TLS, CA chains, default policy and log level again (RUN-5); return what could not be, for people."""
        problems: list[str] = []
        steps: list[tuple[str, Callable[[], object]]] = [
            ("The log level", self._reload_level),
            ("The default policy", self.app.policies.reload_default),
            *((f"The chain of {name}", partial(self._reload_chain, name)) for name in self._config.ca.issuers),
            *((f"TLS of {tls.section}", tls.reload) for tls in self._tls),
        ]
        # A step that waits for a thread holds up none of the others.
        done = [maybeDeferred(step).addErrback(self._not_renewed, what, problems) for what, step in steps]
        ended = gatherResults(done).addCallback(lambda _: log.info("Reloaded"))
        return ended.addCallback(lambda _: problems)

    @staticmethod
    def _not_renewed(failure: Failure, what: str, problems: list[str]) -> None:
        """Keep the active settings when the files can't be read."""
        if failure.check(ConfigError):
            log.error("{what} stays as it was: {error}", what=what, error=str(failure.value))
            problems.append(f"{what} stays as it was: {sentence(str(failure.value))}")
        else:
            log.failure("{what} stays as it was", failure, what=what)
            problems.append(f"{what} stays as it was; the log has the reason.")

    def _reload_level(self) -> None:
        self._output.level = LEVELS[load(self._config.path, os.environ).logging.log_level.value]

    def _reload_chain(self, name: str) -> None:
        loaded = load_file_ca(
            ca_files(self._config, self._config.ca.issuers[name]),
            self.app.ca_keys,
            utc(self._clock.seconds()),
            self._warn,
        )
        issuer = self.app.issuers.named(name)
        if loaded.certificate.key_identifier == issuer.key_identifier:
            issuer.replace_chain(tuple(certificate.der for certificate in loaded.chain))


class _Loop:
    """A task that is repeated until the server stops; a failure is logged and doesn't end it."""

    def __init__(self, what: str, work: Callable[[], Coroutine[Any, Any, None]], seconds: float, reactor: Any) -> None:
        self.what = what
        self._work = work
        self._seconds = seconds
        self._calls = LoopingCall(self._begin)
        self._calls.clock = reactor
        # Stopping the loop does not wait for what it has begun last.
        self._under_way: Deferred[None] = succeed(None)
        self._is_wanted = False

    def start(self) -> None:
        """Run now, and then at each interval."""
        self._calls.start(self._seconds)

    def run_soon(self) -> None:
        """Run now, or once more after the run under way, which may have begun too early."""
        self._is_wanted = True
        if self._calls.running and self._under_way.called:
            self._calls.stop()
            self.start()

    def _begin(self) -> Deferred[None]:
        self._under_way = _step(self.what, lambda: Deferred.fromCoroutine(self._run()))
        return self._under_way

    async def _run(self) -> None:
        self._is_wanted = False
        await self._work()
        while self._is_wanted and self._calls.running:
            self._is_wanted = False
            await self._work()

    def stop(self) -> Deferred[None]:
        """Stop repeating; fires when the current run has ended."""
        if self._calls.running:
            self._calls.stop()
        return self._under_way


def _step(what: str, work: Callable[[], object]) -> Deferred[None]:
    """Run *work* and wait for its Deferred, if any; never fails."""

    def failed(failure: Failure) -> None:
        log.failure("{what} failed", failure=failure, what=what)

    done: Deferred[object] = maybeDeferred(work)
    return done.addCallback(lambda _: None).addErrback(failed)
