"""The validation authority (VA): certificate status for OCSP and the status pages.

It reads the database and uses keys of its own (delegated responders); it never enters the code of RA and CA.
Responses without a nonce are signed once and cached until the status changes, half of their validity has passed, or
the cache is full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.offline import OfflineCA, OfflineCAs
from pikachu.ca.service_certificates import OCSP, ServiceCertificates
from pikachu.core.cache import BoundedCache
from pikachu.core.errors import (
    IssuanceFailed,
    MalformedRequest,
    NotAuthorized,
    RequestError,
    SignerUnavailable,
    UnknownSerial,
)
from pikachu.core.interfaces import ICertificateReader, IClock
from pikachu.core.model.certificates import SERIAL_END, CertificateRecord, CertificateStatus, StatusChange, StatusRecord
from pikachu.core.model.times import utc
from pikachu.signers.key import KeySigner
from pikachu.x509.certificate import parse_certificate, public_key_bits
from pikachu.x509.ocsp import (
    GOOD,
    UNKNOWN,
    CertID,
    IssuerHashes,
    assemble,
    responder_by_key,
    response_data,
    revoked,
    single_response,
)
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

log = Logger()

# thisUpdate is a little in the past, since clients' clocks differ.
BACKDATE = timedelta(minutes=5)
_MAX_STATUSES: Final = 100_000
# Bytes of a cached response besides its DER.
_OVERHEAD: Final = 500


@dataclass(frozen=True, slots=True)
class OCSPSettings:
    """The configuration of the OCSP responder.

    :param validity: seconds from thisUpdate to nextUpdate.
    :param delegated: sign with a responder certificate; otherwise with the issuing key itself.
    :param foreign_unknown: answer ``unknown`` for the certificates of other CAs, instead of ``unauthorized``.
    :param cache_bytes: maximum size of the cached responses, in bytes.
    """

    validity: int = 7 * 86400
    delegated: bool = True
    foreign_unknown: bool = False
    cache_bytes: int = 32 * 1024 * 1024


#: What responses say, for metrics: the status of one certificate, or of several.
RESULTS: Final = ("good", "revoked", "unknown", "several")


@dataclass(slots=True)
class OCSPAnswer:
    """A signed OCSPResponse.

    :ivar cacheable: whether HTTP caches may store it; not with a nonce or several certificates.
    :ivar made_at: time of signing, in seconds since 1970.
    :ivar refresh_at: time at which a new response is due, in seconds since 1970.
    :ivar result: one of :data:`RESULTS`.
    :ivar dropped: the status has changed, so the response must not be sent any more.
    """

    der: bytes
    this_update: datetime
    next_update: datetime
    cacheable: bool
    made_at: float
    refresh_at: float
    result: str = "several"
    dropped: bool = False

    def is_fresh(self, now: float) -> bool:
        """Return whether the response may be sent again; not when the clock was set back to before its signing."""
        return self.made_at <= now < self.refresh_at and not self.dropped


@dataclass(slots=True)
class _Status:
    """The CertStatus of one certificate, and its SingleResponses for the current period."""

    status: bytes
    singles: dict[bytes, tuple[datetime, bytes]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Query:
    """A status query in progress.

    :ivar stale: the status has changed since the query began, so its result must not be used.
    """

    stale: bool = False


class _Period(NamedTuple):
    """The times of responses that are signed in one second."""

    second: int
    produced_at: datetime
    this_update: datetime
    next_update: datetime


@dataclass(slots=True)
class _Responder:
    """The OCSP signer of one issuing CA.

    :ivar period: of its newest response.
    """

    signer: KeySigner
    responder_id: bytes
    certificates: tuple[bytes, ...]
    not_after: datetime
    period: _Period | None = None


class OCSPResponder:
    """Answers OCSP requests for all issuing CAs in service (RFC 6960).

    :param offline: the CAs whose keys are elsewhere, for which installed responders answer.
    :ivar signed: numbers of responses that were signed, by their result.
    :ivar hits: numbers of responses from the cache, by their result.
    """

    def __init__(
        self,
        clock: IClock,
        store: ICertificateReader,
        issuers: IssuingCAs,
        credentials: ServiceCertificates,
        settings: OCSPSettings,
        offline: OfflineCAs | None = None,
    ) -> None:
        self.signed = dict.fromkeys(RESULTS, 0)
        self.hits = dict.fromkeys(RESULTS, 0)
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._credentials = credentials
        self._offline = offline
        self._settings = settings
        self._statuses: BoundedCache[tuple[int, int], _Status] = BoundedCache(_MAX_STATUSES)
        self._by_key: dict[tuple[str, bytes, bytes], tuple[IssuingCA | OfflineCA, IssuerHashes]] = {}
        self._installed: dict[int, _Responder] = {}
        self._queries: dict[tuple[int, int], set[_Query]] = {}
        self._answers: BoundedCache[bytes, tuple[tuple[int, int], OCSPAnswer]] = BoundedCache(
            size=settings.cache_bytes, measure=lambda _, entry: len(entry[1].der) + _OVERHEAD, removed=self._dropped
        )
        self._cert_ids: dict[tuple[int, int], set[bytes]] = {}
        self._responders: dict[tuple[int, bytes], _Responder] = {}
        self.refresh_issuers()

    def refresh_issuers(self) -> None:
        """Index the issuing CAs by their hashes again; called when the set of CAs has changed."""
        by_key = {}
        cas: list[IssuingCA | OfflineCA] = [*self._issuers.all()]
        if self._offline is not None:
            cas += self._offline.all()
        for issuer in cas:
            hashes = IssuerHashes(issuer.certificate.subject_der, public_key_bits(issuer.certificate.spki_der))
            for key in hashes.keys:
                by_key[key] = (issuer, hashes)
        self._by_key = by_key

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Answer for a generation that entered service, and issue its responder certificate."""
        self.refresh_issuers()

        def failed(failure: Failure) -> None:
            log.error(
                "No OCSP responder for {issuer} yet: {error}", issuer=issuer.name, error=failure.getErrorMessage()
            )

        Deferred.fromCoroutine(self._responder(issuer)).addErrback(failed)

    # --- answering ----------------------------------------------------------------------

    def cached_answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> OCSPAnswer | None:
        """Return a cached or quickly signed response, or None when it needs the database or a slow signature."""
        if len(cert_ids) != 1:
            return None
        cert_id = cert_ids[0]
        now = self._clock.seconds()
        if nonce is None:
            cached = self._answers.get(cert_id.der)
            if cached is not None and cached[1].is_fresh(now):
                self.hits[cached[1].result] += 1
                return cached[1]
        known = self._by_key.get(cert_id.issuer_key)
        if known is None:
            return None
        issuer = known[0]
        key = (issuer.id, cert_id.serial)
        status = self._statuses.get(key)
        if status is None:
            return None
        responder = self._cached_responder(issuer)
        if responder is None or responder.not_after.timestamp() <= now:
            return None
        tbs, this_update, next_update = self._to_be_signed(responder, [(cert_id, status)], nonce, now)
        signature = responder.signer.try_sign(tbs)
        if signature is None:
            return None
        answer = self._finish(
            responder, tbs, signature, (this_update, next_update, now), key if nonce is None else None, cert_id.der
        )
        return self._count(answer, [status])

    def answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> Deferred[OCSPAnswer]:
        """Return the response to a request.

        Fails with NotAuthorized when no issuer in service issued any of the certificates, and with Unavailable.
        """
        return Deferred.fromCoroutine(self._answer(cert_ids, nonce))

    async def _answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> OCSPAnswer:
        issuer = next((self._by_key[one.issuer_key][0] for one in cert_ids if one.issuer_key in self._by_key), None)
        if issuer is None:
            if not self._settings.foreign_unknown:
                raise NotAuthorized("the certificate is of another authority")
            issuer = self._issuers.default
        cached = self.cached_answer(cert_ids, nonce)
        if cached is not None:
            return cached
        responder = await self._responder(issuer)
        while True:
            # A status change during the signature makes the response wrong: query again.
            queries = []
            statuses = []
            try:
                for cert_id in cert_ids:
                    known = self._by_key.get(cert_id.issuer_key)
                    if known is None or known[0] is not issuer:
                        statuses.append(_Status(UNKNOWN))
                        continue
                    key = (issuer.id, cert_id.serial)
                    query = _Query()
                    queries.append((key, query))
                    self._queries.setdefault(key, set()).add(query)
                    statuses.append(await self._look_up(key, query))
                now = self._clock.seconds()
                requested = list(zip(cert_ids, statuses, strict=True))
                tbs, this_update, next_update = self._to_be_signed(responder, requested, nonce, now)
                try:
                    signature = await responder.signer.sign(tbs)
                except SignerUnavailable:
                    previous = self._valid_answer(cert_ids, nonce, now)
                    if previous is None:
                        raise
                    return previous
                if any(query.stale for _, query in queries):
                    continue
            finally:
                for key, query in queries:
                    waiting = self._queries.get(key)
                    if waiting is not None:
                        waiting.discard(query)
                        if not waiting:
                            del self._queries[key]
            cache_key = queries[0][0] if nonce is None and len(cert_ids) == 1 and queries else None
            if cache_key is not None and statuses[0].status == UNKNOWN:
                # Clients can request any number of serials that were never issued, so those are not cached.
                cache_key = None
            period = (this_update, next_update, now)
            answer = self._finish(responder, tbs, signature, period, cache_key, cert_ids[0].der)
            return self._count(answer, statuses)

    def _count(self, answer: OCSPAnswer, statuses: Sequence[_Status]) -> OCSPAnswer:
        """Note what a signed response says, and count it."""
        if len(statuses) == 1:
            status = statuses[0].status
            answer.result = "good" if status == GOOD else "unknown" if status == UNKNOWN else "revoked"
        self.signed[answer.result] += 1
        return answer

    def _valid_answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None, now: float) -> OCSPAnswer | None:
        """Return the cached response that is due for renewal, while it is valid and its status has not changed."""
        cached = self._answers.get(cert_ids[0].der) if nonce is None and len(cert_ids) == 1 else None
        if cached is None or cached[1].dropped or not cached[1].made_at <= now < cached[1].next_update.timestamp():
            return None
        return cached[1]

    async def _look_up(self, key: tuple[int, int], query: _Query) -> _Status:
        cached = self._statuses.get(key)
        if cached is not None:
            return cached
        if not 0 < key[1] < SERIAL_END:
            return _Status(UNKNOWN)
        record = await self._store.status(*key)
        status = _Status(_status_of(record))
        if record is not None and status.status != UNKNOWN and not query.stale:
            self._statuses.put(key, status)
        return status

    def _to_be_signed(
        self, responder: _Responder, requested: Iterable[tuple[CertID, _Status]], nonce: bytes | None, now: float
    ) -> tuple[bytes, datetime, datetime]:
        _, produced_at, this_update, next_update = self._period(responder, int(now))
        singles = []
        for cert_id, status in requested:
            cached = status.singles.get(cert_id.der)
            if cached is None or cached[0] != this_update:
                cached = (this_update, single_response(cert_id.der, status.status, this_update, next_update))
                if len(status.singles) > 8:
                    status.singles.clear()
                status.singles[cert_id.der] = cached
            singles.append(cached[1])
        return response_data(responder.responder_id, produced_at, singles, nonce=nonce), this_update, next_update

    def _period(self, responder: _Responder, second: int) -> _Period:
        period = responder.period
        if period is not None and period.second == second:
            return period
        produced_at = utc(second)
        next_update = min(produced_at + timedelta(seconds=self._settings.validity), responder.not_after)
        if next_update <= produced_at:
            raise IssuanceFailed("there is no valid certificate left to sign OCSP answers with")
        responder.period = period = _Period(second, produced_at, produced_at - BACKDATE, next_update)
        return period

    def _finish(
        self,
        responder: _Responder,
        tbs: bytes,
        signature: bytes,
        period: tuple[datetime, datetime, float],
        cache_key: tuple[int, int] | None,
        cert_id: bytes,
    ) -> OCSPAnswer:
        der = assemble(tbs, responder.signer.algorithm, signature, responder.certificates)
        this_update, next_update, now = period
        half = now + (next_update.timestamp() - now) / 2
        answer = OCSPAnswer(der, this_update, next_update, cache_key is not None, now, half)
        if cache_key is not None:
            self._cache(cert_id, cache_key, answer)
        return answer

    # --- cache --------------------------------------------------------------------------

    def _cache(self, cert_id: bytes, key: tuple[int, int], answer: OCSPAnswer) -> None:
        self._cert_ids.setdefault(key, set()).add(cert_id)
        self._answers.put(cert_id, (key, answer))

    def _dropped(self, cert_id: bytes, entry: tuple[tuple[int, int], OCSPAnswer]) -> None:
        key, answer = entry
        answer.dropped = True
        cert_ids = self._cert_ids[key]
        cert_ids.discard(cert_id)
        if not cert_ids:
            del self._cert_ids[key]

    def forget(self, changes: Iterable[StatusChange]) -> None:
        """Drop the cached responses of certificates that were revoked or released."""
        for change in changes:
            # A responder of an offline CA is installed by such a change.
            self._installed.pop(change.issuer_id, None)
            key = (change.issuer_id, change.serial)
            self._statuses.pop(key)
            for query in self._queries.get(key, ()):
                query.stale = True
            for cert_id in tuple(self._cert_ids.get(key, ())):
                self._answers.pop(cert_id)

    @property
    def cache_bytes(self) -> int:
        """Maximum size of the cached responses, in bytes."""
        return self._settings.cache_bytes

    @property
    def cache_usage(self) -> tuple[int, int]:
        """The number of cached responses and their size in bytes."""
        return len(self._answers), self._answers.size

    def responder_certificates(self) -> list[tuple[IssuingCA | OfflineCA, datetime]]:
        """Return the CAs whose responders have certificates of their own, with the ends of those in use."""
        used = {issuer_id: one.not_after for (issuer_id, _), one in self._responders.items() if one.certificates}
        used |= {issuer_id: one.not_after for issuer_id, one in self._installed.items()}
        cas: list[IssuingCA | OfflineCA] = [*self._issuers.all()]
        if self._offline is not None:
            cas += self._offline.all()
        return [(ca, used[ca.id]) for ca in cas if ca.id in used]

    # --- responders ---------------------------------------------------------------------

    def prove(self, issuer: IssuingCA) -> Deferred[None]:
        """Sign and verify an empty response as a readiness check.  Fails with Unavailable and IssuanceFailed."""

        async def work() -> None:
            responder = await self._responder(issuer)
            now = self._clock.seconds()
            tbs, _, _ = self._to_be_signed(responder, (), None, now)
            signature = await responder.signer.sign(tbs)
            key = describe_spki(parse_certificate(responder.signer.certificate).spki_der)
            verify_signature(key, responder.signer.algorithm, signature, tbs, failure=SignerUnavailable)

        return Deferred.fromCoroutine(work())

    def _cached_responder(self, issuer: IssuingCA | OfflineCA) -> _Responder | None:
        if isinstance(issuer, OfflineCA):
            return self._installed.get(issuer.id)
        own = self._own_responder(issuer)
        if own is not None:
            return own
        credential = self._credentials.try_get(issuer, OCSP)
        if credential is None:
            return None
        return self._delegated_responder(issuer, credential.signer, credential.key.key_octets, credential.not_after)

    async def _responder(self, issuer: IssuingCA | OfflineCA) -> _Responder:
        if isinstance(issuer, OfflineCA):
            return await self._installed_responder(issuer)
        own = self._own_responder(issuer)
        if own is not None:
            return own
        try:
            credential = await self._credentials.get(issuer, OCSP)
        except RequestError as error:
            # The client's request is valid: this CA can't certify a responder any more.
            raise IssuanceFailed(f"no OCSP responder for {issuer.name}: {error.public}") from error
        return self._delegated_responder(issuer, credential.signer, credential.key.key_octets, credential.not_after)

    async def _installed_responder(self, issuer: OfflineCA) -> _Responder:
        responder = self._installed.get(issuer.id)
        if responder is not None and self._clock.seconds() < responder.not_after.timestamp():
            return responder
        credential = None if self._offline is None else await self._offline.responder(issuer)
        if credential is None:
            raise NotAuthorized("no OCSP responder of this CA is installed")
        signer, name = credential.signer, responder_by_key(_sha1(credential.key.key_octets))
        responder = _Responder(signer, name, (signer.certificate,), credential.not_after)
        self._installed[issuer.id] = responder
        return responder

    def _own_responder(self, issuer: IssuingCA) -> _Responder | None:
        signer = issuer.signer
        # A revoked CA issues nothing any more, not even a responder's certificate.
        delegated = self._settings.delegated and issuer.revoked_at is None
        if delegated or not isinstance(signer, KeySigner):
            return None
        return self._get_or_create_responder(issuer, signer, issuer.key.key_octets, (), issuer.certificate.not_after)

    def _delegated_responder(
        self, issuer: IssuingCA, signer: KeySigner, bits: bytes, not_after: datetime
    ) -> _Responder:
        return self._get_or_create_responder(issuer, signer, bits, (signer.certificate,), not_after)

    def _get_or_create_responder(
        self, issuer: IssuingCA, signer: KeySigner, bits: bytes, certificates: tuple[bytes, ...], not_after: datetime
    ) -> _Responder:
        key = (issuer.id, signer.certificate)
        responder = self._responders.get(key)
        if responder is None:
            for other in [other for other in self._responders if other[0] == issuer.id]:
                del self._responders[other]
            responder = _Responder(signer, responder_by_key(_sha1(bits)), certificates, not_after)
            self._responders[key] = responder
        return responder

    def prepare(self) -> Deferred[None]:
        """Issue missing responder certificates and load installed ones, so that the first client does not wait."""

        async def work() -> None:
            for issuer in self._issuers.all():
                await self._responder(issuer)
            for ca in () if self._offline is None else self._offline.all():
                with suppress(NotAuthorized):
                    await self._installed_responder(ca)

        return Deferred.fromCoroutine(work())


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _status_of(record: StatusRecord | None) -> bytes:
    """Return the DER CertStatus; a certificate deleted without having been revoked is unknown (CRT-6)."""
    if record is None:
        return UNKNOWN
    if record.revoked_at is not None:
        return revoked(record.revoked_at, record.reason)
    return UNKNOWN if record.deleted else GOOD


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The answer of ``/status/<serial>`` (CRT-8); *record* is ``None`` when there is no such certificate."""

    serial: int
    status: CertificateStatus | None
    record: CertificateRecord | None


class CertificateStatusReader:
    """Reads certificate status and lists for people and scripts, over the read-only database connection."""

    def __init__(self, clock: IClock, store: ICertificateReader) -> None:
        self._clock = clock
        self._store = store

    def status(self, serial: int) -> Deferred[StatusAnswer]:
        """Return the status of a serial; a certificate deleted without having been revoked is not reported."""

        async def work() -> StatusAnswer:
            try:
                record = await self._store.certificate_by_serial(serial, deleted=True)
            except UnknownSerial:
                return StatusAnswer(serial, None, None)
            if record.deleted_at is not None and record.revoked_at is None:
                return StatusAnswer(serial, None, None)
            return StatusAnswer(serial, record.status(utc(self._clock.seconds())), record)

        return Deferred.fromCoroutine(work())

    def expired_ids(self, after: int, limit: int) -> Deferred[list[int]]:
        """Return the ids of expired certificates above *after*, ascending.

        :raises MalformedRequest: when the limit is not 1 to 10,000.
        """
        if not 1 <= limit <= 10_000 or after < 0:
            raise MalformedRequest("limit is 1 to 10000, after is an id")
        return self._store.expired_ids(utc(self._clock.seconds()), after, limit)
