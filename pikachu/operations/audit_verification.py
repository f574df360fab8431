"""Verification of the audit chain (AUD-3) by administrators and auditors: one run at a time, up to minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.core.audit_interfaces import CHAIN_START, AuditKeyOrigin, ChainPosition
from pikachu.core.errors import Conflict, PikachuError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc

log = Logger()


@dataclass(frozen=True, slots=True)
class VerificationRun:
    """A verification run.

    :param position: the verified position in the chain.
    :param seconds: the duration of the run; ``None`` while it is active.
    :param wrong: the defect of the chain, or empty.
    :param failure: the reason why the run was aborted, or empty; the next run continues at its position.
    """

    actor: str
    begun_at: datetime
    position: ChainPosition = CHAIN_START
    seconds: float | None = None
    wrong: str = ""
    failure: str = ""

    @property
    def looked_at(self) -> int:
        """Return the number of verified events."""
        return self.position.count


class AuditVerification:
    """Starts verification runs and has the result of the last one."""

    def __init__(self, store: IStore, clock: IClock) -> None:
        self._store = store
        self._clock = clock
        self._last: VerificationRun | None = None

    def last(self, actor: Principal) -> VerificationRun | None:
        """Return the active run, or the last one since the start of the server.

        :raises NotAuthorized: unless the actor is an administrator or auditor.
        """
        require_scope(actor, Scope.AUDIT)
        return self._last

    def origin(self) -> AuditKeyOrigin:
        """Return where the events with a key begin."""
        return self._store.audit_key_origin()

    def begin(self, actor: Principal) -> bool:
        """Start a run unless one is active; return whether it was started.

        A run that was aborted by an outage is continued at its position.

        :raises NotAuthorized: unless the actor is an administrator or auditor.
        """
        require_scope(actor, Scope.AUDIT)
        if self._last is not None and self._last.seconds is None:
            return False
        begun = self._clock.seconds()
        after = self._last.position if self._last is not None and self._last.failure else CHAIN_START
        self._last = VerificationRun(actor.name, utc(begun), after)
        run = self._store.verify_events(self._progress, after)
        run.addErrback(self._broken).addBoth(self._ended, begun)
        return True

    async def up_to_date(self, actor: Principal) -> VerificationRun | None:
        """Return the last run that found no defect, continued with the events since; ``None`` without one.

        What lies before its position is as it was at the time of the run.  Fails with Conflict for a changed event, and
        with StoreUnavailable.
        """
        require_scope(actor, Scope.AUDIT)
        last = self._last
        if last is None or last.seconds is None or last.wrong or last.failure:
            return last
        positions = [last.position]
        await self._store.verify_events(positions.append, last.position)
        return replace(last, position=positions[-1])

    def _progress(self, position: ChainPosition) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        self._last = replace(self._last, position=position)

    def _broken(self, failure: Failure) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        error = failure.value
        if isinstance(error, Conflict):
            log.critical("{error}", error=error.public)
            self._last = replace(self._last, wrong=error.public)
            return
        if not isinstance(error, PikachuError):
            log.failure("verifying the audit chain", failure)
        public = error.public if isinstance(error, PikachuError) else "an internal error; see the log"
        self._last = replace(self._last, failure=public)

    def _ended(self, _: object, begun: float) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        self._last = replace(self._last, seconds=self._clock.seconds() - begun)
        log.info("The audit chain was verified up to event {count}", count=self._last.looked_at)
