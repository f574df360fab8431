"""Ended sessions, and form drafts that outlive them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, delete, insert, select, update

from pikachu.core.model.people import SealFor
from pikachu.core.model.sign_in import EndedSession, NewPasswordReset, SessionEnd, StoredDraft
from pikachu.storage.database import Transaction
from pikachu.storage.schema import sessions
from pikachu.storage.sign_in_schema import drafts, ended_sessions, password_resets
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    row_id,
    write_transaction,
)

_e: Final = ended_sessions.c
_d: Final = drafts.c
_record: Final = insert(ended_sessions).from_select(
    ["digest", "account_id", "reason", "ended_at"],
    select(
        sessions.c.digest,
        sessions.c.account_id,
        bindparam("v_reason", type_=Text),
        bindparam("v_ended_at", type_=BigInteger),
    ).where(sessions.c.id == bindparam("b_id")),
)
_sessions_of: Final = select(sessions.c.id).where(sessions.c.account_id == bindparam("b_account"))
_end_all: Final = delete(sessions).where(sessions.c.account_id == bindparam("b_account"))
_ended: Final = select(_e.account_id, _e.reason, _e.ended_at).where(_e.digest == bindparam("b_digest"))
_forget_ended: Final = delete(ended_sessions).where(_e.ended_at < bindparam("b_before"))
_delete_reset: Final = delete(password_resets).where(password_resets.c.account_id == bindparam("b_account"))
_insert_reset: Final = insert_into(password_resets, "account_id", "digest", "expires_at", returning_id=False)
_insert_draft: Final = insert_into(drafts, "account_id", "sealed", "created_at")
_seal_draft: Final = update(drafts).where(_d.id == bindparam("b_id")).values(sealed=bindparam("v_sealed"))
_draft: Final = select(_d.account_id, _d.sealed).where(_d.id == bindparam("b_id"))
_drafts_of: Final = select(_d.id).where(_d.account_id == bindparam("b_account")).order_by(_d.id.desc())
_delete_draft: Final = delete(drafts).where(_d.id == bindparam("b_id"))
_forget_drafts: Final = delete(drafts).where(_d.created_at < bindparam("b_before"))


def record_end(tx: Transaction, session_id: int, reason: SessionEnd, now: datetime) -> None:
    """Record why a session ends, before it is deleted."""
    tx.write(_record, {"b_id": session_id, "v_reason": reason.value, "v_ended_at": int(now.timestamp())})


def end_all_sessions(tx: Transaction, account_id: int, reason: SessionEnd, now: datetime) -> int:
    """Delete all sessions of an account, and record the *reason* for their browsers; return their number."""
    for row in tx.rows(_sessions_of, {"b_account": account_id}):
        record_end(tx, row[0], reason, now)
    return tx.write(_end_all, {"b_account": account_id})


def delete_reset(tx: Transaction, account_id: int) -> None:
    """Make the code that sets the password of an account invalid."""
    tx.write(_delete_reset, {"b_account": account_id})


def insert_reset(tx: Transaction, reset: NewPasswordReset) -> None:
    """Store the code that sets the password of an account, instead of a former one."""
    delete_reset(tx, reset.account_id)
    values = {
        "account_id": reset.account_id,
        "digest": reset.digest,
        "expires_at": int(reset.expires_at.timestamp()),
    }
    tx.write(_insert_reset, values)


class SignInStore(StoreSection):
    """See :class:`pikachu.core.sign_in_interfaces.ISignInStore`."""

    @point_read
    def ended_session(self, tx: Transaction, digest: bytes) -> EndedSession | None:
        """Return the recently ended session whose secret has that digest."""
        row = tx.row(_ended, {"b_digest": digest})
        return None if row is None else EndedSession(row[0], SessionEnd(row[1]), moment(row[2]))

    @write_transaction
    def add_draft(self, tx: Transaction, account_id: int, seal: SealFor, now: datetime, most: int) -> int:
        """Store a sealed draft and delete the account's oldest beyond *most*; return its id."""
        values = {"account_id": account_id, "sealed": b"", "created_at": int(now.timestamp())}
        identity = tx.insert(_insert_draft, values)
        tx.write(_seal_draft, {"b_id": identity, "v_sealed": seal(identity)})
        for row in tx.rows(_drafts_of, {"b_account": account_id})[most:]:
            tx.write(_delete_draft, {"b_id": row[0]})
        return identity

    @point_read
    def draft(self, tx: Transaction, draft_id: int) -> StoredDraft | None:
        """Return the draft with that id."""
        row = tx.row(_draft, {"b_id": row_id(draft_id)})
        return None if row is None else StoredDraft(draft_id, row[0], bytes(row[1]))

    @write_transaction
    def forget_ended(self, tx: Transaction, before: datetime) -> int:
        """Delete ended sessions and drafts older than *before*; return their number."""
        at = {"b_before": int(before.timestamp())}
        return tx.write(_forget_ended, at) + tx.write(_forget_drafts, at)
