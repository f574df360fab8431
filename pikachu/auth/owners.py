"""The one rule about owners: an account that is not active owns nothing that authenticates or enrolls.

Every way in asks here: passwords, tokens, sessions, challenge passwords, client certificates and the signers of SCEP
messages when they are presented, and the store again in the transaction that writes what they have led to.
"""

from __future__ import annotations

from pikachu.core.errors import Conflict, InactiveOwner
from pikachu.core.model.people import Account, AccountState


def may_act(account: Account | None) -> bool:
    """Return whether *account* may sign in, enroll, or vouch for what it owns; ``None`` stands for a missing one."""
    return account is not None and account.state is AccountState.ACTIVE


def require_active(account: Account | None) -> None:
    """Require that *account* may act.

    :raises InactiveOwner: when it is pending, suspended or deleted, or when there is none.
    """
    if not may_act(account):
        raise InactiveOwner(
            "The account that this belongs to is not active. Ask an administrator to activate it.",
            state="missing" if account is None else account.state.value,
            account=None if account is None else account.id,
        )


def require_usable(account: Account, what: str) -> None:
    """Require that *account* may act, of a person who wants to give it *what*.

    :raises Conflict: when it is pending, suspended or deleted.
    """
    if not may_act(account):
        raise Conflict(f"the account is {account.state}; only an active one has {what}")
