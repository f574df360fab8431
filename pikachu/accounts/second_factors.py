"""Setting up and removing second factors (ROL-2)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from pikachu.auth.permissions import reads_all, require_scope, require_whole_account
from pikachu.auth.second_factor import PURPOSE, new_recovery_codes
from pikachu.auth.totp import matching_step, new_secret
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotFound, SecretKeyChanged
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account, AccountState, Principal, Scope
from pikachu.core.model.second_factors import NewTOTP
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer, totp_row

#: How long a new secret waits for its first code.
SET_UP: Final = timedelta(minutes=15)
_OFFER: Final = "second factor offer"


@dataclass(frozen=True, slots=True)
class Offer:
    """A new secret that is not in use yet.

    :param sealed: the secret for :meth:`SecondFactorAdministration.confirm`; only this server can have made it.
    """

    secret: bytes = field(repr=False)
    sealed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecondFactorState:
    """Whether an account has an authenticator app, and the number of its unused recovery codes."""

    has_app: bool
    recovery_codes: int


class SecondFactorAdministration:
    """Second factors of one's own account, and their removal by administrators.

    Methods fail with StoreUnavailable, and run to their end even when their Deferred is cancelled.
    """

    def __init__(self, *, store: IStore, sealer: Sealer, clock: IClock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    def offer(self, actor: Principal) -> Offer:
        """Return a new secret for one's own account; nothing changes before :meth:`confirm`."""
        return self._offer(require_whole_account(actor), new_secret(), self._clock.seconds())

    def _offer(self, account_id: int, secret: bytes, at: float) -> Offer:
        content = json.dumps([account_id, at, secret.hex()]).encode()
        return Offer(secret, base64.urlsafe_b64encode(self._sealer.seal(_OFFER, content)).decode())

    def reopen(self, actor: Principal, sealed: str) -> Offer:
        """Return an offer again.

        :raises MalformedRequest: it is for another account, or has expired.
        """
        try:
            content = self._sealer.open(_OFFER, base64.urlsafe_b64decode(sealed.encode("ascii", "replace")))
        except (SecretKeyChanged, ValueError, binascii.Error):
            raise MalformedRequest(_EXPIRED) from None
        account_id, at, secret = json.loads(content)
        age = abs(self._clock.seconds() - at)
        if account_id != require_whole_account(actor) or age > SET_UP.total_seconds():
            raise MalformedRequest(_EXPIRED)
        return self._offer(account_id, bytes.fromhex(secret), at)

    @uncancelled
    async def confirm(self, actor: Principal, offer: Offer, code: str) -> list[str]:
        """Use the offered secret from now on, instead of a former one; return new recovery codes.

        Fails with MalformedRequest for a wrong code.
        """
        own = require_whole_account(actor)
        step = matching_step(offer.secret, code, self._clock.seconds())
        if step is None:
            raise MalformedRequest(
                "Wrong code. Check that the clock of your device is right, and enter the next one.", field="code"
            )
        codes, digests = new_recovery_codes(own)

        def seal(row_id: int) -> bytes:
            return self._sealer.seal(PURPOSE, offer.secret, totp_row(row_id, own))

        account = await self._store.account(own)
        event = _event("add second factor", account, actor, kind="one-time password")
        await self._store.put_totp(NewTOTP(own, seal, step, digests), event, self._now())
        return codes

    @uncancelled
    async def renew_recovery_codes(self, actor: Principal) -> list[str]:
        """Return new recovery codes of one's own account; former ones are invalid.  Fails with Conflict without a
        second factor.
        """
        own = require_whole_account(actor)
        codes, digests = new_recovery_codes(own)
        account = await self._store.account(own)
        event = _event("renew recovery codes", account, actor)
        await self._store.put_recovery_codes(own, digests, event, self._now())
        return codes

    @uncancelled
    async def recovery_codes_left(self, actor: Principal) -> int:
        """Return the number of one's own unused recovery codes."""
        return await self._store.recovery_codes_left(require_whole_account(actor))

    @uncancelled
    async def has_app(self, actor: Principal) -> bool:
        """Return whether one's own account has an authenticator app."""
        return await self._store.totp(require_whole_account(actor)) is not None

    @uncancelled
    async def of_account(self, actor: Principal, account_id: int) -> SecondFactorState:
        """Return what one's own account has, or any account for admins and auditors.  Fails with NotFound."""
        if require_whole_account(actor) != account_id and not reads_all(actor):
            raise NotFound("There is no such account.")
        totp = await self._store.totp(account_id)
        return SecondFactorState(totp is not None, await self._store.recovery_codes_left(account_id))

    @uncancelled
    async def remove(self, actor: Principal) -> None:
        """Remove the authenticator app of one's own account; without a passkey, also the recovery codes."""
        await self._remove(actor, require_whole_account(actor), with_passkeys=False)

    @uncancelled
    async def reset(self, actor: Principal, account_id: int) -> None:
        """Remove all second factors and the recovery codes of an account.  Admins only.  Fails with NotFound."""
        require_scope(actor, Scope.ADMIN)
        await self._remove(actor, account_id, with_passkeys=True)

    async def _remove(self, actor: Principal, account_id: int, *, with_passkeys: bool) -> None:
        def decide(account: Account) -> Event:
            if account.state is AccountState.DELETED:
                raise NotFound("This account is deleted.")
            return _event("remove second factor", account, actor)

        await self._store.remove_second_factors(account_id, decide, self._now(), with_passkeys=with_passkeys)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


_EXPIRED: Final = "This form has expired. Start again with a new secret."


def _event(type_: str, account: Account, actor: Principal, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", account.username, account.id, **details), about_account=True)
