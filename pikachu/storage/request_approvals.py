"""Approvals of requests that wait, and the accounts that made these requests (ROL-1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, select, update

from pikachu.core.approvals import Approver, first_of_two
from pikachu.core.errors import NotAuthorized
from pikachu.core.model.events import Event
from pikachu.core.model.requests import FirstApproval, NewRequest, RequestRecord
from pikachu.core.owners import require_active
from pikachu.storage.accounts import find_account
from pikachu.storage.audit import write_event
from pikachu.storage.batch_schema import batches
from pikachu.storage.database import Transaction
from pikachu.storage.request_rows import APPROVER_ROLES
from pikachu.storage.schema import challenges, requests
from pikachu.storage.transactions import storable

_creator: Final = (
    select(func.coalesce(challenges.c.created_by_id, batches.c.created_by_id))
    .select_from(challenges.outerjoin(batches, batches.c.id == challenges.c.batch_id))
    .where(challenges.c.id == bindparam("b_id"))
)
_record_first: Final = (
    update(requests)
    .where(requests.c.id == bindparam("b_id"))
    .values(
        first_approver_id=bindparam("v_account"),
        first_approved_by=bindparam("v_name"),
        first_approved_at=bindparam("v_at"),
    )
)


def waiting_values(tx: Transaction, request: NewRequest) -> dict[str, object]:
    """Return the columns of a request that waits: how many must approve it, and who made it."""
    accounts = set(request.actor_ids)
    if request.challenge_id is not None:
        row = tx.row(_creator, {"b_id": request.challenge_id})
        if row is not None and row[0] is not None:
            accounts.add(row[0])
    return {"approvals": request.approvals, "requester_ids": " ".join(map(str, sorted(accounts))) or None}


def find_first_of_two(tx: Transaction, approver: Approver, request: RequestRecord) -> FirstApproval | None:
    """Return the approval that counts beside that of *approver*, or None if theirs is the first one or suffices.

    :raises NotAuthorized: when they may not approve, or not this request.
    :raises InactiveOwner: when their account may not act.
    :raises Conflict: when the first approval is theirs.
    """
    if approver.account_id is not None:
        account = find_account(tx, approver.account_id)
        require_active(account)
        if account.role not in APPROVER_ROLES:
            raise NotAuthorized("Your role can't approve requests any more.")
    return first_of_two(approver, request)


def record_first(tx: Transaction, request_id: int, approver: Approver, event: Event, now: datetime) -> None:
    """Store the first of two approvals; it replaces one that does not count any more."""
    tx.write(
        _record_first,
        {
            "b_id": request_id,
            "v_account": approver.account_id,
            "v_name": storable(approver.name),
            "v_at": int(now.timestamp()),
        },
    )
    write_event(tx, _with_details(event, approvals="1 of 2"), now)


def second_approval(event: Event, first: FirstApproval | None) -> Event:
    """Return the event of an approval after that of *first*; of an only one without."""
    return event if first is None else _with_details(event, approvals="2 of 2", first_approved_by=first.name)


def _with_details(event: Event, **details: object) -> Event:
    return replace(event, details={**event.details, **details})
