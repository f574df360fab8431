"""The token of the AppRole: logged in for, renewed well before it expires, replaced when it was revoked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from pikachu.core.concurrency import new_lock
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable
from pikachu.signers.vault.transport import Transport

log = Logger()

# Shares of a token's lifetime: the age from which it is renewed, and the age from which it is not used any more.
_RENEW_AT: Final = 0.5
_USABLE_UNTIL: Final = 0.95
# Seconds between attempts to renew a token that is still valid.
_RETRY_SECONDS: Final = 5.0
# Tokens near their maximum lifetime are renewed for less and less; below this share, a login gives a new one.
_MIN_RENEWED_SHARE: Final = 0.5
#: Most bytes of a file with credentials.
MAX_CREDENTIALS_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class AppRole:
    """The credentials of Pikachu's AppRole.

    :param mount: the path of the auth method.
    """

    role_id: str = field(repr=False)
    secret_id: str = field(repr=False)
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """A token that an operator supplies to a command; it is neither renewed nor replaced."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppRoleFile:
    """A file with the credentials of Pikachu's AppRole, read again at each login."""

    path: Path

    def read(self) -> AppRole:
        """Return what the file holds now.

        :raises VaultRefused: when it can't be read, or holds no credentials.
        """
        try:
            with self.path.open("rb") as stream:
                content = stream.read(MAX_CREDENTIALS_BYTES + 1)
        except OSError as error:
            raise VaultRefused(
                f"[VAULT] credentials_file: {self.path} can't be read: {error.strerror}. `pikachu vault credentials` "
                "writes it."
            ) from None
        try:
            return parse_credentials(content)
        except ValueError as error:
            raise VaultRefused(f"[VAULT] credentials_file: {self.path}: {error}.") from None


def parse_credentials(content: bytes) -> AppRole:
    """Return the credentials in a file: the role id in the first line, the secret id in the second.

    :raises ValueError: with the reason, without the content.
    """
    if len(content) > MAX_CREDENTIALS_BYTES:
        raise ValueError(f"larger than {MAX_CREDENTIALS_BYTES} bytes")
    try:
        lines = [line.strip() for line in content.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        raise ValueError("a role id and a secret id are ASCII text") from None
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != 2 or not all(line.isprintable() and " " not in line for line in lines) or not lines[0]:
        raise ValueError("two lines are expected, the role id and the secret id")
    return AppRole(*lines)


Credentials = AppRole | AppRoleFile | OperatorToken


@dataclass(frozen=True, slots=True)
class _Token:
    """A token in use.

    :ivar lifetime: seconds from *obtained_at*; 0 for a token that does not expire.
    :ivar first_lifetime: seconds that it got at login.
    """

    value: str = field(repr=False)
    obtained_at: float
    lifetime: float
    first_lifetime: float
    renewable: bool

    def has_lived(self, share: float, now: float) -> bool:
        """Return whether that share of the lifetime has passed."""
        return self.lifetime > 0 and now - self.obtained_at >= share * self.lifetime


class TokenKeeper:
    """Supplies a valid token to every request, in any thread.

    :param monotonic: a clock that is never set, in seconds; deadlines are of it.
    """

    def __init__(self, transport: Transport, credentials: Credentials, monotonic: Callable[[], float]) -> None:
        self._transport = transport
        self._credentials = credentials
        self._monotonic = monotonic
        self._lock = new_lock()
        self._token: _Token | None = None
        self._next_renewal = 0.0

    def current(self, deadline: float) -> str:
        """Return a token, renewed or logged in for when that is due.

        :raises VaultFault: when there is none.
        """
        if isinstance(self._credentials, OperatorToken):
            return self._credentials.value
        now = self._monotonic()
        token = self._token
        usable = token is not None and not token.has_lived(_USABLE_UNTIL, now)
        if token is not None and usable and (not token.has_lived(_RENEW_AT, now) or now < self._next_renewal):
            return token.value
        # A renewal in another thread holds up nobody while the token is usable.
        if not self._lock.acquire(timeout=0 if usable else max(0.0, deadline - now)):
            if token is not None and usable:
                return token.value
            raise VaultUnreachable("Vault did not answer the login in time.", was_sent=False)
        try:
            if self._token is token or self._token is None:
                self._token = self._follow(token, usable, deadline)
            return self._token.value
        finally:
            self._lock.release()

    def discard_if_invalid(self, value: str, deadline: float) -> bool:
        """Forget a token that Vault does not know any more; return whether there is another one to try.

        :param value: the token with which a request was refused.
        :raises VaultUnreachable: when Vault does not answer.
        """
        if isinstance(self._credentials, OperatorToken):
            return False
        token = self._token
        if token is None or token.value != value:
            return True
        try:
            # Every token may look itself up, unless its policies leave out "default"; then it is renewed instead.
            self._transport.request("get", "auth/token/lookup-self", None, value, deadline - self._monotonic())
        except VaultRefused:
            with self._lock:
                if self._token is token:
                    self._token = None
            return True
        return False

    def _follow(self, token: _Token | None, usable: bool, deadline: float) -> _Token:
        """Return the token renewed, or a new one; the present one while it is usable and Vault gives no other."""
        try:
            renewed = self._renew(token, deadline) if token is not None and usable and token.renewable else None
            return renewed or self._log_in(deadline)
        except VaultFault as fault:
            self._next_renewal = self._monotonic() + _RETRY_SECONDS
            if token is None or not usable:
                raise
            log.warn("Vault's token could not be renewed: {reason}", reason=fault.reason)
            return token

    def _renew(self, token: _Token, deadline: float) -> _Token | None:
        """Return the renewed token; ``None`` when a login has to give another one."""
        try:
            answer = self._request("auth/token/renew-self", {}, token.value, deadline)
        except VaultRefused as fault:
            log.info("Vault does not renew the token, so there is a new login: {reason}", reason=fault.reason)
            return None
        renewed = _parse(answer, self._monotonic(), token.first_lifetime)
        is_short = 0 < renewed.lifetime < _MIN_RENEWED_SHARE * token.first_lifetime
        return None if is_short else renewed

    def _log_in(self, deadline: float) -> _Token:
        role = self._credentials.read() if isinstance(self._credentials, AppRoleFile) else self._credentials
        assert isinstance(role, AppRole)  # noqa: S101 - an operator's token is returned as it is
        body = {"role_id": role.role_id, "secret_id": role.secret_id}
        try:
            answer = self._request(f"auth/{role.mount}/login", body, "", deadline)
        except VaultRefused as fault:
            # Vault's own text is left out: it may repeat what was sent.
            raise VaultRefused(
                "Vault refuses the login of Pikachu's AppRole. Check role_id and secret_id in [VAULT]; a secret id may "
                "have expired or be used up. `pikachu vault setup --new-secret-id` makes a new one.",
                status=fault.status,
            ) from None
        return _parse(answer, self._monotonic(), None)

    def _request(self, path: str, body: dict[str, str], token: str, deadline: float) -> dict[str, Any]:
        return self._transport.request("post", path, body, token, deadline - self._monotonic())


def _parse(answer: dict[str, Any], now: float, first_lifetime: float | None) -> _Token:
    """Return the token in the answer to a login or a renewal.

    :raises VaultUnreachable: when there is none.
    """
    auth = answer.get("auth")
    value = auth.get("client_token") if isinstance(auth, dict) else None
    lifetime = auth.get("lease_duration") if isinstance(auth, dict) else None
    if not isinstance(value, str) or not value or not isinstance(lifetime, int) or lifetime < 0:
        raise VaultUnreachable("The answer to the login is not Vault's. Check [VAULT] address.")
    return _Token(
        value,
        now,
        float(lifetime),
        float(lifetime) if first_lifetime is None else first_lifetime,
        auth.get("renewable") is True if isinstance(auth, dict) else False,
    )
