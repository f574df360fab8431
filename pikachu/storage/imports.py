"""Import of certificates that another program has issued with a CA of this server (OPS-7)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select, update

from pikachu.core.import_interfaces import IMPORTED_POLICY, ImportedCertificate, ImportOutcome
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason, format_serial
from pikachu.core.model.events import Event
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import ISSUED_FIELDS, find_orphan, find_serial
from pikachu.storage.database import Transaction
from pikachu.storage.device_rows import DeviceRow, Enrollment, add_enrollment, refresh_device
from pikachu.storage.revocation import list_revocation, revoke_record, revoke_with_device
from pikachu.storage.schema import certificates, issuers
from pikachu.storage.transactions import StoreSection, insert_into, read_transaction, write_transaction
from pikachu.x509.crl import crl_entry
from pikachu.x509.device_names import certified_device_name
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import name_key, search_text

_known: Final = select(certificates.c.der).where(certificates.c.serial == bindparam("b_serial"))
_raise: Final = (
    update(issuers)
    .where(issuers.c.id == bindparam("b_id"), issuers.c.crl_number < bindparam("v_number"))
    .values(crl_number=bindparam("v_number"))
)
_insert: Final = insert_into(certificates, *ISSUED_FIELDS, "revoked_at", "reason", "device_id")


def _compare(tx: Transaction, item: ImportedCertificate) -> tuple[ImportOutcome, CertificateRecord | None]:
    """Return what is to be done with a certificate, and its record if it is known."""
    row = tx.row(_known, {"b_serial": format_serial(item.serial)})
    if row is None:
        return (ImportOutcome.CONFLICT if find_orphan(tx, item.serial) else ImportOutcome.NEW), None
    if bytes(row[0]) != item.der:
        return ImportOutcome.CONFLICT, None
    record = find_serial(tx, item.serial, deleted=True)
    hold = RevocationReason.CERTIFICATE_HOLD
    is_final = record.revoked_at is not None and (record.reason is not hold or item.reason is hold)
    return (ImportOutcome.KNOWN if item.revoked_at is None or is_final else ImportOutcome.REVOKED), record


def _insert_row(tx: Transaction, item: ImportedCertificate, event: Event, now: datetime) -> None:
    sans, serial, at = certificate_sans(item.der), format_serial(item.serial), int(now.timestamp())
    text = search_text(item.subject, sans, item.key_type, Method.IMPORT)
    begin, end = int(item.not_before.timestamp()), int(item.not_after.timestamp())
    in_force = item.revoked_at is None
    device: DeviceRow | None = None
    if name := certified_device_name(item.der, item.common_name, sans):
        # Devices may have newer certificates of this CA.
        device = add_enrollment(
            tx,
            Enrollment(name, None, IMPORTED_POLICY, Method.IMPORT.value, "", at, begin, end, in_force),
            is_newest=False,
        )
    values = {
        "serial": serial,
        "issuer_id": item.issuer_id,
        "subject": item.subject,
        "common_name": item.common_name,
        "name_key": name_key(item.common_name, sans, serial),
        "key_type": item.key_type,
        "key_id": item.key_id,
        "not_before": begin,
        "not_after": end,
        "method": Method.IMPORT.value,
        "policy": IMPORTED_POLICY,
        "der": item.der,
        "created_at": at,
        "revoked_at": None if item.revoked_at is None else int(item.revoked_at.timestamp()),
        "reason": None if item.reason is None else int(item.reason),
        "sans": json.dumps(sans),
        "search_text": text,
        "fingerprint": hashlib.sha256(item.der).digest(),
        "device_id": None if device is None else device.id,
    }
    identity = tx.insert(_insert, values)
    tx.texts.append((identity, text))
    if item.revoked_at is not None and item.not_after > now:
        entry = crl_entry(item.serial, item.revoked_at, item.reason)
        list_revocation(tx, item.issuer_id, item.serial, item.not_after, entry)
    if device is not None:
        refresh_device(tx, device.id)
        if in_force:
            revoke_with_device(tx, identity, event, now)


class ImportStore(StoreSection):
    """See :class:`pikachu.core.import_interfaces.IImportStore`."""

    @read_transaction
    def compare_imports(self, tx: Transaction, items: Sequence[ImportedCertificate]) -> list[ImportOutcome]:
        """Return what an import would do with each certificate."""
        return [_compare(tx, item)[0] for item in items]

    @write_transaction
    def import_certificates(
        self, tx: Transaction, items: Sequence[ImportedCertificate], event: Event, now: datetime
    ) -> list[ImportOutcome]:
        """Insert what is new, and revoke what is revoked; return what was done with each."""
        outcomes = []
        for item in items:
            outcome, record = _compare(tx, item)
            serial = format_serial(item.serial)
            details = {**event.details, "serial": serial, "subject": item.subject}
            about = replace(event, resource_name=serial, details=details)
            if outcome is ImportOutcome.NEW:
                _insert_row(tx, item, about, now)
                write_event(tx, about, now)
            elif outcome is ImportOutcome.REVOKED and record is not None and item.revoked_at is not None:
                reason = item.reason or RevocationReason.UNSPECIFIED
                revoke_record(tx, record, item.revoked_at, reason, replace(about, type="revoke"), now)
            outcomes.append(outcome)
        return outcomes

    @write_transaction
    def raise_crl_number(self, tx: Transaction, issuer_id: int, number: int) -> bool:
        """Let the next CRL of an issuer have a number above *number*; return whether that changed anything."""
        return tx.write(_raise, {"b_id": issuer_id, "v_number": number}) > 0
