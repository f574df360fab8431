"""Choices of an account for its pages, and the state of setting up the CA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

#: Maximum number of saved filters of one account.
MAX_SAVED_FILTERS = 100
MAX_FILTER_NAME = 60
MAX_FILTER_QUERY = 1000


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A named query of a list.

    :param list_name: the name of the list.
    :param query: the filters and the order in the form of a query string; empty for the whole list.
    """

    id: int
    account_id: int
    list_name: str
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Preferences:
    """The choices of an account.

    :param values: by name, such as ``columns:certificates`` or ``times``.
    :param filters: the saved filters of all lists, by name.
    """

    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    filters: tuple[SavedFilter, ...] = ()

    @property
    def local_times(self) -> bool:
        """Return whether times are shown in the browser's time zone in place of UTC."""
        return self.values.get("times") == "local"

    @property
    def shortcuts(self) -> bool:
        """Return whether single keys are shortcuts."""
        return self.values.get("shortcuts") != "off"

    def columns(self, list_name: str) -> frozenset[str]:
        """Return the columns of a list whose display differs from its default."""
        return frozenset(filter(None, self.values.get(f"columns:{list_name}", "").split(",")))

    def filters_of(self, list_name: str) -> tuple[SavedFilter, ...]:
        """Return the saved filters of a list."""
        return tuple(one for one in self.filters if one.list_name == list_name)


#: The marks of the last backup that was made, and of the first that has failed since; others have the names of steps.
LAST_BACKUP = "last backup"
FAILED_BACKUP = "failed backup"


@dataclass(frozen=True, slots=True)
class SetupMark:
    """The confirmation of a step of the set-up, or its dismissal, by an administrator."""

    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class BackupState:
    """When and by whom the last backup was made, and when the first one failed since; ``None`` without one."""

    last: SetupMark | None
    failed: SetupMark | None


@dataclass(frozen=True, slots=True)
class SetupState:
    """Facts of the database about the set-up.

    :param marks: the confirmed steps, by name.
    :param password_changed: whether an administrator has changed a password.
    :param has_policy: whether there is a policy besides the default one.
    :param has_certificate: whether a certificate was issued that is not the CA's own.
    """

    marks: Mapping[str, SetupMark]
    password_changed: bool
    has_policy: bool
    has_certificate: bool
