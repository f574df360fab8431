"""Pages of lists: keyset pagination, which costs the same on the first page and on the ten-thousandth.

A cursor holds the last row's sort value and id, and so stays right while rows come and go.  It is opaque to clients
but no secret: whatever it says, it only chooses where a list that the caller may see goes on.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, String, Table, and_, func, literal, or_, select, tuple_
from sqlalchemy.sql.elements import KeyedColumnElement

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.lists import ListQuery, Page
from pikachu.storage.database import Row, Transaction

T = TypeVar("T")

#: Lists are counted exactly up to here.
COUNTED: Final = 10_000
_GREATEST: Final = "\U0010ffff"


def encode_cursor(sort: str, value: object, row_id: int, *, back: bool = False) -> str:
    """The cursor that goes on (or *back*) from the row with that sort value and id."""
    text = json.dumps([sort, value, row_id, int(back)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: str, kind: type[object]) -> tuple[Any, int, bool]:
    """(sort value, id, whether it goes back).

    :param kind: the type of the column that the list is sorted by.
    :raises MalformedRequest: when it is no cursor of a list in this order.
    """
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        made_for, value, row_id, back = json.loads(text if len(text) < 4096 else "")
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise MalformedRequest("this cursor is not one that this list gave") from None
    good = (
        made_for == sort
        and type(value) is kind
        and type(row_id) is int
        and 0 <= row_id < 2**63
        and type(back) is int
        and back in {0, 1}
        and (-(2**63) <= value < 2**63 if isinstance(value, int) else _clean(str(value)))
    )
    if not good:
        raise MalformedRequest("this cursor is not one that this list gave")
    return value, row_id, bool(back)


def _clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def checked(query: ListQuery, filters: Sequence[str]) -> ListQuery:
    """*query*, if it can be answered.

    :param filters: the names that the list can be filtered by.
    :raises MalformedRequest: when it can't.
    """
    if not 1 <= query.limit <= 1000:
        raise MalformedRequest("limit is a number from 1 to 1000")
    for name, value in query.filters.items():
        if name not in filters:
            raise MalformedRequest(f"this list can't be filtered by that; use {', '.join(filters) or 'q'}", name=name)
        if not _clean(value):
            raise MalformedRequest("a filter holds characters that no text here has")
    if query.q is not None and (len(query.q) > 200 or not _clean(query.q)):
        raise MalformedRequest("q is at most 200 characters")
    return query


def one_of(query: ListQuery, name: str, values: Sequence[str]) -> str | None:
    """The value of the filter *name*.

    :raises MalformedRequest: when it is none of *values*.
    """
    value = query.filters.get(name)
    if value is not None and value not in values:
        raise MalformedRequest(f"{name} is one of {', '.join(values)}")
    return value


def begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Column values that begin with *prefix*, by the column's index (it must compare by code point)."""
    return and_(column >= prefix, column < prefix + _GREATEST)


def contains(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Column values that hold *text* somewhere, whatever the case of (at least ASCII) letters."""
    pattern = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return func.lower(column).like(literal(f"%{pattern}%", String), escape="\\")


def any_contains(query: ListQuery, *columns: ColumnElement[str]) -> list[ColumnElement[bool]]:
    """The condition that *q* stands in one of *columns*: for tables that stay small."""
    text = (query.q or "").strip()
    return [or_(*(contains(column, text) for column in columns))] if text else []


@dataclass(frozen=True, slots=True)
class ListSource(Generic[T]):
    """The rows of a list and how they are read.

    :param columns: columns of one table, its id first.
    :param sorts: field name → column to sort by, never NULL; a field that increases with the id has the id's column.
    :param build: returns the object of a row.
    """

    columns: Sequence[KeyedColumnElement[Any]]
    sorts: Mapping[str, KeyedColumnElement[Any]]
    build: Callable[[Row], T]


def page(
    tx: Transaction,
    query: ListQuery,
    source: ListSource[T],
    conditions: Sequence[ColumnElement[bool]],
    *,
    narrow: Callable[[Select[Any]], Select[Any]] | None = None,
    counted: Sequence[ColumnElement[bool]] | None = None,
    count_narrow: Callable[[Select[Any]], Select[Any]] | None = None,
) -> Page[T]:
    """Return one page of a list.

    :param narrow: adds an index hint to the statement.
    :param counted: conditions equivalent to *conditions* that are faster to count.
    :param count_narrow: adds an index hint to the counting statement.
    :raises MalformedRequest: for an unknown sort field or the cursor of another list.
    """
    columns, sorts = source.columns, source.sorts
    identity = columns[0]
    column = sorts.get(query.sort.removeprefix("-"))
    if column is None:
        raise MalformedRequest(f"this list can't be sorted by that; use {', '.join(sorts)}", sort=query.sort)
    position = next((index for index, one in enumerate(columns) if one is column), None)
    statement: Select[Any] = select(identity)
    descending = query.sort.startswith("-")
    back = False
    statement = statement.where(*conditions)
    if query.cursor is not None:
        value, row_id, back = decode_cursor(query.cursor, query.sort, column.type.python_type)
        descending ^= back
        if column is identity:
            statement = statement.where(identity < row_id if descending else identity > row_id)
        else:
            here, there = tuple_(column, identity), tuple_(literal(value, column.type), literal(row_id, identity.type))
            statement = statement.where(here < there if descending else here > there)
    keys = [identity] if column is identity else [column, identity]
    order = [one.desc() if descending else one.asc() for one in keys]
    statement = statement.order_by(*order)
    if narrow is not None:
        statement = narrow(statement)
    # First the ids: what decides on them stands in an index more often than the whole row does.
    found = select(*columns) if position is not None else select(*columns, column)
    rows = tx.query(found.where(identity.in_(statement.limit(query.limit + 1))).order_by(*order))
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if back:
        rows.reverse()
    index = len(columns) if position is None else position

    def cursor(row: Row, *, back: bool) -> str:
        return encode_cursor(query.sort, row[index], row[0], back=back)

    # Going back, the page that we came from follows; going on, the one that we came from precedes.
    following = bool(rows) and (True if back else more)
    preceding = bool(rows) and (more if back else query.cursor is not None)
    total = None
    if query.count:
        all_rows: Select[Any] = select(identity).where(*(conditions if counted is None else counted))
        if count_narrow is not None:
            all_rows = count_narrow(all_rows)
        total = tx.query(select(func.count()).select_from(all_rows.limit(COUNTED + 1).subquery()))[0][0]
    return Page(
        tuple(source.build(row) for row in rows),
        cursor(rows[-1], back=False) if following else None,
        previous_cursor=cursor(rows[0], back=True) if preceding else None,
        total=total,
    )


def table_columns(table: Table) -> list[KeyedColumnElement[Any]]:
    """Its columns, in order."""
    return list(table.columns)
