"""Certificate templates: stored OpenSSL-style configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, or_, select, update

from pikachu.core.errors import EditConflict, NotFound
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.audit import write_event
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page, table_columns
from pikachu.storage.schema import templates
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

_t: Final = templates.c
_USAGES: Final = {"req": _t.for_requests, "ext": _t.for_extensions}
_VALUES: Final = tuple(column.name for column in templates.columns if column.name != "id")

_by_id: Final = select(*templates.columns).where(_t.id == bindparam("b_id"))
_insert: Final = insert_into(templates, *_VALUES)
_update: Final = (
    update(templates)
    .where(_t.id == bindparam("b_id"), _t.version == bindparam("b_version"))
    .values({name: bindparam(f"v_{name}") for name in _VALUES})
)
_delete: Final = delete(templates).where(_t.id == bindparam("b_id"))


def _record(row: Row) -> CertificateTemplate:
    identity, name, profile_type, origin, content, for_requests, for_extensions, owner_id, *more = row
    created_at, updated_at, version, updated_by = more
    return CertificateTemplate(
        identity,
        name,
        profile_type,
        origin,
        content,
        bool(for_requests),
        bool(for_extensions),
        owner_id,
        moment(created_at),
        moment(updated_at),
        version,
        updated_by,
    )


def _values(template: CertificateTemplate, created_at: datetime, event: Event, now: datetime) -> dict[str, object]:
    """Return the row of *template* after the change that *event* records."""
    return {
        "name": storable(template.name),
        "profile_type": storable(template.profile_type),
        "origin": storable(template.origin),
        "content": storable(template.content),
        "for_requests": int(template.for_requests),
        "for_extensions": int(template.for_extensions),
        "owner_id": template.owner_id,
        "created_at": int(created_at.timestamp()),
        "updated_at": int(now.timestamp()),
        "version": template.version + 1,
        "updated_by": storable(event.actor),
    }


def _find(tx: Transaction, template_id: int) -> CertificateTemplate:
    row = tx.row(_by_id, {"b_id": row_id(template_id)})
    if row is None:
        raise NotFound("there is no such certificate template")
    return _record(row)


class TemplateStore(StoreSection):
    """See :class:`pikachu.core.template_interfaces.ITemplateStore`."""

    @point_read
    def template(self, tx: Transaction, template_id: int) -> CertificateTemplate:
        """Return the template with that id; NotFound."""
        return _find(tx, template_id)

    @read_transaction
    def templates(self, tx: Transaction, query: ListQuery) -> Page[CertificateTemplate]:
        """List templates; *owner_id* selects that owner's and shared ones; filters ``usage``, ``profile_type``."""
        checked(query, ("usage", "profile_type"))
        conditions: list[ColumnElement[bool]] = []
        if query.owner_id is not None:
            conditions.append(or_(_t.owner_id == query.owner_id, _t.owner_id.is_(None)))
        usage = one_of(query, "usage", tuple(_USAGES))
        if usage is not None:
            conditions.append(_USAGES[usage] == 1)
        if "profile_type" in query.filters:
            conditions.append(_t.profile_type == query.filters["profile_type"])
        searched = (_t.id, _t.name, _t.profile_type, _t.origin, owner_name(_t.owner_id))
        conditions += matching(tx, query, searched, conditions, times=(_t.created_at,))
        sorts = {
            "id": _t.id,
            "created_at": _t.id,
            "name": _t.name,
            "profile_type": _t.profile_type,
            "origin": _t.origin,
            "updated_at": _t.updated_at,
            "user": owner_key(_t.owner_id),
        }
        return page(tx, query, ListSource(table_columns(templates), sorts, _record), conditions)

    @write_transaction
    def add_template(
        self, tx: Transaction, template: CertificateTemplate, event: Event, now: datetime
    ) -> CertificateTemplate:
        """Create a template, ignoring its id, times and version; QuotaExceeded."""
        self._require_quota(tx, "templates", template.owner_id)
        identity = tx.insert(_insert, _values(replace(template, version=0), now, event, now))
        write_event(tx, event, now)
        return _find(tx, identity)

    @write_transaction
    def update_template(
        self, tx: Transaction, template: CertificateTemplate, event: Event, now: datetime
    ) -> CertificateTemplate:
        """Update the template with that id and version; NotFound, EditConflict, QuotaExceeded."""
        old = _find(tx, template.id)
        if template.owner_id != old.owner_id:
            self._require_quota(tx, "templates", template.owner_id)
        values = _values(template, old.created_at, event, now)
        of_version = {"b_id": template.id, "b_version": template.version}
        if not tx.write(_update, {**of_version, **{f"v_{name}": value for name, value in values.items()}}):
            raise EditConflict.of("certificate template", old.updated_by, old.updated_at)
        write_event(tx, event, now)
        return _find(tx, template.id)

    @write_transaction
    def delete_template(
        self, tx: Transaction, template_id: int, decide: Callable[[CertificateTemplate], Event], now: datetime
    ) -> None:
        """Delete a template; NotFound, and the errors of *decide*."""
        event = decide(_find(tx, template_id))
        tx.write(_delete, {"b_id": template_id})
        write_event(tx, event, now)
