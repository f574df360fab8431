# mypy: allow-untyped-calls
"""ChatPikachu (UI-11, INT-4: ``/chat``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.auth.permissions import Audience
from pikachu.core.concurrency import start
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock
from pikachu.help.assistant import MAXIMUM_QUESTION, Answer, Assistant
from pikachu.help.tools import Asker, Command, Fact
from pikachu.http.request import BoundedRequest
from pikachu.http.server_sent_events import EventStream
from pikachu.web.ui.client_commands import sections
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.web.ui.server_location import ServerLocations

log = Logger()

_EXAMPLES: Final = (
    "How do I revoke a certificate?",
    "Which certificates expire this week?",
    "Which policy signs a SCEP enrollment?",
    "How old is the CRL?",
)
_HEADERS: Final = {b"Cache-Control": b"no-store", b"X-Content-Type-Options": b"nosniff"}


class ChatPages(Pages):
    """``/chat``."""

    def __init__(self, *, assistant: Assistant, locations: ServerLocations, clock: IClock) -> None:
        self._assistant = assistant
        self._locations = locations
        self._clock = clock

    @page("GET", "/chat", audience=Audience.USER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the form for a question."""
        return self._page(None, "")

    @page("POST", "/chat", audience=Audience.USER)
    async def answer(self, visit: PageRequest) -> PageReply:
        """Answer; nothing is stored (UI-11)."""
        question = visit.form.text("question")
        asker = self._asker(visit)
        try:
            answer = await self._assistant.answer(asker, question)
        except PikachuError as error:
            return self._page(None, question, error)
        return self._page(await self._assistant.composed(asker, answer, lambda _: None), question)

    @page("POST", "/chat/stream", audience=Audience.USER, keeps_draft=False)
    async def stream(self, visit: PageRequest) -> PageReply:
        """Answer as server-sent events: ``sources``, then ``text`` while the answer grows, then ``done``."""
        asker = self._asker(visit)
        answer = await self._assistant.answer(asker, visit.form.text("question"))
        return _AnswerStream(self._assistant, asker, answer, self._clock)

    def _page(self, answer: Answer | None, question: str, error: PikachuError | None = None) -> HtmlPage:
        context = {
            "answer": answer,
            "question": question,
            "longest": MAXIMUM_QUESTION,
            "examples": _EXAMPLES,
            "model_host": self._assistant.model_host,
        }
        return HtmlPage.form("help/chat.html", context, error)

    def _asker(self, visit: PageRequest) -> Asker:
        location = self._locations.of(visit)
        commands = tuple(
            Command(section.name, endpoint.what, command.text)
            for section in sections(location, admin=visit.principal.is_admin)
            for endpoint in section.endpoints
            for command in endpoint.commands[:1]
        )
        return Asker(visit.principal, commands)


class _AnswerStream(Resource):
    """An answer that grows."""

    isLeaf = True

    def __init__(self, assistant: Assistant, asker: Asker, answer: Answer, clock: IClock) -> None:
        Resource.__init__(self)
        self._assistant = assistant
        self._asker = asker
        self._answer = answer
        self._clock: IClock = clock
        self._stream: EventStream | None = None

    def render(self, request: BoundedRequest) -> int:
        """Open the stream."""
        self._stream = EventStream(request, self._clock, self._ended)
        self._stream.open(_HEADERS)
        start(self._send()).addErrback(self._failed)
        return NOT_DONE_YET

    async def _send(self) -> None:
        answer = self._answer
        self._event(
            "sources",
            {
                "pages": [{"path": one.path, "label": one.label, "purpose": one.purpose} for one in answer.pages],
                "facts": _facts(answer.facts),
                "passages": [
                    {
                        "path": hit.section.path,
                        "title": hit.section.title + (f" · {hit.section.heading}" if hit.section.anchor else ""),
                        "excerpt": hit.excerpt,
                    }
                    for hit in answer.passages
                ],
            },
        )
        composition = (await self._assistant.composed(self._asker, answer, self._grown)).composition
        text = [{"text": part.text, "path": part.path} for part in composition.text]
        self._event("done", {"text": text, "facts": _facts(composition.facts), "note": composition.note})
        if self._stream is not None:
            self._stream.close()

    def _grown(self, text: str) -> None:
        if self._stream is None:
            # The browser is gone, so the model need not go on.
            raise CancelledError
        self._event("text", {"text": text})

    def _event(self, name: str, data: dict[str, object]) -> None:
        if self._stream is not None:
            self._stream.send(name, data)

    def _ended(self) -> None:
        self._stream = None

    def _failed(self, failure: Failure) -> None:
        """Close the stream; the page then submits its form as without scripts, which shows the error."""
        log.failure("An answer failed.", failure)
        if self._stream is not None:
            self._stream.close()


def _facts(facts: Iterable[Fact]) -> list[dict[str, str]]:
    return [asdict(fact) for fact in facts]
