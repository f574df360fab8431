"""Versions of policies and certificate templates, and the indexes by which the objects of an account are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns and the indexes."""
    for table in ("policies", "templates"):
        op.add_column(table, sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("1")))
        op.add_column(table, sa.Column("updated_by", sa.Text(), nullable=True))
    owned = sa.text("owner_id IS NOT NULL")
    for table in ("csrs", "policies"):
        op.create_index(f"{table}_owner", table, ["owner_id", "id"], sqlite_where=owned, postgresql_where=owned)
    unused = sa.text("consumed_at IS NULL")
    op.create_index("challenges_unused_owner", "challenges", ["owner_id"], sqlite_where=unused, postgresql_where=unused)
