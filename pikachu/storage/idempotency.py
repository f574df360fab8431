"""Idempotency keys of REST, and what their requests were answered, for all nodes of a database (HA-1)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    or_,
    select,
    update,
)

from pikachu.core.idempotency_interfaces import LIFETIME, MAXIMUM_KEYS, KeyUse
from pikachu.storage.database import Transaction
from pikachu.storage.nodes import NodeLock, live_processes
from pikachu.storage.schema import metadata
from pikachu.storage.transactions import StoreSection, insert_into, write_transaction

_Id: Final = BigInteger().with_variant(Integer, "sqlite")

#: Keys by their digests; one without an end is claimed by a process whose request is in progress.
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("process", Text, nullable=False),
    Column("answer", LargeBinary),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    sqlite_autoincrement=True,
)
Index("idempotency_keys_begin", idempotency_keys.c.began_at)

# Seconds after which a claim is void, also if its process lives: it could not store that the request has ended.
_LONGEST_CLAIM: Final = 600
_k: Final = idempotency_keys.c
_use: Final = select(_k.fingerprint, _k.process, _k.answer, _k.began_at, _k.ended_at).where(
    _k.digest == bindparam("b_digest")
)
_insert: Final = insert_into(idempotency_keys, "digest", "fingerprint", "process", "began_at")
_mine: Final = (_k.digest == bindparam("b_digest"), _k.process == bindparam("b_process"), _k.ended_at.is_(None))
_complete: Final = (
    update(idempotency_keys).where(*_mine).values(answer=bindparam("v_answer"), ended_at=bindparam("v_ended_at"))
)
_release: Final = delete(idempotency_keys).where(*_mine)
_forget: Final = delete(idempotency_keys).where(_k.digest == bindparam("b_digest"))
# The first condition has the index, and the second one the primary key.  Claims are not forgotten for others' keys:
# their requests could be done twice.
_forget_old: Final = delete(idempotency_keys).where(
    or_(_k.began_at <= bindparam("b_before"), and_(_k.id <= bindparam("b_last"), _k.ended_at.is_not(None)))
)


class IdempotencyStore(StoreSection):
    """See :class:`pikachu.core.idempotency_interfaces.IIdempotencyStore`."""

    _node_lock: NodeLock

    @write_transaction
    def claim_idempotency_key(
        self, tx: Transaction, digest: bytes, fingerprint: bytes, process: str, now: datetime
    ) -> KeyUse | None:
        """Claim a key, unless another process has claimed it, and remove the keys that are over."""
        at = int(now.timestamp())
        row = tx.row(_use, {"b_digest": digest})
        if row is not None:
            known, holder, answer, began_at, ended_at = row
            # A time in the future predates a clock that was set back, or another node's clock is ahead.
            age = abs(at - began_at)
            if ended_at is not None and age < LIFETIME:
                return KeyUse(bytes(known), True, None if answer is None else bytes(answer))
            if ended_at is None and holder != process and age < _LONGEST_CLAIM:
                live = live_processes(tx, self._node_lock.node_id)
                if live is None or holder in live:
                    return KeyUse(bytes(known), False, None)
            tx.write(_forget, {"b_digest": digest})
        values = {"digest": digest, "fingerprint": fingerprint, "process": process, "began_at": at}
        identity = tx.insert(_insert, values)
        tx.write(_forget_old, {"b_before": at - LIFETIME, "b_last": identity - MAXIMUM_KEYS})
        return None

    @write_transaction
    def complete_idempotency_key(
        self, tx: Transaction, digest: bytes, process: str, answer: bytes | None, now: datetime
    ) -> None:
        """Store the answer, with which the claim ends."""
        values = {"b_digest": digest, "b_process": process, "v_answer": answer, "v_ended_at": int(now.timestamp())}
        tx.write(_complete, values)

    @write_transaction
    def release_idempotency_key(self, tx: Transaction, digest: bytes, process: str) -> None:
        """Delete the claim."""
        tx.write(_release, {"b_digest": digest, "b_process": process})
