"""Verification of second factors: one-time passwords and recovery codes (ROL-2)."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, NoReturn

from pikachu.auth.rate_limit import GuessLimits
from pikachu.auth.totp import matching_step
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer, totp_row

PURPOSE: Final = "second factor"
RECOVERY_CODES: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS: Final = 4
_GROUP: Final = 4
_RECOVERY: Final = re.compile(f"[{_ALPHABET}]{{{_GROUPS * _GROUP}}}")


def new_recovery_code() -> str:
    """Return a recovery code of 79 random bits, in groups of characters that are not mistaken for others."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP))
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def recovery_digest(account_id: int, code: str) -> bytes | None:
    """Return the stored digest of a recovery code, or None for what can be none."""
    text = re.sub(r"[\s-]", "", code).lower()
    # 79 random bits can't be guessed, so a plain digest suffices, as for tokens.
    return hashlib.sha256(b"%d " % account_id + text.encode()).digest() if _RECOVERY.fullmatch(text) else None


def new_recovery_codes(account_id: int) -> tuple[list[str], tuple[bytes, ...]]:
    """Return new recovery codes of an account, and their digests."""
    codes = [new_recovery_code() for _ in range(RECOVERY_CODES)]
    return codes, tuple(digest for code in codes if (digest := recovery_digest(account_id, code)) is not None)


class SecondFactors:
    """Verifies the codes of accounts; wrong ones count as wrong passwords do.

    Its Deferreds complete even when cancelled, so that disconnecting early hides no failure from the count.
    """

    def __init__(self, store: IStore, limits: GuessLimits, sealer: Sealer, clock: IClock) -> None:
        self._store = store
        self._limits = limits
        self._sealer = sealer
        self._clock = clock

    @uncancelled
    async def verify(self, account: Account, code: str, address: str) -> str:
        """Verify a one-time password or a recovery code, which is used up; return what it was, for the audit log.

        Fails with AuthenticationFailed, RateLimited, SecretKeyChanged and StoreUnavailable.
        """
        totp = await self._store.totp(account.id)
        # From here to the count nothing waits, so that simultaneous guesses are counted one by one.
        self._limits.check_password(account.username, address)
        if totp is not None:
            secret = self._sealer.open(PURPOSE, totp.sealed, totp_row(totp.id, account.id))
            step = matching_step(secret, code, self._clock.seconds())
            if step is not None:
                if not await self._store.use_totp_step(account.id, step):
                    await self._refuse(account, address, "this code was used before")
                self._limits.password_succeeded(account.username, address)
                return "one-time password"
        digest = recovery_digest(account.id, code)
        if digest is None:
            await self._refuse(account, address, "wrong code")
        event = Event(
            "use recovery code",
            "user",
            account.username,
            account.username,
            {"ip": address},
            account.id,
            account.id,
            about_account=True,
        )
        if not await self._store.use_recovery_code(account.id, digest, event, utc(self._clock.seconds())):
            await self._refuse(account, address, "wrong recovery code")
        self._limits.password_succeeded(account.username, address)
        return "recovery code"

    async def _refuse(self, account: Account, address: str, reason: str) -> NoReturn:
        details: dict[str, object] = {"ip": address, "by": "second factor", "reason": reason}
        locked = self._limits.password_failed(account.username, address)
        if locked:
            details["locked_seconds"] = locked
        event = Event(
            "failed login", "user", account.username, "anonymous", details, owner_id=account.id, about_account=True
        )
        await self._store.add_event(event, utc(self._clock.seconds()))
        raise AuthenticationFailed(
            "Wrong code, or it was used before. Enter the next one.", field="code", reason=reason
        )
