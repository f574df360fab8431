"""Accounts and their API tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, literal, literal_column, null, select, update

from pikachu.core.errors import AccountChanged, Conflict, MalformedRequest, NotFound
from pikachu.core.model.account_objects import OwnerRevocation
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Account, AccountSource, AccountState, NewAccount, NewToken, Role, Scope, Token
from pikachu.core.model.sign_in import ExternalIdentity, NewPasswordReset, SessionEnd
from pikachu.core.owners import may_act, require_active, require_usable
from pikachu.storage.audit import write_event
from pikachu.storage.certificates import find_serial
from pikachu.storage.database import Row, Transaction
from pikachu.storage.owners import is_revocation_ordered, order_revocation
from pikachu.storage.pagination import ListSource, checked, matching, one_of, page, table_columns
from pikachu.storage.preferences import DELETE_OF_ACCOUNT
from pikachu.storage.schema import account_certificates, accounts, challenges, sessions, tokens
from pikachu.storage.sign_in import delete_reset, end_all_sessions, insert_reset
from pikachu.storage.sign_in_schema import external_identities, passkeys, password_resets, recovery_codes, totp_secrets
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    read_transaction,
    row_id,
    seconds,
    storable,
    write_transaction,
)

#: Returns the changed account and the event to record (``None`` for no change); called in the write transaction.
Decide: TypeAlias = Callable[[Account], tuple[Account, Event | None]]

_a: Final = accounts.c
_t: Final = tokens.c
_COLUMNS: Final = [column for column in accounts.columns if column is not _a.name_key]
_VALUES: Final = (
    "username",
    "name_key",
    "email",
    "role",
    "source",
    "state",
    "password_hash",
    "created_at",
    "directory_id",
    "must_change_password",
)

# Sort key of the idle time: the latest request of the account's sessions, latest first, then who has none.
_idle: Final = func.coalesce(
    select(-func.max(sessions.c.last_seen_at)).where(sessions.c.account_id == _a.id).scalar_subquery(), literal(1)
)

_by_id: Final = select(*_COLUMNS).where(_a.id == bindparam("b_id"))
_by_name: Final = select(*_COLUMNS).where(_a.name_key == bindparam("b_name"))
_by_reset: Final = (
    select(*_COLUMNS)
    .join(password_resets, password_resets.c.account_id == _a.id)
    .where(password_resets.c.digest == bindparam("b_digest"), password_resets.c.expires_at > bindparam("b_now"))
)
_i: Final = external_identities.c
_by_identity: Final = (
    select(*_COLUMNS)
    .join(external_identities, _i.account_id == _a.id)
    .where(_i.issuer == bindparam("b_issuer"), _i.subject == bindparam("b_subject"))
)
_insert_identity: Final = insert_into(external_identities, "issuer", "subject", "account_id", returning_id=False)
_no_identity: Final = delete(external_identities).where(_i.account_id == bindparam("b_id"))
_insert: Final = insert(accounts).values({name: bindparam(name) for name in _VALUES}).returning(_a.id)
_update: Final = (
    update(accounts)
    .where(_a.id == bindparam("b_id"))
    .values(
        email=bindparam("v_email"),
        role=bindparam("v_role"),
        state=bindparam("v_state"),
        password_hash=bindparam("v_password_hash"),
        directory_id=bindparam("v_directory_id"),
        suspended_by_directory=bindparam("v_suspended_by_directory"),
        must_change_password=bindparam("v_must_change_password"),
    )
)
# The row stays, since owned objects refer to it; personal data and credentials are erased.
_erase: Final = (
    update(accounts)
    .where(_a.id == bindparam("b_id"))
    .values(
        name_key=bindparam("v_name_key"),
        state=literal_column("'deleted'"),
        email=literal_column("''"),
        password_hash=null(),
        directory_id=null(),
    )
)
_other_admins: Final = select(func.count()).where(
    _a.role == literal_column("'admin'"), _a.state == literal_column("'active'"), _a.id != bindparam("b_id")
)


_no_totp: Final = delete(totp_secrets).where(totp_secrets.c.account_id == bindparam("b_id"))
_no_passkeys: Final = delete(passkeys).where(passkeys.c.account_id == bindparam("b_id"))
_no_recovery_codes: Final = delete(recovery_codes).where(recovery_codes.c.account_id == bindparam("b_id"))
_delete_unused: Final = delete(challenges).where(
    challenges.c.id.in_(
        select(challenges.c.id)
        .where(
            challenges.c.owner_id == bindparam("b_id"),
            challenges.c.consumed_at.is_(None),
            challenges.c.reserved_by.is_(None),
        )
        .limit(bindparam("b_limit"))
    )
)
_all_tokens: Final = delete(tokens).where(_t.account_id == bindparam("b_id"))
_all_sessions: Final = delete(sessions).where(sessions.c.account_id == bindparam("b_id"))
_all_certificates: Final = delete(account_certificates).where(account_certificates.c.account_id == bindparam("b_id"))

_token: Final = select(*tokens.columns).where(_t.id == bindparam("b_id"))
_token_named: Final = select(_t.id).where(_t.account_id == bindparam("b_account"), _t.name == bindparam("b_name"))
_token_names: Final = select(_t.name).where(_t.account_id == bindparam("b_account")).order_by(_t.id)
_token_by_digest: Final = select(*tokens.columns).where(_t.digest == bindparam("b_digest"))
_insert_token: Final = insert_into(tokens, "account_id", "name", "digest", "scopes", "created_at", "expires_at")
_delete_token: Final = delete(tokens).where(_t.id == bindparam("b_id"))
_used_token: Final = update(tokens).where(_t.id == bindparam("b_id")).values(last_used_at=bindparam("v_last_used_at"))


def _record(row: Row) -> Account:
    return Account(
        row[0],
        row[1],
        row[2],
        Role(row[3]),
        AccountSource(row[4]),
        AccountState(row[5]),
        row[6],
        moment(row[7]),
        maybe_moment(row[8]),
        row[9],
        bool(row[10]),
        bool(row[11]),
        bool(row[12]),
    )


def _token_record(row: Row) -> Token:
    identity, account_id, name, _, scopes, created_at, expires_at, last_used_at = row
    return Token(
        identity,
        account_id,
        name,
        frozenset(Scope(scope) for scope in scopes.split()),
        moment(created_at),
        maybe_moment(expires_at),
        maybe_moment(last_used_at),
    )


def find_account(tx: Transaction, account_id: int) -> Account:
    """Return the account with that id.

    :raises NotFound: when it does not exist.
    """
    row = tx.row(_by_id, {"b_id": row_id(account_id)})
    if row is None:
        raise NotFound("there is no such account")
    return _record(row)


def require_active_owner(tx: Transaction, owner_id: int | None) -> None:
    """Require that an owning account may act; None is for objects without an owner.

    :raises InactiveOwner: when it may not.
    """
    if owner_id is not None:
        require_active(_find_owner(tx, owner_id))


def _find_owner(tx: Transaction, owner_id: int) -> Account | None:
    row = tx.row(_by_id, {"b_id": row_id(owner_id)})
    return None if row is None else _record(row)


def require_unchanged(tx: Transaction, account: Account) -> None:
    """Require that an account is what was read of it.

    :raises AccountChanged: when it is not.
    """
    row = tx.row(_by_id, {"b_id": account.id})
    if row is None or _record(row) != account:
        raise AccountChanged("Your account was changed meanwhile. Send the request again.")


def _named(tx: Transaction, username: str) -> Account | None:
    row = tx.row(_by_name, {"b_name": storable(username).casefold()})
    return None if row is None else _record(row)


def _keep_an_admin(tx: Transaction, account: Account) -> None:
    """Raise Conflict if *account* is the last active administrator."""
    if account.role is Role.ADMIN and account.state is AccountState.ACTIVE:
        row = tx.row(_other_admins, {"b_id": account.id})
        if row is None or row[0] == 0:
            raise Conflict("this is the last active administrator")


def _order_revocation(tx: Transaction, revocation: OwnerRevocation, account: Account) -> None:
    if may_act(account):
        raise MalformedRequest("Certificates are revoked of an account that is not active. Suspend the account first.")
    order_revocation(tx, revocation)


def _require_present(account: Account) -> None:
    if account.state is AccountState.DELETED:
        raise NotFound("This account is deleted. Create a new one; its name is free.")


def _find_token(tx: Transaction, token_id: int) -> Token:
    row = tx.row(_token, {"b_id": row_id(token_id)})
    if row is None:
        raise NotFound("there is no such token")
    return _token_record(row)


def _add(tx: Transaction, account: NewAccount, event: Event, now: datetime) -> Account:
    """Create an account; see :meth:`AccountStore.add_account`."""
    if _named(tx, account.username) is not None:
        raise Conflict("this user name is taken")
    values = {
        "username": storable(account.username),
        "name_key": storable(account.username).casefold(),
        "email": storable(account.email),
        "role": account.role.value,
        "source": account.source.value,
        "state": account.state.value,
        "password_hash": account.password_hash,
        "created_at": int(now.timestamp()),
        "directory_id": account.directory_id,
        "must_change_password": int(account.must_change_password),
    }
    identity = tx.insert(_insert, values)
    write_event(tx, event, now)
    return find_account(tx, identity)


def _change(
    tx: Transaction,
    account_id: int,
    decide: Decide,
    now: datetime,
    revocation: OwnerRevocation | None = None,
    *,
    by_directory: bool = False,
) -> Account:
    """Change an account; see :meth:`AccountStore.change_account`."""
    old = find_account(tx, account_id)
    _require_present(old)
    account, event = decide(old)
    if may_act(account) and not may_act(old) and is_revocation_ordered(tx, old.id):
        raise Conflict("The certificates of this account are still being revoked. Try again when that is done.")
    if revocation is not None:
        _order_revocation(tx, revocation, account)
    if event is None:
        return old
    if not by_directory and (account.role is not Role.ADMIN or account.state is not AccountState.ACTIVE):
        _keep_an_admin(tx, old)
    values = {
        "b_id": old.id,
        "v_email": storable(account.email),
        "v_role": account.role.value,
        "v_state": account.state.value,
        "v_password_hash": account.password_hash,
        "v_directory_id": account.directory_id,
        "v_suspended_by_directory": int(account.suspended_by_directory),
        "v_must_change_password": int(account.must_change_password),
    }
    tx.write(_update, values)
    write_event(tx, event, now)
    lost = account.state is not AccountState.ACTIVE
    if by_directory:
        lost = lost or (old.role is Role.ADMIN and account.role is not Role.ADMIN)
    if account.password_hash != old.password_hash:
        delete_reset(tx, old.id)
    if lost or account.password_hash != old.password_hash:
        # End the sessions that were opened with the previous password or state (USR-4).
        end_all_sessions(tx, old.id, SessionEnd.ACCOUNT if lost else SessionEnd.PASSWORD, now)
    if lost:
        details = {name: value for name, value in event.details.items() if name == "ip"} | {"reason": event.type}
        for row in tx.rows(_token_names, {"b_account": old.id}):
            ended = Event("delete", "token", row[0], event.actor, details, old.id, event.actor_id)
            write_event(tx, ended, now)
        tx.write(_all_tokens, {"b_id": old.id})
    return find_account(tx, old.id)


class AccountStore(StoreSection):
    """See :class:`pikachu.core.interfaces.IAccountStore`."""

    @point_read
    def account(self, tx: Transaction, account_id: int) -> Account:
        """Return the account with that id; NotFound."""
        return find_account(tx, account_id)

    @read_transaction
    def accounts_of(self, tx: Transaction, account_ids: Sequence[int]) -> dict[int, Account]:
        """Return the existing accounts by id, in one query."""
        rows = tx.query(select(*_COLUMNS).where(_a.id.in_([row_id(account_id) for account_id in account_ids])))
        return {row[0]: _record(row) for row in rows}

    @point_read
    def account_by_name(self, tx: Transaction, username: str) -> Account | None:
        """Return the account with that name, compared without case."""
        return _named(tx, username)

    @read_transaction
    def accounts(self, tx: Transaction, query: ListQuery) -> Page[Account]:
        """List accounts; filters ``role``, ``state``, ``source``.  ``state=deleted`` lists deleted ones."""
        checked(query, ("role", "state", "source"))
        conditions: list[ColumnElement[bool]] = []
        for name, values in (("role", list(Role)), ("state", list(AccountState)), ("source", list(AccountSource))):
            value = one_of(query, name, values)
            if value is not None:
                conditions.append(_a[name] == value)
        if "state" not in query.filters:
            conditions.append(_a.state != literal_column("'deleted'"))
        searched = (_a.id, _a.username, _a.email, _a.role, _a.state, _a.source)
        conditions += matching(tx, query, searched, conditions, times=(_a.created_at,))
        sorts = {
            "id": _a.id,
            "created_at": _a.id,
            "username": _a.name_key,
            "email": _a.email,
            "role": _a.role,
            "state": _a.state,
            "source": _a.source,
            "idle": _idle,
        }
        return page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)

    @write_transaction
    def add_account(self, tx: Transaction, account: NewAccount, event: Event, now: datetime) -> Account:
        """Create an account; Conflict when its name is taken."""
        return _add(tx, account, event, now)

    @write_transaction
    def add_external_account(
        self, tx: Transaction, account: NewAccount, identity: ExternalIdentity, event: Event, now: datetime
    ) -> Account:
        """Create an account of a person at a provider, unless there is one; Conflict when its name is taken."""
        row = tx.row(_by_identity, {"b_issuer": identity.issuer, "b_subject": identity.subject})
        if row is not None:
            # Another first sign-in was quicker.
            return _record(row)
        added = _add(tx, account, event, now)
        values = {"issuer": identity.issuer, "subject": identity.subject, "account_id": added.id}
        tx.write(_insert_identity, values)
        return added

    @point_read
    def account_by_identity(self, tx: Transaction, identity: ExternalIdentity) -> Account | None:
        """Return the account of a person at a provider."""
        row = tx.row(_by_identity, {"b_issuer": identity.issuer, "b_subject": identity.subject})
        return None if row is None else _record(row)

    @write_transaction
    def change_account(
        self,
        tx: Transaction,
        account_id: int,
        decide: Decide,
        now: datetime,
        revocation: OwnerRevocation | None = None,
        *,
        by_directory: bool = False,
    ) -> Account:
        """Change role, state, e-mail, password hash or the directory's id and decision; NotFound, Conflict.

        The errors of *decide* as well.
        """
        return _change(tx, account_id, decide, now, revocation, by_directory=by_directory)

    @write_transaction
    def add_password_reset(
        self,
        tx: Transaction,
        reset: NewPasswordReset,
        decide: Callable[[Account], tuple[Account, Event]],
        now: datetime,
    ) -> Account:
        """Change an account, and store a code that sets its password; NotFound, and the errors of *decide*."""
        account = _change(tx, reset.account_id, decide, now)
        insert_reset(tx, reset)
        return account

    @point_read
    def account_by_reset(self, tx: Transaction, digest: bytes, now: datetime) -> Account | None:
        """Return the account of a code that has not expired."""
        row = tx.row(_by_reset, {"b_digest": digest, "b_now": int(now.timestamp())})
        return None if row is None else _record(row)

    @write_transaction
    def order_owner_revocation(self, tx: Transaction, revocation: OwnerRevocation) -> None:
        """Store an order to revoke the certificates of an account that may not act; NotFound, MalformedRequest."""
        _order_revocation(tx, revocation, find_account(tx, revocation.account_id))

    @write_transaction
    def delete_account(
        self,
        tx: Transaction,
        account_id: int,
        decide: Callable[[Account], Event],
        now: datetime,
        revocation: OwnerRevocation | None = None,
    ) -> None:
        """Erase the account's secrets and keep its row; NotFound, Conflict, and the errors of *decide*."""
        account = find_account(tx, account_id)
        _require_present(account)
        event = decide(account)
        _keep_an_admin(tx, account)
        for statement in (
            _all_tokens,
            _all_sessions,
            _all_certificates,
            _no_totp,
            _no_passkeys,
            _no_recovery_codes,
            _no_identity,
            *DELETE_OF_ACCOUNT,
        ):
            tx.write(statement, {"b_id": account_id})
        delete_reset(tx, account_id)
        # User names have no spaces, so no lookup matches this name.
        tx.write(_erase, {"b_id": account_id, "v_name_key": f"{account.username.casefold()} (deleted {account_id})"})
        if revocation is not None:
            order_revocation(tx, revocation)
        write_event(tx, event, now)

    @write_transaction
    def delete_unused_challenges(self, tx: Transaction, owner_id: int, limit: int) -> int:
        """Delete up to *limit* unused challenge passwords of an owner; return their number."""
        return tx.write(_delete_unused, {"b_id": row_id(owner_id), "b_limit": limit})

    @point_read
    def require_active_owner(self, tx: Transaction, owner_id: int | None) -> None:
        """Require that the owning account may act; InactiveOwner."""
        require_active_owner(tx, owner_id)

    @point_read
    def certificate_with_owner(self, tx: Transaction, serial: int) -> tuple[CertificateRecord, Account | None]:
        """Return the certificate with that serial number, and its owner; UnknownSerial."""
        record = find_serial(tx, serial)
        return record, None if record.owner_id is None else _find_owner(tx, record.owner_id)

    @write_transaction
    def add_token(self, tx: Transaction, token: NewToken, event: Event, now: datetime) -> Token:
        """Create a token; NotFound, Conflict, QuotaExceeded."""
        self._require_quota(tx, "tokens", token.account_id)
        require_usable(find_account(tx, token.account_id), "tokens")
        name = storable(token.name)
        if tx.row(_token_named, {"b_account": token.account_id, "b_name": name}) is not None:
            raise Conflict("this account has a token of that name")
        values = {
            "account_id": token.account_id,
            "name": name,
            "digest": token.digest,
            "scopes": " ".join(sorted(token.scopes)),
            "created_at": int(now.timestamp()),
            "expires_at": seconds(token.expires_at),
        }
        identity = tx.insert(_insert_token, values)
        write_event(tx, event, now)
        return _find_token(tx, identity)

    @point_read
    def token(self, tx: Transaction, token_id: int) -> Token:
        """Return the token with that id; NotFound."""
        return _find_token(tx, token_id)

    @point_read
    def token_by_digest(self, tx: Transaction, digest: bytes) -> tuple[Token, Account] | None:
        """Return the token with that digest and its account."""
        row = tx.row(_token_by_digest, {"b_digest": digest})
        return None if row is None else (_token_record(row), find_account(tx, row[1]))

    @write_transaction
    def touch_token(self, tx: Transaction, token_id: int, now: datetime) -> None:
        """Record the use of a token, unless it was deleted."""
        tx.write(_used_token, {"b_id": row_id(token_id), "v_last_used_at": int(now.timestamp())})

    @read_transaction
    def tokens(self, tx: Transaction, query: ListQuery) -> Page[Token]:
        """List tokens; *owner_id* selects an account."""
        checked(query, ())
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(_t.account_id == query.owner_id)
        conditions += matching(tx, query, (_t.id, _t.name, _t.scopes), conditions)
        sorts = {"id": _t.id, "created_at": _t.id, "name": _t.name}
        return page(tx, query, ListSource(table_columns(tokens), sorts, _token_record), conditions)

    @write_transaction
    def delete_token(self, tx: Transaction, token_id: int, decide: Callable[[Token], Event], now: datetime) -> None:
        """Delete a token; NotFound, and the errors of *decide*."""
        event = decide(_find_token(tx, token_id))
        tx.write(_delete_token, {"b_id": token_id})
        write_event(tx, event, now)
