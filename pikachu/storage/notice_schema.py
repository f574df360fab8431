"""The tables of notices; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")

notice_rules: Final = Table(
    "notice_rules",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Key, nullable=False, unique=True),
    Column("kind", _Key, nullable=False),
    Column("enabled", SmallInteger, nullable=False),
    # The other choices as a JSON object.
    Column("choices", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    sqlite_autoincrement=True,
)

# What a rule has sent a notice of, which it never does again.
noticed: Final = Table(
    "noticed",
    metadata,
    Column("rule_id", _Id, primary_key=True, autoincrement=False),
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    # The object's end: one that is renewed under the same id gets further notices.
    Column("ends_at", BigInteger, primary_key=True, autoincrement=False),
    Column("step", SmallInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
)
Index("noticed_at", noticed.c.at)

# The outbox.
notice_messages: Final = Table(
    "notice_messages",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("uid", _Key, nullable=False),
    Column("channel", _Key, nullable=False),
    Column("recipient", _Key, nullable=False),
    Column("state", _Key, nullable=False),
    Column("count", BigInteger, nullable=False),
    # The first notices as a JSON list.
    Column("entries", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    # When it is sent next; 0 when it is not sent any more.
    Column("due_at", BigInteger, nullable=False),
    # 0 until it is sent or given up.
    Column("done_at", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("notice_messages_due", notice_messages.c.state, notice_messages.c.due_at, notice_messages.c.id)
Index("notice_messages_recipient", notice_messages.c.channel, notice_messages.c.recipient, notice_messages.c.state)
Index("notice_messages_done", notice_messages.c.done_at, notice_messages.c.id)
