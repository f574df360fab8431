"""Devices, to which a server assigns existing certificates in the background."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table, the columns that refer to it, and the position of the backfill."""
    op.create_table(
        "devices",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name_key", _KEY, nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "policy", "method", "address")),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("certificates", "created_at", "enrolled_at", "not_after", "due_at", "overdue_at")
        ),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.Column("retired_reason", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("devices_name", "devices", ["name_key", "owner_id"], unique=True)
    op.create_index(
        "devices_due",
        "devices",
        ["due_at", "id", "overdue_at", "retired_at", "certificates", "policy", "method", "owner_id"],
    )
    op.create_index("devices_enrolled", "devices", ["enrolled_at", "id"])
    op.create_index("devices_owner", "devices", ["owner_id", "id"])
    op.create_index("devices_kind", "devices", ["policy", "method", "id"])
    _partial("devices_retired", "devices", ["id"], "retired_at IS NOT NULL")
    op.add_column("certificates", sa.Column("device_id", _ID, nullable=True))
    _partial("certificates_device", "certificates", ["device_id", "id"], "device_id IS NOT NULL")
    op.add_column("challenges", sa.Column("device_key", _KEY, nullable=True))
    _partial("challenges_device", "challenges", ["device_key", "id"], "device_key IS NOT NULL")
    connection = op.get_bind()
    last, total = connection.execute(sa.text("SELECT max(id), count(*) FROM certificates")).one()
    bound = connection.execute(sa.text("SELECT count(*) FROM challenges WHERE subject_der IS NOT NULL")).scalar()
    if total or bound:
        backfills = sa.table("backfills", sa.column("name"), sa.column("before"), sa.column("total"))
        connection.execute(sa.insert(backfills).values(name="devices", before=(last or 0) + 1, total=total))


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
