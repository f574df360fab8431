"""Second factors of accounts: secrets for one-time passwords, and recovery codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, case, delete, exists, func, select, update

from pikachu.core.errors import Conflict
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account
from pikachu.core.model.second_factors import NewTOTP, StoredTOTP
from pikachu.core.owners import require_usable
from pikachu.storage.accounts import find_account
from pikachu.storage.audit import write_event
from pikachu.storage.database import Transaction
from pikachu.storage.schema import accounts
from pikachu.storage.sign_in_schema import passkeys, recovery_codes, totp_secrets
from pikachu.storage.transactions import StoreSection, insert_into, point_read, row_id, write_transaction

_t: Final = totp_secrets.c
_r: Final = recovery_codes.c
_totp: Final = select(_t.id, _t.account_id, _t.sealed, _t.last_step).where(_t.account_id == bindparam("b_account"))
_insert_totp: Final = insert_into(totp_secrets, "account_id", "sealed", "last_step", "created_at")
_seal_totp: Final = update(totp_secrets).where(_t.id == bindparam("b_id")).values(sealed=bindparam("v_sealed"))
_delete_totp: Final = delete(totp_secrets).where(_t.account_id == bindparam("b_account"))
_use_step: Final = (
    update(totp_secrets)
    .where(_t.account_id == bindparam("b_account"), _t.last_step < bindparam("b_step"))
    .values(last_step=bindparam("v_step"))
)
_insert_code: Final = insert_into(recovery_codes, "account_id", "digest", returning_id=False)
_delete_codes: Final = delete(recovery_codes).where(_r.account_id == bindparam("b_account"))
_delete_code: Final = delete(recovery_codes).where(
    _r.account_id == bindparam("b_account"), _r.digest == bindparam("b_digest")
)
_count_codes: Final = select(func.count()).where(_r.account_id == bindparam("b_account"))
_mark: Final = (
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(
        has_second_factor=case(
            (exists().where(_t.account_id == bindparam("b_id")), 1),
            (exists().where(passkeys.c.account_id == bindparam("b_id")), 1),
            else_=0,
        )
    )
)
_delete_needless_codes: Final = delete(recovery_codes).where(
    _r.account_id == bindparam("b_account"),
    exists().where(accounts.c.id == bindparam("b_account"), accounts.c.has_second_factor == 0),
)
_delete_passkeys: Final = delete(passkeys).where(passkeys.c.account_id == bindparam("b_account"))


def mark(tx: Transaction, account_id: int) -> None:
    """Record whether an account has a second factor; without one it has no recovery codes either."""
    tx.write(_mark, {"b_id": account_id})
    tx.write(_delete_needless_codes, {"b_account": account_id})


def put_codes(tx: Transaction, account_id: int, digests: Iterable[bytes]) -> None:
    """Replace the recovery codes of an account."""
    tx.write(_delete_codes, {"b_account": account_id})
    for digest in digests:
        tx.write(_insert_code, {"account_id": account_id, "digest": digest})


class SecondFactorStore(StoreSection):
    """See :class:`pikachu.core.second_factor_interfaces.ISecondFactorStore`."""

    @point_read
    def totp(self, tx: Transaction, account_id: int) -> StoredTOTP | None:
        """Return the secret of an account."""
        row = tx.row(_totp, {"b_account": row_id(account_id)})
        return None if row is None else StoredTOTP(row[0], row[1], bytes(row[2]), row[3])

    @write_transaction
    def put_totp(self, tx: Transaction, totp: NewTOTP, event: Event, now: datetime) -> None:
        """Store the secret of an account instead of a former one; NotFound, Conflict."""
        require_usable(find_account(tx, totp.account_id), "second factors")
        tx.write(_delete_totp, {"b_account": totp.account_id})
        values = {
            "account_id": totp.account_id,
            "sealed": b"",
            "last_step": totp.last_step,
            "created_at": int(now.timestamp()),
        }
        identity = tx.insert(_insert_totp, values)
        tx.write(_seal_totp, {"b_id": identity, "v_sealed": totp.seal(identity)})
        put_codes(tx, totp.account_id, totp.recovery_digests)
        mark(tx, totp.account_id)
        write_event(tx, event, now)

    @write_transaction
    def use_totp_step(self, tx: Transaction, account_id: int, step: int) -> bool:
        """Accept a code of that time step; False when it or a later one was accepted before."""
        return tx.write(_use_step, {"b_account": account_id, "b_step": step, "v_step": step}) == 1

    @point_read
    def recovery_codes_left(self, tx: Transaction, account_id: int) -> int:
        """Return the number of unused recovery codes."""
        row = tx.row(_count_codes, {"b_account": row_id(account_id)})
        return 0 if row is None else int(row[0])

    @write_transaction
    def put_recovery_codes(
        self, tx: Transaction, account_id: int, digests: Sequence[bytes], event: Event, now: datetime
    ) -> None:
        """Replace the recovery codes of an account; Conflict when it has no second factor."""
        if not find_account(tx, account_id).has_second_factor:
            raise Conflict("This account has no second factor. Set one up first.")
        put_codes(tx, account_id, digests)
        write_event(tx, event, now)

    @write_transaction
    def use_recovery_code(self, tx: Transaction, account_id: int, digest: bytes, event: Event, now: datetime) -> bool:
        """Delete a recovery code; False when the account has none of that digest."""
        if tx.write(_delete_code, {"b_account": account_id, "b_digest": digest}) != 1:
            return False
        write_event(tx, event, now)
        return True

    @write_transaction
    def remove_second_factors(
        self,
        tx: Transaction,
        account_id: int,
        decide: Callable[[Account], Event],
        now: datetime,
        *,
        with_passkeys: bool = True,
    ) -> None:
        """Delete the second factors of an account; NotFound, and the errors of *decide*."""
        event = decide(find_account(tx, account_id))
        tx.write(_delete_totp, {"b_account": account_id})
        if with_passkeys:
            tx.write(_delete_passkeys, {"b_account": account_id})
        mark(tx, account_id)
        write_event(tx, event, now)
