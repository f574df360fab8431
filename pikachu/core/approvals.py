"""Approvers of requests that wait (ROL-1)."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.core.errors import Conflict, NotAuthorized
from pikachu.core.model.people import Principal
from pikachu.core.model.requests import FirstApproval, RequestRecord


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who approves a request.

    :param account_id: ``None``: somebody at the server's own console, who counts as one person whoever it is.
    :param allows_own: whether people may approve their own requests (``[RA] self_approval``).
    """

    name: str
    account_id: int | None
    allows_own: bool

    @classmethod
    def of(cls, principal: Principal, *, allows_own: bool) -> Approver:
        """Return *principal* as an approver."""
        return cls(principal.name, principal.owner_id, allows_own)


def first_of_two(approver: Approver, request: RequestRecord) -> FirstApproval | None:
    """Return the approval that counts beside that of *approver*, or None if theirs is the first one or suffices.

    :raises NotAuthorized: when the request is their own.
    :raises Conflict: when the first approval is theirs.
    """
    if approver.account_id is not None and _is_own(approver.account_id, request) and not approver.allows_own:
        raise NotAuthorized(
            "This is your own request. Have another operator or administrator approve it, or set [RA] self_approval = "
            "true."
        )
    first = request.first_approval
    if request.approvals_needed < 2 or first is None:
        return None
    if first.account_id is not None and _is_own(first.account_id, request) and not approver.allows_own:
        # It was given while the setting allowed that.
        return None
    if first.account_id == approver.account_id:
        raise Conflict(
            "The first approval was given at the console. Have an operator or administrator give the second one."
            if approver.account_id is None
            else "You have approved this request. Another operator or administrator must approve it too."
        )
    return first


def _is_own(account_id: int, request: RequestRecord) -> bool:
    return account_id == request.owner_id or account_id in request.requester_ids
