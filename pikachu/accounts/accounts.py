"""Accounts: registration, approval, roles, passwords, suspension and deletion (USR-1, USR-2, USR-4).

Each change is committed together with its audit event.  An account that the actor may not see gives NotFound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from twisted.logger import Logger

from pikachu.accounts.account_certificates import Holdings
from pikachu.accounts.account_fields import REGISTERED_NAME, check_local, checked_email, version_of
from pikachu.accounts.visibility import get_visible_account, require_visible_account
from pikachu.auth.authenticator import ACCOUNT_NAME
from pikachu.auth.passwords import PasswordHasher
from pikachu.auth.permissions import reads_all, require_scope, require_whole_account
from pikachu.auth.rate_limit import Quota, address_key
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PolicyViolation, Unavailable
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.account_objects import OwnerRevocation
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.directory_people import normalised_name
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Account, AccountState, NewAccount, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.times import utc
from pikachu.core.optimistic_locking import Versions, require_version

log = Logger()

#: Maximum number of registrations from one address within an hour.
REGISTRATIONS: Final = 10
_STATE_EVENTS: Final = MappingProxyType(
    {AccountState.ACTIVE: "activated", AccountState.PENDING: "deactivated", AccountState.SUSPENDED: "suspend"}
)
#: Challenge passwords that one transaction deletes.
_DELETION_BATCH: Final = 500
Decide: TypeAlias = Callable[[Account], tuple[Account, Event | None]]


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """The configured settings of accounts.

    :param auto_approve: a registered account is active at once.
    :param directory_assigns_roles: the roles of the directory's accounts follow a group there.
    """

    password_min_length: int = 6
    auto_approve: bool = False
    directory_assigns_roles: bool = False


class Accounts:
    """Reads and changes accounts.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.
    """

    def __init__(
        self,
        *,
        store: IStore,
        hasher: PasswordHasher,
        clock: IClock,
        settings: AccountSettings,
        holdings: Holdings,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._settings = settings
        self._holdings = holdings
        self._registrations = Quota(clock, REGISTRATIONS, 3600.0)

    # --- people --------------------------------------------------------------------------

    @uncancelled
    async def add_user(
        self,
        actor: Principal,
        username: str,
        email: str,
        role: Role,
        state: AccountState,
        password: str,
        *,
        must_change_password: bool = False,
    ) -> Account:
        """Add a local account; admins only.

        Fails with MalformedRequest, PolicyViolation (password), and Conflict when the name is taken.
        """
        require_scope(actor, Scope.ADMIN)
        if not ACCOUNT_NAME.fullmatch(username):
            raise MalformedRequest(
                "a user name is 1 to 64 letters, digits and the characters . _ @ -", field="username"
            )
        if state not in (AccountState.PENDING, AccountState.ACTIVE):
            raise MalformedRequest("a new account is pending or active")
        email = self._checked(email, password)
        event = _user_event(actor, "add", username, None, role=role.value, state=state.value)
        account = NewAccount(username, email, role, state, None, must_change_password=must_change_password)
        return await self._add(account, password, event)

    @uncancelled
    async def register(self, username: str, email: str, password: str, confirmation: str, address: str) -> Account:
        """Register an account (USR-2); it is pending until an admin approves it, unless approval is automatic.

        Fails with MalformedRequest, PolicyViolation (password), with RateLimited after many from one address, and with
        Conflict when the name is taken.
        """
        if not REGISTERED_NAME.fullmatch(username):
            raise MalformedRequest("a user name is 6 to 20 letters, digits and underscores", field="username")
        if password != confirmation:
            raise MalformedRequest("the two passwords differ; type the same one twice", field="confirmation")
        email = self._checked(email, password)
        # Each counted attempt reveals whether a name is taken, and costs the hash of a password.
        self._registrations.take(address_key(address))
        state = AccountState.ACTIVE if self._settings.auto_approve else AccountState.PENDING
        actor = Principal(PrincipalKind.ANONYMOUS, username, address=address)
        event_type = "add" if self._settings.auto_approve else "pending"
        event = _user_event(actor, event_type, username, None, role=Role.USER.value, state=state.value, registered=True)
        return await self._add(NewAccount(username, email, Role.USER, state, None), password, event)

    async def _add(self, account: NewAccount, password: str, event: Event) -> Account:
        if await self._store.account_by_name(account.username) is not None:
            raise Conflict("this user name is taken; choose another one", field="username")
        password_hash = await self._hasher.hash(password)
        return await self._store.add_account(replace(account, password_hash=password_hash), event, self._now())

    def _checked(self, email: str, password: str) -> str:
        email = checked_email(email)
        self._check_password(password)
        return email

    def _check_password(self, password: str) -> None:
        minimum = self._settings.password_min_length
        if len(password) < minimum:
            raise PolicyViolation(
                f"a password has at least {minimum} characters; choose a longer one", field="password"
            )

    @uncancelled
    async def account(self, actor: Principal, account_id: int) -> Account:
        """Return one's own account, or any for admins and auditors.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await get_visible_account(actor, self._store, account_id)

    @uncancelled
    async def find(self, actor: Principal, username: str) -> Account:
        """Return the account of that name; admins and auditors only.  Fails with NotFound."""
        require_scope(actor, Scope.AUDIT)
        name = normalised_name(username)
        account = None if name is None else await self._store.account_by_name(name)
        if account is None:
            raise NotFound("there is no account of that name")
        return account

    @uncancelled
    async def list_accounts(self, actor: Principal, query: ListQuery) -> Page[Account]:
        """Return a page of all accounts; admins and auditors only."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.accounts(replace(query, owner_id=None))

    @uncancelled
    async def approve(self, actor: Principal, account_id: int) -> Account:
        """Activate a pending account; admins only.  Fails with NotFound, and Conflict when it is not pending."""
        return await self._activate(actor, account_id, AccountState.PENDING)

    @uncancelled
    async def activate(self, actor: Principal, account_id: int) -> Account:
        """Activate a suspended account; admins only.  Fails with NotFound, and Conflict when it is not suspended."""
        return await self._activate(actor, account_id, AccountState.SUSPENDED)

    async def _activate(self, actor: Principal, account_id: int, expected: AccountState) -> Account:
        def decide(account: Account) -> tuple[Account, Event]:
            if account.state is not expected:
                raise Conflict(f"the account is {account.state}, not {expected}")
            return _with_state(actor, account, AccountState.ACTIVE)

        require_scope(actor, Scope.ADMIN)
        return await self._change(actor, account_id, decide)

    @uncancelled
    async def valid_certificates(self, actor: Principal, account_id: int) -> int:
        """Return how many certificates of an account are not revoked for good: exact to 10,000; 10,001 means more.

        Among them are deleted ones, but none that has expired.

        Other accounts than one's own are for admins and auditors only.

        Fails with NotFound.
        """
        if not reads_all(actor):
            require_scope(actor, Scope.READ)
        return await self._holdings.count((await get_visible_account(actor, self._store, account_id)).id)

    @uncancelled
    async def suspend(self, actor: Principal, account_id: int, revoke: RevocationReason | None = None) -> Account:
        """Suspend an account and end its sessions and tokens; admins only, never for themself.

        :param revoke: reason for revoking the valid certificates that it holds; ``None``: don't revoke them.

        Fails with NotFound, and Conflict for oneself and for the last active admin.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._change(
            actor, account_id, lambda account: _with_state(actor, account, AccountState.SUSPENDED), revoke
        )

    @uncancelled
    async def revoke_certificates(self, actor: Principal, account_id: int, reason: RevocationReason) -> int:
        """Revoke the valid certificates of an account that is not active, also of a deleted one; admins only.

        Return their number, counted as :meth:`valid_certificates` does; when they are many, they are revoked in the
        background.  Fails with NotFound, and with MalformedRequest for an active account.
        """
        require_scope(actor, Scope.ADMIN)
        valid = await self._holdings.count((await get_visible_account(actor, self._store, account_id)).id)
        revocation = OwnerRevocation(account_id, reason, actor.name, actor.owner_id)
        await self._store.order_owner_revocation(revocation)
        await self._holdings.revoke(revocation)
        return valid

    @uncancelled
    async def deactivate(self, actor: Principal, account_id: int) -> Account:
        """Make an account pending again and end its sessions and tokens; admins only, never for themself.

        Fails with NotFound, and Conflict for oneself, for the last active admin, and when it is pending already.
        """

        def decide(account: Account) -> tuple[Account, Event]:
            if account.state is AccountState.PENDING:
                raise Conflict("the account is pending already")
            return _with_state(actor, account, AccountState.PENDING)

        require_scope(actor, Scope.ADMIN)
        return await self._change(actor, account_id, decide)

    @uncancelled
    async def update(
        self,
        actor: Principal,
        account_id: int,
        *,
        email: str | None = None,
        role: Role | None = None,
        state: AccountState | None = None,
        revoke: RevocationReason | None = None,
        expected: Versions = None,
    ) -> Account:
        """Change several fields in one transaction; admins only.  ``None`` leaves a field as it is.

        :param revoke: as in :meth:`suspend`, where the new state is not active.
        :param expected: versions (:func:`version_of`) that may be replaced.

        Fails with NotFound, MalformedRequest, EditConflict, and Conflict as :meth:`suspend` does.
        """

        def decide(account: Account) -> tuple[Account, Event | None]:
            require_version(expected, version_of(account), "account", None, None)
            changed = replace(
                account, email=new_email or account.email, role=role or account.role, state=state or account.state
            )
            if changed.email != account.email:
                check_local(account, "e-mail address")
            if changed.role is not account.role and self._settings.directory_assigns_roles:
                check_local(account, "role")
            if state is not None:
                # The order of an administrator outlasts what the directory decides, also of an account that it has
                # suspended already.
                changed = replace(changed, suspended_by_directory=False)
            changes = {
                name: {"before": str(getattr(account, name)), "after": str(getattr(changed, name))}
                for name in ("email", "role", "state", "suspended_by_directory")
                if getattr(account, name) != getattr(changed, name)
            }
            if not changes:
                return account, None
            type_ = "update"
            if not changes.keys().isdisjoint(("state", "suspended_by_directory")):
                _check_not_oneself(actor, account, changed.state)
                type_ = _STATE_EVENTS[changed.state]
            elif "role" in changes:
                type_ = "role change"
            return changed, _user_event(actor, type_, account.username, account.id, **changes)

        require_scope(actor, Scope.ADMIN)
        if state is AccountState.DELETED:
            raise MalformedRequest("Delete the account instead of setting this state.")
        new_email = None if email is None else checked_email(email)
        return await self._change(actor, account_id, decide, revoke)

    @uncancelled
    async def change_email(self, actor: Principal, email: str) -> Account:
        """Change one's own e-mail address.  Fails with MalformedRequest, and Conflict for one of the directory."""

        def decide(account: Account) -> tuple[Account, Event | None]:
            check_local(account, "e-mail address")
            if account.email == new_email:
                return account, None
            change = {"before": account.email, "after": new_email}
            event = _user_event(actor, "update", account.username, account.id, email=change)
            return replace(account, email=new_email), event

        own = require_whole_account(actor)
        new_email = checked_email(email)
        return await self._change(actor, own, decide)

    @uncancelled
    async def reset_password(self, actor: Principal, account_id: int, password: str) -> Account:
        """Set the password of a local account; admins only.

        Fails with NotFound, PolicyViolation, and Conflict for an account of the directory.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._set_password(actor, account_id, password)

    @uncancelled
    async def change_password(self, actor: Principal, password: str) -> Account:
        """Set one's own password, after ``Authenticator.confirm`` has checked the present one.

        Fails with PolicyViolation, and Conflict for an account of the directory.
        """
        return await self._set_password(actor, require_whole_account(actor), password)

    async def _set_password(self, actor: Principal, account_id: int, password: str) -> Account:
        account = await get_visible_account(actor, self._store, account_id)
        check_local(account)
        self._check_password(password)
        password_hash = await self._hasher.hash(password)

        def decide(account: Account) -> tuple[Account, Event]:
            check_local(account)
            event = _user_event(actor, "change password", account.username, account.id)
            return replace(account, password_hash=password_hash, must_change_password=False), event

        return await self._change(actor, account_id, decide)

    @uncancelled
    async def set_password_once(self, actor: Principal, account: Account, password: str) -> Account:
        """Set the password of an account by a one-time code, if it has not got another one since *account* was read.

        Fails with PolicyViolation, and with Conflict for an account of the directory and one that was changed.
        """
        self._check_password(password)
        password_hash = await self._hasher.hash(password)

        def decide(present: Account) -> tuple[Account, Event]:
            check_local(present)
            if present.password_hash != account.password_hash:
                raise Conflict("The password was changed meanwhile. Sign in with the new one.")
            event = _user_event(actor, "change password", present.username, present.id, by="one-time code")
            return replace(present, password_hash=password_hash, must_change_password=False), event

        return await self._store.change_account(account.id, decide, self._now())

    @uncancelled
    async def delete(
        self,
        actor: Principal,
        account_id: int,
        revoke: RevocationReason | None = None,
        *,
        expected: Versions = None,
    ) -> None:
        """Delete an account and erase its password, sessions, tokens, bound certificates and e-mail address.

        It stays the owner of its certificates, keys and CSRs, none of which authenticates any more, and its name
        becomes available.  Admins only, never for themself.

        :param revoke: as in :meth:`suspend`.
        :param expected: as in :meth:`update`.

        Fails with NotFound, also for an account that is deleted already, EditConflict, and Conflict for oneself and for
        the last active admin.
        """

        def decide(account: Account) -> Event:
            require_version(expected, version_of(account), "account", None, None)
            if account.id == actor.owner_id:
                raise Conflict("you can't delete yourself; ask another admin")
            return _user_event(actor, "delete", account.username, account.id, role=account.role.value)

        require_scope(actor, Scope.ADMIN)
        revocation = _revocation(actor, account_id, revoke)
        await self._store.delete_account(account_id, decide, self._now(), revocation)
        await self._forget_challenges(account_id)
        if revocation is not None:
            await self._holdings.revoke(revocation)

    async def _forget_challenges(self, account_id: int) -> None:
        """Delete the unused challenge passwords of a deleted account.

        They are refused already, so after a failure they may stay until they expire.
        """
        try:
            while await self._store.delete_unused_challenges(account_id, _DELETION_BATCH) == _DELETION_BATCH:
                pass
        except Unavailable as error:
            log.warn("Challenge passwords of a deleted account were left: {error}", error=error.public)

    async def _change(
        self, actor: Principal, account_id: int, decide: Decide, revoke: RevocationReason | None = None
    ) -> Account:
        """Decide in the writing transaction, so that no concurrent change is missed or undone."""
        require_visible_account(actor, account_id)
        revocation = _revocation(actor, account_id, revoke)
        account = await self._store.change_account(account_id, decide, self._now(), revocation)
        if revocation is not None:
            await self._holdings.revoke(revocation)
        return account

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _check_not_oneself(actor: Principal, account: Account, state: AccountState) -> None:
    if account.id == actor.owner_id and state is not AccountState.ACTIVE:
        raise Conflict("you can't suspend or deactivate yourself; ask another admin")


def _with_state(actor: Principal, account: Account, state: AccountState) -> tuple[Account, Event]:
    _check_not_oneself(actor, account, state)
    event = _user_event(actor, _STATE_EVENTS[state], account.username, account.id, before=account.state.value)
    return replace(account, state=state, suspended_by_directory=False), event


def _revocation(actor: Principal, account_id: int, reason: RevocationReason | None) -> OwnerRevocation | None:
    return None if reason is None else OwnerRevocation(account_id, reason, actor.name, actor.owner_id)


def _user_event(actor: Principal, type_: str, username: str, account_id: int | None, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", username, account_id, **details), about_account=True)
