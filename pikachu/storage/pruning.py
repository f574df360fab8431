"""The end of the events that housekeeping has removed (OPS-6), which the rest of the chain goes on from.

Its record has a MAC under the key of the audit log.  Without that key nobody can pass off other removed events as
pruned ones.
"""

from __future__ import annotations

import hmac
import json
from typing import Final

from sqlalchemy import delete, select

from pikachu.core.errors import Conflict
from pikachu.core.log_interfaces import PrunedEvents
from pikachu.storage.database import AuditKey, Transaction
from pikachu.storage.log_schema import audit_pruning
from pikachu.storage.transactions import insert_into, moment

_p: Final = audit_pruning.c
_row: Final = select(_p.count, _p.hash, _p.at, _p.note, _p.mac).where(_p.id == 1)
_delete: Final = delete(audit_pruning)
_insert: Final = insert_into(audit_pruning, "id", "count", "hash", "at", "note", "mac", returning_id=False)


def _mac(key: AuditKey, pruned: PrunedEvents) -> bytes:
    content = json.dumps([pruned.count, pruned.hash.hex(), int(pruned.at.timestamp()), pruned.note])
    return hmac.digest(key.key, b"pruned events" + content.encode(), "sha256")


def read_pruning(tx: Transaction, key: AuditKey) -> PrunedEvents | None:
    """Return what was pruned.

    :raises Conflict: when the record was changed.
    """
    row = tx.row(_row)
    if row is None:
        return None
    pruned = PrunedEvents(row[0], bytes(row[1]), moment(row[2]), row[3])
    if not hmac.compare_digest(_mac(key, pruned), bytes(row[4])):
        raise Conflict("the audit log was changed: the record of pruned events is not what was recorded")
    return pruned


def write_pruning(tx: Transaction, key: AuditKey, pruned: PrunedEvents) -> None:
    """Record that the events up to a number were pruned."""
    tx.write(_delete)
    values = {"id": 1, "count": pruned.count, "hash": pruned.hash, "at": int(pruned.at.timestamp())}
    tx.write(_insert, {**values, "note": pruned.note, "mac": _mac(key, pruned)})
