"""The choices of an account for its pages: saved filters, columns of lists, and how times are shown (UI-2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, urlencode

from pikachu.auth.permissions import require_scope
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import IClock
from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.preferences import MAX_FILTER_NAME, MAX_FILTER_QUERY, Preferences, SavedFilter
from pikachu.core.model.times import utc
from pikachu.core.preference_interfaces import IPreferenceStore

#: The choices with their values, the default first.
CHOICES: Final = MappingProxyType({"times": ("utc", "local"), "shortcuts": ("on", "off")})
_LIST: Final = re.compile("[a-z0-9-]{1,40}")
_COLUMN: Final = re.compile("[a-z0-9_]{1,40}")
_MAX_COLUMNS: Final = 40
# Parts of a list's address that are about one page of it.
_OF_A_PAGE: Final = frozenset({"cursor", "at", "format"})


class AccountPreferences:
    """Reads and changes one's own choices; each change is an audit event."""

    def __init__(self, *, store: IPreferenceStore, clock: IClock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, actor: Principal) -> Preferences:
        """Return the choices of the actor's account."""
        return await self._store.preferences(_account(actor))

    @uncancelled
    async def choose_columns(self, actor: Principal, list_name: str, changed: Iterable[str]) -> None:
        """Set the columns of a list whose display differs from its default; none restores the default.

        :raises MalformedRequest: for invalid names.
        """
        columns = sorted(set(changed))
        if len(columns) > _MAX_COLUMNS or not all(_COLUMN.fullmatch(one) for one in columns):
            raise MalformedRequest("Choose columns of the list.")
        event = _event(actor, "update", _checked_list(list_name), columns=columns)
        await self._store.set_preference(
            _account(actor), f"columns:{list_name}", ",".join(columns), event, utc(self._clock.seconds())
        )

    @uncancelled
    async def choose(self, actor: Principal, name: str, value: str) -> None:
        """Make one of the choices in :data:`CHOICES`.

        :raises MalformedRequest: for another value.
        """
        default, *others = CHOICES[name]
        if value != default and value not in others:
            raise MalformedRequest(f"Choose {' or '.join(CHOICES[name])}.")
        event = _event(actor, "update", name, value=value)
        stored = "" if value == default else value
        await self._store.set_preference(_account(actor), name, stored, event, utc(self._clock.seconds()))

    @uncancelled
    async def save_filter(self, actor: Principal, list_name: str, name: str, query: str) -> SavedFilter:
        """Save the query string of a list under a name; it replaces the one of that name.

        :raises MalformedRequest: for an invalid name or query.
        :raises Conflict: when the account has too many.
        """
        saved = SavedFilter(0, _account(actor), _checked_list(list_name), _checked_name(name), _checked_query(query))
        return await self._store.save_filter(saved, _filter_event(actor, "create", saved), utc(self._clock.seconds()))

    @uncancelled
    async def rename_filter(self, actor: Principal, list_name: str, filter_id: int, name: str) -> None:
        """Rename a saved filter.

        :raises MalformedRequest: for an invalid name.
        :raises Conflict: when another one of the list has it.
        :raises NotFound: when the account has no such filter.
        """
        name = _checked_name(name)

        def decide(saved: SavedFilter) -> Event:
            _require_own(actor, saved, list_name)
            return _filter_event(actor, "update", saved, new_name=name)

        await self._store.rename_filter(filter_id, name, decide, utc(self._clock.seconds()))

    @uncancelled
    async def delete_filter(self, actor: Principal, list_name: str, filter_id: int) -> None:
        """Delete a saved filter.

        :raises NotFound: when the account has no such filter.
        """

        def decide(saved: SavedFilter) -> Event:
            _require_own(actor, saved, list_name)
            return _filter_event(actor, "delete", saved)

        await self._store.delete_filter(filter_id, decide, utc(self._clock.seconds()))


def _account(actor: Principal) -> int:
    require_scope(actor, Scope.READ)
    # No account has the id 0, and the program itself has no choices.
    return actor.owner_id or 0


def _require_own(actor: Principal, saved: SavedFilter, list_name: str) -> None:
    if saved.account_id != _account(actor) or saved.list_name != list_name:
        raise NotFound("there is no such saved filter")


def _checked_list(name: str) -> str:
    if not _LIST.fullmatch(name):
        raise NotFound("there is no such list")
    return name


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_FILTER_NAME or not name.isprintable():
        raise MalformedRequest(f"Enter a name of 1 to {MAX_FILTER_NAME} printable characters.", field="name")
    return name


def _checked_query(query: str) -> str:
    try:
        pairs = parse_qsl(query, errors="strict", max_num_fields=64)
    except ValueError:
        raise MalformedRequest("The filter can't be read. Filter the list again, then save it.") from None
    query = urlencode([(name, value) for name, value in pairs if name not in _OF_A_PAGE])
    if len(query) > MAX_FILTER_QUERY:
        raise MalformedRequest("The filter is too long to be saved. Use fewer words.")
    return query


def _event(actor: Principal, type_: str, name: str, **details: object) -> Event:
    return event_by(actor, type_, "preferences", name, actor.owner_id, **details)


def _filter_event(actor: Principal, type_: str, saved: SavedFilter, **details: object) -> Event:
    details |= {"filter": saved.name, "query": saved.query}
    return _event(actor, type_, saved.list_name, **details)
