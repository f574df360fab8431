"""Lists of identities that a policy may require."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "identity_lists",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False, unique=True),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "identities",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("identity_key", _KEY, nullable=False),
        sa.PrimaryKeyConstraint("version", "identity_key"),
    )
