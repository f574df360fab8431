"""Revocations that a published CRL has and the database lacks, since it was restored from an older copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, Integer, bindparam, case, func, literal_column, or_, select, update

from pikachu.core.errors import NotFound, UnknownSerial
from pikachu.core.model.certificates import (
    SERIAL_END,
    CertificateRecord,
    PublishedRevocation,
    RevocationReason,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.recovery_interfaces import UNDECIDED, RecoveredRevocation, RecoveryDecision
from pikachu.storage.audit import write_event
from pikachu.storage.certificate_filters import issued_by
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, begins_with, checked, matching, one_of, page
from pikachu.storage.revocation import (
    CRL_NUMBER_STEP,
    list_revocation,
    record_change,
    revocable,
    revoke_with_device,
    set_status,
)
from pikachu.storage.schema import certificates, crl_entries, crls, issuers, recovered_revocations
from pikachu.storage.transactions import StoreSection, insert_into, moment, read_transaction, row_id, write_transaction
from pikachu.x509.crl import crl_entry

_HOLD: Final = RevocationReason.CERTIFICATE_HOLD

_r: Final = recovered_revocations.c
_published: Final = func.coalesce(
    select(func.max(crls.c.number)).where(crls.c.issuer_id == issuers.c.id).scalar_subquery(), literal_column("0")
)
# A restoration has raised the numbers; a CRL on disk may still be newer than the database.
_was_restored: Final = issuers.c.crl_number - _published >= literal_column(str(CRL_NUMBER_STEP))
_crl_number: Final = select(case((_was_restored, _published), else_=issuers.c.crl_number)).where(
    issuers.c.id == bindparam("b_id")
)
_known: Final = select(_r.id).where(_r.serial == bindparam("b_serial"), _r.issuer_id == bindparam("b_issuer"))
_taken: Final = select(crl_entries.c.issuer_id).where(crl_entries.c.serial == bindparam("b_serial"))
_stored: Final = (
    select(crl_entries.c.change_id, crl_entries.c.entry)
    .where(crl_entries.c.issuer_id == bindparam("b_issuer"), crl_entries.c.change_id > bindparam("after"))
    .order_by(crl_entries.c.change_id)
    .limit(bindparam("rows", type_=Integer))
)
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
_COLUMNS: Final = (_r.id, _r.issuer_id, _r.serial, _r.revoked_at, _r.reason, _r.recovered_at, _r.decision)
_by_id: Final = select(*_COLUMNS).where(_r.id == bindparam("b_id"))
_subject: Final = select(certificates.c.subject).where(certificates.c.serial == _r.serial).scalar_subquery()
_undecided_serial: Final = select(_r.id, _r.issuer_id, _r.revoked_at, _r.reason, _r.was_on_hold).where(
    _r.decision.is_(None), _r.serial == bindparam("b_serial")
)
_decide: Final = (
    update(recovered_revocations).where(_r.id == bindparam("b_id")).values(decision=bindparam("v_decision"))
)


def _record(row: Row) -> RecoveredRevocation:
    identity, issuer_id, serial, revoked_at, reason, recovered_at, decision = row
    return RecoveredRevocation(
        identity,
        issuer_id,
        int(serial, 16),
        moment(revoked_at),
        RevocationReason(reason),
        moment(recovered_at),
        None if decision is None else RecoveryDecision(decision),
    )


def _with_certificates(tx: Transaction, items: Sequence[RecoveredRevocation]) -> list[RecoveredRevocation]:
    """Add the certificates' subjects and ids."""
    c = certificates.c
    serials = [format_serial(one.serial) for one in items]
    rows = tx.query(select(c.serial, c.subject, c.id, c.deleted_at).where(c.serial.in_(serials)))
    known = {int(serial, 16): (subject, None if deleted else identity) for serial, subject, identity, deleted in rows}
    return [
        replace(one, subject=known[one.serial][0], certificate_id=known[one.serial][1]) if one.serial in known else one
        for one in items
    ]


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
    shard: int | None,
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
    list_revocation(tx, issuer_id, entry.serial, not_after, entry.der, shard=shard)
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
        """Return the highest CRL number reserved for an issuer; after a restoration, before its first CRL, the highest
        one published before the backup.
        """
        row = tx.row(_crl_number, {"b_id": issuer_id})
        return 0 if row is None else int(row[0])

    @read_transaction
    def stored_crl_entries(self, tx: Transaction, issuer_id: int, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return the next CRL entries of an issuer."""
        rows = tx.rows(_stored, {"b_issuer": issuer_id, "after": after, "rows": limit})
        return [(row[0], bytes(row[1])) for row in rows]

    @read_transaction
    def missing_revocations(self, tx: Transaction, issuer_id: int, entries: Mapping[str, bytes]) -> list[bytes]:
        """Return the entries that differ from the stored ones, or are not stored."""
        # Literal values: binding a thousand parameters takes longer than the query.
        serials: BindParameter[str] = bindparam(
            "serials", list(entries), unique=True, expanding=True, literal_execute=True
        )
        c = crl_entries.c
        rows = tx.query(select(c.entry).where(c.issuer_id == issuer_id, c.serial.in_(serials)))
        stored = {bytes(row[0]) for row in rows}
        return [entry for entry in entries.values() if entry not in stored]

    @write_transaction
    def recover_revocations(
        self,
        tx: Transaction,
        issuer_id: int,
        entries: Sequence[PublishedRevocation],
        period: tuple[datetime, datetime],
        event: Event,
        now: datetime,
        shard: int | None = None,
    ) -> int:
        """Revoke what is not revoked yet until an administrator decides; return the number."""
        count = sum(_recover(tx, issuer_id, entry, period, now, shard) for entry in entries)
        if count:
            write_event(tx, replace(event, details={**event.details, "count": count}), now)
        return count

    @read_transaction
    def undecided_revocations(self, tx: Transaction) -> dict[int, int]:
        """Return the number of undecided recovered revocations by issuer id."""
        return {row[0]: row[1] for row in tx.rows(_counts)}

    @read_transaction
    def recovered_revocations(self, tx: Transaction, query: ListQuery) -> Page[RecoveredRevocation]:
        """List recovered revocations."""
        checked(query, ("decision", "issuer", "reason"))
        conditions: list[ColumnElement[bool]] = []
        decision = one_of(query, "decision", (UNDECIDED, *RecoveryDecision))
        if decision == UNDECIDED:
            conditions.append(_r.decision.is_(None))
        elif decision is not None:
            conditions.append(_r.decision == decision)
        if "issuer" in query.filters:
            conditions.append(issued_by(tx, _r.issuer_id, query.filters["issuer"]))
        if "reason" in query.filters:
            conditions.append(_r.reason == int(RevocationReason.from_name(query.filters["reason"])))
        if digits := (query.q or "").strip().lower():
            by_subject = matching(tx, query, (_r.id, _subject), conditions)
            conditions.append(or_(begins_with(_r.serial, digits), *by_subject))
        sorts = {"id": _r.id, "recovered_at": _r.id, "revoked_at": _r.revoked_at}
        found = page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)
        return replace(found, items=tuple(_with_certificates(tx, found.items)))

    @read_transaction
    def recovered_revocation(self, tx: Transaction, recovered_id: int) -> RecoveredRevocation:
        """Return the recovered revocation with that id; NotFound."""
        row = tx.row(_by_id, {"b_id": row_id(recovered_id)})
        if row is None:
            raise NotFound("No recovered revocation has this id.")
        return _with_certificates(tx, [_record(row)])[0]

    @write_transaction
    def decide_recovered(
        self, tx: Transaction, serials: Sequence[int], decision: RecoveryDecision, event: Event, now: datetime
    ) -> list[int]:
        """Decide on undecided recovered revocations; return the serial numbers of these."""
        decided = []
        for serial in serials:
            digits = format_serial(serial)
            rows = tx.rows(_undecided_serial, {"b_serial": digits})
            for identity, issuer_id, revoked_at, reason, on_hold in rows:
                if decision is RecoveryDecision.DROP:
                    _drop(tx, serial, issuer_id, moment(revoked_at), reason=reason, on_hold=bool(on_hold))
                    record = _find(tx, serial)
                    if record is not None:
                        revoke_with_device(tx, record.id, event, now)
                tx.write(_decide, {"b_id": identity, "v_decision": decision.value})
            if rows:
                write_event(tx, replace(event, resource_name=digits), now)
                decided.append(serial)
        return decided
