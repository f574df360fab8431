"""Rows of issued certificates, and their records."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import select

from pikachu.core.model.certificates import CertificateRecord, Infrastructure, Method, RevocationReason
from pikachu.storage.database import Row
from pikachu.storage.schema import certificates
from pikachu.storage.transactions import maybe_moment, moment
from pikachu.x509.san_text import certificate_sans

_c: Final = certificates.c
CERTIFICATE_COLUMNS: Final = [
    _c.id,
    _c.serial,
    _c.issuer_id,
    _c.subject,
    _c.common_name,
    _c.key_type,
    _c.key_id,
    _c.not_before,
    _c.not_after,
    _c.method,
    _c.owner_id,
    _c.policy,
    _c.der,
    _c.created_at,
    _c.revoked_at,
    _c.reason,
    _c.deleted_at,
    _c.infrastructure,
    _c.sans,
]
# The CA's own certificates, which are few.  Conditions name them by id, since the covering indexes lack their mark.
_own: Final = certificates.alias("own")
OWN_IDS: Final = select(_own.c.id).where(_own.c.infrastructure.is_not(None))


def certificate_record(row: Row) -> CertificateRecord:
    """Return the record of a row of ``CERTIFICATE_COLUMNS``."""
    reason = row[15]
    return CertificateRecord(
        row[0],
        int(row[1], 16),
        row[2],
        row[3],
        row[4],
        row[5],
        bytes(row[6]),
        moment(row[7]),
        moment(row[8]),
        Method(row[9]),
        row[10],
        row[11],
        bytes(row[12]),
        moment(row[13]),
        maybe_moment(row[14]),
        None if reason is None else RevocationReason(reason),
        maybe_moment(row[16]),
        None if row[17] is None else Infrastructure(row[17]),
        certificate_sans(bytes(row[12])) if row[18] is None else tuple(json.loads(row[18])),
    )
