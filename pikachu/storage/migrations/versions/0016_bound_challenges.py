"""Labels of challenge passwords, and the names that they are bound to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns and the indexes of lists by label."""
    op.add_column("challenges", sa.Column("label", _KEY, nullable=False, server_default=""))
    for name in ("subject", "sans"):
        op.add_column("challenges", sa.Column(name, sa.Text(), nullable=True))
    for name in ("subject_der", "san_der"):
        op.add_column("challenges", sa.Column(name, sa.LargeBinary(), nullable=True))
    op.add_column("requests", sa.Column("added_names", sa.LargeBinary(), nullable=True))
    op.create_index("challenges_label", "challenges", ["label", "id"])
    op.create_index("challenges_owner_label", "challenges", ["owner_id", "label", "id"])
