"""An OpenID Connect provider: discovery, authorization with PKCE, and the exchange of codes (RFC 6749, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from pikachu.auth.oidc.id_tokens import Expected, UnknownKey, verified_claims
from pikachu.config.oidc_section import OIDCSection
from pikachu.core.errors import AuthenticationFailed, Unavailable
from pikachu.core.interfaces import IClock, IWorkerPool

#: Seconds for which the discovery document and the keys are used.
_FRESH_SECONDS: Final = 3600.0
#: Minimum interval between two reads of the keys because of tokens with unknown ones.
_KEYS_INTERVAL_SECONDS: Final = 30.0
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class IProviderClient(Protocol):
    """Calls a provider; each call blocks, and raises Unavailable."""

    def get(self, url: str) -> dict[str, Any]:
        """Return the JSON object at *url*."""

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form; return status and JSON object."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The secrets of one attempt to sign in, which the browser keeps sealed.

    :param verifier: of PKCE.
    :param redirect_uri: where the provider sends the browser back to.
    :param started: seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str = field(repr=False)
    redirect_uri: str
    started: float


class Provider:
    """One provider.  All calls run in a pool of their own, so that its outage delays nothing else."""

    def __init__(
        self,
        *,
        settings: OIDCSection,
        client_secret: str | None,
        client: IProviderClient,
        pool: IWorkerPool,
        clock: IClock,
    ) -> None:
        self._settings = settings
        self._client_secret = client_secret
        self._client = client
        self._pool = pool
        self._clock = clock
        self._documents: dict[str, tuple[float, dict[str, Any]]] = {}

    @property
    def issuer(self) -> str:
        """Return the issuer URL."""
        return self._settings.issuer or ""

    async def begin(self, redirect_uri: str, *, again: bool = False) -> tuple[Attempt, str]:
        """Return a new attempt, and the address to send the browser to.

        :param again: the provider has to ask for credentials, also of a user who is signed in there.

        Fails with Unavailable.
        """
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, redirect_uri, self._clock.seconds())
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        parameters = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if again else {}),
        }
        endpoint = str((await self._discovery())["authorization_endpoint"])
        return attempt, f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    async def redeem(self, attempt: Attempt, code: str, *, again: bool = False) -> dict[str, Any]:
        """Exchange a code for an ID token; return its verified claims.

        Fails with AuthenticationFailed and Unavailable.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = {}
        if self._client_secret is None:
            form["client_id"] = self._settings.client_id
        else:
            # RFC 6749 section 2.3.1: both are form-encoded first.
            pair = f"{quote(self._settings.client_id, safe='')}:{quote(self._client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        endpoint = str((await self._discovery())["token_endpoint"])
        status, answer = await self._pool.run(self._client.post, endpoint, urlencode(form), headers)
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            reason = str(answer.get("error", "no ID token"))[:100]
            raise AuthenticationFailed("The provider refused this sign-in. Sign in again.", reason=reason)
        after = attempt.started if again else None
        issuer = str((await self._discovery())["issuer"])
        expected = Expected(issuer, self._settings.client_id, attempt.nonce, self._clock.seconds(), after)
        return await self._verified(token, expected)

    async def _verified(self, token: str, expected: Expected) -> dict[str, Any]:
        url = str((await self._discovery())["jwks_uri"])
        try:
            return await self._verify(token, await self._document(url), expected)
        except UnknownKey:
            try:
                # The provider may have changed its keys since they were read.
                return await self._verify(token, await self._document(url, _KEYS_INTERVAL_SECONDS), expected)
            except UnknownKey:
                reason = "no key of the provider verifies the ID token"
                raise AuthenticationFailed(
                    "The provider's answer was refused: its signature is wrong. Sign in again.", reason=reason
                ) from None

    async def _verify(self, token: str, keys: dict[str, Any], expected: Expected) -> dict[str, Any]:
        return await self._pool.run(verified_claims, token, keys, expected)

    async def _discovery(self) -> dict[str, Any]:
        document = await self._document(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        # OpenID Connect Discovery section 4.3: another issuer's document could name another issuer's endpoints.
        named = document.get("issuer")
        same = isinstance(named, str) and named.rstrip("/") == self.issuer.rstrip("/")
        schemes = ("https://",) if self.issuer.startswith("https://") else ("https://", "http://")
        addresses = [document.get(name) for name in _ENDPOINTS]
        if not same or not all(isinstance(one, str) and one.startswith(schemes) for one in addresses):
            raise Unavailable(
                "The sign-in provider's configuration is wrong. Tell an administrator.",
                reason=f"the discovery document of {self.issuer} is for another issuer, or lacks an endpoint with TLS",
            )
        return document

    async def _document(self, url: str, fresh: float = _FRESH_SECONDS) -> dict[str, Any]:
        known = self._documents.get(url)
        if known is not None and 0 <= self._clock.seconds() - known[0] < fresh:
            return known[1]
        document = await self._pool.run(self._client.get, url)
        self._documents[url] = (self._clock.seconds(), document)
        return document
