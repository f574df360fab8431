"""Declarations of the section ``[LDAP]`` (CFG-6)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_choices import LDAPSecurity
from pikachu.config.setting_types import (
    BOOLEAN,
    DISABLED_FILTER,
    LDAP_ATTRIBUTE,
    LDAP_HOSTS,
    PATH,
    REMOTE_PORT,
    SECRET,
    TEXT,
    USER_DN,
    USER_FILTER,
    Secret,
    choice,
    duration,
    optional,
)
from pikachu.core.model.people import Role


@dataclass(frozen=True, slots=True)
class LDAPSection(Section):
    """``[LDAP]``."""

    NAME: ClassVar[str] = "LDAP"
    ABOUT: ClassVar[str] = "Signing in with the accounts of a directory. `pikachu ldap check` tests these settings."
    UPPER: ClassVar[frozenset[str]] = frozenset(
        {"ldap_host", "ldap_port", "base_dn", "people_dn", "admin_dn", "admin_password"}
    )

    enabled: bool = _key(BOOLEAN, "false", "Whether the accounts of the directory can sign in.")
    ldap_host: tuple[str, ...] = _key(
        LDAP_HOSTS, "", "Its host, or several separated by commas, of which the first that answers is used."
    )
    ldap_port: int = _key(REMOTE_PORT, "389", "Its port: usually 389, or 636 for LDAPS.")
    base_dn: str = _key(TEXT, "", "The directory's base, such as dc=example,dc=org.")
    people_dn: str = _key(TEXT, "", "The base DN of the accounts; empty: BASE_DN.")
    admin_dn: str = _key(TEXT, "", "The DN that looks accounts up; it needs read access only.")
    admin_password: Secret | None = _key(
        optional(SECRET), "", "The password of ADMIN_DN; ${NAME} takes an environment variable."
    )
    use_tls: LDAPSecurity = _key(
        choice(
            LDAPSecurity,
            {
                "no": LDAPSecurity.FALSE,
                "off": LDAPSecurity.FALSE,
                "0": LDAPSecurity.FALSE,
                "yes": LDAPSecurity.TRUE,
                "on": LDAPSecurity.TRUE,
                "1": LDAPSecurity.TRUE,
            },
        ),
        "false",
        "false, starttls or ldaps; true means ldaps on port 636 and starttls elsewhere.",
    )
    ca_cert_path: Path | None = _key(
        optional(PATH), "", "The CA that the directory's certificate is verified with; empty: the system's."
    )
    user_filter: str = _key(
        USER_FILTER, "(uid={username})", "The filter that finds an account; {username} is replaced by the escaped name."
    )
    user_dn: str = _key(
        USER_DN,
        "",
        "The DN that every account has, such as uid={username},ou=people,dc=example,dc=org: a password is verified "
        "while the account is looked up; empty: afterwards.",
    )
    disabled_filter: str = _key(
        DISABLED_FILTER,
        "",
        "A filter that matches disabled accounts, such as (pwdAccountLockedTime=*) or, for Active Directory, "
        "(userAccountControl:1.2.840.113556.1.4.803:=2); empty: none is disabled.",
    )
    admin_group: str = _key(
        TEXT,
        "",
        "The DN of the group whose members are admins. An account has the first role of admin, operator and auditor "
        "whose group it is in, or user. Without groups, Users assigns roles.",
    )
    operator_group: str = _key(TEXT, "", "The DN of the group whose members are operators.")
    auditor_group: str = _key(TEXT, "", "The DN of the group whose members are auditors.")
    group_attribute: str = _key(
        LDAP_ATTRIBUTE,
        "memberOf",
        "The attribute with an account's groups; member, uniqueMember and memberUid are looked up in the group.",
    )
    nested_groups: bool = _key(BOOLEAN, "false", "Whether members of groups in these groups count as members.")
    recheck: int = _key(
        duration("m", minimum=60, maximum=86400),
        "15m",
        "The interval after which accounts are looked up again; one that is gone loses its sessions and tokens.",
    )
    timeout: int = _key(duration("s", maximum=60), "5s", "How long one answer of the directory may take.")

    @property
    def role_groups(self) -> tuple[tuple[str, str, Role], ...]:
        """The groups that give roles, as setting, DN and role, the role with most rights first."""
        groups = (
            ("admin_group", self.admin_group, Role.ADMIN),
            ("operator_group", self.operator_group, Role.OPERATOR),
            ("auditor_group", self.auditor_group, Role.AUDITOR),
        )
        return tuple(one for one in groups if one[1])

    @property
    def sends_plaintext(self) -> bool:
        """Whether passwords leave this machine without TLS."""
        return self.use_tls is LDAPSecurity.FALSE and not all(map(is_loopback, self.ldap_host))


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
