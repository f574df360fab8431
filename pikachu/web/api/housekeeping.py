"""``/housekeeping``: what is over, and its removal (OPS-6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pikachu.core.model.people import Scope
from pikachu.operations.housekeeping_runs import HousekeepingRun, HousekeepingRuns
from pikachu.web.api.routes import Answer, Call, Operation, Routes

_DAY = 86400


class HousekeepingState(StrEnum):
    """The state since the start of the server."""

    NOT_RUN = "not-run"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HousekeepingOrder:
    """A run; without ``remove`` it is a dry run."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"remove": False}

    remove: bool = False


@dataclass(frozen=True, slots=True)
class HousekeepingKind:
    """Objects of one kind that are due, or that were removed; ``kept_days`` is null for what is kept for ever."""

    kind: str
    kept_days: int | None
    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class HousekeepingDocument:
    """The last run, with the kinds that are done; ``problem`` says why it has ended early."""

    state: HousekeepingState
    removes: bool
    kinds: tuple[HousekeepingKind, ...]
    started_at: datetime | None
    started_by: str | None
    problem: str | None


class HousekeepingAPI(Routes):
    """Runs of housekeeping."""

    def __init__(self, *, runs: HousekeepingRuns) -> None:
        self._runs = runs

    @Operation(
        "POST",
        "/housekeeping",
        scope=Scope.ADMIN,
        summary="Count what is over, or remove it",
        body=HousekeepingOrder,
        pending=HousekeepingDocument,
        statuses=(202,),
    )
    async def begin(self, call: Call) -> Answer:
        """Start a run; 409 while one of the other kind is active, and one of the same kind is joined."""
        return Answer(202, _document(self._runs.begin(call.principal, remove=call.take(HousekeepingOrder).remove)))

    @Operation(
        "GET",
        "/housekeeping",
        scope=Scope.ADMIN,
        summary="The progress or the result of the last run of housekeeping",
        answer=HousekeepingDocument,
    )
    async def last(self, call: Call) -> Answer:
        """Return the last run since the start of the server."""
        return Answer(200, _document(self._runs.last(call.principal)))


def _document(run: HousekeepingRun | None) -> HousekeepingDocument:
    if run is None:
        return HousekeepingDocument(HousekeepingState.NOT_RUN, False, (), None, None, None)
    ended = HousekeepingState.FAILED if run.failure else HousekeepingState.DONE
    return HousekeepingDocument(
        HousekeepingState.RUNNING if run.seconds is None else ended,
        run.removes,
        tuple(
            HousekeepingKind(
                item.name,
                None if item.kept is None else int(item.kept.total_seconds()) // _DAY,
                item.old.count,
                item.old.oldest,
            )
            for item in run.items
        ),
        run.begun_at,
        run.actor,
        run.failure or None,
    )
