"""Renewals of certificates by their owners: the same names and policy, a new key or the same one (ISS-2)."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.certificates import CertificateRecord, Method, format_serial
from pikachu.core.model.people import Principal, Scope
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.keys import Keys, key_name
from pikachu.inventory.new_certificates import (
    CertificateNames,
    CertificateOrder,
    GeneratedKey,
    NewCertificates,
    OrderedCertificate,
)
from pikachu.ra.preview import Preview
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.names import read_name
from pikachu.x509.san import parse_san


@dataclass(frozen=True, slots=True)
class Renewal:
    """A requested renewal.

    :param same_key: with the certificate's key, which must be stored here; otherwise a new key of its type is created.
    :param days: ``None``: the validity of the policy.
    """

    certificate_id: int
    same_key: bool = False
    days: int | None = None


class Renewals:
    """Renews certificates; their owners keep them, also when an administrator renews.

    Both methods fail like those of :class:`pikachu.inventory.new_certificates.NewCertificates`, with NotFound for an
    invisible certificate, with Conflict for one that is revoked or the CA's own, and with PolicyViolation when the
    policy requires a new key.
    """

    def __init__(
        self, *, new_certificates: NewCertificates, inventory: CertificateQueries, keys: Keys, issuers: IssuingCAs
    ) -> None:
        self._new_certificates = new_certificates
        self._inventory = inventory
        self._keys = keys
        self._issuers = issuers

    @uncancelled
    async def renew(
        self, actor: Principal, renewal: Renewal, method: Method, idempotency_key: str | None = None
    ) -> OrderedCertificate:
        """Issue the new certificate; the old one stays valid.  See ``NewCertificates.issue``."""
        require_scope(actor, Scope.ENROLL)
        return await self._new_certificates.issue(actor, await self._order(actor, renewal), method, idempotency_key)

    @uncancelled
    async def preview(self, actor: Principal, renewal: Renewal, method: Method) -> Preview:
        """Return the certificate that :meth:`renew` would issue, or its refusal."""
        require_scope(actor, Scope.ENROLL)
        return await self._new_certificates.preview(actor, await self._order(actor, renewal), method)

    async def stored_key(self, actor: Principal, record: CertificateRecord) -> StoredKey | None:
        """Return the certificate's key among its owner's stored keys, or None."""
        keys = await self._keys.all_of_public(actor, record.key_id)
        return next((key for key in keys if key.owner_id == record.owner_id), None)

    async def _order(self, actor: Principal, renewal: Renewal) -> CertificateOrder:
        record = await self._inventory.certificate(actor, renewal.certificate_id, Scope.ENROLL)
        if record.infrastructure is not None or record.method is Method.CA:
            raise Conflict("This certificate is the CA's own: the CA renews it.")
        if record.revoked_at is not None:
            raise Conflict("This certificate is revoked. Issue a new certificate instead.")
        issuer = self._issuers.by_id(record.issuer_id)
        is_current = issuer is not None and issuer.name in self._issuers.current
        return CertificateOrder(
            _names(record),
            await self._key(actor, record, same=renewal.same_key),
            record.policy,
            renewal.days,
            issuer.name if issuer is not None and is_current else None,
            record.owner_id,
            format_serial(record.serial),
            renewal.same_key,
        )

    async def _key(self, actor: Principal, record: CertificateRecord, *, same: bool) -> int | GeneratedKey:
        if not same:
            return GeneratedKey(key_name(record.key_type), record.name)
        key = await self.stored_key(actor, record)
        if key is None:
            raise NotFound("The key of this certificate is not stored here. Renew with a new key.")
        return key.id


def _names(record: CertificateRecord) -> CertificateNames:
    certificate = parse_certificate(record.der)
    extension = certificate.extension(SUBJECT_ALTERNATIVE_NAME)
    if extension is None:
        return CertificateNames(certificate.subject_der)
    names = parse_san(extension.value, allow_other_name=True, read_directory=lambda element: read_name(element.whole))
    return CertificateNames(certificate.subject_der, names)
