"""``/users/<id>/lock``, ``…/password-reset``, ``…/second-factors`` and ``/passkeys``: how accounts sign in (ROL-2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.passkeys import PasskeyAdministration
from pikachu.accounts.password_resets import VALIDITIES, PasswordResets
from pikachu.accounts.second_factors import SecondFactorAdministration
from pikachu.accounts.sign_in_locks import SignInLocks
from pikachu.core.constraints import Range
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.people import AccountState, Scope
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes


@dataclass(frozen=True, slots=True)
class FailedSignIn:
    """A failed sign-in."""

    at: datetime
    address: str


@dataclass(frozen=True, slots=True)
class SignInLockDocument:
    """The lock of an account after wrong passwords: ``locked_seconds`` until the last lock ends, 0 without one; and
    the newest failed sign-ins.
    """

    locked_seconds: int
    failures: tuple[FailedSignIn, ...]


@dataclass(frozen=True, slots=True)
class NewPasswordResetDocument:
    """``hours``: 1, 24, 72 or 168.  ``block`` also makes the current password invalid, and ends all sessions."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"hours": 24}

    hours: Annotated[int, Range(min(VALIDITIES), max(VALIDITIES))] = VALIDITIES[1]
    block: bool = False


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A one-time link with which the user sets a new password, and its code; neither is shown again."""

    link: str
    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PasskeyDocument:
    """A passkey; ``host`` is the host name of the pages that it signs in to."""

    id: int
    name: str
    host: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class SecondFactorsDocument:
    """The second factors of an account: whether it has an authenticator app, its passkeys, and the number of its
    unused recovery codes.
    """

    authenticator_app: bool
    passkeys: tuple[PasskeyDocument, ...]
    recovery_codes: int


class AccountSecurityAPI(Routes):
    """Locks, password resets and second factors of accounts."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sign_in_locks: SignInLocks,
        password_resets: PasswordResets,
        second_factors: SecondFactorAdministration,
        passkeys: PasskeyAdministration,
    ) -> None:
        self._accounts = accounts
        self._locks = sign_in_locks
        self._resets = password_resets
        self._second_factors = second_factors
        self._passkeys = passkeys

    @Operation(
        "GET",
        "/users/<id>/lock",
        scope=Scope.AUDIT,
        summary="Whether wrong passwords have locked an account, and its newest failed sign-ins",
        answer=SignInLockDocument,
    )
    async def lock(self, call: Call) -> Answer:
        """Return the lock of an account."""
        lock = await self._locks.lock(call.principal, call.id)
        failures = tuple(FailedSignIn(record.at, str(record.event.details.get("ip") or "")) for record in lock.failures)
        return Answer(200, SignInLockDocument(lock.seconds, failures))

    @Operation(
        "DELETE",
        "/users/<id>/lock",
        scope=Scope.ADMIN,
        summary="Unlock an account: it can try passwords again at all addresses",
        statuses=(204,),
    )
    async def unlock(self, call: Call) -> Answer:
        """End the locks of an account; those of whole addresses stay."""
        await self._locks.unlock(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "POST",
        "/users/<id>/password-reset",
        scope=Scope.ADMIN,
        summary="Create a one-time link with which a user sets a new password; a former link becomes invalid",
        body=NewPasswordResetDocument,
        answer=PasswordReset,
    )
    async def reset_password(self, call: Call) -> Answer:
        """Create a link; only this answer contains it.  409 for an account of the directory or of a provider."""
        body = call.take(NewPasswordResetDocument)
        if not call.origin:
            raise MalformedRequest("Send the Host header: the link names this server.")
        code, expires_at = await self._resets.create(call.principal, call.id, body.hours, block=body.block)
        return Answer(200, PasswordReset(f"{call.origin}/reset#{code}", code, expires_at), secret=True)

    @Operation(
        "GET",
        "/users/<id>/second-factors",
        scope=Access.WHOLE_ACCOUNT,
        summary="The second factors of one's own account, or for admins and auditors of any",
        answer=SecondFactorsDocument,
    )
    async def second_factors(self, call: Call) -> Answer:
        """Return the second factors without their secrets; 404 for other accounts."""
        account = await self._accounts.account(call.principal, call.id)
        if account.state is AccountState.DELETED:
            raise NotFound("This account is deleted.")
        passkeys = await self._passkeys.of_account(call.principal, account.id)
        factors = await self._second_factors.of_account(call.principal, account.id)
        documents = tuple(
            PasskeyDocument(one.id, one.name, one.host, one.created_at, one.last_used_at) for one in passkeys
        )
        return Answer(200, SecondFactorsDocument(factors.has_app, documents, factors.recovery_codes))

    @Operation(
        "DELETE",
        "/users/<id>/second-factors",
        scope=Scope.ADMIN,
        summary="Remove all second factors and recovery codes of an account",
        statuses=(204,),
    )
    async def reset_second_factors(self, call: Call) -> Answer:
        """Remove them; the account signs in with its password alone."""
        await self._second_factors.reset(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "DELETE",
        "/passkeys/<id>",
        scope=Access.WHOLE_ACCOUNT,
        summary="Remove one of one's own passkeys, or any for admins",
        statuses=(204,),
    )
    async def remove_passkey(self, call: Call) -> Answer:
        """Remove a passkey, and with the last second factor the recovery codes."""
        await self._passkeys.remove(call.principal, call.id)
        return NO_CONTENT
