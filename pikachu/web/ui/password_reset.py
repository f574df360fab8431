"""Choosing a new password with a one-time code (ROL-2)."""

from __future__ import annotations

from pikachu.accounts.password_resets import PasswordResets
from pikachu.auth.permissions import Audience
from pikachu.config.configuration import Configuration
from pikachu.core.errors import PikachuError
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect


class PasswordResetPages(Pages):
    """``/reset``; the code is not in its path or query, which logs have."""

    def __init__(self, *, password_resets: PasswordResets, config: Configuration) -> None:
        self._resets = password_resets
        self._minimum = config.default.password_min_length

    @page("GET", "/reset", audience=Audience.ANYONE)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the form; a script takes the code from the link's fragment."""
        return self._form(visit)

    @page("POST", "/reset", audience=Audience.ANYONE, keeps_draft=False)
    async def reset(self, visit: PageRequest) -> PageReply:
        """Set the password, which ends all sessions of the account."""
        try:
            password, confirmation = (visit.form.whole_text(name) for name in ("password", "confirmation"))
            await self._resets.use(visit.form.text("code"), password, confirmation, visit.address)
        except PikachuError as error:
            return self._form(visit, error)
        return Redirect("/login", notice="Your password was changed. Sign in with it.")

    def _form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        context = {"minimum": self._minimum, "code": visit.form.values.get("code", "")[:100]}
        return HtmlPage.form("people/reset.html", context, error)
