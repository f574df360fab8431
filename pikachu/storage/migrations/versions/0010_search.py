"""Texts by which certificates are found in any script, and the position of their backfill.

A server fills them in the background after its start; see :mod:`pikachu.operations.search_indexing`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns, the index without entries, and the position of the backfill."""
    connection = op.get_bind()
    for name in ("sans", "search_text"):
        op.add_column("certificates", sa.Column(name, sa.Text(), nullable=True))
    if connection.dialect.name == "sqlite":
        _replace_sqlite_index(connection)
    else:
        op.execute("DROP INDEX IF EXISTS certificates_search")
        op.execute("CREATE TABLE certificate_search (certificate_id BIGINT PRIMARY KEY, entries BIGINT[] NOT NULL)")
        op.execute("CREATE INDEX certificate_search_entries ON certificate_search USING gin (entries)")
    backfills = op.create_table(
        "backfills",
        sa.Column("name", _KEY, nullable=False),
        sa.Column("before", _ID, nullable=False),
        sa.Column("total", _ID, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    last, total = connection.execute(sa.text("SELECT max(id), count(*) FROM certificates")).one()
    if total:
        connection.execute(sa.insert(backfills).values(name="search", before=last + 1, total=total))


def _replace_sqlite_index(connection: sa.Connection) -> None:
    """Replace the index of subjects, which had no other text and can't be changed without its former content."""
    op.execute("DROP TABLE IF EXISTS certificate_search")
    fts5 = connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_FTS5')").scalar()
    version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar())
    if fts5 and tuple(int(part) for part in version.split(".")) >= (3, 34):
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE certificate_search"
            " USING fts5(content, content = '', tokenize = 'trigram', detail = none)"
        )
