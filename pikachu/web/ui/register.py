"""Self-registration (USR-2)."""

from __future__ import annotations

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.sessions import Sessions
from pikachu.auth.permissions import Audience
from pikachu.config.configuration import Configuration
from pikachu.core.errors import PikachuError
from pikachu.core.model.people import AccountState
from pikachu.web.browsers import SESSION
from pikachu.web.ui.cookies import cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect


class RegisterPages(Pages):
    """``/register``."""

    def __init__(self, *, accounts: Accounts, sessions: Sessions, config: Configuration) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._minimum = config.default.password_min_length
        self._auto_approve = config.default.auto_approve

    @page("GET", "/register", audience=Audience.ANYONE)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the form; a signed-in user is redirected."""
        return Redirect("/account") if visit.session is not None else self._form()

    @page("POST", "/register", audience=Audience.ANYONE)
    async def register(self, visit: PageRequest) -> PageReply:
        """Register an account, which awaits approval; with automatic approval its user is signed in."""
        username, email = visit.form.text("username"), visit.form.text("email")
        try:
            password = visit.form.whole_text("password")
            confirmation = visit.form.whole_text("confirmation")
            account = await self._accounts.register(username, email, password, confirmation, visit.address)
            if account.state is not AccountState.ACTIVE:
                return HtmlPage("people/registered.html", {"account": account}, 201)
            _, secret = await self._sessions.login(username, password, visit.address, visit.agent)
        except PikachuError as error:
            return self._form(username, email, error)
        visit.cookies.append(cookie(SESSION, secret))
        return Redirect("/", notice=f"Welcome, {account.username}.")

    def _form(self, username: str = "", email: str = "", error: PikachuError | None = None) -> PageReply:
        context = {
            "username": username[:64],
            "email": email[:254],
            "minimum": self._minimum,
            "auto_approve": self._auto_approve,
        }
        return HtmlPage.form("people/register.html", context, error)
