"""The tables of ended sessions and form drafts; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")

# Why the newest sessions have ended, for the next request of their browsers.
ended_sessions: Final = Table(
    "ended_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("account_id", _Id, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
)
Index("ended_sessions_end", ended_sessions.c.ended_at)

# One-time codes that set the password of an account.
password_resets: Final = Table(
    "password_resets",
    metadata,
    Column("account_id", _Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("expires_at", BigInteger, nullable=False),
)

# Secrets for one-time passwords, sealed.
totp_secrets: Final = Table(
    "totp_secrets",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    # The time step of the last accepted code.
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Unused recovery codes.
recovery_codes: Final = Table(
    "recovery_codes",
    metadata,
    Column("account_id", _Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
)

# Public keys of WebAuthn credentials.
passkeys: Final = Table(
    "passkeys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("user_handle", LargeBinary, nullable=False),
    # When the last accepted challenge was made, in microseconds.
    Column("challenged_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    UniqueConstraint("account_id", "name_key"),
    sqlite_autoincrement=True,
)

# Accounts of people at OpenID Connect providers.
external_identities: Final = Table(
    "external_identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
)
Index("external_identities_account", external_identities.c.account_id)

# Forms that were sent with an ended session, sealed, until the account signs in again.
drafts: Final = Table(
    "drafts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("drafts_account", drafts.c.account_id, drafts.c.id)
Index("drafts_end", drafts.c.created_at)
