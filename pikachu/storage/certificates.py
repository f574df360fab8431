"""Reading what was issued: lists, status, downloads, and what CRLs are made of.

Free text (``q``) finds certificates whose serial begins with it, if it has three hexadecimal digits or more, and

- where the database can index parts of words (SQLite's FTS5 with its trigram tokenizer, PostgreSQL's ``pg_trgm``):
  those whose subject holds it anywhere, if it has three characters or more (the index takes 13 µs a certificate);
- else: those whose common name begins with it.

A text that thousands may hold is looked for at the beginning of all common names, and elsewhere in the newest few
thousand of them only; one with which thousands of names begin is not looked for elsewhere.  Letters' case does not
matter.

A list first asks how many certificates each filter leaves: if some filter leaves few, these are fetched and sorted; if
all leave many, the list walks along the index of its order and soon has a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    column,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    table,
    text,
    tuple_,
)

from pikachu.core.errors import MalformedRequest, NotFound, UnknownSerial
from pikachu.core.model.certificates import (
    CertificateRecord,
    CertificateStatus,
    CRLRecord,
    Method,
    RevocationReason,
    StatusChange,
    StatusRecord,
    format_serial,
)
from pikachu.core.model.lists import ListQuery, Page
from pikachu.storage.database import Row, Transaction
from pikachu.storage.lists import ListSource, begins_with, checked, contains, decode_cursor, one_of, page
from pikachu.storage.part import StoreSection, maybe_moment, moment, read_transaction, row_id
from pikachu.storage.schema import certificates, crl_entries, crls, issuers, requests, status_changes

# Entries of a CRL that are fetched at once: other threads stand still while a million are.
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
]
_SORTS: Final = {
    "id": _c.id,
    # Ids rise in the order of issuing.
    "created_at": _c.id,
    "serial": _c.serial,
    "common_name": _c.name_key,
    "not_after": _c.not_after,
    # Of revoked ones only: others have none.
    "revoked_at": _c.revoked_at,
}
# The index that a list in each order is read along; SQLite's rows are in the order of their ids.
_WALKED: Final = {
    "id": "NOT INDEXED",
    "created_at": "NOT INDEXED",
    "serial": "INDEXED BY certificates_serial",
    "common_name": "INDEXED BY certificates_name",
    "not_after": "INDEXED BY certificates_end",
    "revoked_at": "INDEXED BY certificates_revocation",
}
# The indexes that hold all that a list of that status asks, whatever else filters it.
_COVERING: Final = {
    CertificateStatus.VALID: "INDEXED BY certificates_end",
    CertificateStatus.EXPIRED: "INDEXED BY certificates_end",
    CertificateStatus.REVOKED: "INDEXED BY certificates_revocation",
}
#: SQLite's full-text index of subjects; its row ids are certificates' ids.
subject_search: Final = table("certificate_search", column("rowid", BigInteger), column("subject", String))
_MATCHED: Final = text("certificate_search MATCH :match")

_by_id: Final = select(*CERTIFICATE_COLUMNS).where(_c.id == bindparam("b_id"), _c.deleted_at.is_(None))
_by_serial: Final = select(*CERTIFICATE_COLUMNS).where(_c.serial == bindparam("b_serial"))
_status: Final = select(_c.not_after, _c.revoked_at, _c.reason, _c.deleted_at).where(
    _c.serial == bindparam("b_serial"), _c.issuer_id == bindparam("b_issuer")
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
    """The record of a row of all columns."""
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
    )


_LIST: Final = ListSource(CERTIFICATE_COLUMNS, _SORTS, certificate_record)


def _orphan_record(row: Row) -> CertificateRecord:
    """A serial that was to be certified: id 0 and no DER, for nobody has the certificate."""
    return certificate_record((0, *row[:11], b"", *row[11:], None))


def find_orphan(tx: Transaction, serial: int) -> CertificateRecord | None:
    """The intent of that serial, if no certificate came of it."""
    row = tx.row(_orphan, {"b_serial": format_serial(serial)})
    return None if row is None else _orphan_record(row)


def find_certificate(tx: Transaction, certificate_id: int) -> CertificateRecord:
    """The certificate of that id.

    :raises NotFound: when there is none, or it was deleted.
    """
    row = tx.row(_by_id, {"b_id": row_id(certificate_id)})
    if row is None:
        raise NotFound("there is no such certificate")
    return certificate_record(row)


def find_serial(tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
    """The certificate of that serial.

    :param deleted: give deleted ones, and revoked serials of which no certificate is known.
    :raises UnknownSerial: when there is none.
    """
    row = tx.row(_by_serial, {"b_serial": format_serial(serial)})
    if row is not None and (deleted or row[16] is None):
        return certificate_record(row)
    orphan = find_orphan(tx, serial) if deleted and row is None else None
    if orphan is None or orphan.revoked_at is None:
        raise UnknownSerial("no certificate has this serial")
    return orphan


def _matching(tx: Transaction, words: str) -> tuple[ColumnElement[bool], Select[Any]]:
    """(condition on a row, the ids that may fulfil it) for free text."""
    found, ids = _by_serial_text(tx, words)
    if not tx.search or len(words) < 3:
        found.append(begins_with(_c.name_key, words.casefold()))
        ids.append(select(_c.id).where(found[-1]))
    else:
        found.append(_holds(words))
        ids.append(_holding(tx, words))
    return or_(*found), _union(ids)


def _matching_some(tx: Transaction, words: str) -> tuple[ColumnElement[bool], Select[Any] | None]:
    """The same for free text that many may hold; ``None``: too many begin with it to name them."""
    begins = begins_with(_c.name_key, words.casefold())
    beginning = select(_c.id).where(begins)
    most = tx.settings.common_names
    if _count(tx, beginning, most + 1) > most or not tx.search or len(words) < 3:
        return begins, None
    found, ids = _by_serial_text(tx, words)
    holding = _holding(tx, words)
    if tx.dialect != "sqlite":
        # By the index all that hold it would be fetched first, however many these are.
        holding = holding.where(_c.id > select(func.max(_c.id) - 4 * tx.settings.few_certificates).scalar_subquery())
    newest = holding.order_by(holding.selected_columns[0].desc()).limit(tx.settings.few_certificates)
    return or_(begins, _holds(words), *found), _union([*ids, beginning, select(newest.subquery().c[0])])


def _by_serial_text(tx: Transaction, words: str) -> tuple[list[ColumnElement[bool]], list[Select[Any]]]:
    digits = words.lower().removeprefix("0x").replace(":", "").lstrip("0")
    if not re.fullmatch("[0-9a-f]{1,40}", digits):
        return [], []
    # One or two digits begin so many serials that they help to find none.
    condition = begins_with(_c.serial, digits) if len(digits) >= 3 else _c.serial == digits
    return [condition], [select(_c.id).where(condition).limit(tx.settings.few_certificates + 1)]


def _holds(words: str) -> ColumnElement[bool]:
    """That a subject holds *words*; so written that no index is asked again for rows that are known."""
    return contains(_c.subject.concat(""), words)


def _holding(tx: Transaction, words: str) -> Select[Any]:
    """The ids of those whose subjects may hold *words*."""
    if tx.dialect == "sqlite":
        return select(subject_search.c.rowid).where(_MATCHED.bindparams(match=match_expression(words)))
    return select(_c.id).where(contains(_c.subject, words))


def _union(ids: list[Select[Any]]) -> Select[Any]:
    if len(ids) == 1:
        return ids[0]
    parts = [select(one.subquery().c[0]) for one in ids]
    return select(parts[0].union_all(*parts[1:]).subquery().c[0])


def match_expression(words: str) -> str:
    """The FTS5 query for rows that have all trigrams of *words*.

    The index holds no positions, which makes it cheap to keep: rows that have the trigrams but elsewhere are told apart
    by looking at them.
    """
    # Each character once, and the last three together: more trigrams would narrow little and cost a list each.
    starts = [*range(0, len(words) - 3, 3), len(words) - 3]
    trigrams = dict.fromkeys(words[index : index + 3] for index in starts)
    return " AND ".join('"' + one.replace('"', '""') + '"' for one in trigrams)


def _walked(
    tx: Transaction, query: ListQuery, status: CertificateStatus | None, conditions: Sequence[ColumnElement[bool]]
) -> Page[CertificateRecord]:
    """A page where each filter leaves many."""
    sort = query.sort.removeprefix("-")
    walk = _hinted(_WALKED.get(sort, ""))
    covering = _hinted("" if status is None else _COVERING[status])
    total: int | None = None
    uncounted = query

    def part(
        *near: ColumnElement[bool], narrow: Callable[[Select[Any]], Select[Any]] | None
    ) -> Page[CertificateRecord]:
        nonlocal total, uncounted
        found = page(
            tx,
            uncounted,
            _LIST,
            [*conditions, *near],
            narrow=narrow,
            counted=conditions,
            count_narrow=None if status is None else covering,
        )
        if uncounted.count:
            # Once for all attempts.
            total, uncounted = found.total, replace(query, count=False)
        return replace(found, total=total)

    revoked = status is CertificateStatus.REVOKED
    if status is None or sort == "revoked_at" or (sort == "not_after" and not revoked):
        return part(narrow=walk)
    # Where a page is among what comes next in the list's order, it is found there.  Else walking on may pass nearly
    # all: the oldest have expired and the newest have not, and names rise with ids.
    if revoked and sort in {"id", "created_at"}:
        following = _hinted("INDEXED BY certificates_revoked")(_next(tx, query, _c.id, _c.revoked_at.is_not(None)))
    else:
        following = walk(_next(tx, query, _SORTS[sort]))
    found = part(_c.id.in_(following), narrow=None)
    if _goes_on(found, query):
        return found
    if tx.dialect == "sqlite":
        return part(narrow=covering)
    return part(narrow=lambda statement: _sorted_at_last(statement, query))


def _sorted_at_last(statement: Select[Any], query: ListQuery) -> Select[Any]:
    """The same order, so written that PostgreSQL does not walk along its index: what is asked for is not near."""
    column: ColumnElement[Any] = _SORTS[query.sort.removeprefix("-")]
    written = column.concat("") if isinstance(column.type, String) else column + 0
    keys = [written] if column is _c.id else [written, _c.id]
    descending = query.sort.startswith("-") != _goes_back(query)
    return statement.order_by(None).order_by(*(key.desc() if descending else key.asc() for key in keys))


def _goes_back(query: ListQuery) -> bool:
    if query.cursor is None:
        return False
    return decode_cursor(query.cursor, query.sort, _SORTS[query.sort.removeprefix("-")].type.python_type)[2]


def _goes_on(found: Page[CertificateRecord], query: ListQuery) -> bool:
    """Whether there is more than *found*: what was looked at sufficed for the page and for knowing that."""
    return (found.previous_cursor if _goes_back(query) else found.next_cursor) is not None


def _next(
    tx: Transaction, query: ListQuery, column: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> Select[Any]:
    """The ids of the next few thousand rows that fulfil *conditions*, in the list's order by *column*."""
    ids = select(_c.id).where(*conditions)
    descending = query.sort.startswith("-")
    by_id = column is _c.id
    if query.cursor is not None:
        value, position, back = decode_cursor(query.cursor, query.sort, column.type.python_type)
        descending ^= back
        if by_id:
            ids = ids.where(_c.id < position if descending else _c.id > position)
        else:
            here, there = tuple_(column, _c.id), tuple_(literal(value), literal(position))
            ids = ids.where(here < there if descending else here > there)
    keys = [_c.id] if by_id else [column, _c.id]
    return ids.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(tx.settings.few_certificates)


def _issuers(tx: Transaction, name: str) -> ColumnElement[bool]:
    """All generations of the issuing CA of that name."""
    found = [row[0] for row in tx.rows(_issuer_ids, {"b_name": name})]
    return _c.issuer_id.in_(found) if found else false()


def _few(tx: Transaction, narrowing: list[Select[Any]], matching: Select[Any] | None) -> list[int] | None:
    """The ids that the filter that leaves the fewest leaves, if these are few.

    :param matching: the ids for free text, if there is one: to find them costs more than to fetch them.
    """
    fewest, best = tx.settings.few_certificates + 1, None
    if matching is not None:
        found = [row[0] for row in tx.query(matching.limit(fewest))]
        if len(found) < fewest:
            fewest, best = len(found), found
    for ids in narrowing:
        # What leaves more than the best so far does not matter.
        count = _count(tx, ids, fewest)
        if count < fewest:
            fewest, best = count, [row[0] for row in tx.query(ids)]
    return best


def _count(tx: Transaction, ids: Select[Any], most: int) -> int:
    """How many they are, counted up to *most*."""
    return int(tx.query(select(func.count()).select_from(ids.limit(most).subquery()))[0][0])


def _hinted(hint: str) -> Callable[[Select[Any]], Select[Any]]:
    """Tell SQLite, which knows nothing of how many rows a condition leaves, which index to walk along."""
    return lambda statement: statement.with_hint(certificates, hint, "sqlite") if hint else statement


class CertificateStore(StoreSection):
    """See :class:`pikachu.core.interfaces.ICertificateReader`."""

    @read_transaction
    def certificate(self, tx: Transaction, certificate_id: int) -> CertificateRecord:
        """The certificate of that id; fails with NotFound."""
        return find_certificate(tx, certificate_id)

    @read_transaction
    def certificate_by_serial(self, tx: Transaction, serial: int, *, deleted: bool = False) -> CertificateRecord:
        """The certificate of that serial; fails with UnknownSerial."""
        return find_serial(tx, serial, deleted=deleted)

    @read_transaction
    def certificates(self, tx: Transaction, query: ListQuery, now: datetime) -> Page[CertificateRecord]:
        """Filters ``status``, ``method``, ``issuer`` (its name); sorted by ``revoked_at`` with status revoked only."""
        checked(query, ("status", "method", "issuer"))
        conditions: list[ColumnElement[bool]] = [_c.deleted_at.is_(None)]
        # The ids that each filter leaves, by its own index.
        narrowing: list[Select[Any]] = []

        def filtered(condition: ColumnElement[bool]) -> None:
            conditions.append(condition)
            narrowing.append(select(_c.id).where(condition))

        if query.owner_id is not None:
            filtered(_c.owner_id == query.owner_id)
        method = one_of(query, "method", list(Method))
        if method is not None:
            filtered(_c.method == method)
        if "issuer" in query.filters:
            filtered(_issuers(tx, query.filters["issuer"]))
        asked = one_of(query, "status", list(CertificateStatus))
        status = None if asked is None else CertificateStatus(asked)
        if status is CertificateStatus.REVOKED:
            filtered(_c.revoked_at.is_not(None))
        elif status is not None:
            end = int(now.timestamp())
            in_time = _c.not_after < end if status is CertificateStatus.EXPIRED else _c.not_after >= end
            filtered(and_(in_time, _c.revoked_at.is_(None)))
        sort = query.sort.removeprefix("-")
        if sort == "revoked_at" and status is not CertificateStatus.REVOKED:
            raise MalformedRequest("only revoked certificates can be sorted by revoked_at; ask for status=revoked, too")
        words = (query.q or "").strip()
        matching = _matching(tx, words) if words else None

        few = _few(tx, narrowing, None if matching is None else matching[1])
        if few is not None:
            # Written into the statement: thousands of parameters take longer than what they are for.
            known = _c.id.in_(bindparam("few", few, expanding=True, literal_execute=True))
            text_condition = [] if matching is None else [matching[0]]
            return page(
                tx,
                query,
                _LIST,
                [*conditions, *text_condition, known],
            )
        if words:
            condition, ids = _matching_some(tx, words)
            conditions.append(condition)
            if ids is not None:
                conditions.append(_c.id.in_(ids))
                return page(tx, query, _LIST, conditions)
        return _walked(tx, query, status, conditions)

    @read_transaction
    def expired_ids(self, tx: Transaction, now: datetime, after: int, limit: int) -> list[int]:
        """Ids above *after*, ascending."""
        ended = (
            select(_c.id)
            .where(_c.not_after < int(now.timestamp()), _c.id > min(after, 2**63 - 1), _c.deleted_at.is_(None))
            .with_hint(certificates, "INDEXED BY certificates_end", "sqlite")
            .order_by(_c.id)
            .limit(limit)
        )
        return [row[0] for row in tx.query(ended)]

    @read_transaction
    def status(self, tx: Transaction, issuer_id: int, serial: int) -> StatusRecord | None:
        """``None`` when that issuer never issued it."""
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
        orphan = find_orphan(tx, serial)
        if orphan is None or orphan.revoked_at is None or orphan.issuer_id != issuer_id:
            return None
        return StatusRecord(serial, orphan.not_after, orphan.revoked_at, orphan.reason)

    @read_transaction
    def changes_since(self, tx: Transaction, change_id: int, limit: int = 1000) -> list[StatusChange]:
        """In the order of their commits, over all processes."""
        rows = tx.rows(_changes, {"after": change_id, "rows": limit})
        return [StatusChange(identity, issuer_id, int(serial, 16)) for identity, issuer_id, serial in rows]

    @read_transaction
    def latest_change(self, tx: Transaction) -> int:
        """0 when there was none."""
        row = tx.row(_latest)
        return int(row[0] or 0) if row is not None else 0

    @read_transaction
    def crl_entries(self, tx: Transaction, issuer_id: int, after: int) -> tuple[int, int, bytes] | None:
        """(last change id, number of entries, their joined DER); ``None``: begin again with 0."""
        replaced = tx.row(_replaced, {"b_issuer": issuer_id, "after": after})
        if after and replaced is not None and replaced[0]:
            return None
        latest = tx.row(_latest_of, {"b_issuer": issuer_id})
        count, parts = 0, []
        for rows in tx.batches(_entries, {"b_issuer": issuer_id, "after": after}, _ENTRIES):
            count += len(rows)
            parts.append(b"".join([row[0] for row in rows]))
        return (latest[0] or 0) if latest is not None else 0, count, b"".join(parts)

    @read_transaction
    def last_crl(self, tx: Transaction, issuer_id: int) -> CRLRecord | None:
        """The one of the highest number."""
        row = tx.row(_last_crl, {"b_issuer": issuer_id})
        if row is None:
            return None
        return CRLRecord(row[0], row[1], moment(row[2]), moment(row[3]), row[4], row[5])
