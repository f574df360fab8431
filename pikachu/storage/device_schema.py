"""The tables of devices and of lists of identities; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text, text

from pikachu.storage.schema import certificates, challenges, metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")

devices: Final = Table(
    "devices",
    metadata,
    Column("id", _Id, primary_key=True),
    # The folded name.
    Column("name_key", _Key, nullable=False),
    # 0 without an owner, since NULLs are distinct in a unique index.
    Column("owner_id", _Id, nullable=False),
    Column("name", Text, nullable=False),
    # Of the last enrollment.
    Column("policy", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("certificates", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("enrolled_at", BigInteger, nullable=False),
    # Of the newest certificate that is neither revoked nor deleted; without one, the times of renewal are 0.
    Column("not_after", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("overdue_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    Column("retired_reason", SmallInteger),
    sqlite_autoincrement=True,
)
Index("devices_name", devices.c.name_key, devices.c.owner_id, unique=True)
# Covers the conditions of lists.
Index(
    "devices_due",
    *(devices.c[name] for name in ("due_at", "id", "overdue_at", "retired_at")),
    *(devices.c[name] for name in ("certificates", "policy", "method", "owner_id")),
)
Index("devices_enrolled", devices.c.enrolled_at, devices.c.id)
Index("devices_owner", devices.c.owner_id, devices.c.id)
Index("devices_kind", devices.c.policy, devices.c.method, devices.c.id)
_retired: Final = text("retired_at IS NOT NULL")
Index("devices_retired", devices.c.id, sqlite_where=_retired, postgresql_where=_retired)

_of_device: Final = text("device_id IS NOT NULL")
Index(
    "certificates_device",
    certificates.c.device_id,
    certificates.c.id,
    sqlite_where=_of_device,
    postgresql_where=_of_device,
)
_named: Final = text("device_key IS NOT NULL")
Index("challenges_device", challenges.c.device_key, challenges.c.id, sqlite_where=_named, postgresql_where=_named)

identity_lists: Final = Table(
    "identity_lists",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Key, nullable=False, unique=True),
    Column("entries", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    # The version of the entries that are in force; those of others are being uploaded, or deleted.
    Column("version", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
identities: Final = Table(
    "identities",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # The folded text.
    Column("identity_key", _Key, primary_key=True),
)
