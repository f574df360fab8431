"""Restrictions for the CA's own certificates (CAR-1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pikachu.core.errors import Conflict, UnknownSerial
from pikachu.core.interfaces import ICertificateReader
from pikachu.core.model.certificates import CertificateRecord, Infrastructure, format_serial


async def require_revocable(store: ICertificateReader, serial: int, by_id: Callable[[int], object]) -> None:
    """Require that a certificate can be revoked, or released from hold, on this server.

    :param by_id: returns the CA with that row id whose key is on this server, or None.
    :raises Conflict: for the root, and for what only an offline CA can revoke.
    """
    try:
        record = await store.certificate_by_serial(serial, deleted=True)
    except UnknownSerial:
        # The intent of a certificate that nobody knows of may have that serial.
        return
    if record.infrastructure is Infrastructure.ROOT:
        raise Conflict("Nobody can revoke a root. Remove it from its clients' trust stores instead.")
    if record.serial <= 0:
        raise Conflict("A CRL can't list this certificate: its serial number is not positive.")
    by_parent = record.infrastructure in (Infrastructure.ISSUING_CA, Infrastructure.OCSP_RESPONDER)
    if by_parent and by_id(record.issuer_id) is None:
        raise Conflict(
            "The key of the CA that issued this certificate is not on this server. Revoke the serial number "
            f"{format_serial(record.serial)} there, and upload its new CRL on the VA page or with "
            "`pikachu crl --import FILE`."
        )


def require_deletable(record: CertificateRecord, now: datetime) -> None:
    """Require that a certificate may leave the inventory.

    :raises Conflict: for a CA that has not expired: clients ask for its status.
    """
    is_ca = record.infrastructure in (Infrastructure.ROOT, Infrastructure.ISSUING_CA)
    if is_ca and record.not_after > now:
        raise Conflict("The certificate of a CA can't be deleted before it has expired.")
