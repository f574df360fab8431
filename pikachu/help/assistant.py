"""ChatPikachu without a language model (UI-11): answers from the guide, and live figures that the user may view.

It searches for terms and generates no text; it only reads, and stores no questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.people import Principal, Scope
from pikachu.help.guide import Guide, Hit, search_terms
from pikachu.operations.readiness import UNAVAILABLE, Readiness, State
from pikachu.operations.statistics import Overview, Statistics

MAXIMUM_QUESTION: Final = 500
_PASSAGES: Final = 3
# Passages that score below this fraction of the best one are omitted.
_SHARE: Final = 0.4


def _stems(text: str) -> frozenset[str]:
    return frozenset(search_terms(text))


_COUNTS: Final = _stems("many number count statistics total valid revoked expired certificates certificate")
_MANY: Final = _stems("many number count statistics total")
_ENDS: Final = _stems("expire expires expiring end ends ending soon renew renewal until")
_CAS: Final = _stems("ca cas issuer issuing authority")
_WAITING: Final = _stems("wait waits waiting pending approval approvals approve")
_HEALTH: Final = _stems("health healthy ready status running database vault ldap signer")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    :param facts: sentences about the current state.
    :param passages: sections of the guide, best first.
    """

    question: str
    facts: tuple[str, ...]
    passages: tuple[Hit, ...]


class Assistant:
    """Answers questions from the guide and the current state."""

    def __init__(self, guide: Guide, statistics: Statistics, readiness: Readiness, issuers: IssuingCAs) -> None:
        self._guide = guide
        self._statistics = statistics
        self._readiness = readiness
        self._issuers = issuers

    @uncancelled
    async def answer(self, actor: Principal, question: str) -> Answer:
        """Answer from the guide, and from the parts of the current state that *actor* may view.

        Fails with AuthenticationFailed, NotAuthorized, or MalformedRequest for an empty or too long question.
        """
        require_scope(actor, Scope.READ)
        question = question.strip()
        if not question:
            raise MalformedRequest("type a question first")
        if len(question) > MAXIMUM_QUESTION:
            raise MalformedRequest(f"a question has at most {MAXIMUM_QUESTION} characters")
        terms = _stems(question)
        facts: list[str] = []
        if terms & (_COUNTS | _WAITING):
            facts += _counted(await self._statistics.overview(actor), terms)
        if terms & _CAS and terms & (_ENDS | _stems("valid")):
            facts += [
                f"The issuing CA {issuer.name} ends on {issuer.certificate.not_after:%Y-%m-%d}."
                for issuer in self._issuers.current.values()
            ]
        if terms & _HEALTH:
            facts += _healthy(await self._readiness.glance())
        hits = self._guide.search(question, _PASSAGES)
        return Answer(question, tuple(facts), tuple(hit for hit in hits if hit.score >= _SHARE * hits[0].score))


def _counted(overview: Overview, terms: frozenset[str]) -> list[str]:
    counts = overview.counts
    if counts is None:
        return []
    whose = "There are" if overview.everything else "You have"
    facts = []
    if terms & _MANY or len(terms & _COUNTS) >= 2:
        facts.append(
            f"{whose} {counts.valid:,} valid, {counts.revoked:,} revoked and {counts.expired:,} expired certificates "
            f"(as of {counts.at:%H:%M:%S} UTC)."
        )
    if terms & _ENDS and not terms & _CAS:
        facts.append(f"{overview.within(7):,} end within 7 days, {overview.within(30):,} within 30 days.")
    if terms & _WAITING:
        facts.append(f"{counts.waiting:,} {'requests wait' if overview.everything else 'of your requests wait'}.")
    return facts


def _healthy(states: Mapping[str, State]) -> list[str]:
    facts = ["State: " + ", ".join(f"{name} {state.state}" for name, state in states.items()) + "."]
    return facts + [f"{name}: {state.message}" for name, state in states.items() if state.state == UNAVAILABLE]
