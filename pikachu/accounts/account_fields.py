"""The fields of accounts: their permitted values, and the version that they form."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from pikachu.core.errors import Conflict, MalformedRequest
from pikachu.core.model.people import Account, AccountSource

#: Maximum length of an e-mail address in characters (RFC 5321 section 4.5.3.1.3).
MAXIMUM_EMAIL: Final = 254
REGISTERED_NAME: Final = re.compile("[A-Za-z0-9_]{6,20}")
# What HTML calls a valid e-mail address: a browser and this server agree.
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*")


def checked_email(email: str, field: str = "email") -> str:
    """Return the address without spaces around it.

    :raises MalformedRequest: when a browser would refuse it too.
    """
    email = email.strip()
    if len(email) > MAXIMUM_EMAIL or not _EMAIL.fullmatch(email):
        raise MalformedRequest("the e-mail address is not valid; write it like name@example.com", field=field)
    return email


def checked_name(name: str, what: str, maximum: int) -> str:
    """Return a name without spaces around it.

    :raises MalformedRequest: when it is empty, too long or not printable.
    """
    name = name.strip()
    if not 1 <= len(name) <= maximum or not name.isprintable():
        raise MalformedRequest(f"{what} is 1 to {maximum} printable characters", field="name")
    return name


def check_local(account: Account, what: str = "password") -> None:
    """Require that *what* of the account is stored here.

    :raises Conflict: when it is stored in the directory.
    """
    if account.source is not AccountSource.LOCAL:
        raise Conflict(f"the {what} of this account is kept in the directory; change it there")


def version_of(account: Account) -> int:
    """Return a number that changes whenever an administrator changes the account."""
    values = f"{account.email}\n{account.role}\n{account.state}".encode()
    return int.from_bytes(hashlib.sha256(values).digest()[:7])
