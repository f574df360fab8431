"""ChatPikachu (UI-11): answers from the guide, and live figures that the account may view; docs/adr/0053.

It only reads, and stores no questions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.people import Scope
from pikachu.help.composer import Composer, Composition, OnText
from pikachu.help.intents import intended_calls
from pikachu.help.search import GuideSearch, Hit
from pikachu.help.subjects import Subject, SubjectIndex
from pikachu.help.terms import term_groups
from pikachu.help.tools import Asker, Fact, Tools

MAXIMUM_QUESTION: Final = 500
_PASSAGES: Final = 3
# Passages that score below this, or below this fraction of the best one, are omitted, and those that cover less of the
# question: then the documents don't say.
_LEAST_SCORE: Final = 1.0
_SHARE: Final = 0.4
_LEAST_COVERAGE: Final = 0.45


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    :param pages: the pages of this server on which to do it, best first.
    :param facts: sentences about the current state.
    :param passages: sections of the guide, best first.
    :param composition: what a language model has made of them; empty without one.
    """

    question: str
    pages: tuple[Subject, ...]
    facts: tuple[Fact, ...]
    passages: tuple[Hit, ...]
    composition: Composition = field(default_factory=Composition)


class Assistant:
    """Answers questions from the guide and the current state."""

    def __init__(self, *, search: GuideSearch, tools: Tools, composer: Composer | None) -> None:
        self._search = search
        self.tools = tools
        self._composer = composer
        self._subjects = SubjectIndex()

    @property
    def model_host(self) -> str:
        """The host of the language model; empty without one."""
        return "" if self._composer is None else self._composer.host

    async def composed(self, asker: Asker, answer: Answer, on_text: OnText) -> Answer:
        """Return an answer with the text that the language model has composed, or with the reason why there is none.

        :param on_text: gets the text so far, now and then; may raise CancelledError when nobody waits any more.
        """
        if self._composer is None:
            return answer
        composing = self._composer.compose(asker, answer.question, answer.facts, answer.passages, on_text)
        return replace(answer, composition=await composing)

    @uncancelled
    async def answer(self, asker: Asker, question: str) -> Answer:
        """Answer from the guide, and from the parts of the current state that *asker* may view.

        Fails with AuthenticationFailed, NotAuthorized, or MalformedRequest for an empty or too long question.
        """
        require_scope(asker.principal, Scope.READ)
        question = question.strip()
        if not question:
            raise MalformedRequest("Enter a question.", field="question")
        if len(question) > MAXIMUM_QUESTION:
            raise MalformedRequest(f"Shorten the question to {MAXIMUM_QUESTION} characters.", field="question")
        facts: list[Fact] = []
        for call in intended_calls(question):
            facts += await self.tools.call(asker, call.tool, call.arguments)
        hits = await self._search.search(question, _PASSAGES)
        return Answer(
            question,
            self._subjects.find(term_groups(question), asker.principal),
            tuple(facts),
            tuple(
                hit
                for hit in hits
                if hit.coverage >= _LEAST_COVERAGE and hit.score >= max(_LEAST_SCORE, _SHARE * hits[0].score)
            ),
        )
