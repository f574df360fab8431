"""``/identity-lists``: the devices that may enroll under a policy (DEV-3)."""

from __future__ import annotations

from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import EditConflict, PikachuError
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.times import rfc3339
from pikachu.inventory.identity_lists import MAX_ENTRIES, MAX_NAME, IdentityLists
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Table

TABLE: Final[Table[IdentityList]] = Table(
    "identity-lists",
    (
        Column("name", "Name", sort="name", text=lambda row: row.name),
        Column("entries", "Identities", sort="entries", text=lambda row: str(row.entries)),
        Column("updated", "Updated (UTC)", sort="updated_at", text=lambda row: rfc3339(row.updated_at)),
        Column("updated_by", "Updated by", sort="updated_by", text=lambda row: row.updated_by),
        Column("actions", "Actions", audience=Audience.ADMIN),
    ),
    default_sort="name",
    empty="No lists yet. A policy can require that only devices on a list enroll.",
    empty_link=("/identity-lists/new", "Create list"),
    empty_audience=Audience.ADMIN,
    search="Name",
)


class IdentityListsPages(Pages):
    """Lists of identities."""

    def __init__(self, *, identity_lists: IdentityLists) -> None:
        self._lists = identity_lists

    @page("GET", "/identity-lists", audience=Audience.STAFF)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the lists."""
        return await TABLE.reply(visit, lambda query: self._lists.list(visit.principal, query), "identities/list.html")

    @page("GET", "/identity-lists/new", audience=Audience.ADMIN)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form."""
        return _form(None, {})

    @page("POST", "/identity-lists", audience=Audience.ADMIN)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create a list of uploaded or pasted identities."""
        try:
            made = await self._lists.create(visit.principal, visit.form.text("name"), _submitted(visit))
        except PikachuError as error:
            return _form(None, visit.form.values, error)
        return Redirect(f"/identity-lists/{made.id}", notice="List created.")

    @page("GET", "/identity-lists/<id>", audience=Audience.STAFF)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a list, and with ``?identity=`` whether that is on it."""
        found = await self._lists.get(visit.principal, visit.id)
        identity = visit.query.get("identity", "").strip()[:200]
        listed = await self._lists.has(visit.principal, visit.id, identity) if identity else None
        context = {"list": found, "identity": identity, "listed": listed, "maximum": MAX_ENTRIES}
        return HtmlPage("identities/view.html", context)

    @page("GET", "/identity-lists/<id>/replace", audience=Audience.ADMIN)
    async def replacement_form(self, visit: PageRequest) -> PageReply:
        """Show the form."""
        return _form(await self._lists.get(visit.principal, visit.id), {})

    @page("POST", "/identity-lists/<id>/replace", audience=Audience.ADMIN)
    async def replace(self, visit: PageRequest) -> PageReply:
        """Replace all identities of a list."""
        try:
            await self._lists.replace(visit.principal, visit.id, _submitted(visit), expected=visit.form.versions())
        except PikachuError as error:
            return _form(await self._lists.get(visit.principal, visit.id), visit.form.values, error)
        return Redirect(f"/identity-lists/{visit.id}", notice="The identities were replaced.")

    @page("GET", "/identity-lists/<id>/delete", audience=Audience.ADMIN)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        context = {"list": await self._lists.get(visit.principal, visit.id), "version": None}
        return HtmlPage.form("identities/delete.html", context)

    @page("POST", "/identity-lists/<id>/delete", audience=Audience.ADMIN)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete a list."""
        try:
            visit.form.require_confirmation("delete")
            await self._lists.delete(visit.principal, visit.id, expected=visit.form.versions())
        except PikachuError as error:
            found = await self._lists.get(visit.principal, visit.id)
            context = {"list": found, "version": _kept_version(visit.form.values, error)}
            return HtmlPage.form("identities/delete.html", context, error)
        return Redirect("/identity-lists", notice="The list was deleted.")


def _submitted(visit: PageRequest) -> str:
    return visit.form.whole_text("file") or visit.form.whole_text("identities")


def _kept_version(values: dict[str, str], error: PikachuError | None) -> str | None:
    """Return the version of a form that is no newer than it was: after all errors but a conflict."""
    return values.get("version") if error is not None and not isinstance(error, EditConflict) else None


def _form(found: IdentityList | None, values: dict[str, str], error: PikachuError | None = None) -> PageReply:
    context = {
        "list": found,
        "values": values,
        "version": _kept_version(values, error),
        "maximum": MAX_ENTRIES,
        "longest": MAX_NAME,
        "conflict": isinstance(error, EditConflict),
    }
    return HtmlPage.form("identities/form.html", context, error)
