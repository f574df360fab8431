"""Overrides of lint: of policies, of the default policy, and the certificates that were issued under one."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"

_REASON = "The policy allowed other country codes before certificates were linted."


def upgrade() -> None:
    """Add columns and table; what policies allow already stays allowed."""
    for table in ("policies", "default_policy"):
        op.add_column(table, sa.Column("lint_override", sa.Text()))
    op.create_table(
        "lint_overrides",
        sa.Column("certificate_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_id"),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificates.id"]),
    )
    override = json.dumps(
        {"reason": _REASON, "by": "upgrade", "at": int(time.time()), "codes": ["pikachu.country_code"]}
    )
    allowed = sa.text("UPDATE policies SET lint_override = :override WHERE replace(limits, ' ', '') LIKE :limit")
    op.get_bind().execute(allowed, {"override": override, "limit": '%"other_countries":true%'})
