"""The tables of messages to an MQTT broker (MQT-2); see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")

# Row 0 has the newest status change that was numbered; the others have the newest number of an issuing CA, and the
# topic below which the broker retains its CRL.
message_cursors: Final = Table(
    "message_cursors",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("last_change", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
)

# Numbered revocations that the broker has not confirmed.
revocation_messages: Final = Table(
    "revocation_messages",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("serial", Text, nullable=False),
    Column("revoked_at", BigInteger),
    # As the date, NULL for a release from hold.
    Column("reason", Integer),
    Column("crl_number", BigInteger, nullable=False),
)
