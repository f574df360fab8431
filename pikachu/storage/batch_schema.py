"""The table of enrollment batches; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from pikachu.storage.schema import challenges, metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")

batches: Final = Table(
    "batches",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("label", _Key, nullable=False),
    Column("policy", Text, nullable=False),
    Column("owner_id", _Id),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False, server_default="0"),
    Column("enrolled", BigInteger, nullable=False, server_default="0"),
    Column("ended_at", BigInteger),
    Column("problem", Text, nullable=False, server_default=""),
    # The names as submitted, until all challenge passwords are created.
    Column("names", Text),
    # The account that created it; NULL for those of commands and of earlier versions.
    Column("created_by_id", _Id),
    sqlite_autoincrement=True,
)
_unfinished: Final = text("names IS NOT NULL")
Index("batches_unfinished", batches.c.id, sqlite_where=_unfinished, postgresql_where=_unfinished)
Index("batches_owner", batches.c.owner_id, batches.c.id)
Index("batches_end", batches.c.expires_at, batches.c.id)
Index("batches_label", batches.c.label, batches.c.id)
_batched: Final = text("batch_id IS NOT NULL")
Index("challenges_batch", challenges.c.batch_id, challenges.c.id, sqlite_where=_batched, postgresql_where=_batched)
