"""``/recovered-revocations``: revocations that only a published CRL had, after an older database was restored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pikachu.ca.issuers import IssuingCAs
from pikachu.core.constraints import OneOf, Range
from pikachu.core.model.certificates import REASON_NAMES, format_serial
from pikachu.core.model.people import Scope
from pikachu.core.recovery_interfaces import UNDECIDED, RecoveredRevocation, RecoveryDecision
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.web.api.routes import Answer, Call, Operation, Routes, listed

_DECISIONS: Final = OneOf(tuple(RecoveryDecision))


@dataclass(frozen=True, slots=True)
class RecoveredRevocationSummary:
    """A recovered revocation; ``decision`` is keep, drop, or null while it waits for one.

    :param issuer: the issuing CA, or null when it is not configured any more.
    :param subject: empty when the database has no certificate with that serial number.
    :param certificate_id: the id of the certificate, or null when the database has none, or it was deleted.
    """

    id: int
    serial: str
    issuer: str | None
    subject: str
    certificate_id: int | None
    revoked_at: datetime
    reason: Annotated[str, REASON_NAMES]
    recovered_at: datetime
    decision: Annotated[str, _DECISIONS] | None


@dataclass(frozen=True, slots=True)
class Decision:
    """``keep`` leaves the certificate revoked; ``drop`` restores the status that the database had."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"decision": "keep"}

    decision: Annotated[str, _DECISIONS]


@dataclass(frozen=True, slots=True)
class DecisionOnAll:
    """A decision on all that wait for one.

    :param count: their number, as a confirmation: 409 when there are more or fewer.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"decision": "keep", "count": 0}

    decision: Annotated[str, _DECISIONS]
    count: Annotated[int, Range(0, 10**9)]


@dataclass(frozen=True, slots=True)
class Decided:
    """The number of revocations that were decided."""

    decided: int


class RecoveredRevocationsAPI(Routes):
    """Recovered revocations."""

    def __init__(self, *, recovery: RevocationRecovery, issuers: IssuingCAs) -> None:
        self._recovery: RevocationRecovery = recovery
        self._issuers = issuers

    @Operation(
        "GET",
        "/recovered-revocations",
        scope=Scope.AUDIT,
        summary="Revocations that only a published CRL had, after an older database was restored",
        answer=RecoveredRevocationSummary,
        listed=True,
        filters={"decision": "decision", "issuer": "issuer", "reason": "reason"},
        choices={"decision": (UNDECIDED, *RecoveryDecision), "reason": REASON_NAMES.choices},
        sorts=("id", "recovered_at", "revoked_at"),
    )
    async def list(self, call: Call) -> Answer:
        """List recovered revocations; ``q`` is the beginning of a serial number, or a part of a subject."""
        page = await self._recovery.page(call.principal, call.list_query())
        return listed(page, self._summary)

    @Operation(
        "GET",
        "/recovered-revocations/<id>",
        scope=Scope.AUDIT,
        summary="One recovered revocation",
        answer=RecoveredRevocationSummary,
    )
    async def get(self, call: Call) -> Answer:
        """Return a recovered revocation with its decision."""
        return Answer(200, self._summary(await self._recovery.get(call.principal, call.id)))

    @Operation(
        "POST",
        "/recovered-revocations/<id>/decision",
        scope=Scope.ADMIN,
        summary="Keep a certificate revoked, or drop the revocation",
        body=Decision,
        answer=RecoveredRevocationSummary,
    )
    async def decide(self, call: Call) -> Answer:
        """Decide on one recovered revocation; 409 when it has a decision."""
        decision = RecoveryDecision(call.take(Decision).decision)
        return Answer(200, self._summary(await self._recovery.decide_one(call.principal, call.id, decision)))

    @Operation(
        "POST",
        "/recovered-revocations/decision",
        scope=Scope.ADMIN,
        summary="Keep or drop all that wait for a decision",
        body=DecisionOnAll,
        answer=Decided,
    )
    async def decide_all(self, call: Call) -> Answer:
        """Decide on all; the answer comes at the end, which takes about a minute for 100,000."""
        body = call.take(DecisionOnAll)
        run = await self._recovery.decide_all(call.principal, RecoveryDecision(body.decision), body.count)
        return Answer(200, Decided(run.decided))

    def _summary(self, recovered: RecoveredRevocation) -> RecoveredRevocationSummary:
        issuer = self._issuers.by_id(recovered.issuer_id)
        return RecoveredRevocationSummary(
            id=recovered.id,
            serial=format_serial(recovered.serial),
            issuer=None if issuer is None else issuer.name,
            subject=recovered.subject,
            certificate_id=recovered.certificate_id,
            revoked_at=recovered.revoked_at,
            reason=recovered.reason.wire_name,
            recovered_at=recovered.recovered_at,
            decision=recovered.decision,
        )
