"""Texts about the end of a session, and about what is demanded at sign-in (ROL-2)."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Final

from pikachu.core.model.sign_in import Restriction, SessionEnd
from pikachu.web.ui.responses import Redirect

_REASONS: Final = MappingProxyType(
    {
        SessionEnd.AGE: "You were signed out because a session lasts 12 hours at most.",
        SessionEnd.ADMINISTRATOR: "An administrator signed you out.",
        SessionEnd.ELSEWHERE: "This session was ended from another browser.",
        SessionEnd.PASSWORD: "You were signed out because the password of your account was changed.",
        SessionEnd.ACCOUNT: "You were signed out because an administrator suspended or deactivated your account.",
        SessionEnd.LIMIT: "You were signed out because your account has newer sessions in 20 other browsers.",
    }
)
#: Added when entries of a form were kept.
DRAFT_KEPT: Final = "Sign in to continue with your entries."
#: Shown above a form that was filled in again.
DRAFT_RESTORED: Final = "Your entries were restored but not saved yet. Check them and submit the form again."
FORM_EXPIRED: Final = "This form has expired, and nothing was saved."


def restriction_page(restriction: Restriction) -> Redirect:
    """Return the redirect to the page where the account does what is demanded of it."""
    if restriction is Restriction.CHANGE_PASSWORD:
        return Redirect("/account/password", notice="Choose a password of your own first.")
    return Redirect("/account/second-factor/new", notice="This server demands a second factor. Set one up first.")


def end_text(reason: SessionEnd, maximum_idle: timedelta) -> str:
    """Return why a session has ended."""
    minutes, seconds = divmod(int(maximum_idle.total_seconds()), 60)
    length, unit = (seconds, "second") if not minutes else (minutes, "minute")
    idle = f"You were signed out after {length} {unit}{'' if length == 1 else 's'} of inactivity."
    return _REASONS.get(reason, idle)
