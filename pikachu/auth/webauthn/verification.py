"""Signing in with passkeys: alone, or as the second step after the password (ROL-2)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pikachu.auth.rate_limit import GuessLimits
from pikachu.auth.webauthn.challenges import Ceremony, Challenges, Place
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.passkeys import Passkey
from pikachu.core.model.people import Account
from pikachu.core.model.times import utc
from pikachu.core.owners import require_active


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a browser.

    :param offer: the sealed challenge.
    :param credential: the credential as JSON (WebAuthn section 5.1.8).
    """

    offer: str = field(repr=False)
    credential: str = field(repr=False)


class PasskeyVerifier:
    """Decides whom a passkey signs in.

    Its Deferreds complete even when cancelled, so that disconnecting early hides no failure from the count.
    """

    def __init__(self, store: IStore, limits: GuessLimits, challenges: Challenges, clock: IClock) -> None:
        self._store = store
        self._limits = limits
        self._challenges = challenges
        self._clock = clock

    @uncancelled
    async def options(self, place: Place, account: Account | None = None) -> tuple[dict[str, Any], str]:
        """Return the options of a question to the browser, and its sealed challenge.

        :param account: whose password was right; without one, the user chooses a passkey.
        """
        from pikachu.auth.webauthn.ceremonies import request_options

        place.require_host()
        if account is None:
            challenge, offer = self._challenges.new(Ceremony.SIGN_IN, place)
            return request_options(place, challenge, []), offer
        challenge, offer = self._challenges.new(Ceremony.SECOND_STEP, place, account.id)
        return request_options(place, challenge, await self._store.passkeys_of(account.id)), offer

    @uncancelled
    async def verify(self, place: Place, answer: Answer, account: Account | None = None) -> Account:
        """Return the active account that an answer signs in.

        :param account: as in :meth:`options`.

        Fails with MalformedRequest for what is none, with AuthenticationFailed, InactiveOwner, and with RateLimited
        only for an answer that is not right.
        """
        from pikachu.auth.webauthn.ceremonies import credential_of, verified_count

        place.require_host()
        ceremony = Ceremony.SIGN_IN if account is None else Ceremony.SECOND_STEP
        challenge = self._challenges.open(ceremony, place, answer.offer)
        credential_id, user_handle = credential_of(answer.credential)
        found = await self._store.passkey_by_credential(credential_id)
        expected = None if account is None else account.id
        if found is None or challenge.account_id != expected or expected not in (None, found[1].id):
            await self._refuse(place, account, None, "unknown passkey", _UNKNOWN)
        passkey, owner = found
        # A discoverable credential names its user (section 7.2, step 6).
        named = user_handle if user_handle or account is not None else b"?"
        if passkey.host != place.host or (named and not hmac.compare_digest(named, passkey.user_handle)):
            await self._refuse(place, owner, passkey, "the passkey is for another host or user", _UNKNOWN)
        try:
            count = verified_count(place, challenge, answer.credential, passkey)
        except AuthenticationFailed as error:
            await self._refuse(place, owner, passkey, str(error.context.get("reason", "")), error.public)
        require_active(owner)
        if not await self._store.use_passkey(passkey.id, count, challenge.at, utc(self._clock.seconds())):
            reason = "the counter did not increase, or the answer was used before"
            await self._refuse(place, owner, passkey, reason, _REPEATED)
        return owner

    async def _refuse(
        self, place: Place, account: Account | None, passkey: Passkey | None, reason: str, message: str
    ) -> NoReturn:
        known = None if passkey is None else f"passkey {passkey.id}"
        self._limits.check_secret(place.address, known)
        details: dict[str, object] = {"ip": place.address, "by": "passkey", "reason": reason}
        if passkey is not None:
            details["passkey"] = passkey.name
        locked = self._limits.secret_failed(place.address, known)
        if locked:
            details["locked_seconds"] = locked
        name, owner_id = ("unknown", None) if account is None else (account.username, account.id)
        event = Event("failed login", "user", name, "anonymous", details, owner_id=owner_id, about_account=True)
        await self._store.add_event(event, utc(self._clock.seconds()))
        raise AuthenticationFailed(message, reason=reason, address=place.address)


_UNKNOWN = "This passkey signs in nobody here. Use another one, or sign in with your password."
_REPEATED = "This answer of your passkey was used before, or the passkey was copied. Try again, or remove it."
