"""Delta CRLs and sharded CRLs: what has changed, and the revocations of some certificates (RFC 5280; docs/adr/0051).

A delta CRL (section 5.2.4) takes time for the changes since a full CRL, and a shard for its own entries, however many
others there are.  Numbers are reserved before the entries are read, so that a CRL with a higher number than a full
one knows all that this one does; full CRLs, delta CRLs and shards of an issuer share one sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.leadership import IsLeader
from pikachu.core.concurrency import start
from pikachu.core.crl_part_interfaces import PartRecord
from pikachu.core.errors import PikachuError, SignerUnavailable, StoreUnavailable
from pikachu.core.interfaces import IClock, IDelayedCall, IStore, IWorkerPool
from pikachu.core.model.times import utc
from pikachu.va.crl_files import DELTA, CRLFolder, CRLSettings, Identity, PublishedCRL
from pikachu.va.crl_sharing import SharedCRLs
from pikachu.va.revocation_recovery import RevocationRecovery, countable
from pikachu.x509.crl import assemble_crl, removal_entry, tbs_cert_list
from pikachu.x509.crl_scope import (
    ISSUING_DISTRIBUTION_POINT,
    delta_crl_indicator,
    freshest_crl,
    issuing_distribution_point,
)
from pikachu.x509.extension import Extension
from pikachu.x509.profile import Addresses
from pikachu.x509.signature import verify_signature

log = Logger()

#: Changes on a delta CRL, where a newer full CRL leaves that few; more of them make a full one early.
MAX_CHANGES: Final = 5000
_RETRY: Final = 10.0
_CHECK_INTERVAL_SECONDS: Final = 60.0
# The age of a full CRL up to which a delta CRL gets its number and date.
_ISSUED_TOGETHER: Final = timedelta(seconds=10)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class _State:
    """The parts of one issuer's CRL.

    :ivar urls: the addresses of each shard that certificates may name.
    :ivar checked: the newest status change whose shard was looked at.
    :ivar numbers: the highest CRL number on disk when the process started.
    """

    published: dict[str, PublishedCRL] = field(default_factory=dict)
    urls: dict[int, list[str]] = field(default_factory=dict)
    checked: int = 0
    number: int = 0
    is_recovered: bool = False
    is_adopted: bool = False
    urgent: bool = False
    scheduled: IDelayedCall | None = None
    publishing: bool = False
    waiting: list[Deferred[list[PublishedCRL]]] = field(default_factory=list)
    idle: list[Deferred[None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Content:
    """The entries of a part, and what else is its own.

    :param this_update: that of the full CRL with the same number; ``None`` for a number of its own.
    """

    number: int
    last_change: int
    count: int
    entries: bytes
    extension: Extension
    validity: int
    this_update: datetime | None = None


class CRLParts:
    """Publishes the delta CRL and the sharded CRLs of every issuing CA in service.

    :param shared: the CRLs that nodes share; ``None`` on a database with one server.
    :param is_leader: whether this node publishes; others follow.
    """

    def __init__(
        self,
        *,
        clock: IClock,
        store: IStore,
        issuers: IssuingCAs,
        folder: CRLFolder,
        pool: IWorkerPool,
        settings: CRLSettings,
        recovery: RevocationRecovery,
        shared: SharedCRLs | None,
        is_leader: IsLeader,
    ) -> None:
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._folder = folder
        self._pool = pool
        self._settings = settings
        self._recovery = recovery
        self._shared = shared
        self._is_leader = is_leader
        self._states: dict[int, _State] = {}
        self._stopped = False

    # --- what full CRLs have to know -----------------------------------------------------

    def interval(self, issuer: IssuingCA) -> int:
        """Return the least seconds between full CRLs that only new revocations require; 0 without delta CRLs."""
        return 0 if issuer.name == ROOT else self._settings.delta or 0

    def full_extensions(self, issuer: IssuingCA) -> list[Extension]:
        """Return what full CRLs say of the delta CRL."""
        addresses = Addresses.under(self._settings.public_url, issuer.certificate)
        return [freshest_crl(addresses.delta)] if addresses is not None and self.interval(issuer) else []

    async def listed(self, issuer: IssuingCA, full: PublishedCRL) -> tuple[datetime, int]:
        """Return thisUpdate and last change that the full CRL and all shards have reached.

        An entry must stay until one CRL of each scope was issued after its certificate's expiry (section 3.3).
        """
        state = await self._adopted(issuer)
        shards = [state.published.get(str(shard)) for shard in state.urls]
        times = [full.this_update, *(_EPOCH if one is None else one.this_update for one in shards)]
        return min(times), min([full.last_change, *(-1 if one is None else one.last_change for one in shards)])

    async def recover(self, issuer: IssuingCA) -> int:
        """Keep, once, the revocations that parts on disk have and the database lacks; return their highest number."""
        state = self._state(issuer)
        if not state.is_recovered:
            on_disk, messages = await self._pool.run(self._folder.read_parts, issuer.certificate)
            for message in messages:
                log.warn("A CRL is ignored: {message}", message=message)
            # The shards first: they tell in which shard a serial number is whose certificate is lost.
            for part in sorted(on_disk, key=lambda one: one == DELTA):
                await self._recovery.recover(issuer, on_disk[part].der_path, on_disk[part].number, part)
            state.number = countable(issuer, 0, *(crl.number for crl in on_disk.values()))
            state.is_recovered = True
        return state.number

    def published(self, issuer: IssuingCA) -> dict[str, PublishedCRL]:
        """Return the newest delta CRL and sharded CRLs by their parts, in order."""
        parts = self._state(issuer).published
        return {part: parts[part] for part in sorted(parts, key=lambda one: (one != DELTA, len(one), one))}

    def is_awaited(self, issuer: IssuingCA, part: str) -> bool:
        """Return whether a part that is not published yet will be."""
        if part == DELTA:
            return bool(self.interval(issuer))
        return int(part) in self._state(issuer).urls

    def _state(self, issuer: IssuingCA) -> _State:
        return self._states.setdefault(issuer.id, _State())

    # --- scheduling ----------------------------------------------------------------------

    async def begin(self) -> None:
        """Adopt what is on disk and publish what is missing or outdated, at start and when this node leads."""
        for issuer in self._issuers.all():
            self._state(issuer).is_adopted = False
            try:
                await self.publish(issuer)
            except PikachuError as error:
                # The publication is repeated.
                log.debug("{issuer}: {error}", issuer=issuer.name, error=error.public)

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Publish the parts of a generation that entered service, or became the current one."""
        self._state(issuer).is_adopted = False
        self._publish_now(issuer)

    def changed(self, issuer: IssuingCA) -> None:
        """Schedule a publication after a revocation or release, with the configured delay."""
        state = self._state(issuer)
        if not state.urgent:
            self._schedule(issuer, self._settings.delay, urgent=True)

    def crl_published(self, issuer: IssuingCA, _: PublishedCRL) -> None:
        """Publish what follows a full CRL."""
        if self.interval(issuer):
            self._publish_now(issuer)

    def _schedule(self, issuer: IssuingCA, delay: float, *, urgent: bool = False) -> None:
        state = self._state(issuer)
        if state.scheduled is not None and state.scheduled.active():
            state.scheduled.cancel()
        if self._stopped or issuer.name == ROOT:
            return
        state.urgent = urgent
        state.scheduled = self._clock.callLater(delay, self._publish_now, issuer)

    def _publish_now(self, issuer: IssuingCA) -> None:
        if not self._stopped:
            self.publish(issuer).addErrback(lambda _: None)

    def stop(self) -> None:
        """Cancel scheduled publications and schedule no more; see :meth:`idle`."""
        self._stopped = True
        for state in self._states.values():
            if state.scheduled is not None and state.scheduled.active():
                state.scheduled.cancel()

    def idle(self) -> Deferred[None]:
        """Fire when no publication is in progress; never fails."""

        def wait(state: _State) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            state.idle.append(waiting)
            return waiting

        publishing = [wait(state) for state in self._states.values() if state.publishing]
        return gatherResults(publishing).addCallback(lambda _: None)

    # --- publication ---------------------------------------------------------------------

    def publish(self, issuer: IssuingCA) -> Deferred[list[PublishedCRL]]:
        """Publish the parts that are missing, outdated or about to expire; return these.

        Fails with SignerUnavailable or StoreUnavailable; what was published stays, and the rest is repeated soon.
        """
        state = self._state(issuer)
        waiting: Deferred[list[PublishedCRL]] = Deferred()
        # A publication in progress may lack the caller's change, so all waiting callers get the next one.
        state.waiting.append(waiting)
        if not state.publishing:
            self._start(issuer, state)
        return waiting

    def _start(self, issuer: IssuingCA, state: _State) -> None:
        state.publishing, state.urgent = True, False
        waiters, state.waiting = state.waiting, []

        def done(result: list[PublishedCRL] | Failure) -> None:
            state.publishing = False
            if isinstance(result, Failure):
                log_failure(issuer, result)
            for waiter in waiters:
                waiter.callback(result)
            if state.waiting:
                self._start(issuer, state)
                return
            idle, state.idle = state.idle, []
            for idle_waiter in idle:
                idle_waiter.callback(None)
            if isinstance(result, Failure):
                self._schedule(issuer, _RETRY)
            elif not state.urgent and (state.published or state.urls or self.interval(issuer)):
                self._schedule(issuer, _CHECK_INTERVAL_SECONDS)

        start(self._publish(issuer, state)).addBoth(done)

    async def _publish(self, issuer: IssuingCA, state: _State) -> list[PublishedCRL]:
        now = self._clock.seconds()
        if issuer.name == ROOT or now >= issuer.certificate.not_after.timestamp():
            return []
        await self._adopted(issuer)
        await self._look_at_files(issuer, state)
        if not self._is_leader():
            return []
        newest, changed = await self._store.changed_shards(issuer.id, state.checked)
        due = [shard for shard in sorted(state.urls) if self._is_shard_due(state, shard, changed)]
        published = [await self._publish_part(issuer, state, str(shard)) for shard in due]
        # A failure above leaves the changes to be looked at again.
        state.checked = newest
        if self._settings.delta is not None:
            if await self._is_delta_due(issuer, state, newest):
                published.append(await self._publish_part(issuer, state, DELTA))
        elif DELTA in state.published and utc(now) >= state.published[DELTA].next_update:
            # Until then clients may follow it, since an older full CRL names it.
            await self._remove_delta(issuer, state)
        return [crl for crl in published if crl is not None]

    def _is_shard_due(self, state: _State, shard: int, changed: Mapping[int, int]) -> bool:
        crl = state.published.get(str(shard))
        if crl is None or crl.last_change < changed.get(shard, 0) or self._is_due(crl):
            return True
        expected = issuing_distribution_point(state.urls[shard]).value
        return crl.extensions.get(ISSUING_DISTRIBUTION_POINT) != expected

    async def _is_delta_due(self, issuer: IssuingCA, state: _State, newest: int) -> bool:
        full = await self._store.last_crl(issuer.id)
        if full is None or full.last_change < 0:
            return False
        crl = state.published.get(DELTA)
        return crl is None or crl.last_change < newest or full.number > crl.number or self._is_due(crl)

    def _is_due(self, crl: PublishedCRL) -> bool:
        """Return whether a quarter of the validity is left, or a CRL is dated ahead of the clock."""
        now = utc(self._clock.seconds())
        return now < crl.this_update or now >= crl.next_update - (crl.next_update - crl.this_update) / 4

    async def _publish_part(self, issuer: IssuingCA, state: _State, part: str) -> PublishedCRL | None:
        """Publish one part; return None for a delta CRL without a full CRL to which it could refer."""
        name = _shared_name(issuer, part)
        while True:
            version = None if self._shared is None else await self._shared.version(name)
            known = state.published.get(part)
            identity, number_on_disk = await self._pool.run(self._folder.look, issuer.certificate, known, part)
            content = await self._read(issuer, state, part, max(number_on_disk, state.number))
            if content is None:
                return None
            der, crl = await self._sign(issuer, part, content)
            if self._shared is not None and not await self._shared.offer(name, der, version):
                continue
            written = await self._pool.run(self._write, der, crl, identity)
            if written is not None:
                break
        state.published[part] = written
        await self._store.record_crl_part(issuer.id, part, PartRecord(written.number, written.last_change))
        log.info(
            "Published CRL {number} ({part}) of {issuer} with {entries} entries",
            number=written.number,
            part=part if part == DELTA else f"shard {part}",
            issuer=issuer.name,
            entries=written.entries,
        )
        return written

    async def _read(self, issuer: IssuingCA, state: _State, part: str, above: int) -> _Content | None:
        # Before the entries: whoever has a lower number and more entries would be overruled by this CRL.
        number = await self._store.next_crl_number(issuer.id, countable(issuer, above))
        state.number = number
        if part != DELTA:
            last_change, count, entries = await self._store.shard_entries(issuer.id, int(part))
            point = issuing_distribution_point(state.urls[int(part)])
            return _Content(number, last_change, count, entries, point, self._settings.validity)
        now = utc(self._clock.seconds())
        delta = await self._store.delta_content(issuer.id, now, MAX_CHANGES)
        if delta is None:
            return None
        full = await self._store.last_crl(issuer.id)
        # The file of the previous one may be lost.
        previous = (await self._store.crl_parts(issuer.id)).get(DELTA)
        this_update = None
        if (
            full is not None
            and full.last_change == delta.last_change
            and full.number > max(delta.base_number, 0 if previous is None else previous.number, above)
            and timedelta() <= now - full.this_update <= _ISSUED_TOGETHER
        ):
            # Issued with the full CRL, with what that says (section 5.2.4), and so with its date (section 5.2.3).
            number, this_update = full.number, full.this_update
        removals = [removal_entry(serial, this_update or now) for serial in delta.removed]
        return _Content(
            number,
            delta.last_change,
            delta.count + len(removals),
            b"".join((delta.entries, *removals)),
            delta_crl_indicator(delta.base_number),
            self.interval(issuer),
            this_update,
        )

    async def _sign(self, issuer: IssuingCA, part: str, content: _Content) -> tuple[bytes, PublishedCRL]:
        # After the entries, so that no revocation date is later than thisUpdate.
        now = content.this_update or utc(self._clock.seconds())
        next_update = min(now + timedelta(seconds=content.validity), issuer.certificate.not_after)
        tbs = await self._pool.run(
            tbs_cert_list,
            algorithm=issuer.signer.algorithm,
            issuer_der=issuer.certificate.subject_der,
            updates=(now, next_update),
            entries=content.entries,
            number=content.number,
            authority_key_identifier=issuer.key_identifier,
            extensions=(content.extension,),
        )
        signature = await issuer.signer.sign(tbs)
        der = await self._pool.run(signed_crl, issuer, tbs, signature)
        paths = self._folder.paths(issuer.key_identifier, part)
        crl = PublishedCRL(content.number, now, next_update, content.count, content.last_change, "", *paths, 0)
        return der, replace(crl, extensions={content.extension.oid: content.extension.value})

    def _write(self, der: bytes, crl: PublishedCRL, identity: Identity) -> PublishedCRL | None:
        """Replace the files.  Blocks: called in a worker thread."""
        try:
            return self._folder.publish(der, crl, list, identity)
        except OSError as error:
            raise StoreUnavailable(f"the CRL can't be written: {error.strerror}", error=str(error)) from error

    async def _remove_delta(self, issuer: IssuingCA, state: _State) -> None:
        try:
            await self._pool.run(self._folder.remove_part, issuer.key_identifier, DELTA)
        except OSError as error:
            raise StoreUnavailable(f"a delta CRL can't be removed: {error.strerror}", error=str(error)) from error
        state.published.pop(DELTA, None)

    # --- what is on disk -----------------------------------------------------------------

    async def _adopted(self, issuer: IssuingCA) -> _State:
        """Return an issuer's state once it has what is on disk and in the database."""
        state = self._state(issuer)
        if state.is_adopted or issuer.name == ROOT:
            return state
        await self.recover(issuer)
        urls = self._new_urls(issuer)
        if urls:
            await self._store.add_crl_shards(issuer.id, urls)
        state.urls = await self._store.crl_shards(issuer.id)
        records = await self._store.crl_parts(issuer.id)
        on_disk, _ = await self._pool.run(self._folder.read_parts, issuer.certificate)
        state.published = {
            part: replace(crl, last_change=_last_change(crl, records.get(part)))
            for part, crl in on_disk.items()
            if part == DELTA or int(part) in state.urls
        }
        shards = [one.last_change for part, one in state.published.items() if part != DELTA]
        state.checked = max(0, min(shards, default=0))
        state.is_adopted = True
        return state

    def _new_urls(self, issuer: IssuingCA) -> dict[str, int]:
        """Return the addresses of the shards among which new certificates are divided."""
        addresses = Addresses.under(self._settings.public_url, issuer.certificate)
        is_issuing = issuer in (self._issuers.current.get(issuer.name), self._issuers.next(issuer.name))
        if addresses is None or issuer.engine is not None or not is_issuing:
            return {}
        return {addresses.shard(number): number for number in range(self._settings.shards)}

    async def _look_at_files(self, issuer: IssuingCA, state: _State) -> None:
        """Notice files that are missing, damaged, or were replaced by another process."""
        known = dict(state.published)

        def newest() -> dict[str, PublishedCRL | None]:
            result: dict[str, PublishedCRL | None] = {}
            for part, crl in known.items():
                try:
                    result[part] = self._folder.newest(issuer.certificate, crl, part)
                except (OSError, PikachuError):
                    result[part] = None
            return result

        records: dict[str, PartRecord] | None = None
        for part, crl in (await self._pool.run(newest)).items():
            if crl is known[part]:
                continue
            if crl is None:
                del state.published[part]
                if self._shared is not None:
                    self._shared.forget(_shared_name(issuer, part))
                continue
            if records is None:
                records = await self._store.crl_parts(issuer.id)
            state.published[part] = replace(crl, last_change=_last_change(crl, records.get(part)))

    async def follow(self, name: bytes, der: bytes) -> bool:
        """Write a part that another node has published to this node's disk; return whether *name* is one's.

        Raises OSError; fails with StoreUnavailable.
        """
        for issuer in self._issuers.all():
            prefix = issuer.key_identifier + b"-"
            if name.startswith(prefix):
                part = name.removeprefix(prefix).decode("ascii")
                break
        else:
            return False
        crl = await self._pool.run(self._folder.take_shared, der, issuer.certificate, list, part)
        state = self._state(issuer)
        records = await self._store.crl_parts(issuer.id)
        if not state.publishing:
            state.published[part] = replace(crl, last_change=_last_change(crl, records.get(part)))
        return True


def _shared_name(issuer: IssuingCA, part: str) -> bytes:
    """Return the name under which nodes share a part, in place of the issuer's key identifier."""
    return issuer.key_identifier + b"-" + part.encode("ascii")


def _last_change(crl: PublishedCRL, record: PartRecord | None) -> int:
    return record.last_change if record is not None and record.number == crl.number else -1


def signed_crl(issuer: IssuingCA, tbs: bytes, signature: bytes) -> bytes:
    """Return the DER after verifying the signature.  Blocks: called in a worker thread."""
    try:
        verify_signature(issuer.key, issuer.signer.algorithm, signature, tbs)
    except PikachuError as error:
        raise SignerUnavailable("the signer gave a CRL signature that does not verify") from error
    return assemble_crl(tbs, issuer.signer.algorithm, signature)


def log_failure(issuer: IssuingCA, failure: Failure) -> None:
    """Log that a CRL was not made."""
    error = failure.value
    context = error.context if isinstance(error, PikachuError) else {}
    log.error(
        "The CRL of {issuer} was not made: {error} {context}",
        issuer=issuer.name,
        error=failure.getErrorMessage(),
        context=context,
    )
