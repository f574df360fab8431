"""Tables of the transparency log (TLG-1)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Table, Text, UniqueConstraint

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")

# What each leaf is: an event (0) or a certificate (1), by its id.  Positions begin with 0 and have no gaps.
log_entries: Final = Table(
    "log_entries",
    metadata,
    Column("position", _Id, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("ref", BigInteger, nullable=False),
    UniqueConstraint("kind", "ref"),
)

# The hashes of the tree, see pikachu.transparency.tiles.
log_tiles: Final = Table(
    "log_tiles",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

# One row with the end of the events that housekeeping has removed, authenticated with the key of the audit log.
audit_pruning: Final = Table(
    "audit_pruning",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
