"""``/users`` and ``/tokens``: accounts and their API tokens (USR-4, USR-6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pikachu.accounts.account_fields import MAXIMUM_EMAIL, version_of
from pikachu.accounts.accounts import Accounts
from pikachu.accounts.sessions import Sessions
from pikachu.accounts.tokens import MAX_DAYS, MAXIMUM_NAME, Tokens
from pikachu.auth.authenticator import ACCOUNT_NAME
from pikachu.auth.passwords import MAXIMUM_BYTES
from pikachu.core.constraints import Length, Matches, NotEmpty, Omissible, OneOf, Range
from pikachu.core.errors import NotFound
from pikachu.core.model.certificates import REASON_NAMES, RevocationReason
from pikachu.core.model.people import Account, AccountSource, AccountState, Role, Scope, Token
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.web.api.bodies import extended
from pikachu.web.api.certificates import Revocation
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes, created, listed, tagged

#: The states that a change can set; DELETE sets the remaining one.
_STATES: Final = OneOf(tuple(state for state in AccountState if state is not AccountState.DELETED))
_EMail: TypeAlias = Annotated[str, Length(3, MAXIMUM_EMAIL)]


@dataclass(frozen=True, slots=True)
class NewUser:
    """A local account; it is pending until an administrator approves it, unless ``state`` is active."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "username": "operator1",
        "email": "operator1@example.com",
        "password": "correct horse battery staple",
    }

    username: Annotated[str, Matches(ACCOUNT_NAME.pattern, "1 to 64 letters, digits and . _ @ -")]
    email: _EMail
    password: Annotated[str, Length(1, MAXIMUM_BYTES)]
    role: Role = Role.USER
    state: Annotated[AccountState, OneOf((AccountState.PENDING, AccountState.ACTIVE))] = AccountState.PENDING


@dataclass(frozen=True, slots=True)
class UserChange:
    """Omitted members stay unchanged.  ``revoke``, for an account that is suspended or deactivated, is the reason with
    which
    all its valid certificates are revoked, in the background when they are many.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"email": "operator2@example.com"}

    email: Omissible[_EMail] = None
    role: Omissible[Role] = None
    state: Omissible[Annotated[AccountState, _STATES]] = None
    revoke: Omissible[Annotated[str, REASON_NAMES]] = None


@dataclass(frozen=True, slots=True)
class NewPassword:
    """The account's new password."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"password": "incorrect donkey battery staple"}

    password: Annotated[str, Length(1, MAXIMUM_BYTES)]


@dataclass(frozen=True, slots=True)
class Ended:
    """Number of ended sessions."""

    sessions: int


@dataclass(frozen=True, slots=True)
class OwnerRevocationDocument:
    """Number of certificates that are being revoked: exact to 10,000; 10,001 means more."""

    certificates: int


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: int
    username: str
    email: str
    role: Role
    source: AccountSource
    state: AccountState
    created_at: datetime
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True)
class UserDetail(User):
    """An account with the number of its certificates that are valid or on hold, also deleted: 10,001 means more."""

    valid_certificates: int


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token; by default it has all scopes of the account's role and expires after a year."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "backup script", "scopes": ["read"], "days": 90}

    name: Annotated[str, Length(1, MAXIMUM_NAME)]
    scopes: Annotated[tuple[Scope, ...], NotEmpty()] | None = None
    days: Annotated[int, Range(1, MAX_DAYS)] | None = None
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """A token without its text."""

    id: int
    name: str
    owner: str | None
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewTokenDocument(TokenSummary):
    """A new token; its text is not shown again."""

    token: str


class UsersAPI(Routes):
    """Accounts."""

    def __init__(self, *, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts: Accounts = accounts
        self._sessions = sessions

    @Operation(
        "POST",
        "/users",
        scope=Scope.ADMIN,
        summary="Add an account",
        body=NewUser,
        answer=User,
        statuses=(201,),
        tagged=True,
    )
    async def create(self, call: Call) -> Answer:
        """Create a user (USR-4)."""
        body = call.take(NewUser)
        account = await self._accounts.add_user(
            call.principal, body.username, body.email, body.role, body.state, body.password
        )
        return created(f"/users/{account.id}", _user(account), version=version_of(account))

    @Operation(
        "GET",
        "/users",
        scope=Scope.AUDIT,
        summary="All accounts",
        answer=User,
        listed=True,
        filters={"role": "role", "state": "state", "source": "source"},
        choices={"role": tuple(Role), "state": tuple(AccountState), "source": tuple(AccountSource)},
        sorts=("id", "created_at", "username", "email", "role", "state", "source", "idle"),
    )
    async def list(self, call: Call) -> Answer:
        """List users; ``q`` searches name and e-mail."""
        return listed(await self._accounts.list_accounts(call.principal, call.list_query()), _user)

    @Operation(
        "GET",
        "/users/<id>",
        scope=Scope.READ,
        summary="One's own account, or any for admins",
        answer=UserDetail,
        tagged=True,
    )
    async def get(self, call: Call) -> Answer:
        """Return a user; 404 for other accounts and for deleted ones, which only ``state=deleted`` lists."""
        account = await self._accounts.account(call.principal, call.id)
        if account.state is AccountState.DELETED:
            raise NotFound("This account is deleted. GET /users?state=deleted lists it.")
        return await self._detail(call, account)

    async def _detail(self, call: Call, account: Account) -> Answer:
        valid = await self._accounts.valid_certificates(call.principal, account.id)
        # Sign-ins and certificates don't change the version: no edit conflicts with them.
        return tagged(extended(UserDetail, _user(account), valid_certificates=valid), version_of(account))

    @Operation(
        "PATCH",
        "/users/<id>",
        scope=Scope.ADMIN,
        summary="Change e-mail, role and state of an account: approve, suspend, activate, deactivate",
        body=UserChange,
        answer=UserDetail,
        tagged=True,
    )
    async def update(self, call: Call) -> Answer:
        """Apply all changes, or none."""
        body = call.take(UserChange)
        revoke = None if body.revoke is None else RevocationReason.from_name(body.revoke)
        account = await self._accounts.update(
            call.principal,
            call.id,
            email=body.email,
            role=body.role,
            state=body.state,
            revoke=revoke,
            expected=call.expected,
        )
        return await self._detail(call, account)

    @Operation(
        "DELETE",
        "/users/<id>",
        scope=Scope.ADMIN,
        summary="Delete an account; with revoke=REASON also revoke all valid certificates that it holds",
        query=("revoke",),
        choices={"revoke": REASON_NAMES.choices},
        statuses=(204,),
        tagged=True,
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a user, who stays the owner of their objects in the state ``deleted``; the name becomes available."""
        reason = call.query.get("revoke")
        revoke = None if reason is None else RevocationReason.from_name(reason)
        await self._accounts.delete(call.principal, call.id, revoke, expected=call.expected)
        return NO_CONTENT

    @Operation(
        "POST",
        "/users/<id>/password",
        scope=Scope.ADMIN,
        summary="Set the password of a local account",
        body=NewPassword,
        statuses=(204,),
    )
    async def reset_password(self, call: Call) -> Answer:
        """Set a new password; 409 for an LDAP account."""
        await self._accounts.reset_password(call.principal, call.id, call.take(NewPassword).password)
        return NO_CONTENT

    @Operation(
        "POST",
        "/users/<id>/revocation",
        scope=Scope.ADMIN,
        summary="Revoke all valid certificates of an account that is pending, suspended or deleted",
        body=Revocation,
        answer=OwnerRevocationDocument,
    )
    async def revoke(self, call: Call) -> Answer:
        """Revoke the certificates, in the background when they are many; repeating it changes nothing."""
        reason = RevocationReason.from_name(call.take(Revocation).reason)
        certificates = await self._accounts.revoke_certificates(call.principal, call.id, reason)
        return Answer(200, OwnerRevocationDocument(certificates))

    @Operation("POST", "/users/<id>/logout", scope=Scope.ADMIN, summary="Sign an account out everywhere", answer=Ended)
    async def logout(self, call: Call) -> Answer:
        """End all sessions; tokens are kept."""
        return Answer(200, Ended(await self._sessions.force_logout(call.principal, call.id)))


class TokensAPI(Routes):
    """API tokens."""

    def __init__(self, *, tokens: Tokens, inventory: CertificateQueries) -> None:
        self._tokens = tokens
        self._inventory = inventory

    @Operation(
        "POST",
        "/tokens",
        scope=Access.WHOLE_ACCOUNT,
        summary="Make an API token for one's own account, or any for admins",
        body=NewToken,
        answer=NewTokenDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Create a token; only this answer contains its text."""
        body = call.take(NewToken)
        scopes = None if body.scopes is None else frozenset(body.scopes)
        account_id = call.principal.owner_id if body.user_id is None else body.user_id
        token, text = await self._tokens.create(call.principal, account_id or 0, body.name, scopes, body.days)
        document = extended(NewTokenDocument, _summary(token, await self._names(call, token)), token=text)
        return created(f"/tokens/{token.id}", document, secret=True)

    @Operation(
        "GET",
        "/tokens",
        scope=Scope.READ,
        summary="API tokens without their text: one's own, or for admins all",
        answer=TokenSummary,
        listed=True,
        owner="owner_id",
        sorts=("id", "created_at", "name"),
    )
    async def list(self, call: Call) -> Answer:
        """List tokens; ``q`` searches their names."""
        page = await self._tokens.list(call.principal, call.list_query())
        names = await self._names(call, *page.items)
        return listed(page, lambda token: _summary(token, names))

    @Operation("GET", "/tokens/<id>", scope=Scope.READ, summary="One API token without its text", answer=TokenSummary)
    async def get(self, call: Call) -> Answer:
        """Return a token; 404 for those of other accounts."""
        token = await self._tokens.get(call.principal, call.id)
        return Answer(200, _summary(token, await self._names(call, token)))

    @Operation("DELETE", "/tokens/<id>", scope=Access.WHOLE_ACCOUNT, summary="End an API token", statuses=(204,))
    async def delete(self, call: Call) -> Answer:
        """Revoke a token."""
        await self._tokens.revoke(call.principal, call.id)
        return NO_CONTENT

    async def _names(self, call: Call, *tokens: Token) -> OwnerNames:
        return await self._inventory.owner_names(call.principal, [token.account_id for token in tokens])


def _user(account: Account) -> User:
    return User(
        account.id,
        account.username,
        account.email,
        account.role,
        account.source,
        account.state,
        account.created_at,
        account.last_login_at,
    )


def _summary(token: Token, names: OwnerNames) -> TokenSummary:
    return TokenSummary(
        id=token.id,
        name=token.name,
        owner=names.get(token.account_id),
        scopes=tuple(scope for scope in Scope if scope in token.scopes),
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
    )
