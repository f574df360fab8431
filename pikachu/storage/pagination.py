"""Keyset pagination, at the same cost for the first page and the ten-thousandth.

A cursor has the last row's sort value and id, so it stays valid while rows are added and removed.  It is opaque to
clients but not secret: it only selects a position in a list that the caller may see.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, Table, Text, and_, bindparam, func, literal, select, tuple_, union_all
from sqlalchemy.sql.elements import KeyedColumnElement

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.times import utc
from pikachu.storage.database import Row, Transaction
from pikachu.storage.schema import accounts
from pikachu.x509.search_text import contains_all, object_text, search_terms

T = TypeVar("T")

#: The number of rows that are searched for a text in a table without an index for it.
SEARCHED: Final = 20_000
#: Maximum exact count of a list.
COUNTED: Final = 10_000
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
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
        raise MalformedRequest(f"“{name}” must be one of {', '.join(values)}.")
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
    times: Sequence[ColumnElement[int]] = (),
) -> list[ColumnElement[bool]]:
    """Return the condition that a row contains all words of *q*, in any script and case, for tables without an index.

    With *times*, a number alone also matches the row with that id, and a day such as ``2026-11-29`` its rows (UTC).

    :param columns: the id, and the columns to search.
    :param conditions: the other conditions on the rows, which are searched among the *newest*.
    :param text: returns the folded text of the searched columns.
    :param times: the columns with times, in a list that is searched by id and day, too.
    """
    terms = search_terms(query.q)
    if not terms:
        return []
    identity = columns[0]
    rows = tx.query(select(*columns, *times).where(*conditions).order_by(identity.desc()).limit(newest))
    width, days = len(columns), [term for term in terms if _DAY.fullmatch(term)]

    def is_match(row: Row) -> bool:
        if not times:
            return contains_all(text(row[1:]), terms)
        # The id and the day in one text would match parts of them.
        others = set(terms) & {str(row[0])} if len(terms) == 1 else set()
        if days:
            others.update(f"{utc(at):%Y-%m-%d}" for at in row[width:])
        return contains_all(text(row[1:width]), [term for term in terms if term not in others])

    ids = [row[0] for row in rows if is_match(row)]
    # Literal values: binding thousands of parameters takes longer than the query.
    return [identity.in_(bindparam("matching", ids, unique=True, expanding=True, literal_execute=True))]


def owner_name(owner_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the name of the account with that id, as a column."""
    return select(accounts.c.username).where(accounts.c.id == owner_id).scalar_subquery()


def owner_key(owner_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the folded name of the account with that id, to sort by; empty without an account."""
    return func.coalesce(select(accounts.c.name_key).where(accounts.c.id == owner_id).scalar_subquery(), "")


@dataclass(frozen=True, slots=True)
class ListSource(Generic[T]):
    """The columns, sort fields and row reader of a list.

    :param columns: the columns of one table, its id first.
    :param sorts: field name → column to sort by, never NULL; a field that increases with the id has the id's column.
    :param build: returns the object of a row.
    :param computed: expressions whose values follow those of the columns in a row.
    """

    columns: Sequence[KeyedColumnElement[Any]]
    sorts: Mapping[str, ColumnElement[Any]]
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
    width = len(columns) + len(source.computed)
    index = width if position is None else position

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
        tuple(source.build(row[:width]) for row in rows),
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


def next_of_values(
    tx: Transaction, query: ListQuery, identity: ColumnElement[Any], values: Mapping[str, Sequence[Select[Any]]]
) -> list[int]:
    """Return ids among which is the next page of a list that is sorted by a text with few values.

    :param values: each value with queries for the ids of its rows, each by an index in the order of the ids.
    """
    descending, last, position = query.sort.startswith("-"), None, 0
    if query.cursor is not None:
        last, position, back = decode_cursor(query.cursor, query.sort, str)
        descending ^= back
    known = [*values] if last is None or last in values else [*values, last]
    if not known:
        return []
    # The database compares texts by its own rules.
    rows = union_all(*(select(literal(value, Text).label("value")) for value in known)).subquery()
    ordered = [row[0] for row in tx.query(select(rows.c.value).order_by(rows.c.value))]
    if descending:
        ordered.reverse()
    ids: list[int] = []
    for value in ordered if last is None else ordered[ordered.index(last) :]:
        for statement in values.get(value, ()):
            following = statement.order_by(identity.desc() if descending else identity.asc()).limit(query.limit + 1)
            if value == last:
                following = following.where(identity < position if descending else identity > position)
            ids += [row[0] for row in tx.query(following)]
        if len(ids) > query.limit:
            break
    return ids


def table_columns(table: Table) -> list[KeyedColumnElement[Any]]:
    """Return the columns of a table, in order."""
    return list(table.columns)
