"""The certification authority (CA): durable issuance and revocation (docs/issuance.md).

This module contains steps 6 to 9 of issuance.  The TBSCertificate is stored before it is signed; a certificate is
returned only after it was checked and stored together with its audit event.  From the first write on, the client
cannot interrupt issuance.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.restrictions import require_deletable, require_revocable
from pikachu.core.approvals import Approver
from pikachu.core.audit import address_details, event_by
from pikachu.core.concurrency import start
from pikachu.core.engine_interfaces import ICertificateEngine
from pikachu.core.errors import (
    Conflict,
    IssuanceFailed,
    LintFailed,
    PikachuError,
    PolicyViolation,
    SignerUnavailable,
    StoreUnavailable,
    Unavailable,
)
from pikachu.core.interfaces import Begun, IClock, IStore, Repeated, ToBeSigned
from pikachu.core.metrics import CountsByLabel, TimesByLabel
from pikachu.core.model.certificates import (
    OWN_POLICY,
    CertificateRecord,
    Infrastructure,
    Method,
    RevocationReason,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.core.model.lint import Finding, not_accepted, summary
from pikachu.core.model.people import SYSTEM, Principal
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import Intent, NewRequest, RequestRecord, RequestState
from pikachu.core.model.times import utc
from pikachu.x509.built import differences, intended_like
from pikachu.x509.certificate import (
    END_OF_TIME,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    Validity,
    end_of_validity,
    parts_of,
    tbs_certificate,
)
from pikachu.x509.device_names import device_name
from pikachu.x509.distribution_points import DistributionPoints
from pikachu.x509.extension import Extension
from pikachu.x509.lint.rules import lint
from pikachu.x509.names import Name, read_name
from pikachu.x509.san_text import san_texts
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import KeyDescription

log = Logger()

# notBefore is a little in the past, for devices whose clock is slow.
BACKDATE = timedelta(minutes=5)
# Age from which the intent of another process counts as abandoned.
ABANDONED_AFTER = timedelta(seconds=60)
_ANY_TIME = Validity(END_OF_TIME, END_OF_TIME)


@dataclass(frozen=True, kw_only=True)
class IssuanceRequest:
    """The certificate that the RA has approved for signing.

    :param subject: the subject of the certificate.
    :param days: the validity.
    :param explicit: the requester chose the validity, so it must not be shortened to that of the CA.
    :param csr: DER, for signers that build the certificate; empty for a key without a CSR.
    :param extensions: the extensions for this issuer, as ``leaf_extensions`` returns them.
    :param internal: for the CA's own services, whose names identify no subscriber.
    :param infrastructure: the role of one of the CA's own certificates.
    :param policy_extensions: the extensions of the policy, from which *extensions* are derived.
    :param ignored_names: the texts of requested subject alternative names that the policy does not copy.
    """

    issuer: IssuingCA
    policy: Policy
    subject: Name
    key: KeyDescription
    extensions: tuple[Extension, ...]
    days: int
    explicit: bool = False
    csr: bytes = b""
    internal: bool = False
    policy_extensions: tuple[Extension, ...] = ()
    infrastructure: Infrastructure | None = None
    ignored_names: tuple[str, ...] = ()

    @cached_property
    def device(self) -> str:
        """The name of the device that the certificate is for, or an empty string."""
        if self.internal or self.infrastructure is not None:
            return ""
        names = next((one.value for one in self.extensions if one.oid == SUBJECT_ALTERNATIVE_NAME), None)
        return device_name(self.subject, () if names is None else san_texts(names))


def lint_issuance(issuance: IssuanceRequest, serial: int = 1, validity: Validity = _ANY_TIME) -> tuple[Finding, ...]:
    """Return the findings about a certificate before it is signed (LNT-1)."""
    return lint(
        subject=issuance.subject,
        family=issuance.key.family,
        extensions=issuance.extensions,
        serial=serial,
        validity=validity,
    )


def require_lint(issuance: IssuanceRequest, serial: int = 1, validity: Validity = _ANY_TIME) -> None:
    """Require that a certificate has no errors but those that an administrator has accepted for its policy.

    :raises LintFailed: with the errors.
    """
    findings = lint_issuance(issuance, serial, validity)
    if findings:
        errors = not_accepted(findings, issuance.policy.lint_override)
        if issuance.internal or issuance.infrastructure is not None:
            # The names of a CA that was imported can't be chosen any more.
            errors = tuple(one for one in errors if not one.where.startswith("subject"))
        if errors:
            raise LintFailed(f"The certificate would have errors. {summary(errors)}", errors)


class CertificateAuthority:
    """Issues, revokes and deletes certificates; the only caller of signers for certificates.

    :param process: names who signs in stored intents: a node, or a command.
    :param distribution_points: the CRLs that certificates name; ``None`` leaves what their policies say.
    """

    def __init__(
        self,
        clock: IClock,
        store: IStore,
        issuers: IssuingCAs,
        process: str,
        distribution_points: DistributionPoints | None = None,
    ) -> None:
        self._distribution_points = distribution_points or DistributionPoints()
        self._clock = clock
        self._store: IStore = store
        self.issuers = issuers
        self.process = process
        #: Seconds from the intent to the stored certificate, by protocol, policy and issuing CA.
        self.issued = TimesByLabel()
        #: Numbers of certificates that could not be signed or stored, by protocol, policy and issuing CA.
        self.failed = CountsByLabel()
        # The ids of requests that this process is signing.
        self._signing: set[int] = set()
        # The ids of requests whose certificate an engine may have built, and that nobody works on.
        self.uncertain: set[int] = set()

    def now(self) -> datetime:
        """Return the time, in whole seconds."""
        return utc(self._clock.seconds())

    # --- issuing ------------------------------------------------------------------------

    def prepare(self, issuance: IssuanceRequest) -> tuple[Intent, ToBeSigned]:
        """Return the intent and TBSCertificate for a request, with a serial number of 159 random bits.

        :raises IssuerRevoked: when the CA is revoked.
        :raises Unavailable: when the clock is behind the CA's certificate by more than the validity.
        :raises PolicyViolation: when an explicit validity exceeds that of the CA, or the CAs above do not permit it.
        """
        issuer = issuance.issuer
        issuer.require_unrevoked()
        if not issuance.internal:
            issuer.path.check(issuance.subject, issuance.extensions)
        now = self.now()
        not_before = max(now - BACKDATE, issuer.certificate.not_before)
        not_after = end_of_validity(now, issuance.days)
        ends_at = issuer.path.ends_at
        if not_after > ends_at:
            if issuance.explicit:
                who = "issuing CA" if ends_at == issuer.certificate.not_after else "CA above the issuing CA"
                raise PolicyViolation(
                    f"the certificate would outlive the {who}, which ends on {ends_at:%Y-%m-%d}; "
                    f"ask for at most {(ends_at - now).days} days",
                    field="days",
                )
            not_after = ends_at
        if now >= ends_at:
            raise PolicyViolation(f"the issuing CA {issuer.name} or a CA above it has expired")
        if not_after <= not_before:
            raise Unavailable(
                f"The clock is at {now:%Y-%m-%d %H:%M} UTC, long before the certificate of the issuing CA "
                f"{issuer.name} is valid. Check this machine's clock."
            )
        serial = secrets.randbits(159) | 1 << 158
        require_lint(issuance, serial, Validity(not_before, not_after))
        tbs = tbs_certificate(
            serial=serial,
            algorithm=issuer.signer.algorithm,
            issuer_der=issuer.certificate.subject_der,
            validity=Validity(not_before, not_after),
            subject_der=issuance.subject.der,
            spki_der=issuance.key.spki,
            # Another program that builds the certificate names what it was told.
            extensions=issuance.extensions
            if issuer.engine is not None
            else self._distribution_points.place(issuer.certificate, serial, issuance.extensions),
        )
        intent = Intent(
            serial=serial,
            issuer_id=issuer.id,
            tbs=tbs,
            subject=issuance.subject.text,
            common_name=issuance.subject.common_name,
            key_type=issuance.key.text,
            key_id=issuance.key.key_id,
            not_before=not_before,
            not_after=not_after,
            policy=issuance.policy.name,
            process=self.process,
            device=issuance.device,
        )
        return intent, ToBeSigned(tbs, serial, not_before, not_after, issuance.csr)

    def issue(
        self, request: NewRequest, issuance: IssuanceRequest, details: Mapping[str, object]
    ) -> Deferred[CertificateRecord]:
        """Record, sign, check and store; a repeated request returns the certificate issued before.

        Fails with Conflict, PolicyViolation, Unavailable, IssuanceFailed.  Cancelling the Deferred has no effect.
        """
        return start(self._issue(request, issuance, details))

    async def _issue(
        self, request: NewRequest, issuance: IssuanceRequest, details: Mapping[str, object]
    ) -> CertificateRecord:
        intent, to_be_signed = self.prepare(issuance)
        begun = await self._store.begin(request, intent, self.now())
        if isinstance(begun, Repeated):
            if begun.certificate is not None:
                return begun.certificate
            await self.give_up_stale(begun.request)
            begun = await self._store.begin(request, intent, self.now())
            if not isinstance(begun, Begun):
                raise Unavailable("this request is being worked on; ask again soon", retry_after=5)
        return await self._sign(begun.request_id, request, issuance, to_be_signed, details, request.actor_id)

    async def give_up_stale(self, request: RequestRecord) -> None:
        """Abandon a repeated request whose first attempt will never finish: its process is gone, or its commit failed.

        :raises Unavailable: when a process may be signing it now.
        :raises Conflict: when it is not being issued.
        """
        if request.state is not RequestState.ISSUING:
            raise Conflict("this request was decided already", state=request.state)
        if request.id in self._signing or await self._may_be_signed_elsewhere(request):
            raise Unavailable("this request is being worked on; ask again soon", retry_after=5)
        if self._engine_of(request) is not None:
            # Its certificate may exist; who recovers it decides.
            self.uncertain.add(request.id)
            raise Unavailable("this request is being worked on; ask again soon", retry_after=5)
        await self.abandon(request)

    def _engine_of(self, request: RequestRecord) -> ICertificateEngine | None:
        issuer = self.issuers.current.get(request.issuer)
        return None if issuer is None else issuer.engine

    def is_signing(self, request_id: int) -> bool:
        """Return whether this process works on a request."""
        return request_id in self._signing

    async def _may_be_signed_elsewhere(self, request: RequestRecord) -> bool:
        if request.process is None or request.process == self.process:
            return False
        is_alive = await self._store.is_process_alive(request.process)
        if is_alive is not None:
            return is_alive
        return self.now() - (request.decided_at or request.created_at) < ABANDONED_AFTER

    async def _sign(
        self,
        request_id: int,
        request: NewRequest | RequestRecord,
        order: IssuanceRequest,
        to_be_signed: ToBeSigned,
        details: Mapping[str, object],
        actor_id: int | None,
    ) -> CertificateRecord:
        self._signing.add(request_id)
        try:
            to_be_signed = replace(to_be_signed, method=request.method)
            begun = self._clock.seconds()
            labels = (request.method.value, order.policy.name, order.issuer.name)
            try:
                record = await self._sign_and_store(request_id, request, order, to_be_signed, details, actor_id)
            except Exception:
                self.failed.add(*labels)
                raise
            self.issued.observe(self._clock.seconds() - begun, *labels)
            return record
        finally:
            self._signing.discard(request_id)

    async def _sign_and_store(
        self,
        request_id: int,
        request: NewRequest | RequestRecord,
        order: IssuanceRequest,
        to_be_signed: ToBeSigned,
        details: Mapping[str, object],
        actor_id: int | None,
    ) -> CertificateRecord:
        serial, issuer, method = format_serial(to_be_signed.serial), order.issuer, request.method
        override = order.policy.lint_override
        is_built = issuer.engine is not None and issuer.engine.builds(to_be_signed)

        def event(kind: str, **more: object) -> Event:
            fields = {
                **details,
                **address_details(request.address),
                "serial": serial,
                "subject": order.subject.text,
                "issuer": issuer.name,
                "issued_via": method.value,
                **({} if override is None else {"lint_override": override.reason}),
                **more,
            }
            return Event(kind, "certificate", serial, request.principal, fields, request.owner_id, actor_id)

        try:
            certificate = await issuer.signer.sign_certificate(to_be_signed)
            if is_built:
                serial = format_serial(await self.adopt(request_id, certificate, to_be_signed.tbs, issuer))
            else:
                check_issued(certificate, to_be_signed, issuer)
        except Exception as error:
            if is_built and _may_exist(error):
                self.uncertain.add(request_id)
                log.error(
                    "A certificate for {subject} may exist: {error}", subject=order.subject.text, error=str(error)
                )
                raise
            reason = error.public if isinstance(error, PikachuError) else "the signer failed unexpectedly"
            log.error("Certificate {serial} was not issued: {error}", serial=serial, error=reason)
            try:
                await self._store.fail(request_id, reason, event("fail", reason=reason), self.now())
            except PikachuError as second:
                # The intent stays, to be abandoned on repetition or restart; the client gets the first error.
                log.error("The failure of {serial} was not stored: {error}", serial=serial, error=second.public)
            raise
        try:
            record = await self._store.complete(
                request_id, certificate, method, event("create"), self.now(), order.infrastructure
            )
        except PikachuError:
            if is_built:
                self.uncertain.add(request_id)
            raise
        log.info(
            "Issued {serial} by {issuer} to {subject} via {method} for {actor}",
            serial=serial,
            issuer=issuer.name,
            subject=record.subject,
            method=method.value,
            actor=request.principal,
        )
        return record

    async def adopt(self, request_id: int, certificate: bytes, tbs: bytes, issuer: IssuingCA) -> int:
        """Check a certificate that the issuer's engine has built, and record it as the intent; return its serial.

        A certificate that is not as intended is revoked in the engine.

        :param tbs: the TBSCertificate of the intent.
        :raises IssuanceFailed: when it is not as intended, or belongs to another request.
        :raises Conflict: when the serial number of the intent was revoked.
        :raises StoreUnavailable: when it is not recorded.
        """
        built = check_built(certificate, tbs, issuer)
        if built is None:
            await self._disown(certificate, issuer)
            raise IssuanceFailed("what was signed is not what was intended; the certificate was not handed out")
        if built.tbs != tbs:
            try:
                await self._store.record_signed(request_id, built.serial, built.tbs, built.not_before)
            except Conflict:
                await self._disown(certificate, issuer)
                raise
        return built.serial

    @staticmethod
    async def _disown(certificate: bytes, issuer: IssuingCA) -> None:
        try:
            if issuer.engine is not None and await issuer.engine.revoke(certificate):
                log.warn("A certificate that was not handed out is revoked in the engine of {name}", name=issuer.name)
        except PikachuError as error:
            log.error("A certificate that was not handed out is not revoked: {error}", error=str(error))

    def issue_approved(
        self,
        request: RequestRecord,
        issuance: IssuanceRequest,
        approver: Principal,
        details: Mapping[str, object],
        *,
        allows_own: bool = False,
    ) -> Deferred[CertificateRecord | None]:
        """Sign a request that *approver* approves; then proceed as :meth:`issue`.

        :param allows_own: whether people may approve their own requests.

        The result is None when a second person must approve it; nothing is signed then.
        """

        async def work() -> CertificateRecord | None:
            intent, to_be_signed = self.prepare(issuance)
            event = event_by(
                approver,
                "approve",
                "request",
                str(request.id),
                request.owner_id,
                subject=request.subject,
                policy=request.policy,
            )
            who = Approver.of(approver, allows_own=allows_own)
            approved = await self._store.approve(request.id, intent, who, event, self.now())
            if approved.state is RequestState.PENDING:
                return None
            first = approved.first_approval
            told = {**details, "approved_by": approver.name if first is None else f"{first.name}, {approver.name}"}
            return await self._sign(request.id, request, issuance, to_be_signed, told, None)

        return start(work())

    def issue_service(
        self,
        issuer: IssuingCA,
        subject_der: bytes,
        key: KeyDescription,
        extensions: tuple[Extension, ...],
        days: int,
        role: Infrastructure,
    ) -> Deferred[CertificateRecord]:
        """Issue one of the CA's own certificates: an OCSP responder, a SCEP RA or a roll-over certificate.

        Issuance is the same as for every other certificate: intent, signature, check, one transaction.  Path lengths
        don't count roll-over certificates, which are self-issued (RFC 5280 section 4.2.1.9).
        """
        policy = Policy(0, OWN_POLICY, days, "")
        subject = read_name(subject_der)
        issuance = IssuanceRequest(
            issuer=issuer,
            policy=policy,
            subject=subject,
            key=key,
            extensions=extensions,
            days=days,
            internal=True,
            infrastructure=role,
        )
        request = NewRequest(
            method=Method.CA,
            csr=b"",
            subject=issuance.subject.text,
            key_type=key.text,
            key_id=key.key_id,
            policy=policy.name,
            issuer=issuer.name,
            principal=SYSTEM.name,
            owner_id=None,
            created_at=self.now(),
        )
        return self.issue(request, issuance, {"subject": issuance.subject.text, "for": role.value})

    # --- orphans ------------------------------------------------------------------------

    async def abandon(self, request: RequestRecord) -> None:
        """Abandon an intent without a certificate; its serial number stays known and can be revoked."""
        serial = format_serial(request.serial or 0)
        log.warn("No certificate followed the intent {serial} ({subject})", serial=serial, subject=request.subject)
        details = {"serial": serial, "subject": request.subject, "process": request.process}
        event = Event("abandon", "request", serial, SYSTEM.name, details, request.owner_id)
        await self._store.abandon(request.id, event, self.now())

    async def give_up_orphans(self) -> list[RequestRecord]:
        """At start: the intents of nodes that live no more, and old ones of commands, except those of engines."""
        given_up = []
        for request in await self._store.orphans(self.process, self.now() - ABANDONED_AFTER):
            if self._engine_of(request) is None:
                await self.abandon(request)
                given_up.append(request)
        return given_up

    async def find_uncertain(self) -> None:
        """Add to the uncertain requests those that others have left, whose certificates an engine may have built."""
        for request in await self._store.orphans(self.process, self.now() - ABANDONED_AFTER):
            if self._engine_of(request) is not None:
                self.uncertain.add(request.id)

    # --- revoking -----------------------------------------------------------------------

    def revoke(self, serial: int, reason: RevocationReason, actor: Principal) -> Deferred[CertificateRecord]:
        """Revoke a certificate, also a deleted one, or put it on hold; idempotent.

        Fails with UnknownSerial, and with Conflict for the root and for what only an offline CA can revoke.
        """

        async def work() -> CertificateRecord:
            await require_revocable(self._store, serial, self.issuers.by_id)
            event = _certificate_event(actor, "revoke", serial, reason=reason.wire_name)
            record, changed = await self._store.revoke(serial, self.now(), reason, event)
            if changed:
                log.info("Revoked {serial}: {reason}", serial=format_serial(serial), reason=reason.wire_name)
            return record

        return start(work())

    def release(self, serial: int, actor: Principal) -> Deferred[CertificateRecord]:
        """Release a certificate from hold.  Fails with UnknownSerial, and with Conflict as :meth:`revoke` does."""
        return start(self._release(serial, actor))

    async def _release(self, serial: int, actor: Principal) -> CertificateRecord:
        await require_revocable(self._store, serial, self.issuers.by_id)
        record = await self._store.release(serial, _certificate_event(actor, "release", serial), self.now())
        log.info("Released {serial} from hold", serial=format_serial(serial))
        return record

    def delete(self, record: CertificateRecord, actor: Principal) -> Deferred[None]:
        """Hide a certificate from lists; one that is revoked stays revoked (CRT-6).

        Fails with Conflict for a CA that has not expired: clients ask for its status.
        """
        return start(self._delete(record, _certificate_event(actor, "delete", record.serial)))

    async def _delete(self, record: CertificateRecord, event: Event) -> None:
        require_deletable(record, self.now())
        await self._store.delete_certificate(record.id, event, self.now())


def _certificate_event(actor: Principal, type_: str, serial: int, **details: object) -> Event:
    """Return an event about a certificate; the store adds its subject and its owner."""
    return event_by(actor, type_, "certificate", format_serial(serial), None, **details)


def _may_exist(error: Exception) -> bool:
    """Return whether an engine may have built a certificate that is not recorded."""
    return isinstance(error, StoreUnavailable) or (isinstance(error, SignerUnavailable) and error.may_have_signed)


def check_built(certificate: bytes, tbs: bytes, issuer: IssuingCA) -> Certificate | None:
    """Return the certificate of an engine, or None, which is logged, when it is not as intended.

    :param tbs: the TBSCertificate of the intent.
    """
    try:
        built, intended = intended_like(certificate, tbs)
        wrong = [] if built.tbs == tbs else differences(built, intended)
        verify_signature(issuer.key, built.signature_algorithm_der, built.signature, built.tbs)
    except PikachuError as error:
        wrong = [error.public]
    else:
        if not wrong and built.not_after <= issuer.path.ends_at and built.not_before >= issuer.certificate.not_before:
            return built
        wrong = wrong or ["it would be valid when its CA is not"]
    log.error("The engine of {name} made another certificate: {wrong}", name=issuer.name, wrong="; ".join(wrong))
    return None


def check_issued(certificate: bytes, to_be_signed: ToBeSigned, issuer: IssuingCA) -> None:
    """Check that a certificate matches its intent, the CA's validity and the issuer's key (step 8).

    :raises IssuanceFailed: when it does not.
    """
    try:
        tbs, algorithm, signature = parts_of(certificate)
    except PikachuError as error:
        raise IssuanceFailed("the signer gave no certificate", error=error.public) from error
    # The bytes contain every field, so all checks made before the intent was stored apply to the certificate.
    if tbs != to_be_signed.tbs:
        raise IssuanceFailed("what was signed is not what was intended; the certificate was not handed out")
    if to_be_signed.not_after > issuer.path.ends_at or to_be_signed.not_before < issuer.certificate.not_before:
        raise IssuanceFailed("the certificate would be valid when its CA is not; it was not handed out")
    try:
        verify_signature(issuer.key, algorithm, signature, tbs)
    except PikachuError as error:
        raise IssuanceFailed("the signer gave a signature that does not verify", error=error.public) from error
