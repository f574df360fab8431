"""Authentication by password, token, client certificate and challenge password.

Failures are counted (``pikachu.auth.rate_limit``) and recorded, without the credentials.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NoReturn

from pikachu.auth.client_certificate import ClientCertificateAuthenticator
from pikachu.auth.directory_accounts import DirectoryAccounts
from pikachu.auth.passwords import PasswordHasher
from pikachu.auth.rate_limit import GuessLimits
from pikachu.config.setting_choices import RequireSecondFactor
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed, InactiveOwner, NotAuthorized, PikachuError, RequestError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.directory_people import Person, normalised_name
from pikachu.core.model.events import Event
from pikachu.core.model.people import (
    Account,
    AccountSource,
    AccountState,
    ChallengePassword,
    Credentials,
    Principal,
    PrincipalKind,
    Role,
    Scope,
    Token,
)
from pikachu.core.model.sign_in import Restriction
from pikachu.core.model.times import utc
from pikachu.core.owners import may_act, require_active
from pikachu.core.sealing import Sealer
from pikachu.x509.bound_names import names_to_add
from pikachu.x509.csr import CertificationRequest

TOKEN_PREFIX: Final = "pik_"  # noqa: S105 - the prefix of every token
_USER_SCOPES: Final = frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE})
ROLE_SCOPES: Final = MappingProxyType(
    {
        Role.ADMIN: frozenset(Scope),
        Role.OPERATOR: _USER_SCOPES | {Scope.OPERATE},
        Role.AUDITOR: frozenset({Scope.READ, Scope.AUDIT}),
        Role.USER: _USER_SCOPES,
    }
)
# Tokens from before these scopes existed lack their names.
_ADMIN_INCLUDES: Final = frozenset({Scope.OPERATE, Scope.AUDIT})
# How long an account is cached: refusals, such as for a role, may be that late.
_CACHED_SECONDS: Final = 1.0
_CACHED_ACCOUNTS: Final = 1000
ACCOUNT_NAME: Final = re.compile("[A-Za-z0-9._@-]{1,64}")
_TOUCH_INTERVAL: Final = timedelta(minutes=1)
_ENROLL_ONLY: Final = frozenset({Scope.ENROLL})
_TOKEN: Final = re.compile(r"pik_[A-Za-z0-9_-]{43}")
_CHALLENGE: Final = re.compile("[0-9A-F]{32}")
_WRONG_PASSWORD: Final = "wrong username or password"  # noqa: S105 - a message
#: What the right password of an account that may not sign in is answered; there is nothing left to guess.
_INACTIVE: Final = MappingProxyType(
    {
        AccountState.PENDING: "Your account is waiting for approval. An administrator has to approve it.",
        AccountState.SUSPENDED: "Your account is suspended. Ask an administrator to activate it.",
    }
)
_WRONG_TOKEN: Final = "the token is wrong or has expired"  # noqa: S105 - a message
_WRONG_CHALLENGE: Final = "the challenge password is wrong, used or expired"


def new_token() -> tuple[str, bytes]:
    """Return a token of 256 random bits, and its digest."""
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return text, token_digest(text)


def token_digest(text: str) -> bytes:
    """Return the stored digest of a token; SHA-256 suffices, since 256 random bits can't be guessed."""
    return hashlib.sha256(text.encode()).digest()


def new_challenge(sealer: Sealer) -> tuple[str, bytes]:
    """Return a challenge password of 128 random bits in upper-case hex, and its lookup digest."""
    text = secrets.token_hex(16).upper()
    return text, challenge_lookup(sealer, text)


def challenge_lookup(sealer: Sealer, normalised: str) -> bytes:
    """Return the lookup digest of a challenge password."""
    return sealer.digest("challenge", normalised.encode())


def account_principal(
    account: Account, address: str, scopes: frozenset[Scope] | None = None, *, job_id: int | None = None
) -> Principal:
    """Return the principal of an authenticated *account*.

    :param scopes: the scopes of a token, reduced to those of the role; ``None`` grants all scopes of the role.
    :param job_id: the job that acts for the account.
    """
    allowed = ROLE_SCOPES[account.role]
    if scopes is not None and Scope.ADMIN in scopes:
        scopes |= _ADMIN_INCLUDES
    return Principal(
        PrincipalKind.ACCOUNT,
        account.username,
        owner_id=account.id,
        role=account.role,
        scopes=allowed if scopes is None else allowed & scopes,
        address=address,
        job_id=job_id,
    )


class Authenticator:
    """Authenticates principals by every supported method.

    Its Deferreds complete even when cancelled, so that disconnecting early hides no failure from the count.

    :param limits: counts failures; a user name is counted whether or not the account exists.
    :param require_second_factor: the accounts that have to sign in with a second factor.
    :param directory: verifies the passwords of accounts that are not local; ``None`` without a directory.
    """

    def __init__(
        self,
        store: IStore,
        hasher: PasswordHasher,
        certificates: ClientCertificateAuthenticator,
        limits: GuessLimits,
        sealer: Sealer,
        clock: IClock,
        directory: DirectoryAccounts | None = None,
        *,
        require_second_factor: RequireSecondFactor = RequireSecondFactor.NONE,
    ) -> None:
        self._require_second_factor = require_second_factor
        self._store = store
        self._directory = directory
        self._hasher = hasher
        self._certificates = certificates
        self._limits = limits
        self._sealer = sealer
        self._clock = clock
        # Local accounts whose password was verified, by name, each with the time at which it was read.
        self._cached: BoundedCache[str, tuple[float, Account]] = BoundedCache(_CACHED_ACCOUNTS)

    def cached(self, credentials: Credentials) -> Principal | None:
        """Authenticate an EST client by HTTP Basic as :meth:`est` does, by an account that was read a moment ago.

        None without one; nobody is refused here.  The transaction that records the request fails with AccountChanged
        when the account is another one by then: no password, role or state is accepted that is not in force.

        :raises RateLimited: like :meth:`est`.
        """
        if credentials.peer_certificate is not None or credentials.username is None:
            return None
        username, address = credentials.username, credentials.address
        name = normalised_name(username)
        entry = None if name is None else self._cached.get(name)
        if entry is None or not 0 <= self._clock.seconds() - entry[0] < _CACHED_SECONDS:
            return None
        account = entry[1]
        if account.password_hash is None or self._beside_password(account) is not None:
            return None
        if Scope.ENROLL not in ROLE_SCOPES[account.role]:
            return None
        self._limits.check_password(username, address)
        if not self._hasher.was_verified(account.password_hash, credentials.password or ""):
            return None
        self._limits.password_succeeded(username, address)
        return replace(account_principal(account, address), cached_account=account)

    @uncancelled
    async def est(self, credentials: Credentials) -> Principal:
        """Authenticate an EST client by TLS client certificate, else by HTTP Basic, else as ANONYMOUS.

        A challenge password in the CSR is verified by :meth:`challenge`.

        Fails like :meth:`client_certificate` and :meth:`basic`: invalid credentials are never ignored.  Fails with
        NotAuthorized for an account that may not enroll.
        """
        if credentials.peer_certificate is not None:
            return await self.client_certificate(
                credentials.peer_certificate, credentials.address, credentials.peer_intermediates
            )
        if credentials.username is not None:
            password = credentials.password or ""
            if _TOKEN.fullmatch(password):
                return await self._token_of(credentials.username, password, credentials.address)
            return _enrolling(await self.basic(credentials.username, password, credentials.address))
        return Principal(PrincipalKind.ANONYMOUS, "anonymous", address=credentials.address)

    @uncancelled
    async def basic(self, username: str, password: str, address: str) -> Principal:
        """Authenticate an active account by user name and password.

        Fails with AuthenticationFailed, with one message for every cause except the right password of a pending or
        suspended account, and with RateLimited, Overloaded and StoreUnavailable; for a name that no local account has,
        also with DirectoryUnavailable.
        """
        account = await self._account(username, password, address)
        self._require_password_suffices(account)
        return account_principal(account, address)

    @uncancelled
    async def verified(self, username: str, password: str, address: str) -> Account:
        """Authenticate as :meth:`basic` does, but return the account: for signing in, which records the session."""
        return await self._account(username, password, address)

    @uncancelled
    async def confirm(self, principal: Principal, password: str) -> None:
        """Verify the password of the account that *principal* acts for.

        Fails like :meth:`basic`, and with NotAuthorized for a principal without an account.
        """
        if principal.kind is not PrincipalKind.ACCOUNT or principal.owner_id is None:
            raise NotAuthorized("only an account has a password")
        account = await self._store.account(principal.owner_id)
        # Only a session reaches this, so what others do at the sign-in page or behind this address does not count.
        self._limits.check_confirmation(account.id)
        person, reason = await self._verify(account, account.username, password)
        self._limits.check_confirmation(account.id)
        if person is not None:
            reason = await self._confirmed(account, person)
        if reason is not None:
            locked = self._limits.confirmation_failed(account.id)
            await self._refuse_password(account, principal.address, reason, locked, "Wrong password. Try again.")

    async def _token_of(self, username: str, text: str, address: str) -> Principal:
        """Authenticate an account by an API token in the place of its password."""
        principal = await self.token(text, address)
        if principal.name.casefold() != username.casefold():
            raise AuthenticationFailed(_WRONG_TOKEN, reason="the token of another account", address=address)
        return _enrolling(principal)

    def restriction(self, account: Account) -> Restriction | None:
        """Return what the account has to do on the pages before anything else, or None."""
        if account.must_change_password:
            return Restriction.CHANGE_PASSWORD
        return Restriction.SECOND_FACTOR if self._is_demanded(account) and not account.has_second_factor else None

    def _is_demanded(self, account: Account) -> bool:
        if account.source is AccountSource.OIDC:
            # The provider decides how its users sign in.
            return False
        required = self._require_second_factor
        return required is RequireSecondFactor.ALL or (
            required is RequireSecondFactor.ADMINS and account.role is Role.ADMIN
        )

    def _require_password_suffices(self, account: Account) -> None:
        """Require that the password alone authenticates *account*, without the pages.

        :raises AuthenticationFailed: when something else is demanded of it there.
        """
        refusal = self._beside_password(account)
        if refusal is not None:
            raise AuthenticationFailed(refusal)

    def _beside_password(self, account: Account) -> str | None:
        """Return what is demanded of *account* beside its password, as a refusal, or None."""
        restriction = self.restriction(account)
        if restriction is not None:
            return f"This account has to {restriction} first. Sign in on the web pages."
        if account.has_second_factor:
            return "This account signs in with a second factor. Use one of its API tokens in the place of the password."
        return None

    async def _account(self, username: str, password: str, address: str) -> Account:
        self._limits.check_password(username, address)
        name = normalised_name(username)
        began = self._clock.seconds()
        account = None if name is None else await self._store.account_by_name(name)
        person, reason = await self._verify(account, name, password)
        # Of many simultaneous guesses, those after the lock must not learn whether they were right.
        self._limits.check_password(username, address)
        if person is not None:
            account, reason = await self._record(person, account, address)
        if account is not None and reason is None:
            if not account.has_second_factor:
                # Otherwise who knows only the password would be no stranger for whom codes are counted.
                self._limits.password_succeeded(username, address)
            if person is None and name is not None:
                self._cached.put(name, (began, account))
            return account
        locked = self._limits.password_failed(username, address)
        message = _WRONG_PASSWORD
        if account is not None and reason == _inactive_reason(account):
            message = _INACTIVE.get(account.state, _WRONG_PASSWORD)
        return await self._refuse_password(account, address, reason or "", locked, message)

    async def _verify(
        self, account: Account | None, name: str | None, password: str
    ) -> tuple[Person | None, str | None]:
        """Return the person of the directory whose password it is, and why it signs in nobody, or None.

        A local account never waits for the directory, and its password is never sent there.
        """
        if self._directory is None or name is None or (account and account.source is not AccountSource.LDAP):
            return None, await self._mismatch(account, password)
        try:
            return await self._directory.verify(name, password), None
        except AuthenticationFailed as error:
            return None, str(error.context["reason"])

    async def _record(self, person: Person, account: Account | None, address: str) -> tuple[Account | None, str | None]:
        """Return the account of a person of the directory, and why it does not sign in, or None."""
        assert self._directory is not None  # noqa: S101 - it has found the person
        try:
            account = await self._directory.record(person, address)
        except AuthenticationFailed as error:
            return account, str(error.context["reason"])
        return account, None if may_act(account) else _inactive_reason(account)

    async def _confirmed(self, account: Account, person: Person) -> str | None:
        """Return why *person* does not confirm the password of *account*, or None."""
        recorded, reason = await self._record(person, account, "")
        return reason or (None if recorded is not None and recorded.id == account.id else "another account")

    async def _mismatch(self, account: Account | None, password: str) -> str | None:
        """Return why *password* does not sign in *account*, or None; the same work for every cause."""
        local = account is not None and account.source is AccountSource.LOCAL
        try:
            await self._hasher.verify(account.password_hash if account is not None and local else None, password)
        except AuthenticationFailed:
            return "wrong password" if account is not None else "no such account"
        if account is None:
            return "no such account"
        return None if local and may_act(account) else _inactive_reason(account)

    async def _refuse_password(
        self, account: Account | None, address: str, reason: str, locked: int, message: str = _WRONG_PASSWORD
    ) -> NoReturn:
        await self._record_failure("password", account, address, reason, locked)
        raise AuthenticationFailed(message, reason=reason, address=address)

    @uncancelled
    async def token(self, text: str, address: str) -> Principal:
        """Authenticate an active account by API token; the scopes are those of both token and role.

        Fails with AuthenticationFailed and StoreUnavailable, and with RateLimited only for a token that is not valid.
        """
        # Looked up by digest, so that a caller can't choose the compared bytes and time the comparison.
        row = await self._store.token_by_digest(token_digest(text)) if _TOKEN.fullmatch(text) else None
        account, known = None, None
        if row is None:
            reason = "no such token"
        else:
            token, account = row
            known = f"token {token.id}"
            if token.expires_at is not None and token.expires_at <= self._now():
                reason = f"the token {token.name} has expired"
            elif not may_act(account):
                reason = _inactive_reason(account)
            else:
                self._touch(token)
                return account_principal(account, address, token.scopes)
        self._limits.check_secret(address, known)
        locked = self._limits.secret_failed(address, known)
        await self._record_failure("token", account, address, reason, locked)
        raise AuthenticationFailed(_WRONG_TOKEN, reason=reason, address=address)

    def _touch(self, token: Token) -> None:
        """Store the time of use, at most once a minute; the request neither waits for it nor fails with it."""
        now = self._now()
        if token.last_used_at is None or abs(now - token.last_used_at) >= _TOUCH_INTERVAL:
            self._store.touch_token(token.id, now).addErrback(lambda failure: failure.trap(PikachuError) and None)

    @uncancelled
    async def client_certificate(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Principal:
        """Authenticate the holder of the TLS client certificate *der*.

        :param intermediates: DER certificates that the peer sent with it.

        Fails with NotAuthorized and StoreUnavailable.
        """
        return await self._certificate_principal(der, address, intermediates, client_auth=True)

    @uncancelled
    async def bound_account(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Account | None:
        """Return the active account to which the TLS client certificate *der* is bound, or None.

        Fails with NotAuthorized for a bound certificate that is no longer valid or whose account is not active.
        """
        account = await self._store.account_by_certificate(hashlib.sha256(der).digest())
        if account is None:
            return None
        await self.client_certificate(der, address, intermediates)
        require_active(account)
        return account

    @uncancelled
    async def verified_certificate(self, der: bytes, address: str, intermediates: Sequence[bytes] = ()) -> Account:
        """Return the bound account for signing in; an unbound certificate is a failure, and failures are counted.

        Fails with NotAuthorized and StoreUnavailable, and with RateLimited only for a certificate that signs in nobody.
        """
        try:
            account = await self.bound_account(der, address, intermediates)
            if account is None:
                raise NotAuthorized("this client certificate signs in no account; bind it on the page Account first")
        except NotAuthorized as error:
            self._limits.check_secret(address, None)
            locked = self._limits.secret_failed(address, None)
            owner = await self._store.account_by_certificate(hashlib.sha256(der).digest())
            await self._record_failure("client certificate", owner, address, error.public, locked)
            raise
        return account

    @uncancelled
    async def message_signer(self, der: bytes, address: str) -> Principal:
        """Authenticate the signer of a SCEP message by *der*, a certificate issued by this authority (SCEP-3).

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
    async def challenge(self, text: str, address: str, csr: CertificationRequest) -> Principal:
        """Authenticate by challenge password; it must not be used, reserved or expired, and its owner must be active.

        One that is bound to names authenticates CSRs for them only.

        Nothing is consumed here: the store reserves it together with the request.  The lookup uses a keyed digest, so
        no comparison depends on how much of a guess is right.
        Fails with AuthenticationFailed and StoreUnavailable, for another name with NotAuthorized or like
        ``requested_names``, and with RateLimited only for one that is not available or for another name.
        """
        challenge = await self._challenge(text)
        reason = "no such challenge password" if challenge is None else await self._unusable(challenge)
        refusal: RequestError = AuthenticationFailed(_WRONG_CHALLENGE, reason=reason, address=address)
        added_names = b""
        if challenge is not None and reason is None and challenge.names is not None:
            try:
                added_names = names_to_add(csr, challenge.names)
            except RequestError as error:
                reason, refusal = "the request is for other names than it is bound to", error
        if challenge is not None and reason is None:
            return Principal(
                PrincipalKind.CHALLENGE,
                f"challenge password {challenge.prefix}",
                owner_id=challenge.owner_id,
                scopes=_ENROLL_ONLY,
                challenge_id=challenge.id,
                address=address,
                challenge_label=challenge.label,
                added_names=added_names,
                challenge_policy=challenge.policy,
            )
        known = None if challenge is None else f"challenge password {challenge.id}"
        self._limits.check_secret(address, known)
        self._limits.secret_failed(address, known)
        normalised = _normalise(text)
        details: dict[str, object] = {"ip": address, "reason": reason}
        if challenge is not None and challenge.label:
            details["label"] = challenge.label
        if challenge is not None and challenge.names is not None:
            details["bound_to"] = challenge.names.subject
        if "names" in refusal.context:
            details["requested"] = refusal.context["names"]
        await self._store.add_event(
            Event(
                "failed login",
                "challenge password",
                normalised[:8] if normalised else "unknown",
                "anonymous",
                details,
                owner_id=challenge.owner_id if challenge else None,
            ),
            self._now(),
        )
        raise refusal

    @uncancelled
    async def challenge_id(self, text: str) -> int | None:
        """Return the id of the challenge password *text*, usable or not, or None.

        This authenticates nobody; it recognizes a client that repeats a request whose challenge password is now used.
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

    async def _record_failure(
        self, method: str, account: Account | None, address: str, reason: str, locked: int
    ) -> None:
        """Record a failed authentication; an unknown name is left out, as it may be a password in the wrong field."""
        details: dict[str, object] = {"ip": address, "by": method, "reason": reason}
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


def _enrolling(principal: Principal) -> Principal:
    """Return *principal* if role and token let it enroll.

    :raises NotAuthorized: they don't.
    """
    if Scope.ENROLL not in principal.scopes:
        raise NotAuthorized(f"This needs the scope {Scope.ENROLL}, which the account's role or the token lacks.")
    return principal


def _inactive_reason(account: Account) -> str:
    """Return why right credentials sign in nobody."""
    return f"the account is {account.state}"


def _normalise(text: str) -> str | None:
    """Return *text* in the form of a challenge password, or None; people and devices change its case."""
    if len(text) > 64:
        return None
    normalised = text.strip().upper()
    return normalised if _CHALLENGE.fullmatch(normalised) else None
