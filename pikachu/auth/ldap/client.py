"""Questions to the directory, answered by the first of its servers that works.  Everything here blocks."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.search import parse_filter
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

from pikachu.auth.ldap.abort import Abort
from pikachu.auth.ldap.connection import (
    AnswerTooLarge,
    DirectoryConnection,
    Entry,
    TLSContexts,
    UnreadableEntry,
)
from pikachu.auth.ldap.connection_pool import ConnectionPool, Purpose, Session
from pikachu.config.ldap_section import LDAPSection
from pikachu.core.errors import ConfigError, DirectoryUnavailable
from pikachu.core.model.directory_people import MAXIMUM_NAME, Absent, Finding, Person, normalised_name
from pikachu.core.model.people import Role

T = TypeVar("T")

# Attributes with an id that no other entry ever has: RFC 4530, Active Directory.
_AD_ID: Final = "objectGUID"
_UNIQUE_IDS: Final = ("entryUUID", _AD_ID)
#: LDAP_MATCHING_RULE_IN_CHAIN: matches members of members.
_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
_MAIL: Final = "mail"
#: Attributes of groups that name their members, and whether by their DN.
_MEMBER_ATTRIBUTES: Final = {"member": True, "uniquemember": True, "memberuid": False}
_MAXIMUM_GROUPS: Final = 200
_MAXIMUM_MAIL: Final = 254
_EMAIL: Final = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_NAMED: Final = re.compile(r"\(([A-Za-z][A-Za-z0-9.-]*)(?::[^=()]*:)?=\{username\}\)")
_NO_ATTRIBUTES: Final = ("1.1",)


class LDAPClient:
    """Looks up accounts and verifies their passwords.

    :raises ConfigError: for a filter or DN that is malformed, and for a CA file that can't be read.
    """

    def __init__(self, settings: LDAPSection) -> None:
        self._settings = settings
        self._contexts = TLSContexts(settings.ca_cert_path)
        named = _NAMED.search(settings.user_filter)
        self._name_attribute = named[1] if named else ""
        # The server that has answered last; threads may overwrite each other's, which costs a connection at most.
        self._preferred = 0
        self._pool = ConnectionPool(self._connect)
        self._check()

    def _check(self) -> None:
        """Refuse settings that no directory could answer."""
        settings = self._settings
        for key, text in (("user_filter", settings.user_filter), ("disabled_filter", settings.disabled_filter)):
            try:
                if text:
                    parse_filter(text.replace("{username}", "x"), None, True, False, None, False)
            except (LDAPExceptionError, ValueError, IndexError):
                raise ConfigError(f"[LDAP] {key}: {text!r} is not an LDAP filter (RFC 4515); check it") from None
        for key, text in (
            ("BASE_DN", settings.base_dn),
            ("PEOPLE_DN", settings.people_dn),
            *((key, dn) for key, dn, _ in settings.role_groups),
            ("user_dn", settings.user_dn.replace("{username}", "x")),
        ):
            try:
                if text:
                    parse_dn(text, strip=True)
            except (LDAPExceptionError, ValueError, IndexError):
                raise ConfigError(
                    f"[LDAP] {key}: {text!r} is not a DN (RFC 4514); write it like ou=people,dc=example,dc=org"
                ) from None
        if settings.use_tls != "false":
            try:
                self._contexts()
            except OSError as error:
                raise ConfigError(
                    f"[LDAP] ca_cert_path: {settings.ca_cert_path} can't be used: {error.strerror or error}; name a "
                    "PEM file with the CA that issued the directory's certificate"
                ) from None

    # --- questions ----------------------------------------------------------------------

    def authenticate(self, username: str, password: str, abort: Abort) -> Finding:
        """Return the account of that name if *password* is right.

        Wrong names and wrong passwords take the same steps: a search and a bind.

        :raises DirectoryUnavailable: when no server answers.
        """
        guess = self._guessed_dn(username) if password else ""

        def ask(session: Session) -> Finding:
            search, person = session.search, session.verification
            if guess:
                # Both questions are under way at the same time.
                person.begin_bind(guess, password)
            entry = self._find(search, username)
            refusal = person.finish_bind() if guess else None
            if isinstance(entry, Absent):
                if not guess:
                    nobody = f"cn={secrets.token_hex(8)},{self._settings.people_dn}"
                    person.bind(nobody, secrets.token_bytes(16).hex())
                return entry
            if not guess or comparable_dn(guess) != comparable_dn(entry.dn):
                refusal = person.bind(entry.dn, password)
            if refusal is not None:
                return Absent(refusal, is_certain=False)
            return self._describe(search, entry)

        return self._ask(ask, abort)

    def _guessed_dn(self, username: str) -> str:
        """Return the DN that *username* has by ``user_dn``; empty where that says nothing.

        Only a name that needs no escaping in a DN has one.
        """
        name = normalised_name(username)
        return self._settings.user_dn.replace("{username}", name) if name else ""

    def find(self, usernames: Sequence[str], abort: Abort) -> list[Finding]:
        """Return the accounts of these names, in order, over one connection.

        :raises DirectoryUnavailable: when no server answers, or when the base of the accounts does not exist.
        """

        def ask(session: Session) -> list[Finding]:
            connection = session.search
            # A base that has vanished, or that can't be read any more, is no proof that its accounts have.
            self._require_base(connection)
            findings: list[Finding] = []
            for name in usernames:
                entry = self._find(connection, name)
                findings.append(entry if isinstance(entry, Absent) else self._describe(connection, entry))
            return findings

        return self._ask(ask, abort)

    def probe(self, abort: Abort) -> str | None:
        """Return None if the first server works, or a message if another one does.

        Idle connections are not used: they say nothing about new ones.

        :raises DirectoryUnavailable: when none does.
        """
        # Only its answer makes the first server the preferred one again: others ask meanwhile.
        position, _ = self._first_that_works(0, lambda host: self.check_server(host, abort), abort)
        return None if position == 0 else "The first server of the directory does not work; another one is used."

    def check_server(self, host: str, abort: Abort) -> None:
        """Require that the server *host* works.

        :raises DirectoryUnavailable: when it does not.
        """
        connection = self._connect(host, Purpose.SEARCH, abort)
        try:
            self._require_base(connection)
        finally:
            connection.close()

    def missing_groups(self, abort: Abort) -> list[str]:
        """Return the settings with the group of a role that does not exist.

        :raises DirectoryUnavailable: when no server answers.
        """

        def ask(session: Session) -> list[str]:
            return [
                key
                for key, dn, _ in self._settings.role_groups
                if not session.search.search(dn, "(objectClass=*)", _NO_ATTRIBUTES, limit=1, subtree=False)
            ]

        return self._ask(ask, abort)

    # --- servers --------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def _ask(self, ask: Callable[[Session], T], abort: Abort) -> T:
        return self._first_that_works(self._preferred, lambda host: self._pool.ask(host, ask, abort), abort)[1]

    def _first_that_works(self, first: int, ask: Callable[[str], T], abort: Abort) -> tuple[int, T]:
        """Return the position of the server that answers, beginning with *first*, and its answer."""
        hosts = self._settings.ldap_host
        failure: DirectoryUnavailable | None = None
        for position in (*range(first, len(hosts)), *range(first)):
            try:
                answer = ask(hosts[position])
            except DirectoryUnavailable as error:
                # The reason of the first server is the one to mend.
                failure = failure or error
                if abort.is_set:
                    break
                continue
            self._preferred = position
            return position, answer
        raise failure or DirectoryUnavailable("No server of the directory is configured.")

    def _connect(self, host: str, purpose: Purpose, abort: Abort) -> DirectoryConnection:
        """Open a connection to one server.

        :raises DirectoryUnavailable: when that fails.
        """
        settings = self._settings
        connection = DirectoryConnection(
            (host, settings.ldap_port), settings.use_tls, self._contexts, settings.timeout, abort
        )
        try:
            if purpose is Purpose.SEARCH:
                self._bind_service(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bind_service(self, connection: DirectoryConnection) -> None:
        password = self._settings.admin_password
        refusal = connection.bind(self._settings.admin_dn, "" if password is None else password.reveal())
        if refusal is not None:
            raise DirectoryUnavailable(
                "The directory refuses ADMIN_DN and ADMIN_PASSWORD. Correct them in the section [LDAP].", answer=refusal
            )

    def _require_base(self, connection: DirectoryConnection) -> None:
        base = self._settings.people_dn
        if not connection.search(base, "(objectClass=*)", _NO_ATTRIBUTES, limit=1, subtree=False):
            raise self._no_base()

    def _no_base(self) -> DirectoryUnavailable:
        return DirectoryUnavailable(
            "PEOPLE_DN does not exist in the directory, or ADMIN_DN may not read it. Correct it in the section [LDAP].",
            base=self._settings.people_dn,
        )

    # --- entries ----------------------------------------------------------------------------

    def _find(self, connection: DirectoryConnection, username: str) -> Entry | Absent:
        """Return the entry that *username* finds; only an exact one counts."""
        settings = self._settings
        condition = settings.user_filter.replace("{username}", escape_filter_chars(username))
        attributes = [self._name_attribute, _MAIL, *_UNIQUE_IDS]
        if self._reads_groups_of_entry:
            attributes.append(settings.group_attribute)
        try:
            entries = connection.search(settings.people_dn, condition, attributes, limit=2)
        except AnswerTooLarge:
            return Absent("the entry in the directory is too large", is_certain=False)
        except UnreadableEntry:
            return Absent("the entry's name in the directory is not UTF-8", is_certain=False)
        if entries is None:
            raise self._no_base()
        if not entries:
            return Absent("no such account")
        if len(entries) > 1:
            return Absent("the directory has two entries of this name", is_certain=False)
        if not entries[0].dn:
            return Absent("the entry in the directory has no name", is_certain=False)
        return entries[0]

    def _describe(self, connection: DirectoryConnection, entry: Entry) -> Finding:
        names = sorted(name for text in entry.texts(self._name_attribute) if (name := normalised_name(text)))
        if not names:
            return Absent(
                f"{self._name_attribute} in the directory is not a name of 1 to 64 letters, digits and . _ @ -",
                is_certain=False,
            )
        mails = [text for text in entry.texts(_MAIL) if len(text) <= _MAXIMUM_MAIL and _EMAIL.fullmatch(text)]
        try:
            return Person(
                username=names[0],
                dn=entry.dn,
                directory_id=_unique_id(entry),
                email=mails[0] if mails else "",
                role=self._role(connection, entry, names[0]),
                is_disabled=bool(self._settings.disabled_filter)
                and bool(
                    connection.search(entry.dn, self._settings.disabled_filter, _NO_ATTRIBUTES, limit=1, subtree=False)
                ),
            )
        except (AnswerTooLarge, UnreadableEntry):
            return Absent("the groups in the directory are too large, or their names not UTF-8", is_certain=False)

    # --- groups -------------------------------------------------------------------------------

    @property
    def _reads_groups_of_entry(self) -> bool:
        return bool(self._settings.role_groups) and self._settings.group_attribute.lower() not in _MEMBER_ATTRIBUTES

    def _role(self, connection: DirectoryConnection, entry: Entry, username: str) -> Role | None:
        """Return the first role whose group the entry is in, directly or through other groups.

        An entry in none of them is a user's; without any group, the directory does not decide.
        """
        groups = self._settings.role_groups
        if not groups:
            return None
        if self._reads_groups_of_entry and self._asks_directory(entry):
            for _, dn, role in groups:
                matched = self._membership_filter(entry, dn)
                if connection.search(entry.dn, matched, _NO_ATTRIBUTES, limit=1, subtree=False):
                    return role
            return Role.USER
        found = self._roles_by_walking(connection, entry, username)
        return next((role for _, _, role in groups if role in found), Role.USER)

    def _roles_by_walking(self, connection: DirectoryConnection, entry: Entry, username: str) -> set[Role]:
        """Return the roles of the groups that name the entry, until the one with most rights is found."""
        groups = self._settings.role_groups
        # Where one group is named for two roles, the one with more rights counts.
        targets = {comparable_dn(dn): role for _, dn, role in reversed(groups)}
        best = groups[0][2]
        found: set[Role] = set()
        seen: set[str] = set()
        level = self._groups_of(connection, entry, username)
        while level and len(seen) < _MAXIMUM_GROUPS:
            found.update(role for dn in level if (role := targets.get(comparable_dn(dn))) is not None)
            if best in found or not self._settings.nested_groups:
                break
            new = [dn for dn in level if comparable_dn(dn) not in seen]
            seen.update(map(comparable_dn, new))
            level = [
                above
                for dn in new[:_MAXIMUM_GROUPS]
                for above in self._groups_of(connection, self._group(connection, dn), None)
            ]
        return found

    def _asks_directory(self, entry: Entry) -> bool:
        """Return whether the directory itself is asked about a group, as Active Directory can be.

        It follows nested groups, and returns only the first 1500 of an attribute's values, under the name
        ``memberOf;range=0-1499`` (MS-ADTS sections 3.1.1.3.4.4.3 and 3.1.1.3.1.3.3).
        """
        nests = self._settings.nested_groups and bool(entry.attributes.get(_AD_ID.lower()))
        return nests or entry.is_partial(self._settings.group_attribute)

    def _membership_filter(self, entry: Entry, group: str) -> str:
        """Return the filter that an entry of Active Directory matches if it is in a group."""
        attribute = self._settings.group_attribute
        rule = f":{_IN_CHAIN}:" if self._settings.nested_groups and entry.attributes.get(_AD_ID.lower()) else ""
        return f"({attribute}{rule}={escape_filter_chars(group)})"

    def _group(self, connection: DirectoryConnection, dn: str) -> Entry:
        """Return the entry of a group, which may name further groups; an unreadable one names none."""
        if not self._reads_groups_of_entry:
            return Entry(dn, {})
        found = connection.search(dn, "(objectClass=*)", (self._settings.group_attribute,), limit=1, subtree=False)
        return found[0] if found else Entry(dn, {})

    def _groups_of(self, connection: DirectoryConnection, entry: Entry, username: str | None) -> list[str]:
        """Return the DNs of the groups that name *entry*, which is an account's if *username* is set."""
        attribute = self._settings.group_attribute
        if self._reads_groups_of_entry:
            return entry.texts(attribute)
        member = entry.dn if _MEMBER_ATTRIBUTES[attribute.lower()] else username
        if member is None:
            # A group has no user name.
            return []
        condition = f"({attribute}={escape_filter_chars(member)})"
        if self._settings.nested_groups:
            found = connection.search(
                self._settings.base_dn, condition, _NO_ATTRIBUTES, limit=_MAXIMUM_GROUPS, subtree=True
            )
            return [one.dn for one in found or ()]
        # Only these groups count, the one with most rights first.
        for _, dn, _ in self._settings.role_groups:
            if connection.search(dn, condition, _NO_ATTRIBUTES, limit=1, subtree=False):
                return [dn]
        return []


def comparable_dn(dn: str) -> str:
    """Return a DN in a form in which equal ones are equal: without case, insignificant spaces and an order in RDNs."""
    try:
        parts = parse_dn(dn, strip=True)
    except (LDAPExceptionError, ValueError, IndexError):
        return dn.lower()
    rdns: list[list[str]] = [[]]
    for name, value, separator in parts:
        rdns[-1].append(f"{name.strip()}={value.strip()}".lower())
        if separator != "+":
            rdns.append([])
    return ",".join("+".join(sorted(rdn)) for rdn in rdns if rdn)


def _unique_id(entry: Entry) -> str | None:
    for attribute in _UNIQUE_IDS:
        for value in entry.attributes.get(attribute.lower(), ()):
            if len(value) == 16:
                return str(uuid.UUID(bytes_le=value))
            if len(value) <= MAXIMUM_NAME:
                return value.decode("ascii", "replace").lower()
    return None
