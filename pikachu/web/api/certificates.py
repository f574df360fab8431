"""``/certificates``: issue, list, revoke and download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.model.certificates import (
    REASON_NAMES,
    CertificateRecord,
    CertificateStatus,
    Infrastructure,
    InfrastructureFilter,
    Method,
    RevocationReason,
    StatusFilter,
    format_serial,
    parse_serial,
)
from pikachu.core.model.people import Principal, Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.keys import Keys
from pikachu.inventory.new_certificates import NewCertificates, OrderedCertificate
from pikachu.inventory.renewals import Renewal, Renewals
from pikachu.ra.enrollment import Pending
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.web.api.approvals import approval_document
from pikachu.web.api.bodies import extended
from pikachu.web.api.certificate_requests import (
    PendingCertificate,
    RenewalRequest,
    RenewedKey,
    SignRequest,
)
from pikachu.web.api.previews import PreviewDocument, preview_document
from pikachu.web.api.routes import (
    BASE,
    FLAGS,
    NO_CONTENT,
    Answer,
    Call,
    IncompleteList,
    Listed,
    Operation,
    Routes,
    created,
)
from pikachu.web.certificate_files import CERTIFICATE_FORMATS, certificate_file
from pikachu.x509.pem import certificates_pem

_CERTIFICATE_FILTERS: Final = {
    name: name
    for name in (
        *("status", "method", "issuer", "infrastructure", "policy", "key", "key_sha256", "owner", "device"),
        *("expires", "expires_from", "expires_to", "issued", "issued_from", "issued_to"),
    )
}


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """A certificate in a list.

    ``lint_override`` says why an administrator had accepted errors of its policy; null for most certificates.
    """

    id: int
    serial: str
    status: CertificateStatus
    subject: str
    common_name: str
    sans: tuple[str, ...]
    key: str
    not_before: datetime
    not_after: datetime
    issuer: str | None
    method: Method
    infrastructure: Infrastructure | None
    policy: str
    owner: str | None
    device_id: int | None
    lint_override: str | None
    created_at: datetime
    revoked_at: datetime | None
    reason: Annotated[str, REASON_NAMES] | None


@dataclass(frozen=True, slots=True)
class CertificateDocument(CertificateSummary):
    """A certificate; ``chain_pem`` begins with itself and ends with the root.

    ``key_id`` is the id of its private key, when that is stored here.
    """

    pem: str
    chain_pem: str
    key_id: int | None


class Confirmation(StrEnum):
    """The role of a certificate whose revocation has to be confirmed."""

    ISSUING_CA = Infrastructure.ISSUING_CA.value


@dataclass(frozen=True, slots=True)
class Revocation:
    """The revocation reason by its name in RFC 5280 section 5.3.1; ``certificateHold`` can be released.

    For the certificate of an issuing CA ``confirm`` must be ``issuing_ca``: once it is revoked, the CA issues nothing
    any more, and clients refuse every certificate that it has issued.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"reason": RevocationReason.SUPERSEDED.wire_name}

    reason: Annotated[str, REASON_NAMES] = RevocationReason.UNSPECIFIED.wire_name
    confirm: Confirmation | None = None


@dataclass(frozen=True, slots=True)
class SerialRevocation:
    """A serial number in hexadecimal digits; ``reason`` and ``confirm`` as in ``Revocation``."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"serial": "1f", "reason": RevocationReason.SUPERSEDED.wire_name}

    serial: str
    reason: Annotated[str, REASON_NAMES] = RevocationReason.UNSPECIFIED.wire_name
    confirm: Confirmation | None = None


class CertificatesAPI(Routes):
    """Issued certificates."""

    def __init__(
        self,
        *,
        registration: RegistrationAuthority,
        new_certificates: NewCertificates,
        renewals: Renewals,
        keys: Keys,
        issuers: IssuingCAs,
        authority: CertificateAuthority,
        inventory: CertificateQueries,
    ) -> None:
        self._new_certificates = new_certificates
        self._renewals = renewals
        self._keys = keys
        self._registration: RegistrationAuthority = registration
        self._issuers: IssuingCAs = issuers
        self._now: Callable[[], datetime] = authority.now
        self._inventory = inventory

    @Operation(
        "POST",
        "/certificates",
        scope=Scope.ENROLL,
        summary="Issue a certificate for a CSR, or for names and a key; 202 when it needs approval first",
        body=SignRequest,
        answer=CertificateDocument,
        pending=PendingCertificate,
        statuses=(201, 202),
        durable=True,
    )
    async def create(self, call: Call) -> Answer:
        """Issue a certificate; a repetition with the same Idempotency-Key returns the same one for 24 hours.

        A new key is stored, and its id returned; the private key never is.
        """
        return await self._issued(call, await self._ordered(call, call.take(SignRequest)))

    @Operation(
        "POST",
        "/certificates/<id>/renewal",
        scope=Scope.ENROLL,
        summary="Issue a certificate with the same names and policy; 202 when it needs approval first",
        body=RenewalRequest,
        answer=CertificateDocument,
        pending=PendingCertificate,
        statuses=(201, 202),
        durable=True,
    )
    async def renew(self, call: Call) -> Answer:
        """Renew the certificate, which stays valid; its owner gets the new one (ISS-2)."""
        body = call.take(RenewalRequest)
        renewal = Renewal(call.id, body.key is RenewedKey.SAME, body.validity_days)
        return await self._issued(
            call, await self._renewals.renew(call.principal, renewal, Method.API, call.idempotency_key)
        )

    async def _issued(self, call: Call, ordered: OrderedCertificate) -> Answer:
        """Return 201 with the certificate, or 202 with what waits for approval."""
        result, key_id = ordered.result, None if ordered.key is None else ordered.key.id
        if isinstance(result, Pending):
            approval = await self._inventory.approval(call.principal, result.request_id, Scope.ENROLL)
            names = await self._inventory.owner_names(call.principal, [approval.owner_id])
            headers = {
                b"Location": f"{BASE}/approvals/{approval.id}".encode(),
                b"Retry-After": b"%d" % result.retry_after,
            }
            pending = extended(PendingCertificate, approval_document(approval, names), key_id=key_id)
            return Answer(HTTPStatus.ACCEPTED, pending, headers=headers)
        return created(f"/certificates/{result.record.id}", await self._document(call.principal, result.record))

    @Operation(
        "POST",
        "/certificates/preview",
        scope=Scope.ENROLL,
        summary="What a CSR, or names and a key, would get; nothing is signed, generated or stored",
        body=SignRequest,
        answer=PreviewDocument,
    )
    async def preview(self, call: Call) -> Answer:
        """Preview the certificate (RA-3): ``given`` is the result of the same body sent to ``/certificates``, else
        ``refusal``.
        """
        body = call.take(SignRequest)
        order = body.order
        if order is not None:
            return Answer(
                200, preview_document(await self._new_certificates.preview(call.principal, order, Method.API))
            )
        preview = await self._registration.preview(
            call.principal,
            body.submitted_csr,
            Method.API,
            policy=body.policy,
            days=body.validity_days,
            issuer=body.issuer,
        )
        return Answer(200, preview_document(preview))

    @Operation(
        "GET",
        "/certificates",
        scope=Scope.READ,
        summary="Certificates: one's own, or for admins all",
        answer=CertificateSummary,
        listed=True,
        filters=_CERTIFICATE_FILTERS,
        choices={
            "status": tuple(StatusFilter),
            "method": tuple(Method),
            "infrastructure": tuple(InfrastructureFilter),
        },
        owner="owner_id",
        sorts=("id", "created_at", "serial", "common_name", "method", "key", "not_after", "revoked_at"),
    )
    async def list(self, call: Call) -> Answer:
        """List certificates.  ``q`` searches subject, subject alternative names, key, method, serial, owner, policy and
        days (``2026-11-29``); all its words must match, in any script and case.  Words with thousands of matches are
        searched as a prefix of names and in the newest certificates.  ``unindexed`` is there while certificates of an
        earlier version are still being indexed, and not found yet.  ``revoked_at`` sorts those of ``status=revoked``.
        ``expires=30d`` lists those that expire within 30 days from now, ``issued=7d`` those of the last 7 days (``h``:
        hours, ``d``: days, ``w``: weeks).  ``expires_from``, ``expires_to``, ``issued_from`` and ``issued_to`` are
        dates (UTC, the last one included), or times such as ``2026-12-31T08:00:00Z`` (the last one excluded).
        ``status=revoked`` includes those on hold; ``on_hold`` lists only them.  ``key`` is a family (``RSA``, ``EC``,
        ``Ed25519``, ``PQC``) or a type such as ``EC/prime256v1``, ``key_sha256`` the SHA-256 of the public key,
        ``policy`` a name, ``owner`` (for admins) a user's name,
        ``device`` a device's id.
        The CA's own certificates (root, issuing CAs, OCSP responders …) are left out; for admins,
        ``infrastructure=include`` lists them too, and ``infrastructure=only`` nothing else.
        """
        page = await self._inventory.certificates(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [record.owner_id for record in page.items])
        now = self._now()
        issuers = {issuer.id: issuer.name for issuer in self._issuers.all()}
        items = tuple(_summary(record, now, issuers.get(record.issuer_id), names) for record in page.items)
        found = Listed(items, page.next_cursor)
        if page.unindexed:
            found = IncompleteList(items, page.next_cursor, page.unindexed)
        return Answer(200, found)

    @Operation("GET", "/certificates/<id>", scope=Scope.READ, summary="One certificate", answer=CertificateDocument)
    async def get(self, call: Call) -> Answer:
        """Return the certificate with its PEM and chain."""
        record = await self._inventory.certificate(call.principal, call.id)
        return Answer(200, await self._document(call.principal, record))

    @Operation(
        "DELETE",
        "/certificates/<id>",
        scope=Scope.REVOKE,
        summary="Delete a certificate from the lists; with revoke=true or revoke=REASON revoke a valid one first",
        query=("revoke",),
        choices={"revoke": (*FLAGS, *REASON_NAMES.choices)},
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Delete the certificate (CRT-6); one that is revoked stays revoked.

        Without ``revoke``, or with ``revoke=false``, a valid certificate stays valid wherever only the CRL is checked.
        """
        await self._inventory.delete(call.principal, call.id, _revocation(call.query.get("revoke", "false")))
        return NO_CONTENT

    @Operation(
        "POST",
        "/revocations",
        scope=Scope.REVOKE,
        summary="Revoke by serial number, also a certificate that was deleted; repeating it changes nothing",
        body=SerialRevocation,
        answer=CertificateDocument,
    )
    async def revoke_serial(self, call: Call) -> Answer:
        """Revoke the certificate with that serial number (CRT-5); 409 for an issuing CA without ``confirm``."""
        body = call.take(SerialRevocation)
        reason = RevocationReason.from_name(body.reason)
        serial = parse_serial(body.serial)
        record = await self._inventory.revoke_serial(call.principal, serial, reason, confirmed=body.confirm is not None)
        return Answer(200, await self._document(call.principal, record))

    @Operation(
        "POST",
        "/certificates/<id>/revocation",
        scope=Scope.REVOKE,
        summary="Revoke a certificate, or put it on hold; repeating it changes nothing",
        body=Revocation,
        answer=CertificateDocument,
    )
    async def revoke(self, call: Call) -> Answer:
        """Revoke the certificate (CRT-5); 409 for an issuing CA without ``confirm``."""
        body = call.take(Revocation)
        reason = RevocationReason.from_name(body.reason)
        record = await self._inventory.revoke(call.principal, call.id, reason, confirmed=body.confirm is not None)
        return Answer(200, await self._document(call.principal, record))

    @Operation(
        "DELETE",
        "/certificates/<id>/revocation",
        scope=Scope.REVOKE,
        summary="Release a certificate from hold",
        answer=CertificateDocument,
    )
    async def release(self, call: Call) -> Answer:
        """Release the certificate from hold; 409 when it is not on hold."""
        record = await self._inventory.release(call.principal, call.id)
        return Answer(200, await self._document(call.principal, record))

    @Operation(
        "GET",
        "/certificates/<id>/download",
        scope=Scope.READ,
        summary="The certificate as a file: format is pem (the default), der, p7b or chain",
        query=("format",),
        choices={"format": tuple(CERTIFICATE_FORMATS)},
        files=tuple(CERTIFICATE_FORMATS.values()),
    )
    async def download(self, call: Call) -> Answer:
        """Download the certificate (CRT-3); ``p7b`` and ``chain`` contain end entity, issuing CA and root."""
        record = await self._inventory.certificate(call.principal, call.id)
        file = certificate_file(record, self._chain(record), call.query.get("format", "pem"))
        name = f'attachment; filename="{file.name}"'
        return Answer(200, file.body, file.content_type, {b"Content-Disposition": name.encode("ascii")})

    async def _ordered(self, call: Call, body: SignRequest) -> OrderedCertificate:
        """Issue the certificate of a body, with its stored key if there is one."""
        order = body.order
        if order is not None:
            return await self._new_certificates.issue(call.principal, order, Method.API, call.idempotency_key)
        result = await self._registration.sign(
            call.principal,
            body.submitted_csr,
            Method.API,
            policy=body.policy,
            days=body.validity_days,
            issuer=body.issuer,
            idempotency_key=call.idempotency_key,
        )
        return await self._new_certificates.with_key(call.principal, result)

    def _chain(self, record: CertificateRecord) -> tuple[bytes, ...]:
        issuer = self._issuers.by_id(record.issuer_id)
        return () if issuer is None else issuer.chain

    async def _document(self, principal: Principal, record: CertificateRecord) -> CertificateDocument:
        names = await self._inventory.owner_names(principal, [record.owner_id])
        issuer = self._issuers.by_id(record.issuer_id)
        key = await self._keys.of_public(principal, record.key_id)
        return extended(
            CertificateDocument,
            _summary(record, self._now(), None if issuer is None else issuer.name, names),
            pem=certificates_pem([record.der]),
            chain_pem=certificates_pem([record.der, *self._chain(record)]),
            key_id=None if key is None else key.id,
        )


def _revocation(text: str) -> RevocationReason | None:
    """Return the reason that a query names; ``None``: don't revoke.

    :raises MalformedRequest: it is neither ``true``, ``false`` nor a reason.
    """
    if text == "false":
        return None
    return RevocationReason.UNSPECIFIED if text == "true" else RevocationReason.from_name(text)


def _summary(record: CertificateRecord, now: datetime, issuer: str | None, names: OwnerNames) -> CertificateSummary:
    return CertificateSummary(
        id=record.id,
        serial=format_serial(record.serial),
        status=record.status(now),
        subject=record.subject,
        common_name=record.common_name,
        sans=record.sans,
        key=record.key_type,
        not_before=record.not_before,
        not_after=record.not_after,
        issuer=issuer,
        method=record.method,
        infrastructure=record.infrastructure,
        policy=record.policy,
        owner=names.get(record.owner_id),
        device_id=record.device_id,
        lint_override=record.lint_override,
        created_at=record.created_at,
        revoked_at=record.revoked_at,
        reason=None if record.reason is None else record.reason.wire_name,
    )
