"""Verification of the audit chain and the transparency log (AUD-3, TLG-1): one run at a time, up to minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import require_scope
from pikachu.core.audit_interfaces import CHAIN_START, AuditKeyOrigin, ChainPosition
from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest, PikachuError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.log_interfaces import PrunedEvents, TreeHead
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.transparency.checkpoints import Checkpoint

log = Logger()


@dataclass(frozen=True, slots=True)
class VerificationRun:
    """A verification run.

    :param position: the verified position in the chain.
    :param seconds: the duration of the run; ``None`` while it is active.
    :param entries: the number of verified entries of the transparency log.
    :param kept: the size of the checkpoint that the log is compared with; ``None`` without one.
    :param is_uploaded: whether somebody brought that checkpoint; else it is the one in the folder of checkpoints.
    :param wrong: the defect of the chain or the log, or empty.
    :param failure: the reason why the run was aborted, or empty; the next run continues at its position.
    """

    actor: str
    begun_at: datetime
    position: ChainPosition = CHAIN_START
    seconds: float | None = None
    entries: int = 0
    kept: int | None = None
    is_uploaded: bool = False
    wrong: str = ""
    failure: str = ""

    @property
    def looked_at(self) -> int:
        """Return the number of verified events."""
        return self.position.count


class ILogVerification(Protocol):
    """The verification of the transparency log."""

    def opened(self, note: bytes) -> Checkpoint:
        """Return a checkpoint of this log.

        :raises MalformedRequest: when it is of another log, or was changed.
        """

    def stored_checkpoint(self) -> Deferred[bytes | None]:
        """Return the newest checkpoint in the folder of checkpoints; ``None`` without one."""

    def verify(
        self, actor: Principal, note: bytes | None = None, progress: Callable[[int], None] | None = None
    ) -> Deferred[tuple[TreeHead, PrunedEvents | None]]:
        """Verify events and certificates against the log, and the log against a kept checkpoint."""


class AuditVerification:
    """Starts verification runs and has the result of the last one."""

    def __init__(self, store: IStore, transparency: ILogVerification, clock: IClock) -> None:
        self._store = store
        self._transparency = transparency
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

    def begin(self, actor: Principal, note: bytes = b"") -> bool:
        """Start a run unless one is active; return whether it was started.

        The events of a run that was aborted by an outage are continued at its position.

        :param note: a checkpoint that was kept elsewhere; empty: the newest one in the folder of checkpoints.
        :raises NotAuthorized: unless the actor is an administrator or auditor.
        :raises MalformedRequest: when the checkpoint is of another log, or was changed.
        :raises Conflict: when a run without the checkpoint is active.
        """
        require_scope(actor, Scope.AUDIT)
        if note:
            self._transparency.opened(note)
        if self._last is not None and self._last.seconds is None:
            if note:
                raise Conflict("A verification is running. Wait for its end, then verify against the checkpoint.")
            return False
        begun = self._clock.seconds()
        after = self._last.position if self._last is not None and self._last.failure else CHAIN_START
        self._last = VerificationRun(actor.name, utc(begun), after)
        start(self._run(actor, after, note)).addErrback(self._broken).addBoth(self._ended, begun)
        return True

    async def _run(self, actor: Principal, after: ChainPosition, note: bytes) -> None:
        await self._store.verify_events(self._progress, after)
        kept = note or await self._transparency.stored_checkpoint()
        if kept:
            size = self._transparency.opened(kept).size
            self._change(kept=size, is_uploaded=bool(note))
        head, _ = await self._transparency.verify(actor, kept or None, lambda count: self._change(entries=count))
        self._change(entries=head.size)

    def _change(self, **values: Any) -> None:
        assert self._last is not None  # noqa: S101 - a run has begun
        self._last = replace(self._last, **values)

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
        self._change(position=position)

    def _broken(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Conflict):
            log.critical("{error}", error=error.public)
            self._change(wrong=error.public)
            return
        if isinstance(error, MalformedRequest):
            log.critical("The stored checkpoint: {error}", error=error.public)
            self._change(wrong=f"The checkpoint in the folder of checkpoints was changed: {error.public}")
            return
        if not isinstance(error, PikachuError):
            log.failure("verifying the audit chain", failure)
        public = error.public if isinstance(error, PikachuError) else "an internal error; see the log"
        self._change(failure=public)

    def _ended(self, _: object, begun: float) -> None:
        self._change(seconds=self._clock.seconds() - begun)
        assert self._last is not None  # noqa: S101 - a run has begun
        log.info(
            "The audit chain was verified up to event {count}, and {entries} entries of the log",
            count=self._last.looked_at,
            entries=self._last.entries,
        )
