"""Files of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "job_files",
        sa.Column("row_id", _ID, nullable=False, autoincrement=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
    )
    op.create_index("job_files_job", "job_files", ["job_id", "row_id"])
    op.add_column("jobs", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    filed = sa.text("size > 0")
    op.create_index("jobs_filed", "jobs", ["ended_at"], sqlite_where=filed, postgresql_where=filed)
