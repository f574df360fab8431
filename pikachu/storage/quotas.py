"""Quotas: the maximum number of objects per account and kind, enforced in the transaction that adds one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlalchemy import bindparam, func, select

from pikachu.core.errors import QuotaExceeded
from pikachu.core.model.account_objects import Quotas
from pikachu.core.model.people import Role
from pikachu.storage.database import Transaction
from pikachu.storage.schema import accounts, challenges, csrs, keys, policies, templates, tokens
from pikachu.storage.transactions import row_id

#: Field of ``Quotas`` → the name of the objects in messages.
_NAMES: Final = MappingProxyType(
    {
        "keys": "keys",
        "csrs": "CSRs",
        "templates": "certificate templates",
        "tokens": "API tokens",
        "challenge_passwords": "unused challenge passwords",
        "policies": "enrollment policies",
    }
)


_counts: Final = MappingProxyType(
    {
        "keys": select(func.count()).where(keys.c.owner_id == bindparam("b_owner")),
        "csrs": select(func.count()).where(csrs.c.owner_id == bindparam("b_owner")),
        "templates": select(func.count()).where(templates.c.owner_id == bindparam("b_owner")),
        "tokens": select(func.count()).where(tokens.c.account_id == bindparam("b_owner")),
        # Used challenge passwords are kept as history only.
        "challenge_passwords": select(func.count()).where(
            challenges.c.owner_id == bindparam("b_owner"), challenges.c.consumed_at.is_(None)
        ),
        "policies": select(func.count()).where(policies.c.owner_id == bindparam("b_owner")),
    }
)
_role: Final = select(accounts.c.role).where(accounts.c.id == bindparam("b_id"))


def require_quota(tx: Transaction, quotas: Quotas, kind: str, owner_id: int | None, more: int = 1) -> None:
    """Require that an account may own *more* objects.

    Objects without an owner and those of administrators are not counted.

    :param kind: the field of *quotas*.
    :raises QuotaExceeded: when the account has reached its limit.
    """
    limit: int = getattr(quotas, kind)
    if owner_id is None or not limit:
        return
    role = tx.row(_role, {"b_id": row_id(owner_id)})
    if role is not None and role[0] == Role.ADMIN:
        return
    count = tx.row(_counts[kind], {"b_owner": row_id(owner_id)}) or (0,)
    if count[0] + more > limit:
        advice = f"Delete some that are not needed any more, or ask an administrator to raise [LIMITS] {kind}."
        if more > 1:
            present = f"{count[0]:,} of at most {limit:,} {_NAMES[kind]}"
            raise QuotaExceeded(f"This account has {present}, and this needs {more:,} more. {advice}")
        raise QuotaExceeded(f"This account has reached its limit of {limit:,} {_NAMES[kind]}. {advice}")
