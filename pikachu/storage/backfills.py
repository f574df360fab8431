"""Backfills: values that are added to the rows of an earlier version in the background (see docs/adr/0023).

A backfill has a row with its position, which moves in the transaction that changes the rows, so that neither a crash
nor a second process does any of them twice.  It ends with the deletion of that row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, bindparam, delete, select, text, update

from pikachu.core.backfill_interfaces import Backlog, IndexedCertificate, UnindexedCertificate
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_rows import Enrollment, add_enrollment, refresh_device
from pikachu.storage.revocation import revoke_with_device
from pikachu.storage.schema import backfills, certificates, challenges
from pikachu.storage.transactions import StoreSection, read_transaction, write_transaction
from pikachu.x509.device_names import bound_device_key, certified_device_name
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import name_key, search_text

#: The backfill of the texts by which certificates are found.
SEARCH: Final = "search"
#: The backfill of fingerprints.
FINGERPRINTS: Final = "fingerprints"
#: The backfill of devices.
DEVICES: Final = "devices"

_c: Final = certificates.c
_b: Final = backfills.c
_is_named: Final = _b.name == bindparam("b_backfill")
_backlog: Final = select(_b.before, _b.total).where(_is_named)
_next: Final = (
    select(_c.id, _c.serial, _c.subject, _c.common_name, _c.key_type, _c.method, _c.name_key, _c.der)
    .where(_c.id < bindparam("b_before"), _c.search_text.is_(None))
    .order_by(_c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
_next_without_fingerprint: Final = (
    select(_c.id, _c.der)
    .where(_c.id < bindparam("b_before"))
    .order_by(_c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
_next_without_device: Final = (
    select(
        _c.id,
        _c.common_name,
        _c.owner_id,
        _c.policy,
        _c.method,
        _c.created_at,
        _c.not_before,
        _c.not_after,
        _c.revoked_at,
        _c.deleted_at,
        _c.infrastructure,
        _c.device_id,
        _c.der,
    )
    .where(_c.id < bindparam("b_before"))
    .order_by(_c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
_ch: Final = challenges.c
# The names of unused ones, which a retirement may end.
_unnamed: Final = (
    select(_ch.id, _ch.subject_der, _ch.sans)
    .where(text("consumed_at IS NULL"), _ch.subject_der.is_not(None), _ch.device_key.is_(None))
    .limit(bindparam("b_limit", type_=Integer))
)
_set_device_key: Final = update(challenges).where(_ch.id == bindparam("b_id")).values(device_key=bindparam("v_key"))
_set_device: Final = update(certificates).where(_c.id == bindparam("b_id")).values(device_id=bindparam("v_device"))
_move: Final = (
    update(backfills).where(_is_named, _b.before == bindparam("b_before")).values(before=bindparam("position"))
)
_end: Final = delete(backfills).where(_is_named, _b.before == bindparam("b_before"))
_set_text: Final = (
    update(certificates)
    .where(_c.id == bindparam("b_id"))
    .values(sans=bindparam("v_sans"), search_text=bindparam("v_text"))
)
# Apart from the texts, since this changes indexes.
_set_name: Final = update(certificates).where(_c.id == bindparam("b_id")).values(name_key=bindparam("v_name"))


_set_fingerprint: Final = (
    update(certificates).where(_c.id == bindparam("b_id")).values(fingerprint=bindparam("v_fingerprint"))
)


def unindexed_certificates(tx: Transaction) -> int:
    """Return an upper bound of the number of certificates that free text does not find yet."""
    for name in (SEARCH, FINGERPRINTS):
        row = tx.row(_backlog, {"b_backfill": name})
        if row is not None:
            return min(int(row[0]) - 1, int(row[1]))
    return 0


def unassigned_certificates(tx: Transaction) -> int:
    """Return an upper bound of the number of certificates that belong to no device yet."""
    row = tx.row(_backlog, {"b_backfill": DEVICES})
    return 0 if row is None else min(int(row[0]) - 1, int(row[1]))


def texts_of(rows: Sequence[UnindexedCertificate]) -> list[IndexedCertificate]:
    """Return the names and texts of certificates; takes milliseconds for hundreds."""
    indexed = []
    for row in rows:
        sans = certificate_sans(row.der)
        words = search_text(row.subject, sans, row.key_type, row.method)
        name = name_key(row.common_name, sans, row.serial)
        indexed.append(IndexedCertificate(row.id, json.dumps(sans), words, None if name == row.name_key else name))
    return indexed


def _advance(tx: Transaction, name: str, before: int, position: int | None) -> bool:
    """Move a backfill to *position*, or end it without one; return False if another process has done it before."""
    at = {"b_backfill": name, "b_before": before}
    return (tx.write(_end, at) if position is None else tx.write(_move, {**at, "position": position})) == 1


def _assign(tx: Transaction, row: Row, now: datetime) -> None:
    """Assign a certificate to its device, which may have newer ones, and may be retired."""
    identity, common_name, owner_id, policy, method, at, not_before, not_after, revoked_at, deleted_at, *rest = row
    infrastructure, device_id, der = rest
    if infrastructure is not None or method == Method.CA or device_id is not None:
        return
    der = bytes(der)
    name = certified_device_name(der, common_name, certificate_sans(der))
    if not name:
        return
    in_force, is_listed = revoked_at is None and deleted_at is None, deleted_at is None
    device = add_enrollment(
        tx,
        Enrollment(name, owner_id, policy, method, "", at, not_before, not_after, in_force, is_listed),
        is_newest=False,
    )
    tx.write(_set_device, {"b_id": identity, "v_device": device.id})
    if device.is_ended and in_force:
        # Its newer certificates are not in force.
        refresh_device(tx, device.id)
    if device.retired is not None:
        revoke_with_device(tx, identity, Event("revoke", "certificate", "", SYSTEM.name), now)


class BackfillStore(StoreSection):
    """See :class:`pikachu.core.backfill_interfaces.IBackfillStore`."""

    @read_transaction
    def search_backlog(self, tx: Transaction) -> Backlog | None:
        """Return the position of the backfill of search texts, or None when it is complete."""
        row = tx.row(_backlog, {"b_backfill": SEARCH})
        return None if row is None else Backlog(row[0], row[1])

    @read_transaction
    def unindexed(self, tx: Transaction, before: int, limit: int) -> list[UnindexedCertificate]:
        """Return the newest certificates without a search text whose ids are below *before*."""
        rows = tx.rows(_next, {"b_before": before, "b_limit": limit})
        return [UnindexedCertificate(*row) for row in rows]

    @write_transaction
    def index_certificates(self, tx: Transaction, before: int, rows: Sequence[IndexedCertificate]) -> bool:
        """Store the texts of the certificates that :meth:`unindexed` returned; no rows end the backfill.

        :return: whether this process has done it, and no other one before.
        """
        if not _advance(tx, SEARCH, before, rows[-1].id if rows else None):
            return False
        if not rows:
            return True
        tx.write_many(_set_text, [{"b_id": row.id, "v_sans": row.sans, "v_text": row.text} for row in rows])
        renamed = [{"b_id": row.id, "v_name": row.name_key} for row in rows if row.name_key is not None]
        if renamed:
            tx.write_many(_set_name, renamed)
        tx.texts.extend((row.id, row.text) for row in rows)
        return True

    @write_transaction
    def fingerprint_certificates(self, tx: Transaction, limit: int) -> bool:
        """Store the fingerprints of the next *limit* certificates; return whether all have one."""
        row = tx.row(_backlog, {"b_backfill": FINGERPRINTS})
        if row is None:
            return True
        rows = tx.rows(_next_without_fingerprint, {"b_before": row[0], "b_limit": limit})
        if _advance(tx, FINGERPRINTS, row[0], rows[-1][0] if rows else None) and rows:
            digests = [{"b_id": row_id, "v_fingerprint": hashlib.sha256(bytes(der)).digest()} for row_id, der in rows]
            tx.write_many(_set_fingerprint, digests)
        return not rows

    @write_transaction
    def assign_devices(self, tx: Transaction, limit: int, now: datetime) -> Backlog | None:
        """Assign the next *limit* certificates to their devices, then challenge passwords; those of retired devices are
        revoked.

        :return: the position, or ``None`` when all are assigned.
        """
        row = tx.row(_backlog, {"b_backfill": DEVICES})
        if row is None:
            return None
        rows = tx.rows(_next_without_device, {"b_before": row[0], "b_limit": limit})
        for each in rows:
            _assign(tx, each, now)
        unnamed = [] if rows else tx.rows(_unnamed, {"b_limit": limit})
        for identity, subject, sans in unnamed:
            tx.write(_set_device_key, {"b_id": identity, "v_key": bound_device_key(bytes(subject), sans.splitlines())})
        if unnamed:
            return Backlog(row[0], row[1])
        _advance(tx, DEVICES, row[0], rows[-1][0] if rows else None)
        return Backlog(rows[-1][0], row[1]) if rows else None
