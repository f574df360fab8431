"""``/sessions`` and ``/account-certificates``: active sessions, and client certificates bound for sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pikachu.accounts.sessions import Sessions
from pikachu.core.constraints import Variant, Variants
from pikachu.core.model.account_objects import AccountCertificate, Session
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.list_queries import Page
from pikachu.inventory.certificates import CertificateQueries
from pikachu.web.api.examples import CLIENT_CERTIFICATE
from pikachu.web.api.queries import whole_number
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes, created, listed
from pikachu.x509.certificate import decode_certificate_input, parse_certificate


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A signed-in browser."""

    id: int
    address: str
    browser: str
    created_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccountCertificate:
    """A client certificate to bind: one that was issued here, by its id, or any in PEM."""

    VARIANTS: ClassVar = Variants((Variant(("certificate_id",)), Variant(("pem",))))
    EXAMPLE: ClassVar[dict[str, Any]] = {"pem": CLIENT_CERTIFICATE}

    certificate_id: int | None = None
    pem: str | None = None
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class BoundCertificate:
    """A client certificate that is bound to an account.

    :param fingerprint: SHA-256 in hexadecimal digits.
    """

    id: int
    user_id: int
    subject: str
    serial: str
    fingerprint: str
    not_after: datetime
    created_at: datetime


class SessionsAPI(Routes):
    """Sessions of the pages."""

    def __init__(self, *, sessions: Sessions) -> None:
        self._sessions = sessions

    @Operation(
        "GET",
        "/sessions",
        scope=Access.WHOLE_ACCOUNT,
        summary="Where one's own account is signed in, or for admins any",
        answer=SessionSummary,
        listed=True,
        sorts=(),
        query=("user_id",),
        ids=("user_id",),
    )
    async def list(self, call: Call) -> Answer:
        """List the sessions, newest first, on one page."""
        sessions = await self._sessions.of_account(call.principal, _account(call))
        return listed(Page(tuple(sessions), None), _session)

    @Operation(
        "DELETE",
        "/sessions/<id>",
        scope=Access.WHOLE_ACCOUNT,
        summary="End a session",
        query=("user_id",),
        ids=("user_id",),
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a session; its browser is signed out."""
        await self._sessions.end(call.principal, _account(call), call.id)
        return NO_CONTENT


class AccountCertificatesAPI(Routes):
    """Client certificates bound for sign-in."""

    def __init__(self, *, sessions: Sessions, inventory: CertificateQueries) -> None:
        self._sessions = sessions
        self._inventory = inventory

    @Operation(
        "POST",
        "/account-certificates",
        scope=Access.WHOLE_ACCOUNT,
        summary="Have a client certificate sign in one's own account, or any for admins",
        body=NewAccountCertificate,
        answer=BoundCertificate,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Bind a client certificate; it then also authenticates calls to this API without a token (API-1)."""
        body = call.take(NewAccountCertificate)
        if body.certificate_id is not None:
            der = (await self._inventory.certificate(call.principal, body.certificate_id)).der
        else:
            der = decode_certificate_input((body.pem or "").encode())
        account_id = (call.principal.owner_id or 0) if body.user_id is None else body.user_id
        bound = await self._sessions.bind(call.principal, account_id, parse_certificate(der))
        return created(f"/account-certificates/{bound.id}", _bound(bound))

    @Operation(
        "GET",
        "/account-certificates",
        scope=Access.WHOLE_ACCOUNT,
        summary="The client certificates that sign in one's own account, or for admins any",
        answer=BoundCertificate,
        listed=True,
        sorts=(),
        query=("user_id",),
        ids=("user_id",),
    )
    async def list(self, call: Call) -> Answer:
        """List the bound certificates on one page."""
        certificates = await self._sessions.certificates(call.principal, _account(call))
        return listed(Page(tuple(certificates), None), _bound)

    @Operation(
        "GET", "/account-certificates/<id>", scope=Access.WHOLE_ACCOUNT, summary="One of them", answer=BoundCertificate
    )
    async def get(self, call: Call) -> Answer:
        """Return a bound certificate; 404 for those of other accounts."""
        return Answer(200, _bound(await self._sessions.certificate(call.principal, call.id)))

    @Operation(
        "DELETE",
        "/account-certificates/<id>",
        scope=Access.WHOLE_ACCOUNT,
        summary="Have a client certificate sign in nobody any more",
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Unbind a certificate; the certificate itself stays valid."""
        await self._sessions.unbind(call.principal, call.id)
        return NO_CONTENT


def _account(call: Call) -> int:
    # An empty one, such as a script's unset variable, is a mistake: it must not mean the caller's own account.
    return whole_number(call.query["user_id"], "user_id") if "user_id" in call.query else call.principal.owner_id or 0


def _session(session: Session) -> SessionSummary:
    return SessionSummary(session.id, session.address, session.agent, session.created_at, session.last_seen_at)


def _bound(one: AccountCertificate) -> BoundCertificate:
    return BoundCertificate(
        one.id,
        one.account_id,
        one.subject,
        format_serial(one.serial),
        one.fingerprint.hex(),
        one.not_after,
        one.created_at,
    )
