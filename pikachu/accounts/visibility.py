"""Access to accounts: one's own, or any for administrators; other accounts give the error of a missing one."""

from __future__ import annotations

from pikachu.auth.permissions import is_admin
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IStore
from pikachu.core.model.people import Account, Principal


def require_visible_account(actor: Principal, account_id: int) -> None:
    """Require that *actor* may see an account.

    :raises NotFound: when they may not.
    """
    if account_id != actor.owner_id and not is_admin(actor):
        raise NotFound("there is no such account")


async def get_visible_account(actor: Principal, store: IStore, account_id: int) -> Account:
    """Return an account that *actor* may see.  Fails with NotFound."""
    require_visible_account(actor, account_id)
    return await store.account(account_id)
