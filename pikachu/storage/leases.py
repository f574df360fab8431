"""Leases of nodes, and the CRLs that they share (HA-1; docs/adr/0026)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, func, select, text, update

from pikachu.core.model.certificates import CRLRecord
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.storage.crl_part_schema import published_crls
from pikachu.storage.database import Transaction
from pikachu.storage.nodes import NodeLock, live_processes
from pikachu.storage.notifications import send_notification
from pikachu.storage.revocation import insert_crl
from pikachu.storage.schema import leases
from pikachu.storage.transactions import StoreSection, insert_into, read_transaction, write_transaction

_l: Final = leases.c
_p: Final = published_crls.c
# The nodes' clocks may differ, so only the database's counts.
_CLOCKS: Final = {
    "postgresql": text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"),
    "sqlite": text("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS integer)"),
}
_lease: Final = select(_l.holder, _l.until, _l.terms).where(_l.name == bindparam("b_name"))
_insert_lease: Final = insert_into(leases, "name", "holder", "until", "terms", returning_id=False)
_set_lease: Final = (
    update(leases)
    .where(_l.name == bindparam("b_name"))
    .values(holder=bindparam("v_holder"), until=bindparam("v_until"), terms=bindparam("v_terms"))
)
_end_lease: Final = (
    update(leases).where(_l.name == bindparam("b_name"), _l.holder == bindparam("b_holder")).values(until=0)
)
_versions: Final = select(_p.key_identifier, _p.version)
_version: Final = select(_p.version).where(_p.key_identifier == bindparam("b_key"))
_newest_version: Final = select(func.max(_p.version))
_crl: Final = select(_p.der).where(_p.key_identifier == bindparam("b_key"))
_insert_crl: Final = insert_into(published_crls, "key_identifier", "version", "der", returning_id=False)
_set_crl: Final = (
    update(published_crls)
    .where(_p.key_identifier == bindparam("b_key"))
    .values(version=bindparam("v_version"), der=bindparam("v_der"))
)


class LeaseStore(StoreSection):
    """See :class:`pikachu.core.node_interfaces.INodeStore`."""

    _node_lock: NodeLock

    @write_transaction
    def take_lease(self, tx: Transaction, name: str, process: str, seconds: float) -> bool:
        """Take or keep a lease, unless another live node has it."""
        now = int(tx.query(_CLOCKS[tx.dialect])[0][0])
        row = tx.row(_lease, {"b_name": name})
        until = now + int(seconds * 1000)
        if row is None:
            tx.write(_insert_lease, {"name": name, "holder": process, "until": until, "terms": 1})
            return True
        holder, ends_at, terms = row
        # One that reaches further than a term was taken before the database's clock was set back.
        if holder != process and now < ends_at <= until:
            live = live_processes(tx, self._node_lock.node_id)
            if live is None or holder in live:
                return False
        terms += holder != process
        tx.write(_set_lease, {"b_name": name, "v_holder": process, "v_until": until, "v_terms": terms})
        return True

    @write_transaction
    def release_lease(self, tx: Transaction, name: str, process: str) -> None:
        """Give a lease up, if that process has it."""
        tx.write(_end_lease, {"b_name": name, "b_holder": process})

    @write_transaction
    def share_crl(
        self,
        tx: Transaction,
        key_identifier: bytes,
        der: bytes,
        expected: int | None,
        record: CRLRecord | None = None,
    ) -> int | None:
        """Make a CRL the newest one of its CA for all nodes, if it follows the version *expected*."""
        row = tx.row(_version, {"b_key": key_identifier})
        if expected is not None and expected != (0 if row is None else row[0]):
            return None
        newest = tx.row(_newest_version)
        version: int = 1 + ((newest and newest[0]) or 0)
        if row is None:
            tx.write(_insert_crl, {"key_identifier": key_identifier, "version": version, "der": der})
        else:
            tx.write(_set_crl, {"b_key": key_identifier, "v_version": version, "v_der": der})
        if record is not None:
            insert_crl(tx, record)
        send_notification(tx, Notification(Topic.CRL))
        return version

    @read_transaction
    def shared_crl_versions(self, tx: Transaction) -> dict[bytes, int]:
        """Return the versions of the shared CRLs by their CA's key identifier."""
        return {bytes(key): version for key, version in tx.rows(_versions)}

    @read_transaction
    def shared_crl(self, tx: Transaction, key_identifier: bytes) -> bytes | None:
        """Return the newest shared CRL of a CA, or None."""
        row = tx.row(_crl, {"b_key": key_identifier})
        return None if row is None else bytes(row[0])
