"""``/housekeeping``: what is over, and its removal (OPS-6)."""

from __future__ import annotations

from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError
from pikachu.operations.housekeeping_runs import HousekeepingRuns
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect


class HousekeepingPages(Pages):
    """Dry runs, and the removal of what they found."""

    def __init__(self, *, runs: HousekeepingRuns) -> None:
        self._runs = runs

    @page("GET", "/housekeeping", audience=Audience.ADMIN)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show the active or the last run."""
        return self._page(visit)

    @page("POST", "/housekeeping", audience=Audience.ADMIN)
    async def count(self, visit: PageRequest) -> PageReply:
        """Start a dry run."""
        return self._begin(visit, remove=False)

    @page("POST", "/housekeeping/remove", audience=Audience.ADMIN)
    async def remove(self, visit: PageRequest) -> PageReply:
        """Remove what is over."""
        try:
            visit.form.require_confirmation("remove")
        except PikachuError as error:
            return self._page(visit, error)
        return self._begin(visit, remove=True)

    def _begin(self, visit: PageRequest, *, remove: bool) -> PageReply:
        try:
            self._runs.begin(visit.principal, remove=remove)
        except PikachuError as error:
            return self._page(visit, error)
        return Redirect("/housekeeping")

    def _page(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        return HtmlPage.form("operation/housekeeping.html", {"run": self._runs.last(visit.principal)}, error)
