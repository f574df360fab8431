"""An owner's valid certificates, and the orders to revoke them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, literal_column, or_, select

from pikachu.core.model.account_objects import OwnerRevocation
from pikachu.core.model.certificates import RevocationReason
from pikachu.storage.database import Transaction
from pikachu.storage.schema import certificates, owner_revocations, requests
from pikachu.storage.transactions import StoreSection, insert_into, read_transaction, row_id, write_transaction

_o: Final = owner_revocations.c
_c: Final = certificates.c

_orders: Final = select(_o.account_id, _o.reason, _o.actor, _o.actor_id).order_by(_o.account_id)
_order: Final = select(_o.account_id).where(_o.account_id == bindparam("b_id"))
_insert: Final = insert_into(owner_revocations, "account_id", "reason", "actor", "actor_id", returning_id=False)
_delete: Final = delete(owner_revocations).where(_o.account_id == bindparam("b_id"))
# Certificates on hold are included, since they could be released, and deleted ones, since a deletion does not revoke.
_revocable: Final = (
    select(_c.id, _c.serial)
    .where(
        _c.owner_id == bindparam("b_owner"),
        _c.id > bindparam("b_after"),
        _c.not_after > bindparam("b_now"),
        or_(_c.revoked_at.is_(None), _c.reason == int(RevocationReason.CERTIFICATE_HOLD)),
    )
    .order_by(_c.id)
    .limit(bindparam("b_limit"))
)
_revocable_count: Final = select(func.count()).select_from(_revocable.subquery())
_intents: Final = select(requests.c.serial).where(
    requests.c.owner_id == bindparam("b_owner"), requests.c.state == literal_column("'issuing'")
)


def order_revocation(tx: Transaction, order: OwnerRevocation) -> None:
    """Store an order to revoke an owner's certificates; it replaces an earlier order."""
    tx.write(_delete, {"b_id": order.account_id})
    values = {
        "account_id": order.account_id,
        "reason": int(order.reason),
        "actor": order.actor,
        "actor_id": order.actor_id,
    }
    tx.write(_insert, values)


def is_revocation_ordered(tx: Transaction, account_id: int) -> bool:
    """Return whether an order for that owner is pending."""
    return tx.row(_order, {"b_id": account_id}) is not None


class OwnerStore(StoreSection):
    """See :class:`pikachu.core.owner_interfaces.IOwnerStore`."""

    @read_transaction
    def owner_revocations(self, tx: Transaction) -> list[OwnerRevocation]:
        """Return the pending orders."""
        return [OwnerRevocation(row[0], RevocationReason(row[1]), row[2], row[3]) for row in tx.rows(_orders)]

    @read_transaction
    def revocable_serials(
        self, tx: Transaction, owner_id: int, now: datetime, after: int, limit: int
    ) -> list[tuple[int, int]]:
        """Return (id, serial) of an owner's certificates that are not revoked for good, also deleted ones.

        They have not expired; their ids are above *after*, ascending.
        """
        values = {"b_owner": row_id(owner_id), "b_after": after, "b_now": int(now.timestamp()), "b_limit": limit}
        return [(row[0], int(row[1], 16)) for row in tx.rows(_revocable, values)]

    @read_transaction
    def count_revocable(self, tx: Transaction, owner_id: int, now: datetime, limit: int) -> int:
        """Count what :meth:`revocable_serials` lists, up to *limit*."""
        values = {"b_owner": row_id(owner_id), "b_after": 0, "b_now": int(now.timestamp()), "b_limit": limit}
        row = tx.row(_revocable_count, values)
        return 0 if row is None else int(row[0])

    @read_transaction
    def intended_serials(self, tx: Transaction, owner_id: int) -> list[int]:
        """Return the serial numbers that are being signed for an owner."""
        return [int(row[0], 16) for row in tx.rows(_intents, {"b_owner": row_id(owner_id)})]

    @write_transaction
    def end_owner_revocation(self, tx: Transaction, account_id: int) -> None:
        """Delete a completed order."""
        tx.write(_delete, {"b_id": account_id})
