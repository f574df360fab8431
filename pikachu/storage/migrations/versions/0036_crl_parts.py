"""Delta CRLs and sharded CRLs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SHARDED = sa.text("shard IS NOT NULL")


def upgrade() -> None:
    """Add the tables, and the shard of each revocation."""
    op.add_column("status_changes", sa.Column("shard", sa.SmallInteger()))
    op.add_column("crl_entries", sa.Column("shard", sa.SmallInteger()))
    op.create_index("status_changes_issuer", "status_changes", ["issuer_id", "id"])
    op.create_index(
        "crl_entries_shard",
        "crl_entries",
        ["issuer_id", "shard", "change_id"],
        sqlite_where=_SHARDED,
        postgresql_where=_SHARDED,
    )
    op.create_table(
        "expired_crl_entries",
        sa.Column("issuer_id", _ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("serial", _KEY, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "number", "serial"),
    )
    op.create_table(
        "crl_shards",
        sa.Column("issuer_id", _ID, autoincrement=False, nullable=False),
        sa.Column("url", _KEY, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "url"),
    )
    op.create_table(
        "crl_parts",
        sa.Column("issuer_id", _ID, autoincrement=False, nullable=False),
        sa.Column("part", _KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("last_change", _ID, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "part"),
    )
