"""The user guide and ChatPikachu (INT-4: ``/help``, ``/chat``)."""

from __future__ import annotations

from markupsafe import Markup

from pikachu.core.errors import PikachuError
from pikachu.help.assistant import MAXIMUM_QUESTION, Assistant
from pikachu.help.guide import Manual
from pikachu.web.ui.pages import Pages, Visit, Who, page
from pikachu.web.ui.responses import Html, Reply

_LONGEST: int = 200
_EXAMPLES = (
    "How do I revoke a certificate?",
    "How many certificates end soon?",
    "Which policy signs a SCEP enrollment?",
    "When does the CA end?",
)


class HelpPages(Pages):
    """``/help`` and ``/help/<name>``: for everybody, since it tells nothing of this server's own."""

    def __init__(self, *, manual: Manual) -> None:
        self._manual = manual
        # Now, and not while the first reader and everybody else waits.
        self._manual.search("start")

    @page("GET", "/help", who=Who.ANYONE)
    async def index(self, visit: Visit) -> Reply:
        """What there is to read; with ``?q=`` what fits the words."""
        query = visit.query.get("q", "").strip()[:_LONGEST]
        hits = self._manual.search(query) if query else []
        return Html("help/index.html", {"pages": self._manual.pages, "q": query, "hits": hits})

    @page("GET", "/help/<name>", who=Who.ANYONE)
    async def read(self, visit: Visit) -> Reply:
        """One page."""
        found = self._manual.page(visit.path["name"])
        # What Markdown gives is HTML already, and safe: HTML in the sources is only text.
        html = Markup(found.html)  # noqa: S704
        return Html("help/page.html", {"pages": self._manual.pages, "shown": found, "html": html})


class ChatPages(Pages):
    """``/chat``."""

    def __init__(self, *, assistant: Assistant) -> None:
        self._assistant = assistant

    @page("GET", "/chat", who=Who.USER)
    async def ask(self, visit: Visit) -> Reply:
        """The question."""
        return _chat(None, "")

    @page("POST", "/chat", who=Who.USER)
    async def answer(self, visit: Visit) -> Reply:
        """UI-11: what the guide says, and a few facts; nothing is kept."""
        question = visit.form.text("question")
        try:
            return _chat(await self._assistant.answer(visit.principal, question), question)
        except PikachuError as error:
            return _chat(None, question, error)


def _chat(answer: object, question: str, error: PikachuError | None = None) -> Html:
    context = {
        "answer": answer,
        "question": question,
        "longest": MAXIMUM_QUESTION,
        "examples": _EXAMPLES,
    }
    return Html.form("help/chat.html", context, error)
