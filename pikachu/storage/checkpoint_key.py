"""The key of the transparency log's checkpoints (TLG-1): created once, and sealed beside the key of the audit log.

Like that one it stays when SECRET_KEY changes, so that checkpoints which are kept elsewhere verify for years.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import delete, select

from pikachu.core.errors import SecretKeyChanged
from pikachu.core.sealing import Sealer, audit_key_row
from pikachu.signers.checkpoint_signer import new_checkpoint_key
from pikachu.storage.database import Database, Transaction
from pikachu.storage.schema import audit_keys
from pikachu.storage.transactions import insert_into

_PURPOSE: Final = "audit key"
# The first row is the key of the events' hashes.
_ROW: Final = 2
_sealed: Final = select(audit_keys.c.sealed).where(audit_keys.c.id == _ROW)
_delete: Final = delete(audit_keys).where(audit_keys.c.id == _ROW)
_insert: Final = insert_into(audit_keys, "id", "name", "sealed", "created_at", returning_id=False)


def load_checkpoint_key(database: Database, sealer: Sealer, now: datetime, *, renew: bool = False) -> bytes:
    """Return the private key of checkpoints, as DER, created if there is none; blocks.

    :param renew: replace one that does not open.
    :raises SecretKeyChanged: when it was sealed under another SECRET_KEY.
    """
    row = database.read(lambda tx: tx.row(_sealed))
    if row is None or renew:
        key, _ = database.write(lambda tx: _create(tx, sealer, now, renew=renew))
        return key
    return _open(sealer, bytes(row[0]))


def _create(tx: Transaction, sealer: Sealer, now: datetime, *, renew: bool) -> bytes:
    row = tx.row(_sealed)
    if row is not None:
        # Another process was quicker, or it is lost.
        try:
            return _open(sealer, bytes(row[0]))
        except SecretKeyChanged:
            if not renew:
                raise
    key = new_checkpoint_key()
    sealed = sealer.seal(_PURPOSE, key, audit_key_row(_ROW))
    tx.write(_delete)
    tx.write(_insert, {"id": _ROW, "name": "checkpoints", "sealed": sealed, "created_at": int(now.timestamp())})
    return key


def _open(sealer: Sealer, sealed: bytes) -> bytes:
    return sealer.open(_PURPOSE, sealed, audit_key_row(_ROW))
