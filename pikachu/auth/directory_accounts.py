"""Accounts of the directory as accounts here (USR-5).

The directory decides who its people are, what their passwords are, whether they are disabled, and, with the group of
any role, which role each has.  An account is created here at the first sign-in, so that it can own
certificates, and follows the directory at each sign-in and at each recheck.  A local account is never touched: its name
wins over an equal one in the directory.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.auth.ldap.directory import Directory
from pikachu.auth.passwords import encode_password
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed, Conflict, NotFound
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.directory_people import Absent, Finding, Person
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import (
    Account,
    AccountSource,
    AccountState,
    NewAccount,
    Principal,
    PrincipalKind,
    Role,
)
from pikachu.core.model.times import utc

log = Logger()

#: The actor of what the directory decides.
DIRECTORY: Final = Principal(PrincipalKind.SYSTEM, "directory", role=Role.ADMIN)
#: Accounts of one question; each takes a few round trips.
_BATCH: Final = 20
_DISABLED: Final = "disabled in the directory"
_OTHER_PERSON: Final = "the directory has another entry of this name now"


class DirectoryAccounts:
    """Creates and updates the accounts of people in the directory.

    Methods fail with DirectoryUnavailable, Overloaded and StoreUnavailable.
    """

    def __init__(self, *, store: IStore, directory: Directory, clock: IClock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    @uncancelled
    async def verify(self, username: str, password: str) -> Person:
        """Return the directory's account of that name.

        Fails with AuthenticationFailed for a wrong password, and before the directory is asked for one that is empty,
        too long or not Unicode text.
        """
        data = encode_password(password)
        try:
            text = "" if data is None else data.decode()
        except UnicodeDecodeError:
            text = ""
        if not text:
            raise _refused("the password is empty, too long or not Unicode text")
        finding = await self._directory.authenticate(username, text)
        if isinstance(finding, Absent):
            raise _refused(finding.reason)
        return finding

    @uncancelled
    async def record(self, person: Person, address: str) -> Account:
        """Return the account of a person whose password was right, created or updated.

        :param address: of the client, for the audit log.

        Fails with AuthenticationFailed when the account is not active, or when the name is that of a local account.
        """
        account = await self._store.account_by_name(person.username)
        if account is None:
            account = await self._create(person, address)
        if account.source is not AccountSource.LDAP:
            raise _refused("a local account has this name")
        account = await self._follow(account, person, address)
        if person.is_disabled:
            raise _refused(_DISABLED)
        return account

    async def _create(self, person: Person, address: str) -> Account:
        if person.is_disabled:
            raise _refused(_DISABLED)
        role = person.role or Role.USER
        actor = replace(DIRECTORY, address=address)
        event = _event(actor, "add", person.username, None, role=role.value, state="active", source="ldap")
        new = NewAccount(
            person.username,
            person.email,
            role,
            AccountState.ACTIVE,
            None,
            AccountSource.LDAP,
            directory_id=person.directory_id,
        )
        try:
            return await self._store.add_account(new, event, self._now())
        except Conflict:
            # Another first sign-in was quicker.
            account = await self._store.account_by_name(person.username)
            if account is None:
                raise
            return account

    async def _follow(self, account: Account, finding: Finding, address: str = "") -> Account:
        """Change *account* as the directory says; nothing is written if it says nothing new."""
        actor = replace(DIRECTORY, address=address)

        def decide(current: Account) -> tuple[Account, Event | None]:
            return _decide(actor, current, finding)

        changed, event = decide(account)
        if event is None and changed == account:
            return account
        return await self._store.change_account(account.id, decide, self._now(), by_directory=True)

    # --- rechecks ---------------------------------------------------------------------------

    @uncancelled
    async def recheck(self) -> int:
        """Look all accounts of the directory up again; return how many were changed.

        One that is gone or disabled is suspended, which ends its sessions and tokens and what its owner may enroll.
        """
        changed, cursor = 0, None
        while True:
            page = await self._store.accounts(
                ListQuery(limit=_BATCH, cursor=cursor, sort="id", filters={"source": AccountSource.LDAP.value})
            )
            accounts = [one for one in page.items if one.state is AccountState.ACTIVE or one.suspended_by_directory]
            if accounts:
                findings = await self._directory.find([one.username for one in accounts])
                for account, finding in zip(accounts, findings, strict=True):
                    changed += await self._recheck(account, finding)
            cursor = page.next_cursor
            if cursor is None:
                return changed

    async def _recheck(self, account: Account, finding: Finding) -> bool:
        if isinstance(finding, Absent) and not finding.is_certain:
            log.warn("The account {name} can't be rechecked: {reason}", name=account.username, reason=finding.reason)
            return False
        try:
            return await self._follow(account, finding) != account
        except (Conflict, NotFound) as error:
            # Deleted meanwhile, or its certificates are still being revoked.
            log.warn("The account {name} stays as it is: {reason}", name=account.username, reason=error.public)
            return False

    def stop(self) -> None:
        """End all questions to the directory."""
        self._directory.stop()

    def probe(self) -> Deferred[str | None]:
        """Return None if the directory works, or a message if not all of it does."""
        return self._directory.probe()

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _decide(actor: Principal, account: Account, finding: Finding) -> tuple[Account, Event | None]:
    """Return the account as the directory says, and the event; None if nothing has changed."""
    if account.state is AccountState.DELETED or account.source is not AccountSource.LDAP:
        return account, None
    lost = _loss(account, finding)
    if lost is not None or not isinstance(finding, Person):
        if account.state is not AccountState.ACTIVE:
            return account, None
        suspended = replace(account, state=AccountState.SUSPENDED, suspended_by_directory=True)
        return suspended, _event(actor, "suspend", account.username, account.id, reason=lost)
    changed = replace(
        account,
        email=finding.email,
        role=finding.role or account.role,
        directory_id=account.directory_id or finding.directory_id,
    )
    if account.suspended_by_directory:
        changed = replace(changed, state=AccountState.ACTIVE, suspended_by_directory=False)
    changes = {
        name: {"before": str(getattr(account, name)), "after": str(getattr(changed, name))}
        for name in ("email", "role", "state", "directory_id")
        if getattr(account, name) != getattr(changed, name)
    }
    if not changes:
        return account, None
    type_ = "activated" if "state" in changes else "role change" if "role" in changes else "update"
    return changed, _event(actor, type_, account.username, account.id, **changes)


def _loss(account: Account, finding: Finding) -> str | None:
    """Return why the directory no longer has the person of *account* as an active one, or None."""
    if isinstance(finding, Absent):
        return finding.reason
    if account.directory_id is not None and finding.directory_id != account.directory_id:
        return _OTHER_PERSON
    return _DISABLED if finding.is_disabled else None


def _refused(reason: str) -> AuthenticationFailed:
    return AuthenticationFailed("wrong username or password", reason=reason)


def _event(actor: Principal, type_: str, username: str, account_id: int | None, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", username, account_id, **details), about_account=True)
