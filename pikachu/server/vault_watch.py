"""Follows whether Vault is reachable: probes it, keeps its token, and tells the log, the audit log and the pages."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from pikachu.core.audit_interfaces import IAuditStore
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.times import utc
from pikachu.signers.vault.faults import VaultFault
from pikachu.signers.vault.source import VaultKeys

log = Logger()

#: Seconds between two probes of a Vault that is unreachable.
TEND_SECONDS: Final = 2.0


class VaultWatch:
    """Follows the availability of one Vault; Vault can't leave and return between two calls of :meth:`tend`.

    :ivar outages: how often it became unreachable.
    """

    def __init__(self, keys: VaultKeys, store: IAuditStore, clock: IClock) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock
        self.outages = 0
        self._was_reachable = True
        self._refusal = ""

    @property
    def is_reachable(self) -> bool:
        """Whether Vault answers."""
        return self._keys.availability.is_reachable

    def alert(self) -> str | None:
        """Return the text for every page while Vault is unreachable."""
        if self._keys.availability.is_reachable:
            return None
        if self._keys.has_substitutes:
            return "Vault is unreachable. The key files sign until it is back."
        return "Vault is unreachable. No certificates are issued until it is back."

    async def tend(self) -> None:
        """Probe an unreachable Vault, renew the token of a reachable one when that is due, and tell of transitions."""
        refusal = ""
        try:
            await self._keys.pool.run(self._keys.tend)
        except VaultFault as fault:
            refusal = fault.reason
        except PikachuError as error:
            # The pool is full, so there are calls enough that show how Vault is.
            log.debug("Vault was not probed: {error}", error=error.public)
        await self._compare()
        if refusal and refusal != self._refusal and self._was_reachable:
            log.error("Vault: {reason}", reason=refusal)
        self._refusal = refusal

    def close(self) -> None:
        """Close the idle connections."""
        self._keys.close()

    async def _compare(self) -> None:
        reachable, reason = self._keys.availability.is_reachable, self._keys.availability.reason
        if reachable == self._was_reachable:
            return
        self._was_reachable = reachable
        signs = "Vault" if reachable else "key files" if self._keys.has_substitutes else "nothing"
        if reachable:
            log.warn("Vault is reachable again, and signs")
        else:
            self.outages += 1
            log.warn("Vault is unreachable, and {signs} will sign: {reason}", signs=signs, reason=reason)
        details: dict[str, object] = {"signs": signs, **({"reason": reason} if not reachable else {})}
        event = Event("return" if reachable else "fall back", "signer", "Vault", SYSTEM.name, details)
        try:
            await self._store.add_event(event, utc(self._clock.seconds()))
        except PikachuError as error:
            log.error("The audit log has no event about Vault: {error}", error=error.public)
