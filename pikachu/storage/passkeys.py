"""Passkeys of accounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import and_, bindparam, delete, or_, select, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.passkeys import NewPasskey, Passkey
from pikachu.core.model.people import Account
from pikachu.core.owners import require_usable
from pikachu.storage.accounts import find_account
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.second_factors import mark, put_codes
from pikachu.storage.sign_in_schema import passkeys
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    row_id,
    storable,
    write_transaction,
)

_p: Final = passkeys.c
_COLUMNS: Final = (
    *(_p.id, _p.account_id, _p.name, _p.host, _p.credential_id, _p.public_key, _p.sign_count, _p.user_handle),
    *(_p.created_at, _p.last_used_at),
)
_of_account: Final = select(*_COLUMNS).where(_p.account_id == bindparam("b_account")).order_by(_p.name_key)
_by_id: Final = select(*_COLUMNS).where(_p.id == bindparam("b_id"))
_by_credential: Final = select(*_COLUMNS).where(_p.credential_id == bindparam("b_credential"))
_present: Final = select(_p.name_key, _p.challenged_at).where(_p.account_id == bindparam("b_account"))
_insert: Final = insert_into(
    passkeys,
    *("account_id", "name", "name_key", "host", "credential_id", "public_key", "sign_count", "user_handle"),
    *("challenged_at", "created_at"),
)
_use: Final = (
    update(passkeys)
    .where(
        _p.id == bindparam("b_id"),
        _p.challenged_at < bindparam("b_challenged"),
        # An authenticator without a counter always says 0 (WebAuthn section 6.1.1).
        or_(_p.sign_count < bindparam("b_count"), and_(_p.sign_count == 0, bindparam("b_none") == 0)),
    )
    .values(sign_count=bindparam("v_count"), challenged_at=bindparam("v_challenged"), last_used_at=bindparam("v_used"))
)
_delete: Final = delete(passkeys).where(_p.id == bindparam("b_id"))


def _record(row: Row) -> Passkey:
    return Passkey(
        row[0],
        row[1],
        row[2],
        row[3],
        bytes(row[4]),
        bytes(row[5]),
        row[6],
        bytes(row[7]),
        moment(row[8]),
        maybe_moment(row[9]),
    )


def _find(tx: Transaction, passkey_id: int) -> Passkey:
    row = tx.row(_by_id, {"b_id": row_id(passkey_id)})
    if row is None:
        raise NotFound("There is no such passkey.")
    return _record(row)


class PasskeyStore(StoreSection):
    """See :class:`pikachu.core.passkey_interfaces.IPasskeyStore`."""

    @point_read
    def passkeys_of(self, tx: Transaction, account_id: int) -> list[Passkey]:
        """Return the passkeys of an account."""
        return [_record(row) for row in tx.rows(_of_account, {"b_account": row_id(account_id)})]

    @point_read
    def passkey(self, tx: Transaction, passkey_id: int) -> Passkey:
        """Return a passkey; NotFound."""
        return _find(tx, passkey_id)

    @point_read
    def passkey_by_credential(self, tx: Transaction, credential_id: bytes) -> tuple[Passkey, Account] | None:
        """Return the passkey with that credential id and its account."""
        row = tx.row(_by_credential, {"b_credential": credential_id})
        return None if row is None else (_record(row), find_account(tx, row[1]))

    @write_transaction
    def add_passkey(self, tx: Transaction, passkey: NewPasskey, most: int, event: Event, now: datetime) -> bool:
        """Store a passkey; NotFound, Conflict."""
        account = find_account(tx, passkey.account_id)
        require_usable(account, "passkeys")
        name = storable(passkey.name)
        present = list(tx.rows(_present, {"b_account": passkey.account_id}))
        if len(present) >= most:
            raise Conflict(f"An account has at most {most} passkeys. Remove one first.")
        if name.casefold() in {row[0] for row in present}:
            raise Conflict("You have a passkey of that name. Enter another name.")
        if any(row[1] >= passkey.challenged_at for row in present):
            raise Conflict("This form was used before. Start again.")
        if tx.row(_by_credential, {"b_credential": passkey.credential_id}) is not None:
            raise Conflict("This passkey is registered already.")
        values = {
            "account_id": passkey.account_id,
            "name": name,
            "name_key": name.casefold(),
            "host": passkey.host,
            "credential_id": passkey.credential_id,
            "public_key": passkey.public_key,
            "sign_count": passkey.sign_count,
            "user_handle": passkey.user_handle,
            "challenged_at": passkey.challenged_at,
            "created_at": int(now.timestamp()),
        }
        tx.insert(_insert, values)
        if not account.has_second_factor:
            put_codes(tx, account.id, passkey.recovery_digests)
        mark(tx, account.id)
        write_event(tx, event, now)
        return not account.has_second_factor

    @write_transaction
    def use_passkey(self, tx: Transaction, passkey_id: int, sign_count: int, challenged_at: int, now: datetime) -> bool:
        """Accept a signature; False when its counter or its challenge is not newer than the last one."""
        values = {
            "b_id": passkey_id,
            "b_challenged": challenged_at,
            "b_count": sign_count,
            "b_none": sign_count,
            "v_count": sign_count,
            "v_challenged": challenged_at,
            "v_used": int(now.timestamp()),
        }
        return tx.write(_use, values) == 1

    @write_transaction
    def remove_passkey(
        self, tx: Transaction, passkey_id: int, decide: Callable[[Passkey, Account], Event], now: datetime
    ) -> None:
        """Delete a passkey; NotFound, and the errors of *decide*."""
        passkey = _find(tx, passkey_id)
        event = decide(passkey, find_account(tx, passkey.account_id))
        tx.write(_delete, {"b_id": passkey_id})
        mark(tx, passkey.account_id)
        write_event(tx, event, now)
