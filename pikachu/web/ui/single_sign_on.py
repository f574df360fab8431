"""Signing in with an OpenID Connect provider (ROL-2)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import astuple
from typing import Any, Final

from pikachu.accounts.sessions import Sessions
from pikachu.auth.oidc.accounts import ProviderAccounts
from pikachu.auth.oidc.provider import Attempt, Provider
from pikachu.auth.permissions import Audience
from pikachu.core.errors import AuthenticationFailed, NotFound, PikachuError, SecretKeyChanged
from pikachu.core.interfaces import IClock
from pikachu.core.sealing import Sealer
from pikachu.web.browsers import SESSION
from pikachu.web.ui.cookies import ATTEMPT, cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import ExternalRedirect, PageReply, Redirect, own_path

CALLBACK: Final = "/login/oidc/callback"
#: Time for signing in at the provider.
ATTEMPT_SECONDS: Final = 600
_PURPOSE: Final = "single sign-on"
_FAILED: Final = "This sign-in has expired or was not started here. Sign in again."


class SingleSignOnPages(Pages):
    """``/login/oidc``.

    :param provider: None where no provider is configured.
    """

    def __init__(
        self,
        *,
        provider: Provider | None,
        provider_accounts: ProviderAccounts | None,
        sessions: Sessions,
        sealer: Sealer,
        clock: IClock,
    ) -> None:
        self._provider = provider
        self._accounts = provider_accounts
        self._sessions = sessions
        self._sealer = sealer
        self._clock = clock

    @page("GET", "/login/oidc", audience=Audience.ANYONE)
    async def start(self, visit: PageRequest) -> PageReply:
        """Send the browser to the provider."""
        return await self._start(visit, again=False)

    @page("GET", "/confirm/oidc", audience=Audience.USER)
    async def start_again(self, visit: PageRequest) -> PageReply:
        """Send the browser to the provider, which asks for credentials again, in the place of a password here."""
        return await self._start(visit, again=True)

    async def _start(self, visit: PageRequest, *, again: bool) -> PageReply:
        provider = self._required()
        return_path = own_path(visit.query.get("next", "/"))
        try:
            attempt, location = await provider.begin(f"{visit.origin}{CALLBACK}", again=again)
        except PikachuError as error:
            return _back(error.public)
        content = json.dumps([*astuple(attempt), return_path, again]).encode()
        value = base64.urlsafe_b64encode(self._sealer.seal(_PURPOSE, content)).decode()
        visit.cookies.append(cookie(ATTEMPT, value, seconds=ATTEMPT_SECONDS))
        return ExternalRedirect(location)

    @page("GET", "/login/oidc/callback", audience=Audience.ANYONE)
    async def finish(self, visit: PageRequest) -> PageReply:
        """Start a session of the person whom the provider has signed in, or confirm the present one."""
        self._required()
        visit.cookies.append(cookie(ATTEMPT, "", seconds=0))
        try:
            return await self._finish(visit)
        except PikachuError as error:
            return _back(error.public)

    async def _finish(self, visit: PageRequest) -> PageReply:
        provider, accounts = self._required(), self._accounts
        attempt, return_path, again = self._attempt(visit)
        if "error" in visit.query:
            raise AuthenticationFailed("The provider refused this sign-in, or you cancelled it.")
        claims = await provider.redeem(attempt, visit.query.get("code", ""), again=again)
        assert accounts is not None  # noqa: S101 - there is a provider
        account = await accounts.record(claims, visit.address)
        if again:
            if visit.session is None:
                raise AuthenticationFailed(_FAILED)
            await self._sessions.confirm_by_provider(visit.session, account)
            return Redirect(return_path)
        _, secret = await self._sessions.login_by_provider(account, visit.address, visit.agent)
        if visit.session is not None:
            await self._sessions.logout(visit.session, visit.signed_in())
        visit.cookies.append(cookie(SESSION, secret))
        return Redirect(return_path)

    def _attempt(self, visit: PageRequest) -> tuple[Attempt, str, bool]:
        """Return the attempt of this browser that the provider's answer belongs to.

        :raises AuthenticationFailed: there is none, or it is too old.
        """
        try:
            value = base64.urlsafe_b64decode(visit.attempt.encode("ascii", "replace"))
            fields: list[Any] = json.loads(self._sealer.open(_PURPOSE, value))
        except (SecretKeyChanged, ValueError, binascii.Error):
            raise AuthenticationFailed(_FAILED) from None
        *parts, return_path, again = fields
        attempt = Attempt(*parts)
        state = visit.query.get("state", "")
        is_recent = abs(self._clock.seconds() - attempt.started) <= ATTEMPT_SECONDS
        if not is_recent or not hmac.compare_digest(state.encode(), attempt.state.encode()):
            raise AuthenticationFailed(_FAILED)
        return attempt, own_path(return_path), bool(again)

    def _required(self) -> Provider:
        if self._provider is None:
            raise NotFound("Single sign-on is not configured here.")
        return self._provider


def _back(text: str) -> PageReply:
    return Redirect("/login", notice=text, notice_kind="warn")
