"""``/identity-lists``: the devices that may enroll under a policy (DEV-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.people import Scope
from pikachu.inventory.identity_lists import IdentityLists
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes, created, listed, tagged


@dataclass(frozen=True, slots=True)
class NewIdentityList:
    """A list to create: ``identities`` is CSV, with a serial number or name in the first cell of each line."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "pumps 2026", "identities": "1234567\npump-001.example.com\n"}

    name: str
    identities: str


@dataclass(frozen=True, slots=True)
class Identities:
    """The identities that replace those of a list, as in ``NewIdentityList``."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"identities": "1234567\n"}

    identities: str


@dataclass(frozen=True, slots=True)
class IdentityListDocument:
    """A list of identities, and their number."""

    id: int
    name: str
    entries: int
    updated_at: datetime
    updated_by: str


class IdentityListsAPI(Routes):
    """Lists of identities."""

    def __init__(self, *, identity_lists: IdentityLists) -> None:
        self._lists = identity_lists

    @Operation(
        "POST",
        "/identity-lists",
        scope=Scope.ADMIN,
        summary="Create a list of identities, which a policy can require",
        body=NewIdentityList,
        answer=IdentityListDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Create a list; 409 if its name is taken."""
        body = call.take(NewIdentityList)
        made = await self._lists.create(call.principal, body.name, body.identities)
        return created(f"/identity-lists/{made.id}", _document(made), version=made.version)

    @Operation(
        "GET",
        "/identity-lists",
        scope=Access.STAFF,
        summary="Lists of identities",
        answer=IdentityListDocument,
        listed=True,
        sorts=("id", "name", "entries", "updated_at", "updated_by"),
    )
    async def list(self, call: Call) -> Answer:
        """List the lists."""
        return listed(await self._lists.list(call.principal, call.list_query()), _document)

    @Operation(
        "GET",
        "/identity-lists/<id>",
        scope=Access.STAFF,
        summary="One list of identities",
        answer=IdentityListDocument,
        tagged=True,
    )
    async def get(self, call: Call) -> Answer:
        """Return a list."""
        found = await self._lists.get(call.principal, call.id)
        return tagged(_document(found), found.version)

    @Operation(
        "PUT",
        "/identity-lists/<id>",
        scope=Scope.ADMIN,
        summary="Replace the identities of a list",
        body=Identities,
        answer=IdentityListDocument,
        tagged=True,
    )
    async def replace(self, call: Call) -> Answer:
        """Replace all identities."""
        text = call.take(Identities).identities
        changed = await self._lists.replace(call.principal, call.id, text, expected=call.expected)
        return Answer(200, _document(changed))

    @Operation(
        "DELETE",
        "/identity-lists/<id>",
        scope=Scope.ADMIN,
        summary="Delete a list; policies that require it refuse every device",
        statuses=(204,),
        tagged=True,
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a list."""
        await self._lists.delete(call.principal, call.id, expected=call.expected)
        return NO_CONTENT


def _document(found: IdentityList) -> IdentityListDocument:
    return IdentityListDocument(found.id, found.name, found.entries, found.updated_at, found.updated_by)
