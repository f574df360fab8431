"""Revocation, release and deletion; issuers, their CRLs and service credentials."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, case, delete, exists, select, text, true, union_all, update

from pikachu.core.errors import Conflict, UnknownSerial
from pikachu.core.model.account_objects import NewServiceCredential, ServiceCredential
from pikachu.core.model.certificates import (
    CertificateRecord,
    CRLRecord,
    IssuerRecord,
    RevocationReason,
    StatusChange,
    format_serial,
)
from pikachu.core.model.events import Event
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import find_certificate, find_orphan, find_serial
from pikachu.storage.crl_parts import keep_expired, shard_of
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_rows import certificate_changed, retirement_of
from pikachu.storage.schema import (
    certificates,
    crl_entries,
    crls,
    issuers,
    recovered_revocations,
    requests,
    service_credentials,
    status_changes,
)
from pikachu.storage.transactions import StoreSection, insert_into, moment, read_transaction, write_transaction
from pikachu.x509.crl import crl_entry

# Number of recorded CRLs per issuer.
_REMEMBERED: Final = 1000
# Maximum number of entries that one transaction relists.
_RELISTED: Final = 500
# More than fits into the free space of an existing page.
_PROBE_BYTES: Final = 16384
# Greater than every change id.
_ALL: Final = (1 << 63) - 1

_set_certificate: Final = (
    update(certificates)
    .where(certificates.c.serial == bindparam("b_serial"))
    .values(revoked_at=bindparam("at"), reason=bindparam("why"))
)
_set_orphan: Final = (
    update(requests)
    .where(requests.c.serial == bindparam("b_serial"), text("state <> 'issued'"))
    .values(revoked_at=bindparam("at"), revocation_reason=bindparam("why"))
)
_delete: Final = (
    update(certificates)
    .where(certificates.c.id == bindparam("b_id"), certificates.c.deleted_at.is_(None))
    .values(deleted_at=bindparam("at"))
)
_listed: Final = select(crl_entries.c.change_id).where(crl_entries.c.serial == bindparam("b_serial"))
_unlist: Final = delete(crl_entries).where(crl_entries.c.serial == bindparam("b_serial"))
_list_entry: Final = insert_into(
    crl_entries, "serial", "issuer_id", "change_id", "not_after", "entry", "shard", returning_id=False
)
_unlist_ended: Final = delete(crl_entries).where(
    crl_entries.c.issuer_id == bindparam("b_issuer"),
    crl_entries.c.not_after < bindparam("b_end"),
    # An expression, so that SQLite looks for the few that have expired, and not for all that are listed.
    crl_entries.c.change_id + 0 <= bindparam("b_listed"),
)
# Revoked certificates and serial numbers of intents that have no CRL entry but need one.
_unlisted: Final = union_all(
    *(
        select(table.c.serial, table.c.revoked_at, reason, table.c.not_after).where(
            table.c.issuer_id == bindparam("b_issuer"),
            table.c.revoked_at.is_not(None),
            table.c.not_after >= bindparam("b_now"),
            condition,
            ~exists().where(crl_entries.c.serial == table.c.serial),
        )
        for table, reason, condition in (
            (certificates, certificates.c.reason, true()),
            (requests, requests.c.revocation_reason, text("state <> 'issued'")),
        )
    )
).limit(_RELISTED)
_insert_change: Final = insert_into(status_changes, "issuer_id", "serial", "replaces", "shard")

# Releasing a certificate decides on its recovered revocation too.
_release_recovered: Final = (
    update(recovered_revocations)
    .where(
        recovered_revocations.c.serial == bindparam("b_serial"),
        recovered_revocations.c.issuer_id == bindparam("b_issuer"),
        recovered_revocations.c.decision.is_(None),
    )
    .values(decision="drop")
)

#: What :func:`issuer_record` reads.
ISSUER_COLUMNS: Final = (
    issuers.c.id,
    issuers.c.name,
    issuers.c.key_identifier,
    issuers.c.certificate,
    issuers.c.created_at,
)
_issuer: Final = select(*ISSUER_COLUMNS).where(issuers.c.key_identifier == bindparam("b_key"))
#: How far CRL numbers are raised by a restoration: above all that were published since the backup, also where two
#: CRLs were made each second for three months.
CRL_NUMBER_STEP: Final = 1 << 24
_insert_issuer: Final = insert_into(issuers, "name", "key_identifier", "certificate", "created_at", "crl_number")
_renew_issuer: Final = (
    update(issuers).where(issuers.c.id == bindparam("b_id")).values(name=bindparam("n"), certificate=bindparam("der"))
)
_above: Final[ColumnElement[int]] = bindparam("above")
_next_number: Final = (
    update(issuers)
    .where(issuers.c.id == bindparam("b_id"))
    .values(crl_number=case((issuers.c.crl_number < _above, _above), else_=issuers.c.crl_number) + 1)
    .returning(issuers.c.crl_number)
)
_CRL_FIELDS: Final = ("issuer_id", "number", "this_update", "next_update", "entries", "last_change")
_insert_crl: Final = insert_into(crls, *_CRL_FIELDS, returning_id=False)
_forget_crls: Final = delete(crls).where(crls.c.issuer_id == bindparam("b_issuer"), crls.c.number < bindparam("b_from"))

_credentials: Final = (
    select(service_credentials.c.id, service_credentials.c.certificate, service_credentials.c.sealed_key)
    .where(
        service_credentials.c.key_identifier == bindparam("b_key"),
        service_credentials.c.purpose == bindparam("b_purpose"),
    )
    .order_by(service_credentials.c.id.desc())
)
_insert_credential: Final = insert_into(
    service_credentials, "key_identifier", "purpose", "certificate", "sealed_key", "created_at"
)
_set_sealed_key: Final = (
    update(service_credentials)
    .where(service_credentials.c.id == bindparam("b_id"))
    .values(sealed_key=bindparam("v_sealed"))
)
_delete_credential: Final = delete(service_credentials).where(service_credentials.c.id == bindparam("b_id"))


def record_change(tx: Transaction, issuer_id: int, serial: str, shard: int | None = None) -> int:
    """Log a status change and delete the certificate's CRL entry.

    :param shard: the shard whose CRL lists the certificate, if that is known.
    """
    if shard is None:
        shard = shard_of(tx, issuer_id, serial)
    listed = tx.row(_listed, {"b_serial": serial})
    replaces = 0 if listed is None else listed[0]
    values = {"issuer_id": issuer_id, "serial": serial, "replaces": replaces, "shard": shard}
    change = tx.insert(_insert_change, values)
    if listed is not None:
        tx.write(_unlist, {"b_serial": serial})
    tx.changes.append(StatusChange(change, issuer_id, int(serial, 16)))
    return change


def list_revocation(
    tx: Transaction, issuer_id: int, serial: int, not_after: datetime, entry: bytes, *, shard: int | None = None
) -> None:
    """Log a status change and store the CRL entry that follows from it, in place of a previous one.

    :param not_after: the end of the certificate, after which the entry may be dropped.
    :param shard: as for :func:`record_change`.
    """
    digits = format_serial(serial)
    if shard is None:
        shard = shard_of(tx, issuer_id, digits)
    values = {
        "serial": digits,
        "issuer_id": issuer_id,
        "change_id": record_change(tx, issuer_id, digits, shard),
        "not_after": int(not_after.timestamp()),
        "entry": entry,
        "shard": shard,
    }
    tx.write(_list_entry, values)


def revocable(tx: Transaction, serial: int) -> CertificateRecord:
    """Return the certificate with that serial number, or its intent without a certificate."""
    try:
        return find_serial(tx, serial, deleted=True)
    except UnknownSerial:
        orphan = find_orphan(tx, serial)
        if orphan is None:
            raise
        return orphan


def set_status(
    tx: Transaction, record: CertificateRecord, revoked_at: datetime | None, reason: RevocationReason | None
) -> CertificateRecord:
    """Store revocation date and reason of a certificate, or that it is not revoked, and return its record."""
    values = {
        "b_serial": format_serial(record.serial),
        "at": None if revoked_at is None else int(revoked_at.timestamp()),
        "why": None if reason is None else int(reason),
    }
    tx.write(_set_certificate if record.id else _set_orphan, values)
    if record.id:
        certificate_changed(tx, record.id)
    return revocable(tx, record.serial)


def _about(event: Event, record: CertificateRecord) -> Event:
    """Return *event* with the certificate's owner and subject, so that a search for a device finds it."""
    return replace(event, owner_id=record.owner_id, details={**event.details, "subject": record.subject})


def issuer_record(row: Row) -> IssuerRecord:
    """Return the record of a row of :data:`ISSUER_COLUMNS`."""
    return IssuerRecord(row[0], row[1], bytes(row[2]), bytes(row[3]), moment(row[4]))


def register_issuer(
    tx: Transaction, name: str, key_identifier: bytes, certificate: bytes, now: datetime
) -> IssuerRecord:
    """See :meth:`pikachu.core.interfaces.IIssuanceStore.register_issuer`."""
    row = tx.row(_issuer, {"b_key": key_identifier})
    if row is None:
        values = {
            "name": name,
            "key_identifier": key_identifier,
            "certificate": certificate,
            "created_at": int(now.timestamp()),
            "crl_number": 0,
        }
        tx.insert(_insert_issuer, values)
    elif (row[1], bytes(row[3])) != (name, certificate):
        tx.write(_renew_issuer, {"b_id": row[0], "n": name, "der": certificate})
    row = tx.row(_issuer, {"b_key": key_identifier})
    assert row is not None  # noqa: S101 - written above
    return issuer_record(row)


def _service_credentials(tx: Transaction, key_identifier: bytes, purpose: str) -> list[ServiceCredential]:
    rows = tx.rows(_credentials, {"b_key": key_identifier, "b_purpose": purpose})
    return [
        ServiceCredential(row_id, key_identifier, purpose, bytes(certificate), bytes(sealed))
        for row_id, certificate, sealed in rows
    ]


def insert_credential(tx: Transaction, credential: NewServiceCredential, now: datetime) -> None:
    """Insert a service key, sealed for its row."""
    values = {
        "key_identifier": credential.key_identifier,
        "purpose": credential.purpose,
        "certificate": credential.certificate,
        "sealed_key": b"",
        "created_at": int(now.timestamp()),
    }
    row_id = tx.insert(_insert_credential, values)
    tx.write(_set_sealed_key, {"b_id": row_id, "v_sealed": credential.seal(row_id)})


def insert_crl(tx: Transaction, record: CRLRecord) -> None:
    """Record a published CRL, and forget one of long ago."""
    values = (
        record.issuer_id,
        record.number,
        int(record.this_update.timestamp()),
        int(record.next_update.timestamp()),
        record.entries,
        record.last_change,
    )
    tx.write(_insert_crl, dict(zip(_CRL_FIELDS, values, strict=True)))
    tx.write(_forget_crls, {"b_issuer": record.issuer_id, "b_from": record.number - _REMEMBERED})


def prove_writable(tx: Transaction) -> None:
    """Insert a row of several pages and delete it in the same transaction."""
    values = {
        "key_identifier": b"",
        "purpose": "probe",
        # PostgreSQL compresses what is uniform.
        "certificate": os.urandom(_PROBE_BYTES),
        "sealed_key": b"",
        "created_at": 0,
    }
    tx.write(_delete_credential, {"b_id": tx.insert(_insert_credential, values)})


def revoke_record(
    tx: Transaction,
    record: CertificateRecord,
    revoked_at: datetime,
    reason: RevocationReason,
    event: Event,
    now: datetime | None = None,
) -> tuple[CertificateRecord, bool]:
    """Revoke a certificate; return (record, whether anything changed).

    :param now: the time of the event, where that is not the revocation date.
    """
    hold = RevocationReason.CERTIFICATE_HOLD
    if record.revoked_at is not None and (record.reason is not hold or reason is hold):
        return record, False
    first = revoked_at if record.revoked_at is None else record.revoked_at
    list_revocation(tx, record.issuer_id, record.serial, record.not_after, crl_entry(record.serial, first, reason))
    changed = set_status(tx, record, first, reason)
    write_event(tx, _about(event, record), now or revoked_at)
    return changed, True


def revoke_with_device(tx: Transaction, certificate_id: int, event: Event, now: datetime) -> None:
    """Revoke a certificate that is not expired if its device was retired before it was known to be in force."""
    retirement = retirement_of(tx, certificate_id)
    if retirement is None:
        return
    serial, reason = retirement
    record = find_serial(tx, serial, deleted=True)
    if record.not_after > now:
        about = replace(event, type="revoke", resource_type="certificate", resource_name=f"{serial:x}")
        revoke_record(tx, record, now, reason, about)


class RevocationStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IIssuanceStore`."""

    @write_transaction
    def revoke(
        self,
        tx: Transaction,
        serial: int,
        revoked_at: datetime,
        reason: RevocationReason,
        event: Event,
        now: datetime | None = None,
    ) -> tuple[CertificateRecord, bool]:
        """Revoke a certificate, also a deleted one; return (record, whether anything changed).  UnknownSerial.

        :param now: the time of the event, where that is not the revocation date.
        """
        return revoke_record(tx, revocable(tx, serial), revoked_at, reason, event, now)

    @write_transaction
    def release(self, tx: Transaction, serial: int, event: Event, now: datetime) -> CertificateRecord:
        """Release a certificate from hold; UnknownSerial, Conflict."""
        record = find_serial(tx, serial, deleted=True)
        if record.revoked_at is None and record.deleted_at is not None:
            raise UnknownSerial("no certificate has this serial")
        if record.reason is not RevocationReason.CERTIFICATE_HOLD:
            raise Conflict("this certificate is not on hold")
        record_change(tx, record.issuer_id, format_serial(serial))
        tx.write(_release_recovered, {"b_serial": format_serial(serial), "b_issuer": record.issuer_id})
        changed = set_status(tx, record, None, None)
        write_event(tx, _about(event, record), now)
        return changed

    @write_transaction
    def delete_certificate(self, tx: Transaction, certificate_id: int, event: Event, now: datetime) -> None:
        """Hide a certificate from lists; it stays revoked if it was.  NotFound."""
        record = find_certificate(tx, certificate_id)
        tx.write(_delete, {"b_id": record.id, "at": int(now.timestamp())})
        certificate_changed(tx, record.id, is_deleted=True)
        # A status change invalidates cached OCSP answers with status good.
        if record.revoked_at is None:
            record_change(tx, record.issuer_id, format_serial(record.serial))
        write_event(tx, _about(event, record), now)

    @write_transaction
    def next_crl_number(self, tx: Transaction, issuer_id: int, above: int) -> int:
        """Return a CRL number greater than *above* and all previous ones."""
        return tx.insert(_next_number, {"b_id": issuer_id, "above": above})

    @write_transaction
    def record_crl(self, tx: Transaction, record: CRLRecord) -> None:
        """Record a published CRL."""
        insert_crl(tx, record)

    @write_transaction
    def drop_listed_expired(
        self, tx: Transaction, issuer_id: int, ended_before: datetime, listed: int = _ALL, number: int | None = None
    ) -> int:
        """Delete the CRL entries, up to change *listed*, of certificates that expired before *ended_before*; return
        their number.  Entries must be read from 0 afterwards.

        :param number: the number of the newest full CRL, if delta CRLs are to remove what it lists.
        """
        end = int(ended_before.timestamp())
        if number is not None:
            keep_expired(tx, issuer_id, number, end, listed)
        return tx.write(_unlist_ended, {"b_issuer": issuer_id, "b_end": end, "b_listed": listed})

    @write_transaction
    def relist_unexpired(self, tx: Transaction, issuer_id: int, now: datetime) -> int:
        """Restore some missing CRL entries of unexpired revoked certificates; return their number."""
        rows = tx.rows(_unlisted, {"b_issuer": issuer_id, "b_now": int(now.timestamp())})
        for serial, revoked_at, reason, not_after in rows:
            number = int(serial, 16)
            entry = crl_entry(number, moment(revoked_at), RevocationReason(reason))
            list_revocation(tx, issuer_id, number, moment(not_after), entry)
        return len(rows)

    @read_transaction
    def service_credential(self, tx: Transaction, key_identifier: bytes, purpose: str) -> ServiceCredential | None:
        """Return the newest credential, or None."""
        credentials = _service_credentials(tx, key_identifier, purpose)
        return credentials[0] if credentials else None

    @read_transaction
    def service_credentials(self, tx: Transaction, key_identifier: bytes, purpose: str) -> list[ServiceCredential]:
        """Return all credentials of an issuer key and purpose, newest first."""
        return _service_credentials(tx, key_identifier, purpose)

    @write_transaction
    def put_service_credential(self, tx: Transaction, credential: NewServiceCredential, now: datetime) -> None:
        """Store a credential."""
        insert_credential(tx, credential, now)
