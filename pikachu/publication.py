"""CRLs: made on each revocation and on schedule, numbered strictly upwards, published atomically (RFC 5280 section 5).

A CRL's entries were encoded when their certificates were revoked.  For each issuer their concatenation is kept and
only what is new is appended, so that a revocation costs the same with ten entries as with a million; the list
itself is put together, signed and written in a worker thread.  Files: ``<key identifier>.crl`` (DER) and
``.pem`` in one folder, and for MQTT brokers the PEM of the default CA at ``crl_path``, the others beside it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.authority import IssuingCA, IssuingCAs
from pikachu.errors import MalformedRequest, NotFound, PikachuError, SignerUnavailable, StoreUnavailable
from pikachu.interfaces import IClock, IDelayedCall, IStore, IWorkerPool
from pikachu.model import CRLRecord, StatusChange, utc
from pikachu.threads import start
from pikachu.x509.crl import assemble_crl, crl_pem, parse_crl_summary, tbs_cert_list
from pikachu.x509.signature import verify_signature

log = Logger()

_RETRY = 10.0


@dataclass(frozen=True, slots=True)
class CRLSettings:
    """What the configuration says about CRLs.

    :param validity: seconds from thisUpdate to nextUpdate.
    :param delay: seconds by which a revocation waits for others before a CRL is made.
    :param folder: where every issuer's CRLs are.
    :param broker_path: ``crl_path``; ``None`` writes none.
    """

    validity: int
    delay: float
    folder: Path
    broker_path: Path | None


@dataclass(frozen=True, slots=True)
class PublishedCRL:
    """A CRL as it lies in its files.

    :ivar etag: SHA-256 of the DER, hex.
    """

    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    last_change: int
    etag: str
    der_path: Path
    pem_path: Path
    size: int


@dataclass(slots=True)
class _List:
    """What is known of one issuer's CRL; *body* and *count* are ``None`` until they are first needed."""

    body: bytearray | None = None
    count: int = 0
    last_change: int = 0
    published: PublishedCRL | None = None
    due: IDelayedCall | None = None
    urgent: bool = False
    making: bool = False
    again: bool = False
    wanted: int = 0


class CRLPublisher:
    """Makes and publishes the CRL of every issuing CA in service."""

    def __init__(
        self, clock: IClock, store: IStore, issuers: IssuingCAs, pool: IWorkerPool, settings: CRLSettings
    ) -> None:
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._pool = pool
        self._settings = settings
        self._lists: dict[int, _List] = {}
        self._subscribers: list[Callable[[IssuingCA, PublishedCRL], None]] = []

    def subscribe(self, told: Callable[[IssuingCA, PublishedCRL], None]) -> None:
        """Call *told* after each publication."""
        self._subscribers.append(told)

    def paths(self, issuer: IssuingCA) -> tuple[Path, Path]:
        """(DER, PEM) of an issuer's CRL."""
        stem = issuer.key_identifier.hex()
        return self._settings.folder / f"{stem}.crl", self._settings.folder / f"{stem}.pem"

    def published(self, issuer: IssuingCA) -> PublishedCRL:
        """The newest CRL of an issuer.

        :raises NotFound: when none was made yet.
        """
        known = self._lists.get(issuer.id)
        if known is None or known.published is None:
            raise NotFound("this CA has published no CRL yet")
        return known.published

    def _list(self, issuer: IssuingCA) -> _List:
        return self._lists.setdefault(issuer.id, _List())

    # --- when ---------------------------------------------------------------------------

    def begin(self) -> Deferred[None]:
        """At start: take over what is published, and make what is missing, outdated or about to run out."""

        async def work() -> None:
            for issuer in self._issuers.all():
                if self._clock.seconds() > issuer.certificate.not_after.timestamp():
                    continue
                try:
                    await self._take_over(issuer)
                except PikachuError as error:
                    log.error("The CRL of {issuer}: {error}", issuer=issuer.name, error=error.public)
                    self._later(issuer, _RETRY)

        return start(work())

    async def _take_over(self, issuer: IssuingCA) -> None:
        state = self._list(issuer)
        record = await self._store.last_crl(issuer.id)
        state.published = await self._pool.run(self._read_published, issuer, record)
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
        """In a thread: the file as it is, when it is a CRL that this issuer has signed."""
        der_path, pem_path = self.paths(issuer)
        try:
            data = der_path.read_bytes()
            summary = parse_crl_summary(data)
            if summary.issuer_der != issuer.certificate.subject_der or summary.number is None:
                raise MalformedRequest("it is another issuer's CRL")
            verify_signature(issuer.key, summary.algorithm, summary.signature, bytes(summary.tbs))
        except FileNotFoundError:
            return None
        except (OSError, PikachuError) as error:
            log.warn("{path} is not used: {error}", path=str(der_path), error=str(error))
            return None
        known = record is not None and record.number == summary.number and pem_path.exists()
        return PublishedCRL(
            summary.number,
            summary.this_update,
            summary.next_update or summary.this_update,
            summary.entries,
            record.last_change if known and record is not None else -1,
            hashlib.sha256(data).hexdigest(),
            der_path,
            pem_path,
            len(data),
        )

    def changed(self, changes: Iterable[StatusChange]) -> None:
        """Revocations and releases, of this process or another: a CRL follows after the settled delay."""
        for change in changes:
            issuer = self._issuers.by_id(change.issuer_id)
            if issuer is None:
                continue
            state = self._list(issuer)
            if change.id <= max(state.last_change, state.wanted):
                continue
            state.wanted = change.id
            if state.making:
                state.again = True
            elif not state.urgent:
                self._later(issuer, self._settings.delay)

    def _later(self, issuer: IssuingCA, delay: float) -> None:
        self._call(issuer, delay, self._due, urgent=True)

    def _call(self, issuer: IssuingCA, delay: float, what: Callable[[IssuingCA], None], *, urgent: bool) -> None:
        state = self._list(issuer)
        if state.due is not None and state.due.active():
            state.due.cancel()
        state.urgent = urgent
        state.due = self._clock.callLater(delay, what, issuer)

    def _due(self, issuer: IssuingCA) -> None:
        def failed(failure: object) -> None:
            log.error("The CRL of {issuer} was not made: {failure}", issuer=issuer.name, failure=str(failure))
            self._later(issuer, _RETRY)

        self._list(issuer).urgent = False
        self.make(issuer).addErrback(failed)

    def _schedule(self, issuer: IssuingCA) -> None:
        """The next one on schedule: when a quarter of the validity is left."""
        published = self._list(issuer).published
        if published is None:
            return
        quarter = (published.next_update - published.this_update) / 4
        delay = (published.next_update - quarter).timestamp() - self._clock.seconds()
        # callLater counts by a clock that may be set: look at least once an hour.
        self._call(issuer, min(max(delay, 0.0), 3600.0), self._check, urgent=False)

    def _check(self, issuer: IssuingCA) -> None:
        published = self._list(issuer).published
        if published is not None:
            quarter = (published.next_update - published.this_update) / 4
            if utc(self._clock.seconds()) < published.next_update - quarter:
                self._schedule(issuer)
                return
        self._due(issuer)

    def stop(self) -> None:
        """Cancel what is scheduled."""
        for state in self._lists.values():
            if state.due is not None and state.due.active():
                state.due.cancel()

    # --- how ----------------------------------------------------------------------------

    def make(self, issuer: IssuingCA) -> Deferred[PublishedCRL]:
        """Make and publish a CRL now.  A failure leaves the one before in place.

        Fails with SignerUnavailable, StoreUnavailable, or NotFound when the CA has expired.
        """
        return start(self._make(issuer))

    async def _make(self, issuer: IssuingCA) -> PublishedCRL:
        state = self._list(issuer)
        if state.making:
            state.again = True
            waiting: Deferred[PublishedCRL] = Deferred()

            def told(of: IssuingCA, crl: PublishedCRL) -> None:
                if of is issuer and not waiting.called:
                    self._subscribers.remove(told)
                    waiting.callback(crl)

            self._subscribers.append(told)
            return await waiting
        state.making = True
        try:
            made = await self._make_one(issuer, state)
        finally:
            state.making = False
            if state.again:
                state.again = False
                self._later(issuer, self._settings.delay)
            else:
                self._schedule(issuer)
        for subscriber in tuple(self._subscribers):
            subscriber(issuer, made)
        return made

    async def _make_one(self, issuer: IssuingCA, state: _List) -> PublishedCRL:
        now = utc(self._clock.seconds())
        if now >= issuer.certificate.not_after:
            raise NotFound(f"the issuing CA {issuer.name} has expired and signs no CRL any more")
        await self._gather(issuer, state)
        before = state.published
        if before is None:
            above = await self._pool.run(_number_in, self.paths(issuer)[0])
        else:
            above = before.number
        number = await self._store.next_crl_number(issuer.id, above)
        next_update = min(now + timedelta(seconds=self._settings.validity), issuer.certificate.not_after)
        entries = state.body or bytearray()
        tbs = await self._pool.run(
            tbs_cert_list,
            algorithm=issuer.signer.algorithm,
            issuer_der=issuer.certificate.subject_der,
            this_update=now,
            next_update=next_update,
            entries=entries,
            number=number,
            authority_key_identifier=issuer.key_identifier,
        )
        signature = await issuer.signer.sign(tbs)
        crl = PublishedCRL(number, now, next_update, state.count, state.last_change, "", *self.paths(issuer), 0)
        published = await self._pool.run(self._write, issuer, tbs, signature, crl)
        state.published = published
        await self._store.record_crl(
            CRLRecord(issuer.id, number, now, next_update, published.entries, published.last_change)
        )
        log.info(
            "Published CRL {number} of {issuer} with {entries} entries",
            number=number,
            issuer=issuer.name,
            entries=published.entries,
        )
        return published

    async def _gather(self, issuer: IssuingCA, state: _List) -> None:
        """Bring the kept entries up to date."""
        published = state.published
        if published is not None:
            # An entry has to be on one CRL that was made after its certificate's end (RFC 5280 section 3.3).
            dropped = await self._store.drop_listed_expired(issuer.id, published.this_update)
            if dropped:
                state.body = None
        found = None
        if state.body is not None:
            found = await self._store.crl_entries(issuer.id, state.last_change)
        if found is None:
            state.body = None
            found = await self._store.crl_entries(issuer.id, 0)
            if found is None:
                raise StoreUnavailable("the entries of the CRL can't be read")
        last_change, count, entries = found
        if state.body is None:
            state.body, state.count = bytearray(entries), count
        elif count:
            state.body += entries
            state.count += count
        state.last_change = max(last_change, state.last_change)

    def _write(self, issuer: IssuingCA, tbs: bytes, signature: bytes, crl: PublishedCRL) -> PublishedCRL:
        """In a thread: check the signature, then replace the files, the DER last."""
        try:
            verify_signature(issuer.key, issuer.signer.algorithm, signature, tbs)
        except PikachuError as error:
            raise SignerUnavailable("the signer gave a CRL signature that does not verify") from error
        der = assemble_crl(tbs, issuer.signer.algorithm, signature)
        armoured = crl_pem(der)
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        _replace(crl.pem_path, armoured)
        _replace(crl.der_path, der)
        broker = self._settings.broker_path
        if broker is not None and self._issuers.current.get(issuer.name) is issuer:
            is_default = issuer is self._issuers.default
            path = broker if is_default else broker.with_name(f"{broker.stem}-{issuer.name}{broker.suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, armoured)
        return PublishedCRL(
            crl.number,
            crl.this_update,
            crl.next_update,
            crl.entries,
            crl.last_change,
            hashlib.sha256(der).hexdigest(),
            crl.der_path,
            crl.pem_path,
            len(der),
        )


def _number_in(path: Path) -> int:
    """The CRL number in a published file, 0 when there is none: the database may be an older copy (C4)."""
    try:
        return parse_crl_summary(path.read_bytes()).number or 0
    except (OSError, PikachuError):
        return 0


def _replace(path: Path, content: bytes) -> None:
    """Put *content* at *path*; a reader sees the former or the new one, whole, also after a power cut."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
