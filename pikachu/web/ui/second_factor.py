"""Second factors: setting one up, the second step of signing in, and removal (ROL-2)."""

from __future__ import annotations

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.passkeys import PasskeySignIn
from pikachu.accounts.second_factors import Offer, SecondFactorAdministration
from pikachu.accounts.sessions import Sessions
from pikachu.auth.permissions import Audience
from pikachu.auth.totp import provisioning_uri, secret_text
from pikachu.core.errors import NotAuthorized, PikachuError
from pikachu.documents.qr_codes import qr_code
from pikachu.web.browsers import SESSION
from pikachu.web.ui.cookies import PENDING, cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.passkeys import place_of
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect, own_path

_CODES: str = "/account/second-factor/codes"


class SecondFactorPages(Pages):
    """``/account/second-factor``, ``/login/code`` and ``/users/<id>/second-factor``."""

    def __init__(
        self,
        *,
        second_factors: SecondFactorAdministration,
        accounts: Accounts,
        sessions: Sessions,
        passkey_sign_in: PasskeySignIn,
    ) -> None:
        self._passkey_sign_in = passkey_sign_in
        self._second_factors = second_factors
        self._accounts = accounts
        self._sessions = sessions

    # --- one's own ------------------------------------------------------------------------

    @page("GET", "/account/second-factor/new", audience=Audience.USER, restricted=True)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show a new secret as text and as a QR code."""
        visit.require_confirmation()
        return self._set_up(visit, self._second_factors.offer(visit.principal))

    @page("POST", "/account/second-factor", audience=Audience.USER, keeps_draft=False, restricted=True)
    async def confirm(self, visit: PageRequest) -> PageReply:
        """Use the secret from now on, once a code of it was entered."""
        if not visit.confirmed:
            return Redirect("/account/second-factor/new")
        offer = self._second_factors.reopen(visit.principal, visit.form.text("offer"))
        try:
            codes = await self._second_factors.confirm(visit.principal, offer, visit.form.text("code"))
        except PikachuError as error:
            return self._set_up(visit, offer, error)
        return Redirect(_CODES, notice="The second factor is set up.", secret=" ".join(codes))

    @staticmethod
    def _set_up(visit: PageRequest, offer: Offer, error: PikachuError | None = None) -> PageReply:
        uri = provisioning_uri(offer.secret, visit.signed_in().username, visit.host)
        context = {"secret": secret_text(offer.secret), "image": qr_code(uri), "offer": offer.sealed, "uri": uri}
        return HtmlPage.form("people/second_factor_new.html", context, error)

    @page("GET", "/account/second-factor/codes", audience=Audience.USER)
    async def codes(self, visit: PageRequest) -> PageReply:
        """Show new recovery codes, once."""
        left = await self._second_factors.recovery_codes_left(visit.principal)
        return HtmlPage("people/recovery_codes.html", {"codes": visit.secret.split(), "left": left})

    @page("POST", "/account/second-factor/codes", audience=Audience.USER, keeps_draft=False)
    async def renew_codes(self, visit: PageRequest) -> PageReply:
        """Replace the recovery codes."""
        visit.require_confirmation()
        codes = await self._second_factors.renew_recovery_codes(visit.principal)
        return Redirect(_CODES, notice="Former recovery codes are invalid now.", secret=" ".join(codes))

    @page("GET", "/account/second-factor/remove", audience=Audience.USER)
    async def remove_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for removing the second factor."""
        visit.require_confirmation()
        return HtmlPage("people/second_factor_remove.html", {"account": visit.signed_in(), "own": True})

    @page("POST", "/account/second-factor/remove", audience=Audience.USER)
    async def remove(self, visit: PageRequest) -> PageReply:
        """Remove the second factor."""
        if not visit.confirmed:
            return Redirect("/account/second-factor/remove")
        try:
            visit.form.require_confirmation("remove")
        except PikachuError as error:
            return HtmlPage.form("people/second_factor_remove.html", {"account": visit.signed_in(), "own": True}, error)
        await self._second_factors.remove(visit.principal)
        return Redirect("/account", notice="The second factor was removed.")

    # --- signing in -----------------------------------------------------------------------

    @page("GET", "/login/code", audience=Audience.ANYONE)
    async def code_form(self, visit: PageRequest) -> PageReply:
        """Show the form for the code, after the password was right."""
        if visit.session is not None or not visit.pending:
            return Redirect(own_path(visit.query.get("next", "/")) if visit.session is not None else "/login")
        try:
            return await self._code_form(visit, own_path(visit.query.get("next", "/")))
        except NotAuthorized as error:
            return _again(visit, error)

    @page("POST", "/login/code", audience=Audience.ANYONE, keeps_draft=False)
    async def login(self, visit: PageRequest) -> PageReply:
        """Start a session when the code is right."""
        return_path = own_path(visit.form.text("next", "/"))
        try:
            code = visit.form.text("code")
            _, secret = await self._sessions.login_by_code(visit.pending, code, visit.address, visit.agent)
        except NotAuthorized as error:
            return _again(visit, error)
        except PikachuError as error:
            return await self._code_form(visit, return_path, error)
        if visit.session is not None:
            await self._sessions.logout(visit.session, visit.signed_in())
        visit.cookies.extend((cookie(PENDING, "", seconds=0), cookie(SESSION, secret)))
        return Redirect(return_path)

    async def _code_form(self, visit: PageRequest, return_path: str, error: PikachuError | None = None) -> PageReply:
        step = await self._passkey_sign_in.second_step(visit.pending)
        context = {"next": return_path, "step": step, "host": place_of(visit).host}
        return HtmlPage.form("people/login_code.html", context, error)

    # --- administrators -------------------------------------------------------------------

    @page("GET", "/users/<id>/second-factor", audience=Audience.ADMIN)
    async def reset_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for removing an account's second factor."""
        account = await self._accounts.account(visit.principal, visit.id)
        return HtmlPage("people/second_factor_remove.html", {"account": account, "own": False})

    @page("POST", "/users/<id>/second-factor", audience=Audience.ADMIN)
    async def reset(self, visit: PageRequest) -> PageReply:
        """Remove an account's second factor."""
        account = await self._accounts.account(visit.principal, visit.id)
        try:
            visit.form.require_confirmation("remove")
        except PikachuError as error:
            return HtmlPage.form("people/second_factor_remove.html", {"account": account, "own": False}, error)
        await self._second_factors.reset(visit.principal, account.id)
        return Redirect(f"/users/{account.id}", notice=f"The second factor of {account.username} was removed.")


def _again(visit: PageRequest, error: NotAuthorized) -> PageReply:
    """Return to the first step of a sign-in."""
    visit.cookies.append(cookie(PENDING, "", seconds=0))
    return Redirect("/login", notice=error.public)
