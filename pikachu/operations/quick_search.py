"""Search over everything that an account may see, for the palette: a few hits of each kind, from bounded reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.accounts.accounts import Accounts
from pikachu.auth.permissions import reads_all
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.help.search import GuideSearch
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.devices import Devices

#: Maximum number of hits of one kind.
MAX_HITS: Final = 6
MAX_TEXT: Final = 100
# One letter begins too many names to lead to any.
_MIN_TEXT: Final = 2


@dataclass(frozen=True, slots=True)
class FoundObject:
    """A hit: an object with its page.

    :param detail: what tells it from others of that name.
    """

    name: str
    detail: str
    path: str


@dataclass(frozen=True, slots=True)
class FoundGroup:
    """The hits of one kind.

    :param more: the address of the list with all hits, or empty.
    """

    name: str
    hits: tuple[FoundObject, ...]
    more: str = ""


class QuickSearch:
    """Finds certificates, devices, users and sections of the guide."""

    def __init__(
        self, *, inventory: CertificateQueries, devices: Devices, accounts: Accounts, guide_search: GuideSearch
    ) -> None:
        self._inventory = inventory
        self._devices = devices
        self._accounts = accounts
        self._guide_search = guide_search

    async def find(self, actor: Principal, text: str) -> list[FoundGroup]:
        """Return the hits that *actor* may see, by kind; kinds without a hit are left out."""
        text = " ".join(text[:MAX_TEXT].split())
        if len(text) < _MIN_TEXT:
            return []
        query = ListQuery(limit=MAX_HITS, q=text)
        groups = [
            FoundGroup("Devices", await self._found_devices(actor, query), "/devices"),
            FoundGroup("Certificates", await self._certificates(actor, query), "/certificates"),
        ]
        if reads_all(actor):
            groups.append(FoundGroup("Users", await self._users(actor, query), "/users"))
        groups.append(FoundGroup("Guide", await self._sections(text)))
        return [group for group in groups if group.hits]

    async def _certificates(self, actor: Principal, query: ListQuery) -> tuple[FoundObject, ...]:
        page = await self._inventory.certificates(actor, query)
        return tuple(
            FoundObject(
                record.common_name or record.subject or f"Certificate {record.id}",
                f"{record.serial:x}, expires {record.not_after:%Y-%m-%d}",
                f"/certificates/{record.id}",
            )
            for record in page.items
        )

    async def _found_devices(self, actor: Principal, query: ListQuery) -> tuple[FoundObject, ...]:
        page = await self._devices.list(actor, query)
        return tuple(FoundObject(one.name, one.method.value, f"/devices/{one.id}") for one in page.items)

    async def _users(self, actor: Principal, query: ListQuery) -> tuple[FoundObject, ...]:
        page = await self._accounts.list_accounts(actor, query)
        return tuple(FoundObject(one.display_name, one.email, f"/users/{one.id}") for one in page.items)

    async def _sections(self, text: str) -> tuple[FoundObject, ...]:
        sections = [hit.section for hit in await self._guide_search.search(text, MAX_HITS)]
        return tuple(
            FoundObject(one.heading, one.title if one.heading != one.title else "", one.path) for one in sections
        )
