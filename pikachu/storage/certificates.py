"""Reads of issued certificates: rows and their records, status, downloads, and the entries of CRLs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, bindparam, exists, func, literal_column, select, text

from pikachu.core.errors import NotFound, UnknownSerial
from pikachu.core.model.certificates import (
    CertificateRecord,
    CRLRecord,
    Infrastructure,
    Method,
    RevocationReason,
    StatusChange,
    StatusRecord,
    format_serial,
)
from pikachu.storage.database import Database, Row, Transaction
from pikachu.storage.lint_overrides import OVERRIDE_REASON
from pikachu.storage.schema import (
    certificates,
    crl_entries,
    crls,
    recovered_revocations,
    requests,
    status_changes,
)
from pikachu.storage.transactions import StoreSection, maybe_moment, moment, point_read, read_transaction, row_id
from pikachu.x509.san_text import certificate_sans

# CRL entries per fetch: few enough that their memory is used again for the next ones, and not given back meanwhile.
_ENTRIES: Final = 1_000

_c: Final = certificates.c
#: Columns that each new certificate's row has; others depend on how it came.
ISSUED_FIELDS: Final = (
    *("serial", "issuer_id", "subject", "common_name", "name_key", "key_type", "key_id", "not_before", "not_after"),
    *("method", "policy", "der", "created_at", "sans", "search_text", "fingerprint"),
)
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
    _c.device_id,
    OVERRIDE_REASON,
]
# The CA's own certificates, which are few.  Conditions name them by id, since the covering indexes lack their mark.
_own: Final = certificates.alias("own")
OWN_IDS: Final = select(_own.c.id).where(_own.c.infrastructure.is_not(None))
_by_id: Final = select(*CERTIFICATE_COLUMNS).where(_c.id == bindparam("b_id"), _c.deleted_at.is_(None))
_by_serial: Final = select(*CERTIFICATE_COLUMNS).where(_c.serial == bindparam("b_serial"))
# The root is no OCSP subject: nobody but itself could say that it is revoked.
_status: Final = select(_c.not_after, _c.revoked_at, _c.reason, _c.deleted_at).where(
    _c.serial == bindparam("b_serial"),
    _c.issuer_id == bindparam("b_issuer"),
    _c.infrastructure.is_distinct_from(literal_column(f"'{Infrastructure.ROOT}'")),
)
_r: Final = requests.c
_ORPHAN: Final = [
    _r.serial,
    _r.issuer_id,
    func.coalesce(_r.certified_subject, _r.subject),
    _r.common_name,
    _r.key_type,
    _r.key_id,
    _r.not_before,
    _r.not_after,
    _r.method,
    _r.owner_id,
    _r.policy,
    _r.created_at,
    _r.revoked_at,
    _r.revocation_reason,
]
_orphan: Final = select(*_ORPHAN).where(_r.serial == bindparam("b_serial"), text("state <> 'issued'"))
# Serial numbers without a certificate here, which a published CRL has revoked.
_x: Final = recovered_revocations.c
_recovered: Final = select(_x.issuer_id, _x.revoked_at, _x.reason, _x.not_after, _x.recovered_at).where(
    _x.serial == bindparam("b_serial"), text("(decision IS NULL OR decision = 'keep')")
)
_changes: Final = (
    select(status_changes.c.id, status_changes.c.issuer_id, status_changes.c.serial)
    .where(status_changes.c.id > bindparam("after"))
    .order_by(status_changes.c.id)
    .limit(bindparam("rows", type_=Integer))
)
_latest: Final = select(func.max(status_changes.c.id))
_latest_of: Final = select(func.max(status_changes.c.id)).where(status_changes.c.issuer_id == bindparam("b_issuer"))
_replaced: Final = select(
    exists().where(
        status_changes.c.issuer_id == bindparam("b_issuer"),
        status_changes.c.id > bindparam("after"),
        text("replaces > 0"),
        status_changes.c.replaces <= bindparam("after"),
    )
)
_entries: Final = (
    select(crl_entries.c.entry)
    .where(crl_entries.c.issuer_id == bindparam("b_issuer"), crl_entries.c.change_id > bindparam("after"))
    .order_by(crl_entries.c.change_id)
)
_last_crl: Final = (
    select(*crls.columns).where(crls.c.issuer_id == bindparam("b_issuer")).order_by(crls.c.number.desc()).limit(1)
)


def _orphan_record(row: Row) -> CertificateRecord:
    """Return the record of an intent without a certificate, with id 0 and no DER."""
    return certificate_record((0, *row[:11], b"", *row[11:], None, None, None, None, None))


def find_orphan(tx: Transaction, serial: int) -> CertificateRecord | None:
    """Return the intent with that serial number if it has no certificate."""
    row = tx.row(_orphan, {"b_serial": format_serial(serial)})
    return None if row is None else _orphan_record(row)


def _find_recovered(tx: Transaction, serial: int) -> CertificateRecord | None:
    """Return the recovered revocation of a serial number without a certificate, with id 0 and no DER."""
    digits = format_serial(serial)
    row = tx.row(_recovered, {"b_serial": digits})
    if row is None:
        return None
    issuer_id, revoked_at, reason, not_after, recovered_at = row
    return CertificateRecord(
        id=0,
        serial=serial,
        issuer_id=issuer_id,
        subject="",
        common_name="",
        key_type="",
        key_id=b"",
        not_before=moment(revoked_at),
        not_after=moment(not_after),
        method=Method.CA,
        owner_id=None,
        policy="",
        der=b"",
        created_at=moment(recovered_at),
        revoked_at=moment(revoked_at),
        reason=RevocationReason(reason),
    )


def find_certificate(tx: Transaction, certificate_id: int) -> CertificateRecord:
    """Return the certificate with that id.

    :raises NotFound: when it does not exist or was deleted.
    """
    row = tx.row(_by_id, {"b_id": row_id(certificate_id)})
    if row is None:
        raise NotFound("there is no such certificate")
    return certificate_record(row)


def find_serial(tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
    """Return the certificate with that serial number.

    :param deleted: include deleted certificates, and revoked serial numbers of intents without a certificate.
    :raises UnknownSerial: when it does not exist.
    """
    row = tx.row(_by_serial, {"b_serial": format_serial(serial)})
    if row is not None and (deleted or row[16] is None):
        return certificate_record(row)
    orphan = find_orphan(tx, serial) if deleted and row is None else None
    if orphan is None or orphan.revoked_at is None:
        raise UnknownSerial("no certificate has this serial")
    return orphan


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
        row[19],
        row[20],
    )


class CertificateStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ICertificateReader`."""

    database: Database

    @point_read
    def certificate(self, tx: Transaction, certificate_id: int) -> CertificateRecord:
        """Return the certificate with that id; NotFound."""
        return find_certificate(tx, certificate_id)

    @point_read
    def certificate_by_serial(self, tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
        """Return the certificate with that serial number; UnknownSerial."""
        try:
            return find_serial(tx, serial, deleted=deleted)
        except UnknownSerial:
            recovered = _find_recovered(tx, serial) if deleted else None
            if recovered is None:
                raise
            return recovered

    @read_transaction
    def expired_ids(self, tx: Transaction, now: datetime, after: int, limit: int) -> list[int]:
        """Return ids of expired certificates above *after*, ascending."""
        ended = (
            select(_c.id)
            .where(
                _c.not_after < int(now.timestamp()),
                _c.id > min(after, 2**63 - 1),
                _c.deleted_at.is_(None),
                _c.id.not_in(OWN_IDS),
            )
            .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
            .order_by(_c.id)
            .limit(limit)
        )
        return [row[0] for row in tx.query(ended)]

    @point_read
    def status(self, tx: Transaction, issuer_id: int, serial: int) -> StatusRecord | None:
        """Return the status of a serial number, or None if the issuer never issued it."""
        row = tx.row(_status, {"b_serial": format_serial(serial), "b_issuer": issuer_id})
        if row is not None:
            not_after, revoked_at, reason, deleted_at = row
            return StatusRecord(
                serial,
                moment(not_after),
                maybe_moment(revoked_at),
                None if reason is None else RevocationReason(reason),
                deleted_at is not None,
            )
        orphan = find_orphan(tx, serial) or _find_recovered(tx, serial)
        if orphan is None or orphan.revoked_at is None or orphan.issuer_id != issuer_id:
            return None
        return StatusRecord(serial, orphan.not_after, orphan.revoked_at, orphan.reason)

    @read_transaction
    def changes_since(self, tx: Transaction, change_id: int, limit: int = 1000) -> list[StatusChange]:
        """Return status changes after *change_id* of all processes, in commit order."""
        rows = tx.rows(_changes, {"after": change_id, "rows": limit})
        return [StatusChange(identity, issuer_id, int(serial, 16)) for identity, issuer_id, serial in rows]

    def latest_change(self) -> int:
        """Return the id of the newest status change, or 0 without one; blocks.  Raises StoreUnavailable."""
        row = self.database.read(lambda tx: tx.row(_latest))
        return int(row[0] or 0) if row is not None else 0

    @read_transaction
    def crl_entries(self, tx: Transaction, issuer_id: int, after: int) -> tuple[int, int, bytes] | None:
        """Return (last change id, number of entries, their concatenated DER), or None to restart from 0."""
        if after:
            replaced = tx.row(_replaced, {"b_issuer": issuer_id, "after": after})
            if replaced is not None and replaced[0]:
                return None
        latest = tx.row(_latest_of, {"b_issuer": issuer_id})
        count, chunks = 0, []
        for rows in tx.batches(_entries, {"b_issuer": issuer_id, "after": after}, _ENTRIES):
            count += len(rows)
            chunks.append(b"".join([row[0] for row in rows]))
        return (latest[0] or 0) if latest is not None else 0, count, b"".join(chunks)

    @read_transaction
    def last_crl(self, tx: Transaction, issuer_id: int) -> CRLRecord | None:
        """Return the recorded CRL with the highest number."""
        row = tx.row(_last_crl, {"b_issuer": issuer_id})
        if row is None:
            return None
        return CRLRecord(row[0], row[1], moment(row[2]), moment(row[3]), row[4], row[5])
