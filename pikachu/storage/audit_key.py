"""The key of the audit log (AUD-3): created once, and sealed in the database under SECRET_KEY.

It is random and stays when SECRET_KEY changes, so that old events verify.  Sealed with it are the number and the last
hash of the events that are older than the key, so that nobody can pass off later events as older ones.  Its creation
ends the time in which values that are not bound to their rows (:mod:`pikachu.storage.sealed_columns`) are accepted.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from functools import partial
from typing import Final

from twisted.logger import Logger

from sqlalchemy import delete, select

from pikachu.core.audit_interfaces import CHAIN_START, ChainPosition
from pikachu.core.errors import Conflict, SecretKeyChanged
from pikachu.core.model.events import Event
from pikachu.core.sealing import Sealer, audit_key_row
from pikachu.storage.audit import verify_next, write_event
from pikachu.storage.database import AuditKey, Database, Transaction
from pikachu.storage.schema import audit_events, audit_head, audit_keys
from pikachu.storage.sealed_columns import bind_rows, newest_sealed, opens
from pikachu.storage.transactions import insert_into

log = Logger()

_PURPOSE: Final = "audit key"
_ROW: Final = 1
_SIZE_BYTES: Final = 32
_LOST: Final = "the key of the audit log was removed from the database, so events before this one prove nothing"

_sealed: Final = select(audit_keys.c.sealed).where(audit_keys.c.id == _ROW)
_insert: Final = insert_into(audit_keys, "id", "name", "sealed", "created_at", returning_id=False)
_delete: Final = delete(audit_keys).where(audit_keys.c.id == _ROW)
_head: Final = select(audit_head.c.count, audit_head.c.hash).where(audit_head.c.id == 1)
_seal: Final = (
    select(audit_events.c.id)
    .where(audit_events.c.resource_type == "configuration", audit_events.c.type == "seal")
    .limit(1)
)
_last: Final = select(audit_events.c.id, audit_events.c.hash).order_by(audit_events.c.id.desc()).limit(1)
_delete_head: Final = delete(audit_head)
_insert_head: Final = insert_into(audit_head, "id", "count", "hash", returning_id=False)


def new_audit_key(unkeyed: ChainPosition = CHAIN_START, finding: str = "") -> AuditKey:
    """Return a new key."""
    return AuditKey(secrets.token_bytes(_SIZE_BYTES), unkeyed, finding)


def load_audit_key(database: Database, sealer: Sealer, now: datetime, *, renew: bool = False) -> AuditKey:
    """Return the key of the audit log, created if there is none; blocks.

    :param renew: replace the key that is there.
    :raises SecretKeyChanged: when it, or all sealed values, were sealed under another SECRET_KEY.
    """
    if not renew:
        row = database.read(lambda tx: tx.row(_sealed))
        if row is not None:
            return _open(sealer, bytes(row[0]))
        values = database.read(newest_sealed)
        if values and not any(opens(sealer, value) for value in values):
            raise SecretKeyChanged("The stored secrets do not open with this SECRET_KEY. Put the former one back.")
    bind_rows(database, sealer)
    position, finding = _verify_unkeyed(database)
    if not renew and database.read(_was_sealed):
        # Only the creation of a key records that event.
        finding = f"{_LOST}; {finding}" if finding else _LOST
    key, _ = database.write(lambda tx: _create(tx, sealer, position, finding, now, renew=renew))
    return key


def _was_sealed(tx: Transaction) -> bool:
    """Return whether the log tells that a key was created."""
    return tx.row(_seal) is not None


def _verify_unkeyed(database: Database) -> tuple[ChainPosition, str]:
    """Verify the events that are older than the key, in short transactions; return the end and the defect, if any."""
    position, is_end = CHAIN_START, False
    try:
        while not is_end:
            position, is_end = database.read(partial(verify_next, position=position, key=None))
    except Conflict as error:
        return position, error.public
    return position, ""


def _create(
    tx: Transaction, sealer: Sealer, position: ChainPosition, finding: str, now: datetime, *, renew: bool
) -> AuditKey:
    """Store a new key, and an event that tells where the older events end."""
    row = tx.row(_sealed)
    if row is not None and not renew:
        # Another process was quicker.
        return _open(sealer, bytes(row[0]))
    while not finding:
        try:
            position, is_end = verify_next(tx, position, None)
        except Conflict as error:
            finding = error.public
            break
        if is_end:
            break
    if finding:
        position = _end(tx)
        tx.write(_delete_head)
        tx.write(_insert_head, {"id": 1, "count": position.count, "hash": position.hash})
    key = new_audit_key(position, finding)
    content = {"key": key.key.hex(), "count": position.count, "hash": position.hash.hex(), "finding": finding}
    sealed = sealer.seal(_PURPOSE, json.dumps(content).encode(), audit_key_row(_ROW))
    tx.write(_delete)
    tx.write(_insert, {"id": _ROW, "name": "audit log", "sealed": sealed, "created_at": int(now.timestamp())})
    tx.audit_key = key
    if position.count or finding:
        details: dict[str, object] = {"events": position.count, "hash": position.hash.hex()}
        if finding:
            details["finding"] = finding
            log.critical("The events before the key of the audit log are not intact: {finding}", finding=finding)
        log.warn("Created the key of the audit log after event {count}.", count=position.count)
        write_event(tx, Event("seal", "configuration", "audit log", "system", details), now)
    return key


def _end(tx: Transaction) -> ChainPosition:
    """Return the end of a chain whose events and head disagree."""
    head, last = tx.row(_head), tx.row(_last)
    ends = [ChainPosition(row[0], bytes(row[1])) for row in (head, last) if row is not None]
    return max(ends, key=lambda end: end.count, default=CHAIN_START)


def _open(sealer: Sealer, sealed: bytes) -> AuditKey:
    content = json.loads(sealer.open(_PURPOSE, sealed, audit_key_row(_ROW)))
    position = ChainPosition(content["count"], bytes.fromhex(content["hash"]))
    return AuditKey(bytes.fromhex(content["key"]), position, content["finding"])
