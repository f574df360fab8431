"""Numbers revocations for subscribers of an MQTT broker, and keeps them until the broker has confirmed them (MQT-2)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Integer, bindparam, delete, func, insert, select, text, update

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.revocation_messages import RevocationMessage
from pikachu.storage.database import Row, Transaction
from pikachu.storage.revocation_message_schema import message_cursors, revocation_messages
from pikachu.storage.schema import certificates, crl_entries, issuers, status_changes
from pikachu.storage.transactions import StoreSection, maybe_moment, read_transaction, write_transaction
from pikachu.x509.crl import parse_crl_entry

# Status changes that one transaction numbers.
_NUMBERED: Final = 200
# The row of message_cursors that has the newest change; no issuing CA has this id.
_ALL: Final = 0

_c: Final = status_changes.c
_m: Final = revocation_messages.c
_cursor: Final = select(message_cursors.c.last_change).where(message_cursors.c.issuer_id == _ALL)
_newest: Final = select(func.coalesce(func.max(_c.id), 0))
_changes: Final = (
    select(_c.id, _c.issuer_id, _c.serial, _c.replaces, crl_entries.c.entry, certificates.c.revoked_at)
    .outerjoin(crl_entries, crl_entries.c.serial == _c.serial)
    .outerjoin(certificates, certificates.c.serial == _c.serial)
    .where(_c.id > bindparam("after"))
    .order_by(_c.id)
    .limit(bindparam("rows", type_=Integer))
)
_insert_cursor: Final = insert(message_cursors).values(
    issuer_id=bindparam("issuer"), last_change=bindparam("change"), seq=0, topic=""
)
_advance: Final = (
    update(message_cursors).where(message_cursors.c.issuer_id == _ALL).values(last_change=bindparam("change"))
)
_next_seq: Final = (
    update(message_cursors)
    .where(message_cursors.c.issuer_id == bindparam("issuer"))
    .values(seq=message_cursors.c.seq + 1)
    .returning(message_cursors.c.seq)
)
_known: Final = select(message_cursors.c.seq).where(message_cursors.c.issuer_id == bindparam("issuer"))
_crl_number: Final = select(issuers.c.crl_number).where(issuers.c.id == bindparam("issuer"))
_FIELDS: Final = ("issuer_id", "seq", "serial", "revoked_at", "reason", "crl_number")
_insert: Final = insert(revocation_messages).values({name: bindparam(name) for name in _FIELDS})
_outstanding: Final = (
    select(*(revocation_messages.c[name] for name in _FIELDS))
    .where(_m.issuer_id == bindparam("issuer"))
    .order_by(_m.seq)
    .limit(bindparam("rows", type_=Integer))
)
_confirm: Final = delete(revocation_messages).where(_m.issuer_id == bindparam("issuer"), _m.seq <= bindparam("last"))
_count: Final = select(func.count()).select_from(revocation_messages)
_topics: Final = select(message_cursors.c.issuer_id, message_cursors.c.topic).where(text("topic <> ''"))
_set_topic: Final = (
    update(message_cursors).where(message_cursors.c.issuer_id == bindparam("issuer")).values(topic=bindparam("v_topic"))
)
_unexpired: Final = (
    select(certificates.c.id)
    .where(
        certificates.c.issuer_id == bindparam("issuer"),
        certificates.c.not_after > bindparam("now"),
        # The CA renews its own as long as it is in service.
        certificates.c.infrastructure.is_(None),
    )
    .limit(1)
)


class RevocationMessageStore(StoreSection):
    """See :class:`pikachu.core.revocation_message_interfaces.IRevocationMessageStore`."""

    @write_transaction
    def number_revocations(self, tx: Transaction) -> int:
        """Number the next status changes, in commit order."""
        cursor = tx.row(_cursor)
        if cursor is None:
            newest = tx.query(_newest)[0][0]
            tx.write(_insert_cursor, {"issuer": _ALL, "change": newest})
            return 0
        changes = tx.rows(_changes, {"after": cursor[0], "rows": _NUMBERED})
        for change in changes:
            _number(tx, change)
        if changes:
            tx.write(_advance, {"change": changes[-1][0]})
        return len(changes)

    @read_transaction
    def outstanding_revocations(self, tx: Transaction, issuer_id: int, limit: int) -> list[RevocationMessage]:
        """Return the oldest messages of an issuing CA that were not confirmed."""
        return [
            RevocationMessage(
                issuer_id=issuer,
                seq=seq,
                serial=int(serial, 16),
                revoked_at=maybe_moment(revoked_at),
                reason=None if reason is None else RevocationReason(reason),
                crl_number=number,
            )
            for issuer, seq, serial, revoked_at, reason, number in tx.rows(
                _outstanding, {"issuer": issuer_id, "rows": limit}
            )
        ]

    @write_transaction
    def confirm_revocations(self, tx: Transaction, issuer_id: int, seq: int) -> None:
        """Forget the messages of an issuing CA up to *seq*."""
        tx.write(_confirm, {"issuer": issuer_id, "last": seq})

    @read_transaction
    def count_outstanding_revocations(self, tx: Transaction) -> int:
        """Return how many messages were not confirmed."""
        count: int = tx.query(_count)[0][0]
        return count

    @read_transaction
    def retained_topics(self, tx: Transaction) -> dict[int, str]:
        """Return the topics below which the broker retains messages."""
        return dict(tx.rows(_topics))

    @write_transaction
    def set_retained_topic(self, tx: Transaction, issuer_id: int, topic: str) -> None:
        """Store the topic below which the broker retains messages."""
        _know(tx, issuer_id)
        tx.write(_set_topic, {"issuer": issuer_id, "v_topic": topic})

    @read_transaction
    def has_unexpired(self, tx: Transaction, issuer_id: int, now: int) -> bool:
        """Return whether an issuing CA has certificates that have not expired."""
        return tx.row(_unexpired, {"issuer": issuer_id, "now": now}) is not None


def _know(tx: Transaction, issuer_id: int) -> None:
    if tx.row(_known, {"issuer": issuer_id}) is None:
        tx.write(_insert_cursor, {"issuer": issuer_id, "change": 0})


def _number(tx: Transaction, change: Row) -> None:
    """Number one status change, unless it changed nothing that subscribers know.

    What counts is the state now: of a hold and its release that are numbered together, only the release is left.
    """
    _, issuer_id, serial, replaces, entry, revoked_at = change
    at: datetime | None = None
    reason: RevocationReason | None = None
    if entry is not None:
        revocation = parse_crl_entry(bytes(entry))
        at, reason = revocation.revoked_at, revocation.reason
    elif not replaces or revoked_at is not None:
        # The deletion of a valid certificate, or a certificate that has expired since.
        return
    _know(tx, issuer_id)
    number = tx.row(_crl_number, {"issuer": issuer_id})
    values = (
        issuer_id,
        tx.insert(_next_seq, {"issuer": issuer_id}),
        serial,
        None if at is None else int(at.timestamp()),
        None if reason is None else int(reason),
        0 if number is None else number[0],
    )
    tx.write(_insert, dict(zip(_FIELDS, values, strict=True)))
