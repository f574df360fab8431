"""The tables.

Times are integers (seconds since 1970, UTC), serial numbers lower-case hex text, DER and digests bytes, booleans 0 or
1, so that no value needs conversion in either database.  Text for sorting and prefix search is compared by code point
in both (SQLite's ``BINARY``, PostgreSQL's ``C``).

Each index of ``certificates`` and ``requests`` adds to the cost of an enrollment, so each one serves a list or a
lookup.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()

# SQLite uses its row id for INTEGER primary keys only.
_Id: Final = BigInteger().with_variant(Integer, "sqlite")
_Key: Final = Text().with_variant(Text(collation="C"), "postgresql")
_Flag: Final = SmallInteger


def _index(name: str, table: Table, *columns: str, where: TextClause | None = None) -> None:
    """Add an index of the columns with these names, for the rows that *where* selects."""
    Index(name, *(table.c[column] for column in columns), sqlite_where=where, postgresql_where=where)


def _id() -> Column[int]:
    return Column("id", _Id, primary_key=True)


issuers: Final = Table(
    "issuers",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("key_identifier", LargeBinary, nullable=False, unique=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("crl_number", BigInteger, nullable=False),
)

certificates: Final = Table(
    "certificates",
    metadata,
    _id(),
    Column("serial", _Key, nullable=False),
    Column("issuer_id", _Id, ForeignKey("issuers.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("common_name", Text, nullable=False),
    # The folded display name, for sorting and prefix search.
    Column("name_key", _Key, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("owner_id", _Id),
    Column("policy", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("reason", SmallInteger),
    Column("deleted_at", BigInteger),
    # The role of one of the CA's own certificates; NULL for subscribers' certificates.
    Column("infrastructure", Text),
    # The subject alternative names as a JSON list, and the folded text for search; NULL until the backfill.
    Column("sans", Text),
    Column("search_text", Text),
    # SHA-256 of the DER; NULL until the backfill.
    Column("fingerprint", LargeBinary),
    # The device that it was issued to; NULL until the backfill, and for the CA's own and those without any name.
    Column("device_id", _Id),
    # Last, so that the other columns are read without its overflow pages.
    Column("der", LargeBinary, nullable=False),
)
Index("certificates_serial", certificates.c.serial, unique=True)
Index("certificates_name", certificates.c.name_key, certificates.c.id)
# Groups of the columns that lists have conditions on.
_STATUS: Final = ("revoked_at", "deleted_at")
_OWNERS: Final = ("owner_id", "issuer_id")
_KINDS: Final = ("policy", "method", "key_type")
# Covers the conditions and sort fields of lists of certificates that are filtered by anything.
_index(
    "certificates_end",
    certificates,
    *("not_after", "id", *_STATUS, "name_key", "method", *_OWNERS, "policy", "key_type", "created_at"),
)
Index("certificates_key", certificates.c.key_id)
Index("certificates_method", certificates.c.method, certificates.c.id)
Index("certificates_issuer", certificates.c.issuer_id, certificates.c.id)
# Covers the conditions of lists by policy, method and key type, of which there are few combinations.
_index(
    "certificates_kind",
    certificates,
    *(*_KINDS, "id", "not_after", *_STATUS, *_OWNERS, "created_at", "name_key"),
)
# Covers the conditions of lists by the time of issuance.
_index(
    "certificates_issued",
    certificates,
    *("created_at", "id", "not_after", *_STATUS, "method", *_OWNERS, "policy", "key_type"),
)
Index("certificates_fingerprint", certificates.c.fingerprint)
_owned: Final = text("owner_id IS NOT NULL")
_index("certificates_owner", certificates, "owner_id", "id", where=_owned)
_revoked: Final = text("revoked_at IS NOT NULL")
Index("certificates_revoked", certificates.c.id, sqlite_where=_revoked, postgresql_where=_revoked)
# Covers the conditions and sort fields of lists of revoked certificates; others have no entry.
_index(
    "certificates_revocation",
    certificates,
    *("revoked_at", "id", "deleted_at", "not_after", "name_key", "method", *_OWNERS, "serial"),
    *("policy", "key_type", "created_at", "reason"),
    where=_revoked,
)

# Covers the counts of deleted certificates.
_index(
    "certificates_deleted",
    certificates,
    *("owner_id", "key_type", "method", "created_at", "infrastructure"),
    where=text("deleted_at IS NOT NULL"),
)
_own: Final = text("infrastructure IS NOT NULL")
_index("certificates_infrastructure", certificates, "infrastructure", "revoked_at", "id", where=_own)

requests: Final = Table(
    "requests",
    metadata,
    _id(),
    Column("state", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("policy", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("owner_id", _Id),
    Column("address", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # The digest is removed from its row after its window, so that a new request can have it.
    Column("dedupe", LargeBinary, unique=True),
    Column("dedupe_until", BigInteger),
    Column("transaction_digest", LargeBinary),
    Column("requester_key", LargeBinary),
    Column("challenge_id", _Id),
    # The stored CSR that was submitted, or NULL.
    Column("csr_id", _Id),
    Column("label", Text),
    Column("validity_days", BigInteger),
    Column("details", Text),
    # The subject alternative names that the challenge password adds, or NULL.
    Column("added_names", LargeBinary),
    # The intent; NULL before approval.
    Column("serial", _Key),
    Column("issuer_id", _Id),
    Column("certified_subject", Text),
    Column("common_name", Text),
    Column("not_before", BigInteger),
    Column("not_after", BigInteger),
    Column("process", Text),
    Column("certificate_id", _Id),
    Column("decided_at", BigInteger),
    Column("decided_by", Text),
    Column("reason", Text),
    # Approvals that the policy required when the request came, and the ids of the accounts that made it.
    Column("approvals", SmallInteger),
    Column("requester_ids", Text),
    Column("first_approver_id", _Id),
    Column("first_approved_by", Text),
    Column("first_approved_at", BigInteger),
    # Revocation of a serial number without a certificate.
    Column("revoked_at", BigInteger),
    Column("revocation_reason", SmallInteger),
    Column("csr", LargeBinary),
    Column("tbs", LargeBinary),
)
_unissued: Final = text("state <> 'issued'")
Index("requests_open", requests.c.state, requests.c.id, sqlite_where=_unissued, postgresql_where=_unissued)
# Issued requests are excluded, since their certificates have the serial number.
Index("requests_serial", requests.c.serial, unique=True, sqlite_where=_unissued, postgresql_where=_unissued)
Index("requests_open_key", requests.c.key_id, sqlite_where=_unissued, postgresql_where=_unissued)
# The few requests that wait for approval or were decided manually.
_personal: Final = text("decided_by IS NOT NULL OR state = 'pending'")
Index("requests_approvals", requests.c.id, sqlite_where=_personal, postgresql_where=_personal)
Index("requests_method", requests.c.method, requests.c.id)
_polled: Final = text("transaction_digest IS NOT NULL")
Index("requests_transaction", requests.c.transaction_digest, sqlite_where=_polled, postgresql_where=_polled)
Index("requests_owner", requests.c.owner_id, requests.c.id, sqlite_where=_owned, postgresql_where=_owned)

# Revocations and releases in commit order.
status_changes: Final = Table(
    "status_changes",
    metadata,
    _id(),
    Column("issuer_id", _Id, nullable=False),
    Column("serial", _Key, nullable=False),
    # The change id of the CRL entry that this change removed or replaced; 0 without one.
    Column("replaces", _Id, nullable=False),
    # The shard whose CRL lists the certificate, or NULL.
    Column("shard", SmallInteger),
    sqlite_autoincrement=True,
)
# An issuing CA with few changes has to find them among those of others.
_index("status_changes_issuer", status_changes, "issuer_id", "id")
_replacing: Final = text("replaces > 0")
_index("status_changes_replacing", status_changes, "issuer_id", "id", where=_replacing)

# The encoded entries of CRLs, in the order of revocation.
crl_entries: Final = Table(
    "crl_entries",
    metadata,
    Column("serial", _Key, primary_key=True),
    Column("issuer_id", _Id, nullable=False),
    Column("change_id", _Id, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("shard", SmallInteger),
)
_sharded: Final = text("shard IS NOT NULL")
_index("crl_entries_shard", crl_entries, "issuer_id", "shard", "change_id", where=_sharded)
Index("crl_entries_order", crl_entries.c.issuer_id, crl_entries.c.change_id)
Index("crl_entries_end", crl_entries.c.issuer_id, crl_entries.c.not_after)

crls: Final = Table(
    "crls",
    metadata,
    Column("issuer_id", _Id, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("last_change", _Id, nullable=False),
)

# Revocations that a published CRL has and this database lacked, because it was restored from an older copy.
recovered_revocations: Final = Table(
    "recovered_revocations",
    metadata,
    _id(),
    Column("issuer_id", _Id, nullable=False),
    Column("serial", _Key, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    # Whether this database had the certificate on hold.
    Column("was_on_hold", SmallInteger, nullable=False),
    Column("recovered_at", BigInteger, nullable=False),
    # "keep" or "drop"; NULL until an administrator has decided.
    Column("decision", Text),
    sqlite_autoincrement=True,
)
Index("recovered_revocations_serial", recovered_revocations.c.serial, recovered_revocations.c.issuer_id, unique=True)
_undecided: Final = text("decision IS NULL")
_index("recovered_revocations_undecided", recovered_revocations, "issuer_id", "id", where=_undecided)
_index("recovered_revocations_waiting", recovered_revocations, "id", where=_undecided)
Index("recovered_revocations_date", recovered_revocations.c.revoked_at, recovered_revocations.c.id)

service_credentials: Final = Table(
    "service_credentials",
    metadata,
    _id(),
    Column("key_identifier", LargeBinary, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("service_credentials_purpose", service_credentials.c.key_identifier, service_credentials.c.purpose)

# Ids of owners and their objects are never reused, so that no account inherits the objects of another.
accounts: Final = Table(
    "accounts",
    metadata,
    _id(),
    Column("username", Text, nullable=False),
    Column("name_key", _Key, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("password_hash", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("last_login_at", BigInteger),
    Column("directory_id", Text),
    Column("suspended_by_directory", SmallInteger, nullable=False, server_default="0"),
    Column("must_change_password", SmallInteger, nullable=False, server_default="0"),
    Column("has_second_factor", SmallInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

# Pending orders to revoke all certificates of an account.
owner_revocations: Final = Table(
    "owner_revocations",
    metadata,
    Column("account_id", _Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("reason", SmallInteger, nullable=False),
    # The actor in the events of the revocations.
    Column("actor", Text, nullable=False),
    Column("actor_id", _Id),
)

tokens: Final = Table(
    "tokens",
    metadata,
    _id(),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("name", _Key, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    UniqueConstraint("account_id", "name", name="tokens_name"),
    sqlite_autoincrement=True,
)

policies: Final = Table(
    "policies",
    metadata,
    _id(),
    Column("name", _Key, nullable=False, unique=True),
    Column("days", BigInteger, nullable=False),
    Column("extensions", Text, nullable=False),
    Column("system", _Flag, nullable=False),
    *(Column(f"use_for_{protocol}", _Flag, nullable=False) for protocol in ("est", "scep")),
    Column("owner_id", _Id),
    Column("issuer", Text),
    Column("approval", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("updated_by", Text),
    Column("default_for_est", _Flag, nullable=False, server_default=text("0")),
    Column("default_for_scep", _Flag, nullable=False, server_default=text("0")),
    # The names of roles, separated by spaces.
    Column("roles", Text, nullable=False, server_default="user operator admin"),
    Column("lint_override", Text),
    sqlite_autoincrement=True,
)
Index("policies_owner", policies.c.owner_id, policies.c.id, sqlite_where=_owned, postgresql_where=_owned)
# A protocol has one default policy of each owner, and one of the system.
for _protocol in ("est", "scep"):
    _default = text(f"default_for_{_protocol} = 1 AND system = 0")
    Index(
        f"policies_{_protocol}_default",
        policies.c.owner_id,
        unique=True,
        sqlite_where=_default,
        postgresql_where=_default,
    )
    _default = text(f"default_for_{_protocol} = 1 AND system = 1")
    Index(
        f"policies_{_protocol}_system_default",
        policies.c.system,
        unique=True,
        sqlite_where=_default,
        postgresql_where=_default,
    )

challenges: Final = Table(
    "challenges",
    metadata,
    _id(),
    Column("lookup", LargeBinary, nullable=False, unique=True),
    Column("prefix", _Key, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("owner_id", _Id),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("reserved_by", _Id),
    Column("consumed_at", BigInteger),
    Column("consumed_serial", _Key),
    Column("label", _Key, nullable=False, server_default=""),
    # The names that it is bound to; NULL where it is bound to none.
    Column("subject", Text),
    Column("sans", Text),
    Column("subject_der", LargeBinary),
    Column("san_der", LargeBinary),
    # The name of the only policy that it enrolls under; NULL for any.
    Column("policy", Text),
    Column("batch_id", _Id),
    # The folded name of the device that it is bound to.
    Column("device_key", _Key),
    Column("created_by_id", _Id),
    sqlite_autoincrement=True,
)
_unused: Final = text("consumed_at IS NULL")
Index("challenges_end", challenges.c.expires_at, challenges.c.id)
Index("challenges_unused", challenges.c.id, sqlite_where=_unused, postgresql_where=_unused)
Index("challenges_unused_owner", challenges.c.owner_id, sqlite_where=_unused, postgresql_where=_unused)
Index("challenges_prefix", challenges.c.prefix)
Index("challenges_label", challenges.c.label, challenges.c.id)
Index("challenges_owner_label", challenges.c.owner_id, challenges.c.label, challenges.c.id)
Index("challenges_owner", challenges.c.owner_id, challenges.c.id, sqlite_where=_owned, postgresql_where=_owned)

csrs: Final = Table(
    "csrs",
    metadata,
    _id(),
    Column("name", _Key, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("subject", Text, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("owner_id", _Id),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    # The stored key and the template's name, for CSRs created here.
    Column("key_id", _Id),
    Column("template", Text),
    # The last certificate issued for it.
    Column("certificate_id", _Id),
    sqlite_autoincrement=True,
)
Index("csrs_certificate", csrs.c.certificate_id)
Index("csrs_owner", csrs.c.owner_id, csrs.c.id, sqlite_where=_owned, postgresql_where=_owned)
# Of many CSRs a few wait to be signed; the dashboard counts them each time.
_to_sign: Final = text("state = 'pending'")
_index("csrs_pending", csrs, "id", where=_to_sign)
_index("csrs_pending_owner", csrs, "owner_id", "id", where=_to_sign)

# Sign-in sessions, with a digest of the cookie's secret.
sessions: Final = Table(
    "sessions",
    metadata,
    _id(),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    # When the password was last entered; NULL for sessions without a password.
    Column("confirmed_at", BigInteger),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("sessions_account", sessions.c.account_id, sessions.c.id)
Index("sessions_seen", sessions.c.last_seen_at)

# Client certificates bound to accounts for signing in.
account_certificates: Final = Table(
    "account_certificates",
    metadata,
    _id(),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("fingerprint", LargeBinary, nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("serial", _Key, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("account_certificates_account", account_certificates.c.account_id, account_certificates.c.id)

# The servers that use this database; each start adds a row.
nodes: Final = Table(
    "nodes",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Which node does what one node at a time does; the times are milliseconds of the database's clock.
leases: Final = Table(
    "leases",
    metadata,
    Column("name", _Key, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("terms", BigInteger, nullable=False),
)

# Values that are added to the rows of an earlier version in the background.
backfills: Final = Table(
    "backfills",
    metadata,
    Column("name", _Key, primary_key=True),
    # Rows with lower ids follow, the newest first.
    Column("before", _Id, nullable=False),
    Column("total", _Id, nullable=False),
)

# Stored private keys (KEY-4); "sealed" is the encrypted PKCS #8 form.
keys: Final = Table(
    "keys",
    metadata,
    _id(),
    Column("name", _Key, nullable=False),
    Column("key_type", Text, nullable=False),
    # SHA-256 of the SubjectPublicKeyInfo, as in certificates and requests.
    Column("key_id", LargeBinary, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("owner_id", _Id),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("keys_owner", keys.c.owner_id, keys.c.id, sqlite_where=_owned, postgresql_where=_owned)
Index("keys_key", keys.c.key_id)
Index("keys_name", keys.c.name, keys.c.id)

# Certificate templates (TPL-1); those without an owner are shared.
templates: Final = Table(
    "templates",
    metadata,
    _id(),
    Column("name", _Key, nullable=False),
    Column("profile_type", _Key, nullable=False),
    # "manually", or the file from which it was rendered.
    Column("origin", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("for_requests", _Flag, nullable=False),
    Column("for_extensions", _Flag, nullable=False),
    Column("owner_id", _Id),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("updated_by", Text),
    sqlite_autoincrement=True,
)
Index("templates_name", templates.c.name, templates.c.id)
Index("templates_owner", templates.c.owner_id, templates.c.id, sqlite_where=_owned, postgresql_where=_owned)

# Ids are assigned by the chain, without gaps.
audit_events: Final = Table(
    "audit_events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_name", _Key, nullable=False),
    Column("actor", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("owner_id", _Id),
    Column("actor_id", _Id),
    Column("about_account", _Flag, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
Index("audit_events_name", audit_events.c.resource_name, audit_events.c.id)
Index("audit_events_kind", audit_events.c.resource_type, audit_events.c.type, audit_events.c.id)
Index("audit_events_owner", audit_events.c.owner_id, audit_events.c.id, sqlite_where=_owned, postgresql_where=_owned)
_account: Final = text("about_account = 1")
Index("audit_events_account", audit_events.c.id, sqlite_where=_account, postgresql_where=_account)

# The key of the events' hashes, sealed, with the end of the events of earlier versions, which have no key.
audit_keys: Final = Table(
    "audit_keys",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# One row with the end of the chain, so that a missing last event is detected.
audit_head: Final = Table(
    "audit_head",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("count", _Id, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
