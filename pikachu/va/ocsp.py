"""The validation authority (VA): what a certificate is worth, as OCSP and the status pages tell it.

It reads the database and holds keys of its own (delegated responders); it never enters the code of RA and CA.
Answers without a nonce are signed once and kept until the status changes, they are half as old as they may
get, or the memory for them is full.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.issuance import IssuingCA, IssuingCAs
from pikachu.ca.service_certificates import OCSP, ServiceCertificates
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

# Clients' clocks differ: an answer begins a little before it is made.
BACKDATE = timedelta(minutes=5)
_STATUSES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class OCSPSettings:
    """What the configuration says about OCSP.

    :param validity: seconds from thisUpdate to nextUpdate.
    :param delegated: answer with a responder certificate; else with the issuing key itself.
    :param foreign_unknown: answer ``unknown`` for issuers that are not ours, instead of ``unauthorized``.
    :param cache_bytes: how much memory signed answers may take.
    """

    validity: int = 7 * 86400
    delegated: bool = True
    foreign_unknown: bool = False
    cache_bytes: int = 32 * 1024 * 1024


@dataclass(slots=True)
class OCSPAnswer:
    """A signed OCSPResponse.

    :ivar cacheable: by HTTP caches; not when it holds a nonce or several certificates.
    :ivar made_at: seconds since 1970.
    :ivar refresh_at: seconds since 1970 at which a new one is due.
    :ivar dropped: the status has changed: it must not be given to anyone any more.
    """

    der: bytes
    this_update: datetime
    next_update: datetime
    cacheable: bool
    made_at: float
    refresh_at: float
    dropped: bool = False

    def is_fresh(self, now: float) -> bool:
        """Whether it may be given to another client; not when the clock was set back behind its beginning."""
        return self.made_at <= now < self.refresh_at and not self.dropped


@dataclass(slots=True)
class _Status:
    """The CertStatus of one certificate, and the SingleResponses made from it in the current period."""

    status: bytes
    singles: dict[bytes, tuple[datetime, bytes]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Look:
    """A look into the database that is under way; what it finds is worth nothing once a change came in between."""

    stale: bool = False


@dataclass(frozen=True, slots=True)
class _Responder:
    """Who signs for one issuing CA."""

    signer: KeySigner
    responder_id: bytes
    certificates: tuple[bytes, ...]
    not_after: datetime


class OCSPResponder:
    """Answers OCSP requests for all issuing CAs in service (RFC 6960)."""

    def __init__(
        self,
        clock: IClock,
        store: ICertificateReader,
        issuers: IssuingCAs,
        credentials: ServiceCertificates,
        settings: OCSPSettings,
    ) -> None:
        self._clock = clock
        self._store = store
        self._issuers = issuers
        self._credentials = credentials
        self._settings = settings
        self._by_key: dict[tuple[str, bytes, bytes], tuple[IssuingCA, IssuerHashes]] = {}
        self._statuses: OrderedDict[tuple[int, int], _Status] = OrderedDict()
        self._looks: dict[tuple[int, int], set[_Look]] = {}
        self._answers: OrderedDict[bytes, tuple[tuple[int, int], OCSPAnswer]] = OrderedDict()
        self._answer_bytes = 0
        self._asked: dict[tuple[int, int], set[bytes]] = {}
        self._responders: dict[tuple[int, bytes], _Responder] = {}
        self.refresh_issuers()

    def refresh_issuers(self) -> None:
        """The set of issuing CAs has changed."""
        by_key = {}
        for issuer in self._issuers.all():
            hashes = IssuerHashes(issuer.certificate.subject_der, public_key_bits(issuer.certificate.spki_der))
            for key in hashes.keys:
                by_key[key] = (issuer, hashes)
        self._by_key = by_key

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Answer for a generation that has come into service, and make its responder certificate."""
        self.refresh_issuers()

        def failed(failure: Failure) -> None:
            log.error(
                "No OCSP responder for {issuer} yet: {error}", issuer=issuer.name, error=failure.getErrorMessage()
            )

        Deferred.fromCoroutine(self._responder(issuer)).addErrback(failed)

    # --- answering ----------------------------------------------------------------------

    def cached_answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> OCSPAnswer | None:
        """The answer, when all that it takes is in memory and the signature is a quick one; else ``None``."""
        if len(cert_ids) != 1:
            return None
        cert_id = cert_ids[0]
        now = self._clock.seconds()
        if nonce is None:
            kept = self._answers.get(cert_id.der)
            if kept is not None and kept[1].is_fresh(now):
                self._answers.move_to_end(cert_id.der)
                return kept[1]
        found = self._by_key.get(cert_id.issuer_key)
        if found is None:
            return None
        issuer = found[0]
        key = (issuer.id, cert_id.serial)
        status = self._statuses.get(key)
        if status is None:
            return None
        responder = self._responder_at_once(issuer)
        if responder is None or responder.not_after.timestamp() <= now:
            return None
        tbs, this_update, next_update = self._to_be_signed(responder, [(cert_id, status)], nonce, now)
        signature = responder.signer.try_sign(tbs)
        if signature is None:
            return None
        return self._finish(
            responder, tbs, signature, (this_update, next_update, now), key if nonce is None else None, cert_id.der
        )

    def answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> Deferred[OCSPAnswer]:
        """The answer to a request.

        Fails with NotAuthorized when none of the certificates is of an issuer in service, and with Unavailable.
        """
        return Deferred.fromCoroutine(self._answer(cert_ids, nonce))

    async def _answer(self, cert_ids: tuple[CertID, ...], nonce: bytes | None) -> OCSPAnswer:
        issuer = next((self._by_key[one.issuer_key][0] for one in cert_ids if one.issuer_key in self._by_key), None)
        if issuer is None:
            if not self._settings.foreign_unknown:
                raise NotAuthorized("the certificate is of another authority")
            issuer = self._issuers.default
        at_once = self.cached_answer(cert_ids, nonce)
        if at_once is not None:
            return at_once
        responder = await self._responder(issuer)
        while True:
            # A change while a signature is under way makes the answer worthless: look again.
            looks = []
            statuses = []
            try:
                for cert_id in cert_ids:
                    found = self._by_key.get(cert_id.issuer_key)
                    if found is None or found[0] is not issuer:
                        statuses.append(_Status(UNKNOWN))
                        continue
                    key = (issuer.id, cert_id.serial)
                    look = _Look()
                    looks.append((key, look))
                    self._looks.setdefault(key, set()).add(look)
                    statuses.append(await self._look_up(key, look))
                now = self._clock.seconds()
                asked = list(zip(cert_ids, statuses, strict=True))
                tbs, this_update, next_update = self._to_be_signed(responder, asked, nonce, now)
                signature = await responder.signer.sign(tbs)
                if any(look.stale for _, look in looks):
                    continue
            finally:
                for key, look in looks:
                    waiting = self._looks.get(key)
                    if waiting is not None:
                        waiting.discard(look)
                        if not waiting:
                            del self._looks[key]
            keep = looks[0][0] if nonce is None and len(cert_ids) == 1 and looks else None
            if keep is not None and statuses[0].status == UNKNOWN:
                # Anybody can ask for any number of serials that were never issued.
                keep = None
            return self._finish(responder, tbs, signature, (this_update, next_update, now), keep, cert_ids[0].der)

    async def _look_up(self, key: tuple[int, int], look: _Look) -> _Status:
        kept = self._statuses.get(key)
        if kept is not None:
            self._statuses.move_to_end(key)
            return kept
        if not 0 < key[1] < SERIAL_END:
            return _Status(UNKNOWN)
        record = await self._store.status(*key)
        status = _Status(_status_of(record))
        if record is not None and status.status != UNKNOWN and not look.stale:
            self._statuses[key] = status
            if len(self._statuses) > _STATUSES_KEPT:
                self._statuses.popitem(last=False)
        return status

    def _to_be_signed(
        self, responder: _Responder, asked: Iterable[tuple[CertID, _Status]], nonce: bytes | None, now: float
    ) -> tuple[bytes, datetime, datetime]:
        moment = utc(now)
        this_update = moment - BACKDATE
        next_update = min(moment + timedelta(seconds=self._settings.validity), responder.not_after)
        if next_update <= moment:
            raise IssuanceFailed("there is no valid certificate left to sign OCSP answers with")
        singles = []
        for cert_id, status in asked:
            kept = status.singles.get(cert_id.der)
            if kept is None or kept[0] != this_update:
                kept = (this_update, single_response(cert_id.der, status.status, this_update, next_update))
                if len(status.singles) > 8:
                    status.singles.clear()
                status.singles[cert_id.der] = kept
            singles.append(kept[1])
        return response_data(responder.responder_id, moment, singles, nonce=nonce), this_update, next_update

    def _finish(
        self,
        responder: _Responder,
        tbs: bytes,
        signature: bytes,
        period: tuple[datetime, datetime, float],
        keep: tuple[int, int] | None,
        cert_id: bytes,
    ) -> OCSPAnswer:
        der = assemble(tbs, responder.signer.algorithm, signature, responder.certificates)
        this_update, next_update, now = period
        half = now + (next_update.timestamp() - now) / 2
        answer = OCSPAnswer(der, this_update, next_update, keep is not None, now, half)
        if keep is not None:
            self._keep(cert_id, keep, answer)
        return answer

    # --- keeping ------------------------------------------------------------------------

    def _keep(self, cert_id: bytes, key: tuple[int, int], answer: OCSPAnswer) -> None:
        self._drop(cert_id)
        self._answers[cert_id] = (key, answer)
        self._answer_bytes += len(answer.der) + 500
        self._asked.setdefault(key, set()).add(cert_id)
        while self._answer_bytes > self._settings.cache_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, cert_id: bytes) -> None:
        kept = self._answers.pop(cert_id, None)
        if kept is None:
            return
        key, answer = kept
        answer.dropped = True
        self._answer_bytes -= len(answer.der) + 500
        asked = self._asked[key]
        asked.discard(cert_id)
        if not asked:
            del self._asked[key]

    def forget_all(self) -> None:
        """Any status may have changed."""
        self._statuses.clear()
        for looks in self._looks.values():
            for look in looks:
                look.stale = True
        for cert_id in tuple(self._answers):
            self._drop(cert_id)

    def forget(self, changes: Iterable[StatusChange]) -> None:
        """Revocations and releases: what was signed before is given to nobody any more."""
        for change in changes:
            key = (change.issuer_id, change.serial)
            self._statuses.pop(key, None)
            for look in self._looks.get(key, ()):
                look.stale = True
            for cert_id in tuple(self._asked.get(key, ())):
                self._drop(cert_id)

    @property
    def cache_bytes(self) -> int:
        """How much memory signed answers may take."""
        return self._settings.cache_bytes

    @property
    def kept(self) -> tuple[int, int]:
        """(signed answers kept, bytes they take)."""
        return len(self._answers), self._answer_bytes

    # --- responders ---------------------------------------------------------------------

    def prove(self, issuer: IssuingCA) -> Deferred[None]:
        """Sign an answer that nobody asked for, and verify it.  Fails with Unavailable and IssuanceFailed."""

        async def work() -> None:
            responder = await self._responder(issuer)
            now = self._clock.seconds()
            tbs, _, _ = self._to_be_signed(responder, (), None, now)
            signature = await responder.signer.sign(tbs)
            key = describe_spki(parse_certificate(responder.signer.certificate).spki_der)
            verify_signature(key, responder.signer.algorithm, signature, tbs, failure=SignerUnavailable)

        return Deferred.fromCoroutine(work())

    def _responder_at_once(self, issuer: IssuingCA) -> _Responder | None:
        if not self._settings.delegated:
            return self._own(issuer)
        credential = self._credentials.try_get(issuer, OCSP)
        if credential is None:
            return None
        return self._delegated(issuer, credential.signer, credential.key.key_octets, credential.not_after)

    async def _responder(self, issuer: IssuingCA) -> _Responder:
        if not self._settings.delegated:
            own = self._own(issuer)
            if own is not None:
                return own
        try:
            credential = await self._credentials.get(issuer, OCSP)
        except RequestError as error:
            # Nobody has asked for anything wrong: this CA can't certify a responder any more.
            raise IssuanceFailed(f"no OCSP responder for {issuer.name}: {error.public}") from error
        return self._delegated(issuer, credential.signer, credential.key.key_octets, credential.not_after)

    def _own(self, issuer: IssuingCA) -> _Responder | None:
        signer = issuer.signer
        if not isinstance(signer, KeySigner):
            return None
        return self._made(issuer, signer, issuer.key.key_octets, (), issuer.certificate.not_after)

    def _delegated(self, issuer: IssuingCA, signer: KeySigner, bits: bytes, not_after: datetime) -> _Responder:
        return self._made(issuer, signer, bits, (signer.certificate,), not_after)

    def _made(
        self, issuer: IssuingCA, signer: KeySigner, bits: bytes, certificates: tuple[bytes, ...], not_after: datetime
    ) -> _Responder:
        key = (issuer.id, signer.certificate)
        made = self._responders.get(key)
        if made is None:
            for other in [other for other in self._responders if other[0] == issuer.id]:
                del self._responders[other]
            made = _Responder(signer, responder_by_key(_sha1(bits)), certificates, not_after)
            self._responders[key] = made
        return made

    def prepare(self) -> Deferred[None]:
        """Make the responder certificates that are missing, so that the first client does not wait for them."""

        async def work() -> None:
            for issuer in self._issuers.all():
                await self._responder(issuer)

        return Deferred.fromCoroutine(work())


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _status_of(record: StatusRecord | None) -> bytes:
    """CertStatus; a certificate that was deleted without having been revoked is unknown (CRT-6)."""
    if record is None:
        return UNKNOWN
    if record.revoked_at is not None:
        return revoked(record.revoked_at, record.reason)
    return UNKNOWN if record.deleted else GOOD


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """What ``/status/<serial>`` tells (CRT-8); *record* is ``None`` when there is no such certificate."""

    serial: int
    status: CertificateStatus | None
    record: CertificateRecord | None


class CertificateStatusReader:
    """Status and lists for people and scripts, from the read-only side of the database."""

    def __init__(self, clock: IClock, store: ICertificateReader) -> None:
        self._clock = clock
        self._store = store

    def status(self, serial: int) -> Deferred[StatusAnswer]:
        """What a serial is worth; one that was deleted without having been revoked is not there."""

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
        """Ids of expired certificates above *after*, ascending.

        :raises MalformedRequest: when the limit is not 1 to 10,000.
        """
        if not 1 <= limit <= 10_000 or after < 0:
            raise MalformedRequest("limit is 1 to 10000, after is an id")
        return self._store.expired_ids(utc(self._clock.seconds()), after, limit)
