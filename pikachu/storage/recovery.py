"""Revocations that a published CRL has and the database lacks, since it was restored from an older copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, bindparam, func, select, update

from pikachu.core.errors import UnknownSerial
from pikachu.core.model.certificates import (
    SERIAL_END,
    CertificateRecord,
    PublishedRevocation,
    RevocationReason,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.core.recovery_interfaces import RecoveredRevocation, RecoveryDecision
from pikachu.storage.audit import write_event
from pikachu.storage.database import Transaction
from pikachu.storage.revocation import list_revocation, record_change, revocable, set_status
from pikachu.storage.schema import certificates, crl_entries, issuers, recovered_revocations
from pikachu.storage.transactions import StoreSection, insert_into, moment, read_transaction, write_transaction
from pikachu.x509.crl import crl_entry

_HOLD: Final = RevocationReason.CERTIFICATE_HOLD

_r: Final = recovered_revocations.c
_crl_number: Final = select(issuers.c.crl_number).where(issuers.c.id == bindparam("b_id"))
_known: Final = select(_r.id).where(_r.serial == bindparam("b_serial"), _r.issuer_id == bindparam("b_issuer"))
_taken: Final = select(crl_entries.c.issuer_id).where(crl_entries.c.serial == bindparam("b_serial"))
_insert: Final = insert_into(
    recovered_revocations,
    "issuer_id",
    "serial",
    "revoked_at",
    "reason",
    "not_after",
    "was_on_hold",
    "recovered_at",
)
_counts: Final = select(_r.issuer_id, func.count()).where(_r.decision.is_(None)).group_by(_r.issuer_id)
_undecided: Final = (
    select(_r.id, _r.issuer_id, _r.serial, _r.revoked_at, _r.reason, _r.recovered_at, certificates.c.subject)
    .select_from(recovered_revocations.outerjoin(certificates, certificates.c.serial == _r.serial))
    .where(_r.decision.is_(None), _r.id > bindparam("after"))
    .order_by(_r.id)
    .limit(bindparam("rows", type_=Integer))
)
_undecided_serial: Final = select(_r.id, _r.issuer_id, _r.revoked_at, _r.reason, _r.was_on_hold).where(
    _r.decision.is_(None), _r.serial == bindparam("b_serial")
)
_decide: Final = (
    update(recovered_revocations).where(_r.id == bindparam("b_id")).values(decision=bindparam("v_decision"))
)


def _find(tx: Transaction, serial: int) -> CertificateRecord | None:
    """Return the certificate with that serial number, also a deleted one, or its intent without a certificate."""
    try:
        return revocable(tx, serial)
    except UnknownSerial:
        return None


def _recover(
    tx: Transaction,
    issuer_id: int,
    entry: PublishedRevocation,
    period: tuple[datetime, datetime],
    now: datetime,
) -> bool:
    """Record one revocation; return whether the database lacked it."""
    begin, not_after = period
    digits = format_serial(entry.serial)
    if not 0 < entry.serial < SERIAL_END or tx.row(_known, {"b_serial": digits, "b_issuer": issuer_id}) is not None:
        return False
    record = _find(tx, entry.serial)
    on_hold = False
    if record is not None:
        on_hold = record.revoked_at is not None and record.reason is _HOLD
        final = record.revoked_at is not None and not on_hold
        if record.issuer_id != issuer_id or record.not_after < begin or final or (on_hold and entry.reason is _HOLD):
            return False
        not_after = record.not_after
    else:
        listed = tx.row(_taken, {"b_serial": digits})
        if listed is not None and listed[0] != issuer_id:
            return False
    values = {
        "issuer_id": issuer_id,
        "serial": digits,
        "revoked_at": int(entry.revoked_at.timestamp()),
        "reason": int(entry.reason),
        "not_after": int(not_after.timestamp()),
        "was_on_hold": int(on_hold),
        "recovered_at": int(now.timestamp()),
    }
    tx.insert(_insert, values)
    list_revocation(tx, issuer_id, entry.serial, not_after, entry.der)
    if record is not None:
        set_status(tx, record, entry.revoked_at, entry.reason)
    return True


def _drop(tx: Transaction, serial: int, issuer_id: int, revoked_at: datetime, *, reason: int, on_hold: bool) -> None:
    """End a recovered revocation, unless the certificate was revoked otherwise since."""
    record = _find(tx, serial)
    if record is None:
        record_change(tx, issuer_id, format_serial(serial))
    elif (record.revoked_at, record.reason) == (revoked_at, RevocationReason(reason)):
        if on_hold:
            list_revocation(tx, issuer_id, serial, record.not_after, crl_entry(serial, revoked_at, _HOLD))
            set_status(tx, record, revoked_at, _HOLD)
        else:
            record_change(tx, issuer_id, format_serial(serial))
            set_status(tx, record, None, None)


class RecoveryStore(StoreSection):
    """See :class:`pikachu.core.recovery_interfaces.IRecoveryStore`."""

    @read_transaction
    def crl_number(self, tx: Transaction, issuer_id: int) -> int:
        """Return the highest CRL number reserved for an issuer."""
        row = tx.row(_crl_number, {"b_id": issuer_id})
        return 0 if row is None else int(row[0])

    @read_transaction
    def missing_revocations(
        self, tx: Transaction, issuer_id: int, entries: Sequence[PublishedRevocation]
    ) -> list[PublishedRevocation]:
        """Return the entries that differ from the stored ones, or are not stored."""
        c = crl_entries.c
        serials = sorted(format_serial(entry.serial) for entry in entries)
        stored = tx.query(select(c.serial, c.entry).where(c.issuer_id == issuer_id, c.serial.in_(serials)))
        known = {serial: bytes(entry) for serial, entry in stored}
        return [entry for entry in entries if known.get(format_serial(entry.serial)) != entry.der]

    @write_transaction
    def recover_revocations(
        self,
        tx: Transaction,
        issuer_id: int,
        entries: Sequence[PublishedRevocation],
        period: tuple[datetime, datetime],
        event: Event,
        now: datetime,
    ) -> int:
        """Revoke what is not revoked yet until an administrator decides; return the number."""
        count = sum(_recover(tx, issuer_id, entry, period, now) for entry in entries)
        if count:
            write_event(tx, replace(event, details={**event.details, "count": count}), now)
        return count

    @read_transaction
    def undecided_revocations(self, tx: Transaction) -> dict[int, int]:
        """Return the number of undecided recovered revocations by issuer id."""
        return {row[0]: row[1] for row in tx.rows(_counts)}

    @read_transaction
    def recovered_revocations(self, tx: Transaction, after: int, limit: int) -> list[RecoveredRevocation]:
        """Return undecided recovered revocations above *after*, ascending."""
        return [
            RecoveredRevocation(
                row[0],
                row[1],
                int(row[2], 16),
                moment(row[3]),
                RevocationReason(row[4]),
                moment(row[5]),
                row[6] or "",
            )
            for row in tx.rows(_undecided, {"after": after, "rows": limit})
        ]

    @write_transaction
    def decide_recovered(
        self, tx: Transaction, serials: Sequence[int], decision: RecoveryDecision, event: Event, now: datetime
    ) -> list[int]:
        """Decide on undecided recovered revocations; return the serial numbers of these."""
        decided = []
        for serial in serials:
            digits = format_serial(serial)
            rows = tx.rows(_undecided_serial, {"b_serial": digits})
            for row_id, issuer_id, revoked_at, reason, on_hold in rows:
                if decision is RecoveryDecision.DROP:
                    _drop(tx, serial, issuer_id, moment(revoked_at), reason=reason, on_hold=bool(on_hold))
                tx.write(_decide, {"b_id": row_id, "v_decision": decision.value})
            if rows:
                write_event(tx, replace(event, resource_name=digits), now)
                decided.append(serial)
        return decided
