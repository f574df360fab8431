"""Passkeys: registering and removing them, and signing in with them (ROL-2)."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlencode

from pikachu.accounts.passkeys import PasskeyAdministration, PasskeySignIn
from pikachu.accounts.sessions import Sessions
from pikachu.auth.permissions import Audience
from pikachu.auth.webauthn.challenges import Place
from pikachu.auth.webauthn.verification import Answer
from pikachu.core.errors import NotAuthorized, PikachuError
from pikachu.core.model.passkeys import Passkey
from pikachu.web.browsers import SESSION
from pikachu.web.errors import outcome_of
from pikachu.web.ui.cookies import PENDING, cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, RawBody, Redirect, own_path


def place_of(visit: PageRequest) -> Place:
    """Return where a request takes place, for passkeys; a proxy may have another name than this server."""
    named = (visit.request.named_host or b"").decode("latin-1")
    return Place.of((visit.origin, f"https://{named}"), visit.csrf, visit.address)


class PasskeyPages(Pages):
    """``/account/passkeys``, ``/login/passkey`` and ``/login/code/passkey``."""

    def __init__(self, *, passkeys: PasskeyAdministration, passkey_sign_in: PasskeySignIn, sessions: Sessions) -> None:
        self._passkeys = passkeys
        self._sign_in = passkey_sign_in
        self._sessions = sessions

    # --- one's own ------------------------------------------------------------------------

    @page("GET", "/account/passkeys/new", audience=Audience.USER, restricted=True)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form for a passkey; like a token, it grants more than a session does."""
        visit.require_confirmation()
        return self._form(visit)

    @page("GET", "/account/passkeys/options", audience=Audience.USER, background=True, restricted=True)
    async def options(self, visit: PageRequest) -> PageReply:
        """Return the options for a new passkey."""
        return await _question(self._passkeys.options(visit.principal, place_of(visit)))

    @page("POST", "/account/passkeys", audience=Audience.USER, keeps_draft=False, restricted=True)
    async def add(self, visit: PageRequest) -> PageReply:
        """Register a passkey."""
        if not visit.confirmed:
            return Redirect("/account/passkeys/new")
        name = visit.form.text("name")
        try:
            codes = await self._passkeys.add(visit.principal, place_of(visit), name, _answer(visit))
        except PikachuError as error:
            return self._form(visit, error)
        if codes:
            return Redirect("/account/second-factor/codes", notice="The passkey was added.", secret=" ".join(codes))
        return Redirect("/account", notice="The passkey was added.")

    @staticmethod
    def _form(visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        context = {"host": place_of(visit).host, "name": visit.form.values.get("name", "")[:64]}
        return HtmlPage.form("people/passkey_new.html", context, error)

    @page("GET", "/account/passkeys/<id>/remove", audience=Audience.USER)
    async def removal_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for removing a passkey."""
        passkey = await self._passkeys.get(visit.principal, visit.id)
        if _is_own(visit, passkey):
            visit.require_confirmation()
        return self._removal(visit, passkey)

    @page("POST", "/account/passkeys/<id>/remove", audience=Audience.USER)
    async def remove(self, visit: PageRequest) -> PageReply:
        """Remove a passkey."""
        passkey = await self._passkeys.get(visit.principal, visit.id)
        if _is_own(visit, passkey) and not visit.confirmed:
            return Redirect(f"/account/passkeys/{passkey.id}/remove")
        try:
            visit.form.require_confirmation("remove")
        except PikachuError as error:
            return self._removal(visit, passkey, error)
        await self._passkeys.remove(visit.principal, passkey.id)
        return Redirect(_back(visit, passkey), notice=f"The passkey {passkey.name} was removed.")

    @staticmethod
    def _removal(visit: PageRequest, passkey: Passkey, error: PikachuError | None = None) -> PageReply:
        context = {"passkey": passkey, "back": _back(visit, passkey)}
        return HtmlPage.form("people/passkey_remove.html", context, error)

    # --- signing in -----------------------------------------------------------------------

    @page("GET", "/login/passkey", audience=Audience.ANYONE, background=True)
    async def login_options(self, visit: PageRequest) -> PageReply:
        """Return the options for signing in with a passkey alone."""
        return await _question(self._sign_in.options(place_of(visit)))

    @page("GET", "/login/code/passkey", audience=Audience.ANYONE, background=True)
    async def second_step_options(self, visit: PageRequest) -> PageReply:
        """Return the options for the second step of a sign-in."""
        return await _question(self._sign_in.options(place_of(visit), visit.pending))

    @page("POST", "/login/passkey", audience=Audience.ANYONE, keeps_draft=False)
    async def login(self, visit: PageRequest) -> PageReply:
        """Start a session with a passkey alone."""
        return await self._login(visit, None, "/login")

    @page("POST", "/login/code/passkey", audience=Audience.ANYONE, keeps_draft=False)
    async def second_step(self, visit: PageRequest) -> PageReply:
        """Start a session with a passkey after the password."""
        return await self._login(visit, visit.pending, "/login/code")

    async def _login(self, visit: PageRequest, pending: str | None, form: str) -> PageReply:
        place, return_path = place_of(visit), own_path(visit.form.text("next", "/"))
        try:
            _, secret = await self._sign_in.login(place, _answer(visit), visit.agent, pending)
        except NotAuthorized as error:
            visit.cookies.append(cookie(PENDING, "", seconds=0))
            return Redirect("/login", notice=error.public, notice_kind="warn")
        except PikachuError as error:
            return Redirect(f"{form}?{urlencode({'next': return_path})}", notice=error.public, notice_kind="warn")
        if visit.session is not None:
            await self._sessions.logout(visit.session, visit.signed_in())
        visit.cookies.extend((cookie(PENDING, "", seconds=0), cookie(SESSION, secret)))
        return Redirect(return_path)


async def _question(options: Awaitable[tuple[dict[str, Any], str]]) -> PageReply:
    """Return what the script asks the browser for, or what is wrong."""
    try:
        content, offer = await options
    except PikachuError as error:
        body = json.dumps({"error": error.public}).encode()
        return RawBody(body, b"application/json", outcome_of(error).status)
    return RawBody(json.dumps({"publicKey": content, "offer": offer}).encode(), b"application/json")


def _answer(visit: PageRequest) -> Answer:
    return Answer(visit.form.text("offer"), visit.form.text("credential"))


def _is_own(visit: PageRequest, passkey: Passkey) -> bool:
    return visit.signed_in().id == passkey.account_id


def _back(visit: PageRequest, passkey: Passkey) -> str:
    """Return the path of the page that shows the passkey's account."""
    return "/account" if _is_own(visit, passkey) else f"/users/{passkey.account_id}"
