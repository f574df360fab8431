"""The rules about people: accounts, API tokens, challenge passwords.

Each change is written together with its audit event.  What somebody may not see is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias

from twisted.logger import Logger

from pikachu.accounts.account_fields import REGISTERED_NAME, check_local, checked_email, checked_name, version_of
from pikachu.accounts.holdings import Holdings
from pikachu.auth.authenticator import ACCOUNT_NAME, ROLE_SCOPES, new_challenge, new_token
from pikachu.auth.owners import require_usable
from pikachu.auth.passwords import PasswordHasher
from pikachu.auth.permissions import (
    get_visible,
    is_admin,
    require_scope,
    require_visible,
    require_whole_account,
    scope_to_owner,
)
from pikachu.auth.rate_limit import Quota, address_key
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.edits import Versions, require_version
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PolicyViolation, Unavailable
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.objects import OwnerRevocation
from pikachu.core.model.people import (
    Account,
    AccountState,
    ChallengePassword,
    NewAccount,
    NewChallengePassword,
    NewToken,
    Principal,
    PrincipalKind,
    Role,
    Scope,
    Token,
)
from pikachu.core.model.times import rfc3339, utc
from pikachu.core.sealing import Sealer

log = Logger()

MAXIMUM_TOKEN_DAYS: Final = 3650
#: How many accounts may be registered from one address within an hour.
REGISTRATIONS: Final = 10
MAXIMUM_CHALLENGE_VALIDITY: Final = timedelta(days=366)
_STATE_EVENTS: Final = MappingProxyType(
    {AccountState.ACTIVE: "activated", AccountState.PENDING: "deactivated", AccountState.SUSPENDED: "suspend"}
)
#: Rows that one transaction deletes.
_CHALLENGES_AT_ONCE: Final = 500
Decide: TypeAlias = Callable[[Account], tuple[Account, Event | None]]
_NO_ACCOUNT: Final = "there is no such account"
_CHALLENGE: Final = "challenge password"


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """The configured settings of accounts.

    :param auto_approve: whether who registers may log in at once.
    :param token_days: how long a token lives for which nobody said it.
    """

    password_min_length: int = 6
    auto_approve: bool = False
    challenge_validity: timedelta = timedelta(minutes=60)
    token_days: int = 365


class Accounts:
    """Everything that people do with accounts and with what is theirs.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope do
    not reach, and with StoreUnavailable.  They run to their end even when their Deferred is cancelled.
    """

    def __init__(
        self,
        store: IStore,
        hasher: PasswordHasher,
        sealer: Sealer,
        clock: IClock,
        settings: AccountSettings,
        holdings: Holdings,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._sealer = sealer
        self._clock = clock
        self._settings = settings
        self._holdings = holdings
        self._registrations = Quota(clock, REGISTRATIONS, 3600.0)

    # --- people --------------------------------------------------------------------------

    @uncancelled
    async def add_user(
        self, actor: Principal, username: str, email: str, role: Role, state: AccountState, password: str
    ) -> Account:
        """A new local account; admins only.

        Fails with MalformedRequest, PolicyViolation (password), and Conflict when the name is taken.
        """
        require_scope(actor, Scope.ADMIN)
        if not ACCOUNT_NAME.fullmatch(username):
            raise MalformedRequest("a user name is 1 to 64 letters, digits and the characters . _ @ -")
        if state not in (AccountState.PENDING, AccountState.ACTIVE):
            raise MalformedRequest("a new account is pending or active")
        email = self._checked(email, password)
        event = _user_event(actor, "add", username, None, role=role.value, state=state.value)
        return await self._add(username, email, role, state, password, event)

    @uncancelled
    async def register(self, username: str, email: str, password: str, confirmation: str, address: str) -> Account:
        """Somebody makes an account for themself (USR-2); it waits for an admin unless approval is automatic.

        Fails with MalformedRequest, PolicyViolation (password), with RateLimited after many from one address, and with
        Conflict when the name is taken.
        """
        if not REGISTERED_NAME.fullmatch(username):
            raise MalformedRequest("a user name is 6 to 20 letters, digits and underscores")
        if password != confirmation:
            raise MalformedRequest("the two passwords differ; type the same one twice")
        email = self._checked(email, password)
        # What is counted here tells which names are taken, and costs a password's hash.
        self._registrations.take(address_key(address))
        state = AccountState.ACTIVE if self._settings.auto_approve else AccountState.PENDING
        actor = Principal(PrincipalKind.ANONYMOUS, username, address=address)
        event_type = "add" if self._settings.auto_approve else "pending"
        event = _user_event(actor, event_type, username, None, role=Role.USER.value, state=state.value, registered=True)
        return await self._add(username, email, Role.USER, state, password, event)

    async def _add(
        self, username: str, email: str, role: Role, state: AccountState, password: str, event: Event
    ) -> Account:
        if await self._store.account_by_name(username) is not None:
            raise Conflict("this user name is taken; choose another one")
        password_hash = await self._hasher.hash(password)
        return await self._store.add_account(
            NewAccount(username, email, role, state, password_hash), event, self._now()
        )

    def _checked(self, email: str, password: str) -> str:
        email = checked_email(email)
        self._check_password(password)
        return email

    def _check_password(self, password: str) -> None:
        minimum = self._settings.password_min_length
        if len(password) < minimum:
            raise PolicyViolation(f"a password has at least {minimum} characters; choose a longer one")

    @uncancelled
    async def account(self, actor: Principal, account_id: int) -> Account:
        """One's own account, or any for admins.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await self._visible_account(actor, account_id)

    @uncancelled
    async def find(self, actor: Principal, username: str) -> Account:
        """The account of that name; admins only.  Fails with NotFound."""
        require_scope(actor, Scope.ADMIN)
        found = await self._store.account_by_name(username) if ACCOUNT_NAME.fullmatch(username) else None
        if found is None:
            raise NotFound("there is no account of that name")
        return found

    @uncancelled
    async def list_accounts(self, actor: Principal, query: ListQuery) -> Page[Account]:
        """All accounts; admins only."""
        require_scope(actor, Scope.ADMIN)
        return await self._store.accounts(replace(query, owner_id=None))

    @uncancelled
    async def approve(self, actor: Principal, account_id: int) -> Account:
        """Pending → active; admins only.  Fails with NotFound, and Conflict when it is not pending."""
        return await self._activate(actor, account_id, AccountState.PENDING)

    @uncancelled
    async def activate(self, actor: Principal, account_id: int) -> Account:
        """Suspended → active; admins only.  Fails with NotFound, and Conflict when it is not suspended."""
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
        """How many valid certificates one's own account holds, or any for admins: exact to 10,000; 10,001 means more.

        Fails with NotFound.
        """
        if not is_admin(actor):
            require_scope(actor, Scope.READ)
        return await self._holdings.count((await self._visible_account(actor, account_id)).id)

    @uncancelled
    async def suspend(self, actor: Principal, account_id: int, revoke: RevocationReason | None = None) -> Account:
        """The account can't be used, and its sessions and tokens end; admins only, never for themself.

        :param revoke: the reason with which the valid certificates that it holds are revoked; ``None``: they are not.

        Fails with NotFound, and Conflict for oneself and for the last active admin.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._change(
            actor, account_id, lambda account: _with_state(actor, account, AccountState.SUSPENDED), revoke
        )

    @uncancelled
    async def deactivate(self, actor: Principal, account_id: int) -> Account:
        """The account waits for approval again, and its sessions and tokens end; admins only, never for themself.

        Fails with NotFound, and Conflict for oneself, for the last active admin, and when it waits already.
        """

        def decide(account: Account) -> tuple[Account, Event]:
            if account.state is AccountState.PENDING:
                raise Conflict("the account is pending already")
            return _with_state(actor, account, AccountState.PENDING)

        require_scope(actor, Scope.ADMIN)
        return await self._change(actor, account_id, decide)

    @uncancelled
    async def change_role(self, actor: Principal, account_id: int, role: Role) -> Account:
        """Admins only.  Fails with NotFound, and Conflict when no active admin would remain."""

        def decide(account: Account) -> tuple[Account, Event]:
            event = _user_event(
                actor, "role change", account.username, account.id, before=account.role.value, after=role.value
            )
            return replace(account, role=role), event

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
        """Change several things at once, or nothing; admins only.  ``None`` leaves a thing as it is.

        :param revoke: as in :meth:`suspend`, for an account that is not active then.
        :param expected: of :func:`version_of`.

        Fails with NotFound, MalformedRequest, EditConflict, and Conflict as :meth:`suspend` and :meth:`change_role` do.
        """

        def decide(account: Account) -> tuple[Account, Event | None]:
            require_version(expected, version_of(account), "account", None, None)
            changed = replace(
                account, email=new_email or account.email, role=role or account.role, state=state or account.state
            )
            named = {
                name: {"before": str(getattr(account, name)), "after": str(getattr(changed, name))}
                for name in ("email", "role", "state")
                if getattr(account, name) != getattr(changed, name)
            }
            if not named:
                return account, None
            type_ = "update"
            if "state" in named:
                _check_not_oneself(actor, account, changed.state)
                type_ = _STATE_EVENTS[changed.state]
            elif "role" in named:
                type_ = "role change"
            return changed, _user_event(actor, type_, account.username, account.id, **named)

        require_scope(actor, Scope.ADMIN)
        if state is AccountState.DELETED:
            raise MalformedRequest("Delete the account instead of setting this state.")
        new_email = None if email is None else checked_email(email)
        return await self._change(actor, account_id, decide, revoke)

    @uncancelled
    async def change_email(self, actor: Principal, email: str) -> Account:
        """Another e-mail address for oneself.  Fails with MalformedRequest, and Conflict for one of the directory."""

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
        """A new password for a local account; admins only.

        Fails with NotFound, PolicyViolation, and Conflict for an account of the directory.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._set_password(actor, account_id, password)

    @uncancelled
    async def change_password(self, actor: Principal, password: str) -> Account:
        """A new password for oneself, after ``Authenticator.confirm`` has checked the present one.

        Fails with PolicyViolation, and Conflict for an account of the directory.
        """
        return await self._set_password(actor, require_whole_account(actor), password)

    async def _set_password(self, actor: Principal, account_id: int, password: str) -> Account:
        account = await self._visible_account(actor, account_id)
        check_local(account)
        self._check_password(password)
        password_hash = await self._hasher.hash(password)

        def decide(account: Account) -> tuple[Account, Event]:
            check_local(account)
            event = _user_event(actor, "change password", account.username, account.id)
            return replace(account, password_hash=password_hash), event

        return await self._change(actor, account_id, decide)

    @uncancelled
    async def delete(
        self,
        actor: Principal,
        account_id: int,
        revoke: RevocationReason | None = None,
        *,
        expected: Versions = None,
    ) -> None:
        """Delete an account: its password, sessions, tokens, bound certificates and e-mail address are erased at once.

        It stays the owner of its certificates, keys and CSRs, none of which authenticates anybody any more, and its
        name is free.  Admins only, never for themself.

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
        order = _revocation(actor, account_id, revoke)
        await self._store.delete_account(account_id, decide, self._now(), order)
        await self._forget_challenges(account_id)
        if order is not None:
            await self._holdings.revoke(order)

    async def _forget_challenges(self, account_id: int) -> None:
        """Clear what a deleted account had ready for devices: nothing of it is accepted, so a failure may wait until
        the passwords expire.
        """
        try:
            while await self._store.delete_unused_challenges(account_id, _CHALLENGES_AT_ONCE) == _CHALLENGES_AT_ONCE:
                pass
        except Unavailable as error:
            log.warn("Challenge passwords of a deleted account were left: {error}", error=error.public)

    async def _change(
        self, actor: Principal, account_id: int, decide: Decide, revoke: RevocationReason | None = None
    ) -> Account:
        """Decide in the transaction that writes, so that what others change meanwhile is neither missed nor undone."""
        if account_id != actor.owner_id and not is_admin(actor):
            raise NotFound(_NO_ACCOUNT)
        order = _revocation(actor, account_id, revoke)
        account = await self._store.change_account(account_id, decide, self._now(), order)
        if order is not None:
            await self._holdings.revoke(order)
        return account

    async def _visible_account(self, actor: Principal, account_id: int) -> Account:
        if account_id == actor.owner_id or is_admin(actor):
            return await self._store.account(account_id)
        raise NotFound(_NO_ACCOUNT)

    # --- tokens --------------------------------------------------------------------------

    @uncancelled
    async def create_token(
        self,
        actor: Principal,
        account_id: int,
        name: str,
        scopes: frozenset[Scope] | None = None,
        days: int | None = None,
    ) -> tuple[Token, str]:
        """A token for one's own account, or any for admins, and its text, which is nowhere kept.

        :param scopes: ``None``: all that the account's role has.
        :param days: 1 to 3650; ``None``: as the settings say.

        Fails with NotFound, MalformedRequest, NotAuthorized (a restricted token makes no tokens), and Conflict when
        the account has a token of that name.
        """
        if account_id != require_whole_account(actor) and not is_admin(actor):
            raise NotFound(_NO_ACCOUNT)
        name = checked_name(name, "a token's name", 64)
        lifetime = self._settings.token_days if days is None else days
        if not 1 <= lifetime <= MAXIMUM_TOKEN_DAYS:
            raise MalformedRequest(f"a token lives 1 to {MAXIMUM_TOKEN_DAYS} days")
        account = await self._store.account(account_id)
        require_usable(account, "tokens")
        possible = ROLE_SCOPES[account.role]
        granted = possible if scopes is None else scopes
        if not granted or not granted <= possible:
            choices = ", ".join(scope for scope in Scope if scope in possible)
            raise MalformedRequest(f"the scopes of this account's tokens are one or more of {choices}")
        text, digest = new_token()
        now = self._now()
        expires_at = now + timedelta(days=lifetime)
        event = event_by(
            actor, "create", "token", name, account_id, scopes=sorted(granted), expires_at=rfc3339(expires_at)
        )
        return await self._store.add_token(NewToken(account_id, name, digest, granted, expires_at), event, now), text

    @uncancelled
    async def list_tokens(self, actor: Principal, query: ListQuery) -> Page[Token]:
        """One's own; for admins those of ``query.owner_id``, or all."""
        return await self._store.tokens(scope_to_owner(actor, query))

    @uncancelled
    async def token(self, actor: Principal, token_id: int) -> Token:
        """One of one's own, or any for admins; never its text.  Fails with NotFound."""
        own = _own_id(actor, Scope.READ)
        found = await self._store.token(token_id)
        if found.account_id != own and not is_admin(actor):
            raise NotFound("there is no such token")
        return found

    @uncancelled
    async def revoke_token(self, actor: Principal, token_id: int) -> None:
        """The token ends; one's own, or any for admins.  Fails with NotFound."""

        def decide(token: Token) -> Event:
            if token.account_id != own and not is_admin(actor):
                raise NotFound("there is no such token")
            return event_by(actor, "delete", "token", token.name, token.account_id)

        own = require_whole_account(actor)
        await self._store.delete_token(token_id, decide, self._now())

    # --- challenge passwords -------------------------------------------------------------

    @uncancelled
    async def create_challenge(
        self, actor: Principal, owner_id: int | None = None, validity: timedelta | None = None
    ) -> tuple[ChallengePassword, str]:
        """A one-time password (CHP-1) and its text: 128 random bits as 32 upper-case hexadecimal digits.

        :param owner_id: who owns what is enrolled with it; ``None``: the actor.  Others for admins only.
        :param validity: one second to 366 days; ``None``: as the settings say.

        Fails with NotFound, MalformedRequest, and Conflict when the owner is not active.
        """
        require_scope(actor, Scope.ENROLL)
        owner_id = actor.owner_id if owner_id is None else owner_id
        lifetime = self._settings.challenge_validity if validity is None else validity
        if not timedelta(seconds=1) <= lifetime <= MAXIMUM_CHALLENGE_VALIDITY:
            raise MalformedRequest("a challenge password is valid for one second to 366 days")
        if owner_id is not None:
            require_usable(await self._visible_account(actor, owner_id), "challenge passwords")
        text, lookup = new_challenge(self._sealer)
        prefix, now = text[:8], self._now()
        sealed = self._sealer.seal("challenge", text.encode())
        expires_at = now + lifetime
        event = event_by(actor, "create", _CHALLENGE, prefix, owner_id, expires_at=rfc3339(expires_at))
        return await self._store.add_challenge(
            NewChallengePassword(lookup, prefix, sealed, owner_id, expires_at), event, now
        ), text

    @uncancelled
    async def reveal_challenge(self, actor: Principal, challenge_id: int) -> str:
        """Its text, for its owner and admins; that somebody else looked is recorded.  Fails with NotFound."""
        challenge = await self._visible_challenge(actor, challenge_id, Scope.ENROLL)
        text = self._sealer.open("challenge", challenge.sealed).decode()
        if challenge.owner_id != actor.owner_id:
            event = event_by(actor, "view", _CHALLENGE, challenge.prefix, challenge.owner_id)
            await self._store.add_event(event, self._now())
        return text

    @uncancelled
    async def challenge(self, actor: Principal, challenge_id: int) -> ChallengePassword:
        """One of one's own, or any for admins.  Fails with NotFound."""
        return await self._visible_challenge(actor, challenge_id, Scope.READ)

    @uncancelled
    async def list_challenges(self, actor: Principal, query: ListQuery) -> Page[ChallengePassword]:
        """One's own; for admins those of ``query.owner_id``, or all."""
        return await self._store.challenges(scope_to_owner(actor, query), self._now())

    @uncancelled
    async def delete_challenge(self, actor: Principal, challenge_id: int) -> None:
        """Fails with NotFound, and Conflict while a request holds it."""

        def decide(challenge: ChallengePassword) -> Event:
            require_visible(actor, challenge, _CHALLENGE)
            if challenge.reserved_by is not None and challenge.consumed_at is None:
                raise Conflict("a request that waits holds this challenge password; reject the request first")
            return event_by(actor, "delete", _CHALLENGE, challenge.prefix, challenge.owner_id)

        require_scope(actor, Scope.ENROLL)
        await self._store.delete_challenge(challenge_id, decide, self._now())

    @uncancelled
    async def delete_expired_challenges(self, actor: Principal, *, everybody: bool = False) -> int:
        """Delete one's own that have expired, or with *everybody* (admins only) all; how many."""
        if everybody:
            require_scope(actor, Scope.ADMIN)
            owner_id = None
        else:
            owner_id = _own_id(actor, Scope.ENROLL)
        event = event_by(actor, "delete", _CHALLENGE, "all expired", owner_id)
        return await self._store.delete_expired_challenges(owner_id, event, self._now())

    async def _visible_challenge(self, actor: Principal, challenge_id: int, scope: Scope) -> ChallengePassword:
        require_scope(actor, scope)
        return await get_visible(actor, self._store.challenge(challenge_id), _CHALLENGE)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


# --- who may ---------------------------------------------------------------------------------


def _own_id(actor: Principal, scope: Scope) -> int:
    require_scope(actor, scope)
    # No account has the id 0, and the program itself owns nothing.
    return actor.owner_id or 0


def _check_not_oneself(actor: Principal, account: Account, state: AccountState) -> None:
    if account.id == actor.owner_id and state is not AccountState.ACTIVE:
        raise Conflict("you can't suspend or deactivate yourself; ask another admin")


def _with_state(actor: Principal, account: Account, state: AccountState) -> tuple[Account, Event]:
    _check_not_oneself(actor, account, state)
    event = _user_event(actor, _STATE_EVENTS[state], account.username, account.id, before=account.state.value)
    return replace(account, state=state), event


def _revocation(actor: Principal, account_id: int, reason: RevocationReason | None) -> OwnerRevocation | None:
    return None if reason is None else OwnerRevocation(account_id, reason, actor.name, actor.owner_id)


# --- what is recorded ------------------------------------------------------------------------


def _user_event(actor: Principal, type_: str, username: str, account_id: int | None, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", username, account_id, **details), about_account=True)
