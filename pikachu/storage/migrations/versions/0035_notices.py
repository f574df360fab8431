"""Notices: rules, what they have noticed, and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0031"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "notice_rules",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False, unique=True),
        sa.Column("kind", _KEY, nullable=False),
        sa.Column("enabled", sa.SmallInteger(), nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "noticed",
        sa.Column("rule_id", _ID, nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", "object_id", "ends_at", "step"),
    )
    op.create_index("noticed_at", "noticed", ["at"])
    op.create_table(
        "notice_messages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("uid", _KEY, nullable=False),
        sa.Column("channel", _KEY, nullable=False),
        sa.Column("recipient", _KEY, nullable=False),
        sa.Column("state", _KEY, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("notice_messages_due", "notice_messages", ["state", "due_at", "id"])
    op.create_index("notice_messages_recipient", "notice_messages", ["channel", "recipient", "state"])
    op.create_index("notice_messages_done", "notice_messages", ["done_at", "id"])
