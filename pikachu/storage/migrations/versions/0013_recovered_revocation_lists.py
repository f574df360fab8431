"""Indexes for lists of recovered revocations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the indexes."""
    undecided = sa.text("decision IS NULL")
    op.create_index(
        "recovered_revocations_waiting",
        "recovered_revocations",
        ["id"],
        sqlite_where=undecided,
        postgresql_where=undecided,
    )
    op.create_index("recovered_revocations_date", "recovered_revocations", ["revoked_at", "id"])
