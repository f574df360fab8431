"""``/x509-templates``: render certificate templates from files; administrators only (TPL-4)."""

from __future__ import annotations

from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.config.configuration import Configuration
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.number_parsing import parse_number
from pikachu.inventory.template_files import VariableKind, X509Template, X509Templates
from pikachu.inventory.templates import PROFILE_TYPES, CertificateTemplates, TemplateDraft
from pikachu.web.ui.numbered_lines import numbered
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Table
from pikachu.web.x509_rendering import JinjaText

# Prefix of fields for variables: a variable may have the name of another field.
_FIELD: Final = "v-"
_CAPITALS: Final = ("CA", "CN", "CRL", "DN", "DNS", "EKU", "IP", "OCSP", "OU", "SAN", "URI", "URL")
_ABBREVIATIONS: Final = {word.lower(): word for word in _CAPITALS}

TABLE: Final[Table[X509Template]] = Table(
    "templates",
    (
        Column("name", "Template", sort="name", text=lambda one: one.name),
        Column("about", "Description", text=lambda one: one.description),
        Column("type", "Profile type", sort="profile_type", text=lambda one: one.profile_type),
        Column("variables", "Variables", text=lambda one: str(len(one.variables))),
        Column("from", "From", text=lambda one: "own folder" if one.own else "shipped"),
        Column("actions", "Actions"),
    ),
    default_sort="name",
    empty="There are no templates: the folder that comes with the program is empty.",
)
#: The largest number of templates before a page.
_MAX_CURSOR: Final = 99_999


class X509TemplatesPages(Pages):
    """Files that certificate templates are rendered from."""

    def __init__(self, *, templates: CertificateTemplates, config: Configuration, files_pool: IWorkerPool) -> None:
        self._files = X509Templates(templates, JinjaText, config.paths.x509_templates, files_pool)
        self._templates = templates
        self._folder = config.paths.x509_templates

    @page("GET", "/x509-templates", audience=Audience.AUDITOR)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the shipped files and the operator's own."""

        async def fetch(query: ListQuery) -> ListPage[X509Template]:
            return _page(await self._files.list(visit.principal), query)

        return await TABLE.reply(visit, fetch, "x509/list.html", folder=self._folder)

    @page("GET", "/x509-templates/<name>", audience=Audience.AUDITOR)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the variables with their defaults."""
        file = await self._files.get(visit.principal, visit.path["name"])
        defaults = {_FIELD + one.name: one.default or "" for one in file.variables}
        values = {"name": file.title, "profile_type": file.profile_type, "system": "", **defaults}
        return HtmlPage("x509/render.html", self._context(file, values))

    @page("POST", "/x509-templates/<name>", audience=Audience.ADMIN)
    async def render(self, visit: PageRequest) -> PageReply:
        """Store the rendered text as a certificate template, or only preview it."""
        form, actor = visit.form, visit.principal
        file = await self._files.get(actor, visit.path["name"])
        form_values = {**form.values}
        for one in file.variables:
            if one.kind is VariableKind.FLAG:
                form_values[_FIELD + one.name] = "true" if form.flag(_FIELD + one.name) else "false"
        text = ""
        try:
            values = {
                one.name: form_values[_FIELD + one.name] for one in file.variables if _FIELD + one.name in form_values
            }
            text = await self._files.text(actor, file.name, values)
            if form.text("action") == "preview":
                await self._templates.validate(actor, text)
                return HtmlPage("x509/render.html", self._context(file, form_values, text=text))
            draft = TemplateDraft(form.text("name"), form.text("profile_type"), text, form.flag("system"), file.name)
            template = await self._templates.add(actor, draft)
        except PikachuError as error:
            return HtmlPage.form("x509/render.html", self._context(file, form_values, error, text), error)
        return Redirect(f"/templates/{template.id}", notice=f"Rendered from {file.name}.")

    @staticmethod
    def _context(
        file: X509Template, values: dict[str, str], error: PikachuError | None = None, text: str = ""
    ) -> dict[str, object]:
        return {
            "file": file,
            "fields": [(_FIELD + one.name, _label(one.name), one) for one in file.variables],
            "values": values,
            "lines": numbered(text, error),
            "text": text,
            "types": PROFILE_TYPES,
        }


def _label(variable: str) -> str:
    """Return the label of a variable such as ``dns_names``: ``DNS names``."""
    words = [_ABBREVIATIONS.get(word, word) for word in variable.split("_") if word]
    text = " ".join(words) or variable
    return text[0].upper() + text[1:]


def _page(files: tuple[X509Template, ...], query: ListQuery) -> ListPage[X509Template]:
    """Return one page of the files; its cursor is the number of files before it."""
    term = (query.q or "").lower()
    matches = [one for one in files if term in f"{one.name} {one.description} {one.profile_type}".lower()]
    if query.sort.removeprefix("-") == "profile_type":
        matches.sort(key=lambda one: (one.profile_type.lower(), one.name))
    if query.sort.startswith("-"):
        matches.reverse()
    at = parse_number(query.cursor or "", _MAX_CURSOR) or 0
    end = at + query.limit
    return ListPage(
        tuple(matches[at:end]),
        str(end) if end < len(matches) else None,
        str(max(0, at - query.limit)) if at > 0 else None,
        len(matches),
    )
