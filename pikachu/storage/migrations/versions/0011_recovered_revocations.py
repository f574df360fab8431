"""Revocations that a published CRL has and the database lacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "recovered_revocations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("serial", _KEY, nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("was_on_hold", sa.SmallInteger(), nullable=False),
        sa.Column("recovered_at", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("recovered_revocations_serial", "recovered_revocations", ["serial", "issuer_id"], unique=True)
    undecided = sa.text("decision IS NULL")
    op.create_index(
        "recovered_revocations_undecided",
        "recovered_revocations",
        ["issuer_id", "id"],
        sqlite_where=undecided,
        postgresql_where=undecided,
    )
