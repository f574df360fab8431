"""Backfills: values that are added to the rows of an earlier version in the background (see docs/adr/0023).

A backfill has a row with its position, which moves in the transaction that changes the rows, so that neither a crash
nor a second process does any of them twice.  It ends with the deletion of that row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Integer, bindparam, delete, literal_column, select, update

from pikachu.core.backfill_interfaces import Backlog, IndexedCertificate, UnindexedCertificate
from pikachu.storage.database import Transaction
from pikachu.storage.schema import backfills, certificates
from pikachu.storage.transactions import StoreSection, read_transaction, write_transaction
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import name_key, search_text

#: The backfill of the texts by which certificates are found.
SEARCH: Final = "search"

_c: Final = certificates.c
_b: Final = backfills.c
_is_search: Final = _b.name == literal_column(f"'{SEARCH}'")
_backlog: Final = select(_b.before, _b.total).where(_is_search)
_next: Final = (
    select(_c.id, _c.serial, _c.subject, _c.common_name, _c.key_type, _c.method, _c.name_key, _c.der)
    .where(_c.id < bindparam("b_before"), _c.search_text.is_(None))
    .order_by(_c.id.desc())
    .limit(bindparam("b_limit", type_=Integer))
)
_move: Final = (
    update(backfills).where(_is_search, _b.before == bindparam("b_before")).values(before=bindparam("position"))
)
_end: Final = delete(backfills).where(_is_search, _b.before == bindparam("b_before"))
_set_text: Final = (
    update(certificates)
    .where(_c.id == bindparam("b_id"))
    .values(sans=bindparam("v_sans"), search_text=bindparam("v_text"))
)
# Apart from the texts, since this changes indexes.
_set_name: Final = update(certificates).where(_c.id == bindparam("b_id")).values(name_key=bindparam("v_name"))


def unindexed_certificates(tx: Transaction) -> int:
    """Return an upper bound of the number of certificates that free text does not find yet."""
    row = tx.row(_backlog)
    return 0 if row is None else min(int(row[0]) - 1, int(row[1]))


def texts_of(rows: Sequence[UnindexedCertificate]) -> list[IndexedCertificate]:
    """Return the names and texts of certificates; takes milliseconds for hundreds."""
    indexed = []
    for row in rows:
        sans = certificate_sans(row.der)
        text = search_text(row.subject, sans, row.key_type, row.method)
        name = name_key(row.common_name, sans, row.serial)
        indexed.append(IndexedCertificate(row.id, json.dumps(sans), text, None if name == row.name_key else name))
    return indexed


class BackfillStore(StoreSection):
    """See :class:`pikachu.core.backfill_interfaces.IBackfillStore`."""

    @read_transaction
    def search_backlog(self, tx: Transaction) -> Backlog | None:
        """Return the position of the backfill of search texts, or None when it is complete."""
        row = tx.row(_backlog)
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
        moved = tx.write(_move, {"b_before": before, "position": rows[-1].id}) if rows else 0
        if not moved:
            return not rows and tx.write(_end, {"b_before": before}) == 1
        tx.write_many(_set_text, [{"b_id": row.id, "v_sans": row.sans, "v_text": row.text} for row in rows])
        renamed = [{"b_id": row.id, "v_name": row.name_key} for row in rows if row.name_key is not None]
        if renamed:
            tx.write_many(_set_name, renamed)
        tx.texts.extend((row.id, row.text) for row in rows)
        return True
