"""Accounts for tests that name owners by number."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pikachu.core.errors import NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, NewAccount, Role

_ALL = ListQuery(limit=1000)


def add_owner(store: Any, get: Callable[[Any], Any], owner_id: int | None, now: datetime) -> None:
    """Add active accounts until one has the id *owner_id*; nothing where it is there, or is ``None``.

    :param get: waits for a Deferred.
    """
    if owner_id is None:
        return
    try:
        get(store.account(owner_id))
        return
    except NotFound:
        pass
    made = 0
    while made < owner_id:
        name = f"owner-{len(get(store.accounts(_ALL)).items) + 1}"
        event = Event("add", "user", name, "test", about_account=True)
        account = get(
            store.add_account(NewAccount(name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, None), event, now)
        )
        made = account.id
