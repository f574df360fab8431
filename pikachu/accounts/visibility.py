"""Access to accounts: one's own, or any for administrators and auditors; others give the error of a missing one."""

from __future__ import annotations

from pikachu.auth.permissions import can_change, can_view
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IStore
from pikachu.core.model.people import Account, Principal


def require_visible_account(actor: Principal, account_id: int) -> None:
    """Require that *actor* may see an account.

    :raises NotFound: when they may not.
    """
    if not can_view(actor, account_id):
        raise NotFound("there is no such account")


async def get_visible_account(actor: Principal, store: IStore, account_id: int) -> Account:
    """Return an account that *actor* may see.  Fails with NotFound."""
    require_visible_account(actor, account_id)
    return await store.account(account_id)


async def get_own_account(actor: Principal, store: IStore, account_id: int) -> Account:
    """Return an account that *actor* may act for: the actor's, or any for administrators.  Fails with NotFound."""
    if not can_change(actor, account_id):
        raise NotFound("there is no such account")
    return await store.account(account_id)
