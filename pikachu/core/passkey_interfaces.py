"""The store's interface for passkeys (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.passkeys import NewPasskey, Passkey
from pikachu.core.model.people import Account


class IPasskeyStore(Protocol):
    """Passkeys of accounts, which are second factors."""

    def passkeys_of(self, account_id: int) -> Deferred[list[Passkey]]:
        """Return the passkeys of an account, by name."""

    def passkey(self, passkey_id: int) -> Deferred[Passkey]:
        """Return a passkey.  Fails with NotFound."""

    def passkey_by_credential(self, credential_id: bytes) -> Deferred[tuple[Passkey, Account] | None]:
        """Return the passkey with that credential id and its account, or None."""

    def add_passkey(self, passkey: NewPasskey, most: int, event: Event, now: datetime) -> Deferred[bool]:
        """Store a passkey; return whether it is the first second factor, so that its recovery codes were stored.

        Fails with NotFound, and with Conflict when the name is taken, the account has *most* already, the credential
        is known, or its challenge is not newer than the last accepted one.
        """

    def use_passkey(self, passkey_id: int, sign_count: int, challenged_at: int, now: datetime) -> Deferred[bool]:
        """Accept a signature; False when its counter did not increase, or its challenge is not newer than the last
        accepted one, also by another node.

        :param challenged_at: as in :class:`pikachu.core.model.passkeys.NewPasskey`.
        """

    def remove_passkey(
        self, passkey_id: int, decide: Callable[[Passkey, Account], Event], now: datetime
    ) -> Deferred[None]:
        """Delete a passkey, and with the last second factor the recovery codes.  Fails with NotFound."""
