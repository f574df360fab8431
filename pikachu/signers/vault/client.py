"""Calls to Vault: each with a token, a total time limit, and retries with exponential back-off and jitter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pikachu.signers.vault.availability import Availability
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.signers.vault.tokens import Credentials, TokenKeeper
from pikachu.signers.vault.transport import Transport, VaultAddress

# Seconds; the first pause, which doubles from one attempt to the next, and the longest one.
_FIRST_PAUSE: Final = 0.3
_MAX_PAUSE: Final = 3.0
# How many times the time limit of one attempt all attempts of a call may take together.
_TOTAL_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is tried.

    :param timeout: seconds for one attempt; all attempts of a call take at most twice as long.
    :param retries: maximum number of further attempts.
    """

    timeout: float = 10.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """The time as calls see it, in seconds; tests choose another one.

    :param monotonic: a clock that is never set.
    :param jitter: returns a number from 0 to 1.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


class VaultClient:
    """A Vault server as its callers see it; every method blocks, and may be called in any thread.

    While Vault counts as unreachable, every call but a probe fails immediately, so that they don't fill the pool.
    Paths are without ``/v1/``, such as ``transit/sign/pikachu-ec``.

    :param availability: learns of each outcome.
    :ivar takes_keys: whether private keys may be sent to it as they are.
    :raises ConfigError: when the trust anchors can't be read.
    """

    def __init__(
        self,
        address: VaultAddress,
        credentials: Credentials,
        *,
        patience: Patience | None = None,
        availability: Availability | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._timing = timing or Timing()
        self.availability = availability or Availability(self._timing.monotonic)
        self.takes_keys = address.takes_keys
        self._transport = Transport(address, self._timing.monotonic)
        self._tokens = TokenKeeper(self._transport, credentials, self._timing.monotonic)

    def close(self) -> None:
        """Close the idle connections; later calls open new ones."""
        self._transport.close()

    # --- calls --------------------------------------------------------------------------

    def read(self, path: str) -> dict[str, Any]:
        """Return the answer to a GET; its content is usually in ``["data"]``.

        :raises VaultFault: likewise by every method here.
        """
        return self._call("get", path, None)

    def list(self, path: str) -> list[str]:
        """Return the names below *path*; none when there is no such folder."""
        try:
            answer = self._call("list", path, None)
        except VaultRefused as fault:
            if fault.status == 404:
                return []
            raise
        keys = data_of(answer).get("keys")
        return [str(key) for key in keys] if isinstance(keys, list) else []

    def write(
        self, path: str, body: Mapping[str, object], *, repeatable: bool = True, patience: float = 0.0
    ) -> dict[str, Any]:
        """Return the answer to a POST.

        :param repeatable: whether the same request may be carried out twice.  Otherwise it is sent again only when
            Vault has certainly not received it.
        :param patience: seconds that one attempt may take at least, for what takes Vault long.
        """
        return self._call("post", path, body, repeatable=repeatable, patience=patience)

    def delete(self, path: str) -> None:
        """Delete what is at *path*."""
        self._call("delete", path, None)

    def probe(self) -> None:
        """Make one authenticated request without retries, also while Vault counts as unreachable."""
        deadline = self._timing.monotonic() + self._patience.timeout
        self._attempt("get", "auth/token/lookup-self", None, deadline)

    def keep_token(self) -> None:
        """Renew the token, or log in, when that is due; otherwise nothing is requested."""
        self._tokens.current(self._timing.monotonic() + self._patience.timeout)

    # --- attempts -----------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        *,
        repeatable: bool = True,
        patience: float = 0.0,
    ) -> dict[str, Any]:
        timeout = max(patience, self._patience.timeout)
        deadline = self._timing.monotonic() + _TOTAL_FACTOR * timeout
        pause = _FIRST_PAUSE
        for remaining in range(self._patience.retries, -1, -1):
            if not self.availability.is_reachable:
                raise VaultUnreachable(self.availability.reason, was_sent=False)
            try:
                return self._attempt(method, path, body, min(deadline, self._timing.monotonic() + timeout))
            except VaultUnreachable as fault:
                delay = pause * (0.5 + self._timing.jitter() / 2)
                may_repeat = repeatable or not fault.was_sent
                if not remaining or not may_repeat or self._timing.monotonic() + delay >= deadline:
                    raise
            self._timing.sleep(delay)
            pause = min(2 * pause, _MAX_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, method: str, path: str, body: Mapping[str, object] | None, deadline: float) -> dict[str, Any]:
        """Make one attempt, and tell the availability how it ended."""
        try:
            answer = self._authenticated(method, path, body, deadline)
        except VaultUnreachable as fault:
            self.availability.failed(fault.reason)
            raise
        except VaultRefused:
            self.availability.succeeded()
            raise
        self.availability.succeeded()
        return answer

    def _authenticated(
        self, method: str, path: str, body: Mapping[str, object] | None, deadline: float
    ) -> dict[str, Any]:
        token = self._tokens.current(deadline)
        try:
            return self._transport.request(method, path, body, token, deadline - self._timing.monotonic())
        except VaultRefused as fault:
            # Vault answers alike for a token that has expired or was revoked, and for a policy that forbids the path.
            if fault.status != 403 or not self._tokens.discard_if_invalid(token, deadline):
                raise
        token = self._tokens.current(deadline)
        return self._transport.request(method, path, body, token, deadline - self._timing.monotonic())


def data_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``data`` of an answer.

    :raises VaultUnreachable: when there is none, as in the answer of something that is not Vault.
    """
    data = answer.get("data")
    if not isinstance(data, dict):
        raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.")
    return data
