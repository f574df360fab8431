"""One-time links with which users set a new password (ROL-2): no administrator ever knows it."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from pikachu.accounts.account_fields import check_local
from pikachu.accounts.accounts import Accounts
from pikachu.auth.authenticator import account_principal
from pikachu.auth.permissions import require_scope
from pikachu.auth.rate_limit import GuessLimits
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed, MalformedRequest
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account, Principal, Scope
from pikachu.core.model.sign_in import NewPasswordReset
from pikachu.core.model.times import rfc3339, utc

#: Hours for which a link may be valid.
VALIDITIES: Final = (1, 24, 72, 168)
_CODE: Final = re.compile("[A-Za-z0-9_-]{43}")


class PasswordResets:
    """Creates one-time codes, each of which sets the password of one account.

    Methods fail with StoreUnavailable, and run to their end even when their Deferred is cancelled.
    """

    def __init__(self, *, store: IStore, accounts: Accounts, limits: GuessLimits, clock: IClock) -> None:
        self._store = store
        self._accounts = accounts
        self._limits = limits
        self._clock = clock

    @uncancelled
    async def create(
        self, actor: Principal, account_id: int, hours: int = VALIDITIES[1], *, block: bool = False
    ) -> tuple[str, datetime]:
        """Return a code and when it expires; a former code of the account is invalid from now on.  Admins only.

        :param block: also make the present password invalid, which ends the account's sessions.

        Fails with NotFound, MalformedRequest for another number of hours, and Conflict for an account of the directory.
        """
        require_scope(actor, Scope.ADMIN)
        if hours not in VALIDITIES:
            raise MalformedRequest(f"Choose a validity of {', '.join(map(str, VALIDITIES))} hours.", field="hours")
        now = utc(self._clock.seconds())
        expires_at = now + timedelta(hours=hours)
        code = secrets.token_urlsafe(32)

        def decide(account: Account) -> tuple[Account, Event]:
            check_local(account)
            details = {"expires": rfc3339(expires_at), "blocked": block}
            event = event_by(actor, "reset password", "user", account.username, account.id, **details)
            changed = replace(account, password_hash=None) if block else account
            return changed, replace(event, about_account=True)

        reset = NewPasswordReset(account_id, _digest(code), expires_at)
        await self._store.add_password_reset(reset, decide, now)
        return code, expires_at

    @uncancelled
    async def use(self, code: str, password: str, confirmation: str, address: str) -> Account:
        """Set the password of the code's account; the code can't be used again.

        Fails with AuthenticationFailed for a code that is unknown, used or expired, with RateLimited after many of
        them from one address, with MalformedRequest and PolicyViolation for the password, and with Conflict if the
        account was changed meanwhile.
        """
        if password != confirmation:
            raise MalformedRequest("The two passwords differ. Enter the same one twice.", field="confirmation")
        now = utc(self._clock.seconds())
        code = code.strip()
        account = await self._store.account_by_reset(_digest(code), now) if _CODE.fullmatch(code) else None
        if account is None:
            self._limits.check_secret(address, None)
            self._limits.secret_failed(address, None)
            raise AuthenticationFailed(
                "This code is wrong, was used or has expired. Ask an administrator for another one.",
                field="code",
            )
        return await self._accounts.set_password_once(account_principal(account, address), account, password)


def _digest(code: str) -> bytes:
    # 256 random bits can't be guessed, so a plain digest suffices, as for tokens.
    return hashlib.sha256(code.encode()).digest()
