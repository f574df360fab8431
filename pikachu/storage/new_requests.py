"""Whether a request meets anything that is stored, answered by one statement.

Each statement hands the interpreter's lock to the reactor's thread and waits for it again, which takes longer than the
lookup of an indexed row.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, exists, literal_column, or_, select

from pikachu.core.model.certificates import Infrastructure, format_serial
from pikachu.core.model.requests import Intent
from pikachu.storage.database import Transaction
from pikachu.storage.request_rows import UNISSUED
from pikachu.storage.schema import certificates, requests

_r: Final = requests.c
_c: Final = certificates.c
_one: Final[ColumnElement[Any]] = literal_column("1")
_known: Final = select(
    or_(
        exists(select(_one).where(_r.dedupe == bindparam("b_dedupe"))),
        exists(select(_one).where(_c.key_id == bindparam("b_key"))),
        exists(select(_one).where(_r.key_id == bindparam("b_key"), UNISSUED)),
        exists(select(_one).where(_c.serial == bindparam("b_serial"))),
        exists(
            select(_one).where(
                _c.infrastructure == literal_column(f"'{Infrastructure.ISSUING_CA}'"), _c.revoked_at.is_not(None)
            )
        ),
    )
)


def meets_nothing(tx: Transaction, dedupe: bytes | None, intent: Intent) -> bool:
    """Return whether no earlier request has *dedupe*, nothing has the key or the serial number, and no CA is revoked.

    Otherwise, closer looks decide what follows from it.
    """
    values = {"b_dedupe": dedupe, "b_key": intent.key_id, "b_serial": format_serial(intent.serial)}
    row = tx.row(_known, values)
    return row is not None and not row[0]
