"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables, the head of the audit chain, and the index of subjects where the database has one."""
    _tables()
    connection = op.get_bind()
    head = sa.table("audit_head", sa.column("id"), sa.column("count"), sa.column("hash", sa.LargeBinary))
    op.bulk_insert(head, [{"id": 1, "count": 0, "hash": bytes(32)}])
    if connection.dialect.name == "sqlite":
        fts5 = connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_FTS5')").scalar()
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar())
        if fts5 and tuple(int(part) for part in version.split(".")) >= (3, 34):
            connection.exec_driver_sql(
                "CREATE VIRTUAL TABLE certificate_search"
                " USING fts5(subject, content = '', tokenize = 'trigram', detail = none)"
            )
        return
    try:
        # The extension is part of PostgreSQL, but not of every installation, nor is every user allowed to add it.
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError:
        return
    connection.exec_driver_sql(
        "CREATE INDEX certificates_search ON certificates USING gin (lower(subject) gin_trgm_ops)"
    )


def _tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("name_key", _KEY, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_events",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_name", _KEY, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("actor_id", _ID, nullable=True),
        sa.Column("about_account", sa.SmallInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "audit_events_account",
        "audit_events",
        ["id"],
        sqlite_where=sa.text("about_account = 1"),
        postgresql_where=sa.text("about_account = 1"),
    )
    op.create_index("audit_events_kind", "audit_events", ["resource_type", "type", "id"])
    op.create_index("audit_events_name", "audit_events", ["resource_name", "id"])
    op.create_index(
        "audit_events_owner",
        "audit_events",
        ["owner_id", "id"],
        sqlite_where=sa.text("owner_id IS NOT NULL"),
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("count", _ID, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "challenges",
        sa.Column("id", _ID, nullable=False),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", _KEY, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("reserved_by", _ID, nullable=True),
        sa.Column("consumed_at", sa.BigInteger(), nullable=True),
        sa.Column("consumed_serial", _KEY, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("lookup"),
        sqlite_autoincrement=True,
    )
    op.create_index("challenges_end", "challenges", ["expires_at", "id"])
    op.create_index(
        "challenges_owner",
        "challenges",
        ["owner_id", "id"],
        sqlite_where=sa.text("owner_id IS NOT NULL"),
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index("challenges_prefix", "challenges", ["prefix"])
    op.create_index(
        "challenges_unused",
        "challenges",
        ["id"],
        sqlite_where=sa.text("consumed_at IS NULL"),
        postgresql_where=sa.text("consumed_at IS NULL"),
    )
    op.create_table(
        "crl_entries",
        sa.Column("serial", _KEY, nullable=False),
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("crl_entries_end", "crl_entries", ["issuer_id", "not_after"])
    op.create_index("crl_entries_order", "crl_entries", ["issuer_id", "change_id"])
    op.create_table(
        "crls",
        sa.Column("issuer_id", _ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("last_change", _ID, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "number"),
    )
    op.create_table(
        "csrs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "issuers",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_identifier", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("crl_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_identifier"),
    )
    op.create_table(
        "policies",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("days", sa.BigInteger(), nullable=False),
        sa.Column("extensions", sa.Text(), nullable=False),
        sa.Column("system", sa.SmallInteger(), nullable=False),
        sa.Column("use_for_est", sa.SmallInteger(), nullable=False),
        sa.Column("use_for_scep", sa.SmallInteger(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("approval", sa.Text(), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "requests",
        sa.Column("id", _ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("dedupe", sa.LargeBinary(), nullable=True),
        sa.Column("dedupe_until", sa.BigInteger(), nullable=True),
        sa.Column("transaction_digest", sa.LargeBinary(), nullable=True),
        sa.Column("requester_key", sa.LargeBinary(), nullable=True),
        sa.Column("challenge_id", _ID, nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("validity_days", sa.BigInteger(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("serial", _KEY, nullable=True),
        sa.Column("issuer_id", _ID, nullable=True),
        sa.Column("certified_subject", sa.Text(), nullable=True),
        sa.Column("common_name", sa.Text(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("not_after", sa.BigInteger(), nullable=True),
        sa.Column("process", sa.Text(), nullable=True),
        sa.Column("certificate_id", _ID, nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revocation_reason", sa.SmallInteger(), nullable=True),
        sa.Column("csr", sa.LargeBinary(), nullable=True),
        sa.Column("tbs", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedupe"),
    )
    op.create_index(
        "requests_serial",
        "requests",
        ["serial"],
        unique=True,
        sqlite_where=sa.text("state <> 'issued'"),
        postgresql_where=sa.text("state <> 'issued'"),
    )
    op.create_index(
        "requests_open",
        "requests",
        ["state", "id"],
        sqlite_where=sa.text("state <> 'issued'"),
        postgresql_where=sa.text("state <> 'issued'"),
    )
    op.create_index(
        "requests_open_key",
        "requests",
        ["key_id"],
        sqlite_where=sa.text("state <> 'issued'"),
        postgresql_where=sa.text("state <> 'issued'"),
    )
    op.create_index("requests_method", "requests", ["method", "id"])
    op.create_index(
        "requests_owner",
        "requests",
        ["owner_id", "id"],
        sqlite_where=sa.text("owner_id IS NOT NULL"),
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index(
        "requests_transaction",
        "requests",
        ["transaction_digest"],
        sqlite_where=sa.text("transaction_digest IS NOT NULL"),
        postgresql_where=sa.text("transaction_digest IS NOT NULL"),
    )
    op.create_table(
        "service_credentials",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_identifier", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("service_credentials_purpose", "service_credentials", ["key_identifier", "purpose"])
    op.create_table(
        "status_changes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("serial", _KEY, nullable=False),
        sa.Column("replaces", _ID, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "status_changes_replacing",
        "status_changes",
        ["issuer_id", "id"],
        sqlite_where=sa.text("replaces > 0"),
        postgresql_where=sa.text("replaces > 0"),
    )
    op.create_table(
        "certificates",
        sa.Column("id", _ID, nullable=False),
        sa.Column("serial", _KEY, nullable=False),
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("common_name", sa.Text(), nullable=False),
        sa.Column("name_key", _KEY, nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.SmallInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["issuer_id"],
            ["issuers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "certificates_end",
        "certificates",
        ["not_after", "id", "revoked_at", "deleted_at", "name_key", "method", "owner_id", "issuer_id"],
    )
    op.create_index("certificates_issuer", "certificates", ["issuer_id", "id"])
    op.create_index("certificates_key", "certificates", ["key_id"])
    op.create_index("certificates_method", "certificates", ["method", "id"])
    op.create_index("certificates_serial", "certificates", ["serial"], unique=True)
    op.create_index("certificates_name", "certificates", ["name_key", "id"])
    op.create_index(
        "certificates_owner",
        "certificates",
        ["owner_id", "id"],
        sqlite_where=sa.text("owner_id IS NOT NULL"),
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index(
        "certificates_revoked",
        "certificates",
        ["id"],
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "name", name="tokens_name"),
        sa.UniqueConstraint("digest"),
        sqlite_autoincrement=True,
    )
