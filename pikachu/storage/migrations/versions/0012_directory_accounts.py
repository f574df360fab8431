"""Accounts of a directory: the ids of their entries, and which of them it has suspended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("accounts", sa.Column("directory_id", sa.Text(), nullable=True))
    op.add_column(
        "accounts", sa.Column("suspended_by_directory", sa.SmallInteger(), nullable=False, server_default="0")
    )
