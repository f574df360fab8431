"""Keyset pagination, at the same cost for the first page and the ten-thousandth.

A cursor has the last row's sort value and id, so it stays valid while rows are added and removed.  It is opaque to
clients but not secret: it only selects a position in a list that the caller may see.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, literal, select, tuple_
from sqlalchemy.sql.elements import KeyedColumnElement

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.database import Row, Transaction
from pikachu.storage.schema import accounts
from pikachu.x509.search_text import contains_all, object_text, search_terms

T = TypeVar("T")

#: The number of rows that are searched for a text in a table without an index for it.
SEARCHED: Final = 20_000
#: Maximum exact count of a list.
COUNTED: Final = 10_000
_GREATEST: Final = "\U0010ffff"


def encode_cursor(sort: str, value: object, row_id: int, *, back: bool = False) -> str:
    """Encode the cursor for the page after the row with that sort value and id (*back*: before it)."""
    text = json.dumps([sort, value, row_id, int(back)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: str, kind: type[object]) -> tuple[Any, int, bool]:
    """Decode a cursor into (sort value, id, whether it goes back).

    :param kind: the Python type of the sort column.
    :raises MalformedRequest: when it is not a cursor of a list in this order.
    """
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        cursor_sort, value, row_id, back = json.loads(text if len(text) < 4096 else "")
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise MalformedRequest("this cursor is not one that this list gave") from None
    is_valid = (
        cursor_sort == sort
        and type(value) is kind
        and type(row_id) is int
        and 0 <= row_id < 2**63
        and type(back) is int
        and back in {0, 1}
        and (-(2**63) <= value < 2**63 if isinstance(value, int) else _clean(str(value)))
    )
    if not is_valid:
        raise MalformedRequest("this cursor is not one that this list gave")
    return value, row_id, bool(back)


def _clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def checked(query: ListQuery, filters: Sequence[str]) -> ListQuery:
    """Validate the limit, filters and text of a query, and return it.

    :param filters: the names of the list's filters.
    :raises MalformedRequest: when it is not valid.
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
    """Return the value of the filter *name*, or None without one.

    :raises MalformedRequest: when it is not one of *values*.
    """
    value = query.filters.get(name)
    if value is not None and value not in values:
        raise MalformedRequest(f"{name} is one of {', '.join(values)}")
    return value


def begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return the condition that *column* begins with *prefix*; uses its index, which must compare by code point."""
    return and_(column >= prefix, column < prefix + _GREATEST)


def matching(
    tx: Transaction,
    query: ListQuery,
    columns: Sequence[ColumnElement[Any]],
    conditions: Sequence[ColumnElement[Any]] = (),
    *,
    newest: int = SEARCHED,
    text: Callable[[Row], str] = object_text,
) -> list[ColumnElement[bool]]:
    """Return the condition that a row contains all words of *q*, in any script and case, for tables without an index.

    :param columns: the id, and the columns to search.
    :param conditions: the other conditions on the rows, which are searched among the *newest*.
    :param text: returns the folded text of the searched columns.
    """
    terms = search_terms(query.q)
    if not terms:
        return []
    identity = columns[0]
    rows = tx.query(select(*columns).where(*conditions).order_by(identity.desc()).limit(newest))
    ids = [row[0] for row in rows if contains_all(text(row[1:]), terms)]
    # Literal values: binding thousands of parameters takes longer than the query.
    return [identity.in_(bindparam("matching", ids, unique=True, expanding=True, literal_execute=True))]


def owner_name(owner_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the name of the account with that id, as a column."""
    return select(accounts.c.username).where(accounts.c.id == owner_id).scalar_subquery()


@dataclass(frozen=True, slots=True)
class ListSource(Generic[T]):
    """The columns, sort fields and row reader of a list.

    :param columns: the columns of one table, its id first.
    :param sorts: field name → column to sort by, never NULL; a field that increases with the id has the id's column.
    :param build: returns the object of a row.
    :param computed: expressions whose values follow those of the columns in a row.
    """

    columns: Sequence[KeyedColumnElement[Any]]
    sorts: Mapping[str, KeyedColumnElement[Any]]
    build: Callable[[Row], T]
    computed: Sequence[ColumnElement[Any]] = ()


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
    position = next((index for index, candidate in enumerate(columns) if candidate is column), None)
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
            row, last = tuple_(column, identity), tuple_(literal(value, column.type), literal(row_id, identity.type))
            statement = statement.where(row < last if descending else row > last)
    keys = [identity] if column is identity else [column, identity]
    order = [key.desc() if descending else key.asc() for key in keys]
    statement = statement.order_by(*order)
    if narrow is not None:
        statement = narrow(statement)
    # Select the ids first: an index often covers the conditions, but not the whole row.
    full_rows = select(*columns, *source.computed, *(() if position is not None else (column,)))
    rows = tx.query(full_rows.where(identity.in_(statement.limit(query.limit + 1))).order_by(*order))
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if back:
        rows.reverse()
    index = len(columns) + len(source.computed) if position is None else position

    def cursor(row: Row, *, back: bool) -> str:
        return encode_cursor(query.sort, row[index], row[0], back=back)

    # The page that the cursor came from follows when going back, and precedes otherwise.
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


def goes_back(query: ListQuery, column: ColumnElement[Any]) -> bool:
    """Return whether the query's cursor, of a list sorted by *column*, goes back."""
    return query.cursor is not None and decode_cursor(query.cursor, query.sort, column.type.python_type)[2]


def next_rows(
    query: ListQuery, identity: ColumnElement[Any], column: ColumnElement[Any], limit: int, *conditions: Any
) -> Select[Any]:
    """Return a query for the ids of the next *limit* rows with *conditions*, in the order of *column*."""
    ids = select(identity).where(*conditions)
    descending = query.sort.startswith("-")
    by_id = column is identity
    if query.cursor is not None:
        value, position, back = decode_cursor(query.cursor, query.sort, column.type.python_type)
        descending ^= back
        if by_id:
            ids = ids.where(identity < position if descending else identity > position)
        else:
            row, last = tuple_(column, identity), tuple_(literal(value), literal(position))
            ids = ids.where(row < last if descending else row > last)
    keys = [identity] if by_id else [column, identity]
    return ids.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(limit)


def table_columns(table: Table) -> list[KeyedColumnElement[Any]]:
    """Return the columns of a table, in order."""
    return list(table.columns)
