"""Drafts of forms that were sent after the session had ended, for the same account to complete (ROL-2)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import SecretKeyChanged
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.sign_in import Draft
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer, draft_row

#: Maximum number of drafts kept per account.
MAXIMUM_DRAFTS: Final = 5
#: Maximum size of a draft in bytes; longer ones are not kept.
MAXIMUM_SIZE: Final = 256 * 1024
_PURPOSE: Final = "draft"


class Drafts:
    """Stores the entries of forms, sealed.  Methods fail with StoreUnavailable."""

    def __init__(self, *, store: IStore, sealer: Sealer, clock: IClock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    @uncancelled
    async def keep(self, account_id: int, draft: Draft) -> int | None:
        """Store a draft for an account; return its id, or None for one that is empty or too large."""
        content = json.dumps([draft.page, draft.action, draft.fields]).encode()
        if not draft.fields or len(content) > MAXIMUM_SIZE:
            return None

        def seal(row_id: int) -> bytes:
            return self._sealer.seal(_PURPOSE, content, draft_row(row_id, account_id))

        return await self._store.add_draft(account_id, seal, self._now(), MAXIMUM_DRAFTS)

    @uncancelled
    async def restore(self, account_id: int, draft_id: int) -> Draft | None:
        """Return a draft of that account, or None when it has none of that id."""
        stored = await self._store.draft(draft_id)
        if stored is None or stored.account_id != account_id:
            return None
        try:
            content = self._sealer.open(_PURPOSE, stored.sealed, draft_row(draft_id, account_id))
        except SecretKeyChanged:
            return None
        page, action, fields = json.loads(content)
        return Draft(page, action, tuple((name, value) for name, value in fields))

    def _now(self) -> datetime:
        return utc(self._clock.seconds())
