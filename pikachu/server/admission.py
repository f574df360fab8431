"""Which requests may send more than a stranger: their credentials are verified before the body is read."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pikachu.accounts.sessions import Sessions
from pikachu.auth.authenticator import Authenticator
from pikachu.core.errors import PikachuError
from pikachu.http.client_address import client_certificate
from pikachu.http.request import BoundedRequest
from pikachu.web.browsers import SESSION, read_cookies


class CredentialsCheck:
    """Verifies the credentials in a request's head: a token, a session or a client certificate.

    A password is none of them, since each guess at one costs a hash.
    """

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    def __call__(self, request: BoundedRequest) -> Deferred[bool]:
        """Return a Deferred of whether they are valid; it never fails."""
        return Deferred.fromCoroutine(self._verify(request))

    async def _verify(self, request: BoundedRequest) -> bool:
        try:
            scheme, _, token = (request.getHeader(b"Authorization") or b"").decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                await self._authenticator.token(token.strip(), request.address)
                return True
            shown = client_certificate(request)
            if shown.der is not None:
                await self._authenticator.client_certificate(shown.der, request.address, shown.intermediates)
                return True
            secret = read_cookies(request).get(SESSION, "")
            return bool(secret) and await self._sessions.find(secret, seen=False) is not None
        except PikachuError:
            return False
