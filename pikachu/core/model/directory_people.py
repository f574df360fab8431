"""Accounts of the directory as values, without ldap3: a server that uses no directory does not load that."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final, TypeAlias

from pikachu.core.model.people import Role

#: Maximum length of an account's name.
MAXIMUM_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Person:
    """An account of the directory.

    :param username: its name there, which may differ from the one that was looked up.
    :param directory_id: the entry's unique id, or ``None`` if the directory has none.
    :param email: an empty text if the directory has none that is usable.
    :param role: ``None`` if the directory does not decide about roles.
    :param is_disabled: matches ``disabled_filter``.
    """

    username: str
    dn: str
    directory_id: str | None
    email: str
    role: Role | None
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Absent:
    """No account, or no usable one.

    :param reason: for the audit log.
    :param is_certain: the directory has no account of that name; else it may have one that can't be read.
    """

    reason: str
    is_certain: bool = True


Finding: TypeAlias = Person | Absent


def normalised_name(text: str) -> str | None:
    """Return *text* as the name of an account: 1 to 64 letters and digits of any script and ``. _ @ -``, else None."""
    if len(text) > MAXIMUM_NAME:
        return None
    name = unicodedata.normalize("NFC", text)
    usable = all(one.isalnum() or one in "._@-" or unicodedata.category(one) in ("Mn", "Mc") for one in name)
    return name if 0 < len(name) <= MAXIMUM_NAME and usable else None
