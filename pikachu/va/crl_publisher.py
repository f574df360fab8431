"""Publication of CRLs: on revocation and on schedule, strictly increasing numbers, atomic (RFC 5280 section 5).

A CRL's entries are encoded when their certificates are revoked.  The publisher caches their concatenation for each
issuer and appends only new entries, so that a revocation costs the same with ten entries as with a million; the list
itself is assembled, signed and written in a worker thread (:mod:`pikachu.va.crl_files`).  For MQTT brokers the PEM
of the default CA is at ``crl_path`` too, the others beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.atomic_files import check_replaceable
from pikachu.core.audit import event_by
from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PikachuError, SignerUnavailable, StoreUnavailable
from pikachu.core.interfaces import IClock, IDelayedCall, IStore, IWorkerPool
from pikachu.core.model.certificates import CRLRecord, StatusChange
from pikachu.core.model.people import SYSTEM, Principal, Scope
from pikachu.core.model.times import utc
from pikachu.va.crl_files import CRLBundle, CRLFolder, CRLSettings, Identity, PublishedCRL, decode_crl, is_pem
from pikachu.va.revocation_recovery import RevocationRecovery, countable
from pikachu.x509.certificate import Certificate, names_match, parse_certificate
from pikachu.x509.crl import assemble_crl, parse_crl_summary, tbs_cert_list
from pikachu.x509.signature import verify_signature

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
    """Publishes the CRL of every issuing CA in service."""

    def __init__(
        self,
        clock: IClock,
        store: IStore,
        issuers: IssuingCAs,
        pool: IWorkerPool,
        settings: CRLSettings,
        recovery: RevocationRecovery,
    ) -> None:
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._pool = pool
        self._settings = settings
        self._recovery = recovery
        self._folder = CRLFolder(settings.folder)
        self._states: dict[int, _PublicationState] = {}
        self._subscribers: list[Callable[[IssuingCA, PublishedCRL], None]] = []
        self._upload_subscribers: list[Callable[[Principal, bytes, bytes], Awaitable[None]]] = []
        self._stopped = False

    def subscribe(self, subscriber: Callable[[IssuingCA, PublishedCRL], None]) -> None:
        """Call *subscriber* after each publication."""
        self._subscribers.append(subscriber)

    def subscribe_uploads(self, subscriber: Callable[[Principal, bytes, bytes], Awaitable[None]]) -> None:
        """Await *subscriber*, with actor, key identifier and DER, for each CRL of a CA whose key is elsewhere."""
        self._upload_subscribers.append(subscriber)

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
        """Adopt published CRLs at start, and publish those that are missing, outdated or about to expire."""

        async def work() -> None:
            for ca in self.parent_cas():
                await self._apply_published(ca)
            for issuer in self._issuers.all():
                if self._clock.seconds() > issuer.certificate.not_after.timestamp():
                    continue
                try:
                    await self._adopt(issuer)
                except PikachuError as error:
                    _log_failure(issuer, Failure(error))
                    self._publish_later(issuer, _RETRY)

        return start(work())

    async def _apply_published(self, ca: Certificate) -> None:
        """Apply the CRL of an offline CA that an earlier version published."""
        try:
            crl = await self._pool.run(self._folder.read, ca)
            if crl is not None:
                await self._apply_upload(SYSTEM, crl)
        except (OSError, PikachuError) as error:
            log.warn("The CRL of {ca} was not applied: {error}", ca=ca.key_identifier.hex(), error=str(error))

    async def _adopt(self, issuer: IssuingCA) -> None:
        state = self._state(issuer)
        record = await self._store.last_crl(issuer.id)
        published = await self._pool.run(self._read_published, issuer, record)
        if published is not None:
            # Before it counts as published: a CRL that is made meanwhile recovers its revocations too.
            await self._recovery.recover(issuer, published.der_path, published.number)
        state.published = published
        state.number = 0 if state.published is None else state.published.number
        state.relist = record is not None and record.this_update > utc(self._clock.seconds())
        if state.published is None or state.published.last_change < 0:
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
        if not all(bundle.is_current() for bundle in self._bundles(issuer)):
            return crl
        return replace(crl, last_change=record.last_change)

    def _bundles(self, issuer: IssuingCA) -> list[CRLBundle]:
        """Return the single-file bundles with the CRLs of all generations: certificates verify across a key switch."""
        broker = self._settings.broker_path
        if broker is None:
            return []
        if issuer.name == ROOT:
            return [self._root_bundle(broker, issuer.key_identifier)]
        generations = self._issuers.generations(issuer.name, utc(self._clock.seconds()))
        name = "" if issuer.name == self._issuers.default.name else f"-{issuer.name}"
        members = tuple(self.paths(generation)[1] for generation in generations)
        return [CRLBundle(broker.with_name(f"{broker.stem}{name}{broker.suffix}"), members)]

    def _root_bundle(self, broker: Path, key_identifier: bytes) -> CRLBundle:
        path = broker.with_name(f"{broker.stem}-{ROOT}{broker.suffix}")
        return CRLBundle(path, (self._folder.paths(key_identifier)[1],))

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Publish a CRL for a generation that entered service or became the current one."""
        if not self._stopped:
            self._publish_now(issuer)

    def changed(self, changes: Iterable[StatusChange]) -> None:
        """Schedule a CRL after revocations and releases, by this process or another, with the configured delay."""
        for change in changes:
            issuer = self._issuers.by_id(change.issuer_id)
            if issuer is None:
                continue
            state = self._state(issuer)
            if change.id <= max(state.last_change, state.requested_change):
                continue
            state.requested_change = change.id
            # Changes that arrive during a publication are handled when it has finished.
            if not state.publishing and not state.urgent:
                # The root revokes CAs and responders: rarely, and with much at stake.
                self._publish_later(issuer, 0 if issuer.name == ROOT else self._settings.delay)

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
        self.make(issuer).addErrback(lambda failure: _log_failure(issuer, failure))

    def _schedule_next(self, issuer: IssuingCA) -> None:
        """Schedule the next CRL for when a quarter of the validity is left."""
        published = self._state(issuer).published
        if published is None:
            return
        quarter = (published.next_update - published.this_update) / 4
        delay = (published.next_update - quarter).timestamp() - self._clock.seconds()
        self._schedule_call(issuer, min(max(delay, 0.0), _CHECK_INTERVAL_SECONDS), self._check, urgent=False)

    def _check(self, issuer: IssuingCA) -> None:
        """Publish again when the CRL is due or dated ahead of the clock; otherwise schedule the next check."""
        published = self._state(issuer).published
        if published is not None and not self._is_ahead(issuer, published):
            quarter = (published.next_update - published.this_update) / 4
            if utc(self._clock.seconds()) < published.next_update - quarter:
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
        bundles = (bundle.path for bundle in self._bundles(issuer))
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
                self._publish_later(issuer, self._settings.delay)
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
        await self._store.record_crl(
            CRLRecord(
                issuer.id,
                published.number,
                published.this_update,
                published.next_update,
                published.entries,
                published.last_change,
            )
        )
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
        identity, number_on_disk = await self._pool.run(self._folder.look, issuer.certificate, state.published)
        if number_on_disk:
            await self._recovery.recover(issuer, self.paths(issuer)[0], number_on_disk)
        await self._update_entries(issuer, state)
        # After the entries, so that no revocation date is later than thisUpdate.
        now = utc(self._clock.seconds())
        number = await self._store.next_crl_number(issuer.id, countable(issuer, number_on_disk, state.number))
        state.number = number
        next_update = min(now + timedelta(seconds=self._settings.validity), issuer.certificate.not_after)
        tbs = await self._pool.run(
            tbs_cert_list,
            algorithm=issuer.signer.algorithm,
            issuer_der=issuer.certificate.subject_der,
            this_update=now,
            next_update=next_update,
            entries=state.body or b"",
            number=number,
            authority_key_identifier=issuer.key_identifier,
        )
        signature = await issuer.signer.sign(tbs)
        crl = PublishedCRL(number, now, next_update, state.count, state.last_change, "", *self.paths(issuer), 0)
        return await self._pool.run(self._write, issuer, tbs, signature, crl, identity)

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
            dropped = await self._store.drop_listed_expired(issuer.id, published.this_update, published.last_change)
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

    def _write(
        self, issuer: IssuingCA, tbs: bytes, signature: bytes, crl: PublishedCRL, identity: Identity
    ) -> PublishedCRL | None:
        """Verify the signature, then replace the files.  Blocks: called in a worker thread."""
        try:
            verify_signature(issuer.key, issuer.signer.algorithm, signature, tbs)
        except PikachuError as error:
            raise SignerUnavailable("the signer gave a CRL signature that does not verify") from error
        der = assemble_crl(tbs, issuer.signer.algorithm, signature)
        try:
            return self._folder.publish(der, crl, partial(self._bundles, issuer), identity)
        except OSError as error:
            raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error

    # --- CRLs of offline CAs ------------------------------------------------------------

    def accept_upload(self, data: bytes) -> Deferred[PublishedCRL]:
        """Publish an uploaded CRL of an offline root or another CA above the issuing CAs.

        :param data: DER or PEM.
        :return: fails with MalformedRequest when it is not a current full CRL of such a CA, with Conflict when a newer
            one is published or the CA's key is on this server, and with StoreUnavailable.
        """

        def publish() -> PublishedCRL:
            der = decode_crl(data)
            subject = parse_crl_summary(der).issuer_der
            candidates = [ca for ca in self.parent_cas() if names_match(ca.subject_der, subject)]
            if not candidates:
                if any(names_match(issuer.certificate.subject_der, subject) for issuer in self._issuers.all()):
                    raise Conflict("this CA's CRL is made here")
                raise MalformedRequest("no CA above the issuing CAs has made this CRL")
            refusal: PikachuError | None = None
            for ca in candidates:
                try:
                    return self._folder.take_upload(der, ca, utc(self._clock.seconds()), self._uploaded_bundles(ca))
                except MalformedRequest as error:
                    refusal = error
            raise refusal or MalformedRequest("no CA above the issuing CAs has made this CRL")

        def unwritable(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, OSError):
                raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error
            return failure

        return self._pool.run(publish).addErrback(unwritable)

    def upload(self, actor: Principal, data: bytes) -> Deferred[PublishedCRL]:
        """Publish an administrator's upload, with an audit event; fails as :meth:`accept_upload`, or NotAuthorized."""

        async def work() -> PublishedCRL:
            require_scope(actor, Scope.ADMIN)
            published = await self.accept_upload(data)
            await self._apply_upload(actor, published)
            event = event_by(
                actor,
                "upload",
                "CRL",
                published.der_path.stem,
                None,
                number=published.number,
                entries=published.entries,
            )
            await self._store.add_event(event, utc(self._clock.seconds()))
            log.info("CRL {number} was uploaded by {actor}", number=published.number, actor=actor.name)
            return published

        return start(work())

    async def _apply_upload(self, actor: Principal, crl: PublishedCRL) -> None:
        data = await self._pool.run(crl.der_path.read_bytes)
        for subscriber in self._upload_subscribers:
            await subscriber(actor, bytes.fromhex(crl.der_path.stem), data)

    def parent_cas(self) -> list[Certificate]:
        """Return the CAs above the issuing CAs whose key is not on this server."""
        certificates: dict[bytes, Certificate] = {}
        for issuer in self._issuers.all():
            for der in issuer.chain[1:]:
                certificate = parse_certificate(der)
                if self._issuers.by_key_identifier(certificate.key_identifier) is None:
                    certificates[certificate.key_identifier] = certificate
        return list(certificates.values())

    def _uploaded_bundles(self, ca: Certificate) -> list[CRLBundle]:
        broker = self._settings.broker_path
        if broker is None or not ca.self_issued:
            return []
        return [self._root_bundle(broker, ca.key_identifier)]


def _log_failure(issuer: IssuingCA, failure: Failure) -> None:
    error = failure.value
    context = error.context if isinstance(error, PikachuError) else {}
    log.error(
        "The CRL of {issuer} was not made: {error} {context}",
        issuer=issuer.name,
        error=failure.getErrorMessage(),
        context=context,
    )
