"""Signing in and out, and confirming the password (USR-3)."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from pikachu.accounts.sessions import SECOND_STEP, SecondFactorNeeded, Sessions
from pikachu.auth.permissions import Audience
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, PikachuError, errors_of
from pikachu.core.model.people import AccountSource
from pikachu.http.peer import peer_intermediates, required_certificate
from pikachu.web.browsers import SESSION
from pikachu.web.ui.cookies import PENDING, cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.passkeys import place_of
from pikachu.web.ui.responses import HtmlPage, PageReply, RawBody, Redirect, own_path


class SignInPages(Pages):
    """``/login``, ``/logout`` and ``/confirm``.

    :param provider_label: the name of the OpenID Connect provider; None without one.
    """

    def __init__(self, *, sessions: Sessions, provider_label: str | None = None) -> None:
        self._sessions = sessions
        self._provider_label = provider_label

    @page("GET", "/login", audience=Audience.ANYONE)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the form; a signed-in user is redirected."""
        return_path = own_path(visit.query.get("next", "/"))
        return Redirect(return_path) if visit.session is not None else self._form(visit, return_path)

    @page("POST", "/login", audience=Audience.ANYONE)
    async def login(self, visit: PageRequest) -> PageReply:
        """Start a session with a new secret."""
        return_path = own_path(visit.form.text("next", "/"))
        username = visit.form.text("username")
        try:
            password = visit.form.whole_text("password")
            with errors_of("password", AuthenticationFailed):
                _, secret = await self._sessions.login(username, password, visit.address, visit.agent)
        except SecondFactorNeeded as needed:
            visit.cookies.append(cookie(PENDING, needed.pending, seconds=int(SECOND_STEP.total_seconds())))
            return Redirect("/login/code" if return_path == "/" else f"/login/code?{urlencode({'next': return_path})}")
        except PikachuError as error:
            return self._form(visit, return_path, username, error)
        return await self._session_started(visit, secret, return_path)

    @page("POST", "/login/certificate", audience=Audience.ANYONE)
    async def login_by_certificate(self, visit: PageRequest) -> PageReply:
        """Start a session of the account that the TLS client certificate is bound to."""
        return_path = own_path(visit.form.text("next", "/"))
        transport = visit.request.transport
        presented = required_certificate(transport)
        try:
            if presented is None:
                raise NotAuthorized("your browser has shown no client certificate; open the trusted port with one")
            _, secret = await self._sessions.login_by_certificate(
                presented, visit.address, visit.agent, peer_intermediates(transport)
            )
        except PikachuError as error:
            return self._form(visit, return_path, "", error)
        return await self._session_started(visit, secret, return_path)

    async def _session_started(self, visit: PageRequest, secret: str, return_path: str) -> PageReply:
        if visit.session is not None:
            await self._sessions.logout(visit.session, visit.signed_in())
        visit.cookies.append(cookie(SESSION, secret))
        return Redirect(return_path)

    def _form(
        self, visit: PageRequest, return_path: str, username: str = "", error: PikachuError | None = None
    ) -> PageReply:
        context = {
            "next": return_path,
            "username": username,
            "provider": self._provider_label,
            "passkeys": bool(place_of(visit).host),
            "has_certificate": required_certificate(visit.request.transport) is not None,
        }
        return HtmlPage.form("people/login.html", context, error)

    @page("GET", "/logout", audience=Audience.ANYONE)
    async def logout_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation: a link on another site must not end a session (INT-4, UI-5)."""
        return Redirect("/login") if visit.session is None else HtmlPage("people/logout.html")

    @page("POST", "/logout", audience=Audience.ANYONE)
    async def logout(self, visit: PageRequest) -> PageReply:
        """End the session."""
        if visit.session is not None:
            await self._sessions.logout(visit.session, visit.signed_in())
        visit.cookies.append(cookie(SESSION, "", seconds=0))
        return Redirect("/login", notice="You are signed out.")

    @page("GET", "/session", audience=Audience.USER, background=True, restricted=True)
    async def remaining(self, visit: PageRequest) -> PageReply:
        """Return the seconds until the session ends, for the warning before that."""
        return self._remaining(visit)

    @page("POST", "/session", audience=Audience.USER, keeps_draft=False, restricted=True)
    async def extend(self, visit: PageRequest) -> PageReply:
        """Count as activity, and return the seconds until the session ends."""
        return self._remaining(visit)

    def _remaining(self, visit: PageRequest) -> PageReply:
        assert visit.session is not None  # noqa: S101 - Audience.USER ensures it
        seconds = int(self._sessions.remaining(visit.session).total_seconds())
        return RawBody(json.dumps({"seconds": seconds}).encode(), b"application/json")

    @page("GET", "/confirm", audience=Audience.USER, restricted=True)
    async def confirmation_form(self, visit: PageRequest) -> PageReply:
        """Show the form for the password; lead on where it was given within the last five minutes."""
        return_path = own_path(visit.query.get("next", "/"))
        return Redirect(return_path) if visit.confirmed else self._confirmation(visit, return_path)

    def _confirmation(self, visit: PageRequest, return_path: str, error: PikachuError | None = None) -> PageReply:
        by_provider = visit.signed_in().source is AccountSource.OIDC
        context = {"next": return_path, "provider": self._provider_label if by_provider else None}
        return HtmlPage.form("people/confirm.html", context, error)

    @page("POST", "/confirm", audience=Audience.USER, keeps_draft=False, restricted=True)
    async def confirm(self, visit: PageRequest) -> PageReply:
        """Record the confirmation."""
        return_path = own_path(visit.form.text("next", "/"))
        assert visit.session is not None  # noqa: S101 - Audience.USER ensures it
        try:
            password = visit.form.whole_text("password")
            with errors_of("password", AuthenticationFailed):
                await self._sessions.confirm(visit.principal, visit.session, password)
        except PikachuError as error:
            return self._confirmation(visit, return_path, error)
        return Redirect(return_path)
