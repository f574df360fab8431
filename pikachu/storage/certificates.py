"""Reads of issued certificates: lists, status, downloads, and the entries of CRLs.

Free text (``q``) is described in :mod:`pikachu.storage.certificate_search`.

A list first counts the certificates that each filter selects.  If a filter selects few, they are fetched and sorted;
otherwise the list scans the index of its sort order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    exists,
    false,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
)

from pikachu.core.errors import MalformedRequest, NotFound, UnknownSerial
from pikachu.core.model.certificates import (
    CertificateRecord,
    CertificateStatus,
    CRLRecord,
    Infrastructure,
    InfrastructureFilter,
    Method,
    RevocationReason,
    StatusChange,
    StatusRecord,
    format_serial,
)
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.storage.backfills import unindexed_certificates
from pikachu.storage.certificate_search import CertificateSearch
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, decode_cursor, one_of, page
from pikachu.storage.schema import (
    certificates,
    crl_entries,
    crls,
    issuers,
    recovered_revocations,
    requests,
    status_changes,
)
from pikachu.storage.transactions import StoreSection, maybe_moment, moment, point_read, read_transaction, row_id
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.search_text import search_terms

# CRL entries per fetch: fetching a million at once would hold the GIL for seconds.
_ENTRIES: Final = 10_000

_c: Final = certificates.c
CERTIFICATE_COLUMNS: Final = [
    _c.id,
    _c.serial,
    _c.issuer_id,
    _c.subject,
    _c.common_name,
    _c.key_type,
    _c.key_id,
    _c.not_before,
    _c.not_after,
    _c.method,
    _c.owner_id,
    _c.policy,
    _c.der,
    _c.created_at,
    _c.revoked_at,
    _c.reason,
    _c.deleted_at,
    _c.infrastructure,
    _c.sans,
]
_SORTS: Final = {
    "id": _c.id,
    # Ids increase in the order of issuance.
    "created_at": _c.id,
    "serial": _c.serial,
    "common_name": _c.name_key,
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
    "not_after": "INDEXED BY certificates_end",
    "revoked_at": "INDEXED BY certificates_revocation",
}
# The indexes that cover the conditions of each status.
_STATUS_INDEXES: Final = {
    CertificateStatus.VALID: "INDEXED BY certificates_end",
    CertificateStatus.EXPIRED: "INDEXED BY certificates_end",
    CertificateStatus.REVOKED: "INDEXED BY certificates_revocation",
}
# The CA's own certificates, which are few.  Conditions name them by id, since the covering indexes lack their mark.
_own: Final = certificates.alias("own")
_own_ids: Final = select(_own.c.id).where(_own.c.infrastructure.is_not(None))

_by_id: Final = select(*CERTIFICATE_COLUMNS).where(_c.id == bindparam("b_id"), _c.deleted_at.is_(None))
_by_serial: Final = select(*CERTIFICATE_COLUMNS).where(_c.serial == bindparam("b_serial"))
# The root is no OCSP subject: nobody but itself could say that it is revoked.
_status: Final = select(_c.not_after, _c.revoked_at, _c.reason, _c.deleted_at).where(
    _c.serial == bindparam("b_serial"),
    _c.issuer_id == bindparam("b_issuer"),
    _c.infrastructure.is_distinct_from(literal_column(f"'{Infrastructure.ROOT}'")),
)
_r: Final = requests.c
_ORPHAN: Final = [
    _r.serial,
    _r.issuer_id,
    func.coalesce(_r.certified_subject, _r.subject),
    _r.common_name,
    _r.key_type,
    _r.key_id,
    _r.not_before,
    _r.not_after,
    _r.method,
    _r.owner_id,
    _r.policy,
    _r.created_at,
    _r.revoked_at,
    _r.revocation_reason,
]
_orphan: Final = select(*_ORPHAN).where(_r.serial == bindparam("b_serial"), text("state <> 'issued'"))
# Serial numbers without a certificate here, which a published CRL has revoked.
_x: Final = recovered_revocations.c
_recovered: Final = select(_x.issuer_id, _x.revoked_at, _x.reason, _x.not_after, _x.recovered_at).where(
    _x.serial == bindparam("b_serial"), text("(decision IS NULL OR decision = 'keep')")
)
_changes: Final = (
    select(status_changes.c.id, status_changes.c.issuer_id, status_changes.c.serial)
    .where(status_changes.c.id > bindparam("after"))
    .order_by(status_changes.c.id)
    .limit(bindparam("rows", type_=Integer))
)
_latest: Final = select(func.max(status_changes.c.id))
_latest_of: Final = select(func.max(status_changes.c.id)).where(status_changes.c.issuer_id == bindparam("b_issuer"))
_replaced: Final = select(
    exists().where(
        status_changes.c.issuer_id == bindparam("b_issuer"),
        status_changes.c.id > bindparam("after"),
        text("replaces > 0"),
        status_changes.c.replaces <= bindparam("after"),
    )
)
_issuer_ids: Final = select(issuers.c.id).where(issuers.c.name == bindparam("b_name"))
_entries: Final = (
    select(crl_entries.c.entry)
    .where(crl_entries.c.issuer_id == bindparam("b_issuer"), crl_entries.c.change_id > bindparam("after"))
    .order_by(crl_entries.c.change_id)
)
_last_crl: Final = (
    select(*crls.columns).where(crls.c.issuer_id == bindparam("b_issuer")).order_by(crls.c.number.desc()).limit(1)
)


def certificate_record(row: Row) -> CertificateRecord:
    """Return the record of a row of ``CERTIFICATE_COLUMNS``."""
    reason = row[15]
    return CertificateRecord(
        row[0],
        int(row[1], 16),
        row[2],
        row[3],
        row[4],
        row[5],
        bytes(row[6]),
        moment(row[7]),
        moment(row[8]),
        Method(row[9]),
        row[10],
        row[11],
        bytes(row[12]),
        moment(row[13]),
        maybe_moment(row[14]),
        None if reason is None else RevocationReason(reason),
        maybe_moment(row[16]),
        None if row[17] is None else Infrastructure(row[17]),
        certificate_sans(bytes(row[12])) if row[18] is None else tuple(json.loads(row[18])),
    )


_LIST: Final = ListSource(CERTIFICATE_COLUMNS, _SORTS, certificate_record)


def _orphan_record(row: Row) -> CertificateRecord:
    """Return the record of an intent without a certificate, with id 0 and no DER."""
    return certificate_record((0, *row[:11], b"", *row[11:], None, None, None))


def find_orphan(tx: Transaction, serial: int) -> CertificateRecord | None:
    """Return the intent with that serial number if it has no certificate."""
    row = tx.row(_orphan, {"b_serial": format_serial(serial)})
    return None if row is None else _orphan_record(row)


def _find_recovered(tx: Transaction, serial: int) -> CertificateRecord | None:
    """Return the recovered revocation of a serial number without a certificate, with id 0 and no DER."""
    digits = format_serial(serial)
    row = tx.row(_recovered, {"b_serial": digits})
    if row is None:
        return None
    issuer_id, revoked_at, reason, not_after, recovered_at = row
    return CertificateRecord(
        id=0,
        serial=serial,
        issuer_id=issuer_id,
        subject="",
        common_name="",
        key_type="",
        key_id=b"",
        not_before=moment(revoked_at),
        not_after=moment(not_after),
        method=Method.CA,
        owner_id=None,
        policy="",
        der=b"",
        created_at=moment(recovered_at),
        revoked_at=moment(revoked_at),
        reason=RevocationReason(reason),
    )


def find_certificate(tx: Transaction, certificate_id: int) -> CertificateRecord:
    """Return the certificate with that id.

    :raises NotFound: when it does not exist or was deleted.
    """
    row = tx.row(_by_id, {"b_id": row_id(certificate_id)})
    if row is None:
        raise NotFound("there is no such certificate")
    return certificate_record(row)


def find_serial(tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
    """Return the certificate with that serial number.

    :param deleted: include deleted certificates, and revoked serial numbers of intents without a certificate.
    :raises UnknownSerial: when it does not exist.
    """
    row = tx.row(_by_serial, {"b_serial": format_serial(serial)})
    if row is not None and (deleted or row[16] is None):
        return certificate_record(row)
    orphan = find_orphan(tx, serial) if deleted and row is None else None
    if orphan is None or orphan.revoked_at is None:
        raise UnknownSerial("no certificate has this serial")
    return orphan


def _scan(
    tx: Transaction, query: ListQuery, status: CertificateStatus | None, conditions: Sequence[ColumnElement[bool]]
) -> Page[CertificateRecord]:
    """Return a page when each filter selects many certificates."""
    sort = query.sort.removeprefix("-")
    walk = _hinted(_SORT_INDEXES.get(sort, ""))
    covering = _hinted("" if status is None else _STATUS_INDEXES[status])
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
            count_narrow=None if status is None else covering,
        )
        if uncounted.count:
            # Count once for all attempts.
            total, uncounted = result.total, replace(query, count=False)
        return replace(result, total=total)

    revoked = status is CertificateStatus.REVOKED
    if status is None or sort == "revoked_at" or (sort == "not_after" and not revoked):
        return attempt(narrow=walk)
    # First try the next few thousand rows in the sort order.  A longer scan could read nearly all rows, since the
    # oldest certificates have expired and the newest have not, and names may increase with ids.
    if revoked and sort in {"id", "created_at"}:
        following = _hinted("INDEXED BY certificates_revoked")(_next(tx, query, _c.id, _c.revoked_at.is_not(None)))
    else:
        following = walk(_next(tx, query, _SORTS[sort]))
    result = attempt(_c.id.in_(following), narrow=None)
    if _has_following_page(result, query):
        return result
    if tx.dialect == "sqlite":
        return attempt(narrow=covering)
    return attempt(narrow=lambda statement: _sorted_at_last(statement, query))


def _sorted_at_last(statement: Select[Any], query: ListQuery) -> Select[Any]:
    """Sort by expressions, so that PostgreSQL does not scan the index of the sort order for distant rows."""
    column: ColumnElement[Any] = _SORTS[query.sort.removeprefix("-")]
    expression = column.concat("") if isinstance(column.type, String) else column + 0
    keys = [expression] if column is _c.id else [expression, _c.id]
    descending = query.sort.startswith("-") != _goes_back(query)
    return statement.order_by(None).order_by(*(key.desc() if descending else key.asc() for key in keys))


def _goes_back(query: ListQuery) -> bool:
    if query.cursor is None:
        return False
    return decode_cursor(query.cursor, query.sort, _SORTS[query.sort.removeprefix("-")].type.python_type)[2]


def _has_following_page(result: Page[CertificateRecord], query: ListQuery) -> bool:
    """Return whether *result* has a following page, so that the rows that were searched were enough."""
    return (result.previous_cursor if _goes_back(query) else result.next_cursor) is not None


def _next(
    tx: Transaction, query: ListQuery, column: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> Select[Any]:
    """Return a query for the ids of the next few thousand rows with *conditions*, in the order of *column*."""
    ids = select(_c.id).where(*conditions)
    descending = query.sort.startswith("-")
    by_id = column is _c.id
    if query.cursor is not None:
        value, position, back = decode_cursor(query.cursor, query.sort, column.type.python_type)
        descending ^= back
        if by_id:
            ids = ids.where(_c.id < position if descending else _c.id > position)
        else:
            row, last = tuple_(column, _c.id), tuple_(literal(value), literal(position))
            ids = ids.where(row < last if descending else row > last)
    keys = [_c.id] if by_id else [column, _c.id]
    return ids.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(tx.settings.few_certificates)


def issued_by(tx: Transaction, issuer_id: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """Return the condition for all generations of the issuing CA with that name."""
    issuer_ids = [row[0] for row in tx.rows(_issuer_ids, {"b_name": name})]
    return issuer_id.in_(issuer_ids) if issuer_ids else false()


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


def _hinted(hint: str) -> Callable[[Select[Any]], Select[Any]]:
    """Return a function that adds an index hint for SQLite, which has no statistics of the rows."""
    return lambda statement: statement.with_hint(certificates, hint, "sqlite") if hint else statement


class CertificateStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ICertificateReader`."""

    @point_read
    def certificate(self, tx: Transaction, certificate_id: int) -> CertificateRecord:
        """Return the certificate with that id; NotFound."""
        return find_certificate(tx, certificate_id)

    @point_read
    def certificate_by_serial(self, tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
        """Return the certificate with that serial number; UnknownSerial."""
        try:
            return find_serial(tx, serial, deleted=deleted)
        except UnknownSerial:
            recovered = _find_recovered(tx, serial) if deleted else None
            if recovered is None:
                raise
            return recovered

    @read_transaction
    def certificates(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[CertificateRecord]:
        """List certificates; filters ``status``, ``method``, ``issuer``, ``infrastructure`` (``include`` or ``only``;
        without it the CA's own are left out); ``revoked_at`` sorts only revoked ones.
        """
        checked(query, ("status", "method", "issuer", "infrastructure"))
        conditions: list[ColumnElement[bool]] = [_c.deleted_at.is_(None)]
        # Queries for the ids that each filter selects, by its own index.
        narrowing: list[Select[Any]] = []

        def filtered(condition: ColumnElement[bool]) -> None:
            conditions.append(condition)
            narrowing.append(select(_c.id).where(condition))

        infrastructure = one_of(query, "infrastructure", list(InfrastructureFilter))
        if infrastructure is None:
            conditions.append(_c.id.not_in(_own_ids))
        elif infrastructure == InfrastructureFilter.ONLY:
            filtered(_c.infrastructure.is_not(None))
        if query.owner_id is not None:
            filtered(_c.owner_id == query.owner_id)
        method = one_of(query, "method", list(Method))
        if method is not None:
            filtered(_c.method == method)
        if "issuer" in query.filters:
            filtered(issued_by(tx, _c.issuer_id, query.filters["issuer"]))
        status_name = one_of(query, "status", list(CertificateStatus))
        status = None if status_name is None else CertificateStatus(status_name)
        if status is CertificateStatus.REVOKED:
            filtered(_c.revoked_at.is_not(None))
        elif status is not None:
            end = int(now.timestamp())
            in_time = _c.not_after < end if status is CertificateStatus.EXPIRED else _c.not_after >= end
            filtered(and_(in_time, _c.revoked_at.is_(None)))
        sort = query.sort.removeprefix("-")
        if sort == "revoked_at" and status is not CertificateStatus.REVOKED:
            raise MalformedRequest("only revoked certificates can be sorted by revoked_at; ask for status=revoked, too")
        terms = search_terms(query.q)
        search = CertificateSearch(tx, terms, by_owner=query.owner_id is None) if terms else None
        unindexed = unindexed_certificates(tx) if search is not None else 0

        few = _few(tx, narrowing, None if search is None else search.candidates())
        if few is not None:
            # Literal values: binding thousands of parameters takes longer than the query.
            known = _c.id.in_(bindparam("few", few, expanding=True, literal_execute=True))
            text_condition = [] if search is None else [search.condition]
            return replace(page(tx, query, _LIST, [*conditions, *text_condition, known]), unindexed=unindexed)
        if search is not None:
            condition, ids = search.many()
            conditions.append(condition)
            if ids is not None:
                conditions.append(_c.id.in_(ids))
                return replace(page(tx, query, _LIST, conditions), unindexed=unindexed)
        return replace(_scan(tx, query, status, conditions), unindexed=unindexed)

    @read_transaction
    def expired_ids(self, tx: Transaction, now: datetime, after: int, limit: int) -> list[int]:
        """Return ids of expired certificates above *after*, ascending."""
        ended = (
            select(_c.id)
            .where(
                _c.not_after < int(now.timestamp()),
                _c.id > min(after, 2**63 - 1),
                _c.deleted_at.is_(None),
                _c.id.not_in(_own_ids),
            )
            .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
            .order_by(_c.id)
            .limit(limit)
        )
        return [row[0] for row in tx.query(ended)]

    @point_read
    def status(self, tx: Transaction, issuer_id: int, serial: int) -> StatusRecord | None:
        """Return the status of a serial number, or None if the issuer never issued it."""
        row = tx.row(_status, {"b_serial": format_serial(serial), "b_issuer": issuer_id})
        if row is not None:
            not_after, revoked_at, reason, deleted_at = row
            return StatusRecord(
                serial,
                moment(not_after),
                maybe_moment(revoked_at),
                None if reason is None else RevocationReason(reason),
                deleted_at is not None,
            )
        orphan = find_orphan(tx, serial) or _find_recovered(tx, serial)
        if orphan is None or orphan.revoked_at is None or orphan.issuer_id != issuer_id:
            return None
        return StatusRecord(serial, orphan.not_after, orphan.revoked_at, orphan.reason)

    @read_transaction
    def changes_since(self, tx: Transaction, change_id: int, limit: int = 1000) -> list[StatusChange]:
        """Return status changes after *change_id* of all processes, in commit order."""
        rows = tx.rows(_changes, {"after": change_id, "rows": limit})
        return [StatusChange(identity, issuer_id, int(serial, 16)) for identity, issuer_id, serial in rows]

    @read_transaction
    def latest_change(self, tx: Transaction) -> int:
        """Return the id of the newest status change, or 0 without one."""
        row = tx.row(_latest)
        return int(row[0] or 0) if row is not None else 0

    @read_transaction
    def crl_entries(self, tx: Transaction, issuer_id: int, after: int) -> tuple[int, int, bytes] | None:
        """Return (last change id, number of entries, their concatenated DER), or None to restart from 0."""
        replaced = tx.row(_replaced, {"b_issuer": issuer_id, "after": after})
        if after and replaced is not None and replaced[0]:
            return None
        latest = tx.row(_latest_of, {"b_issuer": issuer_id})
        count, chunks = 0, []
        for rows in tx.batches(_entries, {"b_issuer": issuer_id, "after": after}, _ENTRIES):
            count += len(rows)
            chunks.append(b"".join([row[0] for row in rows]))
        return (latest[0] or 0) if latest is not None else 0, count, b"".join(chunks)

    @read_transaction
    def last_crl(self, tx: Transaction, issuer_id: int) -> CRLRecord | None:
        """Return the recorded CRL with the highest number."""
        row = tx.row(_last_crl, {"b_issuer": issuer_id})
        if row is None:
            return None
        return CRLRecord(row[0], row[1], moment(row[2]), moment(row[3]), row[4], row[5])
