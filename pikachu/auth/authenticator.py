"""From evidence to a principal: passwords, tokens, client certificates, challenge passwords.

Whoever fails is counted (``pikachu.auth.rate_limit``) and recorded; what they typed is not.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from pikachu.auth.client_certificate import ClientCertificateAuthenticator
from pikachu.auth.owners import may_act, require_active
from pikachu.auth.passwords import PasswordHasher
from pikachu.auth.rate_limit import FailureLimiter, address_key
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed, InactiveOwner, NotAuthorized, PikachuError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.people import (
    Account,
    AccountSource,
    ChallengePassword,
    Credentials,
    Principal,
    PrincipalKind,
    Role,
    Scope,
    Token,
)
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer

TOKEN_PREFIX: Final = "pik_"  # noqa: S105 - what tokens begin with
ROLE_SCOPES: Final = MappingProxyType(
    {
        Role.ADMIN: frozenset(Scope),
        Role.USER: frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE}),
    }
)
ACCOUNT_NAME: Final = re.compile("[A-Za-z0-9._@-]{1,64}")
_USED_EVERY: Final = timedelta(minutes=1)
_ENROLL_ONLY: Final = frozenset({Scope.ENROLL})
_TOKEN: Final = re.compile(r"pik_[A-Za-z0-9_-]{43}")
_CHALLENGE: Final = re.compile("[0-9A-F]{32}")
_WRONG_PASSWORD: Final = "wrong username or password"  # noqa: S105 - a message
_WRONG_TOKEN: Final = "the token is wrong or has expired"  # noqa: S105 - a message
_WRONG_CHALLENGE: Final = "the challenge password is wrong, used or expired"


def new_token() -> tuple[str, bytes]:
    """A token of 256 random bits, and its digest."""
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return text, token_digest(text)


def token_digest(text: str) -> bytes:
    """What is stored of a token: SHA-256 will do, since nobody guesses 256 random bits."""
    return hashlib.sha256(text.encode()).digest()


def new_challenge(sealer: Sealer) -> tuple[str, bytes]:
    """A challenge password of 128 random bits in upper-case hex, and the digest by which it is looked up."""
    text = secrets.token_hex(16).upper()
    return text, challenge_lookup(sealer, text)


def challenge_lookup(sealer: Sealer, normalised: str) -> bytes:
    """The digest by which a challenge password is found."""
    return sealer.digest("challenge", normalised.encode())


def account_principal(account: Account, address: str, scopes: frozenset[Scope] | None = None) -> Principal:
    """Who asks, where *account* is known to be behind it.

    :param scopes: what a token allows; of them only those stay that the role has.  ``None``: all of the role.
    """
    allowed = ROLE_SCOPES[account.role]
    return Principal(
        PrincipalKind.ACCOUNT,
        account.username,
        owner_id=account.id,
        role=account.role,
        scopes=allowed if scopes is None else allowed & scopes,
        address=address,
    )


class Authenticator:
    """Every way to prove who one is.  Its Deferreds run to their end even when they are cancelled, so that hanging
    up early hides no failure from the count.

    :param by_account: limits failures per user name, whether or not there is such an account.
    :param by_address: limits failures per address, of all kinds together.
    """

    def __init__(
        self,
        store: IStore,
        hasher: PasswordHasher,
        certificates: ClientCertificateAuthenticator,
        by_account: FailureLimiter,
        by_address: FailureLimiter,
        sealer: Sealer,
        clock: IClock,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._certificates = certificates
        self._by_account = by_account
        self._by_address = by_address
        self._sealer = sealer
        self._clock = clock

    @uncancelled
    async def est(self, credentials: Credentials) -> Principal:
        """The TLS client certificate, else HTTP Basic, else ANONYMOUS; a challenge password in the
        request is for :meth:`challenge`.

        Fails like :meth:`client_certificate` and :meth:`basic`: evidence that proves nothing is never passed over.
        """
        if credentials.peer_certificate is not None:
            return await self.client_certificate(
                credentials.peer_certificate, credentials.address, credentials.peer_intermediates
            )
        if credentials.username is not None:
            return await self.basic(credentials.username, credentials.password or "", credentials.address)
        return Principal(PrincipalKind.ANONYMOUS, "anonymous", address=credentials.address)

    @uncancelled
    async def basic(self, username: str, password: str, address: str) -> Principal:
        """The active local account of that name and password.

        Fails with AuthenticationFailed, in one way and after the same work for every cause, with RateLimited,
        Overloaded and StoreUnavailable.
        """
        return account_principal(await self._account(username, password, address), address)

    @uncancelled
    async def verified(self, username: str, password: str, address: str) -> Account:
        """Like :meth:`basic`, as the account itself: for who begins a session, which is recorded with the session."""
        return await self._account(username, password, address)

    @uncancelled
    async def confirm(self, principal: Principal, password: str) -> None:
        """Succeeds when it is the password of the account that *principal* acts for.

        Fails like :meth:`basic`, and with NotAuthorized for what is no account.
        """
        if principal.kind is not PrincipalKind.ACCOUNT or principal.owner_id is None:
            raise NotAuthorized("only an account has a password")
        account = await self._store.account(principal.owner_id)
        await self._account(account.username, password, principal.address)

    async def _account(self, username: str, password: str, address: str) -> Account:
        # Accounts are told apart without case.
        name_key, source = username[:65].lower(), address_key(address)
        self._check(name_key, source)
        account = await self._store.account_by_name(username) if ACCOUNT_NAME.fullmatch(username) else None
        local = account is not None and account.source is AccountSource.LOCAL
        reason = None
        try:
            await self._hasher.verify(account.password_hash if account is not None and local else None, password)
        except AuthenticationFailed:
            reason = "wrong password" if account is not None else "no such account"
        # Of many guesses sent at once, those that come after the lock learn nothing, not even from a hit.
        self._check(name_key, source)
        if reason is None and account is not None and local and may_act(account):
            self._by_account.succeeded(name_key)
            return account
        locked = max(self._by_account.failed(name_key), self._by_address.failed(source))
        if reason is None and account is not None:
            reason = f"the account is {account.state}"
        await self._record_failure("password", account, address, reason or "", locked)
        raise AuthenticationFailed(_WRONG_PASSWORD, reason=reason, address=address)

    def _check(self, name_key: str, source: str) -> None:
        self._by_account.check(name_key)
        self._by_address.check(source)

    @uncancelled
    async def token(self, text: str, address: str) -> Principal:
        """The active account whose API token *text* is; scopes are those that both token and role have.

        Fails with AuthenticationFailed, RateLimited and StoreUnavailable.
        """
        source = address_key(address)
        self._by_address.check(source)
        # The digest is looked up, so what the database compares is nothing that a caller can choose bit by bit.
        found = await self._store.token_by_digest(token_digest(text)) if _TOKEN.fullmatch(text) else None
        account = None
        if found is None:
            reason = "no such token"
        else:
            token, account = found
            if token.expires_at is not None and token.expires_at <= self._now():
                reason = f"the token {token.name} has expired"
            elif not may_act(account):
                reason = f"the account is {account.state}"
            else:
                self._used(token)
                return account_principal(account, address, token.scopes)
        locked = self._by_address.failed(source)
        await self._record_failure("token", account, address, reason, locked)
        raise AuthenticationFailed(_WRONG_TOKEN, reason=reason, address=address)

    def _used(self, token: Token) -> None:
        """Remember it to the minute; a request waits for that no more than it fails with it."""
        now = self._now()
        if token.last_used_at is None or abs(now - token.last_used_at) >= _USED_EVERY:
            self._store.touch_token(token.id, now).addErrback(lambda failure: failure.trap(PikachuError) and None)

    @uncancelled
    async def client_certificate(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Principal:
        """Who holds the key of the TLS client certificate *der*.

        :param intermediates: what the peer sent with it.

        Fails with NotAuthorized and StoreUnavailable.
        """
        return await self._certificate_principal(der, address, intermediates, client_auth=True)

    @uncancelled
    async def bound_account(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Account | None:
        """The active account that the TLS client certificate *der* signs in; ``None`` when it was bound to none.

        Fails with NotAuthorized for one that was bound, but is not valid here any more or whose account is not active.
        """
        account = await self._store.account_by_certificate(hashlib.sha256(der).digest())
        if account is None:
            return None
        await self.client_certificate(der, address, intermediates)
        require_active(account)
        return account

    @uncancelled
    async def verified_certificate(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Account:
        """Like :meth:`bound_account`, for who begins a session: one that signs in nobody is a failure too, and failures
        are counted and recorded.

        Fails with NotAuthorized, RateLimited and StoreUnavailable.
        """
        source = address_key(address)
        self._by_address.check(source)
        try:
            account = await self.bound_account(der, address, intermediates)
            if account is None:
                raise NotAuthorized("this client certificate signs in no account; bind it on the page Account first")
        except NotAuthorized as error:
            locked = self._by_address.failed(source)
            whose = await self._store.account_by_certificate(hashlib.sha256(der).digest())
            await self._record_failure("client certificate", whose, address, error.public, locked)
            raise
        return account

    @uncancelled
    async def message_signer(self, der: bytes, address: str) -> Principal:
        """Who signed a SCEP message with the key of *der*: one of this authority's own certificates (SCEP-3).
        Its extendedKeyUsage does not matter.

        Fails with NotAuthorized and StoreUnavailable.
        """
        return await self._certificate_principal(der, address, client_auth=False)

    async def _certificate_principal(
        self, der: bytes, address: str, intermediates: Sequence[bytes] = (), *, client_auth: bool
    ) -> Principal:
        presented = await self._certificates.authenticate(der, intermediates, client_auth=client_auth)
        if not client_auth and not presented.own:
            raise NotAuthorized("the message was not signed with a certificate of this authority")
        issued_by = "certificate" if presented.own else "foreign certificate"
        return Principal(
            PrincipalKind.CLIENT_CERTIFICATE,
            f"{issued_by} {format_serial(presented.serial)}",
            owner_id=presented.owner_id,
            scopes=_ENROLL_ONLY,
            certificate=presented,
            address=address,
        )

    @uncancelled
    async def challenge(self, text: str, address: str) -> Principal:
        """Who was given the challenge password *text*; it must be neither spent, reserved nor expired, and its
        owner still active.  Nothing is consumed here: the store reserves it with the request.

        It is looked up by its keyed digest, so no comparison depends on how much of a guess is right.
        Fails with AuthenticationFailed, RateLimited and StoreUnavailable.
        """
        source = address_key(address)
        self._by_address.check(source)
        challenge = await self._challenge(text)
        reason = "no such challenge password" if challenge is None else await self._unusable(challenge)
        if challenge is not None and reason is None:
            return Principal(
                PrincipalKind.CHALLENGE,
                f"challenge password {challenge.prefix}",
                owner_id=challenge.owner_id,
                scopes=_ENROLL_ONLY,
                challenge_id=challenge.id,
                address=address,
            )
        self._by_address.failed(source)
        normalised = _normalise(text)
        await self._store.add_event(
            Event(
                "failed login",
                "challenge password",
                normalised[:8] if normalised else "unknown",
                "anonymous",
                {"ip": address, "reason": reason},
                owner_id=challenge.owner_id if challenge else None,
            ),
            self._now(),
        )
        raise AuthenticationFailed(_WRONG_CHALLENGE, reason=reason, address=address)

    @uncancelled
    async def challenge_id(self, text: str) -> int | None:
        """The id of the challenge password *text*, usable or not.

        It authenticates nobody.  A client that repeats a request whose challenge password is spent by now is recognised
        by it.
        """
        challenge = await self._challenge(text)
        return None if challenge is None else challenge.id

    async def _challenge(self, text: str) -> ChallengePassword | None:
        normalised = _normalise(text)
        if normalised is None:
            return None
        return await self._store.challenge_by_lookup(challenge_lookup(self._sealer, normalised))

    async def _unusable(self, challenge: ChallengePassword) -> str | None:
        if challenge.consumed_at is not None:
            return "it was used before"
        if challenge.reserved_by is not None:
            return "a request holds it"
        now = self._now()
        if challenge.expires_at <= now:
            return "it has expired"
        if challenge.created_at - now > challenge.expires_at - challenge.created_at:
            return "it was created while this machine's clock was ahead"
        if challenge.owner_id is not None:
            try:
                await self._store.require_active_owner(challenge.owner_id)
            except InactiveOwner as error:
                return f"its owner is {error.context['state']}"
        return None

    async def _record_failure(self, by: str, account: Account | None, address: str, reason: str, locked: int) -> None:
        """A name that is no account's is not recorded: it may be a password in the wrong field."""
        details: dict[str, object] = {"ip": address, "by": by, "reason": reason}
        if locked:
            details["locked_seconds"] = locked
        if account is None:
            event = Event("failed login", "user", "unknown", "anonymous", details, about_account=True)
        else:
            event = Event(
                "failed login", "user", account.username, "anonymous", details, owner_id=account.id, about_account=True
            )
        await self._store.add_event(event, self._now())

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _normalise(text: str) -> str | None:
    """A challenge password as it was made, where *text* can be one: people and devices change its case."""
    if len(text) > 64:
        return None
    normalised = text.strip().upper()
    return normalised if _CHALLENGE.fullmatch(normalised) else None
