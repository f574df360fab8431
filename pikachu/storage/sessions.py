"""Sign-in sessions, and client certificates bound to accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.account_objects import AccountCertificate, NewAccountCertificate, NewSession, Session
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account
from pikachu.core.model.sign_in import SessionEnd
from pikachu.core.owners import may_act, require_usable
from pikachu.storage.accounts import find_account
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.schema import account_certificates, accounts, sessions
from pikachu.storage.sign_in import end_all_sessions, record_end
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)

_s: Final = sessions.c
_c: Final = account_certificates.c
_COLUMNS: Final = (_s.id, _s.account_id, _s.created_at, _s.last_seen_at, _s.confirmed_at, _s.address, _s.agent)
_VALUES: Final = ("digest", "account_id", "created_at", "last_seen_at", "confirmed_at", "address", "agent")
_MOST_SESSIONS: Final = 20

_by_digest: Final = select(*_COLUMNS).where(_s.digest == bindparam("b_digest"))
_by_id: Final = select(*_COLUMNS).where(_s.id == bindparam("b_id"))
_of_account: Final = select(*_COLUMNS).where(_s.account_id == bindparam("b_account")).order_by(_s.id.desc())
_insert: Final = insert(sessions).values({name: bindparam(name) for name in _VALUES}).returning(_s.id)
_signed_in: Final = (
    update(accounts).where(accounts.c.id == bindparam("b_id")).values(last_login_at=bindparam("v_last_login_at"))
)
_touch: Final = (
    update(sessions)
    # Also to an earlier time, since the clock may have been ahead.
    .where(_s.id == bindparam("b_id"), _s.last_seen_at != bindparam("v_seen"))
    .values(last_seen_at=bindparam("v_seen"))
)
_confirm: Final = update(sessions).where(_s.id == bindparam("b_id")).values(confirmed_at=bindparam("v_confirmed"))
_end: Final = delete(sessions).where(_s.id == bindparam("b_id"))
_idle: Final = (
    select(*_COLUMNS)
    .where(_s.last_seen_at < bindparam("b_before"))
    .order_by(_s.last_seen_at)
    .limit(bindparam("b_most"))
)

_certificate: Final = select(*account_certificates.columns).where(_c.id == bindparam("b_id"))
_by_fingerprint: Final = select(*account_certificates.columns).where(_c.fingerprint == bindparam("b_fingerprint"))
_certificates_of: Final = (
    select(*account_certificates.columns).where(_c.account_id == bindparam("b_account")).order_by(_c.id)
)
_insert_certificate: Final = insert_into(
    account_certificates, "account_id", "fingerprint", "subject", "serial", "not_after", "created_at"
)
_delete_certificate: Final = delete(account_certificates).where(_c.id == bindparam("b_id"))


def _record(row: Row) -> Session:
    identity, account_id, created_at, last_seen_at, confirmed_at, address, agent = row
    return Session(
        identity, account_id, moment(created_at), moment(last_seen_at), maybe_moment(confirmed_at), address, agent
    )


def _certificate_record(row: Row) -> AccountCertificate:
    identity, account_id, fingerprint, subject, serial, not_after, created_at = row
    return AccountCertificate(
        identity, account_id, bytes(fingerprint), subject, int(serial, 16), moment(not_after), moment(created_at)
    )


def _find(tx: Transaction, session_id: int) -> Session:
    row = tx.row(_by_id, {"b_id": row_id(session_id)})
    if row is None:
        raise NotFound("there is no such session")
    return _record(row)


def _find_certificate(tx: Transaction, certificate_id: int) -> AccountCertificate:
    row = tx.row(_certificate, {"b_id": row_id(certificate_id)})
    if row is None:
        raise NotFound("there is no such certificate of an account")
    return _certificate_record(row)


class SessionStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ISessionStore`."""

    @write_transaction
    def add_session(self, tx: Transaction, session: NewSession, event: Event, now: datetime) -> Session:
        """Create a session and set the account's last login; NotFound, Conflict."""
        account_id = session.account.id
        present = find_account(tx, account_id)
        # The account may have changed while the password was verified; a session must not outlive that change.
        if not may_act(present) or present.password_hash != session.account.password_hash:
            raise Conflict("the account was changed meanwhile; sign in again")
        at = int(now.timestamp())
        # End the oldest sessions beyond the limit.
        for row in tx.rows(_of_account, {"b_account": account_id})[_MOST_SESSIONS - 1 :]:
            record_end(tx, row[0], SessionEnd.LIMIT, now)
            tx.write(_end, {"b_id": row[0]})
        values = {
            "digest": session.digest,
            "account_id": account_id,
            "created_at": at,
            "last_seen_at": at,
            "confirmed_at": at if session.confirmed else None,
            "address": storable(session.address),
            "agent": storable(session.agent),
        }
        identity = tx.insert(_insert, values)
        tx.write(_signed_in, {"b_id": account_id, "v_last_login_at": at})
        write_event(tx, event, now)
        return _find(tx, identity)

    @point_read
    def session_by_digest(self, tx: Transaction, digest: bytes) -> tuple[Session, Account] | None:
        """Return the session with that digest and its account."""
        row = tx.row(_by_digest, {"b_digest": digest})
        return None if row is None else (_record(row), find_account(tx, row[1]))

    @read_transaction
    def sessions_of(self, tx: Transaction, account_id: int) -> list[Session]:
        """Return the sessions of an account, newest first."""
        return [_record(row) for row in tx.rows(_of_account, {"b_account": row_id(account_id)})]

    @write_transaction
    def touch_session(self, tx: Transaction, session_id: int, now: datetime) -> None:
        """Record the time of the session's last request."""
        tx.write(_touch, {"b_id": session_id, "v_seen": int(now.timestamp())})

    @write_transaction
    def confirm_session(self, tx: Transaction, session_id: int, now: datetime) -> None:
        """Record that the user entered the password again."""
        tx.write(_confirm, {"b_id": session_id, "v_confirmed": int(now.timestamp())})

    @write_transaction
    def end_session(
        self,
        tx: Transaction,
        session_id: int,
        event: Event | None,
        now: datetime,
        reason: SessionEnd | None = None,
    ) -> None:
        """Delete a session, and record the *reason* for its browser; NotFound."""
        _find(tx, session_id)
        if reason is not None:
            record_end(tx, session_id, reason, now)
        tx.write(_end, {"b_id": session_id})
        if event is not None:
            write_event(tx, event, now)

    @write_transaction
    def end_sessions(self, tx: Transaction, account_id: int, event: Event, now: datetime) -> int:
        """Delete all sessions of an account, by an administrator; return their number.  NotFound."""
        find_account(tx, account_id)
        ended = end_all_sessions(tx, account_id, SessionEnd.ADMINISTRATOR, now)
        write_event(tx, event, now)
        return ended

    @write_transaction
    def end_idle_sessions(
        self, tx: Transaction, before: datetime, record: Callable[[Session, Account], Event], now: datetime, most: int
    ) -> int:
        """Delete up to *most* sessions that were idle since *before*, each with its event; return their number."""
        idle = [_record(row) for row in tx.rows(_idle, {"b_before": int(before.timestamp()), "b_most": most})]
        for session in idle:
            record_end(tx, session.id, SessionEnd.IDLE, now)
            tx.write(_end, {"b_id": session.id})
            write_event(tx, record(session, find_account(tx, session.account_id)), now)
        return len(idle)

    @read_transaction
    def last_seen(self, tx: Transaction, account_ids: Iterable[int]) -> dict[int, datetime]:
        """Return the last request times of the accounts that are signed in."""
        newest = select(_s.account_id, func.max(_s.last_seen_at)).where(_s.account_id.in_(tuple(account_ids)))
        return {row[0]: moment(row[1]) for row in tx.query(newest.group_by(_s.account_id))}

    @write_transaction
    def bind_certificate(
        self, tx: Transaction, certificate: NewAccountCertificate, event: Event, now: datetime
    ) -> AccountCertificate:
        """Bind a client certificate to an account; NotFound, Conflict."""
        require_usable(find_account(tx, certificate.account_id), "client certificates")
        if tx.row(_by_fingerprint, {"b_fingerprint": certificate.fingerprint}) is not None:
            raise Conflict("this certificate signs in an account already; take it away from that one first")
        values = {
            "account_id": certificate.account_id,
            "fingerprint": certificate.fingerprint,
            "subject": storable(certificate.subject),
            "serial": format_serial(certificate.serial),
            "not_after": int(certificate.not_after.timestamp()),
            "created_at": int(now.timestamp()),
        }
        identity = tx.insert(_insert_certificate, values)
        write_event(tx, event, now)
        return _find_certificate(tx, identity)

    @read_transaction
    def account_certificates(self, tx: Transaction, account_id: int) -> list[AccountCertificate]:
        """Return the client certificates of an account."""
        return [_certificate_record(row) for row in tx.rows(_certificates_of, {"b_account": row_id(account_id)})]

    @read_transaction
    def account_certificate(self, tx: Transaction, certificate_id: int) -> AccountCertificate:
        """Return the client certificate with that id; NotFound."""
        return _find_certificate(tx, certificate_id)

    @write_transaction
    def unbind_certificate(
        self,
        tx: Transaction,
        certificate_id: int,
        decide: Callable[[AccountCertificate, Account], Event],
        now: datetime,
    ) -> None:
        """Unbind a client certificate; NotFound, and the errors of *decide*."""
        certificate = _find_certificate(tx, certificate_id)
        event = decide(certificate, find_account(tx, certificate.account_id))
        tx.write(_delete_certificate, {"b_id": certificate_id})
        write_event(tx, event, now)

    @point_read
    def account_by_certificate(self, tx: Transaction, fingerprint: bytes) -> Account | None:
        """Return the account of a client certificate."""
        row = tx.row(_by_fingerprint, {"b_fingerprint": fingerprint})
        return None if row is None else find_account(tx, row[1])
