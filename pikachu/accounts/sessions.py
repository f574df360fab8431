"""Sign-in sessions (USR-3): their beginning, duration and end, and the client certificates bound to accounts.

The browser stores 256 random bits; the database their digest.  A session ends after ``max_idle_time`` without activity,
twelve hours after it began, at sign-out, and at once when the account is suspended or deleted or its password changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import Authenticator, account_principal
from pikachu.auth.permissions import is_admin, reads_all, require_scope, require_whole_account
from pikachu.auth.second_factor import SecondFactors
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, NotFound, PolicyViolation, SecretKeyChanged
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.account_objects import AccountCertificate, NewAccountCertificate, NewSession, Session
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account, Principal, Scope
from pikachu.core.model.sign_in import EndedSession, Restriction, SessionEnd
from pikachu.core.model.times import utc
from pikachu.core.owners import may_act
from pikachu.core.sealing import Sealer
from pikachu.x509.certificate import ANY_EXTENDED_KEY_USAGE, CLIENT_AUTH, Certificate
from pikachu.x509.names import read_name

#: Maximum duration of a session, even of an active one.
MAXIMUM_AGE: Final = timedelta(hours=12)
#: How long a repeated password confirmation is valid.
CONFIRMED: Final = timedelta(minutes=5)
#: Maximum number of client certificates bound to one account.
MAXIMUM_CERTIFICATES: Final = 20
#: Time for the second step of a sign-in.
SECOND_STEP: Final = timedelta(minutes=10)
#: How long the reason of a session's end, and a draft of a form sent after it, are kept.
REMEMBERED: Final = timedelta(days=1)
#: Minimum time between two writes of a session's last activity.
_TOUCH_INTERVAL: Final = timedelta(seconds=15)
_SECRET: Final = re.compile("[A-Za-z0-9_-]{43}")
_PENDING: Final = "sign-in"
_STEP_EXPIRED: Final = "This sign-in has expired. Enter your password again."
_MAXIMUM_AGENT: Final = 200
#: Idle sessions that one transaction ends.
_BATCH: Final = 200


class SecondFactorNeeded(Exception):
    """The password was right, and the account's second factor is asked for next.

    :param pending: for :meth:`Sessions.login_by_code`.
    """

    def __init__(self, pending: str) -> None:
        super().__init__("a second factor is needed")
        self.pending = pending


class Sessions:
    """Sign-in sessions.

    Methods fail with StoreUnavailable.  They run to their end even when their Deferred is cancelled.

    :param maximum_idle: seconds without a request that end a session.
    """

    def __init__(
        self,
        *,
        store: IStore,
        authenticator: Authenticator,
        second_factors: SecondFactors,
        sealer: Sealer,
        clock: IClock,
        maximum_idle: int,
    ) -> None:
        self._second_factors = second_factors
        self._store = store
        self._authenticator = authenticator
        self._sealer = sealer
        self._clock = clock
        self.maximum_idle = timedelta(seconds=maximum_idle)

    # --- beginning ------------------------------------------------------------------------

    @uncancelled
    async def login(self, username: str, password: str, address: str, agent: str) -> tuple[Session, str]:
        """Begin a session of the active account of that name and password; return it and its secret.

        Raises SecondFactorNeeded for an account that has one.  Fails as ``Authenticator.basic`` does, and with Conflict
        when the account was suspended or given another password meanwhile.
        """
        account = await self._authenticator.verified(username, password, address)
        if account.has_second_factor:
            raise SecondFactorNeeded(self._pending(account))
        return await self._begin(account, address, agent, "password")

    def _pending(self, account: Account) -> str:
        """Return a proof that the account's password was right, for the second step."""
        content = json.dumps([account.id, self._clock.seconds(), _fingerprint(account)]).encode()
        return base64.urlsafe_b64encode(self._sealer.seal(_PENDING, content)).decode()

    @uncancelled
    async def login_by_code(self, pending: str, code: str, address: str, agent: str) -> tuple[Session, str]:
        """Begin a session after the second step of a sign-in.

        :param pending: what :class:`SecondFactorNeeded` brought, at most ten minutes ago.

        Fails with AuthenticationFailed for a wrong code, with NotAuthorized when the first step is too old or the
        account has changed since, with RateLimited, and as :meth:`login` does.
        """
        account = await self.pending_account(pending)
        kind = await self._second_factors.verify(account, code, address)
        return await self._begin(account, address, agent, f"password and {kind}")

    @uncancelled
    async def pending_account(self, pending: str) -> Account:
        """Return the account whose password was right in the first step of a sign-in.

        Fails with NotAuthorized when that is too long ago, or the account has changed since.
        """
        try:
            content = self._sealer.open(_PENDING, base64.urlsafe_b64decode(pending.encode("ascii", "replace")))
        except (SecretKeyChanged, ValueError, binascii.Error):
            raise NotAuthorized(_STEP_EXPIRED) from None
        account_id, at, fingerprint = json.loads(content)
        account = await self._store.account(account_id)
        age = abs(self._clock.seconds() - at)
        if age > SECOND_STEP.total_seconds() or not may_act(account) or _fingerprint(account) != fingerprint:
            raise NotAuthorized(_STEP_EXPIRED)
        return account

    @uncancelled
    async def login_by_certificate(
        self, der: bytes, address: str, agent: str, intermediates: tuple[bytes, ...] = ()
    ) -> tuple[Session, str]:
        """Begin a session of the account that the TLS client certificate *der* is bound to.

        Fails with NotAuthorized for a certificate that is not valid here or not bound, and with RateLimited.
        """
        account = await self._authenticator.verified_certificate(der, address, intermediates)
        return await self._begin(account, address, agent, "client certificate")

    @uncancelled
    async def login_by_provider(self, account: Account, address: str, agent: str) -> tuple[Session, str]:
        """Begin a session of an account that an OpenID Connect provider has signed in."""
        return await self._begin(account, address, agent, "single sign-on")

    @uncancelled
    async def login_by_passkey(self, account: Account, address: str, agent: str, by: str) -> tuple[Session, str]:
        """Begin a session of an account whose passkey was verified.

        :param by: the passkey, or password and passkey, for the audit log.
        """
        return await self._begin(account, address, agent, by)

    @uncancelled
    async def confirm_by_provider(self, session: Session, account: Account) -> None:
        """Count as a confirmed password that the provider has asked the session's user for credentials again.

        Fails with NotAuthorized for another user.
        """
        if account.id != session.account_id:
            raise NotAuthorized("You confirmed with another account than the one that is signed in.")
        await self._store.confirm_session(session.id, self._now())

    async def _begin(
        self, account: Account, address: str, agent: str, by: str, *, confirmed: bool = False
    ) -> tuple[Session, str]:
        # A sign-in is no confirmation: the first page that shows secrets asks for the password (CFG-11).
        secret = secrets.token_urlsafe(32)
        event = _event("login", account, account_principal(account, address), by=by)
        session = await self._store.add_session(
            NewSession(_digest(secret), account, confirmed, address, agent[:_MAXIMUM_AGENT]), event, self._now()
        )
        return session, secret

    @uncancelled
    async def renew(self, account: Account, address: str, agent: str) -> tuple[Session, str]:
        """Begin a session after a user changed their own password, which ended all others."""
        return await self._begin(account, address, agent, "password", confirmed=True)

    # --- lookup ---------------------------------------------------------------------------

    @uncancelled
    async def find(self, secret: str, *, seen: bool = True) -> tuple[Session, Account] | None:
        """Return the session of that secret and its account, or None when it has ended or the account may not act.

        :param seen: the request counts as activity; a background request of a script does not.
        """
        if not _SECRET.fullmatch(secret):
            return None
        row = await self._store.session_by_digest(_digest(secret))
        if row is None:
            return None
        session, account = row
        now = self._now()
        if not self._lasts(session, now):
            event, reason = _idle_event(session, account), SessionEnd.IDLE
            if _is_within(session.last_seen_at, self.maximum_idle, now):
                event, reason = _event_of(session, account, "maximum duration"), SessionEnd.AGE
            try:
                await self._store.end_session(session.id, event, now, reason)
            except NotFound:
                # Another request has ended it meanwhile.
                return None
            return None
        if not may_act(account):
            return None
        if seen and abs(now - session.last_seen_at) >= _TOUCH_INTERVAL:
            await self._store.touch_session(session.id, now)
            session = replace(session, last_seen_at=now)
        return session, account

    @uncancelled
    async def ended(self, secret: str) -> EndedSession | None:
        """Return how the session of that secret has ended, within the last day, or None if that is not known."""
        return await self._store.ended_session(_digest(secret)) if _SECRET.fullmatch(secret) else None

    def remaining(self, session: Session) -> timedelta:
        """Return the time until the session ends without further activity."""
        end = min(session.last_seen_at + self.maximum_idle, session.created_at + MAXIMUM_AGE)
        return max(end - self._now(), timedelta())

    @uncancelled
    async def still(self, session: Session) -> Account | None:
        """Return the account of a session that has not ended, without counting as activity."""
        now = self._now()
        for one in await self._store.sessions_of(session.account_id):
            if one.id == session.id and self._lasts(one, now):
                account = await self._store.account(session.account_id)
                return account if may_act(account) else None
        return None

    def _lasts(self, session: Session, now: datetime) -> bool:
        return _is_within(session.last_seen_at, self.maximum_idle, now) and _is_within(
            session.created_at, MAXIMUM_AGE, now
        )

    def restriction(self, account: Account) -> Restriction | None:
        """Return what the account has to do before anything else, or None."""
        return self._authenticator.restriction(account)

    def csrf(self, secret: str) -> str:
        """Return the CSRF token for forms of the browser with that secret (UI-5)."""
        return self._sealer.digest("csrf", secret.encode()).hex()[:40]

    # --- the password again ---------------------------------------------------------------

    def is_confirmed(self, session: Session) -> bool:
        """Return whether the password was confirmed within the last five minutes."""
        return session.confirmed_at is not None and _is_within(session.confirmed_at, CONFIRMED, self._now())

    @uncancelled
    async def confirm(self, actor: Principal, session: Session, password: str) -> None:
        """Confirm the password again.  Fails as ``Authenticator.confirm`` does."""
        await self._authenticator.confirm(actor, password)
        await self._store.confirm_session(session.id, self._now())

    # --- ending ---------------------------------------------------------------------------

    @uncancelled
    async def logout(self, session: Session, account: Account) -> None:
        """End the session, unless it has ended already."""
        event = _event("logout", account, account_principal(account, session.address))
        try:
            await self._store.end_session(session.id, event, self._now())
        except NotFound:
            return

    @uncancelled
    async def of_account(self, actor: Principal, account_id: int) -> list[Session]:
        """Return one's own active sessions, newest first, or any account's for admins and auditors.

        Fails with NotFound.
        """
        self._require_visible(actor, account_id)
        now = self._now()
        return [session for session in await self._store.sessions_of(account_id) if self._lasts(session, now)]

    @uncancelled
    async def end(self, actor: Principal, account_id: int, session_id: int) -> None:
        """End one of one's own sessions.  Fails with NotFound."""
        self._require_own(actor, account_id)
        account = await self._store.account(account_id)
        if session_id not in {session.id for session in await self._store.sessions_of(account_id)}:
            raise NotFound("there is no such session")
        event = _event("logout", account, actor)
        reason = SessionEnd.ELSEWHERE if actor.owner_id == account_id else SessionEnd.ADMINISTRATOR
        await self._store.end_session(session_id, event, self._now(), reason)

    @uncancelled
    async def end_selected(self, actor: Principal, account_id: int, session_ids: Iterable[int]) -> int:
        """End several of one's own sessions, or any account's for admins; return the number of those that were active.

        Fails with MalformedRequest where none is selected, NotFound without such an account.
        """
        chosen = frozenset(session_ids)
        if not chosen:
            raise MalformedRequest("Select at least one session.")
        self._require_own(actor, account_id)
        # A selected session may have ended since the page was shown.
        selected = [session.id for session in await self.of_account(actor, account_id) if session.id in chosen]
        for session_id in selected:
            await self.end(actor, account_id, session_id)
        return len(selected)

    @uncancelled
    async def force_logout(self, actor: Principal, account_id: int) -> int:
        """End all sessions of an account (USR-4) and return their number.  Admins only.  Fails with NotFound."""
        require_scope(actor, Scope.ADMIN)
        account = await self._store.account(account_id)
        return await self._store.end_sessions(account_id, _event("force logout", account, actor), self._now())

    def idle(self, actor: Principal, account_ids: Iterable[int]) -> Deferred[dict[int, timedelta]]:
        """Return the time since the last activity of those accounts that are signed in.  Admins and auditors only."""

        async def work() -> dict[int, timedelta]:
            require_scope(actor, Scope.AUDIT)
            now = self._now()
            seen = await self._store.last_seen(account_ids)
            return {one: abs(now - at) for one, at in seen.items() if _is_within(at, self.maximum_idle, now)}

        return Deferred.fromCoroutine(work())

    @uncancelled
    async def forget_idle(self) -> int:
        """End idle sessions and return their number; forget how sessions ended, and drafts, after a day."""
        ended, last, now = 0, _BATCH, self._now()
        while last == _BATCH:
            last = await self._store.end_idle_sessions(now - self.maximum_idle, _idle_event, now, _BATCH)
            ended += last
        await self._store.forget_ended(now - REMEMBERED)
        return ended

    # --- client certificates --------------------------------------------------------------

    @uncancelled
    async def certificates(self, actor: Principal, account_id: int) -> list[AccountCertificate]:
        """Return the client certificates bound to one's own account, or to any for admins and auditors."""
        self._require_visible(actor, account_id)
        return await self._store.account_certificates(account_id)

    @uncancelled
    async def certificate(self, actor: Principal, certificate_id: int) -> AccountCertificate:
        """Return a certificate bound to one's own account, or to any for admins and auditors.  Fails with NotFound."""
        own = require_whole_account(actor)
        certificate = await self._store.account_certificate(certificate_id)
        if certificate.account_id != own and not reads_all(actor):
            raise NotFound("there is no such certificate of an account")
        return certificate

    @uncancelled
    async def bind(self, actor: Principal, account_id: int, certificate: Certificate) -> AccountCertificate:
        """Bind a client certificate to one's own account, or to any for admins.

        Its issuer and revocation status are checked at each use.  Fails with NotFound, with PolicyViolation when it is
        not valid now or not for clients, with NotAuthorized when another account owns it, and with Conflict when it is
        bound already.
        """
        self._require_own(actor, account_id)
        account = await self._store.account(account_id)
        now = self._now()
        if not certificate.not_before <= now <= certificate.not_after:
            raise PolicyViolation("this certificate is not valid now; choose one that is")
        purposes = certificate.extended_key_usage
        if purposes is not None and not purposes & {CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE}:
            raise PolicyViolation("this certificate is not meant for clients: its extendedKeyUsage lacks clientAuth")
        if not is_admin(actor):
            await self._require_owned(account_id, certificate)
        if len(await self._store.account_certificates(account_id)) >= MAXIMUM_CERTIFICATES:
            raise Conflict(f"an account has at most {MAXIMUM_CERTIFICATES} client certificates; take one away first")
        serial, subject = format_serial(certificate.serial), read_name(certificate.subject_der).text
        event = _event("bind certificate", account, actor, serial=serial, subject=subject)
        return await self._store.bind_certificate(
            NewAccountCertificate(
                account_id, hashlib.sha256(certificate.der).digest(), subject, certificate.serial, certificate.not_after
            ),
            event,
            now,
        )

    async def _require_owned(self, account_id: int, certificate: Certificate) -> None:
        """Require that *account_id* owns the certificate, if this authority has issued it."""
        try:
            record = await self._store.certificate_by_serial(certificate.serial)
        except NotFound:
            return
        if record.der == certificate.der and record.owner_id != account_id:
            raise NotAuthorized("this certificate was issued for somebody else; an admin can bind it")

    @uncancelled
    async def unbind(self, actor: Principal, certificate_id: int) -> None:
        """Unbind a certificate.  Fails with NotFound."""

        def decide(certificate: AccountCertificate, account: Account) -> Event:
            serial = format_serial(certificate.serial)
            return _event("unbind certificate", account, actor, serial=serial, subject=certificate.subject)

        # A certificate stays bound to one account until it is unbound.
        self._require_own(actor, (await self.certificate(actor, certificate_id)).account_id)
        await self._store.unbind_certificate(certificate_id, decide, self._now())

    @staticmethod
    def _require_visible(actor: Principal, account_id: int) -> None:
        """Require one's own account, or the rights of an auditor; restricted tokens may not see sessions."""
        if require_whole_account(actor) != account_id and not reads_all(actor):
            raise NotFound("there is no such account")

    @staticmethod
    def _require_own(actor: Principal, account_id: int) -> None:
        """Require one's own account, or admin rights; restricted tokens may not manage sessions or certificates."""
        if require_whole_account(actor) != account_id and not is_admin(actor):
            raise NotFound("there is no such account")

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _digest(secret: str) -> bytes:
    # 256 random bits can't be guessed, so a plain digest suffices, as for tokens.
    return hashlib.sha256(secret.encode()).digest()


def _fingerprint(account: Account) -> str:
    """Return a text that another password changes."""
    return hashlib.sha256((account.password_hash or "").encode()).hexdigest()[:32]


def _is_within(at: datetime, period: timedelta, now: datetime) -> bool:
    """Return whether *at* is within *period* of *now*, before or after: a clock may have been ahead."""
    return abs(now - at) <= period


def _idle_event(session: Session, account: Account) -> Event:
    return _event_of(session, account, "idle too long")


def _event_of(session: Session, account: Account, reason: str) -> Event:
    return _event("logout", account, account_principal(account, session.address), reason=reason)


def _event(type_: str, account: Account, actor: Principal, **details: object) -> Event:
    return replace(event_by(actor, type_, "user", account.username, account.id, **details), about_account=True)
