"""The columns of exported objects (JOB-1) and of reports."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pikachu.ca.issuers import IssuingCA
from pikachu.core.model.certificates import CertificateRecord, CertificateStatus, format_serial
from pikachu.core.model.times import rfc3339
from pikachu.inventory.certificates import OwnerNames

CERTIFICATE_HEADINGS: Final = (
    *(
        "ID",
        "Issued (UTC)",
        "Common name",
        "Subject",
        "SANs",
        "Serial",
        "Key",
        "Policy",
        "Method",
        "Issuing CA",
        "User",
    ),
    *("Expires (UTC)", "Status", "Revoked (UTC)", "Reason", "SHA-256 fingerprint"),
)


def certificate_fields(
    record: CertificateRecord, issuer: IssuingCA | None, names: OwnerNames, now: datetime
) -> Sequence[str]:
    """Return the fields of a certificate."""
    reason = "" if record.reason is None else record.reason.wire_name
    status = record.status(now)
    return (
        str(record.id),
        rfc3339(record.created_at),
        record.common_name,
        record.subject,
        ", ".join(record.sans),
        format_serial(record.serial),
        record.key_type,
        record.policy,
        record.method.value,
        "" if issuer is None else issuer.name,
        names.get(record.owner_id) or "",
        rfc3339(record.not_after),
        f"{status}: {reason}" if status is CertificateStatus.REVOKED and reason else status.value,
        time_text(record.revoked_at),
        reason,
        hashlib.sha256(record.der).hexdigest(),
    )


def time_text(moment: datetime | None) -> str:
    """Return a time, or an empty text."""
    return "" if moment is None else rfc3339(moment)
