"""The tables of accounts' choices and of the set-up checklist; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")

preferences: Final = Table(
    "preferences",
    metadata,
    Column("account_id", _Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("name", _Key, primary_key=True),
    Column("value", Text, nullable=False),
)

saved_filters: Final = Table(
    "saved_filters",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("list_name", _Key, nullable=False),
    Column("name", _Key, nullable=False),
    Column("query", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("saved_filters_name", saved_filters.c.account_id, saved_filters.c.list_name, saved_filters.c.name, unique=True)

# The steps that an administrator has confirmed.
setup_marks: Final = Table(
    "setup_marks",
    metadata,
    Column("name", _Key, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)
