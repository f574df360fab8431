"""Roles that may use each policy; all that enroll may use those that exist."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the column, and the table for the default policy."""
    op.add_column("policies", sa.Column("roles", sa.Text(), nullable=False, server_default="user operator admin"))
    op.create_table(
        "default_policy",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
