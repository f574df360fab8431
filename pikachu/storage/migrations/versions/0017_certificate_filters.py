"""Fingerprints, and indexes for the filters of lists of certificates.

A server fills the fingerprints in the background after its start; see :mod:`pikachu.operations.search_indexing`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_END = ("not_after", "id", "revoked_at", "deleted_at", "name_key", "method", "owner_id", "issuer_id")
_REVOCATION = ("revoked_at", "id", "deleted_at", "not_after", "name_key", "method", "owner_id", "issuer_id", "serial")
_ADDED = ("policy", "key_type", "created_at")
_STATUS = ("not_after", "revoked_at", "deleted_at")
_NEW = {
    "certificates_kind": (
        *("policy", "method", "key_type", "id", *_STATUS, "owner_id", "issuer_id", "created_at", "name_key"),
    ),
    "certificates_issued": ("created_at", "id", *_STATUS, "method", "owner_id", "issuer_id", "policy", "key_type"),
    "certificates_fingerprint": ("fingerprint",),
}


def upgrade() -> None:
    """Add the column, its backfill, and the indexes; let the covering indexes cover more columns."""
    op.add_column("certificates", sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
    for name, columns in _NEW.items():
        op.create_index(name, "certificates", list(columns))
    op.drop_index("certificates_end", "certificates")
    op.create_index("certificates_end", "certificates", [*_END, *_ADDED])
    revoked = sa.text("revoked_at IS NOT NULL")
    op.drop_index("certificates_revocation", "certificates")
    op.create_index(
        "certificates_revocation",
        "certificates",
        [*_REVOCATION, *_ADDED, "reason"],
        sqlite_where=revoked,
        postgresql_where=revoked,
    )
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "certificates_deleted",
        "certificates",
        ["owner_id", "key_type", "method", "created_at", "infrastructure"],
        sqlite_where=deleted,
        postgresql_where=deleted,
    )
    op.create_index("csrs_certificate", "csrs", ["certificate_id"])
    connection = op.get_bind()
    last, total = connection.execute(sa.text("SELECT max(id), count(*) FROM certificates")).one()
    if total:
        backfills = sa.table("backfills", sa.column("name"), sa.column("before"), sa.column("total"))
        connection.execute(sa.insert(backfills).values(name="fingerprints", before=last + 1, total=total))
