"""``/templates``: certificate templates (TPL-3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience, can_change, in_audience
from pikachu.core.errors import BadTemplate, EditConflict, PikachuError, errors_of
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.jobs import JobResource
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.templates import MANUALLY, PROFILE_TYPES, CertificateTemplates, TemplateDraft, usages_of
from pikachu.web.ui.numbered_lines import numbered
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import export_or_deletion
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table

_SAMPLE: Final = """\
# What a certificate signing request asks for: remove this part in a template for certificates only.
[ req ]
prompt = no
distinguished_name = subject
req_extensions = request

[ subject ]
O = Example Org
CN = device.example.com

[ request ]
subjectAltName = DNS:device.example.com

# What is in the certificate: remove this part in a template for requests only.
[ v3_ext ]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
"""
_LABELS: Final = {"name": "Name", "profile_type": "Profile type"}


@dataclass(frozen=True, slots=True)
class Row:
    """A certificate template as the user sees it.

    :param may_change: whether the user owns it or is an administrator.
    """

    template: CertificateTemplate
    owner: str
    usages: tuple[str, ...]
    may_change: bool

    @property
    def from_file(self) -> bool:
        """Return whether it was rendered from a file."""
        return self.template.origin != MANUALLY


TABLE: Final[Table[Row]] = Table(
    "certificate-templates",
    (
        Column("name", "Name", sort="name", text=lambda row: row.template.name),
        Column("origin", "Originating template", sort="origin", text=lambda row: row.template.origin),
        Column("type", "Profile type", sort="profile_type", text=lambda row: row.template.profile_type),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.template.created_at)),
        Column("user", "User", sort="user", text=lambda row: row.owner),
        Column("usage", "Usage", text=lambda row: " ".join(row.usages)),
        Column("actions", "Actions"),
    ),
    filters=(Filter("usage", "Usage", (("req", "Requests"), ("ext", "Extensions"))),),
    default_sort="name",
    empty="No certificate templates yet.",
    empty_link=("/templates/new", "New certificate template"),
    search="ID, name, type, date or user",
    selection=export_or_deletion(JobResource.TEMPLATES, lambda row: (row.template.id, row.template.name)),
)


class TemplatesPages(Pages):
    """Certificate templates."""

    def __init__(self, *, templates: CertificateTemplates, inventory: CertificateQueries) -> None:
        self._templates = templates
        self._inventory = inventory

    @page("GET", "/templates", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own templates and the shared ones; for administrators all."""
        return await TABLE.reply(
            visit,
            lambda query: self._templates.list(visit.principal, query),
            "templates/list.html",
            prepare=lambda items: self._rows(visit, items),
        )

    @page("GET", "/templates/new", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form: empty, or with ``?copy=ID`` as a copy of another template."""
        values = {"name": "", "profile_type": "", "content": _SAMPLE}
        template_id = parse_number(visit.query.get("copy", ""), MAX_ID)
        if template_id is not None:
            original = await self._templates.get(visit.principal, template_id)
            name = f"{original.name} (copy)"[:128]
            values = {"name": name, "profile_type": original.profile_type, "content": original.content}
        return self._form(visit, values)

    @page("POST", "/templates/new", audience=Audience.REQUESTER)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create a template, or only validate its text."""
        try:
            content = visit.form.whole_text("content")
            if visit.form.text("action") == "check":
                return await self._checked(visit, content, None)
            form = visit.form
            draft = TemplateDraft(form.text("name"), form.text("profile_type"), content, form.flag("system"))
            with errors_of("content", BadTemplate):
                template = await self._templates.add(visit.principal, draft)
        except PikachuError as error:
            return self._form(visit, visit.form.values, error)
        return Redirect(f"/templates/{template.id}", notice="The certificate template was saved.")

    @page("GET", "/templates/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show type, origin and text."""
        return HtmlPage("templates/view.html", {"row": await self._row(visit)})

    @page("GET", "/templates/<id>/download", audience=Audience.USER)
    async def download(self, visit: PageRequest) -> PageReply:
        """Download the text as a file for ``openssl``."""
        template = await self._templates.get(visit.principal, visit.id)
        return Download(template.content.encode("utf-8"), b"text/plain; charset=utf-8", f"{template.name}.cnf")

    @page("GET", "/templates/<id>/edit", audience=Audience.REQUESTER)
    async def edit(self, visit: PageRequest) -> PageReply:
        """Show the form with the current values."""
        row = await self._row(visit)
        template = row.template
        return self._form(visit, _values(template), row=row)

    @page("POST", "/templates/<id>/edit", audience=Audience.REQUESTER)
    async def update(self, visit: PageRequest) -> PageReply:
        """Update a template, or only validate its text."""
        row = await self._row(visit)
        form = visit.form
        try:
            content = form.whole_text("content")
            if form.text("action") == "check":
                return await self._checked(visit, content, row)
            with errors_of("content", BadTemplate):
                await self._templates.update(
                    visit.principal,
                    visit.id,
                    name=form.text("name"),
                    profile_type=form.text("profile_type"),
                    content=content,
                    system=form.flag("system") if visit.principal.is_admin else None,
                    expected=form.versions(),
                )
        except EditConflict as error:
            return self._conflict(visit, error, await self._row(visit))
        except PikachuError as error:
            return self._form(visit, form.values, error, row=row)
        return Redirect(f"/templates/{visit.id}", notice="The certificate template was saved.")

    @page("GET", "/templates/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        return await self._delete_form(visit)

    @page("POST", "/templates/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete it."""
        try:
            visit.form.require_confirmation("delete")
            await self._templates.delete(visit.principal, visit.id, expected=visit.form.versions())
        except PikachuError as error:
            return await self._delete_form(visit, error)
        return Redirect(visit.back_to("/templates"), notice="The certificate template was deleted.")

    async def _delete_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        return HtmlPage.form("templates/delete.html", {"row": await self._row(visit)}, error)

    async def _checked(self, visit: PageRequest, content: str, row: Row | None) -> PageReply:
        usages = await self._templates.validate(visit.principal, content)
        return self._form(visit, visit.form.values, row=row, usages=[one for one in ("req", "ext") if one in usages])

    def _conflict(self, visit: PageRequest, error: EditConflict, row: Row) -> PageReply:
        """Return the submitted form beside the saved version, which it replaces when submitted again."""
        saved, submitted = _values(row.template), visit.form.values
        fields = [
            (label, saved[name]) for name, label in _LABELS.items() if saved[name] != submitted.get(name, "").strip()
        ]
        if visit.principal.is_admin and ("system" in saved) != visit.form.flag("system"):
            fields.append(("Shared", "Yes" if "system" in saved else "No"))
        return self._form(visit, {**submitted, "version": saved["version"]}, error, row=row, saved=fields)

    def _form(
        self,
        visit: PageRequest,
        values: dict[str, str],
        error: PikachuError | None = None,
        *,
        row: Row | None = None,
        usages: Sequence[str] = (),
        saved: Sequence[tuple[str, str]] | None = None,
    ) -> PageReply:
        """Return the form with *values*.

        :param usages: of a valid text.
        :param saved: label and value of concurrent changes that differ from the form.
        """
        context = {
            "row": row,
            "saved": saved,
            "values": values,
            "lines": numbered(values.get("content", "").replace("\r\n", "\n"), error),
            "usages": usages,
            "types": PROFILE_TYPES,
        }
        return HtmlPage.form("templates/form.html", context, error)

    async def _row(self, visit: PageRequest) -> Row:
        (row,) = await self._rows(visit, [await self._templates.get(visit.principal, visit.id)])
        return row

    async def _rows(self, visit: PageRequest, items: Sequence[CertificateTemplate]) -> Sequence[Row]:
        names = await self._inventory.owner_names(visit.principal, [one.owner_id for one in items])
        actor = visit.principal
        return [
            Row(
                one,
                names.get(one.owner_id, NOBODY),
                usages_of(one),
                in_audience(actor, Audience.REQUESTER) and can_change(actor, one.owner_id),
            )
            for one in items
        ]


def _values(template: CertificateTemplate) -> dict[str, str]:
    """Return what the form of a template holds."""
    values = {
        "name": template.name,
        "profile_type": template.profile_type,
        "content": template.content,
        "version": str(template.version),
    }
    return values if template.owner_id is not None else {**values, "system": "1"}
