"""Where somebody arrives who has signed in."""

from __future__ import annotations

from pikachu.web.ui.pages import Pages, Visit, Who, page
from pikachu.web.ui.replies import Html, Reply


class StartPages(Pages):
    """``/``."""

    @page("GET", "/", who=Who.USER)
    async def start(self, visit: Visit) -> Reply:
        """What there is to do; an anonymous visitor is led to ``/login``."""
        return Html("start.html")
