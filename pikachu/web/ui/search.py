"""The search over objects, pages, actions and the guide: a page, and the results of the palette (Ctrl+K)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience, in_audience
from pikachu.operations.quick_search import MAX_HITS, MAX_TEXT, FoundGroup, FoundObject, QuickSearch
from pikachu.web.ui.navigation import SHORTCUTS, navigation
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply

#: Actions with a page of their own: path, name, whether for administrators only.
_ACTIONS: Final = (
    ("/certificates/new", "New certificate", Audience.REQUESTER),
    ("/ra", "Sign a CSR", Audience.REQUESTER),
    ("/generate", "Generate key", Audience.REQUESTER),
    ("/keys/import", "Import key", Audience.REQUESTER),
    ("/csrs/generate", "Generate CSR", Audience.REQUESTER),
    ("/csrs/upload", "Upload CSR", Audience.REQUESTER),
    ("/policies/new", "New enrollment policy", Audience.REQUESTER),
    ("/challenge-passwords/new", "New challenge password", Audience.REQUESTER),
    ("/batches/new", "New batch of challenge passwords", Audience.REQUESTER),
    ("/templates/new", "New certificate template", Audience.REQUESTER),
    ("/account/password", "Change password", Audience.USER),
    ("/account/tokens/new", "Create API token", Audience.USER),
    ("/users/new", "Add user", Audience.ADMIN),
    ("/setup", "Set-up checklist", Audience.ADMIN),
    ("/events/verification", "Verify audit log", Audience.AUDITOR),
)


class SearchPages(Pages):
    """``/search``."""

    def __init__(self, *, search: QuickSearch) -> None:
        self._search = search

    @page("GET", "/search", audience=Audience.USER)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show the form, the results and the keyboard shortcuts."""
        text = visit.query.get("q", "").strip()[:MAX_TEXT]
        links = _links(visit)
        shortcuts = [(key, label) for key, path in SHORTCUTS.items() for target, label in links if target == path]
        groups = await self._groups(visit, text)
        return HtmlPage("search/page.html", {"q": text, "groups": groups, "shortcuts": shortcuts, "limit": MAX_TEXT})

    @page("GET", "/search/results", audience=Audience.USER, background=True)
    async def results(self, visit: PageRequest) -> PageReply:
        """Return the results for the palette."""
        text = visit.query.get("q", "").strip()[:MAX_TEXT]
        return HtmlPage("search/results.html", {"groups": await self._groups(visit, text)})

    async def _groups(self, visit: PageRequest, text: str) -> list[FoundGroup]:
        """Return pages and actions by name, then objects; without a text all pages of the menu."""
        words = text.casefold().split()
        actions = [(path, name) for path, name, audience in _ACTIONS if in_audience(visit.principal, audience)]
        named = [
            FoundGroup("Pages", _matching(_links(visit), words)),
            FoundGroup("Actions", _matching(actions, words) if words else ()),
        ]
        found = await self._search.find(visit.principal, text)
        return [
            FoundGroup(group.name, group.hits, f"{group.more}?{urlencode({'q': text})}" if group.more else "")
            for group in (*named, *found)
            if group.hits
        ]


def _links(visit: PageRequest) -> list[tuple[str, str]]:
    """Return path and name of the entries of the menu, and of the account's page."""
    groups = navigation(visit.principal)
    return [*(link for _, links in groups for link in links), ("/account", "Account")]


def _matching(links: list[tuple[str, str]], words: list[str]) -> tuple[FoundObject, ...]:
    """Return the links whose names contain all words; those that begin with the first one come first."""
    found = [(path, name) for path, name in links if all(word in name.casefold() for word in words)]
    if not words:
        return tuple(FoundObject(name, "", path) for path, name in found)
    found.sort(key=lambda link: not link[1].casefold().startswith(words[0]))
    return tuple(FoundObject(name, "", path) for path, name in found[:MAX_HITS])
