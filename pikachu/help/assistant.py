"""ChatPikachu without a language model (UI-11): answers from the guide, and live figures that the user may view.

It searches for terms and generates no text; it only reads, and stores no questions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.help.guide import Guide, Hit, search_terms, term_groups
from pikachu.help.subjects import Subject, SubjectIndex
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.readiness import UNAVAILABLE, Readiness, State
from pikachu.operations.statistics import Overview, Statistics

MAXIMUM_QUESTION: Final = 500
_PASSAGES: Final = 3
# Passages that score below this fraction of the best one are omitted, and those that cover less of the question.
_SHARE: Final = 0.4
_LEAST_COVERAGE: Final = 0.55
# Names and serial numbers in a question: letters with a digit or a dot among them.
_WORD: Final = re.compile(r"[\w.*@:-]+")
_NAMES: Final = 2
_CERTIFICATES: Final = 5


def _stems(text: str) -> frozenset[str]:
    return frozenset(search_terms(text))


_COUNTS: Final = _stems("many number count statistics total valid revoked expired certificates certificate")
_MANY: Final = _stems("many number count statistics total")
_ENDS: Final = _stems("expire expires expiring end ends ending soon renew renewal until")
_CAS: Final = _stems("ca cas issuer issuing authority")
_WAITING: Final = _stems("wait waits waiting pending approval approvals approve")
_HEALTH: Final = _stems("health healthy ready status running database vault ldap signer")


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence about the current state, and the path of the page that shows more about it."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    :param pages: the pages of this server on which to do it, best first.
    :param facts: sentences about the current state.
    :param passages: sections of the guide, best first.
    """

    question: str
    pages: tuple[Subject, ...]
    facts: tuple[Fact, ...]
    passages: tuple[Hit, ...]


class Assistant:
    """Answers questions from the guide and the current state."""

    def __init__(
        self,
        *,
        guide: Guide,
        statistics: Statistics,
        readiness: Readiness,
        issuers: IssuingCAs,
        inventory: CertificateQueries,
        clock: IClock,
    ) -> None:
        self._guide = guide
        self._subjects = SubjectIndex()
        self._statistics = statistics
        self._readiness = readiness
        self._issuers = issuers
        self._inventory = inventory
        self._clock = clock

    @uncancelled
    async def answer(self, actor: Principal, question: str) -> Answer:
        """Answer from the guide, and from the parts of the current state that *actor* may view.

        Fails with AuthenticationFailed, NotAuthorized, or MalformedRequest for an empty or too long question.
        """
        require_scope(actor, Scope.READ)
        question = question.strip()
        if not question:
            raise MalformedRequest("Enter a question.")
        if len(question) > MAXIMUM_QUESTION:
            raise MalformedRequest(f"Shorten the question to {MAXIMUM_QUESTION} characters.")
        terms = _stems(question)
        facts = await self._found(actor, question)
        if terms & (_COUNTS | _WAITING):
            facts += _counted(await self._statistics.overview(actor), terms)
        if terms & _CAS and terms & (_ENDS | _stems("valid")):
            facts += [
                Fact(f"The issuing CA {issuer.name} expires on {issuer.certificate.not_after:%Y-%m-%d}.", "/ca")
                for issuer in self._issuers.current.values()
            ]
        if terms & _HEALTH:
            facts += _healthy(await self._readiness.glance())
        hits = self._guide.search(question, _PASSAGES)
        return Answer(
            question,
            self._subjects.find(term_groups(question), actor),
            tuple(facts),
            tuple(hit for hit in hits if hit.coverage >= _LEAST_COVERAGE and hit.score >= _SHARE * hits[0].score),
        )

    async def _found(self, actor: Principal, question: str) -> list[Fact]:
        """Return the certificates whose names or serial numbers the question holds."""
        now = utc(self._clock.seconds())
        facts: list[Fact] = []
        for name in _names(question):
            page = await self._inventory.certificates(actor, ListQuery(limit=_CERTIFICATES, q=name))
            facts += [
                Fact(
                    f"{record.subject}: {record.status(now)}, expires on {record.not_after:%Y-%m-%d}, "
                    f"serial {record.serial:x}.",
                    f"/certificates/{record.id}",
                )
                for record in page.items
            ]
            if page.next_cursor is not None:
                facts.append(Fact(f"More certificates match {name}.", f"/certificates?{urlencode({'q': name})}"))
        return facts


def _names(question: str) -> list[str]:
    words = (word.strip(".:-") for word in _WORD.findall(question))
    names = (word for word in words if re.search(r"[^\W\d]", word) and re.search(r"[\d.]", word))
    return list(dict.fromkeys(names))[:_NAMES]


def _counted(overview: Overview, terms: frozenset[str]) -> list[Fact]:
    counts = overview.counts
    if counts is None:
        return []
    whose = "There are" if overview.everything else "You have"
    facts = []
    if terms & _MANY or len(terms & _COUNTS) >= 2:
        text = f"{whose} {counts.valid:,} valid, {counts.revoked:,} revoked and {counts.expired:,} expired certificates"
        facts.append(Fact(f"{text} (as of {counts.at:%H:%M:%S} UTC).", "/certificates"))
    if terms & _ENDS and not terms & _CAS:
        for days in (7, 30):
            count = overview.within(days)
            text = f"{count:,} {'expires' if count == 1 else 'expire'} within {days} days."
            facts.append(Fact(text, f"/certificates?status=valid&expires={days}d&sort=not_after"))
    if terms & _WAITING:
        whose = "approvals are pending" if overview.everything else "of your requests are pending"
        facts.append(Fact(f"{counts.waiting:,} {whose}.", "/ra/approvals"))
    return facts


def _healthy(states: Mapping[str, State]) -> list[Fact]:
    facts = [Fact("State: " + ", ".join(f"{name} {state.state}" for name, state in states.items()) + ".", "/")]
    return facts + [
        Fact(f"{name}: {state.message}", "/") for name, state in states.items() if state.state == UNAVAILABLE
    ]
