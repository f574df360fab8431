"""Passkeys of accounts: registering, listing, removing them, and signing in with them (ROL-2)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any, Final

from pikachu.accounts.sessions import Sessions
from pikachu.auth.permissions import is_admin, reads_all, require_whole_account
from pikachu.auth.second_factor import new_recovery_codes
from pikachu.auth.webauthn.challenges import Ceremony, Challenges, Place
from pikachu.auth.webauthn.verification import Answer, PasskeyVerifier
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.account_objects import Session
from pikachu.core.model.events import Event
from pikachu.core.model.passkeys import NewPasskey, Passkey
from pikachu.core.model.people import Account, AccountSource, Principal
from pikachu.core.model.times import utc

#: Maximum number of passkeys of one account.
MAXIMUM_PASSKEYS: Final = 20
_MAXIMUM_NAME: Final = 64


class PasskeyAdministration:
    """Passkeys of one's own account, and their removal by administrators.

    Methods fail with StoreUnavailable, and run to their end even when their Deferred is cancelled.
    """

    def __init__(self, *, store: IStore, challenges: Challenges, clock: IClock) -> None:
        self._store = store
        self._challenges = challenges
        self._clock = clock

    @uncancelled
    async def options(self, actor: Principal, place: Place) -> tuple[dict[str, Any], str]:
        """Return the options for a new passkey of one's own account, and its sealed challenge.

        Fails with MalformedRequest on an IP address, and with Conflict for an account of a provider.
        """
        from pikachu.auth.webauthn.ceremonies import creation_options

        account = await self._own(actor, place)
        present = await self._store.passkeys_of(account.id)
        # One authenticator has one passkey for each user handle, and asks nobody before it replaces it.
        handle = next((one.user_handle for one in present), secrets.token_bytes(32))
        challenge, offer = self._challenges.new(Ceremony.REGISTER, place, account.id, handle)
        return creation_options(place, challenge, account.username, present), offer

    async def _own(self, actor: Principal, place: Place) -> Account:
        account = await self._store.account(require_whole_account(actor))
        place.require_host()
        if account.source is AccountSource.OIDC:
            # The provider decides how its users sign in (docs/adr/0039).
            raise Conflict("Your account signs in with its provider. Register passkeys there.")
        return account

    @uncancelled
    async def add(self, actor: Principal, place: Place, name: str, answer: Answer) -> list[str]:
        """Register a passkey; return new recovery codes if it is the account's first second factor.

        Fails with MalformedRequest and Conflict.
        """
        from pikachu.auth.webauthn.ceremonies import registered

        account = await self._own(actor, place)
        name = " ".join(name.split())
        if not 1 <= len(name) <= _MAXIMUM_NAME or not name.isprintable():
            raise MalformedRequest(f"Enter a name of 1 to {_MAXIMUM_NAME} characters for the passkey.", field="name")
        challenge = self._challenges.open(Ceremony.REGISTER, place, answer.offer)
        if challenge.account_id != account.id:
            raise MalformedRequest("This form is for another account. Start again.")
        found = registered(place, challenge, answer.credential)
        codes, digests = new_recovery_codes(account.id)
        passkey = NewPasskey(
            account_id=account.id,
            name=name,
            host=place.host,
            credential_id=found.credential_id,
            public_key=found.public_key,
            sign_count=found.sign_count,
            user_handle=challenge.user_handle,
            challenged_at=challenge.at,
            recovery_digests=digests,
        )
        event = _event("add passkey", account, actor, passkey=name, host=place.host)
        first = await self._store.add_passkey(passkey, MAXIMUM_PASSKEYS, event, utc(self._clock.seconds()))
        return codes if first else []

    @uncancelled
    async def of_account(self, actor: Principal, account_id: int) -> list[Passkey]:
        """Return one's own passkeys, or any account's for admins and auditors.  Fails with NotFound."""
        if require_whole_account(actor) != account_id and not reads_all(actor):
            raise NotFound("There is no such account.")
        return await self._store.passkeys_of(account_id)

    @uncancelled
    async def get(self, actor: Principal, passkey_id: int) -> Passkey:
        """Return one of one's own passkeys, or any for admins and auditors.  Fails with NotFound."""
        own = require_whole_account(actor)
        passkey = await self._store.passkey(passkey_id)
        if passkey.account_id != own and not reads_all(actor):
            raise NotFound("There is no such passkey.")
        return passkey

    @uncancelled
    async def remove(self, actor: Principal, passkey_id: int) -> None:
        """Remove one of one's own passkeys, or any for admins.  Fails with NotFound."""
        passkey = await self.get(actor, passkey_id)
        if passkey.account_id != actor.owner_id and not is_admin(actor):
            raise NotFound("There is no such passkey.")
        await self._store.remove_passkey(
            passkey_id,
            lambda one, account: _event("remove passkey", account, actor, passkey=one.name, host=one.host),
            utc(self._clock.seconds()),
        )


@dataclass(frozen=True, slots=True)
class SecondStep:
    """The ways to finish a sign-in after the password.

    :param has_app: an authenticator app shows codes.
    :param hosts: for which the account has passkeys.
    """

    has_app: bool
    hosts: frozenset[str]


class PasskeySignIn:
    """Signing in with passkeys.  Methods fail as those of :class:`PasskeyVerifier` and :class:`Sessions` do."""

    def __init__(self, *, store: IStore, sessions: Sessions, verifier: PasskeyVerifier) -> None:
        self._store = store
        self._sessions = sessions
        self._verifier = verifier

    @uncancelled
    async def second_step(self, pending: str) -> SecondStep:
        """Return the ways to finish a sign-in.  Fails with NotAuthorized when it has expired."""
        account = await self._sessions.pending_account(pending)
        passkeys = await self._store.passkeys_of(account.id)
        totp = await self._store.totp(account.id)
        return SecondStep(totp is not None, frozenset(one.host for one in passkeys))

    @uncancelled
    async def options(self, place: Place, pending: str | None = None) -> tuple[dict[str, Any], str]:
        """Return the options of a question to the browser, and its sealed challenge.

        :param pending: the proof of a right password, for the second step.
        """
        account = None if pending is None else await self._sessions.pending_account(pending)
        return await self._verifier.options(place, account)

    @uncancelled
    async def login(self, place: Place, answer: Answer, agent: str, pending: str | None = None) -> tuple[Session, str]:
        """Begin a session; return it and its secret.

        :param pending: as in :meth:`options`.
        """
        account = None if pending is None else await self._sessions.pending_account(pending)
        owner = await self._verifier.verify(place, answer, account)
        by = "passkey" if account is None else "password and passkey"
        return await self._sessions.login_by_passkey(owner, place.address, agent, by)


def _event(type_: str, account: Account, actor: Principal, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", account.username, account.id, **details), about_account=True)
