"""The user guide and ChatPikachu (INT-4: ``/help``, ``/chat``)."""

from __future__ import annotations

from markupsafe import Markup

from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError
from pikachu.help.assistant import MAXIMUM_QUESTION, Assistant
from pikachu.help.guide import Guide
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply

_MAX_QUERY_LENGTH: int = 200
_EXAMPLES = (
    "How do I revoke a certificate?",
    "How many certificates expire soon?",
    "Which policy signs a SCEP enrollment?",
    "When does the CA expire?",
)


class HelpPages(Pages):
    """``/help`` and ``/help/<name>``: public, since the guide contains nothing of this server."""

    def __init__(self, *, guide: Guide) -> None:
        self._manual = guide
        # Build the search index at the start, so that no reader waits for it.
        self._manual.search("start")

    @page("GET", "/help", audience=Audience.ANYONE)
    async def index(self, visit: PageRequest) -> PageReply:
        """Show the table of contents; with ``?q=`` the search results."""
        query = visit.query.get("q", "").strip()[:_MAX_QUERY_LENGTH]
        hits = self._manual.search(query) if query else []
        return HtmlPage("help/index.html", {"pages": self._manual.pages, "q": query, "hits": hits})

    @page("GET", "/help/<name>", audience=Audience.ANYONE)
    async def read(self, visit: PageRequest) -> PageReply:
        """Show one page."""
        document = self._manual.page(visit.path["name"])
        # The rendered Markdown is safe: HTML in the sources is escaped.
        html = Markup(document.html)  # noqa: S704
        return HtmlPage("help/page.html", {"pages": self._manual.pages, "shown": document, "html": html})


class ChatPages(Pages):
    """``/chat``."""

    def __init__(self, *, assistant: Assistant) -> None:
        self._assistant = assistant

    @page("GET", "/chat", audience=Audience.USER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the form for a question."""
        return _chat(None, "")

    @page("POST", "/chat", audience=Audience.USER)
    async def answer(self, visit: PageRequest) -> PageReply:
        """Answer from the guide and a few live figures; nothing is stored (UI-11)."""
        question = visit.form.text("question")
        try:
            return _chat(await self._assistant.answer(visit.principal, question), question)
        except PikachuError as error:
            return _chat(None, question, error)


def _chat(answer: object, question: str, error: PikachuError | None = None) -> HtmlPage:
    context = {
        "answer": answer,
        "question": question,
        "longest": MAXIMUM_QUESTION,
        "examples": _EXAMPLES,
    }
    return HtmlPage.form("help/chat.html", context, error)
