"""The choices of accounts, and the set-up checklist."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, exists, func, literal_column, select, true, update

from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.preferences import (
    FAILED_BACKUP,
    LAST_BACKUP,
    MAX_SAVED_FILTERS,
    BackupState,
    Preferences,
    SavedFilter,
    SetupMark,
    SetupState,
)
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.preference_schema import preferences, saved_filters, setup_marks
from pikachu.storage.schema import accounts, audit_events, certificates, policies
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)

_p: Final = preferences.c
_f: Final = saved_filters.c
_m: Final = setup_marks.c
_e: Final = audit_events.c

_values: Final = select(_p.name, _p.value).where(_p.account_id == bindparam("b_account"))
_insert_value: Final = insert_into(preferences, "account_id", "name", "value", returning_id=False)
_delete_value: Final = delete(preferences).where(
    _p.account_id == bindparam("b_account"), _p.name == bindparam("b_name")
)

_columns: Final = (_f.id, _f.account_id, _f.list_name, _f.name, _f.query)
_filters: Final = select(*_columns).where(_f.account_id == bindparam("b_account")).order_by(_f.name, _f.id)
_filter: Final = select(*_columns).where(_f.id == bindparam("b_id"))
_filter_named: Final = select(_f.id).where(
    _f.account_id == bindparam("b_account"), _f.list_name == bindparam("b_list"), _f.name == bindparam("b_name")
)
_filter_count: Final = select(func.count()).select_from(saved_filters).where(_f.account_id == bindparam("b_account"))
_insert_filter: Final = insert_into(saved_filters, "account_id", "list_name", "name", "query")
_replace_filter: Final = update(saved_filters).where(_f.id == bindparam("b_id")).values(query=bindparam("v_query"))
_rename_filter: Final = update(saved_filters).where(_f.id == bindparam("b_id")).values(name=bindparam("v_name"))
_delete_filter: Final = delete(saved_filters).where(_f.id == bindparam("b_id"))

_marks: Final = select(_m.name, _m.at, _m.actor)
_mark: Final = select(_m.name).where(_m.name == bindparam("b_name"))
_insert_mark: Final = insert_into(setup_marks, "name", "at", "actor", returning_id=False)
_find_mark: Final = select(_m.at, _m.actor).where(_m.name == bindparam("b_name"))
_delete_mark: Final = delete(setup_marks).where(_m.name == bindparam("b_name"))
_admins: Final = select(accounts.c.id).where(accounts.c.role == literal_column("'admin'"))
_facts: Final = select(
    exists().where(
        _e.resource_type == literal_column("'user'"),
        _e.type == literal_column("'change password'"),
        _e.actor_id.in_(_admins),
        _e.owner_id == _e.actor_id,
    ),
    exists().where(policies.c.id > literal_column("0")),
    exists().where(certificates.c.infrastructure.is_(None)),
).where(true())

#: Deletes an account's choices.
DELETE_OF_ACCOUNT: Final = (
    delete(preferences).where(_p.account_id == bindparam("b_id")),
    delete(saved_filters).where(_f.account_id == bindparam("b_id")),
)


def _find(tx: Transaction, filter_id: int) -> SavedFilter:
    row = tx.row(_filter, {"b_id": row_id(filter_id)})
    if row is None:
        raise NotFound("there is no such saved filter")
    return _record(row)


def _record(row: Row) -> SavedFilter:
    identity, account_id, list_name, name, query = row
    return SavedFilter(identity, account_id, list_name, name, query)


class PreferenceStore(StoreSection):
    """See :class:`pikachu.core.preference_interfaces.IPreferenceStore`."""

    @point_read
    def preferences(self, tx: Transaction, account_id: int) -> Preferences:
        """Return the choices and saved filters of an account."""
        of_account = {"b_account": row_id(account_id)}
        values = {row[0]: row[1] for row in tx.rows(_values, of_account)}
        return Preferences(values, tuple(_record(row) for row in tx.rows(_filters, of_account)))

    @write_transaction
    def set_preference(
        self, tx: Transaction, account_id: int, name: str, value: str, event: Event, now: datetime
    ) -> None:
        """Store a choice; an empty *value* deletes it."""
        tx.write(_delete_value, {"b_account": row_id(account_id), "b_name": storable(name)})
        if value:
            tx.write(_insert_value, {"account_id": account_id, "name": storable(name), "value": storable(value)})
        write_event(tx, event, now)

    @write_transaction
    def save_filter(self, tx: Transaction, saved: SavedFilter, event: Event, now: datetime) -> SavedFilter:
        """Store a filter, replacing the one of that name and list; Conflict."""
        of_account = {"b_account": row_id(saved.account_id)}
        name, query = storable(saved.name), storable(saved.query)
        row = tx.row(_filter_named, {**of_account, "b_list": saved.list_name, "b_name": name})
        if row is not None:
            identity: int = row[0]
            tx.write(_replace_filter, {"b_id": identity, "v_query": query})
        else:
            count = tx.row(_filter_count, of_account) or (0,)
            if count[0] >= MAX_SAVED_FILTERS:
                raise Conflict(f"You can save at most {MAX_SAVED_FILTERS} filters. Delete one first.")
            values = {"account_id": saved.account_id, "list_name": saved.list_name, "name": name, "query": query}
            identity = tx.insert(_insert_filter, values)
        write_event(tx, event, now)
        return _find(tx, identity)

    @write_transaction
    def rename_filter(
        self, tx: Transaction, filter_id: int, name: str, decide: Callable[[SavedFilter], Event], now: datetime
    ) -> None:
        """Rename a filter; NotFound, Conflict, and the errors of *decide*."""
        saved = _find(tx, filter_id)
        event = decide(saved)
        named = {"b_account": saved.account_id, "b_list": saved.list_name, "b_name": storable(name)}
        other = tx.row(_filter_named, named)
        if other is not None and other[0] != filter_id:
            raise Conflict("You have a filter of that name for this list. Choose another name.", field="name")
        tx.write(_rename_filter, {"b_id": filter_id, "v_name": storable(name)})
        write_event(tx, event, now)

    @write_transaction
    def delete_filter(
        self, tx: Transaction, filter_id: int, decide: Callable[[SavedFilter], Event], now: datetime
    ) -> None:
        """Delete a filter; NotFound, and the errors of *decide*."""
        event = decide(_find(tx, filter_id))
        tx.write(_delete_filter, {"b_id": filter_id})
        write_event(tx, event, now)


class SetupStore(StoreSection):
    """See :class:`pikachu.core.preference_interfaces.ISetupStore`."""

    @read_transaction
    def setup_state(self, tx: Transaction) -> SetupState:
        """Return what is done."""
        marks = {row[0]: SetupMark(moment(row[1]), row[2]) for row in tx.rows(_marks)}
        facts = tx.row(_facts) or (False, False, False)
        return SetupState(marks, *map(bool, facts))

    @write_transaction
    def mark_setup(self, tx: Transaction, name: str, event: Event, now: datetime) -> None:
        """Confirm a step, unless it is confirmed."""
        if tx.row(_mark, {"b_name": name}) is not None:
            return
        tx.write(_insert_mark, {"name": name, "at": int(now.timestamp()), "actor": storable(event.actor)})
        write_event(tx, event, now)

    @write_transaction
    def unmark_setup(self, tx: Transaction, name: str, event: Event, now: datetime) -> None:
        """Withdraw a confirmation, if there is one."""
        if tx.write(_delete_mark, {"b_name": name}):
            write_event(tx, event, now)

    @write_transaction
    def record_backup(self, tx: Transaction, event: Event, now: datetime) -> None:
        """Record a backup that was made."""
        for name in (LAST_BACKUP, FAILED_BACKUP):
            tx.write(_delete_mark, {"b_name": name})
        tx.write(_insert_mark, {"name": LAST_BACKUP, "at": int(now.timestamp()), "actor": storable(event.actor)})
        write_event(tx, event, now)

    @write_transaction
    def record_failed_backup(self, tx: Transaction, event: Event, now: datetime) -> None:
        """Record a backup that has failed; the first failure since the last backup is marked."""
        if tx.row(_mark, {"b_name": FAILED_BACKUP}) is None:
            tx.write(_insert_mark, {"name": FAILED_BACKUP, "at": int(now.timestamp()), "actor": storable(event.actor)})
        write_event(tx, event, now)

    @read_transaction
    def backup_state(self, tx: Transaction) -> BackupState:
        """Return the last backup, and the first failure since."""
        return BackupState(_read_mark(tx, LAST_BACKUP), _read_mark(tx, FAILED_BACKUP))


def _read_mark(tx: Transaction, name: str) -> SetupMark | None:
    row = tx.row(_find_mark, {"b_name": name})
    return None if row is None else SetupMark(moment(row[0]), row[1])
