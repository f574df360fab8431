"""Lists of identities: uploaded by administrators, seen by operators and auditors, required by policies (DEV-3)."""

from __future__ import annotations

import csv
import secrets
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import require_scope, require_staff
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.optimistic_locking import Versions, repeat, require_version
from pikachu.x509.device_names import device_key

MAX_ENTRIES: Final = 200_000
MAX_NAME: Final = 64
#: Entries per transaction, so that issuance waits for one no longer than for a signature.
_CHUNK: Final = 500
_KIND: Final = "identity list"
_HEADINGS: Final = frozenset(("identity", "serial number", "serialnumber", "serial", "name", "device", "idevid"))


def read_identities(text: str) -> list[str]:
    """Return the folded identities of a CSV: the first cell of each line; ``#`` begins a comment.

    :raises MalformedRequest: when there are none, or too many.
    """
    keys: dict[str, None] = {}
    lines = (line for line in text.removeprefix("\ufeff").replace("\0", "").splitlines() if not line.startswith("#"))
    try:
        for number, cells in enumerate(csv.reader(lines)):
            value = cells[0].strip() if cells else ""
            if value and not (number == 0 and value.casefold() in _HEADINGS):
                keys[device_key(value)] = None
                if len(keys) > MAX_ENTRIES:
                    raise MalformedRequest(
                        f"Upload at most {MAX_ENTRIES:,} identities. Divide them into several lists.",
                        field="identities",
                    )
    except csv.Error:
        raise MalformedRequest(
            "The file is not CSV. Upload a text file with one identity per line.", field="identities"
        ) from None
    if not keys:
        raise MalformedRequest("Enter at least one identity.", field="identities")
    return list(keys)


class IdentityLists:
    """Creates, replaces and deletes lists for administrators, and shows them to operators and auditors too.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.

    :param pool: reads uploaded lists.
    """

    def __init__(self, *, store: IStore, clock: IClock, pool: IWorkerPool) -> None:
        self._store = store
        self._clock = clock
        self._pool = pool

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[IdentityList]:
        """Return a page of the lists."""
        require_staff(actor)
        return await self._store.identity_lists(query)

    @uncancelled
    async def get(self, actor: Principal, list_id: int) -> IdentityList:
        """Return a list.  Fails with NotFound."""
        require_staff(actor)
        return await self._store.identity_list(list_id)

    @uncancelled
    async def has(self, actor: Principal, list_id: int, identity: str) -> bool:
        """Return whether a list has an identity.  Fails with NotFound."""
        found = await self.get(actor, list_id)
        return await self._store.is_listed(found.name, device_key(identity.strip()))

    @uncancelled
    async def create(self, actor: Principal, name: str, text: str) -> IdentityList:
        """Create a list of the identities of a CSV.  Fails with MalformedRequest, Conflict (its name is taken)."""
        require_scope(actor, Scope.ADMIN)
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise MalformedRequest(f"Enter a name of at most {MAX_NAME} printable characters.", field="name")
        return await self._put(actor, None, name, text)

    @uncancelled
    async def replace(self, actor: Principal, list_id: int, text: str, *, expected: Versions = None) -> IdentityList:
        """Replace all entries of a list by those of a CSV.  Fails with NotFound, MalformedRequest, Conflict.

        :param expected: the versions that may be replaced; otherwise fails with EditConflict.
        """
        require_scope(actor, Scope.ADMIN)
        former = await self._expected(actor, list_id, expected)
        return await self._put(actor, former, former.name, text)

    @uncancelled
    async def delete(self, actor: Principal, list_id: int, *, expected: Versions = None) -> None:
        """Delete a list; policies that require it refuse everything.  Fails with NotFound.

        :param expected: the versions that may be deleted; otherwise fails with EditConflict.
        """
        require_scope(actor, Scope.ADMIN)

        async def attempt() -> int:
            found = await self._expected(actor, list_id, expected)
            event = event_by(actor, "delete", _KIND, found.name, None, entries=found.entries)
            await self._store.delete_identity_list(found, event, self._now())
            return found.version

        await self._drop(await repeat(attempt, expected))

    async def _expected(self, actor: Principal, list_id: int, expected: Versions) -> IdentityList:
        found = await self.get(actor, list_id)
        require_version(expected, found.version, "list", found.updated_by, found.updated_at)
        return found

    async def _put(self, actor: Principal, former: IdentityList | None, name: str, text: str) -> IdentityList:
        keys = await self._pool.run(read_identities, text)
        version = secrets.randbits(62)
        now = self._now()
        new = IdentityList(0, name, len(keys), now, actor.name, version)
        event = event_by(actor, "create" if former is None else "update", _KIND, name, None, entries=len(keys))
        try:
            for start in range(0, len(keys), _CHUNK):
                await self._store.add_identities(version, keys[start : start + _CHUNK])
            list_id = await self._store.put_identity_list(former, new, event, now)
        except Exception:
            await self._drop(version)
            raise
        if former is not None:
            await self._drop(former.version)
        return await self._store.identity_list(list_id)

    async def _drop(self, version: int) -> None:
        while await self._store.delete_identities(version):
            pass

    def _now(self) -> datetime:
        return utc(self._clock.seconds())
