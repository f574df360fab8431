"""The store's interface for second factors (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.people import Account
from pikachu.core.model.second_factors import NewTOTP, StoredTOTP


class ISecondFactorStore(Protocol):
    """Secrets for one-time passwords, and recovery codes."""

    def totp(self, account_id: int) -> Deferred[StoredTOTP | None]:
        """Return the secret of an account, or None."""

    def put_totp(self, totp: NewTOTP, event: Event, now: datetime) -> Deferred[None]:
        """Store the secret of an account instead of a former one.  Fails with NotFound and Conflict."""

    def use_totp_step(self, account_id: int, step: int) -> Deferred[bool]:
        """Accept a code of that time step; False when it or a later one was accepted before, also by another node."""

    def recovery_codes_left(self, account_id: int) -> Deferred[int]:
        """Return the number of unused recovery codes."""

    def put_recovery_codes(
        self, account_id: int, digests: Sequence[bytes], event: Event, now: datetime
    ) -> Deferred[None]:
        """Replace the recovery codes of an account that has a second factor; otherwise fail with Conflict."""

    def use_recovery_code(self, account_id: int, digest: bytes, event: Event, now: datetime) -> Deferred[bool]:
        """Delete a recovery code, with an event; False when the account has none of that digest."""

    def remove_second_factors(
        self, account_id: int, decide: Callable[[Account], Event], now: datetime, *, with_passkeys: bool = True
    ) -> Deferred[None]:
        """Delete the second factors of an account, and with the last one the recovery codes.  Fails with NotFound."""
