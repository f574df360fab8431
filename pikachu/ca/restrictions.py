"""Restrictions for the CA's own certificates (CAR-1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pikachu.core.errors import ConfirmationRequired, Conflict, UnknownSerial
from pikachu.core.interfaces import ICertificateReader
from pikachu.core.model.certificates import CertificateRecord, Infrastructure, RevocationReason, format_serial


async def require_revocable(store: ICertificateReader, serial: int, by_id: Callable[[int], object]) -> None:
    """Require that a certificate can be revoked, or released from hold, on this server.

    :param by_id: returns the CA with that row id whose key is on this server, or None.
    :raises Conflict: as :func:`revocation_obstacle` says.
    """
    try:
        record = await store.certificate_by_serial(serial, deleted=True)
    except UnknownSerial:
        # The intent of a certificate that nobody knows of may have that serial.
        return
    obstacle = revocation_obstacle(record, by_id)
    if obstacle:
        raise Conflict(obstacle)


def revocation_obstacle(record: CertificateRecord, by_id: Callable[[int], object]) -> str:
    """Return why this server can't revoke a certificate, or an empty string.

    It can't revoke the root, nor what only an offline CA can revoke.

    :param by_id: as for :func:`require_revocable`.
    """
    if record.infrastructure is Infrastructure.ROOT:
        return "Nobody can revoke a root. Remove it from its clients' trust stores instead."
    if record.serial <= 0:
        return "A CRL can't list this certificate: its serial number is not positive."
    by_parent = record.infrastructure in (Infrastructure.ISSUING_CA, Infrastructure.OCSP_RESPONDER)
    if by_parent and by_id(record.issuer_id) is None:
        return (
            "The key of the CA that issued this certificate is not on this server. Revoke the serial number "
            f"{format_serial(record.serial)} there, and upload its new CRL on the VA page or with "
            "`pikachu crl --import FILE`."
        )
    return ""


def require_confirmed(record: CertificateRecord, reason: RevocationReason, *, confirmed: bool) -> None:
    """Require that the revocation of an issuing CA was confirmed as such; a repetition needs no confirmation.

    One that is only on hold can be released, so that its revocation for another reason is no repetition.

    :raises ConfirmationRequired: when it was not.
    """
    hold = RevocationReason.CERTIFICATE_HOLD
    repeated = record.revoked_at is not None and (record.reason is not hold or reason is hold)
    if record.infrastructure is Infrastructure.ISSUING_CA and not repeated and not confirmed:
        raise ConfirmationRequired(
            "This is the certificate of an issuing CA. Once revoked, the CA issues nothing any more, and clients "
            "refuse every certificate that it has issued. Revoke it on its own page, over REST with “confirm” set to "
            "“issuing_ca”, or with `pikachu revoke --confirm issuing_ca`."
        )


def require_deletable(record: CertificateRecord, now: datetime) -> None:
    """Require that a certificate may leave the inventory.

    :raises Conflict: as :func:`is_deletable` says.
    """
    if not is_deletable(record, now):
        raise Conflict("One of the CA's own certificates can't be deleted before it has expired.")


def is_deletable(record: CertificateRecord, now: datetime) -> bool:
    """Return whether a certificate may leave the inventory: none of the CA's own that has not expired may.

    Clients ask for the status of CAs and OCSP responders, and the inventory lists whatever the server presents.
    """
    return record.infrastructure is None or record.not_after <= now
