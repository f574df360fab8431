"""The rule about owners: objects of an account that is not active neither authenticate nor enroll.

Every authentication method applies it (passwords, tokens, sessions, challenge passwords, client certificates, signers
of SCEP messages), and the store applies it again in the transaction that writes the result.
"""

from __future__ import annotations

from pikachu.core.errors import Conflict, InactiveOwner
from pikachu.core.model.people import Account, AccountState


def may_act(account: Account | None) -> bool:
    """Return whether *account* may sign in, enroll, or authorize what it owns; ``None`` is a missing account."""
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


def require_usable(account: Account, kind: str) -> None:
    """Require that *account* may act, before a user assigns it an object.

    :param kind: the kind of object, for the error message.
    :raises Conflict: when it is pending, suspended or deleted.
    """
    if not may_act(account):
        raise Conflict(f"the account is {account.state}; only an active one has {kind}")
