"""Enrollment batches, and the policy of challenge passwords."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "batches",
        sa.Column("id", _ID, nullable=False),
        sa.Column("label", _KEY, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("enrolled", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False, server_default=""),
        sa.Column("names", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    unfinished, batched = sa.text("names IS NOT NULL"), sa.text("batch_id IS NOT NULL")
    op.create_index("batches_unfinished", "batches", ["id"], sqlite_where=unfinished, postgresql_where=unfinished)
    op.create_index("batches_owner", "batches", ["owner_id", "id"])
    op.create_index("batches_end", "batches", ["expires_at", "id"])
    op.create_index("batches_label", "batches", ["label", "id"])
    op.add_column("challenges", sa.Column("policy", sa.Text(), nullable=True))
    op.add_column("challenges", sa.Column("batch_id", _ID, nullable=True))
    op.create_index(
        "challenges_batch", "challenges", ["batch_id", "id"], sqlite_where=batched, postgresql_where=batched
    )
