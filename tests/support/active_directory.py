"""A directory that answers like Active Directory, as far as signing in asks for (MS-ADTS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.support.scripted_ldap import (
    BIND_REQUEST,
    ScriptedDirectory,
    bound,
    der,
    entry,
    found,
    message,
    name_and_password,
    take,
)

DOMAIN: Final = "DC=example,DC=org"
SERVICE: Final = "pikachu@example.org"
SERVICE_PASSWORD: Final = "service secret 7"
PASSWORD: Final = "correct horse 9"
ADMIN_GROUP: Final = f"CN=CA Admins,OU=Groups,{DOMAIN}"
#: What ends the answer to each search from the domain's root: references to its other partitions.
REFERENCES: Final = tuple(
    der(0x73, der(0x04, f"ldap://{name}.example.org/DC={name},{DOMAIN}".encode()))
    for name in ("ForestDnsZones", "DomainDnsZones")
)
NORMAL_ACCOUNT: Final = 0x200
DISABLED_ACCOUNT: Final = 0x202
#: Values of an attribute that one answer has at most (MaxValRange).
MAX_VALUES: Final = 1500


@dataclass
class User:
    """An account.

    :param refusal: the code in the message of a refused bind; empty: the password decides.
    :param chain: the groups that it is in through others.
    """

    name: str
    groups: list[str] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    control: int = NORMAL_ACCOUNT
    refusal: str = ""

    @property
    def dn(self) -> str:
        """Its DN, which does not contain its account name."""
        return f"CN={self.name.title()} Explorer,OU=Staff,{DOMAIN}"

    def entry(self) -> bytes:
        """Return the entry of a search."""
        attributes = {
            "sAMAccountName": [self.name.encode()],
            "mail": [f"{self.name}@example.org".encode()],
            "objectGUID": [self.name.encode().ljust(16, b"\0")],
        }
        groups = [one.encode() for one in self.groups]
        if len(groups) > MAX_VALUES:
            attributes["memberOf"] = []
            attributes[f"memberOf;range=0-{MAX_VALUES - 1}"] = groups[:MAX_VALUES]
        elif groups:
            attributes["memberOf"] = groups
        return entry(self.dn.encode(), attributes)


def refused(code: str) -> bytes:
    """Return the diagnostic message of a refused bind."""
    return f"80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data {code}, v4563\0".encode()


class ActiveDirectory(ScriptedDirectory):
    """A domain controller.

    :ivar conditions: the filter of each search, encoded.
    """

    def __init__(self, *users: User) -> None:
        self.users = users
        self.conditions: list[bytes] = []
        super().__init__()

    def answer(self, number: int, operation: bytes) -> bytes | None:
        """Answer a bind or a search."""
        if operation[0] == BIND_REQUEST:
            return self._bind(number, operation)
        return self._search(number, operation)

    def _bind(self, number: int, operation: bytes) -> bytes:
        name, password = (part.decode() for part in name_and_password(operation))
        if (name, password) == (SERVICE, SERVICE_PASSWORD):
            return bound()(number) or b""
        user = next((one for one in self.users if one.dn == name), None)
        code = "525" if user is None else user.refusal or ("" if password == PASSWORD else "52e")
        if not code:
            return bound()(number) or b""
        return message(number, der(0x61, der(0x0A, b"\x31"), der(0x04), der(0x04, refused(code))))

    def _search(self, number: int, operation: bytes) -> bytes:
        contents, _ = take(operation)
        base, rest = take(contents)
        for _ in range(5):
            # scope, derefAliases, sizeLimit, timeLimit, typesOnly
            _, rest = take(rest)
        condition = rest[: len(rest) - len(take(rest)[1])]
        self.conditions.append(condition)
        dn = base.decode()
        if dn == DOMAIN:
            if b"objectClass" in condition:
                return found(entry(base, {}))(number) or b""
            matching = [one.entry() for one in self.users if one.name.encode() in condition]
            return found(*matching, *REFERENCES)(number) or b""
        user = next(one for one in self.users if one.dn == dn)
        return found(*([entry(base, {})] if _matches(user, condition) else []))(number) or b""


def _matches(user: User, condition: bytes) -> bool:
    """Return whether an account matches a condition on its groups or its control bits."""
    if b"1.2.840.113556.1.4.803" in condition:
        return bool(user.control & 2)
    groups = user.groups
    if b"1.2.840.113556.1.4.1941" in condition:
        groups = [*groups, *user.chain]
    return any(one.encode() in condition for one in groups)


@contextmanager
def active_directory(*users: User) -> Iterator[ActiveDirectory]:
    """Run one."""
    directory = ActiveDirectory(*users)
    try:
        yield directory
    finally:
        directory.close()
