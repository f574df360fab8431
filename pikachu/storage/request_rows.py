"""Rows of stored requests, and lists of them."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import ColumnElement, case, exists, func, literal_column, or_, select, text

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import AccountState, Role
from pikachu.core.model.policies import Approval
from pikachu.core.model.requests import FirstApproval, RequestRecord, RequestState
from pikachu.storage.database import Row, Transaction
from pikachu.storage.pagination import ListSource, checked, matching, one_of, owner_key, owner_name, page
from pikachu.storage.schema import accounts, policies, requests
from pikachu.storage.transactions import maybe_moment, moment

#: The roles whose accounts approve.
APPROVER_ROLES: Final = (Role.OPERATOR, Role.ADMIN)

_r: Final = requests.c
REQUEST_COLUMNS: Final = [
    _r.id,
    _r.state,
    _r.method,
    _r.csr,
    _r.subject,
    _r.key_type,
    _r.key_id,
    _r.policy,
    _r.issuer,
    _r.principal,
    _r.owner_id,
    _r.created_at,
    _r.challenge_id,
    _r.requester_key,
    _r.validity_days,
    _r.serial,
    _r.certificate_id,
    _r.process,
    _r.decided_at,
    _r.decided_by,
    _r.reason,
    _r.address,
    _r.label,
    _r.csr_id,
    _r.added_names,
    _r.details,
    _r.requester_ids,
    # As its policy was when it came, or as it is now: no change of the policy spares a request the second approval.
    case(
        (
            or_(
                _r.approvals > literal_column("1"),
                exists(
                    select(literal_column("1")).where(
                        policies.c.name == _r.policy,
                        policies.c.approval == literal_column(f"'{Approval.FOUR_EYES.value}'"),
                    )
                ),
            ),
            literal_column("2"),
        ),
        else_=literal_column("1"),
    ).label("approvals_needed"),
    _r.first_approver_id,
    _r.first_approved_by,
    # The approval of an account that may not approve any more does not count.
    case(
        (
            or_(
                _r.first_approver_id.is_(None),
                exists(
                    select(literal_column("1")).where(
                        accounts.c.id == _r.first_approver_id,
                        accounts.c.state == literal_column(f"'{AccountState.ACTIVE.value}'"),
                        accounts.c.role.in_([literal_column(f"'{role.value}'") for role in APPROVER_ROLES]),
                    )
                ),
                _r.decided_at.is_not(None),
            ),
            _r.first_approved_at,
        ),
    ).label("first_counted_at"),
]
# Free text is searched in this many of the newest requests, and in those without a certificate.
_RECENT: Final = 5000
_SEARCHED: Final = (
    _r.id,
    _r.subject,
    _r.certified_subject,
    _r.principal,
    _r.method,
    _r.key_type,
    _r.policy,
    _r.issuer,
    _r.state,
    _r.label,
    _r.decided_by,
    _r.reason,
    _r.serial,
    owner_name(_r.owner_id),
)
# Sort fields without an index, for the few requests that were decided by a person or wait for one.
_FEW_SORTS: Final = {
    "subject": _r.subject,
    "key": _r.key_type,
    "policy": _r.policy,
    "method": _r.method,
    "requested_by": _r.principal,
    "state": _r.state,
    "user": owner_key(_r.owner_id),
}
_SORTS: Final = {"id": _r.id, "created_at": _r.id, **_FEW_SORTS}
UNISSUED: Final = text("state <> 'issued'")
_personal: Final = text("(decided_by IS NOT NULL OR state = 'pending')")


def request_record(row: Row) -> RequestRecord:
    """Return the request in a row of :data:`REQUEST_COLUMNS`."""
    return RequestRecord(
        row[0],
        RequestState(row[1]),
        Method(row[2]),
        b"" if row[3] is None else bytes(row[3]),
        row[4],
        row[5],
        bytes(row[6]),
        row[7],
        row[8],
        row[9],
        row[10],
        moment(row[11]),
        row[12],
        None if row[13] is None else bytes(row[13]),
        row[14],
        None if row[15] is None else int(row[15], 16),
        row[16],
        row[17],
        maybe_moment(row[18]),
        row[19],
        row[20],
        row[21],
        row[22],
        row[23],
        b"" if row[24] is None else bytes(row[24]),
        "" if row[25] is None else json.loads(row[25]).get("identity", ""),
        frozenset() if row[26] is None else frozenset(map(int, row[26].split())),
        row[27],
        None if row[30] is None else FirstApproval(row[28], row[29], moment(row[30])),
    )


def list_requests(tx: Transaction, query: ListQuery) -> Page[RequestRecord]:
    """See :meth:`pikachu.core.interfaces.IIssuanceStore.requests`."""
    checked(query, ("state", "method", "approval"))
    conditions: list[ColumnElement[bool]] = []
    state = one_of(query, "state", list(RequestState))
    if state is not None:
        conditions.append(_r.state == state)
        if state != RequestState.ISSUED:
            conditions.append(UNISSUED)  # type: ignore[arg-type]  # the text of the partial index's condition
    method = one_of(query, "method", list(Method))
    if method is not None:
        conditions.append(_r.method == method)
    if one_of(query, "approval", ("true",)) is not None:
        conditions.append(_personal)  # type: ignore[arg-type]  # likewise
    if query.owner_id is not None:
        conditions.append(_r.owner_id == query.owner_id)
    newest = _r.id > select(func.max(requests.alias("newest").c.id) - _RECENT).scalar_subquery()
    matches = [
        *matching(tx, query, _SEARCHED, [*conditions, newest], times=(_r.created_at,)),
        *matching(tx, query, _SEARCHED, [*conditions, UNISSUED], times=(_r.created_at,)),  # type: ignore[list-item]  # likewise
    ]
    if matches:
        conditions.append(or_(*matches))
    sort = query.sort.removeprefix("-")
    if sort in _FEW_SORTS and "approval" not in query.filters and state in {None, RequestState.ISSUED}:
        # Those are as many as all certificates ever issued.
        raise MalformedRequest(f"Issued requests can't be sorted by {sort}. Choose another status.")
    return page(tx, query, ListSource(REQUEST_COLUMNS, _SORTS, request_record), conditions)
