"""``/keys`` and ``/generate``: stored private keys (KEY-1 to KEY-5), and PKCS#12 files (CRT-4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, PikachuError, errors_of
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.jobs import JobResource
from pikachu.core.model.times import rfc3339
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.keys import CHOICES, Keys, key_name, parts_of_type
from pikachu.web.certificate_files import certificate_filename
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import export_or_deletion
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table
from pikachu.x509.pem import pem

PEM_FILE: Final = b"application/x-pem-file"
_KIND_LABELS: Final = {"RSA": "Size", "EC": "Curve", "PQC": "Algorithm"}
_NO_FORM: Final = Form()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key in lists and pages.

    :ivar choice: its size, curve or algorithm; of Ed25519 the same as the type.
    :ivar owner: the user's name, or NOBODY.
    """

    key: StoredKey
    family: str
    choice: str
    owner: str


TABLE: Final[Table[StoredKey]] = Table(
    "keys",
    (
        Column("id", "ID", sort="id", text=lambda row: str(row.key.id)),
        Column("name", "Name", sort="name", text=lambda row: row.key.name),
        Column("type", "Type", sort="type", text=lambda row: row.family),
        Column("choice", "Size, curve or algorithm", text=lambda row: row.choice),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.key.created_at)),
        Column("user", "User", sort="user", text=lambda row: row.owner, audience=Audience.AUDITOR),
        Column("actions", "Actions"),
    ),
    (Filter("type", "Type", tuple((family, family) for family in CHOICES)),),
    search="ID, name, type, date or user",
    empty="No keys yet.",
    empty_link=("/generate", "Generate new key"),
    selection=export_or_deletion(JobResource.KEYS, lambda row: (row.key.id, row.key.name)),
)


class KeysPages(Pages):
    """Stored keys."""

    def __init__(self, *, keys: Keys, inventory: CertificateQueries) -> None:
        self._keys = keys
        self._inventory = inventory

    @page("GET", "/keys", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List stored keys (KEY-2)."""

        async def rows(items: Sequence[StoredKey]) -> Sequence[KeyRow]:
            return await self._rows(visit, items)

        return await TABLE.reply(
            visit, lambda query: self._keys.list(visit.principal, query), "keys/list.html", prepare=rows
        )

    @page("GET", "/generate", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form with the choices of the selected type (KEY-1)."""
        return _new_form(_NO_FORM)

    @page("POST", "/generate", audience=Audience.REQUESTER)
    async def generate(self, visit: PageRequest) -> PageReply:
        """Generate a key (KEY-1)."""
        form = visit.form
        try:
            family = form.text("type")
            kind = key_name(family, form.text(f"choice-{family}"))
            key = await self._keys.generate(visit.principal, form.text("name"), kind)
        except PikachuError as error:
            return _new_form(form, error)
        return Redirect(f"/keys/{key.id}", notice="The key was generated.")

    @page("GET", "/keys/import", audience=Audience.REQUESTER)
    async def import_form(self, visit: PageRequest) -> PageReply:
        """Show the form for an existing private key."""
        return HtmlPage("keys/import.html", {"form": _NO_FORM.values})

    @page("POST", "/keys/import", audience=Audience.REQUESTER, keeps_draft=False)
    async def import_key(self, visit: PageRequest) -> PageReply:
        """Store an existing private key."""
        form = visit.form
        try:
            data = form.data("file") or form.data("text")
            if not data.strip():
                raise MalformedRequest("Choose a file, or paste the private key.", field="text")
            passphrase = form.whole_text("passphrase") or None
            with errors_of("file" if form.data("file") else "text", MalformedRequest):
                key = await self._keys.import_key(
                    visit.principal, form.text("name"), data, passphrase, form.text("alias")
                )
        except PikachuError as error:
            # Neither a private key nor a passphrase is shown again.
            values = {name: form.values.get(name, "") for name in ("name", "alias")}
            return HtmlPage.form("keys/import.html", {"form": values}, error)
        return Redirect(f"/keys/{key.id}", notice="The key was imported.")

    @page("GET", "/keys/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a key without its private key (KEY-3)."""
        row = await self._row(visit)
        use = await self._keys.use(visit.principal, row.key.id)
        return HtmlPage("keys/view.html", {"row": row, "use": use, "public": pem("PUBLIC KEY", row.key.spki)})

    @page("GET", "/keys/<id>/public", audience=Audience.USER)
    async def public(self, visit: PageRequest) -> PageReply:
        """Download the public key."""
        key = await self._keys.get(visit.principal, visit.id)
        return Download(pem("PUBLIC KEY", key.spki).encode(), PEM_FILE, f"{key.name}-public.pem")

    @page("GET", "/keys/<id>/private", audience=Audience.REQUESTER)
    async def private_key_form(self, visit: PageRequest) -> PageReply:
        """Show the notice that viewing the private key is recorded."""
        row = await self._row(visit)
        visit.require_confirmation()
        return HtmlPage("keys/private.html", {"row": row, "text": ""})

    @page("POST", "/keys/<id>/private", audience=Audience.REQUESTER)
    async def show_private(self, visit: PageRequest) -> PageReply:
        """Show the private key after an explicit click (KEY-3)."""
        row = await self._row(visit)
        visit.require_confirmation()
        text = await self._keys.private_pem(visit.principal, row.key.id)
        return HtmlPage("keys/private.html", {"row": row, "text": text})

    @page("GET", "/keys/<id>/download", audience=Audience.REQUESTER)
    async def download_form(self, visit: PageRequest) -> PageReply:
        """Show the form for the passphrase of the file."""
        row = await self._row(visit)
        visit.require_confirmation()
        return HtmlPage("keys/download.html", {"row": row})

    @page("POST", "/keys/<id>/download", audience=Audience.REQUESTER)
    async def download(self, visit: PageRequest) -> PageReply:
        """Download the private key as PKCS#8 in PEM, encrypted when there is a passphrase (KEY-4)."""
        row = await self._row(visit)
        visit.require_confirmation()
        try:
            passphrase = _passphrase(visit.form) or None
            text = await self._keys.private_pem(visit.principal, row.key.id, passphrase, downloaded=True)
        except PikachuError as error:
            return HtmlPage.form("keys/download.html", {"row": row}, error)
        return Download(text.encode(), PEM_FILE, f"{row.key.name}.pem")

    @page("GET", "/keys/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the objects that use the key (KEY-5)."""
        return await self._delete_form(visit)

    @page("POST", "/keys/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete the key (KEY-5)."""
        try:
            visit.form.require_confirmation("delete")
            await self._keys.delete(visit.principal, visit.id)
        except PikachuError as error:
            return await self._delete_form(visit, error)
        return Redirect(visit.back_to("/keys"), notice="The key was deleted.")

    async def _delete_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        row = await self._row(visit)
        use = await self._keys.use(visit.principal, row.key.id)
        return HtmlPage.form("keys/delete.html", {"row": row, "use": use}, error)

    # --- PKCS#12 --------------------------------------------------------------------------

    @page("GET", "/certificates/<id>/pfx", audience=Audience.REQUESTER)
    async def pfx_form(self, visit: PageRequest) -> PageReply:
        """Show the form for the passphrase of the file (CRT-4)."""
        record = await self._inventory.certificate(visit.principal, visit.id)
        visit.require_confirmation()
        return await self._pfx_form(visit, record)

    @page("POST", "/certificates/<id>/pfx", audience=Audience.REQUESTER)
    async def pfx(self, visit: PageRequest) -> PageReply:
        """Download the PKCS#12 file (CRT-4)."""
        record = await self._inventory.certificate(visit.principal, visit.id)
        visit.require_confirmation()
        try:
            compatible = visit.form.flag("compatible")
            body = await self._keys.pfx(visit.principal, record, _passphrase(visit.form), compatible=compatible)
        except PikachuError as error:
            return await self._pfx_form(visit, record, error)
        return Download(body, b"application/x-pkcs12", f"{certificate_filename(record)}.pfx")

    async def _pfx_form(
        self, visit: PageRequest, record: CertificateRecord, error: PikachuError | None = None
    ) -> PageReply:
        context = {
            "record": record,
            "name": record.name,
            "kept": await self._keys.has_key(visit.principal, record),
            "possible": parts_of_type(record.key_type)[0] != "PQC",
        }
        return HtmlPage.form("keys/pfx.html", context, error)

    # --- rows -----------------------------------------------------------------------------

    async def _row(self, visit: PageRequest) -> KeyRow:
        return (await self._rows(visit, [await self._keys.get(visit.principal, visit.id)]))[0]

    async def _rows(self, visit: PageRequest, items: Sequence[StoredKey]) -> Sequence[KeyRow]:
        names = await self._inventory.owner_names(visit.principal, [key.owner_id for key in items])
        rows = []
        for key in items:
            family, choice = parts_of_type(key.key_type)
            owner = names.get(key.owner_id, NOBODY)
            rows.append(KeyRow(key, family, choice or family, owner))
        return rows


def _new_form(form: Form, error: PikachuError | None = None) -> PageReply:
    families = [
        (family, _KIND_LABELS.get(family, ""), [(choice, choice) for choice in choices])
        for family, choices in CHOICES.items()
    ]
    context = {"families": families, "form": form.values}
    return HtmlPage.form("keys/new.html", context, error)


def _passphrase(form: Form) -> str:
    """Return the passphrase.

    :raises MalformedRequest: its repetition differs.
    """
    first = form.whole_text("passphrase")
    if "again" in form and form.whole_text("again") != first:
        raise MalformedRequest("the two passphrases differ; type the same one twice", field="again")
    return first
