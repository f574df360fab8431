"""Certificates with errors of lint that an administrator has accepted: their table, and how they are marked (LNT-1)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Table, Text, insert, select

from pikachu.core.model.events import Event
from pikachu.storage.database import Transaction
from pikachu.storage.schema import certificates, metadata

#: Certificates that were issued under a policy with an override, and its reason (LNT-1).
lint_overrides: Final = Table(
    "lint_overrides",
    metadata,
    Column("certificate_id", BigInteger, ForeignKey("certificates.id"), primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
)
_insert: Final = insert(lint_overrides)
#: The reason of the override under which a certificate was issued, as a column of a query of certificates.
OVERRIDE_REASON: Final = (
    select(lint_overrides.c.reason)
    .where(lint_overrides.c.certificate_id == certificates.c.id)
    .correlate(certificates)
    .scalar_subquery()
    .label("lint_override")
)


def record_override(tx: Transaction, certificate_id: int, event: Event) -> str:
    """Store the override under which a certificate was issued, and return its reason.

    :param event: of its issuance, which names the reason.
    """
    reason = str(event.details["lint_override"])
    tx.write(_insert, {"certificate_id": certificate_id, "reason": reason})
    return reason
