"""The table of the default policy; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Table, Text

from pikachu.storage.schema import metadata

# What is stored of the default policy beside its files: one row, with the id 1, once it was changed.
default_policy: Final = Table(
    "default_policy",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("roles", Text, nullable=False),
    Column("lint_override", Text),
)
