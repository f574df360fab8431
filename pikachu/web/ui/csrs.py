"""``/csrs``: stored certificate signing requests (CSR-1 to CSR-3)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import BadTemplate, MalformedRequest, NotFound, PikachuError, errors_of
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.jobs import JobAction, JobResource
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.requests import StoredCSR
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.csrs import CertificateRequests, RequestPreview, RequestSource, TemplateNames
from pikachu.inventory.keys import Keys
from pikachu.inventory.new_certificates import CertificateNames
from pikachu.inventory.templates import CertificateTemplates
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import EXPORT, BulkAction, Selection
from pikachu.web.ui.subject_fields import ATTRIBUTES, SubjectFields
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table
from pikachu.x509.csr import parse_csr
from pikachu.x509.names import Name
from pikachu.x509.pem import pem
from pikachu.x509.request_text import view_request
from pikachu.x509.san import GeneralName
from pikachu.x509.san_input import PREFIXES
from pikachu.x509.text.csr import csr_text

_LABEL: Final = "CERTIFICATE REQUEST"
#: Maximum number of keys and of templates in a form; the others are selected on their own pages.
_MAX_CHOICES: Final = 200
_STATES: Final = {"pending": "warn", "signed": "good", "rejected": "bad"}
#: Initial configuration in the form for a new CSR.
EXAMPLE: Final = """\
[ req ]
prompt = no
distinguished_name = dn
req_extensions = asked

[ dn ]
O = Example
CN = device.example.com

[ asked ]
subjectAltName = DNS:device.example.com
"""


@dataclass(frozen=True, slots=True)
class CSRRow:
    """A CSR in lists and pages.

    :ivar kind: the colour of its state.
    :ivar owner: the user's name; empty when there is none.
    """

    csr: StoredCSR
    kind: str
    owner: str


TABLE: Final[Table[StoredCSR]] = Table(
    "csrs",
    (
        Column("id", "ID", sort="id", text=lambda row: str(row.csr.id)),
        Column("name", "Name", sort="name", text=lambda row: row.csr.name),
        Column("key", "Key", sort="key", text=lambda row: row.csr.key_type),
        Column("profile", "Profile", sort="profile", text=lambda row: row.csr.template or ""),
        Column("status", "Status", sort="status", text=lambda row: row.csr.state),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.csr.created_at)),
        Column("user", "User", sort="user", text=lambda row: row.owner, audience=Audience.STAFF),
        Column("actions", "Actions"),
    ),
    (
        Filter("state", "Status", tuple((state, state.capitalize()) for state in _STATES)),
        Filter("key_id", "ID of the key", more=True, hidden=True),
    ),
    search="ID, name, key, profile, status, date or user",
    empty="No certificate requests yet.",
    empty_link=("/csrs/generate", "Generate a CSR"),
    selection=Selection(
        JobResource.CSRS,
        (EXPORT, BulkAction(JobAction.SIGN, "Sign", kind=""), BulkAction(JobAction.DELETE, "Delete")),
        lambda row: (row.csr.id, row.csr.name),
    ),
)


FIELDS, TEXT = "fields", "text"


@dataclass(frozen=True, slots=True)
class Draft:
    """The state of the form for a new CSR.

    :ivar key: id of the stored key; empty: none is selected.
    :ivar mode: ``fields``: the names are those of the fields, the rest is that of the template; ``text``: the
        configuration alone is used.
    :ivar template: id of the selected stored template; empty: none.
    :ivar loaded: id of the template that fields and configuration were filled from.
    """

    name: str = ""
    key: str = ""
    mode: str = FIELDS
    names: SubjectFields = field(default_factory=SubjectFields)
    template: str = ""
    loaded: str = ""
    text: str = EXAMPLE

    @classmethod
    def of(cls, form: Form) -> Draft:
        """Read the submitted form."""
        mode = TEXT if form.text("mode") == TEXT else FIELDS
        key, template, loaded = form.text("key"), form.text("template"), form.text("loaded")
        return cls(
            form.text("name"), key, mode, SubjectFields.of(form), template, loaded, form.whole_text("text") or EXAMPLE
        )

    def has_edited(self, text: str) -> bool:
        """Whether the configuration differs from the *text* that it was filled with."""
        return self.text.split() != text.split()


@dataclass(frozen=True, slots=True)
class Filling:
    """The values that a template fills into the form.

    :ivar subject: the template's, whose order of attributes is kept; ``None`` without a template.
    :ivar others: subject alternative names of kinds that are not edited here, which are kept.
    """

    names: SubjectFields = field(default_factory=SubjectFields)
    text: str = EXAMPLE
    subject: Name | None = None
    others: tuple[GeneralName, ...] = ()

    @classmethod
    def of(cls, names: TemplateNames) -> Filling:
        """Return the values of a template."""
        others = tuple(san for san in names.sans if san.kind not in PREFIXES.values())
        return cls(SubjectFields.of_template(names.subject, names.sans), names.content, names.subject, others)


class CSRsPages(Pages):
    """Stored CSRs."""

    def __init__(
        self,
        *,
        requests: CertificateRequests,
        keys: Keys,
        templates: CertificateTemplates,
        inventory: CertificateQueries,
    ) -> None:
        self._requests = requests
        self._keys = keys
        self._templates = templates
        self._inventory = inventory

    @page("GET", "/csrs", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List stored CSRs (CSR-2)."""

        async def rows(items: Sequence[StoredCSR]) -> Sequence[CSRRow]:
            return await self._rows(visit, items)

        return await TABLE.reply(
            visit, lambda query: self._requests.list(visit.principal, query), "csrs/list.html", prepare=rows
        )

    # --- upload ---------------------------------------------------------------------------

    @page("GET", "/csrs/upload", audience=Audience.REQUESTER)
    async def upload_form(self, visit: PageRequest) -> PageReply:
        """Show the form for a file or a text (CSR-1)."""
        return HtmlPage("csrs/upload.html", {"form": {}})

    @page("POST", "/csrs/upload", audience=Audience.REQUESTER)
    async def upload(self, visit: PageRequest) -> PageReply:
        """Store an uploaded CSR (CSR-1)."""
        form = visit.form
        try:
            data = form.data("file") or form.whole_text("csr").encode()
            if not data.strip():
                raise MalformedRequest("choose a file or paste a request", field="csr")
            with errors_of("file" if form.data("file") else "csr"):
                stored = await self._requests.store(visit.principal, form.text("name"), data)
        except PikachuError as error:
            values = {name: value for name, value in form.values.items() if name in ("name", "csr")}
            return HtmlPage.form("csrs/upload.html", {"form": values}, error)
        return Redirect(f"/csrs/{stored.id}", notice="The request was stored.")

    # --- generation -----------------------------------------------------------------------

    @page("GET", "/csrs/generate", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form for a new CSR; ``?key=ID`` and ``?template=ID`` select these (CSR-1)."""
        draft = Draft(key=visit.query.get("key", ""), template=visit.query.get("template", ""))
        try:
            draft, _ = await self._loaded(visit, draft)
        except PikachuError as error:
            return await self._form(visit, replace(draft, template=""), error)
        return await self._form(visit, draft)

    @page("POST", "/csrs/generate", audience=Audience.REQUESTER)
    async def generate(self, visit: PageRequest) -> PageReply:
        """Create the CSR; fill the form when another template was selected; or show the preview without JavaScript."""
        draft = Draft.of(visit.form)
        try:
            if draft.template != draft.loaded:
                draft, notice = await self._loaded(visit, draft)
                return await self._form(visit, draft, notice=notice)
            if visit.form.text("action") == "preview":
                return await self._form(visit, draft)
            with errors_of("text", BadTemplate):
                stored = await self._requests.generate(visit.principal, draft.name, await self._source(visit, draft))
        except PikachuError as error:
            return await self._form(visit, draft, error)
        return Redirect(f"/csrs/{stored.id}", notice="CSR created.")

    @page("POST", "/csrs/preview", audience=Audience.REQUESTER)
    async def preview(self, visit: PageRequest) -> PageReply:
        """Return the preview alone, for the script of the form."""
        draft = Draft.of(visit.form)
        preview, error = await self._preview(visit, draft)
        return HtmlPage("csrs/preview.html", {"draft": draft, "preview": preview, "wrong": error})

    async def _form(
        self, visit: PageRequest, draft: Draft, error: PikachuError | None = None, notice: str = ""
    ) -> PageReply:
        keys = await self._offered_keys(visit, draft)
        if not draft.key and keys:
            draft = replace(draft, key=str(keys[0].id))
        query = ListQuery(limit=_MAX_CHOICES, sort="name", filters={"usage": "req"})
        templates = (await self._templates.list(visit.principal, query)).items
        preview, preview_error = await self._preview(visit, draft)
        context = {
            "draft": draft,
            "attributes": ATTRIBUTES,
            "others": await self._other_names(visit, draft),
            "keys": [(key.id, f"{key.name} ({key.key_type}, ID {key.id}, {key.created_at:%Y-%m-%d})") for key in keys],
            "templates": [("", "None"), *((one.id, one.name) for one in templates)],
            "preview": preview,
            "filled": notice,
            "wrong": None if error is not None else preview_error,
        }
        return HtmlPage.form("csrs/generate.html", context, error)

    async def _loaded(self, visit: PageRequest, draft: Draft) -> tuple[Draft, str]:
        """Return the draft filled from the selected template, without what was edited, and a notice."""
        before, after = await self._filling(visit, draft.loaded), await self._filling(visit, draft.template)
        is_edited = draft.has_edited(before.text)
        filled = replace(
            draft,
            names=draft.names.merged(before.names, after.names),
            loaded=draft.template,
            text=draft.text if is_edited else after.text,
        )
        notice = "The fields are filled from the template; what you had edited is kept. Check them, then generate."
        if is_edited:
            notice = "Your configuration is kept: it was edited, so that of the template was not loaded."
        return filled, notice

    async def _filling(self, visit: PageRequest, template: str) -> Filling:
        if not template:
            return Filling()
        return Filling.of(await self._requests.names_of(visit.principal, _number(template)))

    async def _other_names(self, visit: PageRequest, draft: Draft) -> Sequence[GeneralName]:
        try:
            return (await self._filling(visit, draft.loaded)).others
        except PikachuError:
            # The preview shows the error.
            return ()

    async def _source(self, visit: PageRequest, draft: Draft) -> RequestSource:
        """Return the key, the template and the names of the CSR.

        :raises MalformedRequest: no key is selected, or the configuration was edited but is not selected.
        """
        if not draft.key:
            raise MalformedRequest("Choose a key.", field="key")
        key_id = _number(draft.key)
        if draft.mode == TEXT:
            return RequestSource(key_id, text=draft.text)
        filling = await self._filling(visit, draft.loaded)
        if draft.has_edited(filling.text):
            raise MalformedRequest(
                "You edited the configuration, but the fields are selected. Select “Configuration” to use it, or undo "
                "your changes to it."
            )
        names = CertificateNames.of_subject(draft.names.subject_like(filling.subject), draft.names.texts)
        names = replace(names, sans=(*names.sans, *filling.others))
        return RequestSource(key_id, _number(draft.loaded) if draft.loaded else None, None, names)

    async def _offered_keys(self, visit: PageRequest, draft: Draft) -> Sequence[StoredKey]:
        """Return the newest keys, with the selected one."""
        keys = (await self._keys.list(visit.principal, ListQuery(limit=_MAX_CHOICES))).items
        if draft.key and draft.key not in {str(key.id) for key in keys}:
            # A missing key can't be selected; the preview shows the error.
            with contextlib.suppress(NotFound, MalformedRequest):
                keys = (await self._keys.get(visit.principal, _number(draft.key)), *keys)
        return keys

    async def _preview(self, visit: PageRequest, draft: Draft) -> tuple[RequestPreview | None, PikachuError | None]:
        if not draft.key or (draft.mode == FIELDS and draft.names.is_empty):
            return None, None
        try:
            return await self._requests.preview(visit.principal, await self._source(visit, draft)), None
        except PikachuError as error:
            return None, error

    # --- one CSR --------------------------------------------------------------------------

    @page("GET", "/csrs/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a CSR, its key and its template (CSR-2)."""
        row = await self._row(visit)
        context = {
            "row": row,
            "view": view_request(parse_csr(row.csr.der)),
            "key": await self._key(visit, row.csr),
            "pem": pem(_LABEL, row.csr.der),
            "text": csr_text(row.csr.der),
        }
        return HtmlPage("csrs/view.html", context)

    @page("GET", "/csrs/<id>/download", audience=Audience.USER)
    async def download(self, visit: PageRequest) -> PageReply:
        """Download a CSR (CSR-3)."""
        stored = await self._requests.get(visit.principal, visit.id)
        return Download(pem(_LABEL, stored.der).encode(), b"application/x-pem-file", f"request-{stored.id}.csr")

    @page("GET", "/csrs/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for deleting."""
        return await self._delete_form(visit)

    @page("POST", "/csrs/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete a CSR; the certificates issued from it are kept."""
        try:
            visit.form.require_confirmation("delete")
            await self._requests.delete(visit.principal, visit.id)
        except PikachuError as error:
            return await self._delete_form(visit, error)
        return Redirect(visit.back_to("/csrs"), notice="The request was deleted.")

    async def _delete_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        context = {"row": await self._row(visit)}
        return HtmlPage.form("csrs/delete.html", context, error)

    async def _key(self, visit: PageRequest, csr: StoredCSR) -> StoredKey | None:
        """Return the stored key that it was created with, if that is still visible."""
        if csr.key_id is None:
            return None
        try:
            return await self._keys.get(visit.principal, csr.key_id)
        except NotFound:
            return None

    async def _row(self, visit: PageRequest) -> CSRRow:
        return (await self._rows(visit, [await self._requests.get(visit.principal, visit.id)]))[0]

    async def _rows(self, visit: PageRequest, items: Sequence[StoredCSR]) -> Sequence[CSRRow]:
        names = await self._inventory.owner_names(visit.principal, [csr.owner_id for csr in items])
        return [CSRRow(csr, _STATES.get(csr.state, "mute"), names.get(csr.owner_id, NOBODY)) for csr in items]


def _number(text: str) -> int:
    number = parse_number(text, MAX_ID)
    if number is None:
        raise MalformedRequest("choose a key and a template from the lists")
    return number
