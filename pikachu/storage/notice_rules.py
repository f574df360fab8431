"""Rules of notices (OPS-5)."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, literal_column, select, update

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.notices import NoticeKind, NoticeOrder, NoticeRule
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.notice_schema import notice_rules
from pikachu.storage.pagination import ListSource, checked, matching, one_of, page
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    to_json,
    write_transaction,
)

_r: Final = notice_rules.c
_COLUMNS: Final = list(notice_rules.columns)
_VALUES: Final = ("name", "kind", "enabled", "choices", "version", "updated_at", "updated_by")
_by_id: Final = select(*_COLUMNS).where(_r.id == bindparam("b_id"))
_named: Final = select(_r.id).where(_r.name == bindparam("b_name"))
_enabled: Final = select(*_COLUMNS).where(_r.enabled == literal_column("1")).order_by(_r.id)
_insert: Final = insert_into(notice_rules, *_VALUES)
_replace: Final = (
    update(notice_rules)
    .where(_r.id == bindparam("b_id"), _r.version == bindparam("b_version"))
    .values({name: bindparam(f"v_{name}") for name in _VALUES})
)
_delete: Final = delete(notice_rules).where(_r.id == bindparam("b_id"))


def _record(row: Row) -> NoticeRule:
    identity, name, kind, enabled, choices, version, updated_at, updated_by = row
    values = json.loads(choices)
    for lists in ("days", "addresses"):
        values[lists] = tuple(values[lists])
    order = NoticeOrder(name=name, kind=NoticeKind(kind), enabled=bool(enabled), **values)
    return NoticeRule(identity, order, version, moment(updated_at), updated_by)


def _values(order: NoticeOrder, version: int, actor: str, now: datetime) -> dict[str, object]:
    choices = {name: value for name, value in asdict(order).items() if name not in ("name", "kind", "enabled")}
    return {
        "name": storable(order.name),
        "kind": order.kind.value,
        "enabled": int(order.enabled),
        "choices": to_json(choices),
        "version": version,
        "updated_at": int(now.timestamp()),
        "updated_by": storable(actor),
    }


class NoticeRuleStore(StoreSection):
    """See :class:`pikachu.core.notice_interfaces.INoticeStore`."""

    @read_transaction
    def notice_rules(self, tx: Transaction, query: ListQuery) -> Page[NoticeRule]:
        """List the rules; filter ``kind``."""
        query = checked(query, ("kind",))
        kind = one_of(query, "kind", [*NoticeKind])
        conditions = [] if kind is None else [_r.kind == kind]
        conditions += matching(tx, query, (_r.id, _r.name), conditions)
        sorts = {"id": _r.id, "name": _r.name, "kind": _r.kind, "updated_at": _r.updated_at, "enabled": _r.enabled}
        return page(tx, query, ListSource(_COLUMNS, sorts, _record), conditions)

    @read_transaction
    def active_notice_rules(self, tx: Transaction) -> list[NoticeRule]:
        """Return the enabled rules."""
        return [_record(row) for row in tx.rows(_enabled)]

    @point_read
    def notice_rule(self, tx: Transaction, rule_id: int) -> NoticeRule:
        """Return a rule; NotFound."""
        row = tx.row(_by_id, {"b_id": row_id(rule_id)})
        if row is None:
            raise NotFound("There is no such rule of notices.")
        return _record(row)

    @write_transaction
    def put_notice_rule(
        self,
        tx: Transaction,
        former: NoticeRule | None,
        order: NoticeOrder,
        actor: str,
        event: Event,
        now: datetime,
    ) -> int:
        """Create a rule (without *former*), or change it; return its id.  Conflict, EditConflict."""
        same = tx.row(_named, {"b_name": storable(order.name)})
        if same is not None and (former is None or same[0] != former.id):
            raise Conflict("There is a rule of this name. Choose another name.", field="name")
        if former is None:
            identity = tx.insert(_insert, _values(order, 1, actor, now))
        else:
            identity = former.id
            values = {f"v_{name}": value for name, value in _values(order, former.version + 1, actor, now).items()}
            if not tx.write(_replace, {"b_id": identity, "b_version": former.version, **values}):
                raise EditConflict.of("rule", None, None)
        write_event(tx, event, now)
        return identity

    @write_transaction
    def delete_notice_rule(self, tx: Transaction, rule_id: int, event: Event, now: datetime) -> None:
        """Delete a rule; NotFound."""
        if not tx.write(_delete, {"b_id": row_id(rule_id)}):
            raise NotFound("There is no such rule of notices.")
        write_event(tx, event, now)
