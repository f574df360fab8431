"""Two approvals of a request, who made it, and who created its challenge password."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0033"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("requests", sa.Column("approvals", sa.SmallInteger()))
    op.add_column("requests", sa.Column("requester_ids", sa.Text()))
    op.add_column("requests", sa.Column("first_approver_id", _ID))
    op.add_column("requests", sa.Column("first_approved_by", sa.Text()))
    op.add_column("requests", sa.Column("first_approved_at", sa.BigInteger()))
    op.add_column("challenges", sa.Column("created_by_id", _ID))
    op.add_column("batches", sa.Column("created_by_id", _ID))
