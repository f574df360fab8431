"""Indexes of the CSRs that wait to be signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Create them; they hold only the few CSRs that are pending."""
    pending = sa.text("state = 'pending'")
    for name, columns in (("csrs_pending", ["id"]), ("csrs_pending_owner", ["owner_id", "id"])):
        op.create_index(name, "csrs", columns, sqlite_where=pending, postgresql_where=pending)
