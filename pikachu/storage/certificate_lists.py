"""Lists of certificates, in any order, filtered by anything (CRT-1).

Free text (``q``) is described in :mod:`pikachu.storage.certificate_search`, the filters in
:mod:`pikachu.storage.certificate_filters`.

A list first counts the certificates that each filter selects.  If a filter selects few, they are fetched and sorted;
otherwise the list scans the index of its sort order, and after a few thousand rows an index that covers all filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, bindparam, func, select

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import CertificateRecord, CertificateStatus
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.time_ranges import EVER
from pikachu.storage.backfills import unindexed_certificates
from pikachu.storage.certificate_filters import (
    CertificateFilters,
    Kind,
    all_kinds,
    certificate_filters,
    kinds_condition,
)
from pikachu.storage.certificate_search import CertificateSearch
from pikachu.storage.certificates import CERTIFICATE_COLUMNS, certificate_record
from pikachu.storage.database import Transaction
from pikachu.storage.pagination import ListSource, goes_back, next_of_values, next_rows, page
from pikachu.storage.schema import certificates
from pikachu.storage.transactions import StoreSection, read_transaction
from pikachu.x509.search_text import number_terms, search_terms

_c: Final = certificates.c
_SORTS: Final = {
    "id": _c.id,
    # Ids increase in the order of issuance.
    "created_at": _c.id,
    "serial": _c.serial,
    "common_name": _c.name_key,
    "method": _c.method,
    "key": _c.key_type,
    "not_after": _c.not_after,
    # Not NULL for revoked certificates only.
    "revoked_at": _c.revoked_at,
}
# The index of each sort order; SQLite stores rows in the order of their ids.
_SORT_INDEXES: Final = {
    "id": "NOT INDEXED",
    "created_at": "NOT INDEXED",
    "serial": "INDEXED BY certificates_serial",
    "common_name": "INDEXED BY certificates_name",
    "method": "INDEXED BY certificates_method",
    "not_after": "INDEXED BY certificates_end",
    "revoked_at": "INDEXED BY certificates_revocation",
}
# These indexes cover the conditions of all filters.
_ALL_ROWS: Final = "INDEXED BY certificates_end"
_REVOKED_ROWS: Final = "INDEXED BY certificates_revocation"
_ISSUED_ROWS: Final = "INDEXED BY certificates_issued"
_ROWS_OF_KINDS: Final = "INDEXED BY certificates_kind"
# Of the rows below the newest one that has expired, most have.
_NEAR: Final = 1000
# Kinds of which the next rows are looked up one by one.
_FEW_KINDS: Final = 40
_LIST: Final = ListSource(CERTIFICATE_COLUMNS, _SORTS, certificate_record)


def _hinted(hint: str) -> Callable[[Select[Any]], Select[Any]]:
    """Return a function that adds an index hint for SQLite, which has no statistics of the rows."""
    return lambda statement: statement.with_hint(certificates, hint, "sqlite") if hint else statement


#: Rows are looked up by their ids, which are few.
_BY_ROW_ID: Final = _hinted("NOT INDEXED")


class CertificateListStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ICertificateReader`."""

    @read_transaction
    def certificates(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[CertificateRecord]:
        """Return a page of certificates; without ``infrastructure`` the CA's own are left out.

        :raises MalformedRequest: for an unknown filter or sort field, and for a value that it can't have.
        """
        selection = certificate_filters(tx, query, now)
        conditions = selection.conditions
        sort = query.sort.removeprefix("-")
        if sort == "revoked_at" and selection.status is not CertificateStatus.REVOKED:
            raise MalformedRequest("only revoked certificates can be sorted by revoked_at; ask for status=revoked, too")
        terms = number_terms(query.q) or search_terms(query.q)
        search = CertificateSearch(tx, terms, by_owner=query.owner_id is None) if terms else None
        unindexed = unindexed_certificates(tx) if search is not None else 0

        few = _few(tx, selection.narrowing, None if search is None else search.candidates())
        if few is not None:
            # Literal values: binding thousands of parameters takes longer than the query.
            known = _c.id.in_(bindparam("few", few, expanding=True, literal_execute=True))
            text_condition = [] if search is None else [search.condition]
            found = page(
                tx, query, _LIST, [*conditions, *text_condition, known], narrow=_BY_ROW_ID, count_narrow=_BY_ROW_ID
            )
            return replace(found, unindexed=unindexed)
        if search is not None:
            condition, ids = search.many()
            conditions.append(condition)
            if ids is not None:
                conditions.append(_c.id.in_(ids))
                return replace(page(tx, query, _LIST, conditions), unindexed=unindexed)
        return replace(_scan(tx, query, selection), unindexed=unindexed)


def _scan(tx: Transaction, query: ListQuery, selection: CertificateFilters) -> Page[CertificateRecord]:
    """Return a page when each filter selects many certificates."""
    conditions, is_filtered = selection.conditions, bool(selection.narrowing)
    sort = query.sort.removeprefix("-")
    walk = _hinted(_SORT_INDEXES.get(sort, ""))
    revoked = selection.status is CertificateStatus.REVOKED
    covering = _hinted(_covering(selection, query))
    total: int | None = None
    uncounted = query

    def attempt(
        *near: ColumnElement[bool], narrow: Callable[[Select[Any]], Select[Any]] | None
    ) -> Page[CertificateRecord]:
        nonlocal total, uncounted
        result = page(
            tx,
            uncounted,
            _LIST,
            [*conditions, *near],
            narrow=narrow,
            counted=conditions,
            count_narrow=covering if is_filtered else None,
        )
        if uncounted.count:
            # Count once for all attempts.
            total, uncounted = result.total, replace(query, count=False)
        return replace(result, total=total)

    if sort == "key":
        return attempt(_next_by_key(tx, query, selection), narrow=_BY_ROW_ID)
    by_end = sort == "not_after" and not revoked and selection.kinds is None and selection.issued is None
    if not is_filtered or sort == "revoked_at" or by_end:
        return attempt(narrow=walk)
    # First try the next few thousand rows in the sort order.  A longer scan could read nearly all rows, since the
    # oldest certificates have expired and the newest have not, and names may increase with ids.
    by_id, few = sort in {"id", "created_at"}, tx.settings.few_certificates
    if by_id and selection.kinds is not None and len(selection.kinds) <= _FEW_KINDS:
        # Exact: the next rows of each kind.
        next_ids = [_next_of_kind(query, kind, conditions) for kind in selection.kinds]
        ids = [row[0] for statement in next_ids for row in tx.query(statement)]
        return attempt(_c.id.in_(bindparam("next", ids, expanding=True, literal_execute=True)), narrow=_BY_ROW_ID)
    if by_id and selection.issued is not None:
        # Times of issuance increase with ids, but for differences between the clocks of nodes.
        following = _hinted(_ISSUED_ROWS)(next_rows(query, _c.id, _c.id, few, *_issued(selection)).order_by(None))
        order = _c.created_at.desc() if query.sort.startswith("-") != _goes_back(query) else _c.created_at
        following = following.order_by(order)
    elif revoked and by_id:
        following = _hinted("INDEXED BY certificates_revoked")(
            next_rows(query, _c.id, _c.id, few, _c.revoked_at.is_not(None))
        )
    elif selection.ended and by_id and query.sort.startswith("-") != _goes_back(query):
        # The newest certificates have not expired.  Looking for the first that has takes less than sorting all of them.
        newest = tx.query(_hinted(_ALL_ROWS)(select(func.max(_c.id + 0)).where(*selection.ended)))[0][0]
        following = walk(next_rows(query, _c.id, _c.id, _NEAR, _c.id <= (newest or 0)))
    else:
        following = walk(next_rows(query, _c.id, _SORTS[sort], few))
    result = attempt(_c.id.in_(following), narrow=_BY_ROW_ID)
    if _has_following_page(result, query):
        return result
    if tx.dialect == "sqlite":
        return attempt(narrow=covering)
    return attempt(narrow=lambda statement: _sorted_at_last(statement, query))


def _next_by_key(tx: Transaction, query: ListQuery, selection: CertificateFilters) -> ColumnElement[bool]:
    """Return the condition for the next page of a list that is sorted by the key type.

    :raises MalformedRequest: there are too many kinds of certificates to look up each.
    """
    kinds = selection.kinds if selection.kinds is not None else all_kinds(tx)
    if kinds is None:
        raise MalformedRequest("There are too many policies to sort by key. Choose a policy or a key type.")
    values: dict[str, list[Select[Any]]] = {}
    for kind in kinds:
        ids = select(_c.id).where(kinds_condition([kind]), *selection.conditions)
        values.setdefault(kind[2], []).append(_hinted(_ROWS_OF_KINDS)(ids))
    following = next_of_values(tx, query, _c.id, values)
    return _c.id.in_(bindparam("next", following, expanding=True, literal_execute=True))


def _covering(selection: CertificateFilters, query: ListQuery) -> str:
    """Return the hint for the index that covers all conditions, and of which the least is read."""
    if selection.status is CertificateStatus.REVOKED:
        return _REVOKED_ROWS
    if selection.issued is not None:
        return _ISSUED_ROWS
    has_end = any(name.startswith("expires") for name in query.filters)
    return _ALL_ROWS if has_end or selection.kinds is None else _ROWS_OF_KINDS


def _issued(selection: CertificateFilters) -> list[ColumnElement[bool]]:
    first, last = selection.issued or EVER
    return [_c.created_at >= first, _c.created_at < last]


def _next_of_kind(query: ListQuery, kind: Kind, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return a query for the ids of the next page of certificates of one kind."""
    ids = next_rows(query, _c.id, _c.id, query.limit + 1, kinds_condition([kind]), *conditions)
    return _hinted(_ROWS_OF_KINDS)(ids)


def _sorted_at_last(statement: Select[Any], query: ListQuery) -> Select[Any]:
    """Sort by expressions, so that PostgreSQL does not scan the index of the sort order for distant rows."""
    column: ColumnElement[Any] = _SORTS[query.sort.removeprefix("-")]
    expression = column.concat("") if isinstance(column.type, String) else column + 0
    keys = [expression] if column is _c.id else [expression, _c.id]
    descending = query.sort.startswith("-") != _goes_back(query)
    return statement.order_by(None).order_by(*(key.desc() if descending else key.asc() for key in keys))


def _goes_back(query: ListQuery) -> bool:
    return goes_back(query, _SORTS[query.sort.removeprefix("-")])


def _has_following_page(result: Page[CertificateRecord], query: ListQuery) -> bool:
    """Return whether *result* has a following page, so that the rows that were searched were enough."""
    return (result.previous_cursor if _goes_back(query) else result.next_cursor) is not None


def _few(tx: Transaction, narrowing: list[Select[Any]], matching: Select[Any] | None) -> list[int] | None:
    """Return the ids that the most selective filter selects, or None if they are many.

    :param matching: the candidate ids of the free text, if any, which cost more to find than to fetch.
    """
    fewest, best = tx.settings.few_certificates + 1, None
    if matching is not None:
        matches = [row[0] for row in tx.query(matching.limit(fewest))]
        if len(matches) < fewest:
            fewest, best = len(matches), matches
    for ids in narrowing:
        # Count no further than the best filter so far.
        count = _count(tx, ids, fewest)
        if count < fewest:
            fewest, best = count, [row[0] for row in tx.query(ids)]
    return best


def _count(tx: Transaction, ids: Select[Any], most: int) -> int:
    """Count ids, up to *most*."""
    return int(tx.query(select(func.count()).select_from(ids.limit(most).subquery()))[0][0])
