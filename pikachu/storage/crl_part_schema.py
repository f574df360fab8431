"""The tables of CRLs that nodes share, of delta CRLs and of sharded ones; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Table, Text

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")

# The newest CRL of each CA, from where every node takes it; the version rises with each row that is written.
published_crls: Final = Table(
    "published_crls",
    metadata,
    Column("key_identifier", LargeBinary, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
)

# The expired certificates that full CRLs list no more, by the number of the last one that listed them.
expired_crl_entries: Final = Table(
    "expired_crl_entries",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("serial", _Key, primary_key=True),
)

# The addresses of sharded CRLs that certificates name.
crl_shards: Final = Table(
    "crl_shards",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("url", _Key, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
)

# The newest delta CRL ("delta") and sharded CRLs (their numbers) of each issuer.
crl_parts: Final = Table(
    "crl_parts",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("part", _Key, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("last_change", _Id, nullable=False),
)
