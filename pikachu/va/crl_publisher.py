"""Publication of CRLs: on revocation and on schedule, strictly increasing numbers, atomic (RFC 5280 section 5).

A CRL's entries are encoded when their certificates are revoked.  The publisher caches their concatenation for each
issuer and appends only new entries, so that a revocation costs the same with ten entries as with a million; the list
itself is assembled, signed and written in a worker thread (:mod:`pikachu.va.crl_files`).  For MQTT brokers the PEM
of the default CA is at ``crl_path`` too, the others beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.leadership import IsLeader, always_leader
from pikachu.core.atomic_files import check_replaceable
from pikachu.core.concurrency import start
from pikachu.core.errors import NotFound, PikachuError, StoreUnavailable
from pikachu.core.interfaces import IClock, IDelayedCall, IStore, IWorkerPool
from pikachu.core.model.certificates import CRLRecord, StatusChange
from pikachu.core.model.times import utc
from pikachu.va.crl_bundles import CRLBundles
from pikachu.va.crl_files import CRLFolder, CRLSettings, Identity, PublishedCRL, is_pem
from pikachu.va.crl_parts import MAX_CHANGES, CRLParts, log_failure, signed_crl
from pikachu.va.crl_sharing import SharedCRLs
from pikachu.va.crl_uploads import UploadedCRLs
from pikachu.va.revocation_recovery import RevocationRecovery, countable
from pikachu.x509.crl import tbs_cert_list
from pikachu.x509.crl_scope import FRESHEST_CRL

log = Logger()

_RETRY = 10.0
# How often the age of a CRL is checked: the machine's clock may be set at any time.
_CHECK_INTERVAL_SECONDS = 60.0


@dataclass(slots=True)
class _PublicationState:
    """The publication state of one issuer's CRL; *body* is ``None`` until the entries are first read."""

    body: bytearray | None = None
    count: int = 0
    last_change: int = 0
    published: PublishedCRL | None = None
    scheduled: IDelayedCall | None = None
    urgent: bool = False
    publishing: bool = False
    waiting: list[Deferred[PublishedCRL]] = field(default_factory=list)
    idle: list[Deferred[None]] = field(default_factory=list)
    requested_change: int = 0
    number: int = 0
    # The newest CRL read from disk in place of the published one, and whether entries were dropped too early.
    on_disk: PublishedCRL | None = None
    relist: bool = False


class CRLPublisher:
    """Publishes the CRL of every issuing CA in service.

    :param shared: the CRLs that nodes share; ``None`` on a database with one server.
    :ivar uploads: the CRLs of CAs whose keys are elsewhere.
    :ivar parts: delta CRLs and sharded CRLs.
    :param is_leader: whether this node publishes on schedule and after status changes; others follow.
    """

    def __init__(
        self,
        clock: IClock,
        store: IStore,
        issuers: IssuingCAs,
        pool: IWorkerPool,
        settings: CRLSettings,
        recovery: RevocationRecovery,
        *,
        shared: SharedCRLs | None = None,
        is_leader: IsLeader = always_leader,
    ) -> None:
        self._shared = shared
        self._is_leader = is_leader
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._pool = pool
        self._settings = settings
        self._recovery = recovery
        self._folder = CRLFolder(settings.folder)
        self._bundles = CRLBundles(issuers, self._folder, settings, clock)
        self.parts = CRLParts(
            clock=clock,
            store=store,
            issuers=issuers,
            folder=self._folder,
            pool=pool,
            settings=settings,
            recovery=recovery,
            shared=shared,
            is_leader=is_leader,
        )
        self.uploads = UploadedCRLs(store, issuers, self._folder, self._bundles, pool, clock, shared)
        self._states: dict[int, _PublicationState] = {}
        self._subscribers: list[Callable[[IssuingCA, PublishedCRL], None]] = [self.parts.crl_published]
        self._stopped = False

    def subscribe(self, subscriber: Callable[[IssuingCA, PublishedCRL], None]) -> None:
        """Call *subscriber* after each publication."""
        self._subscribers.append(subscriber)

    def paths(self, issuer: IssuingCA) -> tuple[Path, Path]:
        """Return the paths (DER, PEM) of an issuer's CRL."""
        return self._folder.paths(issuer.key_identifier)

    @property
    def folder(self) -> CRLFolder:
        """The directory of all CRLs."""
        return self._folder

    def published(self, issuer: IssuingCA) -> PublishedCRL:
        """Return the newest CRL of an issuer.

        :raises NotFound: when none has been published yet.
        """
        known = self._states.get(issuer.id)
        if known is None or known.published is None:
            raise NotFound("this CA has published no CRL yet")
        return known.published

    def first(self, issuer: IssuingCA) -> Deferred[None]:
        """Fire once an issuer has published a CRL, possibly at once; cancel the Deferred to stop waiting."""
        state = self._state(issuer)
        if state.published is not None:
            return succeed(None)

        def notify(publisher: IssuingCA, _: PublishedCRL) -> None:
            if publisher is issuer:
                self._subscribers.remove(notify)
                waiting.callback(None)

        waiting: Deferred[None] = Deferred(lambda _: self._subscribers.remove(notify))
        self._subscribers.append(notify)
        return waiting

    def _state(self, issuer: IssuingCA) -> _PublicationState:
        return self._states.setdefault(issuer.id, _PublicationState())

    # --- scheduling ---------------------------------------------------------------------

    def begin(self) -> Deferred[None]:
        """Adopt published CRLs at start and when this node becomes the leader, which then publishes those that are
        missing, outdated or about to expire.
        """

        async def work() -> None:
            try:
                await self._follow()
            except PikachuError as error:
                log.warn("The CRLs of other nodes were not read: {error}", error=error.public)
            await self.uploads.apply_published()
            for issuer in self._issuers.all():
                if self._clock.seconds() > issuer.certificate.not_after.timestamp():
                    continue
                try:
                    await self._adopt(issuer)
                except PikachuError as error:
                    log_failure(issuer, Failure(error))
                    self._publish_later(issuer, _RETRY)
            await self.parts.begin()

        return start(work())

    async def _adopt(self, issuer: IssuingCA) -> None:
        state = self._state(issuer)
        await self.parts.recover(issuer)
        record = await self._store.last_crl(issuer.id)
        published = await self._pool.run(self._read_published, issuer, record)
        if published is not None:
            # Before it counts as published: a CRL that is made meanwhile recovers its revocations too.
            await self._recovery.recover(issuer, published.der_path, published.number)
        state.published = published
        state.number = 0 if state.published is None else state.published.number
        state.relist = record is not None and record.this_update > utc(self._clock.seconds())
        state.body = None
        if not self._is_leader():
            self._check_later(issuer)
            return
        is_unshared = self._shared is not None and not await self._shared.version(issuer.key_identifier)
        if state.published is None or state.published.last_change < 0 or is_unshared:
            await self.make(issuer)
            return
        since = await self._store.crl_entries(issuer.id, state.published.last_change)
        if since is None or since[1]:
            await self.make(issuer)
        else:
            state.last_change = state.published.last_change
            self._check(issuer)

    def _read_published(self, issuer: IssuingCA, record: CRLRecord | None) -> PublishedCRL | None:
        """Return the CRL on disk if this issuer signed it, else None.  Blocks: called in a worker thread."""
        try:
            crl = self._folder.read(issuer.certificate)
        except (OSError, PikachuError) as error:
            path = self.paths(issuer)[0]
            log.warn("The CRL in {path} is ignored: {error}", path=str(path), error=str(error))
            return None
        if crl is None or record is None or record.number != crl.number:
            return crl
        if not is_pem(crl.pem_path, crl.der_path):
            return crl
        if crl.extensions.get(FRESHEST_CRL) != next((one.value for one in self.parts.full_extensions(issuer)), None):
            return crl
        if not all(bundle.is_current() for bundle in self._bundles.of_issuer(issuer)):
            return crl
        return replace(crl, last_change=record.last_change)

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Publish a CRL for a generation that entered service or became the current one."""
        if not self._stopped:
            self._publish_now(issuer)
            self.parts.generation_changed(issuer)

    def changed(self, changes: Iterable[StatusChange]) -> None:
        """Schedule a CRL after revocations and releases, by this process or another, with the configured delay."""
        for change in changes:
            issuer = self._issuers.by_id(change.issuer_id)
            if issuer is None:
                continue
            self.parts.changed(issuer)
            state = self._state(issuer)
            if change.id <= max(state.last_change, state.requested_change):
                continue
            state.requested_change = change.id
            # Changes that arrive during a publication are handled when it has finished.
            if not state.publishing and not state.urgent:
                self._publish_changes(issuer)

    def _publish_changes(self, issuer: IssuingCA) -> None:
        """Schedule the full CRL for changes that none has yet: soon, or in its time after the last one where a delta
        CRL tells of them.
        """
        state = self._state(issuer)
        # The root revokes CAs and responders: rarely, and with much at stake.
        delay = 0 if issuer.name == ROOT else self._settings.delay
        if self._wait_for_changes(state, issuer) > delay:
            self._schedule_next(issuer)
        else:
            self._publish_later(issuer, delay)

    def _wait_for_changes(self, state: _PublicationState, issuer: IssuingCA) -> float:
        """Return the seconds until a full CRL has to list the changes that it lacks; infinite if it lacks none."""
        if state.requested_change <= state.last_change:
            return math.inf
        published, interval = state.published, self.parts.interval(issuer)
        if published is None or not interval or state.requested_change - state.last_change > MAX_CHANGES:
            return 0
        return published.this_update.timestamp() + interval - self._clock.seconds()

    def _publish_later(self, issuer: IssuingCA, delay: float) -> None:
        self._schedule_call(issuer, delay, self._publish_now, urgent=True)

    def _schedule_call(
        self, issuer: IssuingCA, delay: float, function: Callable[[IssuingCA], None], *, urgent: bool
    ) -> None:
        state = self._state(issuer)
        if state.scheduled is not None and state.scheduled.active():
            state.scheduled.cancel()
        if self._stopped:
            return
        state.urgent = urgent
        state.scheduled = self._clock.callLater(delay, function, issuer)

    def _publish_now(self, issuer: IssuingCA) -> None:
        self._state(issuer).urgent = False
        if not self._is_leader():
            if self._shared is not None:
                self._shared.forget(issuer.key_identifier)
            self._check_later(issuer)
            return
        self.make(issuer).addErrback(lambda failure: log_failure(issuer, failure))

    def _check_later(self, issuer: IssuingCA) -> None:
        self._schedule_call(issuer, _CHECK_INTERVAL_SECONDS, self._check, urgent=False)

    def _schedule_next(self, issuer: IssuingCA) -> None:
        """Schedule the next CRL for when a quarter of the validity is left."""
        published = self._state(issuer).published
        if published is None:
            return
        quarter = (published.next_update - published.this_update) / 4
        delay = (published.next_update - quarter).timestamp() - self._clock.seconds()
        delay = min(delay, self._wait_for_changes(self._state(issuer), issuer))
        self._schedule_call(issuer, min(max(delay, 0.0), _CHECK_INTERVAL_SECONDS), self._check, urgent=False)

    def _check(self, issuer: IssuingCA) -> None:
        """Publish again when the CRL is due or dated ahead of the clock; otherwise schedule the next check."""
        published = self._state(issuer).published
        if published is not None and not self._is_ahead(issuer, published):
            quarter = (published.next_update - published.this_update) / 4
            waits = self._wait_for_changes(self._state(issuer), issuer) > 0
            if waits and utc(self._clock.seconds()) < published.next_update - quarter:
                self._schedule_next(issuer)
                self._check_file(issuer)
                return
        self._publish_now(issuer)

    def _is_ahead(self, issuer: IssuingCA, crl: PublishedCRL) -> bool:
        """Return whether a CRL is dated ahead of the clock: clients reject it until its thisUpdate."""
        if crl.this_update <= utc(self._clock.seconds()):
            return False
        log.error(
            "CRL {number} of {issuer} is not valid before {begin:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock is "
            "behind that. Publishing a new CRL; check the clock and its synchronization.",
            number=crl.number,
            issuer=issuer.name,
            begin=crl.this_update,
        )
        self._state(issuer).relist = True
        return True

    def _check_file(self, issuer: IssuingCA) -> None:
        """Publish again if the file is missing, or was written by a process whose clock is ahead of this one."""
        state = self._state(issuer)

        def checked(crl: PublishedCRL | None) -> None:
            state.on_disk = crl
            if self._stopped or state.publishing or state.urgent:
                return
            if crl is None or self._is_ahead(issuer, crl):
                self._publish_now(issuer)

        def failed(failure: Failure) -> None:
            failure.trap(OSError, PikachuError)
            checked(None)

        known = self.newest(issuer)
        self._pool.run(self._folder.newest, issuer.certificate, known).addCallbacks(checked, failed)

    async def current(self, issuer: IssuingCA) -> PublishedCRL:
        """Return the CRL that clients get now: the one on disk, which another process may have published.

        :raises NotFound: when there is none.
        """
        state = self._state(issuer)
        try:
            crl = await self._pool.run(self._folder.newest, issuer.certificate, self.newest(issuer))
        except OSError as error:
            raise StoreUnavailable(f"the CRL can't be read: {error.strerror}", error=str(error)) from error
        if crl is None:
            raise NotFound("this CA has published no CRL yet")
        state.on_disk = crl
        return crl

    def newest(self, issuer: IssuingCA) -> PublishedCRL | None:
        """Return the CRL last published here or read from disk."""
        state = self._state(issuer)
        return state.published if state.on_disk is None else state.on_disk

    def prove_writable(self, issuer: IssuingCA) -> None:
        """Check that the next CRL can be written.  Blocks: called in a worker thread.

        :raises StoreUnavailable: when it can't.
        """
        bundles = (bundle.path for bundle in self._bundles.of_issuer(issuer))
        for path in (*self.paths(issuer), *bundles):
            try:
                check_replaceable(path)
            except OSError as error:
                raise StoreUnavailable(
                    f"The CRL of {issuer.name} can't be written: {error.strerror}. Check its folder.", path=str(path)
                ) from None

    def stop(self) -> None:
        """Cancel scheduled publications and schedule no more; see :meth:`idle`."""
        self._stopped = True
        self.parts.stop()
        for state in self._states.values():
            if state.scheduled is not None and state.scheduled.active():
                state.scheduled.cancel()

    def idle(self) -> Deferred[None]:
        """Fire when no publication is in progress; never fails."""

        def wait(state: _PublicationState) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            state.idle.append(waiting)
            return waiting

        publishing = [wait(state) for state in self._states.values() if state.publishing]
        publishing.append(self.parts.idle())
        return gatherResults(publishing).addCallback(lambda _: None)

    # --- publication --------------------------------------------------------------------

    def make(self, issuer: IssuingCA) -> Deferred[PublishedCRL]:
        """Sign and publish a CRL now.  A failure leaves the previous one in place, and is retried soon.

        Fails with SignerUnavailable, StoreUnavailable, or NotFound when the CA has expired.
        """
        state = self._state(issuer)
        waiting: Deferred[PublishedCRL] = Deferred()
        # A publication in progress may lack the caller's change, so all waiting callers get the next CRL.
        state.waiting.append(waiting)
        if not state.publishing:
            self._start_publishing(issuer, state)
        return waiting

    def _start_publishing(self, issuer: IssuingCA, state: _PublicationState) -> None:
        state.publishing = True
        waiters, state.waiting = state.waiting, []

        def done(result: PublishedCRL | Failure) -> None:
            if isinstance(result, Failure):
                for waiter in waiters:
                    waiter.errback(result)
            else:
                self._notify(issuer, result)
                for waiter in waiters:
                    waiter.callback(result)
            state.publishing = False
            if state.waiting:
                self._start_publishing(issuer, state)
                return
            idle, state.idle = state.idle, []
            for idle_waiter in idle:
                idle_waiter.callback(None)
            if isinstance(result, Failure):
                if not result.check(NotFound):
                    self._publish_later(issuer, _RETRY)
            elif state.requested_change > state.last_change:
                self._publish_changes(issuer)
            else:
                self._schedule_next(issuer)

        start(self._publish_latest(issuer, state)).addBoth(done)

    def _notify(self, issuer: IssuingCA, crl: PublishedCRL) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(issuer, crl)
            except Exception:  # noqa: BLE001 - the CRL is published, whatever a subscriber does
                log.failure("A subscriber failed after the CRL of {issuer} was published", issuer=issuer.name)

    async def _publish_latest(self, issuer: IssuingCA, state: _PublicationState) -> PublishedCRL:
        while (published := await self._try_publish(issuer, state)) is None:
            # Another process has published meanwhile: this CRL must include the changes that process knew.
            pass
        state.published, state.on_disk = published, None
        if self._shared is None:
            await self._store.record_crl(_record(issuer, published))
        log.info(
            "Published CRL {number} of {issuer} with {entries} entries",
            number=published.number,
            issuer=issuer.name,
            entries=published.entries,
        )
        return published

    async def _try_publish(self, issuer: IssuingCA, state: _PublicationState) -> PublishedCRL | None:
        """Publish one CRL; return None when another process published one meanwhile."""
        if self._clock.seconds() >= issuer.certificate.not_after.timestamp():
            raise NotFound(f"the issuing CA {issuer.name} has expired and signs no CRL any more")
        # Before the entries are read: a process that publishes later may have more of them.
        version = None if self._shared is None else await self._shared.version(issuer.key_identifier)
        identity, number_on_disk = await self._pool.run(self._folder.look, issuer.certificate, state.published)
        part_number = await self.parts.recover(issuer)
        if number_on_disk:
            await self._recovery.recover(issuer, self.paths(issuer)[0], number_on_disk)
        await self._update_entries(issuer, state)
        # After the entries, so that no revocation date is later than thisUpdate.
        now = utc(self._clock.seconds())
        number = await self._store.next_crl_number(
            issuer.id, countable(issuer, number_on_disk, state.number, part_number)
        )
        state.number = number
        next_update = min(now + timedelta(seconds=self._settings.validity), issuer.certificate.not_after)
        extensions = self.parts.full_extensions(issuer)
        tbs = await self._pool.run(
            tbs_cert_list,
            algorithm=issuer.signer.algorithm,
            issuer_der=issuer.certificate.subject_der,
            updates=(now, next_update),
            entries=state.body or b"",
            number=number,
            authority_key_identifier=issuer.key_identifier,
            extensions=extensions,
        )
        signature = await issuer.signer.sign(tbs)
        crl = PublishedCRL(number, now, next_update, state.count, state.last_change, "", *self.paths(issuer), 0)
        crl = replace(crl, extensions={one.oid: one.value for one in extensions})
        der = await self._pool.run(signed_crl, issuer, tbs, signature)
        if self._shared is not None and not await self._shared.offer(
            issuer.key_identifier, der, version, _record(issuer, crl)
        ):
            return None
        return await self._pool.run(self._write, issuer, der, crl, identity)

    async def _update_entries(self, issuer: IssuingCA, state: _PublicationState) -> None:
        """Update the cached entries."""
        published = state.published
        if state.relist:
            # While the clock was ahead, certificates that are still valid counted as expired.
            while await self._store.relist_unexpired(issuer.id, utc(self._clock.seconds())):
                pass
            state.relist, state.body = False, None
        elif published is not None:
            # An entry must stay until one CRL was issued after its certificate's expiry (RFC 5280 section 3.3).
            ended_before, listed = await self.parts.listed(issuer, published)
            number = published.number if self.parts.interval(issuer) else None
            dropped = await self._store.drop_listed_expired(issuer.id, ended_before, listed, number)
            if dropped:
                state.body = None
        result = None
        if state.body is not None:
            result = await self._store.crl_entries(issuer.id, state.last_change)
        if result is None:
            state.body = None
            result = await self._store.crl_entries(issuer.id, 0)
            if result is None:
                raise StoreUnavailable("the entries of the CRL can't be read")
        last_change, count, entries = result
        if state.body is None:
            state.body, state.count = bytearray(entries), count
        elif count:
            state.body += entries
            state.count += count
        state.last_change = max(last_change, state.last_change)

    def _write(self, issuer: IssuingCA, der: bytes, crl: PublishedCRL, identity: Identity) -> PublishedCRL | None:
        """Replace the files.  Blocks: called in a worker thread."""
        bundles = partial(self._bundles.of_issuer, issuer)
        try:
            if self._shared is None:
                return self._folder.publish(der, crl, bundles, identity)
            taken = self._folder.take_shared(der, issuer.certificate, bundles)
        except OSError as error:
            raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error
        return replace(taken, last_change=crl.last_change) if taken.number == crl.number else None

    # --- CRLs of other nodes ------------------------------------------------------------

    def follow(self) -> Deferred[None]:
        """Write the CRLs that other nodes have published to this node's disk; fails with StoreUnavailable."""
        return start(self._follow())

    async def _follow(self) -> None:
        if self._shared is None:
            return
        async for key_identifier, der in self._shared.news():
            issuer = self._issuers.by_key_identifier(key_identifier)
            try:
                if issuer is not None:
                    await self._follow_issuer(issuer, der)
                elif not await self.parts.follow(key_identifier, der):
                    await self.uploads.follow(key_identifier, der)
            except OSError as error:
                raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error

    async def _follow_issuer(self, issuer: IssuingCA, der: bytes) -> None:
        state = self._state(issuer)
        bundles = partial(self._bundles.of_issuer, issuer)
        crl = await self._pool.run(self._folder.take_shared, der, issuer.certificate, bundles)
        if state.publishing or (state.published is not None and state.published.number >= crl.number):
            return
        record = await self._store.last_crl(issuer.id)
        last_change = record.last_change if record is not None and record.number == crl.number else -1
        state.published, state.on_disk, state.body = replace(crl, last_change=last_change), None, None
        self._notify(issuer, state.published)
        if not state.urgent:
            self._schedule_next(issuer)


def _record(issuer: IssuingCA, crl: PublishedCRL) -> CRLRecord:
    return CRLRecord(issuer.id, crl.number, crl.this_update, crl.next_update, crl.entries, crl.last_change)
