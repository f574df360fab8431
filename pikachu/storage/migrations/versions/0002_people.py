"""Sessions, client certificates of accounts, stored keys, certificate templates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables, and to stored requests what they were made of and what became of them."""
    op.add_column("csrs", sa.Column("key_id", _ID, nullable=True))
    op.add_column("csrs", sa.Column("template", sa.Text(), nullable=True))
    op.add_column("csrs", sa.Column("certificate_id", _ID, nullable=True))
    op.add_column("requests", sa.Column("csr_id", _ID, nullable=True))
    personal = sa.text("decided_by IS NOT NULL OR state = 'pending'")
    op.create_index("requests_approvals", "requests", ["id"], sqlite_where=personal, postgresql_where=personal)
    op.create_table(
        "sessions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("sessions_account", "sessions", ["account_id", "id"])
    op.create_index("sessions_seen", "sessions", ["last_seen_at"])
    op.create_table(
        "account_certificates",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("serial", _KEY, nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("fingerprint"),
        sqlite_autoincrement=True,
    )
    op.create_index("account_certificates_account", "account_certificates", ["account_id", "id"])
    op.create_table(
        "keys",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _owned_index("keys")
    op.create_index("keys_key", "keys", ["key_id"])
    op.create_index("keys_name", "keys", ["name", "id"])
    op.create_table(
        "templates",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("profile_type", _KEY, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("for_requests", sa.SmallInteger(), nullable=False),
        sa.Column("for_extensions", sa.SmallInteger(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("templates_name", "templates", ["name", "id"])
    _owned_index("templates")
    revoked = sa.text("revoked_at IS NOT NULL")
    op.create_index(
        "certificates_revocation",
        "certificates",
        ["revoked_at", "id", "deleted_at", "not_after", "name_key", "method", "owner_id", "issuer_id", "serial"],
        sqlite_where=revoked,
        postgresql_where=revoked,
    )


def _owned_index(table: str) -> None:
    owned = sa.text("owner_id IS NOT NULL")
    op.create_index(f"{table}_owner", table, ["owner_id", "id"], sqlite_where=owned, postgresql_where=owned)
