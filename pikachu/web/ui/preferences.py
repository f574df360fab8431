"""Saved filters and columns of lists, with plain forms above each list, and display settings (UI-2)."""

from __future__ import annotations

from collections.abc import Mapping

from pikachu.accounts.preferences import AccountPreferences
from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect, own_path


class PreferencePages(Pages):
    """``/views/<list>`` and ``/account/display``: the choices of an account."""

    def __init__(self, *, preferences: AccountPreferences) -> None:
        self._preferences = preferences

    @page("GET", "/views/<list>/filters", audience=Audience.USER)
    async def filters(self, visit: PageRequest) -> PageReply:
        """Show the saved filters of a list, to rename and delete them."""
        return self._filters(visit)

    def _filters(
        self,
        visit: PageRequest,
        error: PikachuError | None = None,
        *,
        unsaved: Mapping[str, str] | None = None,
        renamed: int | None = None,
    ) -> PageReply:
        """Return the page, after an *error* with the filter that could not be saved or the id of that renamed."""
        name = visit.path["list"]
        source = visit.query.get("path", "") if error is None else visit.form.text("path")
        context = {
            "list_name": name,
            "list_path": own_path(source).partition("?")[0],
            "filters": visit.preferences.filters_of(name),
            "unsaved": unsaved,
            "renamed": renamed,
            "new_name": visit.form.values.get("name", ""),
        }
        return HtmlPage.form("views/filters.html", context, error)

    @page("POST", "/views/<list>/filters", audience=Audience.USER)
    async def save_filter(self, visit: PageRequest) -> PageReply:
        """Save the list's present query, and go back to it."""
        form = visit.form
        path, query = own_path(form.text("path")).partition("?")[0], form.text("query")
        try:
            saved = await self._preferences.save_filter(visit.principal, visit.path["list"], form.text("name"), query)
        except PikachuError as error:
            return self._filters(visit, error, unsaved={"name": "", "query": "", **form.values})
        return Redirect(f"{path}?{saved.query}", f"Filter “{saved.name}” saved.")

    @page("POST", "/views/<list>/filters/<id>/rename", audience=Audience.USER)
    async def rename_filter(self, visit: PageRequest) -> PageReply:
        """Rename a saved filter."""
        try:
            await self._preferences.rename_filter(
                visit.principal, visit.path["list"], visit.id, visit.form.text("name")
            )
        except PikachuError as error:
            return self._filters(visit, error, renamed=visit.id)
        return Redirect(self._address(visit), "Filter renamed.")

    @page("POST", "/views/<list>/filters/<id>/delete", audience=Audience.USER)
    async def delete_filter(self, visit: PageRequest) -> PageReply:
        """Delete a saved filter."""
        await self._preferences.delete_filter(visit.principal, visit.path["list"], visit.id)
        return Redirect(self._address(visit), "Filter deleted.")

    @staticmethod
    def _address(visit: PageRequest) -> str:
        return f"/views/{visit.path['list']}/filters?path={own_path(visit.form.text('path')).partition('?')[0]}"

    @page("POST", "/views/<list>/columns", audience=Audience.USER)
    async def choose_columns(self, visit: PageRequest) -> PageReply:
        """Show other columns, and go back to the list."""
        form = visit.form
        shown, usual = set(form.texts("shown")), set(form.texts("usual"))
        # What differs from the default is stored, so that new columns show as they are meant to.
        changed = shown ^ usual if form.text("action") != "reset" else set()
        await self._preferences.choose_columns(visit.principal, visit.path["list"], changed)
        return Redirect(own_path(form.text("back")), "Columns saved.")

    @page("POST", "/account/display", audience=Audience.USER)
    async def choose_display(self, visit: PageRequest) -> PageReply:
        """Choose between UTC and the browser's time zone, and whether single keys are shortcuts."""
        for name, present in (
            ("times", "local" if visit.preferences.local_times else "utc"),
            ("shortcuts", "on" if visit.preferences.shortcuts else "off"),
        ):
            value = visit.form.text(name, present)
            if value != present:
                await self._preferences.choose(visit.principal, name, value)
        return Redirect("/account", "Display settings saved.")
